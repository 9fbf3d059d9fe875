"""Blur and rain, drawn by rules of our own: tasks of restoration for which the clean image is known.

Real rain and real shake are not so simple. These are what they say and no more: a straight motion blur with a little noise, and bright,
straight streaks. Each image gets its own direction and strength.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks
from course_lib.noise import gaussian

LONGEST = 31  # pixels of a motion or of a streak
DENSEST = 0.2  # share of pixels with a drop


def line_kernels(length: Tensor, angle: Tensor, side: int) -> Tensor:
    """Kernels ``(B, side, side)`` that average along a straight line through the middle, each of sum 1.

    A tap weighs ``max(0, 1 − distance to the line)`` within half of the length, so that a line of any angle is one pixel wide.

    Args:
        length: of the lines in pixels, ``(B,)``, at least 1.
        angle: in radians from the rows, ``(B,)``.
        side: of the kernels, odd.
    """
    taps = torch.arange(side, device=length.device, dtype=length.dtype) - side // 2
    y, x = taps.view(1, -1, 1), taps.view(1, 1, -1)
    cosine, sine = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    along, across = x * cosine + y * sine, y * cosine - x * sine
    beyond = along.abs() - (length.view(-1, 1, 1) - 1) / 2  # how far past the end of the line a tap lies
    weights = (1 - across.abs()).clamp(min=0) * (1 - beyond).clamp(0, 1)
    return weights / weights.sum((1, 2), keepdim=True)


def _along_lines(images: Tensor, kernels: Tensor) -> Tensor:
    """Every image ``(B, C, H, W)`` filtered by its own kernel, its border repeated."""
    batch, channels, height, width = images.shape
    reach = kernels.shape[-1] // 2
    padded = F.pad(images, [reach] * 4, mode="replicate")
    weight = kernels.to(images.dtype).repeat_interleave(channels, 0)[:, None]
    return F.conv2d(padded.view(1, batch * channels, *padded.shape[2:]), weight, groups=batch * channels).view(images.shape)


def require_range(values: tuple[float, float], name: str, low: float, high: float) -> tuple[float, float]:
    """``values`` as numbers, if they are a lowest and a highest one.

    Args:
        values: the pair.
        name: what the message calls it.
        low, high: between which both must lie.

    Raises:
        TypeError: for anything but a pair of numbers.
        ValueError: for a number that lies elsewhere, or a pair whose highest comes first.
    """
    if not isinstance(values, tuple) or len(values) != 2:
        raise TypeError(f"{name} is {values!r}, but a pair of the lowest and the highest one is expected.")
    first, last = (checks.number(value, name, low, high) for value in values)
    if first > last:
        raise ValueError(f"{name} = {values}: the lowest comes first.")
    return first, last


def _uniform(between: tuple[float, float], shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    draws = torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)
    return between[0] + (between[1] - between[0]) * draws


def motion_blur(clean: Tensor, length: tuple[float, float], sigma: float, generator: torch.Generator) -> Tensor:
    r"""A camera that moves along a straight line while the shutter is open, :math:`z = k * y + \varepsilon`.

    Args:
        clean: images ``(B, C, H, W)``, floating point, in [0, 1].
        length: shortest and longest way in pixels, 1 to 31; each image has its own length and direction, both uniform.
        sigma: of the Gaussian noise that follows, on the [0, 1] scale.
        generator: the source of the draws, on the device of ``clean``.

    Returns:
        The blurred images, in the shape and type of ``clean``, not clipped.

    Raises:
        TypeError: for integer images, no generator, or a length that is no pair.
        ValueError: for a wrong shape, a length outside 1 to 31, or a σ that makes no sense.
    """
    checks.generator(generator)
    checks.require_images(clean, "clean images")
    between = require_range(length, "length", 1, LONGEST)
    ways = _uniform(between, (len(clean),), clean, generator)
    angles = _uniform((0, math.pi), (len(clean),), clean, generator)
    side = 2 * math.ceil(between[1] / 2) + 1
    return gaussian(_along_lines(clean, line_kernels(ways, angles, side)), sigma, generator, clip=False)


def rain(clean: Tensor, density: tuple[float, float], generator: torch.Generator) -> Tensor:
    r"""Bright streaks that fall in one direction, :math:`z = y + r`, the same in all channels.

    Drops are independent: a pixel has one with the probability ``density``, of a brightness between 0.4 and 1. Each is drawn out to a
    streak of 9 to 21 pixels, within 30 degrees of the vertical; all streaks of an image are parallel and of one length.

    Args:
        clean: images ``(B, C, H, W)``, floating point, in [0, 1].
        density: least and largest share of pixels with a drop, 0 to 0.2; each image has its own, uniform.
        generator: the source of the draws, on the device of ``clean``.

    Returns:
        The images in the rain, in the shape and type of ``clean``, not clipped.

    Raises:
        TypeError: for integer images, no generator, or a density that is no pair.
        ValueError: for a wrong shape, or a density outside 0 to 0.2.
    """
    checks.generator(generator)
    checks.require_images(clean, "clean images")
    between = require_range(density, "density", 0, DENSEST)
    batch, _, height, width = clean.shape
    share = _uniform(between, (batch, 1, 1, 1), clean, generator)
    ways = _uniform((9, 21), (batch,), clean, generator)
    angles = _uniform((math.pi / 3, 2 * math.pi / 3), (batch,), clean, generator)
    reach = 12
    place = torch.rand(batch, 1, height + 2 * reach, width + 2 * reach, generator=generator, device=clean.device, dtype=clean.dtype)
    drops = torch.where(place < share, _uniform((0.4, 1), place.shape, clean, generator), 0.0)
    streaks = _along_lines(drops, line_kernels(ways, angles, 2 * reach + 1) * (ways / 3).view(-1, 1, 1))
    return clean + streaks[..., reach:-reach, reach:-reach]
