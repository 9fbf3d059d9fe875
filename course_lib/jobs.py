"""The roof: the runs that the queue of ``course reproduce`` is about, in its order, and how far each of them is."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from course_lib import checkpoints, clock, data, devices, files, history, recipes, reported, results, runs, weights
from course_lib.recipes.base import Figures, Preset, Recipe

FOLDER = Path("runs") / "reproduce"


@dataclass(frozen=True)
class Job:
    """A run of the queue: a recipe with its preset ``laptop`` where it has one, else ``paper``."""

    recipe: str
    preset: str
    folder: Path = FOLDER

    def __str__(self) -> str:
        return f"{self.recipe}, {self.preset} preset"

    @cached_property
    def found(self) -> tuple[Recipe, Preset]:
        """The recipe and its preset."""
        return recipes.find(self.recipe, self.preset)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.found[1].settings.steps

    @property
    def checkpoint(self) -> Path:
        """Where the run is kept."""
        return self.folder / f"{self.recipe}.{self.preset}.ckpt"

    @property
    def notes(self) -> Path:
        """Where the queue keeps what the checkpoint does not, which is the figures on the way, and that a finished run was no better."""
        return self.checkpoint.with_suffix(".json")

    @property
    def validation(self) -> str:
        """The data set of the figures on the way, tested on, but of no published figure; best one like the training data, or embedded."""
        free = [name for name in self.found[1].tests if name not in self.found[0].paper] or list(self.found[1].tests)
        like, embedded = self.found[1].data(0).words.split(", "), [name for name in free if name in data.EMBEDDED]
        return next((name for name in free if name in like), (embedded or free)[0])

    @property
    def unit(self) -> str:
        """Of the figure on the way."""
        return reported.named(next(iter(self.found[1].tests[self.validation].metrics))).unit

    def record(self) -> dict[str, Any] | None:
        """The record that stands: the best beside the paper, None if there is none; ``RecordError`` for a damaged one."""
        return results.read(self.recipe) if results.path(self.recipe, results.best(self.recipe)).is_file() else None

    def gap(self) -> float | None:
        """By how much the published figures are better than those that stand, the mean in their unit; None where that is not known."""
        record = self.record()
        rows = results.comparisons(self.recipe, self.found[0].paper, record)
        rows = [row for row in rows if row.recorded is not None and row.metric not in self.found[0].fails]
        gaps = [reported.gain(row.metric, row.recorded, row.paper) for row in rows]
        return sum(gaps) / len(gaps) if gaps else None

    def recorded(self) -> bool:
        """Is there a record of the whole run?"""
        if not results.path(self.recipe, self.preset).is_file():
            return False
        record = results.read(self.recipe, self.preset)
        return record["steps"] * record["settings"]["batch_size"] >= recipes.budget(self.found[1].settings)

    def kept(self) -> dict[str, Any]:
        """The content of the notes; empty where there are none, or they are damaged: they can be made again."""
        try:
            found = json.loads(self.notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def keep(self, **entries) -> None:
        """Put entries into the notes; ``files.WriteError`` where that is not possible."""
        files.write(self.notes, json.dumps(self.kept() | entries, indent=1).encode())

    def measure(self) -> float:
        """The figure on the way, of the network so far: noted, and returned. See :func:`mean`."""
        model, content = runs.from_checkpoint(self.recipe, self.preset, self.checkpoint)
        figures = runs.evaluate(self.recipe, self.preset, model.to(devices.default()), only=self.validation, count=runs.FEW)
        value, images = mean(figures[self.validation]), list(next(iter(figures[self.validation].values())))
        before = [entry for entry in self.kept().get("validation", []) if entry["step"] < content["step"]]
        self.keep(validation=[*before, {"step": content["step"], "value": value, "images": images}])
        return value

    def turn_down(self) -> None:
        """Note that the finished run is no better than the record that stands."""
        self.keep(turned_down=self._comparison())

    def turned_down(self) -> bool:
        """Was that noted, of the checkpoint and the record that there are now?"""
        return self.checkpoint.exists() and "turned_down" in self.kept() and self.kept()["turned_down"] == self._comparison()

    def _comparison(self) -> list[str | None]:
        return [checkpoints.open_file(self.checkpoint)["sha256"], (self.record() or {}).get("sha256")]

    def lacks(self) -> str:
        """The recipe whose weights the run needs and which are not shipped yet; empty if there is none."""
        for source in self.found[1].needs.values():
            if not weights.path(source.recipe, source.preset).is_file():
                return f"{source.recipe}, {source.preset} preset"
        return ""


def mean(figures: Figures, images: Sequence[str] | None = None) -> float | None:
    """The mean over some images, or all, of the metrics that say something of the network; None where it was not measured on them."""
    chosen = [values for metric, values in figures.items() if not metric.startswith("input")]
    if not chosen or not set(images or ()) <= set(chosen[0]):
        return None
    return sum(values[name] for values in chosen for name in images or values) / sum(len(images or values) for values in chosen)


def jobs(what: Sequence[str] = (), folder: Path = FOLDER) -> list[Job]:
    """The runs that a queue is about, those named or all, the largest gap to the paper first.

    Before these come runs without any record whose figures were published, after them what no published figure is of.

    Raises:
        ValueError: for an unknown name, or a recipe that is recorded over several seeds or has no run at the paper's size.
        results.RecordError: for a record that is damaged.
    """
    found = []
    for name in dict.fromkeys(what or recipes.RECIPES):
        recipe = recipes.named(name)
        preset = next((p for p in reversed(results.FOR_THE_PAPER) if p in recipe.presets), None)
        if preset and recipe.ships and recipe.seeds == 1:
            found.append(Job(name, preset, folder))
        elif what:
            raise ValueError(
                f"{name} has no run that the queue could make: it is for single trainings with the preset laptop or paper. "
                f"Train it by course train {name} --seeds {max(recipe.seeds, 2)}."
            )

    def urgency(job: Job) -> tuple[bool, float]:
        gap = job.gap()
        return not job.found[0].paper, -(math.inf if gap is None and not job.record() else gap or 0.0)

    return sorted(found, key=urgency)


@dataclass(frozen=True)
class Standing:
    """How far a run of the queue is; ``table`` shows it."""

    job: Job
    state: str
    step: int
    value: float | None  # on the validation data, so far
    value_recorded: float | None  # there, of the record that stands
    gap: float | None  # of that record to the paper, positive where the paper is better
    seconds_to_go: float | None  # on this machine; None where nothing is known of it


def status(what: Sequence[str] = (), folder: Path = FOLDER) -> list[Standing]:
    """How far the runs are, in the order of the queue, also while one works; errors as :func:`jobs`."""
    return [_standing(job) for job in jobs(what, folder)]


def _standing(job: Job) -> Standing:
    record, kept, content, state = job.record(), job.kept().get("validation") or [{}], None, "not begun"
    if job.checkpoint.exists():
        try:
            content = checkpoints.open_file(job.checkpoint)
            state = "begun" if content["step"] < job.steps else "to be measured"
            state = "no better than the record" if job.turned_down() else state
        except checkpoints.CheckpointError:
            state = "checkpoint damaged"
    state = "recorded" if job.recorded() else state
    step = job.steps if job.recorded() else content["step"] if content else 0
    singles = results.singles(record).get(job.validation, {}) if record else {}
    return Standing(job, state, step, kept[-1].get("value"), mean(singles, kept[-1].get("images")), job.gap(),
                    _to_go(job, step, content, record))  # fmt: skip


def _to_go(job: Job, step: int, content: dict | None, record: dict | None) -> float | None:
    """Seconds that a run still takes: by its own pace, else by that of the record, whose steps had other batches and patches."""
    left, settings = job.steps - step, job.found[1].settings
    if not left:
        return 0.0
    if content and content["step"] and (seconds := history.spent(content["history"], content["step"])):
        return left * seconds / content["step"]
    if record is None or not record["steps"]:
        return None
    now, then = (of["batch_size"] * of.get("patch_size", 1) ** 2 for of in (asdict(settings), record["settings"]))  # whole images have none
    return left * record["seconds"] / record["steps"] * now / then


def table(rows: Sequence[Standing]) -> str:
    """The standings as text for a terminal, a line each, and what is left to do in all."""
    lines = [("recipe", "preset", "share", "so far", "record", "gap to paper", "to go", "")]
    for row in rows:
        figures = [f"{value:.2f} {row.job.unit}" if value is not None else "–" for value in (row.value, row.value_recorded, row.gap)]
        to_go = "–" if row.seconds_to_go is None else clock.words(row.seconds_to_go) if row.seconds_to_go else ""
        lines.append((row.job.recipe, row.job.preset, f"{row.step / row.job.steps:.0%}", *figures, to_go, row.state))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = sum(row.seconds_to_go or 0 for row in rows)
    return "\n".join([
        *("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines),
        "",
        "so far, record: figures of the run and of what is recorded on images that are neither trained on nor of a published figure",
        f"to go: at the pace of the run, or, where it has not begun, of the record; in all about {clock.words(left)}",
    ])  # fmt: skip
