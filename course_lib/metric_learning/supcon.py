r"""SupCon, supervised contrastive learning: all other images of my class are positives.

Idea. InfoNCE knows one positive. Where labels say who is in a picture, all pictures of that person can be positives of each other, and
the pictures of everybody else are negatives. For the image i of a batch let P(i) be the other images of the same person, and A(i) all
other images. With embeddings :math:`z` on the unit sphere,

.. math::
    \ell_\text{out} = \frac{1}{B} \sum_i \frac{-1}{|P(i)|} \sum_{p \in P(i)}
    \log \frac{\exp(z_i \cdot z_p / \tau)}{\sum_{a \in A(i)} \exp(z_i \cdot z_a / \tau)} .

The mean over the positives stands outside of the logarithm; the paper finds this form better than the one inside, :math:`\ell_\text{in}`.
With two images of each person it is NT-Xent. The sum below contains the other positives too, so that with
several positives no loss can be 0: at best they are all equal, and it is near :math:`\ln |P(i)|`.

The paper sums over i, this is the mean, over those images that have a positive.

Source: P. Khosla, P. Teterwak, C. Wang, A. Sarna, Y. Tian, P. Isola, A. Maschinot, C. Liu, D. Krishnan, *Supervised Contrastive Learning*,
NeurIPS 2020, arXiv:2004.11362.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, devices
from course_lib.metric_learning.embedding import EmbeddingSettings, batch, prepare

__all__ = ["Settings", "batch", "prepare", "step", "sup_con"]


@dataclass(frozen=True, kw_only=True)
class Settings(EmbeddingSettings):
    """An embedding network on batches of P people × K images, on the unit sphere."""

    temperature: float = 0.1  # τ
    normalise: bool = True  # the similarity is a cosine

    def __post_init__(self):
        super().__post_init__()
        if not self.normalise:
            raise ValueError("normalise = False: SupCon compares by the cosine, so that the embeddings lie on the unit sphere.")
        checks.number(self.temperature, "temperature", 0, inside=True)


def sup_con(embeddings: Tensor, labels: Tensor, temperature: float) -> Tensor:
    r"""The loss :math:`\ell_\text{out}` of a batch, mean over the images with a positive: a scalar.

    It is 0, with a gradient of 0, where no image has one. All embeddings equal give ln(B − 1).

    Args:
        embeddings: ``(B, D)``; lengths do not matter.
        labels: ``(B,)`` identities.
        temperature: τ.

    Raises:
        TypeError, ValueError: for anything but tensors of these shapes, or a temperature that is
            not positive.
    """
    _require(embeddings, labels)
    temperature = checks.number(temperature, "temperature", 0, inside=True)
    unit = F.normalize(embeddings)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    lowest = torch.finfo(unit.dtype).min  # never chosen, and finite: 0 times it is 0
    scores = (unit @ unit.T / temperature).masked_fill(itself, lowest)
    positive = ((labels[:, None] == labels) & ~itself).to(unit.dtype)
    each = -(positive * scores.log_softmax(1)).sum(1) / positive.sum(1).clamp(min=1)
    return each.sum() / (positive.sum(1) > 0).sum().clamp(min=1)


def _require(embeddings: Tensor, labels: Tensor) -> None:
    """Raise unless these are embeddings ``(B, D)`` and labels ``(B,)``."""
    checks.tensor(embeddings, "embeddings", ("B", "D"), of="floating", finite=False)
    checks.tensor(labels, "labels", ("B",), of="integers")
    if len(labels) != len(embeddings):
        raise ValueError(f"embeddings {tuple(embeddings.shape)} and labels {tuple(labels.shape)} do not fit: (B, D) and (B,).")


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, over all processes together, and the mean distance of all images: scalars."""
    embeddings, identities = (devices.gathered(part) for part in (model(batch[0]), batch[1]))
    with torch.no_grad():
        distance = torch.cdist(embeddings, embeddings).mean()
    return sup_con(embeddings, identities, settings.temperature), {"distance": distance}
