r"""Tiles of an image, and a network that sees each of them alone: what patch position and jigsaw have in common.

Idea. Lay a grid over an image and cut a tile out of each cell. One *shared* trunk f gives a vector of every tile; only behind it the
vectors of several tiles come together (*late fusion*), in a head h that answers a question about how they lie:

.. math:: p\bigl(\cdot \mid x_{t_1}, …, x_{t_m}\bigr) = \mathrm{softmax}\, h\bigl([f(x_{t_1}), …, f(x_{t_m})]\bigr) .

So the trunk must describe *what is in a tile*: it cannot follow an edge from one tile to the next. Since it sees each tile alone, the
tiles of an image go through it once, however many pairs or orders of them are asked about.

What touches can be matched without knowing anything: lines go on, and so does noise. A **gap** between the tiles and a **jitter** of
their places take that away, the **normalisation** of each tile takes away its brightness and contrast, and what a lens does to colours
is removed by :mod:`course_lib.pretext.lens`.

Source: Doersch, Gupta and Efros, *Unsupervised Visual Representation Learning by Context Prediction*, ICCV 2015, arXiv:1505.05192;
Noroozi and Favaro, *Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles*, ECCV 2016, arXiv:1603.09246.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from course_lib import checks, rng
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.labelled import LabelledPool, flips, require_shape
from course_lib.pretext import lens
from course_lib.pretext.nin import NINSettings, Trunk, initialise, side_of_features
from course_lib.rng import Draws

GRID = 3  # tiles in a row and in a column
TILES = GRID * GRID
CENTRE = TILES // 2

Colour = Literal["kept", "gray", "projected", "dropped"]


@dataclass(frozen=True, kw_only=True)
class TileSettings(NINSettings):
    """The NIN on 3×3 tiles of images 32×32. A random crop would frame some tiles with black, which tells where they were: there is none."""

    tile: int = 8  # side of a tile, in pixels
    gap: int = 3  # between two tiles, in pixels, before the jitter
    jitter: int = 1  # by how much each tile is moved, either way and in both directions
    normalise: bool = True  # each tile: mean of each channel and standard deviation
    colour: Colour = "dropped"  # what is done against chromatic aberration, see pretext.lens
    embedding: int = 128  # length of the vector of a tile
    hidden: int = 512  # units between the vectors and the answers
    padding: int = 0

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(tile=1, gap=0, jitter=0, embedding=1, hidden=1)
        if self.colour not in get_args(Colour):
            raise ValueError(f'colour = "{self.colour}", but it must be one of {", ".join(get_args(Colour))}.')
        if self.colour != "kept" and self.channels != 3:
            raise ValueError(f'colour = "{self.colour}" is for images in colour, but channels = {self.channels}: take "kept".')
        if self.extent > self.size:
            raise ValueError(
                f"{GRID} × {GRID} tiles of {self.tile} pixels with gaps of {self.gap} and a jitter of ±{self.jitter} take {self.extent} "
                f"pixels, but images have {self.size}: take smaller tiles or gaps."
            )
        if self.padding:
            raise ValueError(f"padding = {self.padding}: the black frame of a random crop tells a tile's place, so that it must be 0.")

    @property
    def extent(self) -> int:
        """Side of the part of an image that its tiles can come from, in pixels."""
        return GRID * self.tile + (GRID - 1) * self.gap + 2 * self.jitter


def cut(images: Tensor, top: Tensor, left: Tensor, tile: int) -> Tensor:
    """Tiles of images, all at once.

    Args:
        images: ``(B, C, H, W)``, of any type.
        top, left: where each tile begins, integers ``(B, T)``; or ``(B, T, C)``, for each channel on its own.
        tile: side of a tile, in pixels.

    Returns:
        ``(B, T, C, tile, tile)``.

    Raises:
        TypeError, ValueError: for tensors of another kind or shape, or a tile that is not inside of its image (on a GPU not looked at).
    """
    checks.tensor(images, "images", ("B", "C", "H", "W"), finite=False)
    tile = checks.whole(tile, "tile", 1, min(images.shape[-2:]))
    (count, channels, height, width), places = images.shape, {"top": top, "left": left}
    for name, place in places.items():
        if checks.tensor(place, name, of="integers").shape[:1] != (count,) or place.shape != top.shape or place.dim() not in (2, 3):
            raise ValueError(f"{name} is {tuple(place.shape)}, but (B, T) or (B, T, C) is expected for {count} images.")
        last = (height if name == "top" else width) - tile
        if place.device.type == "cpu" and place.numel() and not 0 <= int(place.min()) <= int(place.max()) <= last:
            raise ValueError(f"{name} is {int(place.min())} to {int(place.max())}, but a tile of {tile} pixels begins at 0 to {last}.")
    top, left = (place if place.dim() == 3 else place[:, :, None].expand(-1, -1, channels) for place in (top, left))
    within = torch.arange(tile, device=images.device)
    rows, columns = top[..., None] + within, left[..., None] + within  # (B, T, C, tile)
    index = (rows[..., None] * width + columns[..., None, :]).transpose(1, 2)  # (B, C, T, tile, tile)
    return images.flatten(2).gather(2, index.flatten(2)).view(index.shape).transpose(1, 2)


def places(
    settings: TileSettings, count: int, generator: torch.Generator | None, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Where the tiles of ``count`` images begin: (top, left), each ``(count, 9)``, row by row of the grid.

    Args:
        settings: the grid.
        count: number of images.
        generator: of the grid's random origin, and of the jitter; None for a grid in the middle and no jitter.
        device: where the result lies.
    """
    number = torch.arange(TILES, device=device)
    pitch, room = settings.tile + settings.gap, settings.size - settings.extent
    if generator is None:
        middle = room // 2 + settings.jitter
        return tuple((middle + pitch * cell).expand(count, -1) for cell in (number // GRID, number % GRID))
    origin = torch.randint(room + 1, (2, count, 1), generator=generator, device=device)
    moved = torch.randint(2 * settings.jitter + 1, (2, count, TILES), generator=generator, device=device)
    return origin[0] + moved[0] + pitch * (number // GRID), origin[1] + moved[1] + pitch * (number % GRID)


def normalised(tiles: Tensor) -> Tensor:
    """Tiles ``(…, C, h, w)``, each with the mean 1/2 in every channel and a standard deviation of 1/4, in the same shape.

    The deviation is that of all channels together: a channel that was dropped stays as faint as it is. A constant tile stays constant.

    Raises:
        TypeError, ValueError: for anything but floating-point numbers with at least three axes.
    """
    if checks.tensor(tiles, "tiles", of="floating", finite=False).dim() < 3:
        raise ValueError(f"tiles are {tuple(tiles.shape)}, but (…, C, h, w) is expected.")
    centred = tiles - tiles.mean((-2, -1), keepdim=True)
    deviation = centred.square().mean((-3, -2, -1), keepdim=True).sqrt()
    return 0.5 + centred / (4 * torch.where(deviation < 1e-4, 1, deviation))  # less than a hundredth of an 8-bit level: rounding


def shown(tiles: Tensor, settings: TileSettings, generator: torch.Generator) -> Tensor:
    """Tiles ``(B, T, C, h, w)`` in [0, 1] as the network gets them: without what tells their place, as the settings say; the same shape.

    Raises:
        TypeError: for no generator.
    """
    checks.generator(generator)
    flat = tiles.flatten(0, 1)
    if settings.colour != "kept":
        flat = lens.dropped(flat, generator) if settings.colour == "dropped" else getattr(lens, settings.colour)(flat)
    return (normalised(flat) if settings.normalise else flat).view(tiles.shape)


def prepare(data: Dataset, settings: TileSettings, seed: int = 0) -> LabelledPool:
    """The pool of the images, without labels; errors as :meth:`course_lib.labelled.LabelledPool.unlabelled`."""
    return LabelledPool.unlabelled(data, settings)


def drawn(pool: LabelledPool, draws: Draws, settings: TileSettings) -> Tensor:
    """The tiles ``(B, 9, C, h, w)`` of the next images of the epoch, cut at random places: what both tasks begin with."""
    images = pool.drawn(draws, settings.batch_size)
    if settings.flip:
        images = flips(images, draws("flips"))
    top, left = places(settings, len(images), draws("places"), images.device)
    return shown(to_float(cut(images, top, left, settings.tile)), settings, draws("colours"))


def of_test(images: Tensor, settings: TileSettings, numbers: Sequence[int] | None = None) -> Tensor:
    """The tiles ``(N, 9, C, h, w)`` of 8-bit images ``(N, C, H, W)``, in the middle of each and without jitter, on the CPU.

    What is drawn for an image is a function of its number, so that its figure does not depend on which others are measured.

    Args:
        images: uint8.
        settings: how tiles are cut and shown.
        numbers: of the images in their data set; None for 0, 1, …

    Raises:
        TypeError, ValueError: for images of another type, without the ``channels`` and the ``size`` of the settings, or another
            count of numbers.
    """
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    images = require_shape(images, settings).cpu()
    if numbers is not None and len(numbers) != len(images):
        raise ValueError(f"there are {len(numbers)} numbers for {len(images)} images: give one for each.")
    cut_out = to_float(cut(images, *places(settings, len(images), None), settings.tile))
    if settings.colour != "dropped":
        return shown(cut_out, settings, torch.Generator())  # which is not asked
    numbers = range(len(images)) if numbers is None else numbers
    draws = (rng.generator(0, number, 0, "colours of a test") for number in numbers)
    return torch.cat([shown(one[None], settings, draw) for one, draw in zip(cut_out, draws, strict=True)])


class TileNetwork(Trunk):
    """Tiles ``(B, T, C, h, w)`` and which of them are asked about give logits.

    Args:
        settings: of the trunk, and ``tile``, ``embedding`` and ``hidden``.
        together: m, how many tiles a question is about.
        classes: how many answers there are.
        seed: of the initial weights.
    """

    def __init__(self, settings: TileSettings, *, together: int, classes: int, seed: int = 0):
        super().__init__(settings)
        features, hidden = settings.width * side_of_features(settings.tile) ** 2, settings.hidden
        self.vector = nn.Sequential(
            nn.Flatten(), nn.Linear(features, settings.embedding, bias=False), nn.BatchNorm1d(settings.embedding), nn.ReLU()
        )
        self.head = nn.Sequential(
            nn.Linear(together * settings.embedding, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, classes)
        )
        initialise(self, settings.initial_gamma, rng.generator(seed, 0, 0, "initial weights"))

    def embed(self, tiles: Tensor) -> Tensor:
        """A vector of each tile, seen alone: ``(B, T, C, h, w)`` gives ``(B, T, d)``."""
        return self.vector(self.features(tiles.flatten(0, 1))).unflatten(0, tiles.shape[:2])

    def answers(self, vectors: Tensor, chosen: Tensor) -> Tensor:
        """Logits ``(B, K, classes)`` of K questions an image: vectors ``(B, T, d)``, and the tiles ``(B, K, m)`` that each is about."""
        image = torch.arange(len(vectors), device=vectors.device)[:, None, None]
        joined = vectors[image, chosen].flatten(2)  # (B, K, m · d)
        return self.head(joined.flatten(0, 1)).unflatten(0, joined.shape[:2]).float()

    def forward(self, tiles: Tensor, chosen: Tensor) -> Tensor:
        """Logits ``(B, K, classes)``, float32, of tiles ``(B, T, C, h, w)`` and the tiles ``(B, K, m)`` of each question, in its order."""
        return self.answers(self.embed(tiles), chosen)


@torch.no_grad()
def answered(
    model: TileNetwork, images: Tensor, settings: TileSettings, chosen: Tensor, labels: Tensor, indices: Sequence[int] | None, at_once: int
) -> list[float]:
    """For each image the share of the same K questions that are answered right, in percent.

    Args:
        model: of these settings, in evaluation mode.
        images: uint8 ``(N, C, H, W)``.
        settings: how tiles are cut; here in the middle of the image, and without jitter.
        chosen, labels: the tiles ``(K, m)`` of each question, and the answers ``(K,)``.
        indices: numbers of the images to look at, in any order; None for all.
        at_once: images that go through the network together.

    Raises:
        TypeError, ValueError: for images of another type or shape, a number that no image has, or outputs with NaN.
    """
    numbers = checks.indices(indices, len(checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")))
    device, right = next(model.parameters()).device, []
    chosen, labels = chosen.to(device), labels.to(device)
    for some in (numbers[first : first + at_once] for first in range(0, len(numbers), at_once)):
        seen = of_test(images[some], settings, some).to(device)
        logits = checks.tensor(model(seen, chosen.expand(len(some), -1, -1)), "the model's outputs")
        right += (100 * (logits.argmax(-1) == labels).float().mean(1)).tolist()
    return right
