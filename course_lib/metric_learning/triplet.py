r"""Triplet networks: an anchor, another image of the same person, and one of somebody else.

Idea. Nothing is said about distances as such, only about their order: the *positive* P shall be nearer to the anchor A than
the *negative* N, by at least a margin m.

Losses:

- the lecture's, unsquared, the default: :math:`\max(0,\; m + \lVert f(A) - f(P) \rVert_2 - \lVert f(A) - f(N) \rVert_2)`;
- FaceNet's, with squared distances and embeddings on the unit sphere.

Mining. Most triplets are soon satisfied, and give no gradient. With the names of the literature, and
:math:`d_{ap}, d_{an}` for the distances: *easy* is :math:`d_{an} > d_{ap} + m`, *semi-hard*
:math:`d_{ap} < d_{an} \le d_{ap} + m`, *hard* :math:`d_{an} \le d_{ap}`. From a batch of P identities × K images are taken
all triplets; for each pair of anchor and positive a random or a semi-hard negative; or, *batch-hard*, for each anchor the
furthest positive and the nearest negative.

Collapse. A network that maps everything to one point has all distances 0, and a loss of exactly m. Hard negatives drive an
untrained network there.

Source: F. Schroff, D. Kalenichenko, J. Philbin, *FaceNet*, CVPR 2015, arXiv:1503.03832; A. Hermans, L. Beyer, B. Leibe, *In
Defense of the Triplet Loss for Person Re-Identification*, 2017, arXiv:1703.07737; G. Boracchi's lecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from course_lib import checks, devices
from course_lib.batches import IdentityPool
from course_lib.metric_learning import distances, embedding
from course_lib.metric_learning.embedding import EmbeddingSettings, prepare
from course_lib.rng import Draws

__all__ = ["Settings", "all_triplets", "batch", "batch_hard", "prepare", "random_triplets", "semi_hard", "step"]


Mining = Literal["all", "random", "semi-hard", "batch-hard"]


@dataclass(frozen=True, kw_only=True)
class Settings(EmbeddingSettings):
    """A triplet network on batches of P identities × K images."""

    mining: Mining = "batch-hard"
    margin: float = 0.2  # m
    squared: bool = False  # FaceNet's squared distances, which it takes on the unit sphere

    def __post_init__(self):
        super().__post_init__()
        if self.mining not in get_args(Mining):
            raise ValueError(f'mining = "{self.mining}", but it must be one of {", ".join(get_args(Mining))}.')
        largest = (4.0 if self.squared else 2.0) if self.normalise else float("inf")
        if not 0 < self.margin < largest:
            raise ValueError(f"margin = {self.margin}: it must be positive, and below {largest:g}, the largest distance there is.")


@dataclass(frozen=True)
class Mined:
    """What a mining gives: a loss, and how many triplets were looked at and how many of them violate the margin."""

    loss: Tensor  # scalar; 0 with a gradient of 0 where there is no triplet
    triplets: Tensor  # scalar
    active: Tensor  # scalar

    @property
    def active_fraction(self) -> Tensor:
        """Share of the triplets that violate the margin, a scalar; 0 where there is no triplet."""
        return self.active / self.triplets.clamp(min=1)


def _mined(violations: Tensor, valid: Tensor, nonzero: bool) -> Mined:
    """The mean of the positive parts of ``violations`` where ``valid``, over all of those or over the positive ones."""
    hinge = violations.clamp(min=0).masked_fill(~valid, 0)
    active, triplets = (hinge > 0).sum(), valid.sum()
    loss = hinge.sum() / (active if nonzero else triplets).clamp(min=1)
    return Mined(loss, triplets, active.detach())


def _require(compared: Tensor, labels: Tensor, margin: float, *, name: str = "distance", axes: tuple[str, str] = ("B", "B")) -> None:
    """Raise unless these are what a mining takes: distances ``(B, B)`` or embeddings ``(B, D)``, and labels ``(B,)``."""
    checks.tensor(compared, name, axes, of="floating", finite=False)
    checks.tensor(labels, "labels", ("B",), of="integers")
    checks.number(margin, "margin", 0)
    if len(labels) != len(compared) or (axes[0] == axes[1] and compared.shape[0] != compared.shape[1]):
        raise ValueError(f"{name} {tuple(compared.shape)} and labels {tuple(labels.shape)} do not fit: ({', '.join(axes)}) and (B,).")


def _relations(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(same identity but another image, other identity), each ``(B, B)``."""
    same = labels[:, None] == labels
    return same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~same


def all_triplets(distance: Tensor, labels: Tensor, margin: float, *, nonzero: bool = True) -> Mined:
    r"""Mean of :math:`\max(0, m + d_{ap} - d_{an})` over all triplets of a batch.

    Args:
        distance: ``(B, B)``, of every image to every other.
        labels: ``(B,)`` identities.
        margin: m.
        nonzero: mean over the triplets that violate the margin, as is common, rather than over all of them. It then hovers
            near m, which is no collapse.

    Raises:
        TypeError, ValueError: for anything but tensors of these shapes, or a negative margin.
    """
    _require(distance, labels, margin)
    positive, negative = _relations(labels)
    anchor, other = positive.nonzero(as_tuple=True)  # all pairs of anchor and positive
    violations = margin + distance[anchor, other][:, None] - distance[anchor]  # (pairs, B): by each image as the negative
    return _mined(violations, negative[anchor], nonzero)


def random_triplets(distance: Tensor, labels: Tensor, margin: float, scores: Tensor) -> Mined:
    """For each pair of anchor and positive one negative, that of the highest score among all of them.

    Args:
        distance, labels, margin: as for :func:`all_triplets`.
        scores: ``(B, B)`` uniform random numbers: row i decides for the anchor i.

    Raises:
        TypeError, ValueError: as for :func:`all_triplets`.
    """
    _require(distance, labels, margin)
    if checks.tensor(scores, "scores", ("B", "B"), finite=False).shape != distance.shape:
        raise ValueError(f"scores are {tuple(scores.shape)}, but must be as many as the distances, {tuple(distance.shape)}.")
    positive, negative = _relations(labels)
    anchor, other = positive.nonzero(as_tuple=True)
    shift = torch.arange(len(anchor), device=anchor.device)
    rolled = scores[anchor, :].gather(1, (torch.arange(len(labels), device=anchor.device) + shift[:, None]) % len(labels))
    chosen = rolled.masked_fill(~negative[anchor], -1).argmax(1)
    violations = margin + distance[anchor, other] - distance[anchor, chosen]
    return _mined(violations, negative[anchor].any(1), nonzero=False)


def semi_hard(distance: Tensor, labels: Tensor, margin: float) -> Mined:
    """For each pair of anchor and positive the nearest negative that is farther than the positive;
    none, where there is none.

    Shapes as for the other minings: distances ``(B, B)``, labels ``(B,)``; errors as for
    :func:`all_triplets`.
    """
    _require(distance, labels, margin)
    positive, negative = _relations(labels)
    anchor, other = positive.nonzero(as_tuple=True)
    reach = distance[anchor, other]
    # not "> reach", so that NaN is not left out: the loss is then NaN
    farther = negative[anchor] & ~(distance[anchor] <= reach[:, None])
    nearest = distance[anchor].masked_fill(~farther, float("inf")).min(1).values
    valid = farther.any(1)
    return _mined(margin + reach - nearest.where(valid, reach), valid, nonzero=False)


def batch_hard(embeddings: Tensor, labels: Tensor, margin: float, *, squared: bool = False) -> Mined:
    """For each anchor the furthest positive and the nearest negative; mean over the anchors that have both.

    The choice has no gradient. It is made among all distances; those of the chosen pairs are then computed again, since a
    gradient through ``(B, D)`` differences costs far less than one through ``(B, B)`` distances.

    Args:
        embeddings: ``(B, D)``.
        labels, margin: as for :func:`all_triplets`.
        squared: is the margin one of squared distances?

    Raises:
        TypeError, ValueError: as for :func:`all_triplets`.
    """
    _require(embeddings, labels, margin, name="embeddings", axes=("B", "D"))
    with torch.no_grad():
        points = embeddings - embeddings.mean(0)
        # ‖b‖² − 2 a·b orders the images b around an anchor a as their distances do.
        order = torch.addmm(points.square().sum(1), points, points.T, alpha=-2)
        same = labels[:, None] == labels
        furthest = order.masked_fill(~same, -float("inf")).argmax(1)  # an anchor is nearest to itself: chosen only where alone
        nearest = order.masked_fill(same, float("inf")).argmin(1)
        others = same.sum(1)
        valid = (others > 1) & (others < len(labels))
    chosen = embeddings.index_select(0, torch.cat([furthest, nearest])).view(2, *embeddings.shape)
    reach = distances.paired(embeddings.expand_as(chosen), chosen)  # (2, B): to the furthest positive, to the nearest negative
    if squared:
        reach = reach.square()
    return _mined(margin + reach[0] - reach[1], valid, nonzero=False)


Batch = tuple[Tensor, Tensor, Tensor]


def batch(pool: IdentityPool, draws: Draws, settings: Settings) -> Batch:
    """(images, identities, random scores for :func:`random_triplets`): what :func:`step` needs."""
    images, identities = embedding.batch(pool, draws, settings)
    scores = torch.rand(len(images), len(images) * devices.processes(), generator=draws("scores"), device=images.device)
    return images, identities, scores


def step(model: nn.Module, batch: Batch, settings: Settings) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of the triplets mined from a batch, over all processes together; the share that
    violates the margin, and the mean distance: all scalars.
    """
    images, identities, scores = batch
    embeddings, identities, scores = (devices.gathered(t) for t in (model(images), identities, scores))
    distance = distances.pairwise(embeddings, embeddings)
    measured = distance.square() if settings.squared else distance
    if settings.mining == "all":
        mined = all_triplets(measured, identities, settings.margin)
    elif settings.mining == "random":
        mined = random_triplets(measured, identities, settings.margin, scores)
    elif settings.mining == "semi-hard":
        mined = semi_hard(measured, identities, settings.margin)
    else:
        mined = batch_hard(embeddings, identities, settings.margin, squared=settings.squared)
    return mined.loss, {"active": mined.active_fraction, "distance": distance.detach().mean()}
