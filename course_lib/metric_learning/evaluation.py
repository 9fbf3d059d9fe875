"""How good is a distance on people it was not trained on? Verification, identification, and who these people are.

All figures come from one matrix: the distance of every picture, as a query, to every other picture, as a template. Noise is
added to the queries only, since people are enrolled with care and arrive as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import batches, checks, metrics, noise, rng
from course_lib.data import Dataset
from course_lib.metric_learning import distances

Embed = Callable[[Tensor], Tensor]
"""``embed(images)``: ``(N, C, H, W)`` in [0, 1] to embeddings ``(N, D)``, such as ``Embedder.embed``."""


def pixels(images: Tensor) -> Tensor:
    """The embedding of template matching: every pixel is a coordinate, ``(N, C, H, W)`` to ``(N, C · H · W)``."""
    return images.flatten(1)


def direction(embed: Embed) -> Embed:
    """The same embeddings divided by their length, so that their distance tells of the angle between them only."""
    return lambda images: F.normalize(embed(images), dim=1)


@dataclass(frozen=True)
class Comparisons:
    """Every query against every template."""

    distance: Tensor  # (N, N): picture i, with noise, as a query; picture j as a template
    identities: Tensor  # (N,)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """(distance ``(N² − N,)``, same identity?) of all pairs of two different pictures."""
        different = ~torch.eye(len(self.identities), dtype=torch.bool)
        return self.distance[different], (self.identities[:, None] == self.identities)[different]

    def eer(self) -> float:
        """Equal error rate over :meth:`pairs`."""
        return metrics.eer(*self.pairs())[0]

    def auc(self) -> float:
        """Area under the ROC curve over :meth:`pairs`: how often a pair of one person is nearer than one of two."""
        from sklearn.metrics import roc_auc_score

        distance, same = self.pairs()
        return float(roc_auc_score(same.numpy(), -distance.double().numpy()))

    def rank1(self, templates: int, *, draws: int = 20, seed: int = 0) -> float:
        """Identification rate with that many templates a person, by the mean rule; mean over random choices of the templates.

        Every picture that is not a template is a query. ``ValueError`` where somebody has no picture left for one.
        """
        names, owner, counts = self.identities.unique(return_inverse=True, return_counts=True)
        if not 1 <= templates < int(counts.min()):
            raise ValueError(f"templates = {templates}, but somebody has {int(counts.min())} pictures: at least one must be a query.")
        rates = []
        for draw in range(draws):
            scores = torch.rand(len(owner), generator=rng.generator(seed, draw, 0, "choice of templates"))
            chosen = torch.stack([(scores - 2 * (owner == u)).argsort()[:templates] for u in range(len(names))])  # (people, templates)
            score = self.distance[:, chosen].mean(2)  # (N, people)
            asks = torch.ones(len(owner), dtype=torch.bool).index_fill(0, chosen.flatten(), False)
            rates.append((score[asks].argmin(1) == owner[asks]).float().mean())
        return torch.stack(rates).mean().item()


def compare(
    embed: Embed, images: Tensor, identities: Tensor, *, sigma_255: float = 0.0, shot: Mapping[str, float] | None = None, seed: int = 0
) -> Comparisons:
    """All comparisons of some pictures.

    Args:
        embed: makes embeddings.
        images: uint8 ``(N, C, H, W)``.
        identities: ``(N,)``.
        sigma_255: standard deviation of the noise of the queries, on the 0–255 scale; not clipped.
        shot: how much the queries are moved, turned and lit otherwise, as for :func:`course_lib.batches.shots`.
        seed: of noise and shots.

    Raises:
        TypeError: for images that are not uint8, or identities that are no integers.
        ValueError: for other shapes, a σ that is negative or NaN, or embeddings with NaN.
    """
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    if len(checks.tensor(identities, "identities", ("N",), of="integers")) != len(images):
        raise ValueError(f"there are {len(images)} images, but {len(identities)} identities.")
    sigma, templates = noise.from_255(sigma_255), batches.to_float(images)
    queries = templates
    if shot:
        queries = batches.shots(queries, rng.generator(seed, 0, 0, "shots of the queries", templates.device), **shot)
    if sigma > 0:
        generator = rng.generator(seed, 0, 0, "noise of the queries", templates.device)
        queries = noise.gaussian(queries, sigma, generator, clip=False)
    known = checks.tensor(embed(templates), "embeddings", ("N", "D")).float()
    asked = known if queries is templates else checks.tensor(embed(queries), "embeddings", ("N", "D")).float()
    return Comparisons(distances.pairwise(asked, known).cpu(), identities.cpu())


def evaluate(
    embed: Embed, people: Dataset, *, sigmas_255: Sequence[float] = (0,), shot: Mapping[str, float] | None = None, seed: int = 0
) -> dict[str, float]:
    """EER, AUC and rank-1 with 1 and 5 templates, in percent: ``{"eer_0": …, "auc_0": …, "rank1_0": …, "rank1of5_0": …}``.

    Args:
        embed: makes embeddings.
        people: pictures with identities as ``labels``, none of whom was in the training.
        sigmas_255: noise levels of the queries; each has its own figures, with σ at the end of their names.
        shot: figures for queries that are moved, turned and lit otherwise as well, without noise: ``eer_shot``, ….
        seed: of noise, shots, and choice of templates.

    Raises:
        TypeError, ValueError: as :func:`compare`, and for people without identities.
    """
    if people.labels is None:
        raise ValueError(f"{people.name} has no labels: who is in a picture must be known, to tell whether two are of one person.")
    conditions = {f"{sigma:g}": {"sigma_255": sigma} for sigma in sigmas_255} | ({"shot": {"shot": shot}} if shot else {})
    found = {}
    for name, condition in conditions.items():
        everything = compare(embed, people.images, people.labels, seed=seed, **condition)
        figures = {"eer": everything.eer(), "auc": everything.auc(),
                   "rank1": everything.rank1(1, seed=seed), "rank1of5": everything.rank1(5, seed=seed)}  # fmt: skip
        found |= {f"{figure}_{name}": 100 * value for figure, value in figures.items()}
    return found
