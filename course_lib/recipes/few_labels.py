"""Recipes for few labels: K images of each class have one, and networks that saw all images without labels are compared with others.

The seed draws who has a label, and all recipes of one seed and K get the same ones: their figures are paired. An epoch is 50,000
images whatever K is, so that few labels mean no shorter training. (The authors take the first K images of each class, once.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from course_lib import data, few_labels, probes
from course_lib.data import Dataset
from course_lib.pretext import downstream, supervised
from course_lib.recipes.base import Preset, Recipe, Source, Split, part, published
from course_lib.recipes.pretext import DATA, EPOCH, QUICK, QUICK_PROBE
from course_lib.recipes.probes import Labelled
from course_lib.recipes.probes import preset as probe_preset

LABELS = (20, 100, 400, 1000, 5000)  # K of the paper
SURVEY = {  # K -> accuracy on CIFAR-10 of the supervised NIN, and of RotNet with a convolutional probe
    20: (33.66, 64.63), 100: (47.26, 75.28), 400: (74.19, 82.84), 1000: (83.47, 86.43), 5000: (93.07, 91.95),
}  # fmt: skip
"""By Qi and Luo, *Small Data Challenges in Big Data Era*, 2019, Table 1, as 100 less the error: the paper has them in a figure only."""

FAIR_QUICK = {**QUICK, "batch_size": QUICK_PROBE["batch_size"], "steps": QUICK_PROBE["steps"]}  # from scratch: as many images as a probe
MOST = {"digits_on_photos": 400}  # images of a class, where they are fewer than 5,000


def with_labels(name: str, per_class: int) -> Callable[[int], Split]:
    """``per_class`` images of each class of a data set to train on, drawn by the seed, and all its test images."""

    def train(seed: int) -> Dataset:
        return few_labels.labelled(data.load(name, "train"), per_class, seed=seed)

    return lambda seed: Split(name, lambda: train(seed), partial(part, split="test"))


def presets(per_class: int, make: Callable[[str, Callable[[int], Split]], Preset]) -> dict[str, Preset]:
    """Those presets whose data set has so many images of each class."""
    return {preset: make(preset, with_labels(name, per_class)) for preset, name in DATA.items() if per_class <= MOST.get(name, EPOCH // 10)}


def from_scratch(per_class: int) -> Recipe:
    """The NIN of three blocks, with K labels a class and nothing else."""

    def make(preset: str, split: Callable[[int], Split]) -> Preset:
        settings = supervised.Settings(**(FAIR_QUICK if preset == "quick" else {}))
        return Preset(settings=settings, data=split, tests={DATA[preset]: Labelled(metrics={"accuracy": probes.evaluate})})

    return Recipe(
        chapter="05_few_labels",
        title=f"NIN of three blocks, trained with {per_class} labels a class",
        method=supervised, network=supervised.network, presets=presets(per_class, make),
        paper=of_survey(SURVEY[per_class][0]), seeds=5, ships=False,
    )  # fmt: skip


def of_survey(accuracy: float) -> dict:
    """A figure of the survey, as a paper's."""
    return published({"a survey's, not the paper's": {"cifar10": {"accuracy": accuracy}}})


def probed(per_class: int, trunk: str, title: str, *, fine_tuned: bool = False, accuracy: float | None = None) -> Recipe:
    """A convolutional probe of block 2 of a network, with K labels a class."""
    paper = downstream.ProbeSettings(
        head="conv", fine_tuned=fine_tuned, drop_at=(0.35, 0.7, 0.85), batch_size=128, steps=100 * EPOCH // 128,
    )  # fmt: skip

    def make(preset: str, split: Callable[[int], Split]) -> Preset:
        settings = replace(paper, **QUICK_PROBE) if preset == "quick" else paper
        return probe_preset(settings, Source(recipe=trunk, preset=preset), split, [DATA[preset]])

    return Recipe(
        chapter="05_few_labels",
        title=f"{title}, {per_class} labels a class",
        method=probes, network=downstream.probe, presets=presets(per_class, make),
        paper=of_survey(accuracy) if accuracy else {}, seeds=5, ships=False,
    )  # fmt: skip


RECIPES: dict[str, Recipe] = {}
for K in LABELS:
    RECIPES |= {
        f"few{K}_supervised": from_scratch(K),
        f"few{K}_rotnet": probed(K, "rotnet", "Convolutional probe of RotNet's block 2", accuracy=SURVEY[K][1]),
        f"few{K}_tuned": probed(K, "rotnet", "RotNet's two blocks and a convolutional head, fine-tuned", fine_tuned=True),
        f"few{K}_random": probed(K, "nin_random", "Convolutional probe of an untrained NIN's block 2"),
    }
