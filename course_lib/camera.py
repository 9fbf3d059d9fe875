r"""The path of light through a camera, and the noise that it picks up on the way.

.. math:: z = \mathrm{JPEG}\Bigl(f\bigl(\mathrm{DM}(\mathrm{M}(L + n(L)))\bigr)\Bigr), \qquad L = f^{-1}(y)

The sensor counts photons, so its noise n grows with the *irradiance* L, the light before any processing. Each pixel measures
one colour only (the mosaic M), the others are interpolated from its neighbours (DM), a response curve f makes the picture
pleasant to look at, and JPEG makes it small. What was independent from pixel to pixel is then no longer so, nor is it Gaussian.

Where the papers' tools are not to be had, the course takes the simplest of their kind, and says so: for the 201 measured
response curves of CBDNet a power law, and for its demosaicking by gradients the bilinear one.

Source: S. Guo, Z. Yan, K. Zhang, W. Zuo, L. Zhang, *Toward Convolutional Blind Denoising of Real Photographs*, CVPR 2019,
arXiv:1807.04686; A. Foi, M. Trimeche, V. Katkovnik, K. Egiazarian, *Practical Poissonian-Gaussian Noise Modeling and Fitting
for Single-Image Raw-Data*, IEEE TIP 17(10), 2008.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks
from course_lib.checks import require_images

PATTERNS = ("RGGB", "GRBG", "GBRG", "BGGR")
"""The orders of the Bayer mosaic, each by the colours of the upper left 2×2 pixels, row by row."""


def _per_image(values: float | Tensor, images: Tensor, name: str, low: float, high: float) -> Tensor:
    """``values``, one for all images or for each or for each channel of each, as ``(1 or B, 1 or C, 1, 1)``."""
    if not isinstance(values, Tensor):
        several = isinstance(values, list | tuple)
        values = torch.tensor([checks.number(v, name) for v in values] if several else checks.number(values, name), dtype=torch.float64)
    tensor = checks.tensor(values, name, finite=False).to(images)
    if tensor.numel() and not bool(((tensor >= low) & (tensor <= high)).all()):
        raise ValueError(f"{name} = {values}, but it must lie in {low:g} to {high:g}.")
    if tensor.dim() == 0:
        return tensor.view(1, 1, 1, 1)
    if tensor.shape == images.shape[:1]:
        return tensor.view(-1, 1, 1, 1)
    if tensor.shape == images.shape[:2]:
        return tensor[..., None, None]
    raise ValueError(
        f"{name} has shape {tuple(tensor.shape)}: give one number, one for each image ({len(images)},), or one for each channel of each "
        f"{tuple(images.shape[:2])}."
    )


def response(irradiance: Tensor, gamma: float | Tensor) -> Tensor:
    r"""The picture :math:`f(L) = L^{1/\gamma}` of irradiance ``(B, C, H, W)``, clamped to [0, 1] first, as a sensor saturates.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong shape, or a γ (one, or one for each image) outside 1 to 4; 2.2 is common.
    """
    require_images(irradiance, "irradiance")
    return irradiance.clamp(0, 1) ** (1 / _per_image(gamma, irradiance, "gamma", 1, 4))


def irradiance(picture: Tensor, gamma: float | Tensor) -> Tensor:
    r"""The inverse of :func:`response`, :math:`f^{-1}(y) = y^{\gamma}`; shapes, arguments and errors as there."""
    require_images(picture, "pictures")
    return picture.clamp(0, 1) ** _per_image(gamma, picture, "gamma", 1, 4)


def noise_level(irradiance: Tensor, sigma_s: float | Tensor, sigma_c: float | Tensor) -> Tensor:
    r"""Standard deviation of the sensor's noise, :math:`\sigma(L) = \sqrt{\sigma_s^2 L + \sigma_c^2}`, in the shape of ``irradiance``.

    Photons arrive by chance: their number has a variance in proportion to its mean (*shot noise*, :math:`\sigma_s`). The
    electronics add noise of their own (*read noise*, :math:`\sigma_c`). Both parameters are standard deviations, the
    one at L = 1, the other everywhere. The sources of the course do not agree whether CBDNet means variances or deviations by
    them; this is the form that makes both its ranges, up to 0.16 and 0.06, plausible.

    Args:
        irradiance: ``(B, C, H, W)`` in [0, 1].
        sigma_s, sigma_c: one number, one for each image ``(B,)``, or one for each channel of each ``(B, C)``, in [0, 1].

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong shape, or a σ outside [0, 1].
    """
    require_images(irradiance, "irradiance")
    shot, read = (_per_image(v, irradiance, n, 0, 1) for v, n in ((sigma_s, "sigma_s"), (sigma_c, "sigma_c")))
    return (shot.square() * irradiance.clamp(min=0) + read.square()).sqrt()


def poisson_gaussian(
    irradiance: Tensor, sigma_s: float | Tensor, sigma_c: float | Tensor, generator: torch.Generator
) -> Tensor:
    r"""Irradiance with the noise of a sensor: :math:`L + \sigma(L)\,\varepsilon` with :math:`\varepsilon \sim \mathcal N(0, 1)`.

    The Poisson part is taken as a normal distribution of the same variance, as CBDNet does; they differ where few photons arrive.
    Not clipped. Arguments and errors as :func:`noise_level`; ``generator`` lives on the device of ``irradiance``, and ``TypeError``
    says where it is none.
    """
    checks.generator(generator)
    level = noise_level(irradiance, sigma_s, sigma_c)
    return irradiance + level * torch.randn(
        irradiance.shape, generator=generator, device=irradiance.device, dtype=irradiance.dtype
    )


def bayer(height: int, width: int, pattern: str, device: torch.device | str = "cpu") -> Tensor:
    """Which colour each pixel of the sensor measures: booleans ``(1, 3, height, width)``, one true in each pixel.

    Raises:
        ValueError: for an unknown pattern.
    """
    if pattern not in PATTERNS:
        raise ValueError(f'pattern = "{pattern}", but it must be one of {", ".join(PATTERNS)}.')
    block = torch.tensor([[color == "RGB".index(letter) for letter in pattern] for color in range(3)], device=device).view(3, 2, 2)
    return block.repeat(1, (height + 1) // 2, (width + 1) // 2)[None, :, :height, :width]


def mosaic(colors: Tensor, pattern: str) -> Tensor:
    """What a sensor behind a Bayer mosaic measures of ``(B, 3, H, W)``: ``(B, 1, H, W)``.

    Raises:
        TypeError: for integer images.
        ValueError: for images that are not colour, or an unknown pattern.
    """
    require_images(colors, "colour images")
    if colors.shape[1] != 3:
        raise ValueError(f"images have {colors.shape[1]} channels, but a mosaic samples 3 (red, green, blue).")
    return (colors * bayer(*colors.shape[-2:], pattern, colors.device)).sum(1, keepdim=True)


def demosaic(measured: Tensor, pattern: str) -> Tensor:
    """The missing two colours of every pixel by bilinear interpolation: ``(B, 1, H, W)`` to ``(B, 3, H, W)``.

    Each missing value is the mean of its measured neighbours: the two or four nearest of that colour; at the border those there are.

    Raises:
        TypeError: for integer images.
        ValueError: for more than one channel, less than 2×2 pixels, or an unknown pattern.
    """
    require_images(measured, "measured images")
    if measured.shape[1] != 1:
        raise ValueError(f"measured images have {measured.shape[1]} channels, but the mosaic of a sensor has 1.")
    if min(measured.shape[-2:]) < 2:
        raise ValueError(f"measured images have {measured.shape[-2]}×{measured.shape[-1]} pixels, but the mosaic's block has 2×2.")
    mask = bayer(*measured.shape[-2:], pattern, measured.device).to(measured.dtype)
    square = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=measured.dtype, device=measured.device)
    cross = torch.tensor([[0.0, 1, 0], [1, 4, 1], [0, 1, 0]], dtype=measured.dtype, device=measured.device)
    kernels = torch.stack([square, cross, square])[:, None]  # green has twice as many pixels, and nearer ones
    known, weight = (F.conv2d(images, kernels, padding=1, groups=3) for images in (measured * mask, mask))
    return torch.where(mask.bool(), measured, known / weight)


def photograph(
    picture: Tensor,
    sigma_s: float | Tensor,
    sigma_c: float | Tensor,
    generator: torch.Generator,
    *,
    gamma: float | Tensor = 2.2,
    pattern: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The same scene taken again by a camera with noise: (noisy picture, σ(L) of its irradiance),
    each ``(B, C, H, W)``.

    JPEG compression, where it is wanted, comes after it: :func:`course_lib.noise.jpeg`.

    Args:
        picture: clean ``(B, C, H, W)`` in [0, 1], gray or colour.
        sigma_s, sigma_c: see :func:`noise_level`.
        generator: the source of the draws, on the device of ``picture``.
        gamma: of the response curve.
        pattern: of the Bayer mosaic; None for a sensor that measures every colour in every pixel.
            Green and the others are then interpolated from noisy neighbours, which makes the noise
            correlated.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong shape, a parameter out of range, or a mosaic for images that are not
            colour.
    """
    light = irradiance(picture, gamma)
    noisy = poisson_gaussian(light, sigma_s, sigma_c, generator)
    if pattern is not None:
        noisy = demosaic(mosaic(noisy, pattern), pattern)
    return response(noisy, gamma), noise_level(light, sigma_s, sigma_c)
