"""The recipes of all parts: each is a method with its presets, its data and the paper's figures.

``quick`` trains on embedded data in well under a minute on two CPU cores; ``paper`` follows the paper's protocol; ``laptop`` takes its
network, loss and data, and learns in hours on two cores. All are settings of the same code.
"""

from __future__ import annotations

from course_lib.recipes import (
    before_after,
    distillation,
    few_labels,
    gallery,
    laptop,
    metric_learning,
    noisy_classification,
    pretext,
    pretext_tasks,
    restoration,
)
from course_lib.recipes.base import Benchmark, Preset, Recipe, Source, Split, budget
from course_lib.settings import meant

__all__ = ["RECIPES", "Benchmark", "Preset", "Recipe", "Source", "Split", "budget", "command", "find", "named"]

PARTS = (
    metric_learning,
    laptop,  # the recipes of denoising, with and without clean images, with a preset more
    before_after,
    pretext,
    pretext_tasks,
    few_labels,
    noisy_classification,
    distillation,
    restoration,
    gallery,
)
RECIPES: dict[str, Recipe] = {name: recipe for part in PARTS for name, recipe in part.RECIPES.items()}


def named(recipe: str) -> Recipe:
    """The recipe of that name; ``ValueError`` for an unknown one."""
    if recipe not in RECIPES:  # not with all names: there are more than a hundred
        if "." in recipe or "/" in recipe:
            raise ValueError(
                f'"{recipe}" looks like a file: give the name of its recipe, as `course list` prints it, and a checkpoint by --checkpoint.'
            )
        raise ValueError(f'unknown recipe "{recipe}"{meant(recipe, RECIPES)}: `course list` prints all {len(RECIPES)}.')
    return RECIPES[recipe]


def find(recipe: str, preset: str) -> tuple[Recipe, Preset]:
    """The recipe and its preset; ``ValueError`` with the names there are for an unknown one."""
    presets = named(recipe).presets
    if preset not in presets:
        raise ValueError(f'unknown preset "{preset}"{meant(preset, presets)}; {recipe} has {", ".join(presets)}.')
    return RECIPES[recipe], presets[preset]


def command(recipe: str, preset: str) -> str:
    """What records a run, with as many seeds as the recipe is recorded over; ``ValueError`` for a recipe that there is not."""
    seeds = named(recipe).seeds
    return f"course train {recipe} --preset {preset}{f' --seeds {seeds}' if seeds > 1 else ''} --record"
