r"""What the centre pixel is worth: the posterior of a blind-spot network that tells a mean and a covariance.

The network sees the surroundings of a pixel and says what it should be: :math:`\mathcal N(\mu, \Sigma_x)`, over the C channels. The
noisy pixel z adds noise of known σ, so that :math:`z \sim \mathcal N(\mu, \Sigma_x + \sigma^2 I)`, and the network learns from noisy
images alone by the negative logarithm of that likelihood,

.. math:: \tfrac12 (z - \mu)^\top \Sigma_y^{-1} (z - \mu) + \tfrac12 \log\det \Sigma_y , \qquad \Sigma_y = \Sigma_x + \sigma^2 I .

At the test the pixel, which the network never saw, is weighed against the prior by Bayes' rule,

.. math:: \hat y = (\Sigma_x^{-1} + \sigma^{-2} I)^{-1} (\Sigma_x^{-1} \mu + \sigma^{-2} z) ,

which for one channel is :math:`(z\,\sigma_x^2 + \mu\,\sigma^2) / (\sigma_x^2 + \sigma^2)`. The covariance is :math:`A^\top A` with a
triangular A, so that whatever the network says is one. The small matrices are computed in double precision.

Source: S. Laine, T. Karras, J. Lehtinen, T. Aila, *High-Quality Self-Supervised Deep Image Denoising*, NeurIPS 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib import checks
from course_lib.noise import require_sigma

SMALLEST = 0.1 / 255
"""Below this σ nothing is weighed. Noise that faint is taken for none."""


def outputs(channels: int) -> int:
    """How many channels a network needs for images of ``channels``: C means and C (C + 1) / 2 entries of A; 2 in gray, 9 in colour."""
    return channels + channels * (channels + 1) // 2


def split(told: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Mean ``(B, H, W, C)`` and covariance ``(B, H, W, C, C)`` of every pixel, double precision, of outputs ``(B, outputs(C), H, W)``.

    Raises:
        ValueError: for another number of outputs.
    """
    if told.dim() != 4 or told.shape[1] != outputs(channels):
        raise ValueError(f"outputs have shape {tuple(told.shape)}, but (B, {outputs(channels)}, H, W) is expected for {channels} channels.")
    values = told.double().permute(0, 2, 3, 1)
    rows, columns = torch.triu_indices(channels, channels, device=told.device)
    triangle = values.new_zeros(*values.shape[:3], channels, channels)
    triangle[..., rows, columns] = values[..., channels:]
    return values[..., :channels], triangle.transpose(3, 4) @ triangle


def _both(told: Tensor, noisy: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, Σ_x, Σ_y and noisy pixel with the channels last."""
    require_sigma(sigma)
    checks.tensor(noisy, "noisy images", ("B", "C", "H", "W"), of="floating", finite=False)
    if (len(told), *told.shape[2:]) != (len(noisy), *noisy.shape[2:]):
        raise ValueError(f"outputs {tuple(told.shape)} are not of noisy images {tuple(noisy.shape)}: batch, height and width differ.")
    if sigma < SMALLEST:
        raise ValueError(f"sigma = {sigma:g}: the posterior weighs the pixel by its noise, which must be at least {SMALLEST:.1g}.")
    mean, prior = split(told, noisy.shape[1])
    noise = sigma**2 * torch.eye(noisy.shape[1], dtype=prior.dtype, device=prior.device)
    return mean, prior, prior + noise, noisy.double().permute(0, 2, 3, 1)


def loss(told: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    """The negative log-likelihood of the noisy pixels, without its constant, averaged over pixels: a scalar.

    Args:
        told: outputs of a blind-spot network ``(B, outputs(C), H, W)``.
        noisy: the image ``(B, C, H, W)`` that it saw.
        sigma: of the noise, on the [0, 1] scale.

    Raises:
        TypeError: for integer images.
        ValueError: for another number of outputs, outputs of other images, or a σ that makes no sense or is almost 0.
    """
    mean, _, total, pixel = _both(told, noisy, sigma)
    factor = torch.linalg.cholesky(total)
    whitened = torch.linalg.solve_triangular(factor, (pixel - mean)[..., None], upper=False)
    log_det = 2 * factor.diagonal(dim1=3, dim2=4).log().sum(3)
    return (whitened.square().sum((3, 4)) / 2 + log_det / 2).mean()


def estimate(told: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    """The posterior mean ``(B, C, H, W)``, in the type of ``noisy``.

    Arguments and errors as :func:`loss`.

    It is computed as :math:`\\mu + \\Sigma_x \\Sigma_y^{-1} (z - \\mu)`, which is the same
    and needs no inverse of Σ_x, who may be 0.
    """
    mean, prior, total, pixel = _both(told, noisy, sigma)
    gain = prior @ torch.linalg.solve(total, (pixel - mean)[..., None])
    return (mean + gain[..., 0]).permute(0, 3, 1, 2).to(noisy.dtype)
