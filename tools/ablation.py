"""What each choice of the preset ``laptop`` is worth: ``python tools/ablation.py --record data/studies/laptop.json``.

Short runs of DnCNN-S at σ = 25 on BSD400, each with one choice changed, over several seeds, all of as many pixels; what they reach on
Set12 and BSD68. On two cores 680 steps take four minutes, whichever of the choices is changed: a step of Muon takes about 1 % longer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import command
from course_lib import data, devices, files, project, recipes, results, training
from course_lib.denoising import dncnn

NORMALISED = {"batch_norm": True, "centred": False}
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "the preset": {},
    "AdamW": {"optimizer": "adam", "learning_rate": 6e-4},
    "AdamW, twice its rate": {"optimizer": "adam", "learning_rate": 1.2e-3},
    "batch normalisation and He's start": {**NORMALISED, "muon_learning_rate": 0.02},
    "batch normalisation and He's start, AdamW": {**NORMALISED, "optimizer": "adam", "learning_rate": 1e-3},
    "He's start": {"centred": False},
    "half of Muon's rate": {"muon_learning_rate": 0.005},
    "twice Muon's rate": {"muon_learning_rate": 0.02},
    "no warm-up": {"warmup_steps": 0},
    "no averaging": {"ema": 0.0},
    "the rate falls in the last third only": {"schedule": "late", "late": 1 / 3},
    "8 patches, twice the steps": {"batch_size": 8},
    "32 patches, half the steps": {"batch_size": 32},
    "8 patches of 56×56": {"patch_size": 56, "batch_size": 8},
}
"""What is changed -> settings. With a smaller batch or patch there are as many more steps, so that all runs see as many pixels."""
SETS = ("set12", "bsd68")


def plans(steps: int) -> dict[str, dncnn.Settings]:
    """What is changed -> the settings of its run."""
    whole = recipes.find("dncnn_s", "laptop")[1].settings
    # averaged over the same share of the steps: over 1,000 steps, as in the whole run, the average would still be of untrained weights
    preset = replace(whole, steps=steps, ema=whole.ema ** (whole.steps / steps), compile=False)
    made = {}
    for name, change in CHANGES.items():
        changed = replace(preset, **change)
        longer = pixels(preset) / pixels(changed)
        made[name] = replace(changed, steps=round(steps * longer), ema=changed.ema ** (1 / longer))
    return made


def pixels(settings: dncnn.Settings) -> int:
    """How many of them a step sees."""
    return settings.batch_size * settings.patch_size**2


def measure(settings: dncnn.Settings, seed: int) -> dict[str, float]:
    """PSNR on each of the data sets after one training, and its seconds."""
    model = dncnn.DnCNN(settings, seed=seed)
    pool = dncnn.prepare(data.load("bsd400").images, settings)
    history = training.fit(model, pool, dncnn, settings, seed=seed, progress=False)
    if history.interrupted:
        raise KeyboardInterrupt
    model.to(devices.default())
    values = {name: dncnn.evaluate(model, data.load(name).images, 25.0) for name in SETS}
    return {name: round(sum(found) / len(found), 4) for name, found in values.items()} | {"seconds": round(history.seconds, 1)}


def study(steps: int, seeds: Sequence[int], only: Sequence[str] = ()) -> dict[str, Any]:
    """All runs, with what computed them.

    Raises:
        ValueError: for a change that there is not.
    """
    chosen = plans(steps)
    unknown = [name for name in only if name not in chosen]
    if unknown:
        raise ValueError(f"there is no change {', '.join(unknown)}: choose from {'; '.join(chosen)}.")
    rows = []
    for name in only or chosen:
        runs = {f"seed {seed}": measure(chosen[name], seed) for seed in seeds}
        rows.append({"change": name, "settings": dict(CHANGES[name]), "steps": chosen[name].steps, "runs": runs})
        print(f"{name}: " + ", ".join(f"{run['set12']:.2f} {run['bsd68']:.2f}" for run in runs.values()), flush=True)
    return {
        "recipe": "dncnn_s", "preset": "laptop", "steps": steps, "data": "bsd400", "device": devices.describe(devices.default()),
        "precision": devices.precision("auto"), "versions": results.versions(), "commit": project.loaded_commit(), "rows": rows,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=command.count, default=680, help="of a run with the preset's batch; default 680, four minutes")
    parser.add_argument("--seeds", type=command.count, default=3, help="trainings of each; default 3")
    parser.add_argument("--only", nargs="+", default=(), metavar="CHANGE", help="some of the changes; default all")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was measured to this JSON file")
    options = parser.parse_args(arguments)
    if options.record is not None:
        files.require_writable(options.record)  # before the trainings
    found = study(options.steps, range(options.seeds), options.only)
    if options.record is not None:
        files.write(options.record, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
        print(f"written to {options.record}")


if __name__ == "__main__":
    sys.exit(command.run(main))
