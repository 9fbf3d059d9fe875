r"""The best linear filter by least squares: what a noisy target does to a training, without an optimiser and without luck.

A filter of k×k weights w and a constant b maps each neighbourhood to a pixel, :math:`\hat y_i = w^\top N_i(z) + b`. Least squares over
all pixels of all images gives it in closed form, whatever the target t is:

.. math:: (w, b) = \arg\min \sum_i \bigl(w^\top N_i(z) + b - t_i\bigr)^2 = (X^\top X)^{-1} X^\top t .

Only :math:`X^\top t` depends on the target. If :math:`t = y + \eta'` with noise of zero mean that is independent of the input's, it
changes by :math:`X^\top \eta'`, whose mean is 0: the filter is that of the clean target, up to chance. If :math:`t = z`, the centre
alone explains the target, and its weight becomes 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks
from course_lib.noise import require_images


@dataclass(frozen=True)
class LinearFilter:
    """Weights ``(k, k)`` and a constant, in double precision."""

    weights: Tensor
    constant: float

    @property
    def centre(self) -> float:
        """Weight of the pixel itself."""
        middle = len(self.weights) // 2
        return self.weights[middle, middle].item()

    def denoise(self, noisy: Tensor, sigma: float | None = None) -> Tensor:
        """The filtered images ``(B, C, H, W)``, each channel by itself, mirrored at the border; ``sigma`` is not used.

        Raises:
            TypeError: for integer images.
            ValueError: for a wrong shape, or images too small to be mirrored.
        """
        require_images(noisy, "noisy images")
        reach = len(self.weights) // 2
        _require_room(noisy, reach)
        planes = noisy.flatten(0, 1)[:, None].double()
        made = F.conv2d(F.pad(planes, [reach] * 4, mode="reflect"), self.weights[None, None]) + self.constant
        return made.view(noisy.shape).to(noisy.dtype)


def _require_room(images: Tensor, reach: int) -> None:
    if min(images.shape[-2:]) <= reach:
        raise ValueError(f"images of {tuple(images.shape[-2:])} pixels are too small to be mirrored over {reach}.")


def neighbourhoods(images: Tensor, size: int) -> Tensor:
    """The ``size`` × ``size`` neighbourhood of every pixel of images ``(B, 1, H, W)``: ``(B · H · W, size²)``, mirrored at the border."""
    reach = size // 2
    _require_room(images, reach)
    return F.unfold(F.pad(images, [reach] * 4, mode="reflect"), size).transpose(1, 2).reshape(-1, size * size)


def fit(
    noisy: Sequence[Tensor], targets: Sequence[Tensor], size: int = 5, *, centre: bool = True, masks: Sequence[Tensor] | None = None
) -> LinearFilter:
    """The filter that maps noisy images best to their targets.

    Args:
        noisy, targets: gray images ``(1, 1, H, W)`` each, as many of the one as of the other; sizes may differ between images.
        size: side k of the filter, odd.
        centre: may the filter use the pixel itself? Without, it has a blind spot, and the centre's weight is 0.
        masks: for each image ``(1, 1, H, W)``, 1 where a pixel of the target counts and 0 elsewhere; None: all count.

    Raises:
        TypeError: for integer images.
        ValueError: for no images, images, targets and masks that do not fit, masks of other values, several channels, too few pixels
            that count, images that are too small or leave the filter open, or a size that is not odd and at least 3.
    """
    size = checks.whole(size, "size")
    if size < 3 or size % 2 == 0:
        raise ValueError(f"size = {size}: the side of the filter is an odd number of at least 3.")
    if not noisy or len(noisy) != len(targets):
        raise ValueError(f"there are {len(noisy)} noisy images and {len(targets)} targets: give one target for each, and at least one.")
    used = [i for i in range(size * size) if centre or i != size * size // 2]
    gram = torch.zeros(len(used) + 1, len(used) + 1, dtype=torch.float64)
    moment = torch.zeros(len(used) + 1, dtype=torch.float64)
    counted = [torch.ones_like(image) for image in noisy] if masks is None else list(masks)
    if [tuple(mask.shape) for mask in counted] != [tuple(image.shape) for image in noisy]:
        raise ValueError(f"there are {len(counted)} masks for {len(noisy)} noisy images, or other sizes: give one in the shape of each.")
    if any(bool(((mask != 0) & (mask != 1)).any()) for mask in counted):
        raise ValueError("masks have values other than 0 and 1: a pixel counts, or it does not.")
    if sum(int(mask.bool().sum()) for mask in counted) <= len(used):
        raise ValueError(f"fewer pixels count than the {len(used) + 1} numbers that are fitted.")
    for image, target, mask in zip(noisy, targets, counted, strict=True):
        require_images(image, "noisy images")
        require_images(target, "targets")
        if image.shape != target.shape or image.shape[1] != 1:
            shapes = f"a noisy image {tuple(image.shape)} has the target {tuple(target.shape)}"
            raise ValueError(f"{shapes}: two gray ones of one size are needed.")
        rows, some = neighbourhoods(image.double(), size)[:, used], mask.bool().flatten()
        rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1)[some]
        gram += rows.T @ rows
        moment += rows.T @ target.double().flatten()[some]
    try:
        solved = torch.linalg.solve(gram, moment)
    except torch.linalg.LinAlgError as error:
        raise ValueError("the noisy images leave the filter open, such as images of one value: take others, or more.") from error
    weights = torch.zeros(size * size, dtype=torch.float64)
    weights[used] = solved[:-1]
    return LinearFilter(weights.view(size, size), solved[-1].item())
