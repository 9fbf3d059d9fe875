"""Convert records of schema 1 to schema 2, in place: ``python tools/convert_records.py data/results/*.json``.

What schema 1 did not keep is None: the hashes of weights that a training started from, and by which commit and versions, and on
which device, its figures were measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from course_lib import recipes, results


def converted(old: dict) -> dict:
    """A record of schema 2, without its hash, from one of schema 1.

    Raises:
        ValueError: for one that is of another schema, was altered, or is of a recipe that there is not.
    """
    if not isinstance(old, dict):
        raise ValueError(f"a record is a JSON object, but this is {type(old).__name__}.")
    if old.get("schema") != 1:
        raise ValueError(f"schema 1 is expected, but this record has schema {old.get('schema')}.")
    if old.get("sha256") != results.digest(old):
        raise ValueError("it was altered after its run: its SHA-256 is not the one it states.")
    _, preset = recipes.find(old["recipe"], old["preset"])
    needs = {name: {"recipe": s.recipe, "preset": s.preset, "part": s.part, "sha256": None} for name, s in preset.needs.items()}
    unknown = dict.fromkeys(("device", "versions", "commit"))
    moved = {"recipe", "preset", "data", "throughput", "schema", "sha256"}
    new = {
        "about": {"recipe": old["recipe"], "preset": old["preset"], "data": {"train": old["data"]["train"]}, "needs": needs},
        **{name: value for name, value in old.items() if name not in moved},
        "throughput": {"samples_per_second": old["throughput"]["patches_per_second"]},
        "measured": [
            {"data": name, "source": old["data"]["test"][name], "metrics": list(by_metric), **unknown}
            for name, by_metric in old["metrics"].items()
        ],
    }
    if "weights" in new:
        entry = dict(new["weights"])
        new["weights"] = {**{name: value for name, value in entry.items() if name != "moved_db"}, "moved": entry["moved_db"]}
    return new


def main(files: list[str]) -> int:
    """Convert files; returns 1 where one could not be, which is left as it is."""
    wrong = 0
    for file in map(Path, files):
        try:
            results.write(converted(json.loads(file.read_text(encoding="utf-8"))), file)
            print(f"{file}: converted")
        except (OSError, ValueError, KeyError, results.RecordError) as error:
            print(f"{file}: left as it is: {error}", file=sys.stderr)
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
