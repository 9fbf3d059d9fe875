"""The roof: the record of a run, made from its checkpoints: figures, where they come from, and the weights that are shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from course_lib import checkpoints, devices, project, recipes, reported, results, runs, weights
from course_lib.data import Dataset
from course_lib.recipes.base import Benchmark, Figures, Split

MOST_IMAGES = 100
"""Up to that many images of a data set a record has a value for each; of more it has their mean, by seed."""


def record(recipe: str, preset: str, files: Path | Sequence[Path], *, note: str = "", folder: Path | None = None) -> dict[str, Any]:
    """Evaluate finished checkpoints, ship the weights of the first where the recipe ships any, and write the record.

    Weights are shipped in half precision where no figure, the mean over four images of a set, moves by half the tolerance of
    its metric (0.01 dB), else in single precision; the recorded figures are those of the weights as shipped. All is computed on
    the default device, which the record names.

    Args:
        recipe, preset: of the run.
        files: its checkpoint, or those of several seeds.
        note: what a reader must know, such as why the run was short.
        folder: write below this one instead of ``data/``.

    Raises:
        checkpoints.CheckpointError: for a run that is not finished, or about something else, or seeds of different settings.
        ValueError: for one seed of a recipe that is recorded over several.
    """
    found, chosen = recipes.find(recipe, preset)
    files = [files] if isinstance(files, str | Path) else list(files)
    if len(files) < min(found.seeds, 2):
        raise ValueError(
            f"{recipe} is recorded over several seeds: course train {recipe} --preset {preset} --seeds {found.seeds} --record."
        )
    read = [_finished(recipe, preset, file) for file in files]
    networks, contents, splits = ([one[i] for one in read] for i in range(3))
    if any(content["settings"] != contents[0]["settings"] for content in contents):
        raise checkpoints.CheckpointError(f"{files[0]} and the others have different settings: one record is of one setting.")
    seeds = [content["seed"] for content in contents]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"the checkpoints have the seeds {seeds}: each is to be another one.")
    networks, weights_entry = _as_shipped(recipe, preset, networks, seeds[0]) if found.ships else (networks, None)

    histories = [content["history"] for content in contents]
    seconds, steps = sum(history["seconds"] for history in histories), sum(content["step"] for content in contents)
    settings = contents[0]["settings"]
    entry = {
        "about": contents[0]["about"],
        "title": found.title,
        "settings": settings,
        "seed": seeds if len(seeds) > 1 else seeds[0],
        "device": histories[0]["device"],
        "precision": contents[0]["precision"],
        "versions": results.versions(),
        "commit": project.commit(),
        "source_hash": contents[0]["source_hash"],
        "seconds": round(seconds, 1),
        "steps": steps,
        "throughput": {"samples_per_second": round(steps * settings["batch_size"] / seconds, 2)},
        "measured": [],
        "metrics": {},
        "paper": found.paper if preset == "paper" else {},
        "short": settings["steps"] * settings["batch_size"] < recipes.budget(chosen.settings),
        "note": note,
    }
    for name, test in chosen.tests.items():
        figures = []
        for model, split, seed in zip(networks, splits, seeds, strict=True):
            images = split.test(name)
            figures.append(_of_all(test, images, model, seed, by_seed=len(seeds) > 1))
        _enter(entry, name, images.source, *figures)
    target = weights.path(recipe, preset)
    if folder is not None:
        target = folder / "weights" / target.name
    if weights_entry:  # only now, or weights that replace others would make the commit of the entry a dirty one
        digest = weights.save(networks[0], target, half=weights_entry["half_precision"])
        entry["weights"] = {"file": target.name, "sha256": digest, **weights_entry}
    return _written(entry, folder)


def extend(recipe: str, preset: str, *, folder: Path | None = None) -> dict[str, Any]:
    """Measure with the shipped weights what the recipe tests and the record of its run lacks, and write the record again.

    So a new metric or test set needs no new training. What is there is not measured again. The figures of the paper
    become those of the recipe. What is added says by which commit and versions, and on which device, it was measured.

    Args:
        recipe, preset: of the record.
        folder: write below this one instead of ``data/``.

    Raises:
        results.RecordError, weights.WeightsError: if there is no record, or no weights, or they are damaged.
        ValueError: if the record lacks nothing, or is of several trainings.
    """
    found, chosen = recipes.find(recipe, preset)
    entry = results.read(recipe, preset)
    if isinstance(entry["seed"], list):
        raise ValueError(f"the record of {recipe}, {preset} preset, is of {len(entry['seed'])} trainings, of which not all have weights.")
    model, split = runs.shipped(recipe, preset).to(devices.default()), chosen.data(entry["seed"])
    paper = found.paper if preset == "paper" else {}
    lacking = {name: test.lacking(entry["metrics"].get(name, {})) for name, test in chosen.tests.items()}
    if not any(lacking.values()) and entry["paper"] == paper:
        raise ValueError(f"the record of {recipe}, {preset} preset, has everything that the recipe tests.")
    for name, test in lacking.items():
        if test:
            images = split.test(name)
            _enter(entry, name, images.source, _of_all(test, images, model, entry["seed"], by_seed=False))
    entry["paper"] = paper
    return _written(entry, folder)


def _finished(recipe: str, preset: str, file: Path) -> tuple[nn.Module, dict, Split]:
    """Network, on the default device, content and data of a checkpoint that is at its end, and of this recipe and its data."""
    model, content = runs.from_checkpoint(recipe, preset, file)
    settings, was = content["settings"], content["about"]
    if content["step"] < settings["steps"]:
        raise checkpoints.CheckpointError(
            f"{file} is at step {content['step']} of {settings['steps']}: finish the run with --resume first."
        )
    split = recipes.find(recipe, preset)[1].data(content["seed"])
    differences = checkpoints.differences(was, runs.about(recipe, preset, split.train()))
    if differences:
        raise checkpoints.CheckpointError(f"{file} is about something else than {recipe}, {preset} preset ({'; '.join(differences)}).")
    return model.to(devices.default()), content, split


def _as_shipped(recipe: str, preset: str, networks: list[nn.Module], seed: int) -> tuple[list[nn.Module], dict[str, Any]]:
    """The networks as they are shipped, all in one precision, and what the record says of that."""
    found, _ = recipes.find(recipe, preset)
    exact, halved = ([found.folded(model).to(devices.default()) for model in networks] for _ in range(2))
    for model in halved:
        model.half().float()
    before, after = (runs.means(runs.evaluate(recipe, preset, one[0], count=runs.FEW, seed=seed)) for one in (exact, halved))
    moved = {m: abs(a - after[d][m]) for d, values in before.items() for m, a in values.items()}
    half = all(by < reported.named(metric).tolerance / 2 for metric, by in moved.items())
    return (halved if half else exact), {"half_precision": half, "moved": round(max(moved.values()), 5)}


def _of_all(test: Benchmark, images: Dataset, model: nn.Module, seed: int, *, by_seed: bool) -> Figures:
    """Metric -> image -> value; or -> seed -> mean, where asked for or where the images are many."""
    figures = test.figures(images, model, seed=seed)
    if by_seed or any(len(values) > MOST_IMAGES for values in figures.values()):
        return {metric: {f"seed {seed}": sum(values.values()) / len(values)} for metric, values in figures.items()}
    return figures


def _enter(entry: dict[str, Any], name: str, source: str, *figures: Figures) -> None:
    """Put figures of a data set, one dictionary for each seed, into a record, with what measured them."""
    values: Figures = {}
    for one in figures:
        for metric, singles in one.items():
            values.setdefault(metric, {}).update({single: round(value, 4) for single, value in singles.items()})
    by_seed = all(single.startswith("seed ") for singles in values.values() for single in singles)
    entry.setdefault("per_seed" if by_seed else "per_image", {}).setdefault(name, {}).update(values)
    means = {metric: round(value, 4) for metric, value in runs.means({name: values})[name].items()}
    entry["metrics"].setdefault(name, {}).update(means)
    entry["measured"].append({
        "data": name, "source": source, "metrics": list(values), "device": devices.describe(devices.default()),
        "versions": results.versions(), "commit": project.commit(),
    })  # fmt: skip


def _written(entry: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    run = f"{entry['about']['recipe']}.{entry['about']['preset']}.json"
    return results.open_file(results.write(dict(entry), None if folder is None else folder / "results" / run))
