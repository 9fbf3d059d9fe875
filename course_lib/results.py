"""Recorded runs: one JSON file for each run worth quoting, from which every table of the book is made.

A record holds ``schema, recipe, preset, settings, data, seed, device, precision, versions, commit, source_hash, seconds, steps,
throughput``, ``metrics.<data set>.<metric>``, ``per_image.<data set>.<metric>`` (image name -> value), and
``paper.<data set>.<metric>`` with ``value`` and ``protocol``. Where a method was trained with several seeds there is
``per_seed`` (seed -> value) in place of ``per_image``. PSNR is in dB, all rates are in percent. ``short`` is true where the
run had less than the paper's budget, and ``note`` says
why. ``sha256`` is the hash of all the rest: a record is written by a run, not by hand.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib import project

SCHEMA = 1
"""Number of the layout described above; a record of another one is refused."""

REQUIRED = (
    "recipe", "preset", "settings", "data", "seed", "device", "precision", "versions", "commit", "source_hash", "seconds",
    "steps", "throughput", "metrics", "paper", "short",
)  # fmt: skip


class RecordError(RuntimeError):
    """A record that is missing, incomplete, or contradicts itself."""


@dataclass(frozen=True)
class Comparison:
    """One figure of the paper, and ours: ``gap = recorded - paper``."""

    data: str
    metric: str
    paper: float
    recorded: float
    protocol: str

    @property
    def gap(self) -> float:
        return self.recorded - self.paper


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
    return record["per_image"] if "per_image" in record else record["per_seed"]


def unit(metric: str) -> str:
    """``"dB"`` for a PSNR, of an input or of an output, with NN3D around the network or without; ``"%"`` for every rate."""
    return "dB" if metric.startswith(("psnr", "input", "clamped", "nn3d")) else "%"


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Mean of independent values, and the half width of its confidence interval by Student's t with n − 1 degrees of freedom.

    Raises:
        ValueError: for fewer than two values, or a confidence outside (0, 1).
    """
    from scipy.stats import t

    if len(values) < 2 or not 0 < confidence < 1:
        raise ValueError(f"{len(values)} values at a confidence of {confidence}: at least two, and a confidence in (0, 1), are needed.")
    return statistics.mean(values), float(t.ppf((1 + confidence) / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def check(record: dict) -> None:
    """Raise ``RecordError`` unless the record is complete and each metric is the mean of its per-image values."""
    if not isinstance(record, dict):
        raise RecordError(f"a record is a JSON object, but this is {type(record).__name__}.")
    if record.get("schema", SCHEMA) != SCHEMA:
        raise RecordError(
            f"the record of {record.get('recipe', '?')} has schema {record['schema']}, but this version of course_lib reads "
            f"schema {SCHEMA}: take both from the same commit."
        )
    missing = [key for key in REQUIRED if key not in record]
    if "per_image" not in record and "per_seed" not in record:
        missing.append("per_image (or per_seed)")
    if missing:
        raise RecordError(f"the record of {record.get('recipe', '?')} lacks {', '.join(missing)}.")
    if "per_seed" in record and any(len(v) < 2 for metrics in record["per_seed"].values() for v in metrics.values()):
        raise RecordError(f"the record of {record['recipe']} has one seed only: an interval needs at least two.")
    for data, metrics in record["metrics"].items():
        for metric, value in metrics.items():
            values = list(singles(record).get(data, {}).get(metric, {}).values())
            if not values or not math.isclose(sum(values) / len(values), value, abs_tol=1e-3):
                raise RecordError(f"{record['recipe']}: {data}.{metric} = {value} is not the mean of its per-image or per-seed values.")


def write(record: dict, file: Path | None = None) -> Path:
    """Check a record and write it, with its schema and hash, to its place (or to ``file``); returns where."""
    check(record)
    record = json.loads(json.dumps({"schema": SCHEMA, **record}))  # as it will be read: tuples have become lists
    record["sha256"] = digest(record)
    file = file or path(record["recipe"], record["preset"])
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(file.name + ".unfinished")
    unfinished.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(file)
    return file


def read(recipe: str, preset: str = "paper") -> dict:
    """The record of a run.

    Raises:
        RecordError: if there is none (names those there are), or it is damaged, altered or incomplete.
    """
    file = path(recipe, preset)
    if not file.is_file():
        there = ", ".join(".".join(run) for run in recorded()) or "none"
        raise RecordError(f'no run "{recipe}" with preset "{preset}" is recorded; recorded runs: {there}.')
    return open_file(file)


def open_file(file: Path) -> dict:
    """The record in ``file``, checked; raises ``RecordError`` where it is damaged, altered or incomplete."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        check(record)
    except (OSError, ValueError, AttributeError, TypeError) as error:  # no JSON, or an entry of another shape
        raise RecordError(f"{file} is not a readable record ({error}): restore it from the repository.") from error
    if record.get("sha256") != digest(record):
        raise RecordError(f"{file} was altered after its run: its SHA-256 is not the one it states. Restore it from the repository.")
    return record


def recorded() -> list[tuple[str, str]]:
    """(recipe, preset) of every record there is."""
    files = sorted((project.home() / "data" / "results").glob("*.json"))
    return [tuple(file.stem.split(".", 1)) for file in files]


def compare(record: dict) -> list[Comparison]:
    """Every figure that both the paper and the run report."""
    return [
        Comparison(data, metric, figure["value"], record["metrics"][data][metric], figure["protocol"])
        for data, metrics in record["paper"].items()
        for metric, figure in metrics.items()
        if metric in record["metrics"].get(data, {})
    ]
