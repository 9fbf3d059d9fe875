r"""ArcFace: a classifier of people on the sphere, with a margin on the angle.

Idea. Train a classifier, but let its logits be what the door will compare later. Embeddings and the rows of the last layer are put on the
unit sphere, so that a logit is the cosine of the angle :math:`\theta_j` between a picture and the *prototype* :math:`w_j` of a person,
times a scale s. The true person's angle is made larger by a margin m before the softmax, which asks for more than the right order:

.. math::
    \ell = -\frac{1}{B} \sum_i
    \log \frac{e^{s \cos(\theta_{u_i} + m)}}{e^{s \cos(\theta_{u_i} + m)} + \sum_{j \ne u_i} e^{s \cos \theta_j}} .

The prototypes are learned like all other weights: one point of the sphere for each person of the training, which all of that person's
pictures are pulled to. They are thrown away afterwards; new people are enrolled with templates, as with every method of this part.

Beyond :math:`\theta = \pi - m` the cosine of :math:`\theta + m` would rise again. There the authors' code goes on with
:math:`\cos\theta - m \sin m`, which falls; so does this one. Without margin (m = 0) it is the softmax over cosines.

Source: J. Deng, J. Guo, N. Xue, S. Zafeiriou, *ArcFace: Additive Angular Margin Loss for Deep Face Recognition*, CVPR 2019,
arXiv:1801.07698.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, rng
from course_lib.metric_learning import identification
from course_lib.metric_learning.embedding import EmbeddingSettings, Headed, batch

__all__ = ["Classifier", "Settings", "arc_face", "batch", "prepare", "step"]


@dataclass(frozen=True, kw_only=True)
class Settings(EmbeddingSettings):
    """A classifier by angles on batches of P people × K images."""

    people: int = 40  # prototypes: how many people there are
    margin: float = 0.5  # m, in radians
    scale: float = 64.0  # s
    normalise: bool = True  # a logit is a cosine

    def __post_init__(self):
        super().__post_init__()
        if self.people < 2 or not self.normalise:
            raise ValueError(
                f"people = {self.people}, normalise = {self.normalise}: ArcFace tells at least two people apart, on the unit sphere."
            )
        checks.number(self.margin, "margin", 0, math.pi)
        checks.number(self.scale, "scale", 0, inside=True)


class Classifier(Headed):
    """The embedding network that all methods of this part share, and a prototype ``(dimension,)`` for each person.

    Args:
        settings: those of the embedding network, and ``people``.
        seed: of the initial weights.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__(settings, seed=seed)
        draws = rng.generator(seed, 0, 0, "initial prototypes")
        self.prototypes = nn.Parameter(F.normalize(torch.randn(settings.people, settings.dimension, generator=draws)))

    def forward(self, images: Tensor) -> Tensor:
        """Cosines ``(B, people)`` of images ``(B, C, H, W)`` in [0, 1] to all prototypes, float32."""
        return self.embedder(images) @ F.normalize(self.prototypes.float()).T


prepare = identification.prepare


def arc_face(cosines: Tensor, identities: Tensor, *, margin: float, scale: float) -> Tensor:
    """The loss of a batch: a scalar.

    Args:
        cosines: ``(B, people)``, of every image to every prototype.
        identities: ``(B,)``: whose image it is, from 0.
        margin: m, in radians.
        scale: s.

    Raises:
        TypeError, ValueError: for anything but tensors of these shapes, identities without a prototype, a
            margin outside of 0 to π, or a scale that is not positive.
    """
    identities = checks.classified(cosines, identities, ("B", "people"), names=("cosines", "identities"))
    margin = checks.number(margin, "margin", 0, math.pi)
    scale = checks.number(scale, "scale", 0, inside=True)
    own = identities[:, None]
    cosine = cosines.gather(1, own)
    sine = (1 - cosine.square()).clamp(min=1e-12).sqrt()  # the derivative of a root is infinite at 0
    farther = cosine * math.cos(margin) - sine * math.sin(margin)  # cos(θ + m)
    beyond = cosine < -math.cos(margin)  # θ > π − m
    logit = torch.where(beyond, cosine - margin * math.sin(margin), farther)
    return F.cross_entropy(scale * cosines.scatter(1, own, logit), identities)


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch; the share of it whose own prototype is the nearest, and the mean cosine to it: all scalars."""
    images, identities = batch
    cosines = model(images)
    with torch.no_grad():
        found = {
            "accuracy": (cosines.argmax(1) == identities).float().mean(),
            "cosine": cosines.gather(1, identities[:, None]).mean(),
        }
    return arc_face(cosines, identities, margin=settings.margin, scale=settings.scale), found
