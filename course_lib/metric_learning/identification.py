r"""Identification by classification: one output for every person, and a softmax over them.

Idea. This is the conventional answer to "who is in this picture?": a network whose last layer has as many outputs as there
are people, trained with the cross-entropy

.. math:: \ell = -\frac{1}{B} \sum_{i=1}^{B} \log \mathrm{softmax}\bigl(W\, \mathrm{ReLU}(f_\omega(I_i)) + b\bigr)_{u_i} .

It knows nobody but those it was trained on: one more person is one more row of W, and another training. What lies before the
last layer, the *latent representation* :math:`f_\omega(I)`, can be compared by its distance all the same; this is the measure
against which the losses of metric learning have to prove themselves.

Source: G. Boracchi's lecture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, rng
from course_lib.batches import IdentityPool
from course_lib.data import Dataset
from course_lib.metric_learning import embedding
from course_lib.metric_learning.embedding import EmbeddingSettings, Headed
from course_lib.rng import Draws

__all__ = ["Classifier", "Settings", "batch", "cross_entropy", "prepare", "step", "widened"]


@dataclass(frozen=True, kw_only=True)
class Settings(EmbeddingSettings):
    """A classifier of people on batches of P identities × K images."""

    people: int = 40  # outputs: how many there are

    def __post_init__(self):
        super().__post_init__()
        if self.people < 2 or self.normalise:
            raise ValueError(
                f"people = {self.people}, normalise = {self.normalise}: a classifier tells at least two people apart, from a latent "
                "representation that is free in length."
            )


class Classifier(Headed):
    """The embedding network that all methods of this part share, ReLU, and a linear layer: ``(B, people)`` logits.

    Args:
        settings: those of the embedding network, and ``people``.
        seed: of the initial weights.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__(settings, seed=seed)
        self.head = nn.Linear(settings.dimension, settings.people)
        generator = rng.generator(seed, 0, 0, "initial weights of the head")
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, people)``, float32, of images ``(B, C, H, W)`` in [0, 1]."""
        return self.head(self.embedder(images).relu()).float()

    @torch.no_grad()
    def identify(self, images: Tensor) -> Tensor:
        """Place ``(N,)`` of the person with the largest logit, among those it was trained on; there is no "nobody I know"."""
        weights = self.embedder.ready(images)
        return torch.cat([self(part.to(weights)).argmax(1).to(images.device) for part in images.split(512)])


def widened(model: Classifier, settings: Settings, *, seed: int = 0) -> Classifier:
    """A new classifier of more people, with all weights of ``model``; the rows ``(people, dimension)`` it lacks are initial ones.

    Args:
        model: stays as it is.
        settings: of the new one: those of ``model`` but for ``people``.
        seed: of the initial weights.

    Raises:
        ValueError: for fewer people than ``model`` has, or another embedding network.
    """
    made, known = Classifier(settings, seed=seed), model.head.out_features
    shapes = [{name: tensor.shape for name, tensor in one.embedder.state_dict().items()} for one in (model, made)]
    if settings.people < known or shapes[0] != shapes[1]:
        raise ValueError(f"people = {settings.people}: the new classifier needs at least {known}, and the same embedding network.")
    made.embedder.load_state_dict(model.embedder.state_dict())
    with torch.no_grad():
        made.head.weight[:known] = model.head.weight
        made.head.bias[:known] = model.head.bias
    return made


def prepare(people: Dataset, settings: Settings, seed: int = 0) -> IdentityPool:
    """As ``prepare`` of the embedding networks; the identities are the places of the outputs.

    Raises:
        ValueError: for identities ``(N,)`` below 0, or above ``people`` − 1.
    """
    pool = embedding.prepare(people, settings, seed)
    low, high = int(people.labels.min()), int(people.labels.max())
    if low < 0 or high >= settings.people:
        raise ValueError(f"identities are {low} to {high}, but the people = {settings.people} outputs are numbered from 0.")
    return pool


def cross_entropy(logits: Tensor, identities: Tensor) -> Tensor:
    """Mean over the batch of −log softmax of the true identity: ``(B, people)`` and ``(B,)`` give a scalar.

    Errors as :func:`course_lib.checks.classified`.
    """
    return F.cross_entropy(logits, checks.classified(logits, identities, ("B", "people"), names=("logits", "identities")))


def batch(pool: IdentityPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(images ``(P · K, C, H, W)``, identities ``(P · K,)``), K shots of each of P identities."""
    return embedding.batch(pool, draws, settings)


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and the share of it that is identified correctly, both scalars."""
    images, identities = batch
    logits = model(images)
    right = logits.argmax(1) == identities
    return cross_entropy(logits, identities), {"accuracy": right.float().mean()}
