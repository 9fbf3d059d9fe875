r"""BF-CNN: DnCNN without a single additive constant, so that it scales with its input.

Idea. Every bias of a convolution and of batch normalisation is taken away. What is left is piecewise linear without an
offset, :math:`f(z) = A_z z`, where :math:`A_z` is the Jacobian at z, and therefore *homogeneous*:
:math:`f(\alpha z) = \alpha f(z)` for :math:`\alpha > 0`. A network that was trained for σ in [0, 30] meets σ = 60 as an
image of twice the strength, and is not lost there, as DnCNN is. A row of :math:`A_z` is the filter by which one pixel of the
result was averaged from the noisy image; one can look at it.

Batch normalisation keeps the division by the standard deviation and the factor γ, and loses the subtraction of the mean and
β. In training it divides by the deviation of the current batch, which scales with the input: the network is homogeneous in
evaluation mode only. Nor may its input be shifted by a constant.

Batches, loss and step are those of DnCNN, with σ uniform over a range.

Source: S. Mohan, Z. Kadkhodaie, E. P. Simoncelli, C. Fernandez-Granda, *Robust and Interpretable Blind Image Denoising via
Bias-Free Convolutional Neural Networks*, ICLR 2020, arXiv:1906.05478.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib import checks, devices, rng
from course_lib.denoising import common, dncnn
from course_lib.denoising.dncnn import batch, prepare, step

__all__ = ["BFCNN", "BiasFreeNorm", "Settings", "batch", "evaluate", "filter_at", "folded", "homogeneity_gap", "prepare", "step"]


@dataclass(frozen=True, kw_only=True)
class Settings(dncnn.Settings):
    """BF-CNN as published: the blind DnCNN's depth and patches; the paper trains σ in 0–10, 0–30, 0–55 and 0–100."""

    depth: int = 20
    patch_size: int = 50
    sigma_255: tuple[float, float] = (0.0, 55.0)
    steps: int = 165_600  # × 128 patches: as many as 100 epochs of 212,000
    final_learning_rate: float = 1e-3 / 64  # halved six times in the paper, at epochs 50, 60, …, 100
    schedule: str = "exponential"


class BiasFreeNorm(nn.Module):
    r""":math:`\gamma\, x / (s + \epsilon)`, with s the standard deviation of each channel about its
    mean: nothing is added.

    In evaluation mode s is the root of a running mean of the variance.

    Args:
        width: number of channels.
    """

    def __init__(self, width: int, *, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.register_buffer("running_var", torch.ones(width))
        self.eps, self.momentum = eps, momentum

    def scale(self, variance: Tensor) -> Tensor:
        """By what each channel is multiplied at this variance: ``(width,)``."""
        return self.weight / (variance.sqrt() + self.eps)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, width, H, W)`` to the same shape."""
        variance = self.running_var
        if self.training:
            variance = images.float().var(dim=(0, 2, 3), unbiased=False)
            with torch.no_grad():
                self.running_var.lerp_(variance.detach(), self.momentum)
        return images * self.scale(variance).view(1, -1, 1, 1).to(images.dtype)


class BFCNN(nn.Module):
    """DnCNN's layers without biases and with :class:`BiasFreeNorm`; ``forward`` returns the **residual**.

    Args:
        settings: ``depth``, ``width``, ``channels``, ``batch_norm``, ``zero_last`` and ``centred`` are used.
        seed: of the initial weights, see :func:`course_lib.denoising.dncnn.initialise`.
    """

    def __init__(self, settings: dncnn.Settings, *, seed: int = 0):
        super().__init__()
        width, channels = settings.width, settings.channels
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
        ]
        for _ in range(settings.depth - 2):
            layers.append(nn.Conv2d(width, width, 3, padding=1, bias=False))
            if settings.batch_norm:
                layers.append(BiasFreeNorm(width))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(width, channels, 3, padding=1, bias=False))
        self.layers = nn.Sequential(*layers)
        self.channels = channels

        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                dncnn.initialise(layer.weight, settings, generator)
        if settings.zero_last:
            nn.init.zeros_(self.layers[-1].weight)

    def forward(self, noisy: Tensor) -> Tensor:
        """Estimate of the noise in ``noisy`` (B, C, H, W), in the same shape, float32 whatever autocast does."""
        return self.layers(noisy).float()

    def denoise(self, noisy: Tensor, sigma: float | None = None) -> Tensor:
        """The clean estimate z − R(z) ``(B, C, H, W)``, of any height and width, on the device of ``noisy``; σ is not used.

        Raises:
            TypeError, ValueError, RuntimeError: see :func:`course_lib.denoising.common.require_input`.
        """
        return common.without_residual(self, noisy)


def evaluate(
    model: BFCNN, images: Iterable[Tensor], sigma_255: float, *, indices: Sequence[int] | None = None, seed: int = 0
) -> list[float]:
    """PSNR in dB of each image, by this paper's protocol: whole images, unclipped noise, output clamped but not rounded.

    Args:
        model: in evaluation mode.
        images: uint8 ``(C, H, W)``.
        sigma_255: noise on the 0–255 scale.
        indices: numbers of the images to measure, None for all.
        seed: of the test noise.

    Raises:
        TypeError, ValueError: for another network, and as :func:`course_lib.denoising.evaluation.psnr_per_image`.
    """
    return common.psnr(model, folded, images, sigma_255, protocol="clamped", indices=indices, seed=seed)


def folded(model: BFCNN) -> BFCNN:
    """The same function without normalisation: its factors moved into the convolutions before it. A new network.

    Raises:
        TypeError: for another network, such as a DnCNN, whose biases would be lost.
    """
    common.require_network(model, BFCNN)
    convolutions = [layer for layer in model.layers if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in model.layers if isinstance(layer, BiasFreeNorm)]
    width = convolutions[0].out_channels
    plain = BFCNN(Settings(depth=len(convolutions), width=width, channels=model.channels, batch_norm=False))
    targets = [layer for layer in plain.layers if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for target, source in zip(targets, convolutions, strict=True):
            target.weight.copy_(source.weight)
        for target, norm in zip(targets[1:-1], norms, strict=bool(norms)):
            target.weight.mul_(norm.scale(norm.running_var).view(-1, 1, 1, 1).to(target.weight.device))
    return plain.to(memory_format=devices.memory_format(devices.default())).eval()


def filter_at(model: nn.Module, noisy: Tensor, row: int, column: int) -> Tensor:
    r"""The row of the Jacobian :math:`A_z` that belongs to one pixel: how the denoised pixel was
    averaged from the noisy image.

    Args:
        model: a network whose ``forward`` returns the residual, in evaluation mode.
        noisy: one gray image ``(1, 1, H, W)``.
        row, column: the pixel.

    Returns:
        ``(H, W)``. For a bias-free network the sum of its product with ``noisy`` is the denoised
        pixel.

    Raises:
        TypeError: for integer images.
        ValueError: for more than one gray image, or a pixel outside of it.
    """
    checks.require_images(noisy, "noisy")
    row, column = checks.whole(row, "row"), checks.whole(column, "column")
    if noisy.shape[:2] != (1, 1) or not (
        0 <= row < noisy.shape[2] and 0 <= column < noisy.shape[3]
    ):
        raise ValueError(
            f"noisy is {tuple(noisy.shape)}, the pixel ({row}, {column}): one gray image "
            "(1, 1, H, W) and a pixel of it are needed."
        )
    image = noisy.detach().to(next(model.parameters()), copy=True).requires_grad_()
    (image - model(image))[0, 0, row, column].backward()
    return image.grad[0, 0]


def homogeneity_gap(model: nn.Module, noisy: Tensor, alpha: float) -> float:
    r"""Largest :math:`|f(\alpha z) - \alpha f(z)| / \alpha` over the pixels of images z ``(B, C, H, W)``:
    0 but for rounding if f is homogeneous.

    Args:
        model: a network whose ``forward`` returns the residual, in evaluation mode.
        noisy: z, in [0, 1].
        alpha: α.

    Raises:
        TypeError: for integer images.
        ValueError: for α ≤ 0: a rectifier network scales with positive factors only.
    """
    common.require_input(model, noisy)
    checks.number(alpha, "alpha, since a rectifier network scales with positive factors only,", 0, inside=True)
    images = noisy.to(next(model.parameters()))

    @torch.no_grad()
    def f(z: Tensor) -> Tensor:
        return z - model(z)

    return ((f(alpha * images) - alpha * f(images)).abs().max() / alpha).item()
