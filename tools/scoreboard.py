"""The methods of part I on the same people, for the same steps: ``python tools/scoreboard.py --record data/studies/scoreboard.json``.

Each recipe's quick preset, but for the number of people and of steps, which are the same for all; 100 other people to test on. All
learn from 100 people, two of them from 4,000 as well. On one core 300 steps take about 8 seconds, all trainings seven minutes. What was
measured is written after each seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import command
from course_lib import devices, files, project, recipes, results, training
from course_lib.metric_learning import evaluation, identities

METHODS = {
    "classifier": ("identification", {}),
    "softmax of cosines": ("arcface", {"margin": 0.0}),
    "ArcFace": ("arcface", {}),
    "Siamese": ("siamese", {}),
    "triplets": ("triplet", {}),
    "InfoNCE": ("infonce", {}),
    "SupCon": ("supcon", {}),
}
"""Name -> recipe, and what is changed in it. *Softmax of cosines* is ArcFace without its margin; the triplets are semi-hard."""
PIXELS = "pixels"
FEW, MANY = 100, 4000
ALSO_MANY = ("ArcFace", "SupCon")  # trained on many people, too
STEPS, SEEDS = 300, 5


def settings(method: str, people: int, steps: int) -> training.Plan:
    """Those of the recipe, with so many steps and, in a classifier, people."""
    name, changes = METHODS[method]
    found = recipes.RECIPES[name].presets["quick"].settings
    counted = {"people": people} if hasattr(found, "people") else {}
    return replace(found, steps=steps, **counted, **changes)


def measure(method: str, people: int, steps: int, seed: int) -> dict[str, float]:
    """EER, and rank-1 with one template, in percent, after one training; the classifier's by the angle, which is better."""
    known, unseen = identities.characters(seed, people or FEW)
    embed = evaluation.pixels
    if method != PIXELS:
        plan, recipe = settings(method, people, steps), recipes.RECIPES[METHODS[method][0]]
        model = recipe.network(plan, seed=seed)
        history = training.fit(model, recipe.method.prepare(known, plan, seed), recipe.method, plan, seed=seed, progress=False)
        if history.interrupted:
            raise KeyboardInterrupt
        embed = evaluation.direction(model.embed)  # of the sphere's points, themselves
    found = evaluation.compare(embed, unseen.images, unseen.labels, seed=seed)
    return {"eer": round(100 * found.eer(), 3), "rank1": round(100 * found.rank1(1, seed=seed), 3)}


def tasks(steps: int) -> list[tuple[str, int, int]]:
    """What is measured with each seed: (method, people, steps); the distance of pixels has not learned from anybody."""
    return [(PIXELS, 0, 0), *((method, FEW, steps) for method in METHODS), *((method, MANY, steps) for method in ALSO_MANY)]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=command.count, default=STEPS, help=f"of every training; default {STEPS}")
    parser.add_argument("--seeds", type=command.count, default=SEEDS, help=f"trainings of each; default {SEEDS}")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was measured to this JSON file")
    options = parser.parse_args(arguments)
    if options.record is not None:
        files.require_writable(options.record)  # before the trainings
    about = {"device": devices.describe(devices.default()), "precision": devices.precision("auto"), "versions": results.versions(),
             "commit": project.loaded_commit(), "tested on": 100}  # fmt: skip
    rows = [{"method": method, "people": people, "steps": steps, "eer": {}, "rank1": {}} for method, people, steps in tasks(options.steps)]
    for seed in range(options.seeds):
        for row in rows:
            figures = measure(row["method"], row["people"], row["steps"], seed)
            for name, value in figures.items():
                row[name][f"seed {seed}"] = value
            print(f"seed {seed}, {row['method']}, {row['people']} people: EER {figures['eer']:.1f} %", flush=True)
        if options.record is not None:
            files.write(options.record, (json.dumps({**about, "rows": rows}, indent=1, ensure_ascii=False) + "\n").encode())
            print(f"written to {options.record}", flush=True)


if __name__ == "__main__":
    sys.exit(command.run(main))
