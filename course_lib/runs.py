"""The roof: what is done with a recipe: train it, evaluate it, record the run, and load what a recorded run shipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib import checkpoints, data, devices, project, recipes, results, training, weights

Figures = dict[str, dict[str, dict[str, float]]]
"""Data set -> metric -> image (or seed) -> value."""


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
    found, chosen = recipes.find(recipe, preset)
    settings = recipes.override(chosen.settings, changes or {})
    if checkpoint and not resume:
        checkpoints.require_free(checkpoint)  # before the images are loaded, which may take a while
    images = found.to_train_on(chosen, seed)
    model = found.network(settings, seed=seed)
    if found.start:
        _go_on_from(model, found.start, preset)
    history = training.fit(
        model, found.pool(images, settings), found.method, settings, seed=seed, checkpoint=checkpoint, resume=resume
    )
    return model, settings, history, images


def _go_on_from(model: nn.Module, recipe: str, preset: str) -> None:
    """Give ``model`` the shipped weights of another recipe, whose settings it must have."""
    state = shipped(recipe, preset).state_dict()
    shapes = [{name: tuple(tensor.shape) for name, tensor in one.items()} for one in (state, model.state_dict())]
    if shapes[0] != shapes[1]:
        raise ValueError(f"the training goes on from {recipe}, so that the network must have its depth and width.")
    model.load_state_dict(state)


def evaluate(
    recipe: str, preset: str, model: nn.Module, *, only: str | None = None, count: int | None = None, seed: int = 0
) -> Figures:
    """Figures of ``model`` on the preset's test data, image by image; of people, one for the seed that chose them.

    Args:
        recipe, preset: whose data sets and metrics.
        model: the network, in evaluation mode.
        only: one data set instead; if the preset does not test on it, the metrics are those of its first test.
        count: the smallest images of each data set, that many, None for all.
        seed: of the training, where that divided people into two parts.
    """
    found, chosen = recipes.find(recipe, preset)
    tests = chosen.test
    if only is not None:
        tests = [t for t in tests if t.data == only]
        if not tests and chosen.parts:
            raise ValueError(f'{recipe} with preset {preset} is tested on the people of "{chosen.test[0].data}" only, not on "{only}".')
        tests = tests or [recipes.Test(only, "test" if only in data.SPLIT else None, chosen.test[0].metrics)]
    return {test.data: test.figures(found.to_test_on(chosen, test, seed), model, seed=seed, count=count) for test in tests}


def means(figures: Figures) -> dict[str, dict[str, float]]:
    """Data set -> metric -> mean over images or seeds."""
    return {d: {m: sum(v.values()) / len(v) for m, v in metrics.items()} for d, metrics in figures.items()}


def from_checkpoint(recipe: str, preset: str, file: Path) -> tuple[nn.Module, dict]:
    """The trained network of a checkpoint of this recipe, and the checkpoint's content.

    Raises:
        checkpoints.CheckpointError: if it is missing, damaged, or of another method.
    """
    found, chosen = recipes.find(recipe, preset)
    content = checkpoints.open_file(file)
    fields = {f.name for f in dataclasses.fields(chosen.settings)}
    if set(content["settings"]) != fields:
        raise checkpoints.CheckpointError(
            f"{file} is of another method: it has the settings {', '.join(sorted(content['settings']))}; {recipe} has "
            f"{', '.join(sorted(fields))}."
        )
    settings = dataclasses.replace(chosen.settings, **content["settings"])
    model = found.network(settings)
    checkpoints.restore(model, content)
    return model.eval(), content


def shipped(recipe: str, preset: str = "paper") -> nn.Module:
    """The trained network that the course ships for a recipe, in evaluation mode.

    Raises:
        results.RecordError, weights.WeightsError: if there is none, or it is damaged.
        ValueError: for a recipe that ships none, or an unknown name.
    """
    if recipes.named(recipe).to_ship is None:
        raise ValueError(f"no weights of {recipe} are shipped: train it, and give its --checkpoint, or use runs.from_checkpoint.")
    found, chosen = recipes.find(recipe, preset)
    recorded = results.read(recipe, preset)["settings"]
    known = {field.name for field in dataclasses.fields(chosen.settings)}
    tuples = {name: tuple(v) if isinstance(v, list) else v for name, v in recorded.items() if name in known}
    model = found.network(dataclasses.replace(chosen.settings, **{**tuples, **found.shipped_settings}))
    weights.load(model, recipe, preset)
    return model.to(memory_format=torch.channels_last).eval()  # up to 1.5 times as fast on a CPU


def record(recipe: str, preset: str, file: Path, *, note: str = "", folder: Path | None = None) -> dict:
    """Evaluate a finished checkpoint, ship its weights, and write the record of its run.

    Weights are shipped in half precision where no figure, the mean over four images of a set, moves by 0.01 dB, else in
    single precision; the recorded figures are those of the weights as shipped.

    Args:
        recipe, preset: of the run.
        file: its checkpoint.
        note: what a reader must know, such as why the run was short.
        folder: write below this one instead of ``data/``.

    Raises:
        checkpoints.CheckpointError: for a run that is not finished.
        ValueError: for a recipe that ships no weights; see :func:`record_seeds`.
    """
    found, chosen = recipes.find(recipe, preset)
    if found.to_ship is None:
        raise ValueError(
            f"{recipe} is recorded over several seeds, without weights: course train {recipe} --preset {preset} --seeds 5 --record."
        )
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
    entry = _entry(
        recipe, preset, settings, figures, "per_image", precision=content["precision"], source_hash=content["source_hash"],
        history=history, seconds=history["seconds"], steps=content["step"], seed=content["seed"], note=note,
        images={"train": str(found.to_train_on(chosen, content["seed"])),
                "test": {test.data: found.load(test.data, test.split).source for test in chosen.test}},
    )  # fmt: skip
    # only now, or weights that replace others would make the commit of the entry a dirty one
    digest = weights.save(halved if half else final, target, half=half)
    entry["weights"] = {"file": target.name, "sha256": digest, "half_precision": half, "moved_db": round(moved, 5)}
    return _written(entry, folder)


def extend(recipe: str, preset: str, *, folder: Path | None = None) -> dict:
    """Measure with the shipped weights what the recipe tests and the record of its run lacks, and write the record again.

    So a new metric or test set needs no new training. What is there is not measured again. The figures of the paper
    become those of the recipe.

    Args:
        recipe, preset: of the record.
        folder: write below this one instead of ``data/``.

    Raises:
        results.RecordError, weights.WeightsError: if there is no record, or no weights, or they are damaged.
        ValueError: if the record lacks nothing.
    """
    found, chosen = recipes.find(recipe, preset)
    entry = results.read(recipe, preset)
    model = shipped(recipe, preset).to(devices.default())
    added = {}
    for test in chosen.test:
        there = entry["per_image"].get(test.data, {})
        lacking = {name: measure for name, measure in test.metrics.items() if name not in there}
        if lacking:
            images = found.load(test.data, test.split)
            added[test.data] = dataclasses.replace(test, metrics=lacking).figures(images, model)
            entry["data"]["test"].setdefault(test.data, images.source)
    paper = found.paper if preset == "paper" else {}
    if not added and entry["paper"] == paper:
        raise ValueError(f"the record of {recipe}, {preset} preset, has everything that the recipe tests.")
    for name, kind in (("metrics", means(added)), ("per_image", added)):
        for data_set, values in _rounded(kind).items():
            entry[name].setdefault(data_set, {}).update(values)
    entry["paper"] = paper
    return _written(entry, folder)


def record_seeds(
    recipe: str,
    preset: str,
    *,
    seeds: Iterable[int] = range(5),
    changes: dict[str, str] | None = None,
    note: str = "",
    folder: Path | None = None,
) -> dict:
    """Train once for every seed, each on people of its own choice, and write one record of all; no weights are shipped.

    Args:
        recipe, preset: what to train; of metric learning.
        seeds: each divides the people into those trained on and those tested on.
        changes: settings to change, as for :func:`course_lib.recipes.override`.
        note: what a reader must know.
        folder: write below this one instead of ``data/``.

    Raises:
        ValueError: for a recipe that does not divide people, or fewer than two seeds.
    """
    found, chosen = recipes.find(recipe, preset)
    seeds = list(seeds)
    if chosen.parts is None:
        raise ValueError(f"{recipe} is trained with one seed at a time; several are for metric learning, where a seed chooses the people.")
    if len(seeds) < 2:
        raise ValueError(f"seeds = {seeds}: an interval needs at least two of them.")
    figures: Figures = {}
    seconds, test_on = 0.0, {}
    for number, seed in enumerate(seeds):
        print(f"seed {seed}, {number + 1} of {len(seeds)}")
        model, settings, history, images = train(recipe, preset, changes=changes, seed=seed)
        if history.interrupted:
            print(f"interrupted in seed {seed}: nothing is written before all {len(seeds)} are done")
            raise KeyboardInterrupt
        seconds += history.seconds
        for test in chosen.test:
            held_out = found.to_test_on(chosen, test, seed)
            test_on[test.data] = held_out.source
            for metric, values in test.figures(held_out, model, seed=seed).items():
                figures.setdefault(test.data, {}).setdefault(metric, {}).update(values)
    entry = _entry(
        recipe, preset, dataclasses.asdict(settings), figures, "per_seed", precision=history.precision,
        source_hash=project.source_hash(), history=dataclasses.asdict(history), seconds=seconds,
        steps=settings.steps * len(seeds), seed=seeds, note=note, images={"train": str(images), "test": test_on},
    )  # fmt: skip
    return _written(entry, folder)


def _entry(recipe, preset, settings: dict, figures: Figures, kind: str, *, precision, source_hash, history: dict, seconds: float,
           steps: int, seed, note: str, images: dict) -> dict[str, Any]:  # fmt: skip
    """A record without what only some have; ``kind`` is what the values are of, ``per_image`` or ``per_seed``."""
    found, chosen = recipes.find(recipe, preset)
    return {
        "recipe": recipe,
        "preset": preset,
        "title": found.title,
        "settings": settings,
        "data": images,
        "seed": seed,
        "device": history["device"],
        "precision": precision,
        "versions": results.versions(),
        "commit": project.commit(),
        "source_hash": source_hash,
        "seconds": round(seconds, 1),
        "steps": steps,
        "throughput": {"patches_per_second": round(steps * settings["batch_size"] / seconds, 2)},
        "metrics": _rounded(means(figures)),
        kind: _rounded(figures),
        "paper": found.paper if preset == "paper" else {},
        "short": settings["steps"] * settings["batch_size"] < recipes.budget(chosen.settings),
        "note": note,
    }


def _rounded(figures):
    """Every number of a nested dictionary to four places."""
    return round(figures, 4) if isinstance(figures, float) else {name: _rounded(part) for name, part in figures.items()}


def _written(entry: dict, folder: Path | None) -> dict:
    file = None if folder is None else folder / "results" / f"{entry['recipe']}.{entry['preset']}.json"
    return results.open_file(results.write(entry, file))
