r"""PIQE: how distorted is a photograph, judged block by block and without any training?

Idea. Cut the MSCN coefficients of a picture (:mod:`course_lib.noisy_classification.brisque`) into blocks of 16×16. Only *active*
blocks count, those with variance v > 0.1, since one looks at them. An active block is distorted in two ways:

- *noticeable artefact*: one of the 11 segments of 6 pixels on one of its 4 edges is flat, with a standard deviation below 0.1;
- *Gaussian noise*: its standard deviation exceeds twice :math:`\beta = \lvert \sqrt v - r \rvert / \max(\sqrt v, r)`, with r the standard
  deviation of its two middle columns over that of the others. In a block of noise every column is as good as any other.

.. math:: \text{PIQE} = 100\, \frac{1 + \sum_b \bigl( [\text{artefact}]\,(1 - v_b) + [\text{noise}]\,v_b \bigr)}{1 + n} ,

with the sum over the n active blocks b, goes from 0, good, to 100; a picture without active blocks gets 100. It does not grow strictly
with the noise: faint noise may lower it. No gradient passes through its decisions; what a training can use are the variances of
the blocks (:func:`block_variances`).

Source: N. Venkatanath, D. Praneeth, M. Chandrasekhar Bh., S. S. Channappayya, S. S. Medasani, *Blind Image Quality Evaluation using
Perception based Features*, NCC 2015. The released code removes column 10 for column 9 where it looks at the surround of a block; here
it is the other way round unless ``as_released``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.noisy_classification import brisque

SIDE = 16  # of a block, in pixels
SEGMENT = 6  # pixels of an edge that are looked at together
ACTIVE, FLAT = 0.1, 0.1  # least variance of an active block, and largest deviation of a flat segment


class Piqe(NamedTuple):
    """The score of each image and what it comes from, block by block."""

    score: Tensor  # (B,), 0 to 100
    active: Tensor  # (B, rows, columns) booleans
    artefact: Tensor  # among the active ones
    noise: Tensor  # among the active ones


def blocks(values: Tensor, side: int = SIDE) -> Tensor:
    """``values`` ``(B, C, H, W)``, whose sides are multiples of ``side``, as ``(B, C, rows, columns, side, side)``."""
    batch, channels, height, width = values.shape
    return values.view(batch, channels, height // side, side, width // side, side).transpose(3, 4)


def block_variances(values: Tensor, side: int = SIDE) -> Tensor:
    """The unbiased variance of each block of ``values`` ``(B, C, H, W)``, ``(B, C, rows, columns)``; a part of a block is left out.

    Raises:
        ValueError: for less than one block.
    """
    height, width = (length // side * side for length in values.shape[-2:])
    if not height or not width:
        raise ValueError(f"values are {tuple(values.shape[-2:])} pixels, but a block has {side}×{side}.")
    return blocks(values[..., :height, :width], side).var((-2, -1))


def _whole_blocks(gray: Tensor) -> Tensor:
    """Filled up to whole blocks ``(B, 1, H, W)`` on the right and below by its mirror image, whose first pixel is the last one again."""
    for axis in (-2, -1):
        missing = -gray.shape[axis] % SIDE
        while missing:
            part = min(missing, gray.shape[axis])
            gray = torch.cat([gray, gray.narrow(axis, gray.shape[axis] - part, part).flip(axis)], dim=axis)
            missing -= part
    return gray


@torch.no_grad()
def piqe(images: Tensor, *, as_released: bool = False) -> Piqe:
    """The score of images ``(B, 1 or 3, H, W)`` in [0, 1], each scaled to its brightest pixel, and the blocks it comes from.

    Args:
        images: floating point.
        as_released: leave columns 8 and 10 (from 0: 7 and 9) out of the surround of a block, as the released code does, and not 8 and 9.

    Raises:
        TypeError: for anything but floating-point images.
        ValueError: for a wrong shape.
    """
    gray = _whole_blocks(brisque.luma(images))
    brightest = gray.amax((1, 2, 3), keepdim=True)
    brightest = torch.where(brightest > 0, brightest, 1)  # an image without a positive value is not scaled
    cut = blocks(brisque.mscn((255 * gray / brightest).round(), constant=1.0))[:, 0]  # (B, rows, columns, 16, 16)
    variance = cut.var((-2, -1))
    deviation = variance.sqrt()
    edges = torch.stack([cut[..., 0, :], cut[..., -1, :], cut[..., :, 0], cut[..., :, -1]], dim=-2)
    flat = (edges.unfold(-1, SEGMENT, 1).std(-1) < FLAT).any(-1).any(-1)
    middle = SIDE // 2
    others = torch.ones(SIDE, dtype=torch.bool, device=cut.device)
    others[[middle - 1, middle + 1 if as_released else middle]] = False
    ratio = cut[..., middle - 1 : middle + 1].flatten(-2).std(-1) / cut[..., others].flatten(-2).std(-1)
    ratio = ratio.nan_to_num(0.0)
    beta = (deviation - ratio).abs() / torch.maximum(deviation, ratio)
    active = variance > ACTIVE
    artefact, noise = active & flat, active & (deviation > 2 * beta)
    distortion = (artefact * (1 - variance) + noise * variance).sum((1, 2))
    return Piqe(100 * (distortion + 1) / (active.sum((1, 2)) + 1), active, artefact, noise)
