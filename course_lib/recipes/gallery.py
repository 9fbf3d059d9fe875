"""The recipe of the small embedding network that runs in the reader's browser, on the page of the gallery."""

from __future__ import annotations

from course_lib.metric_learning import triplet
from course_lib.metric_learning.identities import SHOT, characters
from course_lib.metric_learning.small_embedder import SmallEmbedder
from course_lib.recipes.base import Preset, Recipe
from course_lib.recipes.metric_learning import TRIPLET, OfPeople, divided

RECIPES: dict[str, Recipe] = {
    "triplet_small": Recipe(
        title="Small triplet network: for the gallery in the browser",
        method=triplet,
        network=SmallEmbedder,
        presets={
            "quick": Preset(
                # twice the steps of chapter 3, since so small a network is soon trained
                settings=triplet.Settings(**TRIPLET, **SHOT, mining="semi-hard", dimension=32, steps=1200),
                data=divided("digits", characters),
                tests={"digits": OfPeople(metrics={}, shot=SHOT)},
            ),
        },
        chapter="03_triplet",
    ),
}
