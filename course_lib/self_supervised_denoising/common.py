"""What the networks of this part share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib.batches import padded
from course_lib.denoising.common import require_input


@torch.no_grad()
def of_any_size(network: nn.Module, noisy: Tensor) -> Tensor:
    """What a network gives for images ``(B, C, H, W)`` of any size, on their device, wherever the network is.

    Args:
        network: takes sides that are multiples of its ``multiple``; images are mirrored up to there, and cut again.
        noisy: floating point, nominally in [0, 1].

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong number of dimensions or channels, or no pixels.
    """
    require_input(network, noisy)
    height, width = noisy.shape[-2:]
    images = padded(noisy.to(next(network.parameters())), network.multiple)
    return network(images)[..., :height, :width].to(noisy.device)
