"""Noise and other degradations of clean images ``(B, C, H, W)`` in [0, 1], and how the strength of noise is written.

``sigma`` is always a standard deviation on the [0, 1] scale of the images. People read and write it on the 0–255 scale
of the denoising literature; :func:`from_255` is the one place where the one becomes the other.
"""

from __future__ import annotations

import io
import math
import numbers
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks, rng
from course_lib.batches import to_float, to_uint8
from course_lib.checks import LARGEST_SIGMA, require_images

LARGEST_PEAK = 2.0**24
"""Photons of the brightest pixel. float32 does not count any further, and their noise would be a fiftieth of a gray level."""

Denoiser = Callable[[Tensor, float], Tensor]
"""A function ``denoiser(noisy, sigma) -> denoised`` of images ``(B, C, H, W)`` and σ, both on the [0, 1] scale."""


def from_255(sigma_255: float | Tensor) -> float | Tensor:
    """σ on the 0–255 scale of papers, sliders, tables and command lines, as σ on the [0, 1] scale of the images.

    A float for a number; for a tensor of any shape, such as one σ for each image ``(B,)``, a tensor.

    Raises:
        TypeError: for anything but a number or a tensor of numbers.
        ValueError: for a negative one, NaN, or one above 510, twice the range of the image (in a tensor on a GPU they are not looked at).

    Example:
        >>> round(from_255(25), 4)
        0.098
    """
    if isinstance(sigma_255, Tensor) and sigma_255.dim():
        sigma = checks.tensor(sigma_255, "sigma_255", finite=False) / 255
        require_sigma(sigma)
        return sigma
    return checks.number(sigma_255, "sigma_255", 0, 255 * LARGEST_SIGMA) / 255


def require_sigma(sigma: float | Tensor) -> None:
    """Raise ``ValueError`` unless every σ lies in [0, 2], and ``TypeError`` unless it is a number or a tensor of any shape.

    A tensor on a GPU is not looked at: that would make the GPU wait in every training step.
    """
    if isinstance(sigma, Tensor):
        if sigma.device.type != "cpu" or sigma.numel() == 0:
            return
        low, high = sigma.min().item(), sigma.max().item()
    elif isinstance(sigma, numbers.Real):
        low = high = float(sigma)
    else:
        raise TypeError(f"sigma is {type(sigma).__name__}, but a number on the [0, 1] scale or a torch tensor is expected.")
    if math.isnan(low) or math.isnan(high) or low < 0:
        raise ValueError(f"sigma = {low:g}: a standard deviation cannot be negative or NaN.")
    if high > LARGEST_SIGMA:
        raise ValueError(
            f"sigma = {high:g} is more than {LARGEST_SIGMA:g} times the range of the image. sigma is on the [0, 1] scale: "
            f"for σ = {high:g} on the 0–255 scale write sigma={high:g} / 255, or noise.from_255({high:g})."
        )


def as_map(sigma: float | Tensor, images: Tensor) -> Tensor | float:
    """``sigma`` in a shape that multiplies ``images`` (B, C, H, W): a float, ``(B, 1, 1, 1)`` or ``(B, 1, H, W)``.

    Args:
        sigma: one σ (a float or a tensor without axes), one for each image ``(B,)``, or a noise-level map
            ``(1 or B, 1, H, W)``.
        images: the images that it belongs to.

    Raises:
        ValueError: for a negative σ, one above 2 (the 0–255 scale was meant), or a shape that does not fit.
    """
    require_sigma(sigma)
    if not isinstance(sigma, Tensor):
        return float(sigma)
    sigma = sigma.to(images.dtype)
    if sigma.dim() == 0:
        return sigma
    batch, _, height, width = images.shape
    if sigma.shape == (batch,):
        return sigma.view(batch, 1, 1, 1)
    if sigma.dim() == 4 and sigma.shape[0] in (1, batch) and sigma.shape[1:] == (1, height, width):
        return sigma
    raise ValueError(
        f"sigma has shape {tuple(sigma.shape)}, which does not fit images of shape {tuple(images.shape)}: give a float, "
        f"one value for each image ({batch},), or a map ({'1' if batch == 1 else f'1 or {batch}'}, 1, {height}, {width})."
    )


def gaussian(clean: Tensor, sigma: float | Tensor, generator: torch.Generator, *, clip: bool) -> Tensor:
    r"""White Gaussian noise, :math:`z = y + \sigma\,\varepsilon` with :math:`\varepsilon \sim \mathcal N(0, 1)` per pixel.

    Args:
        clean: images ``(B, C, H, W)``, floating point, in [0, 1].
        sigma: standard deviation on the [0, 1] scale: a float, one for each image ``(B,)``, or a map
            ``(1 or B, 1, H, W)``.
        generator: the source of the draws, on the device of ``clean``.
        clip: clamp the result to [0, 1]? Clipped noise depends on the signal and no longer has zero mean near 0 and 1.
            DnCNN, FFDNet, Noise2Noise and Noise2Void do not clip.

    Returns:
        The noisy images, in the shape and type of ``clean``.

    Raises:
        TypeError: for integer images, or no generator.
        ValueError: for a wrong shape, a negative σ, or a σ above 2.
    """
    checks.generator(generator)
    require_images(clean, "clean images")
    scale = as_map(sigma, clean)
    epsilon = torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
    noisy = clean + scale * epsilon
    return noisy.clamp(0, 1) if clip else noisy


def poisson(clean: Tensor, peak: float, generator: torch.Generator) -> Tensor:
    r"""Photon noise, :math:`z = \mathrm{Poisson}(c\,y) / c`, where the brightest pixel of each image expects ``peak`` photons.

    Its variance, :math:`y / c`, grows with the signal; its mean is y. The factor c is ``peak`` over the image's own maximum.

    Args:
        clean: images ``(B, C, H, W)``, floating point, in [0, 1].
        peak: number of photons, above 0; the fewer, the stronger the noise.
        generator: the source of the draws, on the device of ``clean``.

    Returns:
        The noisy images, in the shape and type of ``clean``; black images stay black.

    Raises:
        TypeError: for integer images, or no generator.
        ValueError: for a wrong shape, negative intensities, or a peak that is not positive, or above ``LARGEST_PEAK``.
    """
    checks.generator(generator)
    require_images(clean, "clean images")
    checks.number(peak, "peak", 0, LARGEST_PEAK, inside=True)
    if clean.device.type == "cpu" and bool((clean < 0).any()):
        raise ValueError("clean images have negative intensities: no number of photons is negative.")
    light = clean if clean.dtype == torch.float64 else clean.float()  # 16 bits cannot count
    per_photon = light.amax((1, 2, 3), keepdim=True) / peak
    counts = torch.poisson(light / per_photon.clamp(min=torch.finfo(light.dtype).tiny), generator=generator)
    return (counts * per_photon).to(clean.dtype)


def uniform_sigma(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    """One σ for each image, ``(count,)``, uniform in [low, high], on the generator's device: how a *blind* net is trained.

    Raises:
        TypeError: for no generator.
        ValueError: if not 0 ≤ low ≤ high ≤ 2.
    """
    checks.generator(generator)
    require_sigma(low)
    require_sigma(high)
    count = checks.whole(count, "count", 0, 2**31)
    if low > high:
        raise ValueError(f"the range of sigma is ({low:g}, {high:g}): its lower end is above its upper end.")
    return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)


def test_noise(clean: Tensor, sigma: float, index: int = 0, *, seed: int = 0) -> Tensor:
    """The noisy version of test image number ``index``: drawn on the CPU, so that every device gets the same one.

    Args:
        clean: ``(1, C, H, W)`` floating point in [0, 1].
        sigma: standard deviation on the [0, 1] scale. The same ``seed`` and ``index`` give the same noise pattern at
            every σ, only stronger.
        index: number of the image in its data set; no two images share their noise.
        seed: another one gives other noise.
    """
    return gaussian(clean, sigma, rng.generator(seed, index, 0, "test noise"), clip=False)


test_noise.__test__ = False  # a function of the library, not a test for pytest to collect


def bicubic(clean: Tensor, scale: int) -> Tensor:
    r"""Low resolution at the old size: shrunk to 1/``scale`` of each side, rounded to 8 bit, and enlarged again.

    Both ways by bicubic interpolation with Keys' kernel (a = −1/2), stretched by ``scale`` on the way down so that nothing
    aliases: MATLAB's ``imresize``, as the literature on super-resolution uses it, except that at the border the weights
    are normalised where MATLAB mirrors the image.

    Args:
        clean: images ``(B, C, H, W)``, floating point, in [0, 1]; H and W are multiples of ``scale``.
        scale: 2, 3, …

    Returns:
        The blurred images in the shape of ``clean``, float32; they may leave [0, 1] a little at sharp edges.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong shape, or a scale that is no integer of at least 2 or does not divide the sides.
    """
    require_images(clean, "clean images")
    if isinstance(scale, bool) or not isinstance(scale, numbers.Integral) or scale < 2:
        raise ValueError(f"scale = {scale!r}, but it must be an integer of at least 2: by how much the sides become smaller.")
    height, width = clean.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(
            f"images of {height}×{width} pixels cannot be shrunk by scale = {scale}: cut them to multiples of it first, here "
            f"to {height - height % scale}×{width - width % scale}."
        )
    small = F.interpolate(clean.float(), size=(height // scale, width // scale), mode="bicubic", antialias=True)
    return F.interpolate(to_float(to_uint8(small)), size=(height, width), mode="bicubic", antialias=True)


def jpeg(clean: Tensor, quality: int | Sequence[int]) -> Tensor:
    """JPEG-compressed and decoded, by Pillow (on the CPU, wherever the images are).

    Args:
        clean: images ``(B, C, H, W)``, gray or colour, floating point, in [0, 1].
        quality: 1 (small and ugly) to 100, for all images or one for each.

    Returns:
        The decoded images in the shape of ``clean``, float32.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong shape, images that are neither gray nor colour, or a quality that is no whole number in 1 to 100.
    """
    from PIL import Image

    require_images(clean, "clean images")
    if clean.shape[1] not in (1, 3):
        raise ValueError(f"images have {clean.shape[1]} channels, but JPEG takes 1 (gray) or 3 (colour).")
    several = getattr(quality, "ndim", 0) == 1 or isinstance(quality, list | tuple)
    qualities = [checks.whole(q, "quality", 1, 100) for q in (quality if several else [quality] * len(clean))]
    if len(qualities) != len(clean):
        raise ValueError(f"quality = {quality}: give a number from 1 to 100, or one for each of the {len(clean)} images.")
    decoded = np.empty((len(clean), *clean.shape[2:], clean.shape[1]), dtype=np.uint8)
    for i, pixels in enumerate(to_uint8(clean).permute(0, 2, 3, 1).cpu().numpy()):
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=qualities[i])
        decoded[i] = np.asarray(Image.open(file)).reshape(pixels.shape)
    return to_float(torch.from_numpy(decoded).permute(0, 3, 1, 2)).to(clean.device)
