"""Recipes of the other pretext tasks: one trunk, one budget, one probe, so that their features can be compared with RotNet's.

Every task trains the NIN of RotNet, and its block 2 is probed as RotNet's is. ``quick`` is on digits on photographs, ``paper`` on
CIFAR-10 with RotNet's 78,125 steps, and ``jpeg`` the same on its JPEG copy. No paper has these figures: the tasks' own papers train
AlexNet on ImageNet. Colours are kept for patch position and jigsaw: in photographs that were shrunk to 32 pixels no lens leaves a fringe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from course_lib.pretext import autoencoder, colourisation, contrastive, exemplar, jigsaw, patch_position
from course_lib.recipes.base import Measure, Preset, Recipe, parts_of
from course_lib.recipes.pretext import DATA, QUICK, nearest, probed
from course_lib.recipes.probes import Labelled
from course_lib.training import Method, Plan

CHAPTER = "06_pretext_tasks"


def unlabelled(measure: Callable[..., list[float]], settings: Plan) -> Measure:
    """A method's ``evaluate(model, images, settings)`` as a measure, which is handed labels ``(N,)`` too and does not look at them."""

    def measured(model: nn.Module, images: Tensor, labels: Tensor, indices: Sequence[int] | None = None) -> list[float]:
        return measure(model, images, settings, indices=indices)

    return measured


def task(title: str, method: Method, metric: str | None, *, quick: dict, **settings) -> Recipe:
    """A pretext task on the NIN, measured by itself where ``metric`` names it, and by the neighbours in its features.

    ``settings`` are those of all presets, ``quick`` more of that one.
    """

    def preset(name: str, **more) -> Preset:
        plan = method.Settings(**{**settings, **more})
        own = {metric: unlabelled(method.evaluate, plan)} if metric else {}
        return Preset(settings=plan, data=parts_of(DATA[name]), tests={DATA[name]: Labelled(metrics={**own, **nearest(DATA[name])})})

    return Recipe(
        title=title, chapter=CHAPTER, method=method, network=method.network,
        presets={"quick": preset("quick", **{**QUICK, **quick}), "paper": preset("paper"), "jpeg": preset("jpeg")},
    )  # fmt: skip


# no frame around the tiles, and half of the images, since each gives nine tiles or two views
TILES = dict(padding=0, batch_size=16, embedding=64, hidden=256)
VIEWS = dict(padding=0)
REBUILT = dict(learning_rate=2e-3)  # a higher rate for so short a run

RECIPES: dict[str, Recipe] = {
    "patch_position": task("Relative patch position", patch_position, "position", colour="kept", quick=TILES),
    "jigsaw": task(
        "Jigsaw: order of nine tiles", jigsaw, "puzzle",
        puzzles=4,  # of each image: they cost the head only
        quick=dict(**TILES, permutations=24),  # which are learnt in few steps
    ),
    "contrastive": task("Contrastive views: SimCLR on the NIN", contrastive, None, quick=VIEWS),
    "autoencoder": task("Autoencoder", autoencoder, "psnr", quick=REBUILT),
    "denoising_autoencoder": task("Denoising autoencoder", autoencoder, "psnr", quick=REBUILT, task="denoising"),
    "inpainting": task("Inpainting: context encoder without an adversary", autoencoder, "psnr", quick=REBUILT, task="inpainting"),
    "colourisation": task("Colourisation", colourisation, "psnr", quick={}),
    "exemplar": task("Exemplar: every image a class of its own", exemplar, None, quick=dict(padding=0, classes=1000)),
}  # fmt: skip

TRUNKS = {name: recipe.name for name, recipe in RECIPES.items()} | {"nin_random": "untrained NIN"}  # the rival of all of them
RECIPES |= {
    f"{trunk.removeprefix('nin_')}_{probe}": probed(f"{words} probe of block 2, {task}", trunk, 2, head, chapter=CHAPTER)
    for trunk, task in TRUNKS.items()
    for probe, head, words in (("block2", "nonlinear", "Non-linear"), ("linear", "linear", "Linear"))
}
