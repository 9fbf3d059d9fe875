"""What a training reports: means of the losses, moved from the device seldom and checked when they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


class TrainingError(RuntimeError):
    """The loss is no longer a number; the message says from which step, and what to try."""


@dataclass
class History:
    """What a run reported: ``values[name][i]`` is the mean over the steps up to ``steps[i]`` since the entry before."""

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0  # spent in the loop, over all resumptions
    device: str = ""
    precision: str = ""
    interrupted: bool = False
    signal: int = 0  # number of the one that interrupted it; 0 for none, and where it came to another process
    slices: list[dict] = field(default_factory=list)  # who computed which steps, see begin_slice

    def begin(self, device: str, precision: str) -> History:
        """The history itself, of a run that begins or goes on now."""
        self.device, self.precision, self.interrupted, self.signal = device, precision, False, 0
        return self

    def begin_slice(self, step: int, **computed_by) -> None:
        """Note who computes the run from ``step`` on: commit, versions and device of this process, as a record keeps them."""
        if self.slices and self.slices[-1]["last_step"] == self.slices[-1]["first_step"]:
            self.seconds -= self.slices.pop()["seconds"]  # nothing was kept of it
        self.slices.append({"first_step": step, "last_step": step, "seconds": 0.0, **computed_by})

    def keep(self, step: int, seconds: float) -> None:
        """Note what is kept: the run up to ``step``, for which this process has taken ``seconds`` so far."""
        self.seconds += seconds - self.slices[-1]["seconds"]
        self.slices[-1] |= {"last_step": step, "seconds": seconds}

    def add(self, step: int, means: dict[str, float]) -> None:
        """One entry: the means of the steps that ended with ``step`` updates."""
        self.steps.append(step)
        for name, value in means.items():
            self.values.setdefault(name, []).append(value)

    def last(self) -> dict[str, float]:
        """The values of the last entry by name; empty before the first."""
        return {name: values[-1] for name, values in self.values.items()}


def spent(history: Mapping[str, Any], step: int) -> float:
    """Seconds that the first ``step`` steps of a stored history took: those of its slices, where these are known of all steps.

    In a history of before this function ``seconds`` may have the time of a slice as well of which nothing was kept.
    """
    kept = [one for one in history.get("slices", []) if one["last_step"] > one["first_step"]]
    known = sum(one["last_step"] - one["first_step"] for one in kept)
    return sum(one["seconds"] for one in kept) if known == step else history["seconds"]


class Report:
    """Values that wait on the device until they are moved to a history, all in one transfer.

    Args:
        history: where their means go.
        advice: a function of the step that says what to try where its loss is not a number.
    """

    def __init__(self, history: History, advice):
        self.history, self.advice = history, advice
        self.pending: list[Tensor] = []
        self.names: list[str] = []

    def add(self, loss: Tensor, values: dict[str, Tensor]) -> None:
        """The loss and the reported tensors, scalars, of one step; ``ValueError`` where a step reports other names than before."""
        names = ["loss", *values]
        if self.names and names != self.names:
            raise ValueError(f"a step reports {', '.join(names)}, but the steps before reported {', '.join(self.names)}.")
        self.names = names
        self.pending.append(torch.stack([loss.detach(), *values.values()]))

    def close(self, step: int) -> None:
        """Put the means of what is pending, up to ``step`` updates, into the history; stop at a loss that is no number.

        Raises:
            TrainingError: names the first step whose loss is NaN or infinite.
        """
        if not self.pending:
            return
        table = torch.stack(self.pending).cpu()  # (steps since the last report, 1 + number of reported tensors)
        bad = (~table[:, 0].isfinite()).nonzero()
        if len(bad):
            at = step - len(self.pending) + int(bad[0, 0])
            raise TrainingError(f"the loss is {table[bad[0, 0], 0]:g} in step {at} {self.advice(at)}")
        self.history.add(step, dict(zip(self.names, table.mean(0).tolist(), strict=True)))
        self.pending.clear()
