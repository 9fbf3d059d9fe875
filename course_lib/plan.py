"""What a training run needs to know: its plan, the learning rate of a step, and the optimisers that take it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

import torch
from torch import nn

from course_lib import muon, settings


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the loop must know; the settings of every method extend it."""

    steps: int  # optimiser updates
    batch_size: int  # images or patches in one update, over all processes together
    optimizer: Literal["adam", "sgd", "muon"] = "adam"  # muon: for the kernels of hidden convolutions, Adam for the rest
    learning_rate: float = 1e-3  # of the first step after the warm-up
    final_learning_rate: float = 0.0  # approached with the last step
    muon_learning_rate: float = 0.01  # Muon's own first rate, which falls as the other does
    beta2: float = 0.999  # of Adam: how slowly its second moment forgets
    momentum: float = 0.9  # of SGD
    nesterov: bool = False  # look ahead along it, with SGD
    schedule: Literal["cosine", "exponential", "drop", "late"] = "cosine"  # how the one becomes the other
    drop_at: tuple[float, ...] = (0.6,)  # for "drop": fractions of the steps after which it falls, at the last to the final one
    late: float = 0.3  # for "late": share of the steps, the last ones, in which the rate falls, by a squared cosine
    warmup_steps: int = 0  # steps of linear rise from 0
    weight_decay: float = 0.0
    ema: float = 0.0  # decay of an exponential moving average of the weights, which is what is kept at the end; 0 for none
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"  # auto: what a short probe finds faster
    compile: bool | None = None  # None: on a GPU only; on a CPU compiling takes longer than a quick run
    log_every: int = 50  # steps between two transfers of the losses from the device
    save_every: int = 500  # steps between two checkpoints

    def __post_init__(self):
        settings.check(self)
        for name, low in (("steps", 0), ("batch_size", 1), ("log_every", 1), ("save_every", 1), ("warmup_steps", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} = {getattr(self, name)}, but it must be at least {low}.")
        for name in ("optimizer", "schedule", "precision"):
            allowed = get_args(get_type_hints(Plan)[name])
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name} = "{getattr(self, name)}", but it must be one of {", ".join(allowed)}.')
        for name in ("learning_rate", "final_learning_rate", "muon_learning_rate", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}, but it must be at least 0.")
        if self.schedule == "exponential" and not self.final_learning_rate > 0:
            raise ValueError("an exponential schedule needs final_learning_rate > 0: it never reaches 0.")
        drops = self.drop_at
        if not drops or list(drops) != sorted(drops) or not 0 <= drops[0] <= drops[-1] <= 1:
            raise ValueError(f"drop_at = {drops}: give one or more rising fractions of the steps, between 0 and 1, such as 0.3,0.6.")
        if self.schedule == "drop" and len(drops) > 1 and not self.final_learning_rate > 0:
            raise ValueError("several drops by one factor need final_learning_rate > 0: they never reach 0.")
        if not self.learning_rate > 0 and (self.schedule == "exponential" or self.schedule == "drop" and len(drops) > 1):
            raise ValueError(f"learning_rate = {self.learning_rate}, but a rate that falls by a factor must begin above 0.")
        if self.optimizer == "muon" and not (self.learning_rate > 0 and self.muon_learning_rate > 0):
            raise ValueError("Muon needs learning_rate > 0 and muon_learning_rate > 0, since its rate follows the other's in proportion.")
        if not 0 < self.late <= 1:
            raise ValueError(f"late = {self.late}: the share of the steps in which the rate falls lies above 0 and up to 1.")
        if not (0 <= self.ema < 1 and 0 <= self.momentum < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"ema = {self.ema}, momentum = {self.momentum}, beta2 = {self.beta2}: they lie in 0 to 1, without 1.")
        settings.check_finite(self)

    @property
    def decay(self) -> float:
        """Decay of the average, which is ``ema`` or, where the steps are so few that weights of the start would be over 1 % of it, less."""
        return min(self.ema, 0.01 ** (1 / max(1, self.steps)))


def learning_rate(plan: Plan, step: int) -> float:
    """Learning rate of step 0, 1, …, ``plan.steps - 1``: a pure function, so that resuming has no schedule to restore.

    With several drops it falls by the same factor at each, so that ``final_learning_rate`` is reached with the last one.
    """
    first, last = plan.learning_rate, plan.final_learning_rate
    if step < plan.warmup_steps:
        return first * (step + 1) / (plan.warmup_steps + 1)
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    if plan.schedule == "cosine":
        return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
    if plan.schedule == "exponential":
        return first * (last / first) ** done
    if plan.schedule == "late":
        return last + (first - last) * ((1 + math.cos(math.pi * max(0.0, 1 - (1 - done) / plan.late))) / 2) ** 2
    passed = sum(done >= drop for drop in plan.drop_at)
    if passed == len(plan.drop_at):
        return last
    return first * (last / first) ** (passed / len(plan.drop_at)) if passed else first


def make_optimizers(model: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """Adam (with decoupled weight decay) or SGD for all weights, or Muon for the hidden kernels and Adam for the rest.

    Raises:
        ValueError: for Muon where there is no hidden convolution.
    """
    rest = [p for p in model.parameters() if p.requires_grad]
    if plan.optimizer == "sgd":
        return [torch.optim.SGD(rest, lr=plan.learning_rate, momentum=plan.momentum, nesterov=plan.nesterov,
                                weight_decay=plan.weight_decay, fused=True)]  # fmt: skip
    made: list[torch.optim.Optimizer] = []
    if plan.optimizer == "muon":
        kernels = [p for p in muon.hidden_kernels(model) if p.requires_grad]
        if not kernels:
            raise ValueError('optimizer = "muon" is for hidden convolutions, of which this network has none: use "adam".')
        hidden = {"params": kernels, "times": plan.muon_learning_rate / plan.learning_rate}  # of the plan's rate
        made.append(muon.Muon([hidden], lr=plan.muon_learning_rate, weight_decay=plan.weight_decay))
        chosen = {id(p) for p in kernels}
        rest = [p for p in rest if id(p) not in chosen]
    made.append(torch.optim.AdamW(rest, lr=plan.learning_rate, betas=(0.9, plan.beta2), weight_decay=plan.weight_decay, fused=True))
    return made


def update(optimizers: list, plan: Plan, step: int) -> None:
    """One update of all weights at the rates of a step (Muon's is a fixed multiple of the plan's)."""
    rate = learning_rate(plan, step)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("times", 1.0)
        optimizer.step()
