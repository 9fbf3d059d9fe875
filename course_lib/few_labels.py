r"""What are features worth where few images have labels? Draws of labelled images, and a probe that is fitted in a moment.

Idea. Draw K images of each class, fit a linear classifier to their features and labels, and classify all test images. Draw again,
and again: with so few labels the draw matters more than most methods. Two networks are compared on the *same* draws, and the interval
is that of their differences.

The classifier is a ridge regression to the targets ±1 of every class, which a small system of equations solves,

.. math:: \min_{W, b} \sum_i \lVert W z_i + b - t_i \rVert^2 + \lambda\, d\, \lVert W \rVert^2 ,

with d features, and the answer is the class of the largest output. The features of convolutions ``(C, H, W)`` are averaged over 4×4
parts of the image, and each is scaled to the mean 0 and the standard deviation 1 of the training images, for which no labels are
needed. Then :math:`\lVert z \rVert^2` is about d, and λ has the same meaning whatever the features are. It is one for all networks
and numbers of labels, and was not chosen on test images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks, rng
from course_lib.data import Dataset

PARTS = 4  # in a row and in a column, over which features are averaged
REGULARISATION = 1.0  # λ: as strong as one image's features


def pooled(features: Tensor, parts: int = PARTS) -> Tensor:
    """Features ``(N, C, H, W)`` averaged over ``parts`` × ``parts`` parts of the image: ``(N, C · parts²)``.

    Raises:
        TypeError, ValueError: for anything but a tensor of that shape without NaN, or a number of parts below 1.
    """
    checks.tensor(features, "features", ("N", "C", "H", "W"), of="floating")
    return F.adaptive_avg_pool2d(features, checks.whole(parts, "parts", 1)).flatten(1)


def draw(labels: Tensor, per_class: int, *, seed: int = 0, number: int = 0) -> Tensor:
    """Which images get a label: ``per_class`` of each class at random, as indices ``(classes · per_class,)``, class by class.

    Args:
        labels: ``(N,)`` integers.
        per_class: K.
        seed, number: of the draw. With more labels the same draw contains that with fewer.

    Raises:
        TypeError, ValueError: for labels that are no integers ``(N,)``, or a class with fewer images than K.
    """
    checks.tensor(labels, "labels", ("N",), of="integers")
    per_class = checks.whole(per_class, "per_class", 1)
    names, counts = labels.unique(return_counts=True)
    if not len(names) or int(counts.min()) < per_class:
        least = int(counts.min()) if len(names) else 0
        raise ValueError(f"per_class = {per_class}, but there is a class with {least} images: draw at most as many.")
    order = torch.randperm(len(labels), generator=rng.generator(seed, number, 0, "few labels"))
    mixed = labels[order]
    return torch.cat([order[(mixed == name).nonzero().flatten()[:per_class]] for name in names])


def labelled(found: Dataset, per_class: int, *, seed: int = 0) -> Dataset:
    """The images of a data set that one :func:`draw` gives a label, ``per_class`` of each class, as a data set; errors as there."""
    chosen = draw(found.labels, per_class, seed=seed)
    names = tuple(found.names[i] for i in chosen.tolist())
    source = f"{found.source}; {per_class} of each class have a label, draw {seed}"
    return replace(found, images=found.images[chosen], labels=found.labels[chosen], names=names, source=source)


class Probe:
    """A linear classifier on features of which all training images are known, and the labels of a few.

    Args:
        known: features ``(N, d)`` of the training images, or ``(N, C, H, W)``, which are :func:`pooled`.
        labels: ``(N,)`` integers; a probe looks at those of its draw only.
        queries: features of the test images, in the form of ``known``.
        truth: labels of the test images, ``(Q,)``.
        regularisation: λ.

    Raises:
        TypeError, ValueError: for features or labels of another type, shape or number, with NaN, or of too few images.
    """

    def __init__(self, known: Tensor, labels: Tensor, queries: Tensor, truth: Tensor, *, regularisation: float = REGULARISATION):
        known, queries = (pooled(one) if getattr(one, "ndim", 2) == 4 else one for one in (known, queries))
        for features, classes, name in ((known, labels, "known"), (queries, truth, "queries")):
            checks.tensor(features, name, ("N", "d"), of="floating")
            if len(checks.tensor(classes, f"labels of {name}", ("N",), of="integers")) != len(features):
                raise ValueError(f"{name}: there are {len(features)} features, but {len(classes)} labels.")
        if known.shape[1] != queries.shape[1]:
            raise ValueError(f"known {tuple(known.shape)} and queries {tuple(queries.shape)} do not fit: both need d features.")
        if len(known) < 2 or not len(queries):
            raise ValueError(f"there are {len(known)} known images and {len(queries)} queries: two and one are the least.")
        self.regularisation = checks.number(regularisation, "regularisation", 0, inside=True)
        mean, std = known.mean(0), known.std(0).clamp(min=1e-6)
        self.known, self.queries = (((one - mean) / std).cpu().double() for one in (known, queries))
        self.labels, self.truth = labels.cpu(), truth.cpu()

    def answers(self, chosen: Tensor) -> Tensor:
        """The classes ``(Q,)`` of the test images, where training images ``chosen`` have labels.

        Raises:
            TypeError, ValueError: for numbers that no training image has, or none.
        """
        numbers = checks.indices(chosen, len(self.known), "chosen")
        chosen = torch.tensor(numbers, dtype=torch.long)
        if not len(chosen):
            raise ValueError("chosen is empty: at least one image needs a label.")
        known, names = self.known[chosen], self.labels.unique()
        targets = torch.where(self.labels[chosen, None] == names, 1.0, -1.0).double()
        middle, offset = known.mean(0), targets.mean(0)
        known = known - middle
        # the weights lie in the span of the features: as many unknowns as labelled images
        gram = known @ known.T
        gram.diagonal().add_(self.regularisation * known.shape[1])
        weights = known.T @ torch.linalg.solve(gram, targets - offset)
        return names[((self.queries - middle) @ weights + offset).argmax(1)]

    def accuracy(self, per_class: int, *, seed: int = 0, number: int = 0) -> float:
        """Percent of the test images that :meth:`answers` classifies correctly after one :func:`draw`; errors as there."""
        answers = self.answers(draw(self.labels, per_class, seed=seed, number=number))
        return 100 * (answers == self.truth).double().mean().item()

    def accuracies(self, per_class: int, *, draws: int = 20, seed: int = 0) -> np.ndarray:
        """:meth:`accuracy` of draws 0, 1, …: ``(draws,)`` in percent."""
        return np.array([self.accuracy(per_class, seed=seed, number=number) for number in range(checks.whole(draws, "draws", 1))])


def paired(ours: Sequence[float], rivals: Sequence[float]) -> tuple[float, float]:
    """Mean of the differences, ours less the rival's, of the same draws, and the half width of its 95 % interval.

    Raises:
        ValueError: for fewer than two draws, different numbers of them, or values that are not finite.
    """
    from course_lib.results import interval

    if len(ours) != len(rivals):
        raise ValueError(f"there are {len(ours)} values of ours, but {len(rivals)} of the rival's: compare the same draws.")
    if not all(math.isfinite(value) for value in (*ours, *rivals)):
        raise ValueError("there are values that are not finite: leave out both of the draw, or train it again.")
    return interval([float(a) - float(b) for a, b in zip(ours, rivals, strict=True)])


def crossing(counts: Sequence[int], ours: Sequence[float], rivals: Sequence[float]) -> float | None:
    """With how many labels a class the rival overtakes: where two curves cross, which are straight over the logarithm of K.

    Args:
        counts: K, rising, at least 1.
        ours, rivals: accuracies ``(len(counts),)``, both for every K.

    Returns:
        The K of the last crossing after which the rival stays ahead; the first K where it is ahead everywhere, None where it is not
        ahead at the last.

    Raises:
        ValueError: for no K, for such that do not rise or lie below 1, other numbers of accuracies, or such that are not finite.
    """
    if not len(counts) or counts[0] < 1 or any(a >= b for a, b in zip(counts, counts[1:], strict=False)):
        raise ValueError(f"counts = {tuple(counts)}: give one or more rising numbers of labels a class, from 1.")
    if not len(counts) == len(ours) == len(rivals):
        raise ValueError(f"there are {len(counts)} counts, but {len(ours)} and {len(rivals)} accuracies: each curve needs one for every K.")
    lead = [float(a) - float(b) for a, b in zip(ours, rivals, strict=True)]
    if not all(map(math.isfinite, lead)):
        raise ValueError(f"accuracies are {tuple(ours)} and {tuple(rivals)}, but must be finite.")
    if not lead[-1] < 0:
        return None
    last = max((i for i, ahead in enumerate(lead) if ahead >= 0), default=None)
    if last is None:
        return float(counts[0])
    share = lead[last] / (lead[last] - lead[last + 1])
    return math.exp(math.log(counts[last]) + share * math.log(counts[last + 1] / counts[last]))
