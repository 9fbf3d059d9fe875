"""How the denoisers of this part are measured: the same noisy images for all, one PSNR for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from course_lib import metrics, noise, rng
from course_lib.batches import to_float

Denoiser = Callable[[Tensor, float], Tensor]
"""``denoiser(noisy, sigma) -> denoised``: images ``(B, C, H, W)`` and σ, both on the [0, 1] scale."""


def test_noise(clean: Tensor, sigma: float, index: int = 0, *, seed: int = 0) -> Tensor:
    """The noisy version of test image number ``index``: drawn on the CPU, so that every device gets the same one.

    Args:
        clean: ``(1, C, H, W)`` floating point in [0, 1].
        sigma: standard deviation on the [0, 1] scale. The same ``seed`` and ``index`` give the same noise pattern at
            every σ, only stronger.
        index: number of the image in its data set; no two images share their noise.
        seed: another one gives other noise.
    """
    return noise.gaussian(clean, sigma, rng.generator(seed, index, 0, "test noise"), clip=False)


test_noise.__test__ = False  # a function of the library, not a test for pytest to collect


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
        denoiser: see :data:`Denoiser`.
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
