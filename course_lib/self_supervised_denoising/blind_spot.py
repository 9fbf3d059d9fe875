r"""Blind-spot networks: architectures whose output at a pixel cannot depend on the input at that pixel.

Where Noise2Void hides pixels in the input, these networks never look at them: :math:`\partial f(z)_p / \partial z_p = 0` holds exactly,
for all weights. So all pixels can be in the loss at once, :math:`\lVert f(z) - z \rVert`, and there is nothing to mask.

*Half-plane.* A branch that sees only the rows above a pixel, and not its own, is blind to the pixel. The image and its rotations by 90,
180 and 270 degrees go through **one** such branch; rotated back, the four see everything but the pixel, and 1×1 convolutions combine
them. A convolution looks upwards only if as many rows are put on top as it would look down, and cut off at the bottom. A pooling is
shifted by a row first. At the end all is shifted down by one row, so that the own row is not seen either.

*Dilated, with a masked centre.* A k×k convolution without its centre leaves the pixel out. All later 3×3 convolutions have dilation
(k + 1) / 2, so that they only step by multiples of it. No such steps lead from one of the other taps back to the centre: their
offsets are smaller than the dilation, and not zero.

The centre's weight does not exist: it is no parameter, in no state dict, in no export, and no optimiser moves it. (A mask that sets it to
zero in each forward pass leaves a value in the checkpoint after each update.)

Neither network may add its input to its output: a residual is the centre.

Source: S. Laine, T. Karras, J. Lehtinen, T. Aila, *High-Quality Self-Supervised Deep Image Denoising*, NeurIPS 2019, for the half-plane;
X. Wu, M. Liu, Y. Cao, D. Ren, W. Zuo, *Unpaired Learning of Deep Image Denoising*, ECCV 2020, for dilation; the layers of the dilated
network are those of W. Lee, S. Son, K. M. Lee, *AP-BSN*, CVPR 2022, arXiv:2203.11799.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import rng
from course_lib.self_supervised_denoising.common import of_any_size


class WithoutCentre(nn.Module):
    """A k×k convolution that has no weight at its centre; H and W are kept.

    Args:
        inputs, outputs: channels.
        size: k, odd.

    Raises:
        ValueError: for a size that is not odd and at least 3.
    """

    def __init__(self, inputs: int, outputs: int, size: int):
        super().__init__()
        if size < 3 or size % 2 == 0:
            raise ValueError(f"size = {size}: a kernel with a centre to leave out has an odd side of at least 3.")
        self.size = size
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, size * size - 1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def kernel(self) -> Tensor:
        """The kernel ``(outputs, inputs, k, k)``, with 0 at its centre."""
        before, after = self.weight.split(self.weight.shape[2] // 2, dim=2)
        whole = torch.cat([before, torch.zeros_like(before[..., :1]), after], dim=2)
        return whole.unflatten(2, (self.size, self.size))

    def forward(self, images: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``; zeros beyond the border."""
        return F.conv2d(images, self.kernel(), self.bias, padding=self.size // 2)


class _Residual(nn.Module):
    """3×3 dilated, ReLU, 1×1, added to what came in: which is no input image, but features that are blind already."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True), nn.Conv2d(width, width, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


class BlindSpot(nn.Module):
    """What both networks have: the input of any size, and initial weights."""

    multiple: ClassVar[int] = 1  # of which the sides must be multiples
    channels: int

    def _start(self, seed: int) -> None:
        """Weights normal with variance 2 / inputs, biases zero."""
        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | WithoutCentre):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)

    def denoise(self, noisy: Tensor, sigma: float | None = None) -> Tensor:
        """The estimate from the surroundings of each pixel, of images ``(B, C, H, W)`` of any size; ``sigma`` is not used.

        Raises:
            TypeError: for integer images.
            ValueError: for a wrong number of dimensions or channels, or no pixels.
        """
        return of_any_size(self, noisy)


class Dilated(BlindSpot):
    """DBSNl of AP-BSN: a 1×1 head, two branches with masked centres of 3×3 and 5×5, 1×1 convolutions at the end.

    Args:
        width: channels; 128 in the paper, where the network has 3,623,363 parameters (3,656,131 with the centres that are masked).
        modules: residual modules of a branch; 9 in the paper, which look 19 and 29 pixels away.
        channels: 1 gray, 3 colour.
        outputs: channels of the output; None for as many as the image has.
        seed: of the initial weights.

    Raises:
        ValueError: for a width below 2, no module, or other channels.
    """

    def __init__(self, *, width: int = 128, modules: int = 9, channels: int = 3, outputs: int | None = None, seed: int = 0):
        super().__init__()
        if width < 2 or modules < 1 or channels not in (1, 3):
            raise ValueError(f"width = {width}, modules = {modules}, channels = {channels}: at least 2 and 1, and 1 or 3, are needed.")
        self.channels, self.reach = channels, 2 + 3 * modules  # how far away the farthest pixel is that it sees

        def one(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True)]

        self.head = nn.Sequential(*one(channels, width))
        self.branches = nn.ModuleList(
            nn.Sequential(
                WithoutCentre(width, width, size), nn.ReLU(inplace=True), *one(width, width), *one(width, width),
                *(_Residual(width, (size + 1) // 2) for _ in range(modules)), *one(width, width),
            )
            for size in (3, 5)
        )  # fmt: skip
        half = width // 2
        self.tail = nn.Sequential(*one(2 * width, width), *one(width, half), *one(half, half), nn.Conv2d(half, outputs or channels, 1))
        self._start(seed)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, _Residual):  # all of them together add about as much as came in; else each would triple it
                    module.layers[-1].weight.div_(math.sqrt(2 * modules))

    def forward(self, noisy: Tensor) -> Tensor:
        """The estimate ``(B, outputs, H, W)`` of each pixel from the others, in the type of the weights."""
        features = self.head(noisy)
        return self.tail(torch.cat([branch(features) for branch in self.branches], dim=1))


class _Upwards(nn.Module):
    """A convolution with a leaky rectifier that sees a pixel's own row and those above it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.layer = nn.Conv2d(inputs, outputs, 3, padding=(0, 1))

    def forward(self, images: Tensor) -> Tensor:
        return F.leaky_relu(self.layer(F.pad(images, (0, 0, 2, 0))), 0.1)


def _down(images: Tensor) -> Tensor:
    """Shifted down by one row: a row of zeros comes in on top."""
    return F.pad(images, (0, 0, 1, -1))


class HalfPlane(BlindSpot):
    """The U-Net of Noise2Noise in a form that looks upwards, shared by four rotations, and two 1×1 convolutions that combine them.

    Args:
        width: channels on the way down, 48 in the paper; twice as many on the way up.
        depth: poolings, 5 in the paper.
        channels: 1 gray, 3 colour.
        outputs: channels of the output; None for as many as the image has.
        seed: of the initial weights.

    Raises:
        ValueError: for a width or depth below 1, or other channels.
    """

    def __init__(self, *, width: int = 48, depth: int = 5, channels: int = 3, outputs: int | None = None, seed: int = 0):
        super().__init__()
        if width < 1 or depth < 1 or channels not in (1, 3):
            raise ValueError(f"width = {width}, depth = {depth}, channels = {channels}: at least 1 each, and 1 or 3 channels, are needed.")
        self.channels, self.multiple = channels, 2**depth
        up = 2 * width
        self.first = _Upwards(channels, width)
        self.down = nn.ModuleList(_Upwards(width, width) for _ in range(depth))
        self.bottom = _Upwards(width, width)
        below = [width, *[up] * (depth - 1)]
        skips = [*[width] * (depth - 1), channels]
        self.up = nn.ModuleList(
            nn.Sequential(_Upwards(a + b, up), _Upwards(up, up)) for a, b in zip(below, skips, strict=True)
        )
        self.combine = nn.Sequential(nn.Conv2d(4 * up, up, 1), nn.LeakyReLU(0.1), nn.Conv2d(up, outputs or channels, 1))
        self._start(seed)

    def branch(self, images: Tensor) -> Tensor:
        """What the rows strictly above each pixel of images ``(B, C, H, W)`` say: ``(B, 2 · width, H, W)``."""
        skips, x = [images], self.first(images)
        for layer in self.down:
            x = F.max_pool2d(_down(layer(x)), 2)
            skips.append(x)
        x = self.bottom(x)
        skips.pop()
        for layer in self.up:
            x = layer(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()], dim=1))
        return _down(x)

    def forward(self, noisy: Tensor) -> Tensor:
        """The estimate ``(B, outputs, H, W)`` of each pixel from the others; H and W are multiples of 2^depth."""
        turned = [torch.rot90(noisy - 0.5, turns, (2, 3)) for turns in range(4)]
        # an image that lies and one that stands are no batch: two turns and two
        upright, lying = (self.branch(torch.cat(turned[k::2])).chunk(2) for k in (0, 1))
        parts = [part for pair in zip(upright, lying, strict=True) for part in pair]
        back = [torch.rot90(part, -turns, (2, 3)) for turns, part in enumerate(parts)]
        return self.combine(torch.cat(back, dim=1)) + 0.5
