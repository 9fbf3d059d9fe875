"""The roof: the record of a run, made from its checkpoints: figures, where they come from, and the weights that are shipped."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from course_lib import checkpoints, devices, files, project, recipes, reported, results, runs, weights
from course_lib.data import Dataset
from course_lib.history import spent
from course_lib.recipes.base import Benchmark, Figures, Split

MOST_IMAGES = 100
"""Up to that many images of a data set a record has a value for each; of more it has their mean, by seed."""


LEAST_LOSS = 1e-3
"""A record is worse than another one where it is by that much, in the unit of its metrics. Less is rounding."""


class WorseError(results.RecordError):
    """A run whose figures are worse than those recorded, which stay; the message says by how much, and how to replace them."""


def require_place(recipe: str, preset: str, *, folder: Path | None = None, force: bool = False) -> None:
    """See to it, before a run, that :func:`record` will be able to write what it makes.

    Raises:
        files.WriteError: where the record or the weights could not be written.
        results.RecordError: where there is a record that cannot be read, so that nobody knows whether the run is better; not with
            ``force``.
    """
    found, chosen = recipes.find(recipe, preset)
    target, place = _places(recipe, preset, folder)
    for file in (target, place) if found.ships and chosen.ships else (place,):
        files.require_writable(file)
    if folder is None and not force:
        _recorded(recipe, preset)


def record(
    recipe: str, preset: str, checkpoint: Path | Sequence[Path], *, note: str = "", folder: Path | None = None, force: bool = False
) -> dict[str, Any]:
    """Evaluate finished checkpoints, ship the weights of the first where the recipe ships any, and write the record: both or neither.

    Weights are shipped in half precision where no figure, the mean over four images of a set, moves by half the tolerance of
    its metric (0.01 dB), else in single precision; the recorded figures are those of the weights as shipped. All is computed on
    the default device, which the record names.

    Args:
        recipe, preset: of the run.
        checkpoint: that of the run, or those of several seeds.
        note: what a reader must know, such as why the run was short.
        folder: write below this one instead of ``data/``.
        force: replace a record of ``data/`` whose figures are better, by :func:`course_lib.results.gain`?

    Raises:
        WorseError: for a run whose figures are worse than those in ``data/``, which stay; not with ``force``.
        files.WriteError: where weights or record cannot be written; both are then as they were.
        checkpoints.CheckpointError: for a run that is not finished, or about something else, or seeds of different settings.
        ValueError: for one seed of a recipe that is recorded over several.
    """
    found, chosen = recipes.find(recipe, preset)
    ships = found.ships and chosen.ships
    runs_made = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
    if len(runs_made) < min(found.seeds, 2):
        raise ValueError(f"{recipe} is recorded over several seeds: `{recipes.command(recipe, preset)}`.")
    read = [_finished(recipe, preset, file) for file in runs_made]
    networks, contents, splits = ([one[i] for one in read] for i in range(3))
    if any(content["settings"] != contents[0]["settings"] for content in contents):
        raise checkpoints.CheckpointError(f"{runs_made[0]} and the others have different settings: one record is of one setting.")
    seeds = [content["seed"] for content in contents]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"the checkpoints have the seeds {seeds}: each is to be another one.")
    networks, weights_entry = _as_shipped(recipe, preset, networks, seeds[0]) if ships else (networks, None)

    histories = [content["history"] for content in contents]
    seconds, steps = sum(spent(c["history"], c["step"]) for c in contents), sum(c["step"] for c in contents)
    settings = contents[0]["settings"]
    entry = {
        "about": contents[0]["about"],
        "title": found.title,
        "settings": settings,
        "seed": seeds if len(seeds) > 1 else seeds[0],
        "device": _trained_on(histories),
        "precision": contents[0]["precision"],
        "versions": results.versions(),
        "commit": project.commit(),
        "source_hash": contents[0]["source_hash"],
        "seconds": round(seconds, 1),
        "steps": steps,
        **_slices(histories),
        "throughput": {"samples_per_second": round(steps * settings["batch_size"] / seconds, 2) if steps else 0.0},
        "measured": [],
        "metrics": {},
        "paper": found.paper if preset in results.FOR_THE_PAPER else {},
        "short": settings["steps"] * settings["batch_size"] < recipes.budget(chosen.settings),
        "note": note,
    }
    for name, test in chosen.tests.items():
        figures = []
        for model, split, seed in zip(networks, splits, seeds, strict=True):
            images = split.test(name)
            figures.append(_of_all(test, images, model, seed, by_seed=len(seeds) > 1))
        _enter(entry, name, images.source, *figures)
    target, place = _places(recipe, preset, folder)
    contents = {}
    if weights_entry:
        contents[target] = weights.encoded(networks[0], half=weights_entry["half_precision"])
        entry["weights"] = {"file": target.name, "sha256": hashlib.sha256(contents[target]).hexdigest(), **weights_entry}
    contents[place] = results.encoded(entry)
    if folder is None and not force:
        _require_no_worse(entry, _recorded(recipe, preset), runs_made)
    files.write_together(contents)
    return results.open_file(place)


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
    paper = found.paper if preset in results.FOR_THE_PAPER else {}
    lacking = {name: test.lacking(entry["metrics"].get(name, {})) for name, test in chosen.tests.items()}
    if not any(lacking.values()) and entry["paper"] == paper:
        raise ValueError(f"the record of {recipe}, {preset} preset, has everything that the recipe tests.")
    for name, test in lacking.items():
        if test:
            images = split.test(name)
            _enter(entry, name, images.source, _of_all(test, images, model, entry["seed"], by_seed=False))
    entry["paper"] = paper
    return _written(entry, folder)


def superseded() -> list[Path]:
    """Files that made their time: short records of the preset ``paper``, and their weights, where that of ``laptop`` is the better one.

    Those that a record of another recipe goes on from or was taught by are not among them.
    """
    held = {
        (source.recipe, source.preset)
        for recipe, preset in results.recorded()
        if recipe in recipes.RECIPES and preset in recipes.RECIPES[recipe].presets
        for source in recipes.RECIPES[recipe].presets[preset].needs.values()
    }
    found = []
    for recipe, preset in results.recorded():
        if preset != "laptop" or results.best(recipe) != preset or (recipe, "paper") in held:
            continue
        place = results.path(recipe, "paper")
        if not place.exists() or results.read(recipe, "paper")["short"]:
            found += [file for file in (place, weights.path(recipe, "paper")) if file.exists()]
    return found


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


def _trained_on(histories: Sequence[Mapping[str, Any]]) -> str:
    """The devices that computed steps, that of most steps first; of old checkpoints without slices the one of the last resumption."""
    steps = Counter()
    for one in (one for history in histories for one in history.get("slices", [])):
        steps[one["device"]] += one["last_step"] - one["first_step"]
    return "; ".join(device for device, count in steps.most_common() if count) or histories[0]["device"]


def _slices(histories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which steps were computed in how many seconds by which process, whose commit, versions and device are listed once."""
    computed_by, slices = [], []
    for one in (one for history in histories for one in history.get("slices", [])):
        steps = {key: one[key] for key in ("first_step", "last_step")}
        if steps["first_step"] == steps["last_step"]:  # it was ended before it kept anything
            continue
        who = {key: value for key, value in one.items() if key not in (*steps, "seconds")}
        if who not in computed_by:
            computed_by.append(who)
        slices.append({**steps, "seconds": round(one["seconds"], 1), "computed_by": computed_by.index(who)})
    return {"slices": slices, "computed_by": computed_by}


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


def _places(recipe: str, preset: str, folder: Path | None) -> tuple[Path, Path]:
    """Where the weights and the record of a run belong, in ``data/`` or below another folder."""
    target, place = weights.path(recipe, preset), results.path(recipe, preset)
    return (target, place) if folder is None else (folder / "weights" / target.name, folder / "results" / place.name)


def _recorded(recipe: str, preset: str) -> dict[str, Any] | None:
    """The record that stands: of the preset, or the best beside the paper. None if there is none; ``RecordError`` if it cannot be read."""
    try:
        standing = results.best(recipe) if preset in results.FOR_THE_PAPER else preset
        return results.read(recipe, standing) if results.path(recipe, standing).exists() else None
    except results.RecordError as error:
        raise results.RecordError(f"{error} Or replace it by this run, whatever it says (--force).") from error


def _require_no_worse(entry: Mapping[str, Any], before: Mapping[str, Any] | None, made: Sequence[Path]) -> None:
    """Raise ``WorseError`` where the figures of a run are worse than those recorded, or cannot be compared with them."""
    if before is None:
        return
    gain, figures = results.gain(before, entry)
    if gain >= -LEAST_LOSS:
        return
    recipe, preset = (before["about"][key] for key in ("recipe", "preset"))
    if figures:
        was, now = before["metrics"], entry["metrics"]
        losses = {(d, m): reported.gain(m, was[d][m], now[d][m]) for d, m in results.counted(before, entry)}
        data, metric = min(losses, key=losses.get)  # which shows it best
        unit, old, new = reported.named(metric).unit, was[data][metric], now[data][metric]
        why = (f"its figures are better by {-gain:.3f} {unit}, the mean over the {figures} that both have "
               f"(such as {data} {metric}: {old:.2f} recorded, {new:.2f} now)")  # fmt: skip
    else:
        why = "it shares no figure with this run, so that nobody knows which is better"
    raise WorseError(
        f"the record of {recipe}, {preset} preset, stays as it is: {why}. The run is kept in {', '.join(map(str, made))}; to replace "
        "the record by it, give the same command with --resume --force."
    )


def _written(entry: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    _, place = _places(entry["about"]["recipe"], entry["about"]["preset"], folder)
    return results.open_file(results.write(dict(entry), place))
