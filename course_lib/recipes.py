"""The roof: each recipe is a method with its presets, its data and the paper's figures.

``quick`` trains on embedded data in well under a minute on two CPU cores; ``paper`` follows the paper's protocol. Both
are settings of the same code.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

from torch import nn

from course_lib import checkpoints, data, project, results, training, weights
from course_lib.denoising import dncnn, evaluation

Measure = Callable[..., list[float]]
"""A function ``measure(network, images, indices=None)`` that gives one figure for each image, or for those of the given numbers."""


@dataclass(frozen=True)
class Test:
    """A data set and what is measured on it."""

    __test__ = False  # no test for pytest to collect

    data: str
    split: str | None
    metrics: dict[str, Measure]  # by the name that records use


@dataclass(frozen=True)
class Preset:
    """One way to run a recipe."""

    settings: training.Plan
    train: tuple[str, str | None]  # data set and split to train on
    test: tuple[Test, ...]


@dataclass(frozen=True)
class Recipe:
    """A method, ready to run."""

    title: str
    method: ModuleType  # has prepare, batch, step
    network: Callable[..., nn.Module]  # network(settings, seed=...)
    to_ship: Callable[[nn.Module], nn.Module]  # the network as it is shipped, and …
    shipped_settings: dict[str, Any]  # … the settings in which that differs
    presets: dict[str, Preset]
    paper: dict[str, dict[str, dict]]  # data set -> metric -> value, protocol
    color: bool = False  # does it take the photos in colour?

    def load(self, name: str, split: str | None) -> data.Dataset:
        """A data set, in colour where the recipe wants that and the data set leaves the choice."""
        return data.load(name, split, color=self.color and name == "photos")


def at_sigmas(*sigmas_255: float) -> dict[str, Measure]:
    """PSNR of DnCNN on Gaussian noise: ``psnr`` where there is one σ, else ``psnr_15``, ``psnr_25``, …"""
    return {
        "psnr" if len(sigmas_255) == 1 else f"psnr_{sigma:g}": partial(dncnn.evaluate, sigma_255=sigma) for sigma in sigmas_255
    }


def figures(protocol: str, values: dict[str, dict[str, float]]) -> dict[str, dict[str, dict]]:
    """A paper's figures, data set -> metric -> value, in the shape of a record."""
    return {d: {m: {"value": v, "protocol": protocol} for m, v in row.items()} for d, row in values.items()}


QUICK = dict(depth=8, width=32, batch_norm=False, zero_last=True, batch_size=16, steps=1000, learning_rate=2e-3,
             final_learning_rate=0.0, schedule="cosine", warmup_steps=20, scales=(1.0, 0.5), log_every=25)  # fmt: skip
BLIND = dict(depth=20, patch_size=50, sigma_255=(0.0, 55.0), steps=150_000)  # 50 epochs of 128 × 3,000 patches
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
        figures("quantised", {"bsd68": {"psnr": bsd68}, "set12": {"psnr": set12}}),
    )  # fmt: skip


def untouched(measure: Callable[..., list[float]], strength: int) -> Measure:
    """What a measure of ``denoising.evaluation`` gives without any network: how good the degraded images are."""
    return lambda network, images, indices=None: measure(lambda degraded: degraded, images, strength, indices=indices)


GRAY, COLOR = at_sigmas(15.0, 25.0, 50.0), at_sigmas(15.0, 25.0, 35.0, 50.0)
UPSCALED = {f"psnr_x{scale}": partial(dncnn.evaluate_upscaled, scale=scale) for scale in (2, 3, 4)} | {
    f"input_x{scale}": untouched(evaluation.psnr_upscaled, scale) for scale in (2, 3, 4)
}
DEBLOCKED = {f"psnr_q{quality}": partial(dncnn.evaluate_deblocked, quality=quality) for quality in (10, 20, 30, 40)} | {
    f"input_q{quality}": untouched(evaluation.psnr_deblocked, quality) for quality in (10, 20, 30, 40)
}

RECIPES: dict[str, Recipe] = {
    "dncnn_s": dncnn_s(25.0, bsd68=29.23, set12=30.436),
    "dncnn_s15": dncnn_s(15.0, bsd68=31.73, set12=32.859),
    "dncnn_s50": dncnn_s(50.0, bsd68=26.23, set12=27.178),
    "dncnn_b": Recipe(
        "DnCNN-B: 20 layers, blind, trained for σ in [0, 55]", *FOLDED,
        {
            "quick": Preset(dncnn.Settings(**QUICK, sigma_255=(0.0, 55.0)), ("photos", "train"), (Test("photos", "test", GRAY),)),
            "paper": Preset(dncnn.Settings(**BLIND), ("bsd400", None),
                            (Test("bsd68", None, GRAY), Test("set12", None, GRAY), Test("photos", "test", GRAY))),
        },
        figures("quantised", {
            "bsd68": {"psnr_15": 31.61, "psnr_25": 29.16, "psnr_50": 26.23},
            "set12": {"psnr_15": 32.680, "psnr_25": 30.362, "psnr_50": 27.206},
        }),
    ),
    "dncnn_3": Recipe(
        "DnCNN-3: 20 layers for Gaussian noise, super-resolution and JPEG deblocking", *FOLDED,
        {
            "quick": Preset(dncnn.Settings(**QUICK, sigma_255=(0.0, 55.0), general=True), ("photos", "train"),
                            (Test("photos", "test", {**GRAY, **UPSCALED, **DEBLOCKED}),)),
            "paper": Preset(dncnn.Settings(**{**BLIND, "steps": 400_000}, general=True), ("bsd400", None),  # 128 × 8,000 patches
                            (Test("bsd68", None, GRAY), Test("set12", None, {**GRAY, **DEBLOCKED}),
                             Test("set5", None, UPSCALED), Test("photos", "test", {**GRAY, **UPSCALED, **DEBLOCKED}))),
        },
        {
            **figures("quantised", {"bsd68": {"psnr_15": 31.46, "psnr_25": 29.02, "psnr_50": 26.10}}),
            **figures("luma, raw, without a border of the scale", {"set5": {"psnr_x2": 37.58, "psnr_x3": 33.75, "psnr_x4": 31.40}}),
        },
    ),
    "cdncnn_b": Recipe(
        "CDnCNN-B: DnCNN-B for colour images", *FOLDED,
        {
            "quick": Preset(dncnn.Settings(**QUICK, channels=3, sigma_255=(0.0, 55.0)), ("photos", "train"),
                            (Test("photos", "test", COLOR),)),
            "paper": Preset(dncnn.Settings(**BLIND, channels=3), ("cbsd432", None),
                            (Test("cbsd68", None, COLOR), Test("photos", "test", COLOR))),
        },
        figures("quantised", {"cbsd68": {"psnr_15": 33.89, "psnr_25": 31.23, "psnr_35": 29.58, "psnr_50": 27.92}}),
        color=True,
    ),
}  # fmt: skip


def find(recipe: str, preset: str) -> tuple[Recipe, Preset]:
    """The recipe and its preset; ``ValueError`` with the names there are for an unknown one."""
    if recipe not in RECIPES:
        raise ValueError(f'unknown recipe "{recipe}"{meant(recipe, RECIPES)}; there are {", ".join(RECIPES)}.')
    presets = RECIPES[recipe].presets
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
            raise ValueError(f'{name} = "{text}" is not understood: now it is {getattr(settings, name)!r}.') from None
    return dataclasses.replace(settings, **values)


def _parsed(text: str, kind):
    if get_origin(kind) is tuple:
        return tuple(get_args(kind)[0](part) for part in text.split(","))
    if kind is bool or bool in get_args(kind):
        if text.lower() in ("true", "yes", "1", "false", "no", "0"):
            return text.lower() in ("true", "yes", "1")
        raise ValueError(text)
    return kind(text) if kind in (int, float, str) else text


def train(
    recipe: str,
    preset: str,
    *,
    changes: dict[str, str] | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> tuple[nn.Module, training.Plan, training.History, data.Dataset]:
    """Load a recipe's data and train it: (network, settings, history, training data)."""
    found, chosen = find(recipe, preset)
    settings = override(chosen.settings, changes or {})
    images = found.load(*chosen.train)
    model = found.network(settings, seed=seed)
    pool = found.method.prepare(images.images, settings)
    history = training.fit(model, pool, found.method, settings, seed=seed, checkpoint=checkpoint, resume=resume)
    return model, settings, history, images


def evaluate(
    recipe: str, preset: str, model: nn.Module, *, only: str | None = None, count: int | None = None
) -> dict[str, dict[str, dict]]:
    """Per-image figures of ``model`` on the preset's test data: data set -> metric -> image name -> value.

    Args:
        recipe, preset: whose data sets and metrics.
        model: the network, in evaluation mode.
        only: one data set instead; if the preset does not test on it, the metrics are those of its first test.
        count: the smallest images of each data set, that many, None for all.
    """
    found, chosen = find(recipe, preset)
    tests = chosen.test
    if only is not None:
        tests = [t for t in tests if t.data == only]
        tests = tests or [Test(only, "test" if only in data.SPLIT else None, chosen.test[0].metrics)]
    return {test.data: measured(test, found.load(test.data, test.split), model, count) for test in tests}


def measured(test: Test, images: data.Dataset, model: nn.Module, count: int | None = None) -> dict[str, dict[str, float]]:
    """Metric -> image name -> value, of the ``count`` smallest images or of all."""
    indices = sorted(sorted(range(len(images)), key=lambda i: images.images[i].numel())[:count])
    names = [images.names[i] for i in indices]
    return {
        metric: dict(zip(names, measure(model, images.images, indices=indices), strict=True))
        for metric, measure in test.metrics.items()
    }


def means(figures: dict[str, dict[str, dict]]) -> dict[str, dict[str, float]]:
    """Data set -> metric -> mean over the images."""
    return {d: {m: sum(v.values()) / len(v) for m, v in metrics.items()} for d, metrics in figures.items()}


def from_checkpoint(recipe: str, preset: str, file: Path) -> tuple[nn.Module, dict]:
    """The trained network of a checkpoint of this recipe, and the checkpoint's content.

    Raises:
        checkpoints.CheckpointError: if it is missing, damaged, or of another method.
    """
    found, chosen = find(recipe, preset)
    content = checkpoints.open_file(file)
    fields = {f.name for f in dataclasses.fields(chosen.settings)}
    if set(content["settings"]) != fields:
        raise checkpoints.CheckpointError(f"{file} has settings of another method: {set(content['settings']) ^ fields}.")
    settings = dataclasses.replace(chosen.settings, **content["settings"])
    model = found.network(settings)
    checkpoints.restore(model, content)
    return model.eval(), content


def shipped(recipe: str, preset: str = "paper") -> nn.Module:
    """The trained network that the course ships for a recipe, in evaluation mode.

    Raises:
        results.RecordError, weights.WeightsError: if there is none, or it is damaged.
    """
    found, chosen = find(recipe, preset)
    recorded = results.read(recipe, preset)["settings"]
    known = {field.name for field in dataclasses.fields(chosen.settings)}
    tuples = {name: tuple(v) if isinstance(v, list) else v for name, v in recorded.items() if name in known}
    model = found.network(dataclasses.replace(chosen.settings, **{**tuples, **found.shipped_settings}))
    weights.load(model, recipe, preset)
    return model.eval()


def record(recipe: str, preset: str, file: Path, *, note: str = "", folder: Path | None = None) -> dict:
    """Evaluate a finished checkpoint, ship its weights, and write the record of its run.

    Weights are shipped in half precision where no figure, the mean over four images of a set, moves by 0.01 dB, else in
    single precision; the recorded figures are those of the weights as shipped. Raises ``CheckpointError`` for a run that is not finished.

    Args:
        recipe, preset: of the run.
        file: its checkpoint.
        note: what a reader must know, such as why the run was short.
        folder: write below this one instead of ``data/``.
    """
    found, chosen = find(recipe, preset)
    model, content = from_checkpoint(recipe, preset, file)
    settings, history = content["settings"], content["history"]
    if content["step"] < settings["steps"]:
        raise checkpoints.CheckpointError(
            f"{file} is at step {content['step']} of {settings['steps']}: finish the run with --resume first."
        )
    final = found.to_ship(model)
    halved = found.to_ship(model)
    halved.half().float()
    exact, rounded = (means(evaluate(recipe, preset, network, count=4)) for network in (final, halved))
    moved = max(abs(a - b) for d in exact for a, b in zip(exact[d].values(), rounded[d].values(), strict=True))
    half = moved < 0.01
    figures = evaluate(recipe, preset, halved if half else final)
    target = weights.path(recipe, preset)
    if folder is not None:
        target = folder / "weights" / target.name
    digest = weights.save(halved if half else final, target, half=half)
    entry = {
        "recipe": recipe,
        "preset": preset,
        "title": found.title,
        "settings": settings,
        "data": {
            "train": str(found.load(*chosen.train)),
            "test": {test.data: found.load(test.data, test.split).source for test in chosen.test},
        },
        "seed": content["seed"],
        "device": history["device"],
        "precision": content["precision"],
        "versions": results.versions(),
        "commit": project.commit(),
        "source_hash": content["source_hash"],
        "seconds": round(history["seconds"], 1),
        "steps": content["step"],
        "throughput": {"patches_per_second": round(content["step"] * settings["batch_size"] / history["seconds"], 2)},
        "metrics": {d: {m: round(v, 4) for m, v in metrics.items()} for d, metrics in means(figures).items()},
        "per_image": {d: {m: {n: round(x, 4) for n, x in v.items()} for m, v in ms.items()} for d, ms in figures.items()},
        "paper": found.paper if preset == "paper" else {},
        "short": content["step"] * settings["batch_size"] < budget(chosen.settings),
        "note": note,
        "weights": {"file": target.name, "sha256": digest, "half_precision": half, "moved_db": round(moved, 5)},
    }
    return results.open_file(results.write(entry, None if folder is None else folder / "results" / f"{recipe}.{preset}.json"))


def budget(settings: training.Plan) -> int:
    """Training samples that a plan shows the network."""
    return settings.steps * settings.batch_size
