r"""RotNet: features learnt by telling by how much an image was turned.

Idea. Turn an image by 0°, 90°, 180° or 270°, and ask a network by which. Whoever can answer must know what is up in the image: where
its objects are, and how they stand. The answer costs nothing. All turns :math:`r = 1, …, R` of an image go through the network
together, and the loss is the mean of their cross-entropies,

.. math:: \ell = -\frac{1}{B R} \sum_{i=1}^{B} \sum_{r=1}^{R} \log p_\theta\bigl(r \mid \mathrm{rot}_r(x_i)\bigr) .

Random crops and mirroring come first, so that the turns of an image differ in nothing else. (After a mirror image the labels of 90°
and 270° would be exchanged.) Quarter turns move pixels, and compute none. Turns by 45° interpolate; then all angles are cropped to the
same square, the largest in which no turn has a corner. That removes the corners, and not the trace of the interpolation: see
:func:`white_noise`.

Source: Gidaris, Singh and Komodakis, *Unsupervised Representation Learning by Predicting Image Rotations*, ICLR 2018. Neither the
paper nor its code says how images were cropped for eight rotations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, rng
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.labelled import LabelledPool, crops, flips
from course_lib.pretext.nin import NIN, NINSettings
from course_lib.rng import Draws

STEP = 45  # degrees: what all angles are multiples of


@dataclass(frozen=True, kw_only=True)
class Settings(NINSettings):
    """RotNet of 4 blocks on CIFAR-10."""

    angles: tuple[int, ...] = (0, 90, 180, 270)  # in degrees, counter-clockwise; the classes, in this order

    def __post_init__(self):
        super().__post_init__()
        require_angles(self.angles)


def require_angles(angles: Sequence[int]) -> tuple[int, ...]:
    """The angles themselves, if they are at least two different ones of 0, 45, …, 315.

    Raises:
        TypeError: for anything but whole numbers.
        ValueError: for one that is no multiple of 45 below 360, for one that comes twice, or for fewer than two.
    """
    found = tuple(checks.whole(angle, "an angle") for angle in angles)
    allowed = range(0, 360, STEP)
    wrong = [angle for angle in found if angle not in allowed]
    if wrong:
        raise ValueError(f"angles = {found}: {wrong[0]} is none of {', '.join(map(str, allowed))}, in degrees.")
    if len(set(found)) != len(found) or len(found) < 2:
        raise ValueError(f"angles = {found}: give at least two different ones, such as 0,90,180,270.")
    return found


def inner_side(side: int, degrees: float) -> int:
    """Side of the largest square within a square of ``side`` pixels that is turned, for which no pixel from outside is needed.

    Its side is even where ``side`` is, so that both have the same middle. 32 becomes 22 for 45°, 28 becomes 20.

    Raises:
        TypeError, ValueError: for a side that is no whole number of at least 1, or an angle that is no number.
    """
    side, turn = checks.whole(side, "side", 1), math.radians(checks.number(degrees, "degrees"))
    inner = 1 + math.floor((side - 1) / (abs(math.cos(turn)) + abs(math.sin(turn))) + 1e-9)
    return inner - (side - inner) % 2


def turned(images: Tensor, degrees: float, *, side: int | None = None) -> Tensor:
    """Images turned counter-clockwise by any angle, and cropped to the middle: exact for quarter turns, bilinear for others.

    Args:
        images: ``(B, C, H, W)``, floating point in [0, 1], square.
        degrees: the angle.
        side: of the middle that is returned, in pixels; None for the largest without a corner, see :func:`inner_side`.

    Returns:
        ``(B, C, side, side)``.

    Raises:
        TypeError: for integer images, or an angle that is no number.
        ValueError: for images of another shape or scale, or a side that has corners in it, or another middle.
    """
    checks.require_images(images)
    _require_square(images)
    height = images.shape[-1]
    quarters, rest = divmod(checks.number(degrees, "degrees"), 90)
    largest = inner_side(height, rest)
    side = largest if side is None else checks.whole(side, "side", 1, largest)
    if (height - side) % 2:
        raise ValueError(f"side = {side} has not the middle of images of {height} pixels: it must be {side - 1} or {side + 1}.")
    edge = (height - side) // 2
    part = images[..., edge : height - edge, edge : height - edge] if not rest else _interpolated(images, rest, side)
    return torch.rot90(part, int(quarters % 4), (-2, -1))


def _interpolated(images: Tensor, degrees: float, side: int) -> Tensor:
    """The middle ``(B, C, side, side)`` of images that are turned by some angle, with bilinear interpolation."""
    exact = images if images.dtype == torch.float64 else images.float()
    turn, half = math.radians(degrees), (side - 1) / 2
    at = torch.arange(side, device=images.device, dtype=exact.dtype) - half
    y, x = torch.meshgrid(at, at, indexing="ij")
    cos, sin = math.cos(turn), math.sin(turn)
    from_x, from_y = x * cos - y * sin, x * sin + y * cos  # rows count downwards
    grid = torch.stack([from_x, from_y], dim=-1) * (2 / max(1, images.shape[-1] - 1))
    grid = grid.expand(len(images), -1, -1, -1)
    return F.grid_sample(exact, grid, mode="bilinear", padding_mode="zeros", align_corners=True).to(images)


def views(images: Tensor, angles: Sequence[int]) -> tuple[Tensor, Tensor]:
    """All turns of every image, and by which of the angles it is turned: the pseudo-labels.

    Args:
        images: ``(B, C, H, W)``, square, floating point in [0, 1] or 8-bit.
        angles: in degrees, counter-clockwise, multiples of 45.

    Returns:
        Views ``(B, R, C, H, W)`` in [0, 1] for R angles, cropped to the middle where one of them is no quarter turn, and labels
        ``(B, R)``.

    Raises:
        TypeError, ValueError: as :func:`turned` and :func:`require_angles`.
    """
    angles = require_angles(angles)
    exact = not any(angle % 90 for angle in angles)
    if getattr(images, "dtype", None) != torch.uint8:
        checks.require_images(images)
    elif not exact:
        images = to_float(images)
    _require_square(images)
    side = inner_side(images.shape[-1], 0 if exact else STEP)
    edge = (images.shape[-1] - side) // 2
    base = {0: F.pad(images, [-edge] * 4)}
    if not exact:
        base[STEP] = turned(images, STEP, side=side)  # interpolated once; quarter turns of it only move pixels
    made = base[0].new_empty(len(images), len(angles), *base[0].shape[1:], dtype=None if images.is_floating_point() else torch.float32)
    for place, angle in enumerate(angles):
        made[:, place] = torch.rot90(base[angle % 90], angle // 90, (-2, -1))
    labels = torch.arange(len(angles), device=images.device).expand(len(images), -1)
    return (made if images.is_floating_point() else made.div_(255)), labels  # as to_float, without a copy of all views


def _require_square(images: Tensor) -> None:
    if images.dim() != 4 or images.shape[-2] != images.shape[-1]:
        raise ValueError(f"images are {tuple(images.shape)}, but only square ones (B, C, H, H) keep their shape when they are turned.")


def network(settings: Settings, *, seed: int = 0) -> NIN:
    """A NIN with a class for each of its ``angles``: images ``(B, C, H, W)`` in [0, 1] give logits ``(B, R)``."""
    made = NIN(settings, classes=len(settings.angles), seed=seed)
    made.angles = settings.angles
    return made


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits ``(N, R)`` and labels ``(N,)``, the mean over all turns of all images: a scalar.

    Errors as :func:`course_lib.checks.classified`.
    """
    return F.cross_entropy(logits, checks.classified(logits, labels, ("N", "R")))


def prepare(data: Dataset, settings: Settings, seed: int = 0) -> LabelledPool:
    """The pool of the images, without labels; errors as :meth:`course_lib.labelled.LabelledPool.unlabelled`."""
    return LabelledPool.unlabelled(data, settings)


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(views ``(B, R, C, H, W)``, labels ``(B, R)``): images cropped, mirrored, and then turned."""
    images = pool.drawn(draws, settings.batch_size)  # 8-bit until all is moved
    if settings.padding:
        images = crops(images, settings.padding, draws("crops"))
    if settings.flip:
        images = flips(images, draws("flips"))
    return views(images, settings.angles)


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of all turns of a batch, and the share of them that is recognised, both scalars."""
    seen, labels = (part.flatten(0, 1) for part in batch)
    logits = model(seen)
    right = logits.detach().argmax(1) == labels
    return loss(logits, labels), {"accuracy": right.float().mean()}


@torch.no_grad()
def evaluate(
    model: nn.Module, images: Tensor, angles: Sequence[int] | None = None, *, indices: Sequence[int] | None = None
) -> list[float]:
    """For each image the share of its turns that the network recognises, in percent. 100 / R is chance.

    Args:
        model: a network for these angles, in evaluation mode.
        images: uint8 ``(N, C, H, W)``.
        angles: as in its training; None for its own ``angles``, or quarter turns where it has none.
        indices: numbers of the images to look at, in any order; None for all.

    Raises:
        TypeError, ValueError: for images of another type or shape, a number that no image has, a model of another number of angles, or
            outputs with NaN.
    """
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    chosen = images[checks.indices(indices, len(images))]
    angles = getattr(model, "angles", (0, 90, 180, 270)) if angles is None else angles
    device = next(model.parameters(), torch.zeros(())).device
    right = []
    for part in chosen.split(32):  # times R turns: more at once do not fit a processor's cache
        seen, labels = views(part.to(device), angles)
        logits = checks.tensor(model(seen.flatten(0, 1)), "the model's outputs").unflatten(0, labels.shape)
        if logits.shape[-1] != labels.shape[1]:
            raise ValueError(f"angles = {tuple(angles)}, but the model tells {logits.shape[-1]} turns apart: give those of its training.")
        right.append((logits.argmax(-1) == labels).float().mean(1))
    return (100 * torch.cat(right)).tolist() if right else []


def white_noise(count: int, size: int, *, channels: int = 3, seed: int = 0) -> Dataset:
    """Images without content: every value is independent noise, mid-gray with a standard deviation of 1/8 of the range.

    Turned by quarter turns such an image is another that is as probable, so that no network recognises quarter turns of images that
    it was not trained on. What it recognises of other turns it has from the interpolation. Within the four angles that differ by
    quarter turns, nothing can be told: with eight angles 45° apart, 25 % is the most, not 12.5 %.

    Returns:
        A data set of ``count`` images ``(channels, size, size)``, without labels.

    Raises:
        TypeError, ValueError: for numbers that are no whole ones of at least 1.
    """
    numbers = {"count": count, "channels": channels, "size": size}
    shape = [checks.whole(value, name, 1) for name, value in numbers.items()]
    noise = torch.randn(*shape, size, generator=rng.generator(seed, 0, 0, "white noise"))
    images = (127.5 + 32 * noise).round().clamp(0, 255).to(torch.uint8)
    return Dataset("white_noise", images, f"white noise, drawn with seed {seed}", tuple(f"noise {i}" for i in range(count)))
