"""The roof: what is done with a recipe: train it, evaluate it, and load what a recorded run shipped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from course_lib import checkpoints, devices, recipes, results, training, weights
from course_lib.data import Dataset
from course_lib.frozen import Frozen
from course_lib.recipes.base import Figures, Preset
from course_lib.settings import override, stored
from course_lib.terminal import Stopped

FEW = 4
"""How many images of each data set are evaluated where a few are enough, the smallest ones."""


def train(
    recipe: str,
    preset: str,
    *,
    changes: dict[str, str] | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    resume: bool = False,
    tested: bool = False,
    pause: Callable[[], bool] = lambda: False,
) -> tuple[nn.Module, training.Plan, training.History, Dataset]:
    """Load a recipe's data and train it.

    Args:
        recipe, preset: what to train.
        changes: settings to change, as for :func:`course_lib.settings.override`.
        seed: of every draw; where the recipe is of people, also of who is trained on.
        checkpoint, resume, pause: as for :func:`course_lib.training.fit`.
        tested: will it be evaluated on its test sets? Then they are loaded before the first step, so that a missing one costs nothing.

    Returns:
        (network in evaluation mode, settings, history, training data).

    Raises:
        ValueError: for names or settings that there are not, or weights to start from that do not fit.
        results.RecordError, weights.WeightsError: where weights of another recipe are needed that are not shipped.
        data.DataError: where images are missing.
        checkpoints.CheckpointError, training.TrainingError, devices.OutOfMemoryError: as ``fit``.
    """
    found, chosen = recipes.find(recipe, preset)
    settings = override(chosen.settings, changes or {})
    if checkpoint and not resume:
        checkpoints.require_free(checkpoint)  # before the images are loaded, which may take a while
    _require(chosen)
    split = chosen.data(seed)
    images = split.train()
    if tested:
        for name in chosen.tests:
            split.test(name)
    model = found.network(settings, seed=seed, **_held(chosen))
    if "start" in chosen.needs:
        _start_from(model, chosen.needs["start"])
    history = training.fit(
        model, found.method.prepare(images, settings, seed), found.method, settings, seed=seed, checkpoint=checkpoint, resume=resume,
        about=about(recipe, preset, images), pause=pause,
    )  # fmt: skip
    return model, settings, history, images


def train_seeds(
    recipe: str, preset: str, seeds: Iterable[int], *, changes: dict[str, str] | None = None, resume: bool = False, folder: Path,
    tested: bool = False,
) -> list[Path]:  # fmt: skip
    """Train once with every seed, and return the checkpoints, ``folder/RECIPE.PRESET.seedN.ckpt``.

    What is finished or interrupted is gone on with where ``resume``. Errors as :func:`train`.

    Raises:
        ValueError: for fewer than two seeds.
        terminal.Stopped: a ``KeyboardInterrupt``, where a training was interrupted, whose checkpoint is kept.
    """
    seeds = list(seeds)
    require_several(len(seeds))
    files = [folder / f"{recipe}.{preset}.seed{seed}.ckpt" for seed in seeds]
    if not resume:
        for file in files:
            checkpoints.require_free(file, elsewhere="")
    for number, (seed, file) in enumerate(zip(seeds, files, strict=True)):
        print(f"seed {seed}, {number + 1} of {len(seeds)}: {file}")
        _, _, history, _ = train(recipe, preset, changes=changes, seed=seed, checkpoint=file, resume=resume, tested=tested)
        if history.interrupted:
            print(f"interrupted in seed {seed}: the same with --resume goes on, and nothing is recorded before all {len(seeds)} are done")
            raise Stopped(history.signal or signal.SIGINT)
    return files


def require_several(seeds: int) -> None:
    """Raise ``ValueError`` for a number of seeds of which there is no interval."""
    if seeds < 2:
        raise ValueError(f"there are {seeds} seeds, but an interval needs at least two: --seeds 2 is the least.")


def about(recipe: str, preset: str, images: Dataset) -> dict[str, Any]:
    """What a training is of, as its checkpoint and record keep it: recipe, preset, data, and hashes of the weights it needs."""
    return {
        "recipe": recipe,
        "preset": preset,
        "data": {"train": str(images)},
        "needs": {
            name: {"recipe": source.recipe, "preset": source.preset, "part": source.part, "sha256": _hash(source)}
            for name, source in recipes.find(recipe, preset)[1].needs.items()
        },
    }


def evaluate(
    recipe: str, preset: str, model: nn.Module, *, only: str | None = None, count: int | None = None, seed: int = 0
) -> dict[str, Figures]:
    """Figures of ``model`` on the preset's test data, image by image; of people, one for the seed that chose them.

    Args:
        recipe, preset: whose data sets and metrics.
        model: the network, in evaluation mode.
        only: one data set instead; if the preset does not test on it, the metrics are those of its first test, and the network must be
            able to take its images.
        count: the smallest images of each data set, that many, None for all.
        seed: of the training, where that divided people into two parts.

    Returns:
        Data set -> metric -> image or seed -> value, in the metric's unit.

    Raises:
        ValueError: for an unknown data set, or one that has not what is measured, or images that the network cannot take.
        data.DataError: where images are missing.
    """
    _, chosen = recipes.find(recipe, preset)
    tests = chosen.tests
    if only is not None:
        tests = {only: tests.get(only, next(iter(tests.values())))}
    split = chosen.data(seed)
    found, classes = {}, getattr(chosen.settings, "classes", 0)
    for name, test in tests.items():
        images = split.test(name)
        if name not in chosen.tests and "accuracy" in test.metrics and len(images.classes) not in (0, classes):
            raise ValueError(f"{name} has {len(images.classes)} classes, but the network of {recipe} was made for {classes}.")
        try:
            found[name] = test.figures(images, model, seed=seed, count=count)
        except (RuntimeError, IndexError) as error:  # PyTorch's, of a shape or a class that does not fit
            if name in chosen.tests or devices.out_of_memory(error):
                raise
            raise ValueError(
                f"{recipe}, {preset} preset, cannot be evaluated on {images}: its network is for such images as those of "
                f"{', '.join(chosen.tests)} ({str(error).splitlines()[0]})."
            ) from error
    return found


def means(figures: Mapping[str, Figures]) -> dict[str, dict[str, float]]:
    """Data set -> metric -> mean over images or seeds."""
    return {d: {m: sum(v.values()) / len(v) for m, v in metrics.items()} for d, metrics in figures.items()}


def from_checkpoint(recipe: str, preset: str, file: Path) -> tuple[nn.Module, dict]:
    """The trained network of a checkpoint of this recipe, and the checkpoint's content.

    Raises:
        checkpoints.CheckpointError: if it is missing, damaged, or of another method, or weights it needs have changed.
    """
    found, chosen = recipes.find(recipe, preset)
    content = checkpoints.open_file(file)
    try:
        settings = stored(type(chosen.settings), content["settings"])
    except (ValueError, TypeError) as error:
        raise checkpoints.CheckpointError(f"{file} is of another method than {recipe}: {error}") from error
    changed = _changed(chosen, content["about"])
    if changed:
        raise checkpoints.CheckpointError(f"{file} was trained with other weights of {changed} than are shipped now: train it again.")
    model = found.network(settings, **_held(chosen))
    checkpoints.restore(model, content)
    return model.eval(), content


def shipped(recipe: str, preset: str | None = None) -> nn.Module:
    """The trained network that the course ships for a recipe, in evaluation mode: of a preset, or of the best record beside the paper.

    Raises:
        results.RecordError, weights.WeightsError: if there is none, or it is damaged, or needs others that have changed.
        ValueError: for a recipe that ships none, or an unknown name.
    """
    if not recipes.named(recipe).ships:
        raise ValueError(f"no weights of {recipe} are shipped: train it, and give its --checkpoint, or use runs.from_checkpoint.")
    record = results.read(recipe, preset)
    preset = record["about"]["preset"]
    found, chosen = recipes.find(recipe, preset)
    changed = _changed(chosen, record["about"])
    if changed:
        raise weights.WeightsError(f"the weights of {recipe} were trained with others of {changed} than are shipped now.")
    settings = found.folded_settings(stored(type(chosen.settings), record["settings"]))
    model = found.network(settings, **_held(chosen))
    weights.load(model, recipe, preset)
    return model.to(memory_format=devices.memory_format(devices.default())).eval()  # up to 1.5 times as fast on a CPU


def _require(chosen: Preset) -> None:
    """Raise ``results.RecordError`` where weights of another recipe are needed that nobody has recorded yet, and say how to make them."""
    for needed in chosen.needs.values():
        if (needed.recipe, needed.preset) not in results.recorded():
            raise results.RecordError(
                f'the weights of {needed.recipe}, preset "{needed.preset}", are needed and not recorded: run '
                f"`{recipes.command(needed.recipe, needed.preset)}` first."
            )


def _held(chosen: Preset) -> dict[str, Frozen]:
    """The networks that a recipe holds without training them, by name."""
    sources = {name: source for name, source in chosen.needs.items() if name != "start"}
    return {name: Frozen(shipped(s.recipe, s.preset).get_submodule(s.part)) for name, s in sources.items()}


def _start_from(model: nn.Module, source: recipes.Source) -> None:
    """Give ``model``, or the part of it that is named, the shipped weights of another recipe, whose settings it must have."""
    state, into = shipped(source.recipe, source.preset).get_submodule(source.part).state_dict(), model.get_submodule(source.part)
    shapes = [{name: tuple(tensor.shape) for name, tensor in one.items()} for one in (state, into.state_dict())]
    if shapes[0] != shapes[1]:
        raise ValueError(f"the training goes on from {source.recipe}, so that the network must have its depth and width.")
    into.load_state_dict(state)


def _hash(source: recipes.Source) -> str:
    """SHA-256 of the weights that are shipped of a recipe; errors as :func:`shipped`."""
    found = results.read(source.recipe, source.preset).get("weights")
    if found is None:
        raise weights.WeightsError(f"the record of {source.recipe}, {source.preset} preset, has no weights, which are needed.")
    return found["sha256"]


def _changed(chosen: Preset, was: Mapping) -> str:
    """The recipe whose weights a network holds and that are no longer those it was trained with; empty if there is none."""
    for name, source in chosen.needs.items():
        if name != "start" and was["needs"].get(name, {}).get("sha256") != _hash(source):
            return source.recipe
    return ""
