"""Who is who: people of a data set divided into those to train on and others, and characters that are made into people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from course_lib import batches, data, rng
from course_lib.data import Dataset

SHOT = dict(shift=0.1, angle=15.0, light=0.3)
"""How a character varies from shot to shot, see :func:`course_lib.batches.shots`."""


def of_identities(people: Dataset, chosen: Sequence[int] | Tensor, *, at_most: int | None = None) -> Dataset:
    """The pictures ``(C, H, W)`` of some identities only, renumbered 0, 1, … in the order of ``chosen``; of each the first ``at_most``.

    Raises:
        ValueError: for an identity that has no picture.
    """
    places, labels = [], []
    for number, identity in enumerate(chosen):
        found = (people.labels == int(identity)).nonzero().flatten()[:at_most]
        if not len(found):
            raise ValueError(f"{people.name} has no picture of identity {int(identity)}.")
        places.append(found)
        labels.append(torch.full((len(found),), number))
    taken = torch.cat(places)
    return replace(
        people,
        images=people.images[taken],
        names=tuple(people.names[i] for i in taken.tolist()),
        labels=torch.cat(labels),
        classes=tuple(people.classes[int(i)] for i in chosen) if people.classes else (),
    )


def split(people: Dataset, train: int, seed: int) -> tuple[Dataset, Dataset]:
    """(pictures of ``train`` identities drawn at random, pictures of all others): nobody is in both.

    Raises:
        ValueError: where less than two identities would be left on either side.
    """
    known = people.labels.unique()
    if not 2 <= train <= len(known) - 2:
        raise ValueError(f"train = {train} of {len(known)} identities: at least two must be left on either side.")
    order = known[torch.randperm(len(known), generator=rng.generator(seed, 0, 0, "split by person"))]
    return of_identities(people, order[:train]), of_identities(people, order[train:])


def smaller(people: Dataset, scale: float) -> Dataset:
    """The same pictures at another size, such as half of it."""
    return replace(people, images=torch.stack([batches.resized(image, scale) for image in people.images]))


def shots(people: Dataset, each: int, *, shift: float, angle: float, light: float, seed: int = 0) -> Dataset:
    """Every picture becomes a person of their own, of whom there are ``each`` random shots.

    This is how the course makes people of handwritten characters: the identity is this one character, written by this
    hand, and what varies is where it lies, how it is turned, and the light (see :func:`course_lib.batches.shots`).
    """
    images = batches.to_float(people.images).repeat_interleave(each, 0)
    made = batches.shots(images, rng.generator(seed, 0, 0, "shots"), shift=shift, angle=angle, light=light)
    return replace(
        people,
        images=batches.to_uint8(made),
        source=f"{people.source}; {each} random shots of every character",
        names=tuple(f"{name}, shot {i + 1}" for name in people.names for i in range(each)),
        labels=torch.arange(len(people)).repeat_interleave(each),
        classes=people.names,
    )


def of_characters(digits: Dataset, chosen: Tensor) -> Dataset:
    """The chosen handwritten characters, by their numbers ``(N,)``, each a person of their own: identities 0 to N − 1."""
    names = tuple(digits.names[i] for i in chosen.tolist())
    return replace(digits, images=digits.images[chosen], names=names, labels=torch.arange(len(names)), classes=names)


def characters(seed: int, count: int = 4000) -> tuple[Dataset, Dataset]:
    """Handwritten characters as people: ``count`` to train on, each with one picture, and ten shots of 100 others."""
    train, others = data.load("digits", "train"), data.load("digits", "test")
    mixed = torch.randperm(len(train), generator=rng.generator(seed, 0, 0, "characters to train on"))[:count]
    taken = torch.randperm(len(others), generator=rng.generator(seed, 0, 0, "unseen characters"))[:100]
    return of_characters(train, mixed), shots(of_characters(others, taken), 10, **SHOT, seed=seed)


def faces(seed: int) -> tuple[Dataset, Dataset]:
    """The faces at half their size: 30 people to train on, and the other 10."""
    return split(smaller(data.load("faces"), 0.5), 30, seed)


def held_out_digits(seed: int) -> tuple[Dataset, Dataset]:
    """Digits as "people": seven digits to train on, pictures of the three others."""
    known = split(data.load("digits", "train"), 7, seed)[0]
    return known, split(data.load("digits", "test"), 7, seed)[1]
