"""Recipes of before and after: classifiers that keep, remove, or name the background, and the segmentation that learns from one of them.

``quick`` is on drawn scenes. ``paper`` is the authors' training on images of one's own in the layout of WS² (``load("ws2", …)``), but
for the weights it starts from, which are random here, and the second stage, which is a small network here and a SegFormer there. No
figures of the authors' were found to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from torch import Tensor, nn

from course_lib import metrics
from course_lib.data import Dataset, scenes
from course_lib.plan import Plan
from course_lib.pretext import activation_maps, backgrounds, before_after, segmentation
from course_lib.recipes.base import Benchmark, Figures, Measure, Preset, Recipe, Source, parts_of

Scores = Callable[[nn.Module, Tensor], Tensor]
"""Scores ``(N, 1, H, W)`` of the pixels of uint8 images ``(N, 3, H, W)``: illegal where positive."""

# --- what they are trained on, and how they are measured -----------------------------------------------------------------

Which = Literal["all", "before", "after"]


@dataclass(frozen=True, kw_only=True)
class OfALine(Benchmark):
    """Images of a sorting line, before and after, each metric of one kind of them or of all."""

    metrics: Mapping[str, Measure]  # of (network, the whole data set)
    which: Mapping[str, Which] = field(default_factory=dict)  # metric -> the images it is measured on; all where not said

    def figures(self, images: Dataset, model: nn.Module, *, seed: int = 0, count: int | None = None) -> Figures:
        """Every metric of the first ``count`` images of its kind, or of all of them.

        Raises:
            ValueError: for images of something else.
        """
        if images.masks is None or not set(images.classes) >= set(scenes.CLASSES):
            raise ValueError(f"{images.name} has no images before and after with masks of what is illegal: evaluate on scenes or ws2.")
        found = {}
        for metric, measure in self.metrics.items():
            kind = self.which.get(metric, "all")
            wanted = [i for i, label in enumerate(images.labels.tolist()) if kind == "all" or before_after.CLASSES[label] == kind][:count]
            found[metric] = dict(zip((images.names[i] for i in wanted), measure(model, images, indices=wanted), strict=True))
        return found


def as_trained(found: Dataset, background: before_after.Background) -> Dataset:
    """A data set's images without their background where the classifier never saw one.

    Those of WS² are taken as they come: the third of its classes has the backgrounds that were removed beforehand.
    """
    if background == "kept" or found.name == "ws2":
        return found
    return replace(found, images=backgrounds.parted(found.images, found.labels).objects)


def accuracy(background: before_after.Background, model: nn.Module, found: Dataset, *, indices=None) -> list[float]:
    """100 for each image of a data set that is classified correctly, else 0."""
    shown = as_trained(found, background)
    return before_after.evaluate(model, shown.images, shown.labels, indices=indices)


def swapped_accuracy(background: before_after.Background, model: nn.Module, found: Dataset, *, indices=None) -> list[float]:
    """The same of the test scenes in each other's light and on each other's belts."""
    other = scenes.draw(len(found) // 2, "test", light=-1, belt=-1)
    return accuracy(background, model, replace(found, images=other.images, labels=other.labels), indices=indices)


def iou(scores: Scores, model: nn.Module, found: Dataset, *, indices=None) -> list[float]:
    """IoU of each image with its mask, in percent."""
    return (100 * metrics.iou(scores(model, found.images[indices]) > 0, found.masks[indices])).tolist()


def average_precision(scores: Scores, model: nn.Module, found: Dataset, *, indices=None) -> list[float]:
    """Average precision of the pixels of each image, in percent."""
    each = zip(scores(model, found.images[indices]).split(1), found.masks[indices].split(1), strict=True)
    return [100 * metrics.average_precision(score, mask) for score, mask in each]


def of_pixels(scores: Scores) -> dict[str, Measure]:
    """What is measured of scores of pixels."""
    return {"iou_before": partial(iou, scores), "iou_after": partial(iou, scores), "ap_before": partial(average_precision, scores)}


WHICH = {"iou_before": "before", "iou_after": "after", "ap_before": "before"}


def presets(quick: Plan, paper: Plan, scores: Scores, needs: str = "") -> dict[str, Preset]:
    """On scenes and on one's own images."""
    found = {}
    for preset, settings, name in (("quick", quick, "scenes"), ("paper", paper, "ws2")):
        background = getattr(settings, "background", None)  # which a classifier has
        measures = {"accuracy": partial(accuracy, background)} if background else {}
        if background and name == "scenes":
            measures["accuracy_swapped"] = partial(swapped_accuracy, background)
        tests = {name: OfALine(metrics={**measures, **of_pixels(scores)}, which=WHICH)}
        sources = {"classifier": Source(recipe=needs, preset=preset)} if needs else {}
        found[preset] = Preset(settings=settings, data=parts_of(name), tests=tests, needs=sources)
    return found


# --- the recipes ----------------------------------------------------------------------------------------------------------

LEARNS_SOON = dict(batch_size=16, log_every=20, optimizer="muon", muon_learning_rate=0.02, learning_rate=3e-3, warmup_steps=10)
QUICK = before_after.Settings(  # what two cores do in 8 s
    **LEARNS_SOON, trunk="small", width=24, steps=400, final_learning_rate=0.0,
)  # fmt: skip


def classifier(title: str, background: before_after.Background) -> Recipe:
    """A classifier that does one thing or another with the background."""
    of = partial(replace, background=background)
    paper = before_after.Settings()
    return Recipe(
        title=title,
        chapter="07_before_after", method=before_after, network=before_after.Classifier,
        presets=presets(of(QUICK), of(paper), activation_maps.scores),
    )  # fmt: skip


RECIPES: dict[str, Recipe] = {
    "before_after_kept": classifier("Before and after, whole images: the shortcut", "kept"),
    "before_after_removed": classifier("Before and after, backgrounds removed", "removed"),
    "before_after": classifier("Before and after, removed backgrounds as a third class", "class"),
    "before_after_masks": Recipe(
        title="Segmentation from the pseudo-masks of before_after",
        chapter="07_before_after", method=segmentation, network=segmentation.Segmenter,
        presets=presets(
            segmentation.Settings(**LEARNS_SOON, steps=200),
            segmentation.Settings(scales=(0.2, 0.5, 1.0, 2.0, 4.0, 6.0), mirrored=True),
            segmentation.scores, needs="before_after",
        ),
    ),
}  # fmt: skip
