"""The best that non-local means can do: ``python tools/non_local_means.py --record data/studies/non_local_means.json``.

BM3D may not be shipped with this book, so scikit-image's non-local means, which looks for similar patches too, stands in for it, on the
images for which BM3D's figures are published. At each σ the cut-off and the size of the patches are the best ones on training images of
BSD400. On one core it takes about five minutes. What was measured is written after each σ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from course_lib import data, files, noise, project, results
from course_lib.data import Dataset
from course_lib.denoising import baselines, evaluation

FACTORS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # cut-off by σ
PATCH_SIZES = (5, 7)
LEVELS = (15, 25, 30, 35, 50, 75)  # σ on the 0–255 scale
TUNED_ON, EVERY = "bsd400", 20  # each twentieth of its images
SETS = ("bsd68", "set12")


def mean_psnr(denoiser: noise.Denoiser, images: Sequence, level: int) -> float:
    """PSNR in dB, by the papers' protocol."""
    values = evaluation.psnr_per_image(denoiser, images, noise.from_255(level), protocol="quantised")
    return sum(values) / len(values)


def measure(level: int, training: Dataset, tests: Sequence[Dataset]) -> dict[str, Any]:
    """What was the best on the training images at this σ, and its mean PSNR in dB on each of the others."""
    choices = [{"factor": factor, "patch_size": size} for factor, size in product(FACTORS, PATCH_SIZES)]
    best = max(choices, key=lambda choice: mean_psnr(partial(baselines.non_local_means, **choice), training.images[::EVERY], level))
    tuned = partial(baselines.non_local_means, **best)
    return {"sigma_255": level, **best, "psnr": {test.name: round(mean_psnr(tuned, test.images, level), 4) for test in tests}}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS, metavar="SIGMA", help=f"default {' '.join(map(str, LEVELS))}")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was measured to this JSON file")
    options = parser.parse_args(arguments)
    if options.record is not None:
        files.require_writable(options.record)  # before the measurements
    training, tests = data.load(TUNED_ON), [data.load(name) for name in SETS]
    found = {"tuned on": f"every {EVERY}th image of {TUNED_ON}", "versions": results.versions(), "commit": project.loaded_commit(),
             "rows": []}  # fmt: skip
    for level in options.levels:
        row = measure(level, training, tests)
        found["rows"].append(row)
        shown = ", ".join(f"{name} {value:.2f} dB" for name, value in row["psnr"].items())
        print(f"σ = {level}, factor {row['factor']}, patches of {row['patch_size']}: {shown}", flush=True)
        if options.record is not None:
            files.write(options.record, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
            print(f"written to {options.record}", flush=True)


if __name__ == "__main__":
    main()
