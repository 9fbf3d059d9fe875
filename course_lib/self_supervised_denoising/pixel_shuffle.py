r"""Pixel-shuffle downsampling: an image becomes s² small ones, of every s-th pixel in each direction, and back.

Pixel (y, x) goes to the sub-image (y mod s, x mod s), so that neighbours in a sub-image were s pixels apart. Noise that is correlated over
fewer than s pixels is then nearly independent. The price is detail: what is finer than s pixels no longer looks smooth, but aliased.

The sub-images lie along the batch, where nothing can mix them. (The authors of AP-BSN tile them into one image with 2 pixels between; a
network that looks 29 pixels away sees across such a seam.)

Source: Y. Zhou et al., *When AWGN-based Denoiser Meets Real Noises*, AAAI 2020; W. Lee, S. Son, K. M. Lee, *AP-BSN*, CVPR 2022,
arXiv:2203.11799.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from course_lib import checks


def down(images: Tensor, stride: int) -> Tensor:
    """Images ``(B, C, H, W)`` as their sub-images ``(B · s², C, ⌈H/s⌉, ⌈W/s⌉)``, those of one image
    side by side, row by row.

    Sides that are no multiples of s are continued by their last row and column. A copied pixel
    never comes into the sub-image of its original, so that a blind spot stays one.

    Raises:
        TypeError: for anything but a tensor of images, or a stride that is no number.
        ValueError: for another number of axes, or a stride that is no whole number from 1 to the
            shorter side.
    """
    checks.tensor(images, "images", ("B", "C", "H", "W"), finite=False)
    batch, channels, height, width = images.shape
    s = checks.whole(stride, "stride", 1)
    if s > min(height, width):
        raise ValueError(
            f"stride = {s}, but the images have {height}×{width} pixels: a sub-image takes every "
            f"{s}-th of them, so the stride can be {min(height, width)} at most."
        )
    if height % s or width % s:
        images = F.pad(images, (0, -width % s, 0, -height % s), mode="replicate")
    parts = images.unflatten(3, (-1, s)).unflatten(2, (-1, s))  # (B, C, h, s, w, s)
    return parts.permute(0, 3, 5, 1, 2, 4).flatten(0, 2)


def up(parts: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """The inverse of :func:`down`: sub-images ``(B · s², C, h, w)`` as images ``(B, C, H, W)`` of the ``size`` (H, W).

    Raises:
        TypeError: for anything but a tensor of images, or a stride that is no number.
        ValueError: for a stride below 1, a number of sub-images that is no multiple of s², or a size that they do not have.
    """
    checks.tensor(parts, "parts", ("B", "C", "H", "W"), finite=False)
    s, (height, width) = checks.whole(stride, "stride", 1), size
    expected = (-(-height // s), -(-width // s))
    if len(parts) % s**2 or parts.shape[2:] != expected:
        raise ValueError(
            f"parts have shape {tuple(parts.shape)}, but images of {height}×{width} pixels have {s**2} sub-images of "
            f"{expected[0]}×{expected[1]} each at stride {s}."
        )
    images = parts.unflatten(0, (-1, s, s)).permute(0, 3, 4, 1, 5, 2)  # (B, C, h, s, w, s)
    return images.flatten(4).flatten(2, 3)[..., :height, :width]
