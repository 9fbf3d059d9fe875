"""What a recipe is made of: a method with its presets, its data, what it is measured by, and the paper's figures."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor, nn

from course_lib import data, progress
from course_lib.data import Dataset
from course_lib.training import Method, Plan

Measure = Callable[..., list[float]]
"""A function ``measure(network, images, indices=None)`` that gives one figure for each image, or for those of the given numbers."""

Figures = dict[str, dict[str, float]]
"""Metric -> image (or ``"seed 0"``) -> value, of one data set."""


@dataclass(frozen=True)
class Split:
    """What one training learns from, and what it is tested on. Nothing is loaded before it is asked for."""

    words: str  # names of the data sets to train on, for a person
    train: Callable[[], Dataset]
    test: Callable[[str], Dataset]  # of a data set's name: the images of that one that the training does not see


def part(name: str, split: str, *, color: bool = False) -> Dataset:
    """The part of a data set to train or to test on, all of it where it does not come in two; ``color``: of the photos."""
    options = {"color": True} if color and name == "photos" else {}
    return data.load(name, split if name in data.SPLIT else None, **options)


def parts_of(name: str) -> Callable[[int], Split]:
    """To train on the one part of a data set, and to be tested on the other; the seed has no influence."""
    return lambda seed: Split(name, partial(part, name, "train"), partial(part, split="test"))


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is measured on each image of a data set."""

    metrics: Mapping[str, Measure]  # by the name that records use, see course_lib.reported.named
    overlap: float = 0.0  # where seeds divide one data set anew: its part tested on, by that trained on; see course_lib.results.interval
    parts: int = 1  # in how many the images are measured, one after another, where that takes so long that one wants to see how far it is

    def figures(self, images: Dataset, model: nn.Module, *, seed: int = 0, count: int | None = None) -> Figures:
        """Every metric of the ``count`` smallest images, or of all."""
        indices = sorted(sorted(range(len(images)), key=lambda i: images.images[i].numel())[:count])
        names, measured = [images.names[i] for i in indices], self.measured(images)
        return {
            metric: dict(zip(names, self._values(partial(measure, model, *measured), indices, f"{images.name}, {metric}"), strict=True))
            for metric, measure in self.metrics.items()
        }

    def _values(self, measure: Callable[..., list[float]], indices: Sequence[int], label: str) -> list[float]:
        """What ``measure(indices=…)`` gives for the images of these numbers; a terminal shows how far it is."""
        values, size = [], max(1, math.ceil(len(indices) / self.parts))
        with progress.bar(len(indices), label, "image") as bar:
            for start in range(0, len(indices), size):
                part = indices[start : start + size]
                values += measure(indices=part)
                bar.update(len(part))
        return values

    def measured(self, images: Dataset) -> tuple[Sequence[Tensor], ...]:
        """What a measure gets of a data set: its images ``(C, H, W)``, which it takes for clean.

        Raises:
            ValueError: for noisy photographs, which have their clean counterparts beside them.
        """
        if images.truth is not None:
            raise ValueError(
                f"{images.name} are noisy photographs, but this recipe adds noise to clean images: evaluate a recipe for real photographs "
                "on them, such as cbdnet, or another data set."
            )
        return (images.images,)

    def lacking(self, there: Mapping[str, object]) -> Benchmark | None:
        """What of it is not ``there``; None if nothing is lacking."""
        lacking = {name: measure for name, measure in self.metrics.items() if name not in there}
        return replace(self, metrics=lacking) if lacking else None


@dataclass(frozen=True, kw_only=True)
class Source:
    """The shipped weights of another recipe."""

    recipe: str
    preset: str = "paper"
    part: str = ""  # a module of its network, such as "backbone"; the whole of it if empty


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One way to run a recipe."""

    settings: Plan
    data: Callable[[int], Split]  # of the seed, which decides who is in which part where people are divided
    tests: Mapping[str, Benchmark]  # data set -> what is measured on it
    needs: Mapping[str, Source] = field(default_factory=dict)
    """Weights of others. Those under ``"start"`` are what the training goes on from; every other one is a network that is handed,
    frozen, to the recipe's ``network`` under its name, such as ``teacher``."""
    ships: bool = True  # do weights come with its record, if the recipe ships any? Large ones that nothing needs do not


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A method, ready to run."""

    title: str  # its name, and after a colon what it is
    method: Method
    network: Callable[..., nn.Module]  # network(settings, seed=..., and what else the preset needs)
    presets: Mapping[str, Preset]
    paper: Mapping[str, Mapping[str, dict]] = field(default_factory=dict)  # data set -> metric -> value, protocol
    fails: tuple[str, ...] = ()  # metrics of published figures that show where the method fails: to reach them is no aim
    chapter: str = ""  # of the book that explains it, such as 08_dncnn
    seeds: int = 1  # with how many a record is made
    ships: bool = True  # do weights come with a record?

    @property
    def name(self) -> str:
        """The title up to its colon, for a person."""
        return self.title.partition(":")[0]

    def folded(self, model: nn.Module) -> nn.Module:
        """A copy in evaluation mode, in the form that is shipped: without batch normalisation where the method folds it away."""
        return self.method.folded(model) if hasattr(self.method, "folded") else copy.deepcopy(model).eval()

    def folded_settings(self, settings: Plan) -> Plan:
        """The settings of a network in that form."""
        return replace(settings, batch_norm=False) if hasattr(self.method, "folded") else settings


def published(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, dict]]:
    """Published figures, protocol -> data set -> metric -> value, in the shape of a record."""
    found: dict[str, dict[str, dict]] = {}
    for protocol, sets in figures.items():
        for name, row in sets.items():
            found.setdefault(name, {}).update({metric: {"value": value, "protocol": protocol} for metric, value in row.items()})
    return found


def budget(settings: Plan) -> int:
    """Training samples that a plan shows the network."""
    return settings.steps * settings.batch_size
