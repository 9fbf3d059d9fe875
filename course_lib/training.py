"""The one training loop of the course.

A method brings ``batch`` and ``step``; :func:`fit` does the rest, on Lightning Fabric, so that a laptop, one GPU and
many GPUs (``fabric run``, ``torchrun``) run the same lines. Every draw is a function of (seed, step, rank), so a
checkpoint needs no random state and a resumed run repeats the interrupted one bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args, get_type_hints

import torch
from torch import nn

from course_lib import checkpoints, devices, rng
from course_lib.progress import Progress, interruption


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the loop must know; the settings of every method extend it."""

    steps: int  # optimiser updates
    batch_size: int  # images or patches in one update, over all processes together
    optimizer: Literal["adam", "sgd"] = "adam"  # SGD has momentum 0.9
    learning_rate: float = 1e-3  # of the first step after the warm-up
    final_learning_rate: float = 0.0  # approached with the last step
    schedule: Literal["cosine", "exponential", "drop"] = "cosine"  # how the one becomes the other
    drop_at: float = 0.6  # for "drop": the fraction of the steps after which it falls to the final one
    warmup_steps: int = 0  # steps of linear rise from 0
    weight_decay: float = 0.0
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"  # auto: what a short probe finds faster
    compile: bool | None = None  # None: on a GPU only; on a CPU compiling takes longer than a quick run
    log_every: int = 50  # steps between two transfers of the losses from the device
    save_every: int = 500  # steps between two checkpoints

    def __post_init__(self):
        for name, low in (("steps", 0), ("batch_size", 1), ("log_every", 1), ("save_every", 1), ("warmup_steps", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} = {getattr(self, name)}, but it must be at least {low}.")
        for name in ("optimizer", "schedule", "precision"):
            allowed = get_args(get_type_hints(Plan)[name])
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name} = "{getattr(self, name)}", but it must be one of {", ".join(allowed)}.')
        if self.schedule == "exponential" and not self.final_learning_rate > 0:
            raise ValueError("an exponential schedule needs final_learning_rate > 0: it never reaches 0.")


@dataclass
class History:
    """What a run reported: ``values[name][i]`` is the mean over the steps up to ``steps[i]`` since the entry before."""

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0  # spent in the loop, over all resumptions
    device: str = ""
    precision: str = ""
    interrupted: bool = False

    def add(self, step: int, means: dict[str, float]) -> None:
        self.steps.append(step)
        for name, value in means.items():
            self.values.setdefault(name, []).append(value)


class TrainingError(RuntimeError):
    """The loss is no longer a number; the message says from which step, and what to try."""


def learning_rate(plan: Plan, step: int) -> float:
    """Learning rate of step 0, 1, …, ``plan.steps - 1``: a pure function, so that resuming has no schedule to restore."""
    first, last = plan.learning_rate, plan.final_learning_rate
    if step < plan.warmup_steps:
        return first * (step + 1) / (plan.warmup_steps + 1)
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    if plan.schedule == "cosine":
        return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
    if plan.schedule == "exponential":
        return first * (last / first) ** done
    return first if done < plan.drop_at else last


def make_optimizer(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Adam (with decoupled weight decay) or SGD with momentum 0.9, in PyTorch's fused implementation."""
    options = {"lr": plan.learning_rate, "weight_decay": plan.weight_decay, "fused": True}
    if plan.optimizer == "adam":
        return torch.optim.AdamW(model.parameters(), **options)
    return torch.optim.SGD(model.parameters(), momentum=0.9, **options)


def fit(
    model: nn.Module,
    data,
    method: ModuleType,
    plan: Plan,
    *,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> History:
    """Train ``model`` in place and return what was reported on the way.

    Each step is ``method.step(model, method.batch(data, step, generator, plan))``: ``batch`` makes the inputs on the
    device (with ``plan.batch_size`` the share of this process), ``step`` returns the loss and a dictionary of detached
    tensors to report.

    Args:
        model: the network, trained in place and left in evaluation mode.
        data: what ``method.batch`` takes; it has a method ``to(device)``.
        method: the module of a method, with ``batch`` and ``step``.
        plan: the settings of the method.
        seed: first argument of every draw.
        checkpoint: file to write every ``plan.save_every`` steps, at the end, and when interrupted.
        resume: go on from ``checkpoint`` where it exists; the settings must be those that it was written with. Without
            ``resume`` an existing checkpoint is an error: it may be hours of work.
        progress: show a progress bar?

    Returns:
        The history. ``interrupted`` tells that Ctrl-C or the stop button ended it; the model then is the one trained so far.

    Raises:
        TrainingError: where the loss is NaN or infinite. The checkpoint on disk is then from before.
        checkpoints.CheckpointError: for a checkpoint that is damaged, of other settings, or cannot be written at the
            start or the end. Where one in between cannot be written a warning tells.
    """
    saved = checkpoints.read(checkpoint, type(model).__name__, asdict(plan), seed, resume) if checkpoint else None
    precision = saved["precision"] if saved else devices.precision(plan.precision)
    fabric = devices.fabric(precision)
    if plan.batch_size % fabric.world_size:
        raise ValueError(f"batch_size = {plan.batch_size} cannot be shared out evenly to {fabric.world_size} processes.")
    share = replace(plan, batch_size=plan.batch_size // fabric.world_size)
    history = History(**saved["history"]) if saved else History()
    history.device, history.precision, history.interrupted = devices.describe(fabric.device), precision, False

    model.to(memory_format=torch.channels_last).train()
    if saved:
        checkpoints.restore(model, saved)
    optimizer = make_optimizer(model, plan)
    compiling = fabric.device.type == "cuda" if plan.compile is None else plan.compile
    network = torch.compile(model, fullgraph=True, dynamic=False) if compiling else model
    network, optimizer = fabric.setup(network, optimizer)
    if saved:
        optimizer.load_state_dict(saved["optimizer"])
    data.to(fabric.device)
    start = done = saved["step"] if saved else 0
    pending, names = [], []  # values that are still on the device, and what they are called

    def report(step: int) -> None:
        """Move the pending values to the host, in one transfer, into the history; stop at a loss that is no number."""
        if not pending:
            return
        table = torch.stack(pending).cpu()  # (steps since the last report, 1 + number of reported tensors)
        bad = (~table[:, 0].isfinite()).nonzero()
        if len(bad):
            at = step - len(pending) + int(bad[0, 0])
            raise TrainingError(
                f"the loss is {table[bad[0, 0], 0]:g} in step {at} (learning rate {learning_rate(plan, at):.1e}, precision "
                f"{precision}). Try a smaller learning_rate, some warmup_steps, or precision 32-true"
                + (f"; {checkpoint} is from before." if checkpoint else ".")
            )
        history.add(step, dict(zip(names, table.mean(0).tolist(), strict=True)))
        pending.clear()

    def save(step: int) -> None:
        report(step)
        history.seconds = seconds_before + time.perf_counter() - began
        if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
            raise TrainingError(f"after step {step - 1} weights are no longer numbers, although the loss was: its gradient was not.")
        if checkpoint:
            state = checkpoints.state(model, optimizer, step, asdict(plan), seed, asdict(history))
            checkpoints.write(fabric, checkpoint, state)

    def stopped(asked: bool, done: int) -> bool:
        """Has anybody asked to stop? Several processes agree on it where they report, so that none waits for another."""
        if fabric.world_size == 1:
            return asked
        return done % plan.log_every == 0 and bool(fabric.all_reduce(torch.tensor(float(asked), device=fabric.device)) > 0)

    seconds_before, began = history.seconds, time.perf_counter()
    if not saved:
        save(0)  # a folder that cannot be written to is known before the first step, not after the last
    bar = Progress(plan.steps, start, f"{type(model).__name__} on {history.device}, {history.precision}",
                   show=progress and fabric.is_global_zero)  # fmt: skip
    with interruption() as interrupted, bar:
        for step in range(start, plan.steps):
            generator = rng.generator(seed, step, fabric.global_rank, "batch", fabric.device)
            loss, values = method.step(network, method.batch(data, step, generator, share))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(plan, step)
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimizer.step()
            names = ["loss", *values]
            pending.append(torch.stack([loss.detach(), *values.values()]))
            done = step + 1
            if done % plan.log_every == 0 or done == plan.steps:
                report(done)
                bar.show(done, {name: history.values[name][-1] for name in names})
            if stopped(interrupted.is_set(), done):
                history.interrupted = True
                bar.show(done, bar.values)
                break
            if done % plan.save_every == 0 and done < plan.steps:
                try:
                    save(done)
                except checkpoints.CheckpointError as error:
                    warnings.warn(f"{error} Training goes on; the checkpoint before this one is kept.", stacklevel=2)
    if fabric.world_size > 1:  # each process has statistics of its own batches: the first one's are kept
        for buffer in model.buffers():
            buffer.copy_(fabric.broadcast(buffer))
    model.eval()
    save(done)
    return history
