"""The roof: each recipe is a method with its presets, its data and the paper's figures.

``quick`` trains on embedded data in well under a minute on two CPU cores; ``paper`` follows the paper's protocol. Both
are settings of the same code.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

from torch import nn

from course_lib import checkpoints, data, project, results, training, weights
from course_lib.denoising import dncnn


@dataclass(frozen=True)
class Preset:
    """One way to run a recipe."""

    settings: training.Plan
    train: tuple[str, str | None]  # data set and split to train on
    test: tuple[tuple[str, str | None], ...]  # data sets and splits to evaluate on


@dataclass(frozen=True)
class Recipe:
    """A method, ready to run."""

    title: str
    method: ModuleType  # has prepare, batch, step, evaluate
    network: Callable[..., nn.Module]  # network(settings, seed=...)
    to_ship: Callable[[nn.Module], nn.Module]  # the network as it is shipped, and …
    shipped_settings: dict[str, Any]  # … the settings in which that differs
    sigmas_255: tuple[float, ...]  # noise levels of the evaluation
    presets: dict[str, Preset]
    paper: dict[str, dict[str, dict]]  # data set -> metric -> value, protocol
    color: bool = False  # does it take the photos in colour?

    def load(self, name: str, split: str | None) -> data.Dataset:
        """A data set, in colour where the recipe wants that and the data set leaves the choice."""
        return data.load(name, split, color=self.color and name == "photos")


def _psnr(values: dict[str, tuple[float, ...]], sigmas_255: tuple[float, ...]) -> dict[str, dict[str, dict]]:
    """The paper's PSNR figures, data set -> one for each σ, in the shape of a record."""
    return {
        name: {
            metric_name(sigma, sigmas_255): {"value": value, "protocol": "quantised"}
            for sigma, value in zip(sigmas_255, row, strict=True)
        }
        for name, row in values.items()
    }


def metric_name(sigma_255: float, sigmas_255: tuple[float, ...]) -> str:
    """``psnr`` where a recipe is evaluated at one σ, else ``psnr_25``."""
    return "psnr" if len(sigmas_255) == 1 else f"psnr_{sigma_255:g}"


QUICK = dict(depth=8, width=32, batch_norm=False, zero_last=True, batch_size=16, steps=1000, learning_rate=2e-3,
             final_learning_rate=0.0, schedule="cosine", warmup_steps=20, scales=(1.0, 0.5), log_every=25)  # fmt: skip
BLIND = dict(depth=20, patch_size=50, sigma_255=(0.0, 55.0), steps=150_000)  # 50 epochs of 128 × 3,000 patches

RECIPES: dict[str, Recipe] = {
    "dncnn_s": Recipe(
        "DnCNN-S: 17 layers, trained for σ = 25",
        dncnn, dncnn.DnCNN, dncnn.folded, {"batch_norm": False}, (25.0,),
        {
            "quick": Preset(dncnn.Settings(**QUICK), ("photos", "train"), (("photos", "test"),)),
            "paper": Preset(dncnn.Settings(), ("bsd400", None), (("bsd68", None), ("set12", None))),
        },
        _psnr({"bsd68": (29.23,), "set12": (30.436,)}, (25.0,)),
    ),
    "dncnn_b": Recipe(
        "DnCNN-B: 20 layers, blind, trained for σ in [0, 55]",
        dncnn, dncnn.DnCNN, dncnn.folded, {"batch_norm": False}, (15.0, 25.0, 50.0),
        {
            "quick": Preset(dncnn.Settings(**QUICK, sigma_255=(0.0, 55.0)), ("photos", "train"), (("photos", "test"),)),
            "paper": Preset(dncnn.Settings(**BLIND), ("bsd400", None), (("bsd68", None), ("set12", None))),
        },
        _psnr({"bsd68": (31.61, 29.16, 26.23), "set12": (32.680, 30.362, 27.206)}, (15.0, 25.0, 50.0)),
    ),
    "cdncnn_b": Recipe(
        "CDnCNN-B: DnCNN-B for colour images",
        dncnn, dncnn.DnCNN, dncnn.folded, {"batch_norm": False}, (15.0, 25.0, 35.0, 50.0),
        {
            "quick": Preset(dncnn.Settings(**QUICK, channels=3, sigma_255=(0.0, 55.0)), ("photos", "train"),
                            (("photos", "test"),)),
            "paper": Preset(dncnn.Settings(**BLIND, channels=3), ("cbsd432", None), (("cbsd68", None),)),
        },
        _psnr({"cbsd68": (33.89, 31.23, 29.58, 27.92)}, (15.0, 25.0, 35.0, 50.0)),
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
        return tuple(float(part) for part in text.split(","))
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


def evaluate(recipe: str, preset: str, model: nn.Module, *, only: str | None = None) -> dict[str, dict[str, dict]]:
    """Per-image figures of ``model`` on the preset's test data: data set -> metric -> image name -> value.

    ``only`` names one data set instead.
    """
    found, chosen = find(recipe, preset)
    tests = chosen.test if only is None else ((only, "test" if only in data.SPLIT else None),)
    figures = {}
    for name, split in tests:
        images = found.load(name, split)
        figures[name] = {
            metric_name(sigma, found.sigmas_255): dict(
                zip(images.names, found.method.evaluate(model, images.images, sigma), strict=True)
            )
            for sigma in found.sigmas_255
        }
    return figures


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

    Weights are shipped in half precision where no mean figure moves by 0.01 dB, else in single precision; the recorded
    figures are those of the weights as shipped. Raises ``CheckpointError`` for a run that is not finished.

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
    exact = evaluate(recipe, preset, final)
    halved = found.to_ship(model)
    halved.half().float()
    figures = evaluate(recipe, preset, halved)
    moved = max(
        abs(a - b)
        for d, metrics in means(exact).items()
        for a, b in zip(metrics.values(), means(figures)[d].values(), strict=True)
    )
    half = moved < 0.01
    target = weights.path(recipe, preset)
    if folder is not None:
        target = folder / "weights" / target.name
    digest = weights.save(halved if half else final, target, half=half)
    figures = figures if half else exact
    entry = {
        "recipe": recipe,
        "preset": preset,
        "title": found.title,
        "settings": settings,
        "data": {
            "train": str(found.load(*chosen.train)),
            "test": {name: found.load(name, split).source for name, split in chosen.test},
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
    results.write(entry, None if folder is None else folder / "results" / f"{recipe}.{preset}.json")
    return entry


def budget(settings: training.Plan) -> int:
    """Training samples that a plan shows the network."""
    return settings.steps * settings.batch_size
