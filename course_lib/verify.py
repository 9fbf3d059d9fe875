"""``course verify``: do the shipped networks still give the figures of their records?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from course_lib import data, devices, results, runs

TOLERANCE_DB = 0.02
"""Largest difference between recorded and repeated figure, far more than rounding and far less than a finding."""
FEW = 1
"""How many images of each data set are evaluated unless all are asked for; the networks are many, and one image would show a change."""


@dataclass(frozen=True)
class Row:
    """One metric on one data set, over the same images: recorded, and evaluated again."""

    data: str
    metric: str
    images: int
    recorded: float  # mean
    found: float  # mean
    difference: float  # found - recorded, of the image where it is largest

    @property
    def agrees(self) -> bool:
        return abs(self.difference) <= TOLERANCE_DB


def verify(recipe: str, preset: str, *, full: bool = False) -> list[Row]:
    """Evaluate the shipped network of a record again, and compare image by image.

    The hashes of record and weights are checked first. By default the smallest image of each data set is
    evaluated; the embedded photos take the place of data sets that are not here.

    Args:
        recipe, preset: of the record.
        full: evaluate all images of all data sets.

    Raises:
        results.RecordError, weights.WeightsError: for a record or weights that were altered.
        results.RecordError: where the record is of other images than the data set has.
        data.DataError: with ``full``, for a data set that is not here or was altered.
    """
    record = results.read(recipe, preset)
    if "weights" not in record:
        print(f"{recipe}, {preset} preset: a record of several trainings, which ship no weights; its hash is right.")
        return []
    network = runs.shipped(recipe, preset).to(devices.default())
    rows = []
    embedded = [name for name in record["per_image"] if name in data.EMBEDDED]
    others = [name for name in record["per_image"] if name not in data.EMBEDDED]
    missing = False
    for name in others:
        try:
            rows += _compare(record, recipe, preset, network, name, full)
        except data.AlteredError:
            raise
        except data.DataError:
            if full:
                raise
            print(f"{name} is not here: not verified. Set COURSE_DATA to the folder that holds it.")
            missing = True
    if full or missing or not others:
        for name in embedded:
            rows += _compare(record, recipe, preset, network, name, full)
    return rows


def _compare(record: dict, recipe: str, preset: str, network, name: str, full: bool) -> Sequence[Row]:
    found = runs.evaluate(recipe, preset, network, only=name, count=None if full else FEW)[name]
    rows = []
    for metric, values in found.items():
        recorded = record["per_image"][name].get(metric, {})
        unknown = sorted(set(values) - set(recorded))
        if unknown:
            raise results.RecordError(f"the record of {recipe} has no {metric} for {unknown[0]} of {name}: it is of other data.")
        means = [sum(figures[image] for image in values) / len(values) for figures in (recorded, values)]
        largest = max((value - recorded[image] for image, value in values.items()), key=abs)
        rows.append(Row(name, metric, len(values), *means, largest))
    return rows
