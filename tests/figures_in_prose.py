"""Where every figure in the prose of a page comes from: all that end in dB or % are listed here, and no others may be written.

A figure is a number computed from the record, the paper or the formula that it is from; or it stands beside the cell that
asserts it; or it is said to be no result: a definition, a setting, or a quotation with its source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import log10

from course_lib import project, recipes, results
from course_lib.denoising import erf
from course_lib.self_supervised_denoising import ap_bsn, correlation


@dataclass(frozen=True)
class Beside:
    """Asserted in a cell of the page, by this code."""

    code: str


@dataclass(frozen=True)
class Said:
    """Not a result; what it is instead."""

    what: str


def paper(recipe: str, data: str, metric: str) -> float:
    """A published figure."""
    return recipes.RECIPES[recipe].paper[data][metric]["value"]


def recorded(recipe: str, preset: str, data: str, metric: str) -> float:
    """A figure of ours."""
    return results.read(recipe, preset)["metrics"][data][metric]


def stand_in(data: str, sigma_255: int) -> float:
    """What BM3D's stand-in, tuned non-local means, was measured to reach."""
    rows = project.study("non_local_means")["rows"]
    return next(row["psnr"][data] for row in rows if row["sigma_255"] == sigma_255)


def noisy(sigma_255: float) -> float:
    """PSNR in dB of an image with Gaussian noise of σ."""
    return 20 * log10(255 / sigma_255)


DND = Said("the table of CBDNet's authors")
INTERVAL = Said("the confidence of the intervals of course_lib.results.interval")

FIGURES: dict[str, dict[str, float | Beside | Said]] = {
    "01_templates": {"0 %": Said("the range of an error rate"), "50 %": Said("the range of an error rate"), "95 %": INTERVAL},
    "03_triplet": {
        "0.1 %": Said("a rate that the exercise asks for"),
        "1 %": Beside("false_accepts=0.01"),
        "5 %": Said("a rate that the exercise asks for"),
        "95 %": INTERVAL,
    },
    "04_rotnet": {"25 %": Said("chance among the four turns of one family")},
    "06_pretext_tasks": {"38.4 %": Said("the paper on context prediction, on VOC 2007")},
    "08_dncnn": {
        "6 dB": 20 * log10(2),
        "20.2 dB": noisy(25),
        "5 dB": Beside("lead[25] - lead[50] > 5"),
        "0.14 dB": paper("dncnn_b", "bsd68", "psnr_25") - paper("dncnn_3", "bsd68", "psnr_25"),
        "29.48 dB": Said("the paper on DRUNet"),
        "28.57 dB": Beside('"BM3D": (49, 28.57)'),
        "27.71 dB": stand_in("bsd68", 25),
    },
    "09_ffdnet": {
        "0.04 dB": paper("dncnn_s", "bsd68", "psnr") - paper("ffdnet", "bsd68", "psnr_25"),
        "95 %": INTERVAL,
        "0.06 dB": max(abs(paper("fdncnn", "bsd68", f"psnr_{s}") - paper("ffdnet", "bsd68", f"psnr_{s}")) for s in (15, 25, 50)),
        "29.16 dB": paper("dncnn_b", "bsd68", "psnr_25"),
        "29.19 dB": paper("ffdnet", "bsd68", "psnr_25"),
        "20.55 dB": Said("the paper on FFDNet, by the lecture"),
        "30.08 dB": Said("the paper on FFDNet, by the lecture"),
        "27.45 dB": Said("the paper on FFDNet, by the lecture"),
    },
    "10_blind_and_real": {
        "1.5 dB": Beside("ours > 1.5"),
        "10 dB": Beside('min(row["0–30", "BF-CNN"][100] - row["0–30", "DnCNN"][100] for row in (reached, published)) > 10'),
        "8 dB": paper("bfcnn", "bsd68", "clamped_100") - paper("dncnn_b", "bsd68", "clamped_100"),
        "32.43 dB": DND,
        "34.51 dB": DND,
        "37.57 dB": DND,
        "37.72 dB": DND,
        "38.06 dB": DND,
    },
    "11_inside_the_denoiser": {
        "4.55 %": 100 * erf.THRESHOLD,
        "95.45 %": 100 * (1 - erf.THRESHOLD),
        "3 dB": Beside('lost["digits"] > 3'),
        "30 %": Said("the lecture, of the paper on effective receptive fields"),
        "30.50 dB": Said("the paper on gradual denoising, by the lecture"),
        "30.88 dB": Said("the paper on gradual denoising, by the lecture"),
        "0.35 dB": Said("the table of the paper on NN3D: 29.23 − 28.88"),
        "0.46 dB": Said("the table of the paper on NN3D: 24.45 − 23.99"),
        "29.23 dB": paper("dncnn_s", "bsd68", "psnr"),
        "29.48 dB": Said("the figure of DRUNet's authors"),
        "33.28 dB": Said("the table of AP-BSN's authors"),
        "39.43 dB": Said("the table of AP-BSN's authors"),
    },
    "12_noise2noise": {
        "25 %": Said("how much of the test photos the text covers"),
        "0.47 dB": 30.14 - 29.67,  # clean and noisy targets on Set14, of the reimplementation's README
    },
    "13_noise2void": {
        "4 dB": Beside("noisy_db + 4 < from_single < from_pairs - 0.2"),
        "29.15 dB": recorded("n2v_single", "quick", "photos", "psnr_25"),
        "1.5 dB": recorded("dilated", "laptop", "bsd68", "psnr_25") - recorded("dilated", "laptop", "bsd68", "blind_25"),
        "0.13 dB": 28.88 - recorded("dilated", "laptop", "bsd68", "psnr_25"),  # D-BSN on BSD68, of its authors
        "0.86 dB": Said("BM3D less Noise2Void on BSD68, of the table above it"),
        "2.1 dB": Said("the half-plane network's authors, on photo 6 of Kodak: the difference of the two figures after it"),
        "29.04 dB": Said("the half-plane network's authors, on photo 6 of Kodak"),
    },
    "14_ap_bsn": {
        "100 %": 100 * correlation.guessable(1.0, 1),
        "51 %": 100 * correlation.guessable(1.0, 2),
        "4 %": 100 * correlation.guessable(1.0, 3),
        "16 %": 100 * ap_bsn.Settings().replaced,
        "33.4 dB": recorded("ap_bsn_camera", "laptop", "cc15", "input"),
        "22.45 dB": project.study("blur")["psnr"],
        "1.5 dB": Beside('rival["psnr"] + 1.5'),
        "12 dB": 39.43 - 27.68,  # DANet and Noise2Void on SIDD, of the paper on AP-BSN
    },
    "16_joint_training": {
        "1 dB": Beside("label_only[0] < image_only[0] - 1"),
        "23.0 dB": Beside("round(-10 * log10(0.5 / 100), 1) == 23.0"),
    },
    "17_distillation": {"95 %": INTERVAL},
    "metric_learning_today": {"95 %": INTERVAL},
    "reproduction": {"95 %": INTERVAL, "0.02 dB": Said("the tolerance of course verify")},
}

FIGURE = re.compile(r"(?<![\d.,])(\d+(?:\.(\d+))?)(?:\\,|\s)*(dB|\\?%)")


def wrong(page: str, text: str, table: dict[str, float | Beside | Said]) -> list[str]:
    """What is wrong with the figures of a page: not in the table, of another value, asserted nowhere, or in the table for nothing."""
    code = "\n".join(re.findall(r"```\{code-cell\}.*?```", text, re.S))
    prose = re.sub(r"```\{code-cell\}.*?```", "", text, flags=re.S)
    found = {}
    for number, digits, unit in FIGURE.findall(prose):
        found[f"{number} {unit.strip(chr(92))}"] = (number, len(digits))
    faults = [f"{page}: {figure} has no source" for figure in found if figure not in table]
    for figure, source in table.items():
        if figure not in found:
            faults.append(f"{page}: {figure} is not in the text any more")
        elif isinstance(source, Beside):
            if source.code not in code:
                faults.append(f"{page}: {figure}: no cell has {source.code}")
        elif not isinstance(source, Said):
            number, digits = found[figure]
            if f"{source:.{digits}f}" != number:
                faults.append(f"{page}: {figure}, but its source has {source:.{digits}f}")
    return faults
