"""Low resolution at the old size, and images of which only a region of interest keeps its resolution.

What a camera sends that saves bits: all of the picture coarsely, and the part that matters as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks
from course_lib.checks import require_images

Enlarging = Literal["nearest", "bicubic"]


def low_resolution(images: Tensor, factor: int, enlarging: Enlarging) -> Tensor:
    """Images shrunk to 1/``factor`` of each side, and enlarged to their old size.

    On the way down each pixel is the mean of ``factor`` × ``factor``, as that of a sensor that bins its pixels. (Na et al. only say
    "sub-sampling".) What bicubic interpolation overshoots at sharp edges is clamped to [0, 1].

    Args:
        images: ``(B, C, H, W)`` floating point, in [0, 1]; H and W are multiples of ``factor``.
        factor: 1 (the images as they are), 2, 3, …
        enlarging: how the small image becomes large again.

    Returns:
        Images in the shape of ``images``.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong shape, a factor that is no whole number of at least 1 or does not divide the sides, or an unknown enlarging.
    """
    require_images(images)
    factor = checks.whole(factor, "factor", 1)
    if enlarging not in get_args(Enlarging):
        raise ValueError(f'enlarging = "{enlarging}", but it must be one of {", ".join(get_args(Enlarging))}.')
    height, width = images.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(f"images of {height}×{width} pixels cannot be shrunk by factor = {factor}: it must divide both sides.")
    if factor == 1:
        return images
    small = F.avg_pool2d(images, factor)
    return F.interpolate(small, size=(height, width), mode=enlarging).clamp(0, 1)


def random_low_resolution(
    images: Tensor, factors: Sequence[int], generator: torch.Generator, *, enlarging: Sequence[str] = get_args(Enlarging)
) -> Tensor:
    """Each image by a factor and a way of enlarging of its own, all equally likely.

    Args:
        images: ``(B, C, H, W)`` floating point, in [0, 1].
        factors: to choose from, such as ``(2, 4)``.
        generator: the source of the draws, on the device of ``images``.
        enlarging: ways to choose from.

    Returns:
        Images in the shape of ``images``. Errors as :func:`low_resolution`; ``TypeError`` also for no generator, ``ValueError`` where there
        is nothing to choose from.
    """
    checks.generator(generator)
    if not factors or not enlarging:
        raise ValueError(f"factors = {factors}, enlarging = {enlarging}: give at least one of each, to choose from.")
    made = torch.stack([low_resolution(images, factor, way) for factor in factors for way in enlarging])
    chosen = torch.randint(len(made), (len(images),), generator=generator, device=images.device)
    return made[chosen, torch.arange(len(images), device=images.device)]


def mixed_resolution(images: Tensor, low: Tensor, boxes: Tensor) -> Tensor:
    """``images`` within a box, the region of interest, and ``low`` around it.

    Args:
        images: ``(B, C, H, W)``.
        low: what is shown outside of the box, in the same shape.
        boxes: integers ``(B, 4)`` or ``(1, 4)``: first row, first column, and the row and column behind the last; in pixels. A box
            without a pixel, such as one that a crop has cut away, keeps nothing.

    Returns:
        Images in the shape of ``images``.

    Raises:
        TypeError: for boxes that are no tensor of integers.
        ValueError: for shapes that do not fit, or a box that reaches outside of the image or ends before it begins (boxes on a GPU are
            not looked at).
    """
    require_images(images)
    require_images(low, "images of low resolution")
    if low.shape != images.shape or low.dtype != images.dtype:
        raise ValueError(f"images are {tuple(images.shape)}, but those of low resolution {tuple(low.shape)}: both must be alike.")
    checks.tensor(boxes, "boxes", ("B", "4"), of="integers")
    if boxes.shape[1] != 4 or len(boxes) not in (1, len(images)):
        raise ValueError(f"boxes are {tuple(boxes.shape)}, but ({len(images)}, 4) is expected: top, left, bottom and right of each image.")
    height, width = images.shape[-2:]
    top, left, bottom, right = (side.view(-1, 1, 1, 1) for side in boxes.unbind(1))
    if boxes.device.type == "cpu":
        wrong = (top < 0) | (left < 0) | (bottom > height) | (right > width) | (bottom < top) | (right < left)
        if bool(wrong.any()):
            first = boxes[int(wrong.flatten().nonzero()[0])].tolist()
            raise ValueError(
                f"the region of interest (top, left, bottom, right) = {tuple(first)} is not inside the image, which has {height} rows and "
                f"{width} columns: top ≤ bottom ≤ {height} and left ≤ right ≤ {width} are expected, none negative."
            )
    row, column = torch.arange(height, device=images.device).view(-1, 1), torch.arange(width, device=images.device)
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)  # (B, 1, H, W)
    return torch.where(inside, images, low)


def central_box(images: Tensor, side: int) -> Tensor:
    """The box ``(1, 4)`` of the central ``side`` × ``side`` pixels of images ``(B, C, H, W)``, for :func:`mixed_resolution`.

    Raises:
        TypeError, ValueError: for images that are none, or a side that is no whole number, is negative, or larger than the image.
    """
    checks.tensor(images, "images", ("B", "C", "H", "W"), finite=False)
    height, width = images.shape[-2:]
    side = checks.whole(side, "side of the region of interest", 0, min(height, width))
    top, left = (height - side) // 2, (width - side) // 2
    return torch.tensor([[top, left, top + side, left + side]], device=images.device)
