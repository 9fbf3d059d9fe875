"""How the denoisers of this part are measured: the same noisy images for all, one PSNR for each image."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.batches import to_float
from course_lib.noise import Denoiser, test_noise


@torch.inference_mode()
def psnr_per_image(
    denoiser: Denoiser,
    images: Iterable[Tensor],
    sigma: float,
    *,
    protocol: metrics.Protocol,
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
        seed: of the test noise.
        device: where the denoiser computes.
    """
    values = []
    for index, image in enumerate(images):
        clean = to_float(image)[None]
        noisy = test_noise(clean, sigma, index, seed=seed)
        denoised = denoiser(noisy.to(device), sigma).cpu()
        values.append(metrics.psnr(denoised, clean, protocol=protocol).item())
    return values
