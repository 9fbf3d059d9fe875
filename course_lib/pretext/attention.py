r"""Where a network looks: maps of the energy of its activations, and whether they turn with the image.

Idea. Activations :math:`F` of a layer, ``(C, H, W)``, are summed over the channels,

.. math:: A_{hw} = \sum_c \lvert F_{chw} \rvert^p .

The paper takes p = 1, 2 and 4 for the first, second and third layer that it shows: deeper activations are less sparse. Such a map has
no class. It cannot say what speaks for 90°, and needs no head, so that networks of different tasks can be compared.

If a network finds the same parts in a turned image, its map turns as well. :func:`equivariance` measures that.

Source: Gidaris, Singh and Komodakis (2018), who follow Zagoruyko and Komodakis, *Paying More Attention to Attention*, ICLR 2017.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks


def energy(features: Tensor, power: float = 1.0) -> Tensor:
    """Attention maps ``(B, H, W)`` of activations ``(B, C, H, W)``: the sum over the channels of ``|F|`` to a power.

    Raises:
        TypeError, ValueError: for anything but a tensor of that shape without NaN, or a power that is not positive.
    """
    checks.tensor(features, "features", ("B", "C", "H", "W"), of="floating")
    return features.abs().pow(checks.number(power, "power", 0, inside=True)).sum(1)


def shown(maps: Tensor, side: int) -> Tensor:
    """Maps ``(B, H, W)`` to look at: each scaled to [0, 1] (a constant one is 0) and enlarged bilinearly to ``(B, 1, side, side)``.

    Raises:
        TypeError, ValueError: for anything but a tensor of that shape without NaN, or a side outside 1 to 16384.
    """
    checks.tensor(maps, "maps", ("B", "H", "W"), of="floating")
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    return F.interpolate(scaled[:, None], checks.whole(side, "side", 1, 2**14), mode="bilinear", align_corners=False)


@torch.no_grad()
def equivariance(layers: nn.Module, images: Tensor, *, power: float = 1.0) -> Tensor:
    r"""Correlation of the map of an image with the map of its turned copy, turned back: ``(B, 3)`` for 90°, 180° and 270°.

    .. math:: \mathrm{corr}\bigl(A(x),\ \mathrm{rot}_r^{-1} A(\mathrm{rot}_r x)\bigr)

    It is 1 where the map turns exactly with the image. That of a constant map is 0.

    Args:
        layers: a network, or a part of it, in evaluation mode, whose outputs are ``(B, C, H, W)``.
        images: ``(B, C, H, W)``, floating point in [0, 1], square.
        power: of :func:`energy`.

    Raises:
        TypeError: for integer images.
        ValueError: for images of another shape or scale, or outputs that are no maps.
    """
    checks.require_images(images)
    if images.shape[-2] != images.shape[-1]:
        raise ValueError(f"images are {tuple(images.shape)}, but only square ones (B, C, H, H) keep their shape when they are turned.")
    upright = _standardised(energy(layers(images), power))
    found = []
    for quarters in (1, 2, 3):
        of_turned = energy(layers(torch.rot90(images, quarters, (-2, -1))), power)
        found.append((upright * _standardised(torch.rot90(of_turned, -quarters, (-2, -1)))).mean(1))
    return torch.stack(found, dim=1)


def _standardised(maps: Tensor) -> Tensor:
    """Maps as vectors ``(B, H · W)`` of mean 0 and mean square 1; constant ones as 0."""
    flat = maps.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.square().mean(1, keepdim=True).sqrt().clamp(min=torch.finfo(maps.dtype).tiny)
