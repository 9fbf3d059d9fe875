"""The figures that recipes report, in one table: in which unit, which direction is better, and what to call them.

It needs no torch, as the command line's help does not either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A figure that recipes report."""

    words: str  # for a person
    unit: Literal["dB", "%"]
    better: Literal["higher", "lower"]
    tolerance: float  # largest difference, in its unit, at which a repeated evaluation agrees: far above rounding, far below a finding

    def __str__(self) -> str:
        return f"{self.words}, in {self.unit}"


METRICS = {
    "psnr": Metric("PSNR of the restored images", "dB", "higher", 0.02),
    "clamped": Metric("PSNR of the restored images, clamped and not rounded to 8 bits", "dB", "higher", 0.02),
    "blind": Metric("PSNR of the images restored without the centre pixels, from their surroundings alone", "dB", "higher", 0.02),
    "nn3d": Metric("PSNR of the images restored with NN3D around the network", "dB", "higher", 0.02),
    "input": Metric("PSNR of the images as the network gets them", "dB", "higher", 0.02),
    "eer": Metric("equal error rate of pairs", "%", "lower", 0.2),
    "auc": Metric("area under the ROC curve of pairs", "%", "higher", 0.2),
    "rank1": Metric("identified with one template of each person", "%", "higher", 0.2),
    "rank1of5": Metric("identified with five templates of each person", "%", "higher", 0.2),
    "iou": Metric("intersection over union of masks", "%", "higher", 0.2),
    "ap": Metric("average precision of pixels", "%", "higher", 0.2),
    "accuracy": Metric("classified correctly", "%", "higher", 0.2),
    "knn": Metric("classified correctly by the nearest training images", "%", "higher", 0.2),
    "rotation": Metric("turns recognised", "%", "higher", 0.2),
    "position": Metric("neighbouring patches whose place is recognised", "%", "higher", 0.2),
    "puzzle": Metric("orders of tiles recognised", "%", "higher", 0.2),
}
"""Every metric by the first part of its name in records, such as ``psnr`` of ``psnr_25``."""

RIVALS = {"pixels": "by the distance of pixels", "angle": "by the angle in place of the distance"}
"""Words before the name of a metric, as in ``pixels_eer_0``: what is measured instead of the network."""

CONDITIONS = {
    r"([0-9.]+)": "with noise of σ = {}",
    r"x([0-9]+)": "after bicubic reduction by {}",
    r"x([0-9]+)(nearest|bicubic)": "at 1/{} of the resolution, enlarged by {} interpolation",
    r"x([0-9]+)region": "at 1/{} of the resolution around a region of interest",
    r"q([0-9]+)": "after JPEG of quality {}",
    r"photons([0-9.]+)": "with {} photons at white",
    r"lost([0-9]+)": "with {} % of the pixels lost",
    r"text([0-9]+)": "with text over {} % of the pixels",
    r"impulses([0-9]+)": "with impulses on {} % of the pixels",
    r"pd([0-9]+)": "by a blind-spot network on every {}th pixel, and no more",
    r"(before)": "of images before",
    r"(after)": "of images after",
    r"(swapped)": "with the backgrounds of the other class",
    r"motion([0-9]+)": "moved by {} pixels",
    r"rain([0-9]+)": "in rain with a drop on {} % of the pixels",
    r"(camera)": "of a simulated camera",
    r"(jpeg)": "of a simulated camera that writes JPEG",
    r"block([0-9]+)": "in the features of block {}",
    r"(shot)": "of queries that are moved, turned and lit anew",
}
"""Under which condition a figure was measured, by the last part of its name, a regular expression."""


def named(name: str) -> Metric:
    """The metric of a record's entry, with its condition in words: ``psnr``, ``psnr_25``, ``pixels_rank1of5_shot``.

    Raises:
        ValueError: for a name that no metric has.
    """
    *rival, rest = name.split("_", 1) if name.split("_")[0] in RIVALS else (name,)
    first, _, last = rest.partition("_")
    said = condition(name)
    if first not in METRICS or (last and not said):
        raise ValueError(f'there is no metric "{name}": its first part is one of {", ".join(METRICS)}, and the rest a condition.')
    return replace(METRICS[first], words=", ".join([METRICS[first].words, *([said] if said else []), *(RIVALS[word] for word in rival)]))


def condition(name: str) -> str:
    """The condition of a record's entry in words, such as ``with noise of σ = 25`` for ``psnr_25``; empty where it names none."""
    rest = name.split("_", 1)[-1] if name.split("_")[0] in RIVALS else name
    matches = [(words, re.fullmatch(pattern, rest.partition("_")[2])) for pattern, words in CONDITIONS.items()]
    return ", ".join(words.format(*match.groups()) for words, match in matches if match)


def explained() -> str:
    """The metrics and conditions in words, a line each, for ``course evaluate --help``."""
    names = [f"  {name:10} {metric}" for name, metric in METRICS.items()]
    return "\n".join([
        "metrics: NAME, or NAME_CONDITION", *names,
        "conditions: _25 noise of σ = 25, _x3 bicubic reduction by 3, _q40 JPEG of quality 40, _camera a simulated camera,",
        "_jpeg one that writes JPEG, _shot queries that are moved, turned and lit anew; pixels_NAME and angle_NAME: by the",
        "distance of pixels, and by the angle, in place of the network's distance",
    ])  # fmt: skip


def sigma_255(name: str) -> float:
    """σ of the noise, on the 0–255 scale, under which a figure of that name was measured, as 50 of ``psnr_50``; 0 where it names none."""
    condition = name.rpartition("_")[2]
    return float(condition) if re.fullmatch("[0-9.]+", condition) else 0.0


def gain(name: str, before: float, after: float) -> float:
    """By how much the figure ``after`` is better than that ``before``, in its unit: positive where better, whichever direction that is.

    Errors as :func:`named`.
    """
    return after - before if named(name).better == "higher" else before - after
