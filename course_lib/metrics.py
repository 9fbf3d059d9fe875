"""Figures of merit, one value for each image; whoever reports a data set averages them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from course_lib.noise import require_images

Protocol = Literal["quantised", "clamped", "raw"]


def _require_pair(estimate: Tensor, clean: Tensor) -> None:
    """Raise unless both are floating-point images of one shape."""
    require_images(estimate, "estimates")
    require_images(clean, "clean images")
    if estimate.shape != clean.shape:
        raise ValueError(f"estimates {tuple(estimate.shape)} and clean images {tuple(clean.shape)} differ in shape.")


def psnr(estimate: Tensor, clean: Tensor, *, protocol: Protocol) -> Tensor:
    r"""Peak signal-to-noise ratio, :math:`10\log_{10}\bigl(1 / \mathrm{mean}\bigl((\hat y - y)^2\bigr)\bigr)` in dB.

    Args:
        estimate: images ``(B, C, H, W)``, floating point, nominally in [0, 1].
        clean: the true images, in the same shape.
        protocol: what happens to the estimate first, since published figures differ in it. ``"quantised"``: clamped to
            [0, 1] and rounded to 8 bit (DnCNN, FFDNet, Noise2Noise); ``"clamped"``: clamped only; ``"raw"``: nothing
            (Noise2Void). No border is left out.

    Returns:
        ``(B,)`` float32; infinite where estimate and truth are equal. The figure of a data set is the mean of these,
        which is not the PSNR of the mean squared error over all its pixels.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong or differing shape, or an unknown protocol.
    """
    _require_pair(estimate, clean)
    estimate, clean = estimate.float(), clean.float()
    if protocol in ("quantised", "clamped"):
        estimate = estimate.clamp(0, 1)
    elif protocol != "raw":
        raise ValueError(f'unknown PSNR protocol "{protocol}": use "quantised", "clamped" or "raw".')
    if protocol == "quantised":
        estimate = (estimate * 255).round() / 255
    return -10 * torch.log10((estimate - clean).square().mean(dim=(1, 2, 3)))


def ssim(estimate: Tensor, clean: Tensor) -> Tensor:
    """Structural similarity with the Gaussian window of Wang et al. (2004), σ = 1.5 pixels, by scikit-image.

    Args:
        estimate: images ``(B, C, H, W)``, floating point; clamped to [0, 1] first.
        clean: the true images, in the same shape.

    Returns:
        ``(B,)`` float32, 1 for equal images.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong or differing shape, or images smaller than the window of 11×11 pixels.
    """
    from skimage.metrics import structural_similarity

    _require_pair(estimate, clean)
    if min(clean.shape[-2:]) < 11:
        raise ValueError(f"images are {clean.shape[-2]}×{clean.shape[-1]}, smaller than the 11×11 window of SSIM.")
    values = [
        structural_similarity(
            e, c, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for e, c in zip(estimate.float().clamp(0, 1).cpu().numpy(), clean.float().cpu().numpy(), strict=True)
    ]
    return torch.tensor(values, dtype=torch.float32)
