r"""InfoNCE: of all the keys in the batch, which one belongs to my query?

Idea. A triplet compares one positive with one negative. InfoNCE compares it with all negatives of the batch at once, and makes a
classification of it. Of each of N people two images are embedded on the unit sphere, a query :math:`q_i` and a key :math:`k_i`. The
query has to pick its own key among the N by a softmax over their similarities,

.. math:: \ell = -\frac{1}{N} \sum_{i=1}^{N} \log \frac{\exp(q_i \cdot k_i / \tau)}{\sum_{j=1}^{N} \exp(q_i \cdot k_j / \tau)} .

The keys of the others are the *in-batch negatives*: they cost nothing more to compute. The temperature τ does the work of mining. On
the sphere :math:`\lVert q - k \rVert^2 = 2 - 2\, q \cdot k`, so this is a softmax over squared distances too, and a smaller τ gives more
of the gradient to the nearest negatives. A network that maps everything to one point has a loss of ln N.

The training takes the mean over both roles of the two images. Where the keys include the other queries as well, this is NT-Xent, which
:mod:`course_lib.pretext.contrastive` has.

Source: A. van den Oord, Y. Li, O. Vinyals, *Representation Learning with Contrastive Predictive Coding*, 2018, arXiv:1807.03748; in-batch
negatives as in K. Sohn, *Improved Deep Metric Learning with Multi-class N-pair Loss Objective*, NIPS 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, devices
from course_lib.metric_learning.embedding import EmbeddingSettings, batch, prepare

__all__ = ["Settings", "batch", "info_nce", "prepare", "step"]


@dataclass(frozen=True, kw_only=True)
class Settings(EmbeddingSettings):
    """An embedding network on batches of P people × 2 images, on the unit sphere."""

    temperature: float = 0.1  # τ
    normalise: bool = True  # the similarity is a cosine
    images: int = 2  # a query and a key

    def __post_init__(self):
        super().__post_init__()
        if self.images != 2 or not self.normalise:
            raise ValueError(
                f"images = {self.images}, normalise = {self.normalise}: InfoNCE takes two images of each person, a query and a key, "
                "on the unit sphere. supcon takes more images."
            )
        checks.number(self.temperature, "temperature", 0, inside=True)


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Mean over the queries of −log softmax of the similarity to their own key: a scalar.

    Args:
        queries: ``(N, D)``; lengths do not matter.
        keys: ``(N, D)``: row i is the positive of query i, and a negative of all other queries.
        temperature: τ.

    Raises:
        TypeError, ValueError: for anything but two tensors of floating-point numbers of one shape, not
            empty, or a temperature that is not positive.
    """
    for value, name in ((queries, "queries"), (keys, "keys")):
        checks.tensor(value, name, ("N", "D"), of="floating", finite=False)
    if queries.shape != keys.shape:
        raise ValueError(f"queries {tuple(queries.shape)} and keys {tuple(keys.shape)} differ: each query has a key.")
    if not queries.numel():
        raise ValueError(f"queries {tuple(queries.shape)} are empty: there is nothing to take a mean of.")
    temperature = checks.number(temperature, "temperature", 0, inside=True)
    scores = F.normalize(queries) @ F.normalize(keys.to(queries)).T / temperature
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, in both directions, over all processes together; the mean distance of
    the pairs of one person, and of all images: all scalars.
    """
    embeddings = devices.gathered(model(batch[0]))
    first, second = embeddings[0::2], embeddings[1::2]  # the two images of one person lie beside each other
    both = info_nce(first, second, settings.temperature), info_nce(second, first, settings.temperature)
    with torch.no_grad():
        measured = {"same": (first - second).norm(dim=1).mean(), "distance": torch.cdist(embeddings, embeddings).mean()}
    return sum(both) / 2, measured
