"""The methods of part I on the same people, for the same steps: ``python tools/scoreboard.py --record data/studies/scoreboard.json``.

Each recipe's quick preset, but for the number of people and of steps, which are the same for all; 100 other people to test on. On one
core 300 steps take about 8 seconds, all trainings ten minutes: ``--jobs`` is how many run beside each other.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

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
PEOPLE, STEPS, SEEDS = (100, 4000), (300,), 5


def settings(method: str, people: int, steps: int) -> training.Plan:
    """Those of the recipe, with so many steps and, in a classifier, people."""
    name, changes = METHODS[method]
    found = recipes.RECIPES[name].presets["quick"].settings
    counted = {"people": people} if hasattr(found, "people") else {}
    return replace(found, steps=steps, **counted, **changes)


def measure(method: str, people: int, steps: int, seed: int) -> dict[str, float]:
    """EER, and rank-1 with one template, in percent, after one training; the classifier's by the angle, which is better."""
    known, unseen = identities.characters(seed, people)
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


def tasks(people: Sequence[int], steps: Sequence[int], seeds: int) -> list[tuple[str, int, int, int]]:
    """What is to be measured: (method, people, steps, seed); the distance of pixels once, since it learns nothing."""
    trained = [(method, count, number, seed) for count in people for number in steps for method in METHODS for seed in range(seeds)]
    return [(PIXELS, people[0], 0, seed) for seed in range(seeds)] + trained


def rows(found: dict[tuple[str, int, int, int], dict[str, float]]) -> list[dict[str, Any]]:
    """A row for each method, number of people and of steps, with the figures of all seeds."""
    made: dict[tuple[str, int, int], dict[str, Any]] = {}
    for (method, people, steps, seed), figures in found.items():
        row = made.setdefault((method, people, steps), {"method": method, "people": people, "steps": steps, "eer": {}, "rank1": {}})
        for name, value in figures.items():
            row[name][f"seed {seed}"] = value
    return list(made.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--people", type=int, nargs="+", default=PEOPLE, help="to train on; default 100 4000")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="of every training; default 300")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of each; default 5")
    parser.add_argument("--jobs", type=int, default=1, help="trainings beside each other, on one thread each; default 1")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was measured to this JSON file")
    options = parser.parse_args(arguments)
    if options.record is not None:
        files.require_writable(options.record)  # before the trainings
    commit = project.loaded_commit()  # of the code that runs, whatever is committed meanwhile
    asked, found = tasks(options.people, options.steps, options.seeds), {}
    # a process for each training at most: other threads of a fork would not survive it
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for task, figures in zip(asked, pool.map(measure, *zip(*asked, strict=True)), strict=True):
            found[task] = figures
            print("{}, {} people, {} steps, seed {}: ".format(*task) + f"EER {figures['eer']} %, rank-1 {figures['rank1']} %", flush=True)
    if options.record is not None:
        about = {"device": devices.describe(devices.default()), "precision": devices.precision("auto"), "versions": results.versions(),
                 "commit": commit, "tested on": 100}  # fmt: skip
        files.write(options.record, (json.dumps({**about, "rows": rows(found)}, indent=1, ensure_ascii=False) + "\n").encode())
        print(f"written to {options.record}")


if __name__ == "__main__":
    main()
