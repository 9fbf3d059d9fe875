r"""Siamese networks: two images through one network, and a loss on the distance of what comes out.

Idea. With :math:`D = \lVert f_\omega(I_i) - f_\omega(I_j) \rVert_2`, pull two images of one person together, and push
images of two persons apart until they are farther than a margin m. Both images pass the same network, with the same
weights. To enrol somebody new is to store an embedding: nothing is trained again.

Losses, with y = 0 for one person and y = 1 for two:

- the original's, :math:`\frac{1-y}{2} D^2 + \frac{y}{2} \max(0, m - D)^2`, the default;
- the lecture's, :math:`\frac{1-y}{2} D + \frac{y}{2} \max(0, m - D)`.

They are no rescalings of one another. The first pulls the less the closer a pair is, the second always with the same
strength.

Source: R. Hadsell, S. Chopra, Y. LeCun, *Dimensionality Reduction by Learning an Invariant Mapping*, CVPR 2006; G. Boracchi's
lecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from course_lib import checks, devices
from course_lib.metric_learning import distances
from course_lib.metric_learning.embedding import EmbeddingSettings, batch, prepare

__all__ = ["Settings", "batch", "contrastive", "contrastive_unsquared", "pairs", "prepare", "step"]


Form = Literal["squared", "unsquared"]


@dataclass(frozen=True, kw_only=True)
class Settings(EmbeddingSettings):
    """A Siamese network on batches of P identities × K images."""

    form: Form = "squared"  # Hadsell's loss, or the lecture's
    margin: float = 1.0  # m
    balanced: bool = True  # as many pairs of two persons as of one, or all there are in a batch

    def __post_init__(self):
        super().__post_init__()
        if self.form not in get_args(Form):
            raise ValueError(f'form = "{self.form}", but it must be one of {", ".join(get_args(Form))}.')
        if not 0 < self.margin < (2 if self.normalise else float("inf")):
            raise ValueError(f"margin = {self.margin}: it must be positive, and below 2, the largest distance, on the unit sphere.")


def contrastive(distance: Tensor, different: Tensor, margin: float) -> Tensor:
    r"""Hadsell's loss, mean over pairs of :math:`\frac{1-y}{2} D^2 + \frac{y}{2} \max(0, m - D)^2`.

    Args:
        distance: ``(N,)``, D.
        different: ``(N,)``, y: 0 or False for one identity, 1 or True for two.
        margin: m.

    Raises:
        TypeError: for anything but tensors of numbers, and booleans or numbers.
        ValueError: for other shapes, a y that is neither 0 nor 1 (not looked at on a GPU), or a margin that is not positive.
    """
    y = _labels(distance, different, margin)
    return ((1 - y) * distance.square() + y * (margin - distance).clamp(min=0).square()).mean() / 2


def _labels(distance: Tensor, different: Tensor, margin: float) -> Tensor:
    """y of the losses, in the type of the distances; errors as :func:`contrastive`."""
    checks.tensor(distance, "distance", ("N",), finite=False)
    known = getattr(different, "dtype", None) == torch.bool
    checks.tensor(different, "different", ("N",), of="booleans" if known else "numbers")
    checks.number(margin, "margin", 0, inside=True)
    if different.shape != distance.shape:
        raise ValueError(f"distance {tuple(distance.shape)} and different {tuple(different.shape)} are of different numbers of pairs.")
    if not known and different.device.type == "cpu" and not bool(((different == 0) | (different == 1)).all()):
        raise ValueError("different has other values than 0 (one identity) and 1 (two): identity_a != identity_b gives booleans.")
    return different.to(distance.dtype)


def contrastive_unsquared(distance: Tensor, different: Tensor, margin: float) -> Tensor:
    r"""The lecture's loss, mean over pairs of :math:`\frac{1-y}{2} D + \frac{y}{2} \max(0, m - D)`; arguments and errors as above."""
    y = _labels(distance, different, margin)
    return ((1 - y) * distance + y * (margin - distance).clamp(min=0)).mean() / 2


def pairs(identities: Tensor, *, balanced: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of one identity in a batch, and of two: indices ``(N,)`` and ``(N,)``, and ``different`` ``(N,)``.

    Pairs of two identities outnumber the others by far. ``balanced`` takes as many of them as of the others, evenly from all
    there are; which identities these are is chance, since the batch is. Where one kind does not occur the other is returned alone.

    Raises:
        TypeError, ValueError: for anything but a tensor of integers ``(B,)``.
    """
    checks.tensor(identities, "identities", ("B",), of="integers")
    i, j = torch.triu_indices(len(identities), len(identities), offset=1, device=identities.device)
    same = identities[i] == identities[j]
    positive, negative = same.nonzero().flatten(), (~same).nonzero().flatten()
    if balanced and 0 < len(positive) < len(negative):
        negative = negative[torch.arange(len(positive), device=i.device) * len(negative) // len(positive)]
    chosen = torch.cat([positive, negative])
    return i[chosen], j[chosen], ~same[chosen]


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of the :func:`pairs` of a batch, over all processes together; the mean distances of
    either kind: all scalars.
    """
    images, identities = batch
    embeddings, identities = devices.gathered(model(images)), devices.gathered(identities)
    i, j, different = pairs(identities, balanced=settings.balanced)
    distance = distances.paired(embeddings[i], embeddings[j])
    form = contrastive if settings.form == "squared" else contrastive_unsquared
    loss = form(distance, different, settings.margin)
    apart = distance.detach()
    return loss, {"same": apart[~different].mean(), "different": apart[different].mean()}
