"""The best that a blur can do against correlated noise: ``python tools/blur.py --record data/studies/blur.json``.

The simplest rival of AP-BSN, on its noise and its test images. The width of the Gaussian is the best one on training images, whose clean
versions the choice may see, as AP-BSN may not. On one core it takes about two minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

import command
from course_lib import data, files, metrics, project, recipes, results, rng
from course_lib.batches import to_float
from course_lib.self_supervised_denoising import ap_bsn

RECIPE, PRESET = "ap_bsn_stride5", "laptop"
WIDTHS = (1.0, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.8, 3.2)  # standard deviation in pixels
TUNED_ON, EVERY = "cbsd432", 20  # each twentieth of its images
TESTED_ON = "cbsd68"


def blurred(image: Tensor, width: float) -> Tensor:
    """Images ``(B, C, H, W)`` after a Gaussian blur of that standard deviation in pixels."""
    return gaussian_blur(image, 2 * round(4 * width) + 1, width)


def psnr_of(images: Sequence[Tensor], settings: ap_bsn.Settings, purpose: str) -> dict[float, float]:
    """Width -> mean PSNR in dB of 8-bit images ``(C, H, W)`` with the noise of the settings, drawn for the purpose; 0 for no blur."""
    found: dict[float, list[float]] = {width: [] for width in (0, *WIDTHS)}
    for index, image in enumerate(images):
        clean = to_float(image)[None]
        noisy = ap_bsn.corrupted(clean, settings, rng.generator(0, index, 0, purpose))
        for width, values in found.items():
            values.append(metrics.psnr(blurred(noisy, width) if width else noisy, clean, protocol="quantised").item())
    return {width: sum(values) / len(values) for width, values in found.items()}


def measure(training: Sequence[Tensor], tests: Sequence[Tensor], settings: ap_bsn.Settings) -> dict[str, Any]:
    """The best width on the training images, and the PSNR in dB of the test images with it, and without a blur."""
    tuning = psnr_of(training, settings, "stored noise")
    width = max(WIDTHS, key=tuning.get)
    reached = psnr_of(tests, settings, "test noise")
    return {"width": width, "psnr": round(reached[width], 4), "noisy": round(reached[0], 4)}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was measured to this JSON file")
    options = parser.parse_args(arguments)
    if options.record is not None:
        files.require_writable(options.record)  # before the measurements
    settings = recipes.find(RECIPE, PRESET)[1].settings
    training, tests = data.load(TUNED_ON).images[::EVERY], data.load(TESTED_ON).images
    found = {
        "tuned on": f"every {EVERY}th image of {TUNED_ON}", "tested on": TESTED_ON,
        "noise": {"sigma_255": settings.sigma_255, "length": settings.length},
        "versions": results.versions(), "commit": project.loaded_commit(), **measure(training, tests, settings),
    }  # fmt: skip
    print(f"blur of {found['width']} pixels: {found['psnr']:.2f} dB on {TESTED_ON}, noisy {found['noisy']:.2f} dB")
    if options.record is not None:
        files.write(options.record, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
        print(f"written to {options.record}")


if __name__ == "__main__":
    sys.exit(command.run(main))
