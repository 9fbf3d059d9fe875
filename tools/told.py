"""What a network has of being told the noise level, and of half resolution: ``python tools/told.py --record data/studies/told.json``.

FFDNet and FDnCNN by their quick presets: as many layers and channels, the same start, patches, σ and noise. Each is trained with the true
map and with a map of zeros; FDnCNN for as many steps as FFDNet, and for a quarter of them, which take as many multiplications. They are
tested on the middles of the held-out photos, as in chapter 9. On one core a seed takes about 80 seconds. What was measured is written after
each seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from course_lib import batches, data, devices, files, noise, project, recipes, results, training
from course_lib.denoising import common, evaluation

LEVELS = (15, 25, 50, 75)  # σ on the 0–255 scale
SEEDS = 5
COST = 4  # multiplications of a step of FDnCNN, by those of one of FFDNet


def tasks(steps: int) -> list[tuple[str, bool, int]]:
    """What is trained with each seed: (recipe, told?, steps)."""
    return [("ffdnet", True, steps), ("ffdnet", False, steps), ("fdncnn", True, steps), ("fdncnn", False, steps),
            ("fdncnn", True, steps // COST), ("fdncnn", False, steps // COST)]  # fmt: skip


def measure(name: str, told: bool, steps: int, seed: int) -> dict[str, float]:
    """Mean PSNR in dB at each σ after one training."""
    recipe, preset = recipes.find(name, "quick")
    settings = replace(preset.settings, steps=steps, log_every=steps)
    model = recipe.network(settings, seed=seed)
    method = recipe.method if told else common.told_nothing(recipe.method)
    pool = recipe.method.prepare(preset.data(seed).train(), settings, seed)
    if training.fit(model, pool, method, settings, seed=seed, progress=False).interrupted:
        raise KeyboardInterrupt
    model.eval()
    denoise = model.denoise if told else lambda noisy, sigma: model.denoise(noisy, 0.0)
    photos = [batches.center(batches.square(image, 256), 128) for image in data.load("photos", "test").images]
    found = {}
    for level in LEVELS:
        device = next(model.parameters()).device
        values = evaluation.psnr_per_image(denoise, photos, noise.from_255(level), protocol="quantised", seed=seed, device=device)
        found[f"psnr_{level}"] = round(sum(values) / len(values), 4)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    steps = recipes.find("ffdnet", "quick")[1].settings.steps
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=steps, help=f"of FFDNet's trainings, at least {COST}; default {steps}")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"trainings of each; default {SEEDS}")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was measured to this JSON file")
    options = parser.parse_args(arguments)
    if options.record is not None:
        files.require_writable(options.record)  # before the trainings
    about = {"data": "photos", "device": devices.describe(devices.default()), "precision": devices.precision("auto"),
             "versions": results.versions(), "commit": project.loaded_commit()}  # fmt: skip
    rows = [{"recipe": name, "told": told, "steps": count, "runs": {}} for name, told, count in tasks(options.steps)]
    for seed in range(options.seeds):
        for row in rows:
            row["runs"][f"seed {seed}"] = found = measure(row["recipe"], row["told"], row["steps"], seed)
            shown = ", ".join(f"{value:.2f}" for value in found.values())
            print(f"seed {seed}, {row['recipe']}, told {'σ' if row['told'] else 'nothing'}, {row['steps']} steps: {shown} dB", flush=True)
        if options.record is not None:
            files.write(options.record, (json.dumps({**about, "rows": rows}, indent=1, ensure_ascii=False) + "\n").encode())
            print(f"written to {options.record}", flush=True)


if __name__ == "__main__":
    main()
