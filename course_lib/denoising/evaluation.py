"""How the denoisers of this part are measured: the same degraded images for all, one PSNR for each image.

Each function takes ``indices``, the numbers of the images to measure, in any order, None for all: an image's noise depends on its
number, so that measuring a few of them gives the same figures as measuring all. Each raises ``TypeError`` for images that are not
uint8 tensors, and ``ValueError`` for a number that no image has, a strength that makes no sense, or a result with NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from course_lib import camera, checks, metrics, noise, rng
from course_lib.batches import require_eight_bit, to_float
from course_lib.noise import Denoiser, test_noise


@torch.inference_mode()
def psnr_per_image(
    denoiser: Denoiser,
    images: Iterable[Tensor],
    sigma: float,
    *,
    protocol: metrics.Protocol,
    indices: Sequence[int] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[float]:
    """PSNR in dB of each denoised image, whole images in one pass, by the papers' procedure.

    Unclipped Gaussian noise is added to the 8-bit image in float32, the noise seed being fixed for each image.

    Args:
        denoiser: see :data:`course_lib.noise.Denoiser`.
        images: uint8 ``(C, H, W)``.
        sigma: noise on the [0, 1] scale.
        protocol: see :func:`course_lib.metrics.psnr`; DnCNN and FFDNet report ``"quantised"``.
        indices: numbers of the images to measure.
        seed: of the test noise.
        device: where the denoiser computes.
    """
    values = []
    for index, image in chosen(images, indices):
        clean = to_float(image)[None]
        noisy = test_noise(clean, sigma, index, seed=seed)
        denoised = denoiser(noisy.to(device), sigma).cpu()
        values.append(metrics.psnr(denoised, clean, protocol=protocol).item())
    return values


@torch.inference_mode()
def psnr_upscaled(
    restorer: Callable[[Tensor], Tensor],
    images: Iterable[Tensor],
    scale: int,
    *,
    indices: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> list[float]:
    """PSNR in dB of each image after super-resolution by ``scale``, by the procedure of the authors of DnCNN.

    The image is cut to multiples of ``scale``, shrunk in 8 bit and enlarged again by bicubic interpolation
    (:func:`course_lib.noise.bicubic`), all in colour; the restorer then gets its luma. The PSNR is that of the luma,
    raw, without a border of ``scale`` pixels.

    Args:
        restorer: blurred luma ``(1, 1, H, W)`` in [0, 1] -> restored luma.
        images: uint8 ``(C, H, W)``, colour or gray.
        scale: 2, 3 or 4 in the literature.
        indices: numbers of the images to measure.
        device: where the restorer computes.
    """
    scale, values = checks.whole(scale, "scale", 2, 100), []
    for _, image in chosen(images, indices):
        height, width = (side - side % scale for side in image.shape[-2:])
        sharp = to_float(image[:, :height, :width])[None]
        restored = restorer(luma(noise.bicubic(sharp, scale)).to(device)).cpu()
        inner = (..., slice(scale, -scale), slice(scale, -scale))
        values.append(metrics.psnr(restored[inner], luma(sharp)[inner], protocol="raw").item())
    return values


@torch.inference_mode()
def psnr_deblocked(
    restorer: Callable[[Tensor], Tensor],
    images: Iterable[Tensor],
    quality: int,
    *,
    indices: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> list[float]:
    """PSNR in dB of each image after JPEG compression of ``quality`` and restoration; the output is rounded to 8 bit.

    Args:
        restorer: decoded image ``(1, C, H, W)`` in [0, 1] -> restored image.
        images: uint8 ``(C, H, W)``.
        quality: 1 to 100.
        indices: numbers of the images to measure.
        device: where the restorer computes.
    """
    values = []
    for _, image in chosen(images, indices):
        clean = to_float(image)[None]
        restored = restorer(noise.jpeg(clean, quality).to(device)).cpu()
        values.append(metrics.psnr(restored, clean, protocol="quantised").item())
    return values


@torch.inference_mode()
def psnr_of_pairs(
    restorer: Callable[[Tensor], Tensor],
    noisy: Sequence[Tensor],
    clean: Sequence[Tensor],
    *,
    indices: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> list[float]:
    """PSNR in dB of each real photograph after restoration, against its clean counterpart; the output is rounded to 8 bit.

    Args:
        restorer: noisy image ``(1, C, H, W)`` in [0, 1] -> restored image.
        noisy, clean: uint8 ``(C, H, W)``, as many of the one as of the other.
        indices: numbers of the pairs to measure.
        device: where the restorer computes.

    Raises:
        ValueError: for another number of clean images, and as said above.
    """
    noisy, clean = require_eight_bit(noisy), require_eight_bit(clean)
    if len(noisy) != len(clean):
        raise ValueError(f"there are {len(noisy)} noisy images, but {len(clean)} clean ones.")
    values = []
    for (_, before), (_, truth) in zip(chosen(noisy, indices), chosen(clean, indices), strict=True):
        restored = restorer(to_float(before)[None].to(device)).cpu()
        values.append(metrics.psnr(restored, to_float(truth)[None], protocol="quantised").item())
    return values


@torch.inference_mode()
def psnr_of_camera(
    restorer: Callable[[Tensor], Tensor],
    images: Iterable[Tensor],
    sigma_s: float,
    sigma_c: float,
    *,
    quality: int | None = None,
    indices: Sequence[int] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[float]:
    """PSNR in dB of each image after a camera with noise took it again, and it was restored; the output is rounded to 8 bit.

    Args:
        restorer: noisy image ``(1, 3, H, W)`` -> restored image.
        images: uint8 ``(3, H, W)``.
        sigma_s, sigma_c: shot and read noise, as in :func:`course_lib.camera.noise_level`. The response curve is a power of 1/2.2,
            the mosaic RGGB.
        quality: of JPEG compression at the end, None for none.
        indices: numbers of the images to measure.
        seed: of the test noise.
        device: where the restorer computes.
    """
    values = []
    for index, image in chosen(images, indices):
        clean, draws = to_float(image)[None], rng.generator(seed, index, 0, "test noise")
        noisy, _ = camera.photograph(clean, sigma_s, sigma_c, draws, pattern=camera.PATTERNS[0])
        if quality is not None:
            noisy = noise.jpeg(noisy, quality)
        values.append(metrics.psnr(restorer(noisy.to(device)).cpu(), clean, protocol="quantised").item())
    return values


def luma(images: Tensor) -> Tensor:
    """Luma ``(B, 1, H, W)`` of colour images by ITU-R BT.601, from 16/255 (black) to 235/255 (white), as in MATLAB's ``rgb2ycbcr``.

    Gray images are returned as they are.

    Raises:
        TypeError: for integer images.
        ValueError: for images of a wrong shape or scale, or that are neither gray nor colour.
    """
    checks.require_images(images)
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise ValueError(f"images have {images.shape[1]} channels, but 1 (gray) or 3 (colour) are expected.")
    weights = torch.tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1).to(images)
    return (16 + (weights * images).sum(1, keepdim=True)) / 255


def chosen(images: Iterable[Tensor], indices: Sequence[int] | None) -> list[tuple[int, Tensor]]:
    """(number, image) of the images ``(C, H, W)`` whose numbers are asked for, in that order, None for all.

    Raises:
        TypeError, ValueError: see :func:`course_lib.batches.require_eight_bit` and :func:`course_lib.checks.indices`.
    """
    images = require_eight_bit(images)
    return [(i, images[i]) for i in checks.indices(indices, len(images))]
