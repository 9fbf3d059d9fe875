"""What the recipes of probes have in common: a trunk that another recipe has trained, and figures of labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from course_lib import probes
from course_lib.data import Dataset
from course_lib.recipes.base import Benchmark, Preset, Source, Split


@dataclass(frozen=True, kw_only=True)
class Labelled(Benchmark):
    """What is measured on images whose classes are known."""

    def measured(self, images: Dataset) -> tuple[Sequence[Tensor], ...]:
        """The images, uint8 ``(N, C, H, W)``, and their labels ``(N,)``.

        Raises:
            ValueError: for a data set without labels, or whose images are not all of one size.
        """
        if images.labels is None or not isinstance(images.images, Tensor):
            raise ValueError(f"{images.name} has no images of one size with labels, which are needed here: evaluate on another data set.")
        return images.images, images.labels


def preset(settings: probes.Settings, trunk: Source, data: Callable[[int], Split], tests: Iterable[str]) -> Preset:
    """One way to run a probe (method ``probes``, network ``probes.Probe``) of a shipped network, or of a part of it."""
    accuracy = {name: Labelled(metrics={"accuracy": probes.evaluate}) for name in tests}
    return Preset(settings=settings, data=data, tests=accuracy, needs={"trunk": trunk})
