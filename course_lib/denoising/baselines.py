"""Denoisers without a network, by scikit-image: what a trained one has to beat.

Each has one strength, proportional to σ. :func:`tuned` chooses the factor on training photographs, so that the
comparison is with the best that the method can do, not with its defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from course_lib import checks
from course_lib.batches import require_eight_bit
from course_lib.denoising import evaluation
from course_lib.noise import require_sigma


def _each(noisy: Tensor, sigma: float, factor: float, function) -> Tensor:
    """Apply a NumPy function on ``(H, W)`` to every channel of every image; the images themselves where σ is 0.

    Errors: ``TypeError`` for integer images or a σ or factor that is no number, ``ValueError`` for wrong shapes or values.
    """
    checks.require_images(noisy, "noisy images", wait=True)
    require_sigma(sigma)
    checks.number(sigma, "sigma")
    checks.number(factor, "factor", 0, inside=True)
    if sigma == 0:
        return noisy
    exact = noisy if noisy.dtype == torch.float64 else noisy.float()  # NumPy has no bfloat16
    planes = [torch.from_numpy(function(plane)) for image in exact.cpu().numpy() for plane in image]
    return torch.stack(planes).view(noisy.shape).to(noisy)


def non_local_means(noisy: Tensor, sigma: float, *, factor: float = 0.8, patch_size: int = 5) -> Tensor:
    """Buades et al. (2005): an average over the pixels whose surroundings look alike, with cut-off h = factor · σ.

    Images ``(B, C, H, W)``, σ on the [0, 1] scale; the surroundings are ``patch_size`` pixels a side.

    Raises:
        TypeError: for integer images, a σ or factor that is no number, or a patch size that is no integer.
        ValueError: for a wrong shape or scale, a σ outside [0, 2], a factor that is not positive, or a patch size below 1.
    """
    from skimage.restoration import denoise_nl_means

    size = checks.whole(patch_size, "patch_size", 1)
    return _each(noisy, sigma, factor, lambda plane: denoise_nl_means(
        plane, patch_size=size, patch_distance=7, h=factor * sigma, sigma=sigma, fast_mode=True
    ))  # fmt: skip


def total_variation(noisy: Tensor, sigma: float, *, factor: float = 1.0) -> Tensor:
    """Rudin, Osher and Fatemi (1992) by Chambolle's algorithm, with weight factor · σ. Shapes, arguments and errors as above."""
    from skimage.restoration import denoise_tv_chambolle

    return _each(noisy, sigma, factor, lambda plane: denoise_tv_chambolle(plane, weight=factor * sigma))


def wavelet(noisy: Tensor, sigma: float, *, factor: float = 1.0) -> Tensor:
    """Wavelet shrinkage with BayesShrink thresholds (Chang et al., 2000) for noise of factor · σ. Shapes, arguments and errors as above."""
    from skimage.restoration import denoise_wavelet

    return _each(noisy, sigma, factor, lambda plane: denoise_wavelet(
        plane, sigma=factor * sigma, method="BayesShrink", mode="soft", rescale_sigma=True
    ))  # fmt: skip


METHODS = {
    "non-local means": (non_local_means, (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
    "total variation": (total_variation, (0.3, 0.45, 0.6, 0.75, 0.9, 1.2)),
    "wavelet": (wavelet, (0.65, 0.8, 0.95, 1.1, 1.25)),
}
"""Name -> function, and the factors that :func:`tuned` tries."""


def tuned(images: Iterable[Tensor], sigma: float, names: Sequence[str] = tuple(METHODS)) -> dict[str, partial]:
    """Each of the named methods with the factor that gives the highest mean PSNR on ``images`` (uint8 ``(C, H, W)``) at ``sigma``.

    The result's values are denoisers, ``denoiser(noisy, sigma)``; ``.keywords["factor"]`` is what was chosen.

    Raises:
        ValueError: for no images, or an unknown name.
    """
    images = require_eight_bit(images)
    if not images:
        raise ValueError("there are no images to tune on.")
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ValueError(f'unknown method "{unknown[0]}"; there are {", ".join(METHODS)}.')
    chosen = {}
    for name in names:
        method, factors = METHODS[name]
        tried = [partial(method, factor=factor) for factor in factors]
        scores = [sum(evaluation.psnr_per_image(one, images, sigma, protocol="quantised")) for one in tried]
        chosen[name] = tried[scores.index(max(scores))]
    return chosen
