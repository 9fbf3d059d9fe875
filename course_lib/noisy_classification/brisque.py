r"""BRISQUE: 36 statistics that photographs have in common, and that noise and blur change.

Idea. Subtract from every pixel the mean of its surroundings and divide by their standard deviation,

.. math:: \hat I = \frac{I - \mu}{s + 1}, \qquad \mu = w * I, \quad s = \sqrt{\lvert w * I^2 - \mu^2 \rvert} ,

with a 7×7 Gaussian w of σ = 7/6 and I on the 0–255 scale. These *mean-subtracted, contrast-normalised* (MSCN) coefficients of a clean
photograph are spread much as those of any other one: like a generalised Gaussian. Noise makes them wider and rounder, blur narrower
and more peaked. BRISQUE describes their distribution, and that of the products of neighbours, by 18 numbers, at two scales. A support
vector machine then turns the 36 numbers into a score; it was trained on the opinions about one collection of pictures, and is left out
here.

The shape parameter of a distribution is looked up in a table, through which no gradient passes. What a training can use are the
coefficients, their variance and the means of their neighbours' products (:func:`smooth`).

Source: A. Mittal, A. K. Moorthy, A. C. Bovik, *No-Reference Image Quality Assessment in the Spatial Domain*, IEEE Transactions on Image
Processing, 2012. The borders of an image are repeated here; the paper does not say.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks

SIDE, SPREAD = 7, 7 / 6  # of the Gaussian window, in pixels
SMALLEST = 16  # side of an image in pixels, of which the second scale has half
SHIFTS = ((0, 1), (1, 0), (1, 1), (-1, 1))  # to the neighbours: right, below, and along both diagonals
NAMES = tuple(
    f"{name}{scale}"
    for scale in (" at full size", " at half size")
    for name in (
        "shape", "variance",
        *(f"{what} of products {where}" for where in ("across", "down", "along the diagonal", "along the other diagonal")
          for what in ("shape", "mean", "left variance", "right variance")),
    )
)  # fmt: skip
"""What the 36 statistics are."""


def luma(images: Tensor) -> Tensor:
    """The brightness ``(B, 1, H, W)`` of images ``(B, 1 or 3, H, W)`` in [0, 1], by ITU-R BT.601.

    Raises:
        TypeError: for anything but floating-point images.
        ValueError: for a wrong shape, or another number of channels.
    """
    checks.require_images(images)
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise ValueError(f"images have {images.shape[1]} channels, but 1 (gray) or 3 (colour) are expected.")
    weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _window(side: int, like: Tensor) -> Tensor:
    """The Gaussian window along a side, as a matrix ``(side, side)`` with a row for each pixel; the border is repeated.

    A product of matrices takes a twentieth of the time of convolutions of single channels, at the sizes of features.
    """
    taps = torch.arange(SIDE, device=like.device) - SIDE // 2
    weights = torch.exp(-taps.to(like.dtype).square() / (2 * SPREAD**2))
    places = (torch.arange(side, device=like.device)[:, None] + taps).clamp(0, side - 1)
    return like.new_zeros(side, side).scatter_add(1, places, (weights / weights.sum()).expand(side, SIDE))


def mscn(values: Tensor, constant: float = 1 / 255) -> Tensor:
    r"""The MSCN coefficients :math:`(I - \mu) / (s + c)` of every channel, in the shape of ``values``.

    Args:
        values: ``(B, C, H, W)``, floating point: images in [0, 1], or features.
        constant: c, which keeps flat regions from being blown up; 1 on the 0–255 scale is 1/255 on that of images in [0, 1].

    Raises:
        TypeError, ValueError: for anything but a floating-point tensor of four axes and at least 4×4 pixels, or c that is not positive.
    """
    checks.tensor(values, "values", ("B", "C", "H", "W"), of="floating", finite=False)
    constant = checks.number(constant, "constant", 0, inside=True)
    if min(values.shape[-2:]) < SIDE // 2 + 1:
        raise ValueError(f"values are {tuple(values.shape[-2:])} pixels, but the window reaches {SIDE // 2} pixels to each side.")
    rows, columns = (_window(side, values) for side in values.shape[-2:])

    def around(x: Tensor) -> Tensor:
        return rows @ (x @ columns.T)

    mean = around(values)
    variance = (around(values.square()) - mean.square()).abs()
    deviation = (variance + 1e-12).sqrt()  # whose gradient at 0 would be infinite
    return (values - mean) / (deviation + constant)


def neighbours(coefficients: Tensor) -> list[Tensor]:
    """The products of each coefficient ``(B, C, H, W)`` with its neighbour in each of the four ``SHIFTS``, where there is one."""
    found = []
    for down, right in SHIFTS:
        rows = coefficients.shape[-2] - abs(down)
        columns = coefficients.shape[-1] - right
        first = coefficients[..., max(0, -down) : max(0, -down) + rows, :columns]
        second = coefficients[..., max(0, down) : max(0, down) + rows, right : right + columns]
        found.append(first * second)
    return found


def smooth(coefficients: Tensor) -> Tensor:
    """The variance of the coefficients ``(B, C, H, W)`` and the means of the four products, ``(B, C, 5)``: what has a gradient."""
    return torch.stack([coefficients.var((-2, -1)), *(product.mean((-2, -1)) for product in neighbours(coefficients))], dim=-1)


@cache
def _table() -> tuple[Tensor, Tensor]:
    r"""Shapes α from 0.2 to 10, and :math:`\Gamma(2/\alpha)^2 / (\Gamma(1/\alpha)\,\Gamma(3/\alpha))`, which grows with them; float64."""
    shape = torch.arange(200, 10_001, dtype=torch.float64) / 1000
    return shape, torch.exp(2 * torch.lgamma(2 / shape) - torch.lgamma(1 / shape) - torch.lgamma(3 / shape))


def _shape(ratio: Tensor) -> Tensor:
    """The shape in the table whose ratio is nearest, for each of ``ratio``, of any shape."""
    shapes, ratios = (one.to(ratio.device) for one in _table())
    above = torch.searchsorted(ratios, ratio.double().contiguous()).clamp(1, len(ratios) - 1)
    nearer = above - (ratio - ratios[above - 1] < ratios[above] - ratio).long()
    return shapes[nearer].to(ratio.dtype)


class Asymmetric(NamedTuple):
    """An asymmetric generalised Gaussian distribution: each field ``(…)``."""

    shape: Tensor
    mean: Tensor
    left: Tensor  # mean square of the values below 0
    right: Tensor  # of those above


def generalized_gaussian(values: Tensor) -> tuple[Tensor, Tensor]:
    r"""Shape α and variance :math:`E[x^2]` of a generalised Gaussian of mean 0, fitted to the last axis by its moments; both ``(…)``.

    α solves :math:`\Gamma(2/\alpha)^2 / (\Gamma(1/\alpha)\,\Gamma(3/\alpha)) = E[\lvert x \rvert]^2 / E[x^2]`: 2 for a Gaussian, 1 for a
    Laplace distribution.
    """
    square = values.square().mean(-1)
    return _shape(values.abs().mean(-1).square() / square.clamp(min=torch.finfo(values.dtype).tiny)), square


def asymmetric(values: Tensor) -> Asymmetric:
    r"""The same for values that lean to one side, ``(…, N)``: shape, mean η, and the mean squares on the left and on the right."""
    tiny = torch.finfo(values.dtype).tiny
    below, above = values < 0, values > 0
    left = (values * below).square().sum(-1) / below.sum(-1).clamp(min=1)
    right = (values * above).square().sum(-1) / above.sum(-1).clamp(min=1)
    skew = (left / right.clamp(min=tiny)).sqrt()
    ratio = values.abs().mean(-1).square() / values.square().mean(-1).clamp(min=tiny)
    shape = _shape(ratio * (skew**3 + 1) * (skew + 1) / (skew.square() + 1).square())
    widths = torch.exp(torch.lgamma(2 / shape) - (torch.lgamma(1 / shape) + torch.lgamma(3 / shape)) / 2)
    return Asymmetric(shape, (right.sqrt() - left.sqrt()) * widths, left, right)


@torch.no_grad()
def statistics(images: Tensor) -> Tensor:
    """The 36 statistics ``(B, 36)`` of images ``(B, 1 or 3, H, W)`` in [0, 1]; ``NAMES`` says what they are.

    Raises:
        TypeError: for anything but floating-point images.
        ValueError: for a wrong shape, or fewer than 16×16 pixels.
    """
    gray = luma(images)
    gray = gray.to(torch.promote_types(gray.dtype, torch.float32))  # half precision has no bicubic interpolation
    if min(gray.shape[-2:]) < SMALLEST:
        raise ValueError(f"images are {tuple(gray.shape[-2:])} pixels, but at least {SMALLEST}×{SMALLEST} are needed for two scales.")
    half = F.interpolate(gray, scale_factor=0.5, mode="bicubic", antialias=True, align_corners=False)
    found = []
    for scale in (gray, half):
        coefficients = mscn(scale)
        found += generalized_gaussian(coefficients.flatten(1))
        for product in neighbours(coefficients):
            found += asymmetric(product.flatten(1))
    return torch.stack(found, dim=1)
