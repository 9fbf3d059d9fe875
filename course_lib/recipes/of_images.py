"""What recipes of images share: what they are trained on, and how what they restore is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from course_lib import data
from course_lib.recipes.base import Benchmark, Measure, Split, part


def images(*names: str, color: bool = False) -> Callable[[int], Split]:
    """Trained on about equal parts of the named data sets; the seed has no influence. ``color``: of the photos."""

    def train() -> data.Dataset:
        sets = [part(name, "train", color=color) for name in names]
        return data.balanced(sets) if len(sets) > 1 else sets[0]

    return lambda seed: Split(", ".join(names), train, partial(part, split="test", color=color))


@dataclass(frozen=True, kw_only=True)
class OfImages(Benchmark):
    """Whole images, for each of which a large network takes seconds."""

    parts: int = 20


def benchmarks(names: Iterable[str], metrics: dict[str, Measure]) -> dict[str, Benchmark]:
    """The same metrics on several data sets."""
    return {name: OfImages(metrics=metrics) for name in names}


def untouched(measure: Callable[..., list[float]], *strength: float) -> Measure:
    """What a measure of ``denoising.evaluation`` gives without any network: how good the degraded images are."""
    return lambda network, *images, indices=None: measure(lambda degraded: degraded, *images, *strength, indices=indices)


def restored(measure: Callable[..., list[float]], *strength: float) -> Measure:
    """What such a measure gives for the ``denoise`` of a network, on the device where that is."""

    def measured(network: nn.Module, *images, indices: Sequence[int] | None = None) -> list[float]:
        return measure(network.denoise, *images, *strength, indices=indices, device=next(network.parameters()).device)

    return measured


def before_and_after(measures: dict[str, tuple[Callable[..., list[float]], tuple[float, ...]]]) -> dict[str, Measure]:
    """Condition -> (measure, strength) as PSNR of the restored images, then of those that the network gets."""
    return {f"psnr{name}": restored(measure, *strength) for name, (measure, strength) in measures.items()} | {
        f"input{name}": untouched(measure, *strength) for name, (measure, strength) in measures.items()
    }


class OfPairs(OfImages):
    """Real photographs with clean counterparts: measures are called with both."""

    def measured(self, images: data.Dataset) -> tuple:
        """The noisy photographs and the clean ones.

        Raises:
            ValueError: for images without clean counterparts.
        """
        if images.truth is None:
            raise ValueError(f"{images.name} has no noisy photographs with clean counterparts: evaluate this recipe on cc15.")
        return images.images, images.truth
