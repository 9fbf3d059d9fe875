r"""Jigsaw: features learnt by putting nine tiles of an image in order.

Idea. Cut an image into 3×3 tiles and exchange them by one of S permutations :math:`\sigma_1, …, \sigma_S`, chosen beforehand. By which?
The *context-free network* sees each tile alone, and only the last layers see the nine vectors in their new order:

.. math:: \ell = -\frac{1}{B K} \sum_{i=1}^{B} \sum_{k=1}^{K} \log p_\theta\bigl(s_{ik} \mid f(x_{i \sigma_{s_{ik}}(1)}), …,
          f(x_{i \sigma_{s_{ik}}(9)})\bigr) .

Exchanging tiles before the shared trunk or their vectors behind it is the same. So K puzzles of an image cost little more than one.

Which permutations are chosen decides how ambiguous the task is: see :mod:`course_lib.pretext.permutations`. What solves a puzzle
without knowing anything: edges and lines that go on across the border (closed by moving each tile in its cell), the mean and the
spread of each tile, which vary smoothly over a photograph (closed by normalising each tile), and lens fringes (closed by gray images,
and by shifting the colour channels against each other).

Source: Noroozi and Favaro (2016), and their code: cells of 85 pixels with tiles of 64, 100 permutations, half of the images gray where
the paper says 30 %, and one puzzle an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks
from course_lib.batches import to_float
from course_lib.labelled import LabelledPool, flips
from course_lib.pretext import lens, permutations, tiles
from course_lib.pretext.tiles import TILES, Colour, TileNetwork, TileSettings, prepare
from course_lib.rng import Draws

__all__ = ["Settings", "batch", "evaluate", "loss", "network", "orders", "prepare", "step"]


@dataclass(frozen=True, kw_only=True)
class Settings(TileSettings):
    """Tiles of 8 pixels, each anywhere in a cell of 10 as the paper's tiles of 64 in cells of 85."""

    gap: int = 2
    colour: Colour = "kept"
    permutations: int = 100  # S, chosen greedily by the smallest distance
    puzzles: int = 1  # K, of each image in a step
    gray: float = 0.3  # share of the images that are shown without colour
    shift: int = 0  # by how many pixels, either way, red and blue are moved against green; 1 to 2 in the paper's tiles of 64

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(permutations=2, puzzles=1, shift=0)
        self.require_at_least(batch_size=1 if self.puzzles > 1 else 2)  # batch normalisation has no spread of one puzzle
        if not 0 <= self.gray <= 1 or (self.gray and self.channels != 3):
            raise ValueError(f"gray = {self.gray}, but it is a share in 0 to 1 of images in colour: 0 for channels = {self.channels}.")
        if self.shift > self.jitter:
            raise ValueError(f"shift = {self.shift}, but channels stay within their cell: at most the jitter, {self.jitter}.")


def orders(settings: Settings, device: torch.device | str = "cpu") -> Tensor:
    """The permutations ``(S, 9)``: in place t of puzzle s lies tile ``orders[s, t]``."""
    return permutations.greedy(settings.permutations, TILES).to(device)


class Network(TileNetwork):
    """The context-free network, with the permutations that are its classes: ``orders`` ``(S, 9)`` travels with its weights."""

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__(settings, together=TILES, classes=settings.permutations, seed=seed)
        self.register_buffer("orders", orders(settings))


def network(settings: Settings, *, seed: int = 0) -> Network:
    """Tiles ``(B, 9, C, h, w)`` and the orders ``(B, K, 9)`` in which they are laid give logits ``(B, K, S)``."""
    return Network(settings, seed=seed)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits ``(B, K, S)`` and labels ``(B, K)``, the mean over all puzzles: a scalar.

    Errors as :func:`course_lib.checks.classified`.
    """
    labels = checks.classified(logits, labels, ("B", "K", "S"))
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(tiles ``(B, 9, C, h, w)`` in their own order, which permutation ``(B, K)`` each puzzle has) of the next images."""
    images = pool.drawn(draws, settings.batch_size)
    if settings.flip:
        images = flips(images, draws("flips"))
    top, left = tiles.places(settings, len(images), draws("places"), images.device)
    if settings.shift:
        top, left = (_shifted(place, settings, draws("shift")) for place in (top, left))
    cut = to_float(tiles.cut(images, top, left, settings.tile))
    if settings.gray:
        without = torch.rand(len(images), generator=draws("gray"), device=images.device) < settings.gray
        cut = torch.where(without[:, None, None, None, None], lens.gray(cut.flatten(0, 1)).view(cut.shape), cut)
    labels = torch.randint(settings.permutations, (len(images), settings.puzzles), generator=draws("puzzles"), device=images.device)
    return tiles.shown(cut, settings, draws("colours")), labels


def _shifted(place: Tensor, settings: Settings, generator: torch.Generator) -> Tensor:
    """Places ``(B, 9)`` as ``(B, 9, C)``, those of each image's channels moved by up to ``shift``, but not out of the image."""
    by = torch.randint(2 * settings.shift + 1, (len(place), 1, settings.channels), generator=generator, device=place.device)
    moved = place[..., None] + by - settings.shift
    return moved.clamp(0, settings.size - settings.tile)


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of all puzzles of a batch, and the share of them that is solved, both scalars."""
    cut, labels = batch
    logits = model(cut, model.orders[labels])
    right = logits.detach().argmax(-1) == labels
    return loss(logits, labels), {"accuracy": right.float().mean()}


def evaluate(
    model: nn.Module, images: Tensor, settings: Settings, *, indices: Sequence[int] | None = None
) -> list[float]:
    """For each image the share of all its S puzzles that are solved, in percent; 100 / S is chance.

    Images ``(N, C, H, W)``, arguments and errors as :func:`course_lib.pretext.tiles.answered`.
    """
    return tiles.answered(model, images, settings, model.orders, torch.arange(len(model.orders)), indices, at_once=64)
