r"""The gallery: people enrolled by templates, and a door that asks who is there.

An enrolled person u has one or several *templates*, embeddings of pictures of theirs. A query I is compared with all of them,
by the mean rule of the lecture, :math:`s_u = \frac{1}{\#T_u} \sum_j \lVert f(I) - f(T_{u,j}) \rVert_2`, or by the nearest
template, :math:`\min_j`. The person of the smallest score is the answer if that score is below γ, and "nobody I know"
otherwise. The mean of the distances is not the distance to the mean template.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from course_lib import checks

Rule = Literal["mean", "min"]


class GalleryError(RuntimeError):
    """An enrolment, a query or a file that does not fit the gallery, which is left as it was."""


@dataclass(frozen=True)
class Answer:
    """Who a query is. ``person`` is None where nobody enrolled is near enough; ``nearest`` is then who came nearest."""

    person: str | None
    nearest: str
    score: float  # distance to the nearest person, by the gallery's rule


class Gallery:
    """Enrolled people and their templates.

    A name is the same however its accents were typed: it is brought into Unicode's normal form C.

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
        self._ready: tuple[Tensor, Tensor] | None = None  # all templates and their owners, from the first query after a change on

    def __len__(self) -> int:
        """Number of people."""
        return len(self._people)

    def __contains__(self, person: str) -> bool:
        return _name(person) in self._people

    @property
    def people(self) -> list[str]:
        """Names in the order of enrolment."""
        return list(self._people)

    def templates(self, person: str) -> Tensor:
        """The templates of a person, ``(n, dimension)``; ``GalleryError`` for somebody who is not enrolled."""
        if person not in self:
            known = ", ".join(self.people[:5]) + (", …" if len(self) > 5 else "")
            raise GalleryError(f"{person} is not enrolled; {len(self)} people are: {known or 'none'}.")
        return self._people[_name(person)].clone()

    def enrol(self, person: str, templates: Tensor) -> None:
        """Enrol somebody by one or several embeddings ``(n, dimension)``. No network is trained.

        Raises:
            GalleryError: for somebody who is enrolled already, or templates of a wrong shape or with NaN.
        """
        if not isinstance(person, str) or not person.strip() or not person.isprintable():
            raise GalleryError(f"{person!r} is no name: a person needs one of printable characters.")
        if person in self:
            raise GalleryError(f"{person} is enrolled already, with {len(self.templates(person))} templates: add to them by add().")
        self._people[_name(person)], self._ready = self._checked(templates, "templates"), None

    def add(self, person: str, templates: Tensor) -> None:
        """More templates ``(n, dimension)`` of somebody who is enrolled; ``GalleryError`` as for :meth:`enrol`."""
        self._people[_name(person)] = torch.cat([self.templates(person), self._checked(templates, "templates")])
        self._ready = None

    def remove(self, person: str) -> None:
        """Forget somebody and all their templates; ``GalleryError`` for somebody who is not enrolled."""
        self.templates(person)
        del self._people[_name(person)]
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
        queries, (templates, owners) = self._checked(queries, "queries"), self._all()
        # Not by a matrix product: one template of a large norm would take away the digits of all distances.
        distance = torch.cdist(queries, templates, compute_mode="donot_use_mm_for_euclid_dist")
        if len(owners) == len(self):  # one template each: nothing to average, and nothing to choose from
            return distance
        empty = torch.full((len(distance), len(self)), float("inf") if rule == "min" else 0.0)
        owners = owners.expand(len(distance), -1)
        return empty.scatter_reduce(1, owners, distance, "amin" if rule == "min" else "mean", include_self=rule == "min")

    def identify(self, queries: Tensor, gamma: float, *, rule: Rule = "mean") -> list[Answer]:
        """Who each query ``(Q, dimension)`` is: the person of the smallest score, if it is below γ.

        Raises:
            TypeError, ValueError: for a γ that is no number, or not positive.
            GalleryError: for an empty gallery or queries of a wrong shape.
        """
        gamma = _require_gamma(gamma)
        score, place = self.scores(queries, rule=rule).min(1)
        people = self.people
        return [
            Answer(people[p] if s < gamma else None, people[p], s) for s, p in zip(score.tolist(), place.tolist(), strict=True)
        ]

    def verify(self, queries: Tensor, person: str, gamma: float, *, rule: Rule = "mean") -> Tensor:
        """Is each query ``(Q, dimension)`` the ``person`` that it claims to be? Booleans ``(Q,)``; errors as :meth:`identify`."""
        gamma = _require_gamma(gamma)
        one = Gallery(self.dimension, network=self.network)  # the others do not matter
        one.enrol(person, self.templates(person))
        return one.scores(queries, rule=rule)[:, 0] < gamma

    def save(self, file: str | Path) -> None:
        """Write the gallery to one safetensors file, with a checksum, as a whole or not at all."""
        from safetensors.torch import save as to_bytes

        templates, owners = self._all()
        about = {"people": json.dumps(self.people, ensure_ascii=False), "network": self.network, "dimension": str(self.dimension)}
        about["sha256"] = _checksum(about, templates, owners)
        content = to_bytes({"templates": templates, "owners": owners}, metadata=about)
        file = Path(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(file.name + ".unfinished")
        unfinished.write_bytes(content)
        unfinished.replace(file)

    @classmethod
    def load(cls, file: str | Path, *, network: str) -> Gallery:
        """The gallery in a file.

        Raises:
            GalleryError: for a file that is missing, cut, altered or no gallery, or was made with another network.
        """
        from safetensors import safe_open

        if not Path(file).is_file():
            raise GalleryError(f"{file} is missing: there is no such file.")
        try:
            with safe_open(str(file), "pt") as content:
                about = content.metadata()
                templates, owners = content.get_tensor("templates"), content.get_tensor("owners")
            if about.get("sha256") != _checksum(about, templates, owners):
                raise ValueError("its content does not have the checksum that was saved with it")
            gallery = cls(int(about["dimension"]), network=about["network"])
            people = json.loads(about["people"])
            counts = torch.bincount(owners, minlength=len(people))
            if len(counts) != len(people) or not torch.equal(owners, owners.sort().values):
                raise ValueError("templates and people do not belong together")
            for person, own in zip(people, templates.split(counts.tolist()), strict=True):
                gallery.enrol(person, own)
        except Exception as error:  # whatever safetensors meets first in a damaged file
            raise GalleryError(f"{file} is cut, altered, or not a gallery ({error}): take a copy, or enrol everybody again.") from error
        if gallery.network != network:
            raise GalleryError(
                f'{file} was made with the network "{gallery.network}", not with "{network}": embeddings of two networks cannot be '
                "compared. Enrol everybody again."
            )
        return gallery

    def _all(self) -> tuple[Tensor, Tensor]:
        """All templates ``(n, dimension)``, and of each the place of its person ``(n,)``."""
        if self._ready is None:
            counts = torch.tensor([len(templates) for templates in self._people.values()], dtype=torch.long)
            owners = torch.arange(len(self)).repeat_interleave(counts)
            self._ready = torch.cat([torch.empty(0, self.dimension), *self._people.values()]), owners
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


def _require_gamma(gamma: float) -> float:
    return checks.number(gamma, "gamma, a distance below which two images are one person,", 0, inside=True)


def _name(person: str) -> str:
    return unicodedata.normalize("NFC", person) if isinstance(person, str) else person


def _checksum(about: Mapping[str, str], templates: Tensor, owners: Tensor) -> str:
    """SHA-256 of all that a file says: the network, the people, and their templates."""
    words = json.dumps([about[name] for name in ("people", "network", "dimension")] + [list(templates.shape), str(templates.dtype)])
    return hashlib.sha256(words.encode() + templates.numpy().tobytes() + owners.numpy().tobytes()).hexdigest()


def threshold(distance: Tensor, same: Sequence[bool] | Tensor, false_accepts: float) -> float:
    """The largest γ at which, on held-out pairs, at most this share of pairs of two people would be accepted.

    Args:
        distance: ``(N,)`` of pairs of people who were not trained on; training pairs are too optimistic.
        same: ``(N,)``: is it a pair of one person?
        false_accepts: in [0, 1).

    Raises:
        TypeError: for anything but a tensor of numbers, and booleans.
        ValueError: if there is no pair of two people, a distance is NaN, or ``false_accepts`` lies outside [0, 1).
    """
    checks.tensor(distance, "distance", ("N",))
    same = torch.tensor(same) if isinstance(same, list | tuple) and all(isinstance(one, bool) for one in same) else same
    if checks.tensor(same, "same", ("N",), of="booleans").shape != distance.shape:
        raise ValueError(f"distances {tuple(distance.shape)} and same {tuple(same.shape)}: one of either for each pair, (N,), is needed.")
    impostors = distance[~same].sort().values
    if not 0 <= checks.number(false_accepts, "false_accepts") < 1 or not len(impostors):
        raise ValueError(
            f"false_accepts = {false_accepts} of {len(impostors)} pairs of two people: a share in [0, 1), of at least one pair, is needed."
        )
    return impostors[int(false_accepts * len(impostors))].item()
