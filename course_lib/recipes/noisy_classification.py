"""Recipes of classifying noisy images: clean images, perturbed ones, both, and both with the pivot loss, as Na et al. compare them; and
denoisers before a classifier, trained for the image, for the label, or for both.

``quick`` trains the network of 8 layers on digits on photographs. ``paper`` is their protocol; ``jpeg`` the same on a JPEG copy of
CIFAR-10, which is another data set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import nn

from course_lib import project
from course_lib.noisy_classification import evaluation, imagenet, joint_training, pixel_regularisation, resnet
from course_lib.noisy_classification.pixel_regularisation import Settings
from course_lib.recipes.base import Benchmark, Figures, Measure, Preset, Recipe, Source, Split, parts_of
from course_lib.recipes.probes import Labelled

SIGMAS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""σ of the test images on the [0, 1] scale. The paper tests at 0.05 and 0.15; what is above 0.15 no training has seen."""


def of_noise(sigma: float) -> str:
    """The name of the accuracy at σ on the [0, 1] scale; as that of every figure, it is on the 0–255 scale: ``accuracy_38.25``."""
    return f"accuracy_{255 * sigma:g}"


CONDITIONS: dict[str, Measure] = {
    "accuracy": evaluation.evaluate,
    **{of_noise(sigma): partial(evaluation.evaluate, sigma=sigma) for sigma in SIGMAS},
    **{f"accuracy_x{factor}{way}": partial(evaluation.evaluate, factor=factor, enlarging=way)
       for factor in (2, 4) for way in ("nearest", "bicubic")},
}  # fmt: skip
"""What is measured of every classifier."""

QUICK = dict(
    blocks=1, padding=2, flip=False,  # digits are not mirrored
    steps=400, batch_size=64, log_every=20,  # what two cores do in a quarter of a minute
    optimizer="adam", learning_rate=3e-3, final_learning_rate=0.0, schedule="cosine", warmup_steps=20, weight_decay=1e-4,
    weight_pivot=2e-4,  # half as many pairs: the sum over them is half as large
)  # fmt: skip
MNIST = dict(  # 9,000 steps, a rate divided by 10 at 4,000, 6,000 and 8,000; no crops or flips, and no mean, are mentioned
    channels=1, size=28, padding=0, flip=False, centred="none",
    steps=9_000, drop_at=(4 / 9, 6 / 9, 8 / 9), final_learning_rate=1e-4,
)  # fmt: skip


def preset(name: str, settings: Settings) -> Preset:
    """Training on a data set, and all conditions on its test images."""
    return Preset(settings=settings, data=parts_of(name), tests={name: Labelled(metrics=CONDITIONS)})


def published(name: str, row: Mapping[str, float]) -> dict[str, dict[str, dict]]:
    """A row of the paper's tables 1 and 2, in the shape of a record."""
    protocol = "noise clipped; sub-sampling not specified"
    return {name: {metric: {"value": value, "protocol": protocol} for metric, value in row.items()}}


NOISE, LOW = (of_noise(0.05), of_noise(0.15)), ("accuracy_x4nearest", "accuracy_x4bicubic")
TABLES: dict[str, dict[tuple[str, str], tuple[float, ...]]] = {
    # (perturbation, training): accuracy on clean images, and at σ = 0.05 and 0.15, or at a quarter of the resolution
    "mnist": {
        ("noise", "perturbed"): (99.5, None, 99.5), ("noise", "both"): (99.6, None, 99.4), ("noise", "pivot"): (99.5, None, 99.5),
        ("low_resolution", "perturbed"): (99.5, 87.6, 86.4), ("low_resolution", "both"): (99.6, 86.8, 86.0),
        ("low_resolution", "pivot"): (99.6, 87.1, 86.2),
    },
    "cifar": {
        ("noise", "perturbed"): (89.8, 88.9, 82.0), ("noise", "both"): (90.5, 89.1, 80.7), ("noise", "pivot"): (90.8, 89.6, 81.7),
        # of "LR only" the digits of the clean accuracy are garbled: 85.9 or 86.9
        ("low_resolution", "perturbed"): (None, 75.9, 72.9), ("low_resolution", "both"): (91.7, 71.5, 70.7),
        ("low_resolution", "pivot"): (92.0, 73.5, 72.7),
    },
    "cifar110": {
        ("low_resolution", "perturbed"): (86.4, 78.8, 77.0), ("low_resolution", "both"): (93.8, 76.4, 76.2),
        ("low_resolution", "pivot"): (93.3, 78.1, 77.4),
    },
}  # fmt: skip
"""Tables 1 and 2 without the rows "clean only", in percent; None where a figure is not there or not legible."""

CLEAN: dict[str, dict[str, float]] = {
    "mnist": {"accuracy": 99.6, of_noise(0.15): 40.9, "accuracy_x4nearest": 50.4, "accuracy_x4bicubic": 57.5},
    "cifar": {"accuracy": 91.6, of_noise(0.05): 62.4, of_noise(0.15): 16.6, "accuracy_x4nearest": 19.2, "accuracy_x4bicubic": 19.9},
    "cifar110": {"accuracy": 93.5, "accuracy_x4nearest": 21.9, "accuracy_x4bicubic": 15.7},
}
"""The rows "clean only" of both tables."""

WORDS = {"clean": "clean images only", "perturbed": "only", "both": "and clean images", "pivot": "and clean images, pivot loss"}
SHORT = {"noise": "noise", "low_resolution": "lowres"}
ON = {"mnist": "MNIST", "cifar": "CIFAR-10", "cifar110": "CIFAR-10, ResNet-110"}


def recipe(on: str, training: str, perturbation: str = "noise") -> tuple[str, Recipe]:
    """(name, recipe) of one row of the paper's tables, such as ``cifar_noise_pivot``; ``cifar_clean`` is a row of both."""
    kind = {"training": training, "perturbation": perturbation}
    layers = {"blocks": 18} if on == "cifar110" else {}
    if on == "mnist":
        presets = {
            "quick": preset("digits", Settings(**{**QUICK, "channels": 1, "size": 28}, **kind)),
            "paper": replace(preset("mnist", Settings(**MNIST, **kind)), ships=False),  # only their figures are needed
        }
    else:
        deep = {"blocks": 2} if on == "cifar110" else {}
        paper = Settings(**layers, **kind)
        presets = {
            "quick": preset("digits_on_photos", Settings(**{**QUICK, **deep}, **kind)),
            "paper": preset("cifar10", paper),
            # of the copy only the teachers of chapter 17 are needed
            "jpeg": replace(preset("cifar10_jpeg", paper), ships=(training, perturbation) in (("clean", "noise"), ("perturbed", "noise"))),
        }
    if training == "clean":
        name, title, row = f"{on}_clean", WORDS["clean"], CLEAN[on]
    else:
        name = f"{on}_{SHORT[perturbation]}_{'only' if training == 'perturbed' else training}"
        title = f"{'noisy' if perturbation == 'noise' else 'low-resolution'} images {WORDS[training]}"
        figures = zip(("accuracy", *(NOISE if perturbation == "noise" else LOW)), TABLES[on][perturbation, training], strict=True)
        row = {metric: value for metric, value in figures if value is not None}
    return name, Recipe(
        title=f"{ON[on]}, {title}",
        chapter="15_pixel_regularisation", method=pixel_regularisation, network=resnet.ResNet, presets=presets,
        paper=published("mnist" if on == "mnist" else "cifar10", row), seeds=3,
        fails=tuple(metric for metric in row if metric != "accuracy") if training == "clean" else (),
    )  # fmt: skip


# --- ImageNet ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OfPhotographs(Benchmark):
    """Accuracy on photographs in files, which are read one after another."""

    metrics: Mapping[str, Measure] = field(default_factory=lambda: {
        "accuracy": imagenet.evaluate,
        "accuracy_x4region": partial(imagenet.evaluate, factor=4, region=True),
        "accuracy_x4nearest": partial(imagenet.evaluate, factor=4),
    })  # fmt: skip

    def figures(self, images: imagenet.Photographs, model: nn.Module, *, seed: int = 0, count: int | None = None) -> Figures:
        """Every metric of ``count`` photographs, spread over the classes, or of all."""
        pool, names = imagenet.PhotographPool(images, model.settings), images.names
        step = max(1, len(images) // count) if count else 1
        indices = list(range(0, len(images), step))[:count]
        values = {name: self._values(partial(measure, model, pool), indices, f"imagenet, {name}") for name, measure in self.metrics.items()}
        return {metric: dict(zip((names[i] for i in indices), found, strict=True)) for metric, found in values.items()}


def of_photographs(folder: Callable[[], Path]) -> Callable[[int], Split]:
    """Photographs in a folder in the layout of ImageNet, which is asked for when they are needed."""

    def test(asked: str) -> imagenet.Photographs:
        if asked != "imagenet":
            raise ValueError(f'tests are on the photographs below {folder()}, and on no other data such as "{asked}".')
        return imagenet.photographs(folder(), "val")

    return lambda seed: Split("imagenet", lambda: imagenet.photographs(folder(), "train"), test)


IMAGENET = dict(
    size=244, classes=1000, centred="channel", padding=0, precision="auto", perturbation="regions", factors=(4,), enlarging=("nearest",)
)
FROM_SCRATCH = dict(steps=1_100_000, drop_at=(5 / 11, 8 / 11, 10 / 11), final_learning_rate=1e-4)
FINE_TUNED = dict(  # 16 of the 64 images of mixed resolution, 16 of low resolution, at a rate of 1e-5 throughout
    steps=400_000, batch_size=64, learning_rate=1e-5, final_learning_rate=1e-5, schedule="cosine",
)


def of_imagenet(training: str, row: Sequence[float]) -> Recipe:
    """One row of table 3: ResNet-18 on clean photographs, or fine-tuned from there with those of mixed and low resolution."""
    settings = Settings(training=training, **IMAGENET, **(FROM_SCRATCH if training == "clean" else FINE_TUNED))
    needs = {} if training == "clean" else {"start": Source(recipe="imagenet_clean")}
    test = OfPhotographs(parts=20)
    chosen = Preset(settings=settings, data=of_photographs(lambda: project.data_root() / "ImageNet"), tests={"imagenet": test}, needs=needs)
    protocol = "boxes of the test images by a detector (R-FCN); crops not specified"
    figures = {metric: {"value": value, "protocol": protocol} for metric, value in zip(test.metrics, row, strict=True)}
    title = WORDS["clean"] if training == "clean" else f"mixed- and low-resolution images {WORDS[training]}"
    return Recipe(
        title=f"ImageNet, {title}",
        chapter="15_pixel_regularisation", method=pixel_regularisation, network=resnet.ResNet18, presets={"paper": chosen},
        paper={"imagenet": figures},
    )  # fmt: skip


# --- joint training ---------------------------------------------------------------------------------------------------------

QUICK_JOINT = dict(
    blocks=1, padding=2, flip=False, sigma=0.25,  # at which a clean-trained classifier fails
    denoiser_width=16, denoiser_depth=8, steps=1000, batch_size=16, log_every=20, learning_rate=3e-3, warmup_steps=20,
)  # fmt: skip
GOING_ON = dict(steps=150)  # from a denoiser that is trained already
ANEW = dict(steps=400, batch_size=64)  # a classifier: as long as that of clean images
JOINT_CONDITIONS: dict[str, Measure] = {
    f"{metric}_{255 * sigma:g}": partial(measure, sigma=sigma)
    for metric, measure in (("accuracy", joint_training.evaluate), ("psnr", joint_training.evaluate_psnr))
    for sigma in SIGMAS
}


def joint(title: str, *, start: str = "", **changes) -> Recipe:
    """A denoiser before the classifier of ``cifar_clean``, or a classifier behind the denoiser of ``joint_image``.

    Liu et al. begin with a denoiser that was trained for the image: ``start`` is its recipe, and none is for a denoiser that is trained
    from the beginning. They give no figures for these data.
    """
    classifier, presets = changes.get("trained") == "classifier", {}
    quick = {**QUICK_JOINT, **(ANEW if classifier else GOING_ON if start else {})}
    for preset_name, on, base in (("quick", "digits_on_photos", quick), ("paper", "cifar10", {}), ("jpeg", "cifar10_jpeg", {})):
        settings = joint_training.Settings(**{**base, **changes})
        needs = {"classifier": Source(recipe="cifar_clean", preset=preset_name)}
        if classifier:
            needs = {"denoiser": Source(recipe="joint_image", preset=preset_name, part="denoiser")}
        elif start:
            needs["start"] = Source(recipe=start, preset=preset_name, part="denoiser")
        tests = {on: Labelled(metrics=JOINT_CONDITIONS)}
        # only those come with weights that others start from, or that the chapter shows
        ships = not (start or classifier) and (preset_name == "quick" or not changes.get("target"))
        presets[preset_name] = Preset(settings=settings, data=parts_of(on), tests=tests, needs=needs, ships=ships)
    return Recipe(
        title=f"Joint training: {title}",
        chapter="16_joint_training", method=joint_training, network=joint_training.Cascade, presets=presets, seeds=3,
    )  # fmt: skip


IMAGE, LABEL = dict(weight_label=0.0), dict(weight_image=0.0)
UNET, FFDNET = "joint_image", "joint_ffdnet"
JOINT: dict[str, Recipe] = {
    UNET: joint("denoiser by the image alone", **IMAGE),
    "joint_noise2noise": joint("denoiser by a second noisy image", target="noisy", **IMAGE),
    FFDNET: joint("FFDNet by the image alone", denoiser="ffdnet", **IMAGE),
    "joint_image_longer": joint("denoiser by the image alone, as long as by the label", start=UNET, **IMAGE),
    "joint_1000": joint("denoiser by label and image, λ = 1000", start=UNET, weight_image=1000.0),
    "joint_100": joint("denoiser by label and image, λ = 100", start=UNET, weight_image=100.0),
    "joint_10": joint("denoiser by label and image, λ = 10", start=UNET, weight_image=10.0),
    "joint_1": joint("denoiser by label and image, λ = 1", start=UNET, weight_image=1.0),
    "joint_label": joint("denoiser by the label alone", start=UNET, **LABEL),
    "joint_ffdnet_longer": joint("FFDNet by the image alone, as long as by the label", start=FFDNET, denoiser="ffdnet", **IMAGE),
    "joint_ffdnet_100": joint("FFDNet by label and image, λ = 100", start=FFDNET, denoiser="ffdnet", weight_image=100.0),
    "joint_retrained": joint("classifier trained anew on denoised images", trained="classifier"),
}
"""From the image to the label, by λ; and the classifier that adapts instead."""


RECIPES: dict[str, Recipe] = {
    "imagenet_clean": of_imagenet("clean", (68.1, 57.8, 29.3)),
    "imagenet_both": of_imagenet("both", (67.9, 61.5, 44.9)),
    "imagenet_pivot": of_imagenet("pivot", (67.4, 62.1, 49.0)),
    **JOINT,
    **dict(recipe(on, "clean") for on in TABLES),
    **dict(recipe(on, training, perturbation) for on, rows in TABLES.items() for perturbation, training in rows),
}
