"""How often is a classifier right on images that are noisy, of low resolution, or sharp in a region of interest only?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib import checks, noise
from course_lib.batches import to_float
from course_lib.labelled import require_pairs
from course_lib.noisy_classification import resnet
from course_lib.resolution import Enlarging, central_box, low_resolution, mixed_resolution


def degraded(
    images: Tensor,
    *,
    sigma: float = 0.0,
    factor: int = 1,
    enlarging: Enlarging = "nearest",
    region: int | None = None,
    indices: Sequence[int] | None = None,
    seed: int = 0,
) -> Tensor:
    """Test images as a classifier gets them: of low resolution around a region, then with noise that is clipped to [0, 1].

    Args:
        images: uint8 ``(N, C, H, W)``.
        sigma: standard deviation of the noise on the [0, 1] scale. An image has the same pattern at every σ, only stronger.
        factor: by how much the resolution is lower; 1 for not at all.
        enlarging: how low resolution gets the old size.
        region: side of the central square that keeps its resolution, in pixels; None for none.
        indices: numbers of the images to take, in any order; None for all. Each keeps the noise of its number.
        seed: another one gives other noise.

    Returns:
        ``(n, C, H, W)`` float32 in [0, 1].

    Raises:
        TypeError, ValueError: for images of another type or shape, a σ, factor or region that makes no sense, or a number of no image.
    """
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    chosen = checks.indices(indices, len(images))
    clean = to_float(images[chosen])
    low = low_resolution(clean, factor, enlarging)
    if region is not None:
        low = mixed_resolution(clean, low, central_box(clean, region))
    noise.require_sigma(sigma)
    if sigma == 0:
        return low
    # image by image, so that some of them get the noise that they have among all
    return torch.cat([noise.test_noise(one[None], sigma, i, seed=seed) for one, i in zip(low, chosen, strict=True)]).clamp(0, 1)


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, *, indices: Sequence[int] | None = None, **condition) -> list[float]:
    """For each image, 100 where the largest logit is that of its label, else 0: the mean is in percent.

    Args:
        model: a classifier, in evaluation mode.
        images: uint8 ``(N, C, H, W)``.
        labels: ``(N,)``.
        indices: numbers of the images to look at, in any order; None for all.
        condition: how they are degraded, see :func:`degraded`.

    Raises:
        TypeError, ValueError: as :func:`degraded`, for labels of another type or number or that are no class, or outputs with NaN.
    """
    require_pairs(images, labels)
    chosen = checks.indices(indices, len(images))
    said, wanted = resnet.logits(model, degraded(images, indices=chosen, **condition)), labels[chosen].cpu()
    checks.labels(wanted, said.shape[1])
    return (100.0 * (said.argmax(1) == wanted)).tolist()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor, **condition) -> float:
    """The mean of :func:`evaluate`, in percent, of uint8 images ``(N, C, H, W)``; errors as there."""
    values = evaluate(model, images, labels, **condition)
    return sum(values) / len(values)
