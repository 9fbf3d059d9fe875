r"""Chromatic aberration: a lens that gives away where a patch was, and what is done against it.

A lens bends light of different colours differently. Red and blue are magnified a little more than green, so that they are displaced
along the line to the optical centre, the more the farther from it. A single patch then shows by its fringes in which part of the image
it was, whatever is in it, and two patches how they lie to each other.

Remedies: **projection** removes the axis from green to magenta from every pixel. With :math:`a = (-1, 2, -1)` a pixel, as a row
vector, is multiplied by :math:`B = I - a^\top a / (a\, a^\top)`; if red and blue are displaced *alike*, the shift is gone from what is
left. **Dropping** keeps one channel at random and replaces the two others by faint noise: with one colour there is no fringe.

Source: Doersch, Gupta and Efros (2015), section 3.1, where 1/100 of the kept channel's standard deviation is the noise's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks

LUMINANCE = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (BT.601)."""

AXIS = (-1.0, 2.0, -1.0)
"""From magenta to green, in red, green and blue."""

FAINT = 0.01
"""Standard deviation of the noise in a dropped channel, as a part of the kept channel's."""


def require_colour(images: Tensor, name: str = "images") -> None:
    """Raise ``TypeError``, ``ValueError`` unless ``images`` are floating-point ``(B, 3, H, W)`` on the [0, 1] scale."""
    checks.require_images(images, name)
    if images.shape[1] != 3:
        raise ValueError(f"{name} have {images.shape[1]} channels, but colours are three: take images in colour.")


def aberrated(images: Tensor, magnification: Sequence[float] = (1.01, 1.0, 1.01)) -> Tensor:
    """Images as through a lens that magnifies the colours differently about the middle, at half the size.

    All channels are resampled from an image of twice the size and then averaged over 2×2 pixels. Resampled at its own size, a channel
    would be blurred where its pixels fall between those of the image, and not elsewhere: a trace of its own that tells the place.

    Args:
        images: ``(B, 3, H, W)`` in [0, 1], with even sides.
        magnification: of red, green and blue. Only their ratios count: the least magnified one fills the image.

    Returns:
        ``(B, 3, H/2, W/2)``.

    Raises:
        TypeError: for integer images.
        ValueError: for images without three channels or with odd sides, or magnifications that are not three positive numbers.
    """
    require_colour(images)
    if any(side % 2 for side in images.shape[-2:]):
        raise ValueError(f"images are {tuple(images.shape[-2:])}, but even sides are needed: they are halved.")
    factors = [checks.number(one, "magnification", 0, 100, inside=True) for one in magnification]
    if len(factors) != 3:
        raise ValueError(f"magnification = {tuple(factors)}, but three numbers are expected: of red, green and blue.")
    matrices = images.new_zeros(3, 2, 3)
    for channel, factor in enumerate(factors):
        matrices[channel, 0, 0] = matrices[channel, 1, 1] = min(factors) / factor
    count, _, height, width = images.shape
    grid = F.affine_grid(matrices, [3, count, height, width], align_corners=False)
    by_channel = images.transpose(0, 1)  # (3, B, H, W): the images of a channel are moved alike
    moved = F.grid_sample(by_channel, grid, mode="bicubic", padding_mode="border", align_corners=False).transpose(0, 1)
    return F.avg_pool2d(moved, 2).clamp(0, 1)


def projected(images: Tensor) -> Tensor:
    """Images ``(B, 3, H, W)`` without their part along the axis from magenta to green, in the same shape.

    Raises:
        TypeError, ValueError: for integer images, or images without three channels.
    """
    require_colour(images)
    axis = images.new_tensor(AXIS)
    matrix = torch.eye(3, device=images.device, dtype=images.dtype) - torch.outer(axis, axis) / axis.dot(axis)
    return torch.einsum("bchw,cd->bdhw", images, matrix)


def dropped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images ``(B, 3, H, W)`` of which one channel is kept, at random, and the others are its mean and faint noise; the same shape.

    Args:
        images: in [0, 1].
        generator: the source of the draws, on the device of the images.

    Raises:
        TypeError, ValueError: for no generator, integer images, or images without three channels.
    """
    checks.generator(generator)
    require_colour(images)
    channel = torch.randint(3, (len(images),), generator=generator, device=images.device)
    kept = images[torch.arange(len(images), device=images.device), channel][:, None]
    mean, std = kept.mean((2, 3), keepdim=True), kept.std((2, 3), keepdim=True, correction=0)
    noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    here = (torch.arange(3, device=images.device) == channel[:, None])[:, :, None, None]
    return torch.where(here, images, mean + FAINT * std * noise)


def gray(images: Tensor) -> Tensor:
    """Images ``(B, 3, H, W)`` with their luminance (BT.601) in all three channels, in the same shape; errors as :func:`projected`."""
    require_colour(images)
    red, green, blue = images.split(1, dim=1)
    return (LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue).expand_as(images)
