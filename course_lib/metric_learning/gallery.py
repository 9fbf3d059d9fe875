r"""The gallery: people enrolled by templates, and a door that asks who is there.

An enrolled person u has one or several *templates*, embeddings of pictures of theirs. A query I is compared with all of them,
by the mean rule of the lecture, :math:`s_u = \frac{1}{\#T_u} \sum_j \lVert f(I) - f(T_{u,j}) \rVert_2`, or by the nearest
template, :math:`\min_j`. The person of the smallest score is the answer if that score is below γ, and "nobody I know"
otherwise. The mean of the distances is not the distance to the mean template.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from course_lib.metric_learning import distances

Rule = Literal["mean", "min"]


class GalleryError(RuntimeError):
    """An enrolment, a query or a file that does not fit the gallery, which is left as it was."""


@dataclass(frozen=True)
class Answer:
    """Who a query is. ``person`` is None where nobody enrolled is near enough; ``nearest`` is then who came nearest."""

    person: str | None
    nearest: str
    score: float  # distance to the nearest person, by the gallery's rule


@dataclass(frozen=True)
class _Index:
    """What is the same for every query, so that one costs a product of a matrix and a vector: see ``distances.pairwise``."""

    centre: Tensor  # (dimension,)
    centred: Tensor  # (templates, dimension)
    squares: Tensor  # (templates,)
    owners: Tensor  # (templates,)

    def distance(self, queries: Tensor) -> Tensor:
        queries = queries - self.centre
        squared = torch.addmm(self.squares, queries, self.centred.T, alpha=-2) + queries.square().sum(1, keepdim=True)
        return (squared.clamp(min=0) + distances.SMALLEST).sqrt()


class Gallery:
    """Enrolled people and their templates.

    Args:
        dimension: length of the embeddings.
        network: a word for the network that makes them, such as the hash of its weights. A gallery file made with another
            network is refused: embeddings of two networks cannot be compared.
    """

    def __init__(self, dimension: int, *, network: str):
        if dimension < 1 or not network:
            raise ValueError(f'dimension = {dimension}, network = "{network}": a positive dimension and a name of the network are needed.')
        self.dimension, self.network = dimension, network
        self._people: dict[str, Tensor] = {}  # name -> templates (n, dimension), in the order of their enrolment
        self._ready: _Index | None = None  # what queries are compared with, from the first query after a change on

    def __len__(self) -> int:
        """Number of people."""
        return len(self._people)

    def __contains__(self, person: str) -> bool:
        return person in self._people

    @property
    def people(self) -> list[str]:
        """Names in the order of enrolment."""
        return list(self._people)

    def templates(self, person: str) -> Tensor:
        """The templates of a person, ``(n, dimension)``; ``GalleryError`` for somebody who is not enrolled."""
        if person not in self._people:
            known = ", ".join(self.people[:5]) + (", …" if len(self) > 5 else "")
            raise GalleryError(f"{person} is not enrolled; {len(self)} people are: {known or 'none'}.")
        return self._people[person].clone()

    def enrol(self, person: str, templates: Tensor) -> None:
        """Enrol somebody by one or several embeddings ``(n, dimension)``. No network is trained.

        Raises:
            GalleryError: for somebody who is enrolled already, or templates of a wrong shape or with NaN.
        """
        if not isinstance(person, str) or not person or not person.isprintable():
            raise GalleryError(f"{person!r} is no name: a person needs one of printable characters.")
        if person in self._people:
            raise GalleryError(f"{person} is enrolled already, with {len(self.templates(person))} templates: add to them by add().")
        self._people[person], self._ready = self._checked(templates, "templates"), None

    def add(self, person: str, templates: Tensor) -> None:
        """More templates ``(n, dimension)`` of somebody who is enrolled; ``GalleryError`` as for :meth:`enrol`."""
        self._people[person], self._ready = torch.cat([self.templates(person), self._checked(templates, "templates")]), None

    def remove(self, person: str) -> None:
        """Forget somebody and all their templates; ``GalleryError`` for somebody who is not enrolled."""
        self.templates(person)
        del self._people[person]
        self._ready = None

    def scores(self, queries: Tensor, *, rule: Rule = "mean") -> Tensor:
        """Score of every query ``(Q, dimension)`` for every person: ``(Q, people)``, in the order of ``people``.

        Raises:
            ValueError: for another rule.
            GalleryError: for an empty gallery or queries of a wrong shape.
        """
        if rule not in get_args(Rule):
            raise ValueError(f'rule = "{rule}", but it must be mean or min.')
        if not self._people:
            raise GalleryError("nobody is enrolled: there is nobody to compare with.")
        queries, index = self._checked(queries, "queries"), self._index()
        distance = index.distance(queries)
        if len(index.owners) == len(self):  # one template each: nothing to average, and nothing to choose from
            return distance
        empty = torch.full((len(distance), len(self)), float("inf") if rule == "min" else 0.0)
        owners = index.owners.expand(len(distance), -1)
        return empty.scatter_reduce(1, owners, distance, "amin" if rule == "min" else "mean", include_self=rule == "min")

    def identify(self, queries: Tensor, gamma: float, *, rule: Rule = "mean") -> list[Answer]:
        """Who each query ``(Q, dimension)`` is: the person of the smallest score, if it is below γ.

        Raises:
            ValueError: for γ ≤ 0.
            GalleryError: for an empty gallery or queries of a wrong shape.
        """
        _require_gamma(gamma)
        score, place = self.scores(queries, rule=rule).min(1)
        people = self.people
        return [
            Answer(people[p] if s < gamma else None, people[p], s) for s, p in zip(score.tolist(), place.tolist(), strict=True)
        ]

    def verify(self, queries: Tensor, person: str, gamma: float, *, rule: Rule = "mean") -> Tensor:
        """Is each query ``(Q, dimension)`` the ``person`` that it claims to be? Booleans ``(Q,)``; errors as :meth:`identify`."""
        _require_gamma(gamma)
        one = Gallery(self.dimension, network=self.network)  # the others do not matter
        one.enrol(person, self.templates(person))
        return one.scores(queries, rule=rule)[:, 0] < gamma

    def save(self, file: str | Path) -> None:
        """Write the gallery to one safetensors file, as a whole or not at all."""
        from safetensors.torch import save as to_bytes

        about = {"people": json.dumps(self.people, ensure_ascii=False), "network": self.network, "dimension": str(self.dimension)}
        templates = torch.cat([torch.empty(0, self.dimension), *self._people.values()])
        content = to_bytes({"templates": templates, "owners": self._owners()}, metadata=about)
        file = Path(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(file.name + ".unfinished")
        unfinished.write_bytes(content)
        unfinished.replace(file)

    @classmethod
    def load(cls, file: str | Path, *, network: str) -> Gallery:
        """The gallery in a file.

        Raises:
            GalleryError: for a file that is missing, cut or no gallery, or was made with another network.
        """
        from safetensors import safe_open

        try:
            with safe_open(str(file), "pt") as content:
                about = content.metadata()
                templates, owners = content.get_tensor("templates"), content.get_tensor("owners")
            gallery = cls(int(about["dimension"]), network=about["network"])
            people = json.loads(about["people"])
            counts = torch.bincount(owners, minlength=len(people))
            whole = templates.shape == (len(owners), gallery.dimension) and bool(templates.isfinite().all())
            if not whole or len(counts) != len(people) or bool((counts == 0).any()) or not torch.equal(owners, owners.sort().values):
                raise ValueError("templates and people do not belong together")
            gallery._people = dict(zip(people, templates.split(counts.tolist()), strict=True))
            if len(gallery) != len(people):
                raise ValueError("a name occurs twice")
        except Exception as error:  # whatever safetensors meets first in a damaged file
            raise GalleryError(f"{file} is missing, cut, or not a gallery ({error}).") from error
        if gallery.network != network:
            raise GalleryError(
                f'{file} was made with the network "{gallery.network}", not with "{network}": embeddings of two networks cannot be '
                "compared. Enrol everybody again."
            )
        return gallery

    def _owners(self) -> Tensor:
        """Of each template, the place of its person."""
        counts = torch.tensor([len(templates) for templates in self._people.values()], dtype=torch.long)
        return torch.arange(len(self)).repeat_interleave(counts)

    def _index(self) -> _Index:
        if self._ready is None:
            templates = torch.cat(list(self._people.values()))
            centre = templates.mean(0)
            centred = templates - centre
            self._ready = _Index(centre, centred, centred.square().sum(1), self._owners())
        return self._ready

    def _checked(self, embeddings: Tensor, name: str) -> Tensor:
        if not isinstance(embeddings, Tensor) or embeddings.is_complex():
            raise GalleryError(f"{name} are {type(embeddings).__name__}, but a tensor of real numbers is expected.")
        if embeddings.dim() != 2 or embeddings.shape[1] != self.dimension or not len(embeddings):
            raise GalleryError(f"{name} have shape {tuple(embeddings.shape)}, but (n ≥ 1, {self.dimension}) is expected.")
        embeddings = embeddings.detach().cpu().float().clone()  # the caller's may change, or be part of something large
        if not bool((4 * embeddings.square().sum(1)).isfinite().all()):
            raise GalleryError(f"{name} contain NaN, infinite numbers, or such that their distances would be.")
        return embeddings


def _require_gamma(gamma: float) -> None:
    if not gamma > 0:
        raise ValueError(f"gamma = {gamma}: a distance below which two images are one person must be positive.")


def threshold(distance: Tensor, same: Sequence[bool] | Tensor, false_accepts: float) -> float:
    """The largest γ at which, on held-out pairs, at most this share of pairs of two people would be accepted.

    Args:
        distance: ``(N,)`` of pairs of people who were not trained on; training pairs are too optimistic.
        same: ``(N,)``: is it a pair of one person?
        false_accepts: in [0, 1).

    Raises:
        ValueError: if there is no pair of two people, or ``false_accepts`` lies outside [0, 1).
    """
    same = torch.as_tensor(same, dtype=torch.bool)
    if same.shape != distance.shape or distance.dim() != 1:
        raise ValueError(f"distances {tuple(distance.shape)} and same {tuple(same.shape)}: one of either for each pair, (N,), is needed.")
    impostors = distance[~same].sort().values
    if not 0 <= false_accepts < 1 or not len(impostors):
        raise ValueError(
            f"false_accepts = {false_accepts} of {len(impostors)} pairs of two people: a share in [0, 1), of at least one pair, is needed."
        )
    return impostors[int(false_accepts * len(impostors))].item()
