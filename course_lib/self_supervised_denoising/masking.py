r"""Masks of Noise2Void: which pixels are hidden, and what stands in their place.

*Stratified sampling* divides an image into boxes of side :math:`\mathrm{round}\sqrt{1 / \text{ratio}}` and draws one uniform pixel in
each. Points that fall beyond the border, in boxes that the border cuts, are left out. So each pixel is chosen with the same
probability, 1 / side², and no two chosen ones crowd.

A *masker* then replaces the chosen pixels. All its values are those of the untouched image. Neighbourhoods are squares of side
2r + 1, cut at the border.

Which pixels are masked is what the sampler says. It is never found by comparing values: where a replacement happens to equal the
pixel, as it always does on a constant patch, the pixel would drop out of the loss.

Source: A. Krull, T.-O. Buchholz, F. Jug, *Noise2Void*, CVPR 2019, arXiv:1811.10980, for sampling and the neighbour (its code can draw the
pixel itself); mean and median of the neighbours are options of later code, a random value is the lecture's.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from course_lib import checks
from course_lib.noise import require_images

Masker = Literal["neighbour", "neighbour or centre", "mean", "median", "random value"]


class Positions(NamedTuple):
    """Chosen pixels of images ``(B, C, H, W)``; each channel has its own."""

    y: Tensor  # (B, C, K): rows
    x: Tensor  # (B, C, K): columns
    inside: Tensor  # (B, C, K): is it a pixel of the image? What is not lies beyond the border, and is left out
    size: tuple[int, int]  # (H, W) of the images
    whole: bool = False  # are all known to be inside? Asking the tensor would wait for the GPU

    def mask(self, images: Tensor) -> Tensor:
        """Where pixels of ``images`` ``(B, C, H, W)`` are chosen: 1 there and 0 elsewhere, in their shape and type.

        Raises:
            ValueError: for images of another shape than those in which they were chosen.
        """
        return self._written(torch.zeros_like(images), 1)

    def put(self, images: Tensor, values: Tensor) -> Tensor:
        """A copy of ``images`` ``(B, C, H, W)`` with ``values`` ``(B, C, K)`` at the positions; errors as :meth:`mask`."""
        return self._written(images.clone(), values)

    def _written(self, images: Tensor, values: Tensor | int) -> Tensor:
        """``images`` with the values at the positions; they may be overwritten."""
        if images.shape != (*self.y.shape[:2], *self.size):
            expected = (*self.y.shape[:2], *self.size)
            raise ValueError(f"images are {tuple(images.shape)}, but the positions were chosen in images of {expected}.")
        (height, width), flat = self.size, images.flatten(2)
        place = torch.add(self.x, self.y, alpha=width)
        if self.whole:
            return flat.scatter_(2, place, values).view(images.shape)
        spare = height * width  # where what lies beyond the border goes, to be cut off again
        longer = torch.cat([flat, flat.new_zeros(*flat.shape[:2], 1)], dim=2)
        return longer.scatter_(2, torch.where(self.inside, place, spare), values)[..., :spare].view(images.shape)


def box_side(ratio: float) -> int:
    """Side of the boxes in pixels, round √(1 / ratio), for the ratio of pixels that shall be masked.

    Raises:
        TypeError, ValueError: for anything but a number between 0 and 1.
    """
    ratio = checks.number(ratio, "mask_ratio")
    if not 0 < ratio < 1:
        raise ValueError(f"mask_ratio = {ratio:g}, but it must lie between 0 and 1: 0.015 masks 1.5 % of the pixels.")
    return max(1, round((1 / ratio) ** 0.5))


def stratified(images: Tensor, ratio: float, generator: torch.Generator) -> Positions:
    """One uniform pixel in each box of each channel of ``images`` ``(B, C, H, W)``.

    Args:
        images: whose shape and device the positions have.
        ratio: share of masked pixels; it becomes 1 / side², the nearest that boxes allow.
        generator: the source of the draws, on the device of ``images``.

    Raises:
        TypeError, ValueError: for no generator, images that are none.
        ValueError: for a ratio that does not lie between 0 and 1.
    """
    checks.generator(generator)
    require_images(images, "noisy images")
    side, (batch, channels, height, width) = box_side(ratio), images.shape
    rows, columns = -(-height // side), -(-width // side)
    draw = torch.randint(side, (2, batch, channels, rows, columns), generator=generator, device=images.device)
    y = (draw[0] + torch.arange(0, rows * side, side, device=images.device).view(-1, 1)).flatten(2)
    x = (draw[1] + torch.arange(0, columns * side, side, device=images.device)).flatten(2)
    if rows * side == height and columns * side == width:
        return Positions(y, x, torch.ones_like(y, dtype=torch.bool), (height, width), whole=True)
    return Positions(y, x, (y < height) & (x < width), (height, width))


def grid(images: Tensor, side: int, phase: int) -> Positions:
    """Every ``side``-th pixel of every ``side``-th row of images ``(B, C, H, W)``; the side² phases together are all pixels.

    Raises:
        TypeError, ValueError: for images that are none, or numbers that are not whole.
        ValueError: for a side below 2, or a phase outside 0 to side² − 1.
    """
    require_images(images, "noisy images")
    side, phase = checks.whole(side, "side", high=max(images.shape)), checks.whole(phase, "phase")
    if side < 2 or not 0 <= phase < side * side:
        raise ValueError(f"side = {side}, phase = {phase}: a grid has a side of at least 2, and a phase from 0 to side² − 1.")
    batch, channels, height, width = images.shape
    y, x = torch.meshgrid(torch.arange(phase // side, height, side), torch.arange(phase % side, width, side), indexing="ij")
    y, x = (part.flatten().to(images.device).expand(batch, channels, -1) for part in (y, x))
    return Positions(y, x, torch.ones_like(y, dtype=torch.bool), (height, width), whole=True)


def replaced(noisy: Tensor, chosen: Positions, masker: str, radius: int, generator: torch.Generator) -> Tensor:
    """Images with the chosen pixels replaced.

    Args:
        noisy: ``(B, C, H, W)`` floating point.
        chosen: the pixels.
        masker: "neighbour": a uniform one of the neighbourhood without the pixel itself; "neighbour or centre": with it, so that
            1 / (2r + 1)² of them stay as they are; "mean" and "median" of the neighbourhood without the pixel; "random value": uniform
            in [0, 1].
        radius: r of the neighbourhood, at least 1.
        generator: the source of the draws, on the device of ``noisy``.

    Returns:
        A copy in the shape and type of ``noisy``.

    Raises:
        TypeError: for integer images, or no generator.
        ValueError: for an unknown masker, a radius below 1, a neighbourhood without a neighbour, or images of another shape than those
            in which the pixels were chosen.
    """
    checks.generator(generator)
    if masker not in get_args(Masker):
        raise ValueError(f'unknown masker "{masker}"; there are {", ".join(get_args(Masker))}.')
    checks.tensor(noisy, "noisy images", ("B", "C", "H", "W"), of="floating", finite=False)
    if radius < 1 or min(noisy.shape[-2:]) < 2:
        raise ValueError(f"radius = {radius} in images of {tuple(noisy.shape[-2:])} pixels: a pixel needs neighbours, radius ≥ 1.")
    if masker == "random value":
        uniform = torch.rand(chosen.y.shape, generator=generator, device=noisy.device)
        return chosen.put(noisy, uniform.to(noisy.dtype))
    if masker in ("mean", "median"):
        return chosen.put(noisy, _summary(noisy, chosen, masker, radius))
    return chosen.put(noisy, _neighbour(noisy, chosen, radius, generator, centre=masker == "neighbour or centre"))


def _neighbour(noisy: Tensor, chosen: Positions, radius: int, generator: torch.Generator, *, centre: bool) -> Tensor:
    """A uniform pixel ``(B, C, K)`` of each neighbourhood."""
    height, width = noisy.shape[-2:]
    y, x = (chosen.y, chosen.x) if chosen.whole else (chosen.y.clamp(max=height - 1), chosen.x.clamp(max=width - 1))
    top, left = (y - radius).clamp_(min=0), (x - radius).clamp_(min=0)
    rows, columns = (y + (radius + 1)).clamp_(max=height).sub_(top), (x + (radius + 1)).clamp_(max=width).sub_(left)
    count = rows.mul_(columns) if centre else rows.mul_(columns).sub_(1)
    uniform = torch.rand(y.shape, generator=generator, device=noisy.device, dtype=torch.float64)
    number = uniform.mul_(count).long().clamp_(max=count - 1)
    if not centre:
        number += number >= (y - top) * columns + (x - left)  # the pixel's own number is left out
    row = number // columns
    place = left.add_(number).sub_(row * columns).add_(top.add_(row), alpha=width)
    return noisy.flatten(2).gather(2, place)


def _summary(noisy: Tensor, chosen: Positions, masker: str, radius: int) -> Tensor:
    """Mean or median ``(B, C, K)`` of each neighbourhood without its centre."""
    height, width = noisy.shape[-2:]
    offset = torch.arange(-radius, radius + 1, device=noisy.device)
    down, right = (part.flatten() for part in torch.meshgrid(offset, offset, indexing="ij"))
    around = (down != 0) | (right != 0)
    y, x = chosen.y[..., None] + down[around], chosen.x[..., None] + right[around]  # (B, C, K, (2r + 1)² - 1)
    there = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    place = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    values = noisy.flatten(2).gather(2, place.flatten(2)).view(place.shape)
    if masker == "mean":
        return (values * there).sum(3) / there.sum(3).clamp(min=1)
    ordered = values.masked_fill(~there, float("inf")).sort(3).values
    count = there.sum(3, keepdim=True).clamp(min=1)
    low, high = (ordered.gather(3, middle) for middle in ((count - 1) // 2, count // 2))
    return ((low + high) / 2).squeeze(3)
