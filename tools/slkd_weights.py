"""Which weights of SLKD's losses help a student: ``python tools/slkd_weights.py --record data/studies/slkd_weights.json``.

Students of the quick preset on every task, with both teachers and alone, for several weights and seeds. The teachers are trained here, too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from course_lib import data, devices, files, project, recipes, results, training
from course_lib.frozen import Frozen
from course_lib.noisy_classification import restorer, slkd

WEIGHTS = (  # naturalness, structure, divergence
    (0.0, 0.0, 0.0), (0.5, 0.1, 0.1), (0.05, 0.01, 0.1), (0.005, 0.001, 0.01),
    (0.05, 0.0, 0.0), (0.0, 0.01, 0.0), (0.0, 0.0, 0.01), (0.0, 0.0, 0.1), (0.0, 0.0, 1.0),
)  # fmt: skip
"""Alone; as published, with our guess which belongs to what; a tenth of the first two; a hundredth; and each loss by itself."""


def trained(model, method: training.Method, settings: training.Plan, images: data.Dataset, seed: int = 0):
    """The network after its training, on the default device."""
    plan = replace(settings, compile=False)
    history = training.fit(model, method.prepare(images, plan), method, plan, seed=seed, progress=False)
    if history.interrupted:
        raise KeyboardInterrupt
    return model.to(devices.default())


class Untouched:
    """A network that does nothing."""

    @staticmethod
    def restore(degraded):
        """What it was given."""
        return degraded


def psnr(network, task: str) -> float:
    """Mean PSNR on the test photos."""
    values = restorer.evaluate(network, data.load("photos", "test").images, task)
    return round(sum(values) / len(values), 4)


def of_task(task: str, seeds: Sequence[int], weights: Sequence[tuple[float, float, float]], steps: int | None) -> dict[str, Any]:
    """PSNR of the degraded images, of the teacher, and of a student for each of the weights and seeds.

    ``steps`` are in place of those of the presets, for a trial.
    """

    def settings(name: str):
        found = recipes.RECIPES[name].presets["quick"].settings
        return found if steps is None else replace(found, steps=steps)

    images = data.load("photos", "train")
    teachers = {
        kind: Frozen(trained(restorer.Restorer(settings(name)), restorer, settings(name), images))
        for kind, name in (("degraded_teacher", f"restorer_{task}"), ("clean_teacher", "restorer_clean"))
    }
    rows = []
    for naturalness, structure, divergence in weights:
        plan = replace(settings(f"slkd_{task}"), naturalness=naturalness, structure=structure, divergence=divergence)
        runs = {f"seed {seed}": psnr(trained(slkd.Student(plan, seed=seed, **teachers), slkd, plan, images, seed), task) for seed in seeds}
        rows.append({"weights": [naturalness, structure, divergence], "psnr": runs})
        print(f"{task}, {naturalness:g} {structure:g} {divergence:g}: " + " ".join(f"{value:.2f}" for value in runs.values()), flush=True)
    return {"input": psnr(Untouched, task), "teacher": psnr(teachers["degraded_teacher"].network, task), "students": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each; default 3")
    parser.add_argument("--steps", type=int, help="of every training, for a trial; default those of the quick presets")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was measured to this JSON file")
    options = parser.parse_args(arguments)
    if options.record is not None:
        files.require_writable(options.record)  # before the trainings
    found = {task: of_task(task, range(options.seeds), WEIGHTS, options.steps) for task in get_args(restorer.Task)}
    if options.record is not None:
        about = {"device": devices.describe(devices.default()), "precision": devices.precision("auto"), "versions": results.versions(),
                 "commit": project.loaded_commit()}  # fmt: skip
        files.write(options.record, (json.dumps({**about, "tasks": found}, indent=1, ensure_ascii=False) + "\n").encode())
        print(f"written to {options.record}")


if __name__ == "__main__":
    main()
