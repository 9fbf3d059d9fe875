"""``course verify``: do the shipped networks still give the figures of their records?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from course_lib import data, devices, reported, results, runs


@dataclass(frozen=True)
class Row:
    """One metric on one data set, over the same images: recorded, and evaluated again."""

    data: str
    metric: str
    images: int
    recorded: float  # mean
    found: float  # mean
    difference: float  # found - recorded, of the image where it is largest
    of: int  # images that the record has of this data set

    @property
    def agrees(self) -> bool:
        """Is the largest difference within the tolerance of the metric?"""
        return abs(self.difference) <= reported.named(self.metric).tolerance

    def __str__(self) -> str:
        images = f"all {self.of} images" if self.images == self.of else f"{self.images} of {self.of} images"
        return f"{self.data} {self.metric} ({images})"


def left_out(recipe: str, preset: str, rows: Sequence[Row]) -> list[str]:
    """Data sets of a record of which nothing is among the ``rows`` that were compared; errors as :func:`course_lib.results.read`."""
    return sorted(set(results.read(recipe, preset)["metrics"]) - {row.data for row in rows})


def verify(recipe: str, preset: str, *, full: bool = False) -> list[Row]:
    """Evaluate the shipped network of a record again, and compare image by image.

    The hashes of record and weights are checked first. By default the four smallest images of each data set are evaluated; the
    embedded photos take the place of data sets that are not here. Of a data set that has only a mean in the record, all images are
    evaluated with ``full``, and none without.

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
    names = list(record["metrics"] if full else record.get("per_image", {}))
    if len(names) < len(record["metrics"]):
        print(f"{', '.join(sorted(set(record['metrics']) - set(names)))}: means only, which --full verifies.")
    rows = []
    embedded = [name for name in names if name in data.EMBEDDED]
    others = [name for name in names if name not in data.EMBEDDED]
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
    seed = record["seed"][0] if isinstance(record["seed"], list) else record["seed"]  # weights are those of the first
    found = runs.evaluate(recipe, preset, network, only=name, count=None if full else runs.FEW, seed=seed)[name]
    rows = []
    for metric, values in found.items():
        recorded, images = results.singles(record)[name].get(metric, {}), len(values)
        total = len(recorded)
        if name in record.get("per_seed", {}):
            total = images
            values = {f"seed {seed}": sum(values.values()) / images}
        unknown = sorted(set(values) - set(recorded))
        if unknown:
            raise results.RecordError(f"the record of {recipe} has no {metric} for {unknown[0]} of {name}: it is of other data.")
        means = [sum(figures[single] for single in values) / len(values) for figures in (recorded, values)]
        largest = max((value - recorded[single] for single, value in values.items()), key=abs)
        rows.append(Row(name, metric, images, *means, largest, of=total))
    return rows
