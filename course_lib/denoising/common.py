"""What the denoising networks share: what they accept, and how training images become a pool of patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from course_lib import checks, metrics, noise
from course_lib.batches import ImagePool
from course_lib.data import Dataset
from course_lib.denoising import evaluation


def require_input(network: nn.Module, noisy: Tensor) -> None:
    """Raise unless ``network``, which has ``channels``, can denoise ``noisy``, images ``(B, C, H, W)``.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong number of dimensions or channels, no pixels, NaN, or images on the 0–255 scale.
        RuntimeError: in training mode, where batch normalisation would use and change the statistics of ``noisy``.
    """
    checks.require_images(noisy, "noisy images", wait=True)
    if noisy.shape[1] != network.channels:
        raise ValueError(
            f"noisy images have {noisy.shape[1]} channels, but this network was made for {network.channels} "
            f"({'gray' if network.channels == 1 else 'colour'})."
        )
    if network.training and any(name.endswith("running_var") for name, _ in network.named_buffers()):
        raise RuntimeError("the network is in training mode: call its eval() before denoise, or its batch statistics change.")


def require_network(model: nn.Module, kind: type[nn.Module]) -> None:
    """Raise ``TypeError`` unless ``model`` is a network of this method: what evaluates one knows what it is made of."""
    if not isinstance(model, kind):
        raise TypeError(
            f"the network is {checks.described(model)}, but a {kind.__name__} is expected: every network is evaluated by its own method."
        )


def require_shape(depth: int, width: int, channels: int, sigma_255: tuple[float, float], scales: tuple[float, ...]) -> None:
    """Raise ``ValueError`` for settings of a plain network, or of its training patches, that make no sense."""
    if depth < 2 or width < 1 or channels not in (1, 3):
        raise ValueError(
            f"depth = {depth}, width = {width}, channels = {channels}: the network needs depth ≥ 2, width ≥ 1, "
            "and 1 (gray) or 3 (colour) channels."
        )
    if not isinstance(sigma_255, tuple) or len(sigma_255) != 2 or not 0 <= sigma_255[0] <= sigma_255[1] <= 255:
        raise ValueError(f"sigma_255 = {sigma_255}: give a lowest and a highest σ between 0 and 255, such as 0,55.")
    if not scales or min(scales) <= 0:
        raise ValueError(f"scales = {scales}: give one or more positive factors, such as 1,0.5.")


@torch.no_grad()
def without_residual(network: nn.Module, noisy: Tensor) -> Tensor:
    """ŷ = z − R(z) ``(B, C, H, W)``, for a network whose ``forward`` returns the residual R(z); errors as :func:`require_input`.

    It computes in the precision of its weights and on their device; the estimate is on the device of ``noisy``.
    """
    require_input(network, noisy)
    return noisy - network(noisy.to(next(network.parameters(), noisy))).to(noisy.device)


def psnr(
    model: nn.Module,
    folded: Callable[[nn.Module], nn.Module],
    images: Iterable[Tensor],
    sigma_255: float,
    *,
    protocol: metrics.Protocol,
    indices: Sequence[int] | None,
    seed: int,
) -> list[float]:
    """What ``evaluate`` of a method returns: PSNR in dB of each image ``(C, H, W)`` by the folded network, on the device of ``model``."""
    plain, sigma = folded(model), noise.from_255(sigma_255)
    device = next(model.parameters()).device
    denoise = plain.to(device).denoise
    return evaluation.psnr_per_image(denoise, images, sigma, protocol=protocol, indices=indices, seed=seed, device=device)


def image_loss(denoised: Tensor, clean: Tensor) -> Tensor:
    r""":math:`\frac{1}{2N}\sum_{i=1}^N \lVert \hat y_i - y_i \rVert_F^2`, a scalar; both ``(N, C, H, W)``."""
    return (denoised - clean).square().sum() / (2 * len(denoised))


def image_step(denoised: Tensor, clean: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a denoised batch, and its PSNR in dB, of all patches together, both scalars: for networks that return the clean image."""
    error = (denoised.detach() - clean).square().mean()
    return image_loss(denoised, clean), {"psnr": -10 * torch.log10(error)}


def orthogonal(kernel: Tensor, *, centred: bool, gain: float, generator: torch.Generator) -> None:
    """Start a kernel ``(out, in, 3, 3)`` with all singular values equal to ``gain``, in place.

    Args:
        kernel: as the matrix (out × 9·in) that maps a neighbourhood to a pixel.
        centred: only the middle tap is filled, and the other eight are zero, so that a pixel stays where it is until training
            finds a reason to mix it with its neighbours: a deep network then learns much sooner (Xiao et al., 2018).
        gain: 1, or √2 where half of the signal's energy goes into a rectifier.
        generator: of the random rotation.
    """
    start = kernel.detach()
    if centred:
        start = start.zero_()[:, :, 1, 1]
    nn.init.orthogonal_(start, gain=gain, generator=generator)


def pool(images: Dataset | Iterable[Tensor], channels: int, patch_size: int, scales: tuple[float, ...]) -> ImagePool:
    """Training images, uint8 ``(C, H, W)``, as the pool from which batches are cut.

    Raises:
        TypeError: for images that are not uint8.
        ValueError: for other channels, a wrong shape, images smaller than a patch, or noisy photographs.
    """
    made = ImagePool(images, patch_size, scales)
    if made.channels != channels:
        raise ValueError(f"channels = {channels}, but the training images have {made.channels}.")
    return made
