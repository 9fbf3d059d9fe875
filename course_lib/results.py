"""Recorded runs: one JSON file for each run worth quoting, from which every table of the book is made.

A record holds

- ``about``: what was trained, as the checkpoint had it: ``recipe, preset``, ``data.train``, and under ``needs`` the hashes of the
  weights that the training started from or was taught by (None where that was not kept);
- ``settings, seed, device, precision, versions, commit, source_hash, seconds, steps, throughput`` of the training; of several
  seeds the sums;
- ``metrics.<data set>.<metric>``, and what these are means of: ``per_image.<data set>.<metric>`` (image name -> value), or
  ``per_seed`` (seed -> value) where there were several trainings, or more images than a file should list;
- ``measured``: for each group of figures the data set with its source, the metrics, and the device, versions and commit that
  measured them (None where that was not kept);
- ``paper.<data set>.<metric>`` with ``value`` and ``protocol``; ``short``, true where the run had less than the paper's budget;
  ``note``, which says why; ``weights`` where any are shipped; ``slices`` where that was kept: which steps took how many seconds
  (of several seeds one after the other), and which entry of ``computed_by`` computed them: commit, versions and device.

Units are those of :func:`course_lib.reported.named`. ``sha256`` is the hash of all the rest: a record is written by a run, not by hand.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib import files, project, reported
from course_lib.settings import meant

FOR_THE_PAPER = ("paper", "laptop")
"""Presets whose figures stand beside those of the paper. All but the budget and what learns sooner is the same in both."""

SCHEMA = 2
"""Number of the layout described above; a record of another one is refused."""

REQUIRED = (
    "about", "settings", "seed", "device", "precision", "versions", "commit", "source_hash", "seconds", "steps", "throughput",
    "measured", "metrics", "paper", "short",
)  # fmt: skip


class RecordError(RuntimeError):
    """A record that is missing, incomplete, or contradicts itself."""


class SchemaError(RecordError):
    """A record in the layout of another version; the message says how to convert it."""


@dataclass(frozen=True)
class Comparison:
    """One figure of a paper, and ours, if there is one: ``gap = recorded - paper``."""

    recipe: str
    data: str
    metric: str
    paper: float
    protocol: str
    recorded: float | None = None  # None where the run has not been made, or does not report it
    short: bool = False  # was the run shorter than the paper's?
    preset: str = "paper"  # of the run

    @property
    def gap(self) -> float:
        """Recorded less published, in the unit of the metric."""
        return self.recorded - self.paper

    @property
    def unit(self) -> str:
        """Of both values, dB or %."""
        return reported.named(self.metric).unit


def path(recipe: str, preset: str) -> Path:
    """``data/results/RECIPE.PRESET.json``."""
    return project.home() / "data" / "results" / f"{recipe}.{preset}.json"


def versions() -> dict[str, str]:
    """Versions of what computes: Python, torch, and its neighbours that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "lightning-fabric", "numpy", "scikit-image"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def digest(record: dict) -> str:
    """SHA-256 of everything in the record but ``sha256`` itself."""
    rest = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def singles(record: dict) -> dict[str, dict[str, dict[str, float]]]:
    """Data set -> metric -> image or seed -> value: what the metrics of a record are means of."""
    return {**record.get("per_image", {}), **record.get("per_seed", {})}


def of_seeds(record: Mapping, data: str, metric: str) -> list[float]:
    """A figure of a record, of every seed; one value where there was one training, none where the record does not have the figure."""
    seeds = record.get("per_seed", {}).get(data, {}).get(metric, {})
    whole = record.get("metrics", {}).get(data, {})
    return list(seeds.values()) or ([whole[metric]] if metric in whole else [])


def interval(values: Sequence[float], confidence: float = 0.95, *, overlap: float = 0.0) -> tuple[float, float]:
    r"""Mean of n values, and the half width of its confidence interval, :math:`t_{n-1} \, s \sqrt{1/n + \rho}`.

    Values of several random divisions of one data set are not independent, since the parts overlap. With ρ, the size of the part
    tested on by that of the part trained on, the interval is corrected for it.

    Args:
        values: of n seeds.
        confidence: of the interval.
        overlap: ρ; 0 for independent values.

    Raises:
        ValueError: for fewer than two values, a confidence outside (0, 1), or an overlap below 0.

    Source: C. Nadeau, Y. Bengio, *Inference for the Generalization Error*, Machine Learning 52, 2003.
    """
    from scipy.stats import t

    if len(values) < 2 or not 0 < confidence < 1 or not overlap >= 0:
        raise ValueError(
            f"{len(values)} values at a confidence of {confidence} with an overlap of {overlap}: at least two, a confidence in (0, 1), and "
            "an overlap of at least 0 are needed."
        )
    quantile = float(t.ppf((1 + confidence) / 2, len(values) - 1))
    return statistics.mean(values), quantile * statistics.stdev(values) * math.sqrt(1 / len(values) + overlap)


def paired(record: dict, rival: dict, data: str, metric: str, confidence: float = 0.95) -> tuple[float, float]:
    """By how much a record of several seeds is above another one: mean over the seeds that both have, and half width of its interval.

    Where a seed gives both the same start and the same images, what it does to both is no part of the difference, so that this
    interval is narrower than those of the two means.

    Raises:
        ValueError: for fewer than two seeds that both have.
    """
    ours, theirs = (one.get("per_seed", {}).get(data, {}).get(metric, {}) for one in (record, rival))
    shared = [seed for seed in ours if seed in theirs]
    if len(shared) < 2:
        raise ValueError(f"{data}.{metric}: the two records share {len(shared)} seeds, but an interval needs at least two.")
    return interval([ours[seed] - theirs[seed] for seed in shared], confidence)


def check(record: dict) -> None:
    """See to it that a record is complete, and each metric is known, measured by something, and the mean of its values.

    Raises:
        SchemaError: for a record in the layout of another version.
        RecordError: for any other that is not so.
    """
    if not isinstance(record, dict):
        raise RecordError(f"a record is a JSON object, but this is {type(record).__name__}.")
    if record.get("schema", SCHEMA) != SCHEMA:
        raise SchemaError(
            f"the record has schema {record['schema']}, but this version of course_lib reads schema {SCHEMA}: take both from the same "
            "commit, or convert it (python tools/convert_records.py FILE)."
        )
    missing = [key for key in REQUIRED if key not in record]
    if "per_image" not in record and "per_seed" not in record:
        missing.append("per_image (or per_seed)")
    if "about" in record:
        missing += [f"about.{key}" for key in ("recipe", "preset", "data", "needs") if key not in record["about"]]
    if missing:
        raise RecordError(f"the record of {record.get('about', {}).get('recipe', '?')} lacks {', '.join(missing)}.")
    recipe, seeds = record["about"]["recipe"], record["seed"] if isinstance(record["seed"], list) else [record["seed"]]
    for data, by_metric in record.get("per_seed", {}).items():
        for metric, values in by_metric.items():
            if len(values) != len(seeds):
                raise RecordError(f"{recipe}: {data}.{metric} has {len(values)} values, but there were {len(seeds)} seeds.")
    unfinished = [key for group in record["measured"] for key in ("data", "metrics") if key not in group]
    if unfinished:
        raise RecordError(f"the record of {recipe} lacks {', '.join(unfinished)} in an entry of measured.")
    numbers = {"seconds": record["seconds"], "steps": record["steps"], "settings.batch_size": record["settings"].get("batch_size")}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RecordError(f"the record of {recipe} has {name} = {value!r}, but a number is expected.")
    measured = {(group["data"], metric) for group in record["measured"] for metric in group["metrics"]}
    for data, by_metric in record["metrics"].items():
        for metric, value in by_metric.items():
            reported.named(metric)
            if (data, metric) not in measured:
                raise RecordError(f"{recipe}: nothing in measured says what {data}.{metric} was measured on.")
            values = list(singles(record).get(data, {}).get(metric, {}).values())
            if not values or not math.isclose(sum(values) / len(values), value, abs_tol=1e-3):
                raise RecordError(f"{recipe}: {data}.{metric} = {value} is not the mean of its per-image or per-seed values.")


def write(record: dict, file: Path | None = None) -> Path:
    """Check a record and write it, with its schema and hash, to its place (or to ``file``); returns where.

    Raises:
        files.WriteError: where it cannot be written; what was there before is unchanged.
    """
    content = encoded(record)
    file = file or path(record["about"]["recipe"], record["about"]["preset"])
    files.write(file, content)
    return file


def encoded(record: dict) -> bytes:
    """What :func:`write` writes, checked."""
    check(record)
    record = json.loads(json.dumps({"schema": SCHEMA, **record}))  # as it will be read: tuples have become lists
    record["sha256"] = digest(record)
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def gain(before: dict, after: dict) -> tuple[float, int]:
    """(By how much a record is better than the one before, how many figures that is the mean over: those that both have.)

    The mean is over all metrics of all data sets, in the unit of the metrics, by the direction that
    :func:`course_lib.reported.named` gives; (NaN, 0) for records that share no figure. PSNR with more noise than either network
    was trained for does not count: it shows where a method fails, and a better run may well fail more.
    """
    gains = [reported.gain(metric, *(one["metrics"][data][metric] for one in (before, after))) for data, metric in counted(before, after)]
    return (statistics.mean(gains) if gains else math.nan), len(gains)


def counted(before: dict, after: dict) -> list[tuple[str, str]]:
    """(data set, metric) of the figures by which :func:`gain` compares two records."""
    was, now = before["metrics"], after["metrics"]
    limit = max(_strongest_noise(before), _strongest_noise(after))
    return [
        (data, metric) for data in was for metric in was[data]
        if metric in now.get(data, {}) and (reported.named(metric).unit != "dB" or reported.sigma_255(metric) <= limit)
    ]  # fmt: skip


def _strongest_noise(record: dict) -> float:
    """The largest σ, on the 0–255 scale, of a record's training, whose settings have one, or a lowest and a highest; ∞ without any."""
    sigma = record.get("settings", {}).get("sigma_255", math.inf)
    return max(sigma) if isinstance(sigma, list | tuple) else sigma


def best(recipe: str) -> str:
    """The preset of a recipe's best record among those whose figures stand beside the paper's, by :func:`gain`; the first where none is.

    Raises:
        RecordError: for a record that is damaged, altered or incomplete.
    """
    found = [preset for preset in FOR_THE_PAPER if path(recipe, preset).is_file()]
    if len(found) < 2:
        return (found or FOR_THE_PAPER)[0]
    first, *others = ((preset, open_file(path(recipe, preset))) for preset in found)
    for other in others:
        first = other if gain(first[1], other[1])[0] > 0 else first
    return first[0]


def read(recipe: str, preset: str | None = None) -> dict:
    """The record of a run: of a preset, or the best that stands beside the paper (:func:`best`).

    Raises:
        RecordError: if there is none (names those of its other presets), or it is damaged, altered or incomplete.
    """
    preset = preset or best(recipe)
    file = path(recipe, preset)
    if not file.is_file():
        runs = recorded()
        own = ", ".join(other for name, other in runs if name == recipe)  # or names that are alike, and not all of a hundred
        near = f"no record is called so{meant(recipe, {name for name, _ in runs})}" if runs else "there is no record at all"
        there = f"recorded presets of it: {own}" if own else near
        raise RecordError(f'no run "{recipe}" with preset "{preset}" is recorded; {there}.')
    return open_file(file)


def open_file(file: Path) -> dict:
    """The record in ``file``, checked.

    Raises:
        SchemaError: where it has the layout of another version.
        RecordError: where it is damaged, altered or incomplete.
    """
    try:
        content = file.read_bytes()
    except OSError as error:  # nothing is said of its content
        raise RecordError(f"{file} cannot be read ({error}).") from error
    try:
        record = json.loads(content.decode("utf-8"))
        check(record)
    except SchemaError as error:  # which says itself what to do
        raise SchemaError(f"{file}: {error}") from error
    except RecordError as error:
        raise RecordError(f"{file}: {error} If it was altered by mistake, {project.restoring(file)}.") from error
    except (ValueError, AttributeError, TypeError, KeyError) as error:  # no JSON, or an entry of another shape
        raise RecordError(f"{file} is not a readable record ({error}): {project.restoring(file)}.") from error
    if record.get("sha256") != digest(record):
        raise RecordError(f"{file} was altered after its run: its SHA-256 is not the one it states: {project.restoring(file)}.")
    return record


def recorded() -> list[tuple[str, str]]:
    """(recipe, preset) of every record there is. Other files, such as the ``._x.json`` that macOS puts beside each, are none."""
    names = sorted(file.name for file in (project.home() / "data" / "results").glob("*.json"))
    return [tuple(found.groups()) for found in (re.fullmatch(r"([^.]+)\.(.+)\.json", name) for name in names) if found]


def compare(record: dict) -> list[Comparison]:
    """Every figure that both the paper and the run report."""
    return [row for row in comparisons(record["about"]["recipe"], record["paper"], record) if row.recorded is not None]


def comparisons(recipe: str, paper: Mapping[str, Mapping[str, dict]], record: dict | None) -> list[Comparison]:
    """Every figure of a paper, data set -> metric -> value and protocol, beside that of a record, where there is one."""
    ours, short, preset = (record["metrics"], record["short"], record["about"]["preset"]) if record else ({}, False, "paper")
    return [
        Comparison(recipe, data, metric, figure["value"], figure["protocol"], ours.get(data, {}).get(metric), short, preset)
        for data, by_metric in paper.items()
        for metric, figure in by_metric.items()
    ]
