r"""Relative patch position: features learnt by telling on which side of a patch another one lies.

Idea. Cut a patch out of an image, and one of its eight neighbours. Where was the second, seen from the first: top left, above, …,
bottom right? Whoever recognises an eye and an ear can tell. Both patches go through the same trunk, and meet behind it
(:class:`~course_lib.pretext.tiles.TileNetwork`). The loss is the mean cross-entropy of all neighbours :math:`k = 0, …, 7`, both ways,

.. math::
    \ell = -\frac{1}{16 B} \sum_{i=1}^{B} \sum_{k=0}^{7}
           \bigl[\log p_\theta(k \mid c_i, n_{ik}) + \log p_\theta(7 - k \mid n_{ik}, c_i)\bigr] ,

with the central patch c and its neighbours n, numbered row by row: seen the other way round, the place of neighbour k is 7 − k.

A good answer is hard to give: the authors reach 38.4 % on photographs, and people no more; chance is 12.5 %. A network that reaches
95 % has found a shortcut. A loss that stays at ln 8 = 2.08 means that it is stuck.

Source: Doersch, Gupta and Efros (2015), and their code, which pairs each patch with all its neighbours in both orders. Left out here:
a third of their patches is shrunk and enlarged again; and their patches have 96 pixels, with gaps of 48 and a jitter of ±7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks
from course_lib.labelled import LabelledPool
from course_lib.pretext import tiles
from course_lib.pretext.tiles import CENTRE, TILES, TileNetwork, TileSettings, prepare
from course_lib.rng import Draws

__all__ = ["PLACES", "Settings", "batch", "evaluate", "loss", "network", "pairs", "prepare", "step"]

PLACES = ("top left", "above", "top right", "left", "right", "bottom left", "below", "bottom right")
"""Where the second patch lies, seen from the first; the classes, in their order."""


@dataclass(frozen=True, kw_only=True)
class Settings(TileSettings):
    """Patches of 8 pixels in images 32×32, with gaps of nearly half a patch as in the paper."""


def network(settings: Settings, *, seed: int = 0) -> TileNetwork:
    """Tiles ``(B, 9, C, h, w)`` and pairs of them ``(B, K, 2)`` give logits ``(B, K, 8)``."""
    return TileNetwork(settings, together=2, classes=len(PLACES), seed=seed)


def pairs(device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """(first and second tile of each pair ``(16, 2)``, where the second lies ``(16,)``): the centre with its neighbours, both ways."""
    neighbour = torch.tensor([tile for tile in range(TILES) if tile != CENTRE], device=device)
    centre, place = torch.full_like(neighbour, CENTRE), torch.arange(len(PLACES), device=device)
    chosen = torch.cat([torch.stack([centre, neighbour], 1), torch.stack([neighbour, centre], 1)])
    return chosen, torch.cat([place, place.flip(0)])


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits ``(B, K, 8)`` and labels ``(K,)`` or ``(B, K)``, the mean over all pairs of all images: a scalar.

    Errors as :func:`course_lib.checks.classified`.
    """
    checks.tensor(logits, "logits", ("B", "K", "8"), of="floating", finite=False)
    same = isinstance(labels, Tensor) and labels.shape == logits.shape[1:2]  # for all images
    labels = checks.classified(logits, labels.expand(logits.shape[:2]) if same else labels, ("B", "K", "8"))
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """(tiles ``(B, 9, C, h, w)``, pairs ``(B, 16, 2)``, labels ``(B, 16)``) of the next images."""
    drawn = tiles.drawn(pool, draws, settings)
    chosen, labels = pairs(drawn.device)
    return drawn, chosen.expand(len(drawn), -1, -1), labels.expand(len(drawn), -1)


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of all pairs of a batch, and the share of them that is recognised, both scalars."""
    drawn, chosen, labels = batch
    logits = model(drawn, chosen)
    right = logits.detach().argmax(-1) == labels
    return loss(logits, labels), {"accuracy": right.float().mean()}


def evaluate(
    model: nn.Module, images: Tensor, settings: Settings, *, indices: Sequence[int] | None = None
) -> list[float]:
    """For each image the share of the centre's neighbours whose place is recognised, in percent; 12.5 is chance.

    Images ``(N, C, H, W)``, arguments and errors as :func:`course_lib.pretext.tiles.answered`.
    """
    chosen, labels = (part[: len(PLACES)] for part in pairs())
    return tiles.answered(model, images, settings, chosen, labels, indices, at_once=256)
