"""The roof: each recipe is a method with its presets, its data and the paper's figures.

``quick`` trains on embedded data in well under a minute on two CPU cores; ``paper`` follows the paper's protocol. Both
are settings of the same code.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

import torch
from torch import nn

from course_lib import data, rng, training
from course_lib.denoising import bfcnn, cbdnet, common, dncnn, evaluation, ffdnet, gradual, nn3d
from course_lib.metric_learning import embedding, identification, siamese, triplet
from course_lib.metric_learning import evaluation as people

Measure = Callable[..., list[float]]
"""A function ``measure(network, images, indices=None)`` that gives one figure for each image, or for those of the given numbers."""


@dataclass(frozen=True)
class Test:
    """A data set and what is measured on each of its images."""

    __test__ = False  # no test for pytest to collect

    data: str
    split: str | None
    metrics: dict[str, Measure]  # by the name that records use

    def figures(self, images: data.Dataset, model: nn.Module, *, seed: int = 0, count: int | None = None) -> dict[str, dict[str, float]]:
        """Metric -> image name -> value, of the ``count`` smallest images or of all."""
        indices = sorted(sorted(range(len(images)), key=lambda i: images.images[i].numel())[:count])
        names = [images.names[i] for i in indices]
        return {
            metric: dict(zip(names, measure(model, *self.measured(images), indices=indices), strict=True))
            for metric, measure in self.metrics.items()
        }

    def measured(self, images: data.Dataset) -> tuple:
        """What a measure gets of a data set."""
        return (images.images,)


class OfPairs(Test):
    """Real photographs with clean counterparts: measures are called with both."""

    def measured(self, images: data.Dataset) -> tuple:
        """The noisy photographs and the clean ones."""
        return images.images, images.truth


@dataclass(frozen=True)
class OfPeople(Test):
    """People that the network was not trained on, and how well it tells them apart: figures of all their pictures together."""

    metrics: dict[str, Measure] = field(default_factory=dict)  # none image by image
    sigmas_255: Sequence[float] = (0, 10, 25, 50)  # noise of the queries
    shot: dict[str, float] | None = None  # further queries, moved and turned by up to this
    rivals: dict[str, Callable[[nn.Module], people.Embed]] = field(default_factory=dict)  # prefix -> other distances to measure

    def figures(self, images: data.Dataset, model: nn.Module, *, seed: int = 0, count: int | None = None) -> dict[str, dict[str, float]]:
        """Metric -> ``"seed 0"`` -> value in percent; see :func:`course_lib.metric_learning.evaluation.evaluate`."""
        conditions = {"sigmas_255": self.sigmas_255, "shot": self.shot, "seed": seed}
        found = people.evaluate(model.embed, images, **conditions)
        for prefix, rival in self.rivals.items():
            found |= {prefix + name: value for name, value in people.evaluate(rival(model), images, **conditions).items()}
        return {name: {f"seed {seed}": value} for name, value in found.items()}


@dataclass(frozen=True)
class Preset:
    """One way to run a recipe."""

    settings: training.Plan
    train: tuple[str, str | None]  # data set and split to train on
    test: tuple[Test, ...]
    parts: Callable[[int], tuple[data.Dataset, data.Dataset]] | None = None
    """A function of the seed that divides people into those to train on and others to test on, where the data are of people."""
    more: tuple[tuple[str, str | None], ...] = ()
    """Further data sets to train on, all of which then have about equal parts."""


@dataclass(frozen=True)
class Recipe:
    """A method, ready to run."""

    title: str
    method: ModuleType  # has prepare, batch, step
    network: Callable[..., nn.Module]  # network(settings, seed=...)
    to_ship: Callable[[nn.Module], nn.Module] | None  # the network as it is shipped, if one is, and …
    shipped_settings: dict[str, Any]  # … the settings in which that differs
    presets: dict[str, Preset]
    paper: dict[str, dict[str, dict]]  # data set -> metric -> value, protocol
    color: bool = False  # does it take the photos in colour?
    start: str = ""  # the recipe from whose shipped weights the training goes on, if it does

    def load(self, name: str, split: str | None) -> data.Dataset:
        """A data set, in colour where the recipe wants that and the data set leaves the choice."""
        return data.load(name, split, color=self.color and name == "photos")

    def to_train_on(self, preset: Preset, seed: int) -> data.Dataset:
        """The images of the preset's training; the seed decides which people they are, where they are of people."""
        if preset.parts:
            return preset.parts(seed)[0]
        sets = [self.load(*one) for one in (preset.train, *preset.more)]
        return data.balanced(sets) if preset.more else sets[0]

    def to_test_on(self, preset: Preset, test: Test, seed: int) -> data.Dataset:
        """The images of one of its tests."""
        return preset.parts(seed)[1] if preset.parts else self.load(test.data, test.split)

    def pool(self, images: data.Dataset, settings: training.Plan):
        """What ``batch`` draws from; methods that compare people are told who is who, a denoiser of faces is not."""
        told = (images.labels,) if any(preset.parts for preset in self.presets.values()) else ()
        return self.method.prepare(images.images, *told, settings)


def at_sigmas(*sigmas_255: float, method: ModuleType = dncnn) -> dict[str, Measure]:
    """A method's PSNR on Gaussian noise: ``psnr`` where there is one σ, else ``psnr_15``, ``psnr_25``, …"""
    return {
        "psnr" if len(sigmas_255) == 1 else f"psnr_{sigma:g}": partial(method.evaluate, sigma_255=sigma) for sigma in sigmas_255
    }


def figures(published: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, dict]]:
    """Published figures, protocol -> data set -> metric -> value, in the shape of a record."""
    found: dict[str, dict[str, dict]] = {}
    for protocol, sets in published.items():
        for name, row in sets.items():
            found.setdefault(name, {}).update({metric: {"value": value, "protocol": protocol} for metric, value in row.items()})
    return found


QUICK = dict(depth=8, width=32, batch_norm=False, zero_last=True, batch_size=8, steps=1000, learning_rate=2e-3,
             final_learning_rate=0.0, schedule="cosine", warmup_steps=20, scales=(1.0, 0.5), log_every=25)  # fmt: skip
QUICK_BEYOND = {**QUICK, "batch_norm": True, "patch_size": 24, "steps": 600}  # constants are what it is about
QUICK_FFDNET = dict(depth=6, batch_norm=False, centred=True, patch_size=32, batch_size=8, steps=1000, final_learning_rate=0.0,
                    schedule="cosine", warmup_steps=20, scales=(1.0, 0.5), log_every=25)  # fmt: skip
BLIND = dict(depth=20, patch_size=50, sigma_255=(0.0, 55.0), steps=150_000)  # 50 epochs of 128 × 3,000 patches
BEYOND = (10.0, 30.0, 50.0, 70.0, 100.0)
FOLDED = (dncnn, dncnn.DnCNN, dncnn.folded, {"batch_norm": False})


def dncnn_s(sigma_255: float, *, bsd68: float, set12: float) -> Recipe:
    """DnCNN-S for one σ, with the paper's figures on the two test sets."""
    tests, sigma = at_sigmas(sigma_255), (sigma_255, sigma_255)
    return Recipe(
        f"DnCNN-S: 17 layers, trained for σ = {sigma_255:g}", *FOLDED,
        {
            "quick": Preset(dncnn.Settings(**QUICK, sigma_255=sigma), ("photos", "train"), (Test("photos", "test", tests),)),
            "paper": Preset(dncnn.Settings(sigma_255=sigma), ("bsd400", None),
                            (Test("bsd68", None, tests), Test("set12", None, tests), Test("photos", "test", tests))),
        },
        figures({"quantised": {"bsd68": {"psnr": bsd68}, "set12": {"psnr": set12}}}),
    )  # fmt: skip


def around_it(*sigmas_255: float) -> dict[str, Measure]:
    """PSNR of NN3D around a network."""
    return {f"nn3d_{sigma:g}": restored(nn3d.evaluate, sigma) for sigma in sigmas_255}


def ffdnet_recipe(title: str, color: bool, train_on: str, paper: dict[str, dict[str, float]], **settings) -> Recipe:
    """FFDNet in gray or colour; ``paper`` are published figures, data set to test on -> metric -> value."""
    tests = at_sigmas(15.0, 25.0, 35.0, 50.0, 75.0, method=ffdnet)
    with_nn3d = {**tests, "psnr_30": partial(ffdnet.evaluate, sigma_255=30.0), **around_it(30.0, 50.0, 75.0)}
    measured = tests if color else with_nn3d
    quick = dict(QUICK_FFDNET, channels=3) if color else QUICK_FFDNET
    return Recipe(
        title, ffdnet, ffdnet.FFDNet, ffdnet.folded, {"batch_norm": False},
        {
            "quick": Preset(ffdnet.Settings(**quick), ("photos", "train"), (Test("photos", "test", tests),)),
            "paper": Preset(ffdnet.Settings(**settings), (train_on, None),
                            (*(Test(name, None, measured) for name in paper), Test("photos", "test", tests))),
        },
        figures({"quantised": paper}),
        color=color,
    )  # fmt: skip


def beyond(method: ModuleType) -> dict[str, Measure]:
    """PSNR on noise within and beyond what a blind network was trained for, by the protocol of BF-CNN."""
    clamped = {} if method is bfcnn else {"protocol": "clamped"}
    return {f"clamped_{sigma:g}": partial(method.evaluate, sigma_255=sigma, **clamped) for sigma in BEYOND}


def trained_up_to(title: str, method: ModuleType, network: type[nn.Module], sigma_255: float, paper: Sequence[float]) -> Recipe:
    """DnCNN or BF-CNN, 20 layers, for σ from 0 to one that is exceeded in the test, with figures of BF-CNN's paper."""
    tests, trained = beyond(method), {"sigma_255": (0.0, sigma_255)}
    return Recipe(
        title, method, network, method.folded, {"batch_norm": False},
        {
            "quick": Preset(method.Settings(**QUICK_BEYOND, **trained), ("photos", "train"), (Test("photos", "test", tests),)),
            "paper": Preset(bfcnn.Settings(**trained), ("bsd400", None),
                            (Test("bsd68", None, tests), Test("photos", "test", tests))),
        },
        figures({"clamped": {"bsd68": dict(zip(tests, paper, strict=True))}}),
    )  # fmt: skip


CLASSES = {  # of images: what to train and to test on
    "faces": (("portraits", "train"), ("portraits", "test")),
    "digits": (("sheets", "train"), ("sheets", "test")),
    "photos": (("bsd400", None), ("set12", None)),
    "text": (("pages", "train"), ("pages", "test")),
    "textures": (("textures", "train"), ("textures", "test")),
}


def gradual_recipe(title: str, on: Sequence[str], *, start: str = "", peak: float = 0.0, **settings) -> Recipe:
    """Gradual denoising of σ = 25, or of a Poisson peak, trained on some of the classes and tested on all."""
    measure = partial(gradual.evaluate, peak=peak) if peak else partial(gradual.evaluate, sigma_255=25.0)
    tests = {"psnr": measure}
    everything = tuple(Test(*test, tests) for _, test in CLASSES.values())
    (first, *more) = (CLASSES[name][0] for name in on)
    presets = {"paper": Preset(gradual.Settings(peak=peak, **settings), first, everything, more=tuple(more))}
    if not start:  # what is embedded; its photos to train on have the textures among them, both halves
        quick = gradual.Settings(depth=8, width=32, patch_size=32, batch_size=8, steps=300, learning_rate=2e-3, warmup_steps=20,
                                 peak=peak, log_every=20)  # fmt: skip
        trained_on, embedded = zip((("photos", "train"), ("photos", "test")), CLASSES["digits"], CLASSES["text"], strict=True)
        presets["quick"] = Preset(quick, trained_on[0], tuple(Test(*test, tests) for test in embedded), more=trained_on[1:])
    return Recipe(title, gradual, gradual.GradualDenoiser, common.unchanged, {}, presets, {}, start=start)


def untouched(measure: Callable[..., list[float]], *strength: float) -> Measure:
    """What a measure of ``denoising.evaluation`` gives without any network: how good the degraded images are."""
    return lambda network, *images, indices=None: measure(lambda degraded: degraded, *images, *strength, indices=indices)


def restored(measure: Callable[..., list[float]], *strength: float) -> Measure:
    """What such a measure gives for the ``denoise`` of a network, on the device where that is."""

    def measured(network: nn.Module, *images, indices: Sequence[int] | None = None) -> list[float]:
        return measure(network.denoise, *images, *strength, indices=indices, device=next(network.parameters()).device)

    return measured


CAMERAS = {"camera": evaluation.psnr_of_camera, "jpeg": partial(evaluation.psnr_of_camera, quality=80)}
TAKEN = {f"psnr_{name}": restored(measure, 0.08, 0.03) for name, measure in CAMERAS.items()} | {
    f"input_{name}": untouched(measure, 0.08, 0.03) for name, measure in CAMERAS.items()
}
REAL = {"psnr": restored(evaluation.psnr_of_pairs), "input": untouched(evaluation.psnr_of_pairs)}
GRAY, COLOR = at_sigmas(15.0, 25.0, 50.0), at_sigmas(15.0, 25.0, 35.0, 50.0)
AROUND = {**at_sigmas(30.0, 50.0), **around_it(30.0, 50.0)}  # NN3D, within the range of a blind network
UPSCALED = {f"psnr_x{scale}": restored(evaluation.psnr_upscaled, scale) for scale in (2, 3, 4)} | {
    f"input_x{scale}": untouched(evaluation.psnr_upscaled, scale) for scale in (2, 3, 4)
}
DEBLOCKED = {f"psnr_q{quality}": restored(evaluation.psnr_deblocked, quality) for quality in (10, 20, 30, 40)} | {
    f"input_q{quality}": untouched(evaluation.psnr_deblocked, quality) for quality in (10, 20, 30, 40)
}


def characters(seed: int, count: int = 4000) -> tuple[data.Dataset, data.Dataset]:
    """Handwritten characters as people, each a person of their own: ``count`` to train on, ten shots of 100 others."""
    others = data.load("digits", "test")
    taken = torch.randperm(len(others), generator=rng.generator(seed, 0, 0, "unseen characters"))[:100]
    chosen = dataclasses.replace(others, images=others.images[taken], names=tuple(others.names[i] for i in taken.tolist()))
    train = data.load("digits", "train")
    mixed = torch.randperm(len(train), generator=rng.generator(seed, 0, 0, "characters to train on"))[:count]
    names = tuple(train.names[i] for i in mixed.tolist())
    as_people = dataclasses.replace(train, images=train.images[mixed], names=names, labels=torch.arange(len(names)), classes=names)
    return as_people, people.shots(chosen, 10, **SHOT, seed=seed)


def faces(seed: int) -> tuple[data.Dataset, data.Dataset]:
    """The faces at half their size: 30 people to train on, and the other 10."""
    return people.split(people.smaller(data.load("faces"), 0.5), 30, seed)


def held_out_digits(seed: int) -> tuple[data.Dataset, data.Dataset]:
    """Digits as "people": seven digits to train on, pictures of the three others."""
    known = people.split(data.load("digits", "train"), 7, seed)[0]
    return known, people.split(data.load("digits", "test"), 7, seed)[1]


SHOT = dict(shift=0.1, angle=15.0, light=0.3)  # how a character varies from shot to shot
MILD = dict(shift=0.05, angle=5.0, light=0.2)  # real pictures vary by themselves


def of_people(title: str, method: ModuleType, quick_steps: int, **settings) -> Recipe:
    """A recipe of metric learning: ``quick`` on characters, ``faces``, ``digits``. No paper has figures for these."""

    def preset(parts, name: str, split: str | None, test: str | None, **more) -> Preset:
        return Preset(method.Settings(**settings, **more), (name, split), (OfPeople(name, test, shot=SHOT),), parts)

    return Recipe(
        title, method, embedding.Embedder, None, {},
        {
            "quick": preset(characters, "digits", "train", "test", **SHOT, steps=quick_steps),
            "faces": preset(faces, "faces", None, None, **FACES),
            "digits": preset(held_out_digits, "digits", "train", "test", **DIGITS),
        },
        {},
    )  # fmt: skip


def classifier() -> Recipe:
    """Identification by classification, on the same data; with the distance of pixels, and the angle in place of the distance."""

    def preset(parts, name: str, split: str | None, test: str | None, **settings) -> Preset:
        rivals = {"pixels_": lambda model: people.pixels, "angle_": lambda model: people.direction(model.embed)}
        made = identification.Settings(**settings)
        return Preset(made, (name, split), (OfPeople(name, test, shot=SHOT, rivals=rivals),), parts)

    return Recipe(
        "Identification by classification: softmax over people", identification, identification.Classifier, None, {},
        {
            # 100 people: a softmax over 4,000 does not begin to learn in so few steps
            "quick": preset(partial(characters, count=100), "digits", "train", "test", **SHOT, people=100, images=2, steps=400,
                            learning_rate=2e-3, warmup_steps=20),
            "faces": preset(faces, "faces", None, None, **FACES, people=30),
            "digits": preset(held_out_digits, "digits", "train", "test", **DIGITS, people=7),
        },
        {},
    )  # fmt: skip


FACES = dict(**MILD, height=56, width=46, steps=400, learning_rate=5e-4)
DIGITS = dict(**MILD, images=9, batch_size=63, steps=400, learning_rate=5e-4)
TRIPLET = dict(normalise=True, margin=0.2)

RECIPES: dict[str, Recipe] = {
    "identification": classifier(),
    "siamese": of_people("Siamese network: contrastive loss", siamese, 500, normalise=True, margin=1.0),
    "triplet": of_people("Triplet network: semi-hard negatives", triplet, 600, **TRIPLET, mining="semi-hard"),
    "triplet_hard": of_people("Triplet network: batch-hard", triplet, 600, **TRIPLET, mining="batch-hard"),
    "triplet_random": of_people("Triplet network: random negatives", triplet, 600, **TRIPLET, mining="random"),
    "dncnn_s": dncnn_s(25.0, bsd68=29.23, set12=30.436),
    "dncnn_s15": dncnn_s(15.0, bsd68=31.73, set12=32.859),
    "dncnn_s50": dncnn_s(50.0, bsd68=26.23, set12=27.178),
    "dncnn_b": Recipe(
        "DnCNN-B: 20 layers, blind, trained for σ in [0, 55]", *FOLDED,
        {
            "quick": Preset(dncnn.Settings(**QUICK, sigma_255=(0.0, 55.0)), ("photos", "train"), (Test("photos", "test", GRAY),)),
            "paper": Preset(dncnn.Settings(**BLIND), ("bsd400", None),
                            (Test("bsd68", None, {**GRAY, **AROUND, **beyond(dncnn)}), Test("set12", None, {**GRAY, **AROUND}),
                             Test("photos", "test", GRAY))),
        },
        figures({
            "quantised": {"bsd68": {"psnr_15": 31.61, "psnr_25": 29.16, "psnr_50": 26.23},
                          "set12": {"psnr_15": 32.680, "psnr_25": 30.362, "psnr_50": 27.206}},
            "clamped": {"bsd68": dict(zip(beyond(dncnn), (33.73, 28.34, 26.22, 22.12, 15.43), strict=True))},  # by BF-CNN's authors
        }),
    ),
    "dncnn_3": Recipe(
        "DnCNN-3: 20 layers for Gaussian noise, super-resolution and JPEG deblocking", *FOLDED,
        {
            "quick": Preset(dncnn.Settings(**{**QUICK, "batch_size": 9}, sigma_255=(0.0, 55.0), general=True), ("photos", "train"),
                            (Test("photos", "test", {**GRAY, **UPSCALED, **DEBLOCKED}),)),
            "paper": Preset(dncnn.Settings(**{**BLIND, "steps": 400_000}, general=True), ("bsd400", None),  # 128 × 8,000 patches
                            (Test("bsd68", None, GRAY), Test("set12", None, {**GRAY, **DEBLOCKED}),
                             Test("set5", None, UPSCALED), Test("photos", "test", {**GRAY, **UPSCALED, **DEBLOCKED}))),
        },
        figures({
            "quantised": {"bsd68": {"psnr_15": 31.46, "psnr_25": 29.02, "psnr_50": 26.10}},
            "luma, raw, without a border of the scale": {"set5": {"psnr_x2": 37.58, "psnr_x3": 33.75, "psnr_x4": 31.40}},
        }),
    ),
    "cdncnn_b": Recipe(
        "CDnCNN-B: DnCNN-B for colour images", *FOLDED,
        {
            "quick": Preset(dncnn.Settings(**QUICK, channels=3, sigma_255=(0.0, 55.0)), ("photos", "train"),
                            (Test("photos", "test", COLOR),)),
            "paper": Preset(dncnn.Settings(**BLIND, channels=3), ("cbsd432", None),
                            (Test("cbsd68", None, COLOR), OfPairs("cc15", None, REAL), Test("photos", "test", {**COLOR, **TAKEN}))),
        },
        figures({"quantised": {"cbsd68": {"psnr_15": 33.89, "psnr_25": 31.23, "psnr_35": 29.58, "psnr_50": 27.92}}}),
        color=True,
    ),
    "dncnn_30": trained_up_to("DnCNN, 20 layers, blind, trained for σ in [0, 30]", dncnn, dncnn.DnCNN, 30.0,
                              (33.78, 28.37, 18.84, 15.21, 12.91)),
    "bfcnn_30": trained_up_to("BF-CNN: bias-free, trained for σ in [0, 30]", bfcnn, bfcnn.BFCNN, 30.0,
                              (33.67, 28.25, 26.05, 24.68, 23.26)),
    "bfcnn": trained_up_to("BF-CNN: bias-free, trained for σ in [0, 55]", bfcnn, bfcnn.BFCNN, 55.0,
                           (33.72, 28.31, 26.18, 24.88, 23.57)),
    "ffdnet": ffdnet_recipe("FFDNet: told the noise level, σ in [0, 75]", False, "bsd400", {
        # the second line and those on Set12 are by the authors of NN3D
        "bsd68": {"psnr_15": 31.63, "psnr_25": 29.19, "psnr_35": 27.73, "psnr_50": 26.29, "psnr_75": 24.79,
                  "psnr_30": 28.38, "nn3d_30": 28.37, "nn3d_50": 26.29, "nn3d_75": 24.80},
        "set12": {"psnr_30": 29.63, "psnr_50": 27.33, "psnr_75": 25.51, "nn3d_30": 29.66, "nn3d_50": 27.39, "nn3d_75": 25.61},
    }),
    "cffdnet": ffdnet_recipe("FFDNet for colour images", True, "cbsd432", {
        "cbsd68": {"psnr_15": 33.87, "psnr_25": 31.21, "psnr_35": 29.58, "psnr_50": 27.96, "psnr_75": 26.24},
    }, channels=3, depth=12, width=96, patch_size=50),
    "gradual": gradual_recipe("Gradual denoising, class-agnostic, σ = 25", tuple(CLASSES)),
    **{
        f"gradual_{name}": gradual_recipe(f"Gradual denoising, trained further on {name}", (name,), start="gradual", steps=10_000,
                                          learning_rate=2e-4)
        for name in CLASSES
    },
    "gradual_poisson": gradual_recipe("Gradual denoising, class-agnostic, Poisson noise of peak 8", tuple(CLASSES), peak=8.0),
    "cbdnet": Recipe(
        "CBDNet: estimates the noise of a camera, and removes it", cbdnet, cbdnet.CBDNet, common.unchanged, {},
        {
            "quick": Preset(cbdnet.Settings(width=16, estimator_width=16, patch_size=48, batch_size=8, steps=600, learning_rate=2e-3,
                                            warmup_steps=20, log_every=25), ("photos", "train"), (Test("photos", "test", TAKEN),)),
            "paper": Preset(cbdnet.Settings(), ("cbsd432", None), (OfPairs("cc15", None, REAL), Test("photos", "test", TAKEN))),
        },
        {},
        color=True,
    ),
}  # fmt: skip


def named(recipe: str) -> Recipe:
    """The recipe of that name; ``ValueError`` with the names there are for an unknown one."""
    if recipe not in RECIPES:
        raise ValueError(f'unknown recipe "{recipe}"{meant(recipe, RECIPES)}; there are {", ".join(RECIPES)}.')
    return RECIPES[recipe]


def find(recipe: str, preset: str) -> tuple[Recipe, Preset]:
    """The recipe and its preset; ``ValueError`` with the names there are for an unknown one."""
    presets = named(recipe).presets
    if preset not in presets:
        raise ValueError(f'unknown preset "{preset}"{meant(preset, presets)}; {recipe} has {", ".join(presets)}.')
    return RECIPES[recipe], presets[preset]


def meant(word: str, known) -> str:
    """``" (did you mean depth?)"``, or nothing if no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def override(settings: training.Plan, changes: dict[str, str]) -> training.Plan:
    """Settings with single fields changed, given as text, as from a command line: ``{"depth": "8", "sigma_255": "0,55"}``.

    Raises:
        ValueError: for an unknown name (with the nearest known one) or a value of the wrong type.
    """
    kinds = get_type_hints(type(settings))
    values = {}
    for name, text in changes.items():
        if name not in kinds:
            known = ", ".join(field.name for field in dataclasses.fields(settings))
            raise ValueError(f'unknown setting "{name}"{meant(name, kinds)}; the settings are {known}.')
        try:
            values[name] = _parsed(text, kinds[name])
        except ValueError:
            raise ValueError(f'{name} = "{text}" is not understood: a value such as {getattr(settings, name)!r} is expected.') from None
    return dataclasses.replace(settings, **values)


def _parsed(text: str, kind):
    if get_origin(kind) is tuple:
        return tuple(get_args(kind)[0](part) for part in text.split(","))
    if kind is bool or bool in get_args(kind):
        if text.lower() in ("true", "yes", "1", "false", "no", "0"):
            return text.lower() in ("true", "yes", "1")
        raise ValueError(text)
    return kind(text) if kind in (int, float, str) else text


def budget(settings: training.Plan) -> int:
    """Training samples that a plan shows the network."""
    return settings.steps * settings.batch_size
