"""What the denoising networks share: what they accept, and how training images become a pool of patches."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from course_lib.batches import ImagePool
from course_lib.noise import require_images


def require_input(network: nn.Module, noisy: Tensor) -> None:
    """Raise unless ``network``, which has ``channels``, can denoise ``noisy``.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong number of dimensions or channels, or no pixels.
        RuntimeError: in training mode, where batch normalisation would use and change the statistics of ``noisy``.
    """
    require_images(noisy, "noisy images")
    if noisy.shape[1] != network.channels:
        raise ValueError(
            f"noisy images have {noisy.shape[1]} channels, but this network was made for {network.channels} "
            f"({'gray' if network.channels == 1 else 'colour'})."
        )
    if network.training and any(name.endswith("running_var") for name, _ in network.named_buffers()):
        raise RuntimeError("the network is in training mode: call its eval() before denoise, or its batch statistics change.")


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


def pool(images: Iterable[Tensor], channels: int, patch_size: int, scales: tuple[float, ...]) -> ImagePool:
    """Training images, uint8 ``(C, H, W)``, as the pool from which batches are cut; ``ValueError`` for other channels."""
    made = ImagePool(images, patch_size, scales)
    if made.channels != channels:
        raise ValueError(f"channels = {channels}, but the training images have {made.channels}.")
    return made
