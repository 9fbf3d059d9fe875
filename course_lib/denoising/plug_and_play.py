r"""Plug-and-play restoration: a denoiser as the prior of another inverse problem, by half-quadratic splitting.

Idea. A blur or a mask is a known linear operator H, and :math:`z = Hy + \eta` with noise of σ. The estimate should agree with z,
and it should look like an image. Who says what images look like? A denoiser does: whatever it takes away from an image does not
belong there. Splitting the problem lets each half be solved on its own, in turn:

.. math::

    u_k = \arg\min_u \lVert z - Hu \rVert^2 + \alpha_k \lVert u - v_{k-1} \rVert^2 , \qquad v_k = D(u_k, \sigma_k) , \qquad
    \alpha_k = \mu_k \sigma^2 = \lambda \sigma^2 / \sigma_k^2 .

The penalty :math:`\mu_k` ties the halves together. It grows from pass to pass, and with it the denoiser is told less and less noise,
:math:`\sigma_k = \sqrt{\lambda / \mu_k}`, from a strong one down to σ. So one needs a denoiser for every level, such as FFDNet.

The first half has a closed form for both operators: for a circular blur, which the Fourier transform makes a product, pixel by pixel of
the spectrum, and for a mask pixel by pixel of the image. Nothing is trained.

Source: the idea is that of S. Venkatakrishnan, C. Bouman, B. Wohlberg, *Plug-and-Play Priors for Model Based Reconstruction*, GlobalSIP
2013; splitting, levels and λ are those of K. Zhang, Y. Li, W. Zuo, L. Zhang, L. Van Gool, R. Timofte, *Plug-and-Play Image Restoration
with Deep Denoiser Prior*, IEEE TPAMI 44(10), 2022, arXiv:2008.13751.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks
from course_lib.noise import Denoiser

WEIGHT = 0.23  # λ of the authors' code


class Forward(Protocol):
    """A known linear operator H of images, and the half of the problem that knows it."""

    def __call__(self, images: Tensor) -> Tensor:
        """H y, ``(B, C, H, W)`` as the images."""

    def start(self, observed: Tensor) -> Tensor:
        """A first estimate ``(B, C, H, W)`` of the image."""

    def agree(self, observed: Tensor, near: Tensor, alpha: float) -> Tensor:
        r""":math:`\arg\min_u \lVert z - Hu \rVert^2 + \alpha \lVert u - v \rVert^2`, where z and v are ``(B, C, H, W)``."""


@dataclass(frozen=True)
class Blur:
    """Convolution with a kernel, around the corners: what leaves the image on one side enters on the other.

    Args:
        kernel: ``(h, w)``, odd, floating point, no larger than the images. It has its origin in the middle.

    Raises:
        TypeError: for a kernel that is no tensor of numbers.
        ValueError: for another number of axes, or an even side, which has no middle.
    """

    kernel: Tensor

    def __post_init__(self):
        checks.tensor(self.kernel, "kernel", ("h", "w"))
        if not all(side % 2 for side in self.kernel.shape):
            raise ValueError(f"kernel has shape {tuple(self.kernel.shape)}, but both sides must be odd: its origin is in the middle.")

    def __call__(self, images: Tensor) -> Tensor:
        """H y, ``(B, C, H, W)``; errors as :meth:`spectrum`."""
        return _real(self.spectrum(images) * torch.fft.rfft2(images), images)

    def spectrum(self, images: Tensor) -> Tensor:
        """The Fourier transform of the kernel, with its middle moved to the corner, for images ``(B, C, H, W)``.

        Raises:
            TypeError: for integer images.
            ValueError: for images of a wrong shape or scale, or smaller than the kernel.
        """
        checks.require_images(images)
        (h, w), (height, width) = self.kernel.shape, images.shape[-2:]
        if h > height or w > width:
            raise ValueError(f"the kernel has {h}×{w} pixels, but the images only {height}×{width}.")
        padded = F.pad(self.kernel.to(images), (0, width - w, 0, height - h))
        return torch.fft.rfft2(padded.roll((-(h // 2), -(w // 2)), (0, 1)))

    def start(self, observed: Tensor) -> Tensor:
        """The blurred image itself, ``(B, C, H, W)``."""
        return observed

    def agree(self, observed: Tensor, near: Tensor, alpha: float) -> Tensor:
        r"""In the Fourier domain :math:`(\bar K Z + \alpha V) / (|K|^2 + \alpha)`; as
        :class:`Forward`, images ``(B, C, H, W)``.
        """
        k = self.spectrum(observed)
        z, v = torch.fft.rfft2(observed), torch.fft.rfft2(near)
        return _real((k.conj() * z + alpha * v) / (k.abs().square() + alpha), observed)


@dataclass(frozen=True)
class Mask:
    """Pixels that are known, and others that are lost.

    Args:
        known: 1 where a pixel is known and 0 where it is lost, floating point, ``(1 or B, 1, H, W)``.

    Raises:
        TypeError: for anything but a tensor of numbers.
        ValueError: for another number of axes, other values, or nothing that is known.
    """

    known: Tensor

    def __post_init__(self):
        checks.tensor(self.known, "known", ("B", "1", "H", "W"))
        if not bool(((self.known == 0) | (self.known == 1)).all()):
            raise ValueError("known has values other than 0, a lost pixel, and 1, a known one.")
        if not bool(self.known.flatten(1).any(1).all()):
            raise ValueError("known is 0 everywhere in an image: there is nothing to restore it from.")

    def __call__(self, images: Tensor) -> Tensor:
        """Lost pixels black, ``(B, C, H, W)``.

        Raises:
            TypeError: for integer images.
            ValueError: for images of a wrong shape or scale, or of another size than the mask.
        """
        checks.require_images(images)
        if self.known.shape[1:] != (1, *images.shape[2:]) or len(self.known) not in (1, len(images)):
            raise ValueError(f"the mask has shape {tuple(self.known.shape)}, which does not fit images of {tuple(images.shape)}.")
        return self.known.to(images) * images

    def start(self, observed: Tensor) -> Tensor:
        """Lost pixels get the mean of the known ones of their channel; ``(B, C, H, W)``."""
        share = self.known.to(observed).mean((2, 3), keepdim=True)
        known = self(observed)
        return known + (1 - self.known.to(observed)) * known.mean((2, 3), keepdim=True) / share

    def agree(self, observed: Tensor, near: Tensor, alpha: float) -> Tensor:
        r"""At each pixel :math:`(m z + \alpha v) / (m + \alpha)`; shapes as in :class:`Forward`."""
        return (self(observed) + alpha * near) / (self.known.to(observed) + alpha)


def gaussian_kernel(width: float, side: int) -> Tensor:
    """A Gaussian of standard deviation ``width`` in pixels, ``(side, side)``, with sum 1.

    Raises:
        TypeError: for anything but numbers.
        ValueError: for a width that is not positive, or a side that is not odd.
    """
    checks.number(width, "width", 0, inside=True)
    side = checks.whole(side, "side", 1)
    if side % 2 == 0:
        raise ValueError(f"side = {side}, but it must be odd: a kernel has its origin in the middle.")
    taps = torch.arange(side, dtype=torch.float32) - side // 2
    line = torch.exp(-taps.square() / (2 * width**2))
    line = line / line.sum()
    return line[:, None] * line


def levels(sigma: float, passes: int, first: float = 49 / 255) -> list[float]:
    """What the denoiser is told in each pass: σ from ``first`` down to ``sigma``, equally far apart in logarithms.

    All on the [0, 1] scale. Where ``sigma`` is above ``first``, all are ``sigma``; a single pass has the last level.

    Raises:
        TypeError: for anything but numbers.
        ValueError: for less than one pass, or a σ that is not positive or is above 2: without noise the last level would be 0.
    """
    passes = checks.whole(passes, "passes", 1)
    sigma = checks.number(sigma, "sigma", 0, checks.LARGEST_SIGMA, inside=True)
    first = max(checks.number(first, "first", 0, checks.LARGEST_SIGMA, inside=True), sigma)
    return [sigma * (first / sigma) ** ((passes - 1 - k) / max(passes - 1, 1)) for k in range(passes)]


@torch.no_grad()
def iterate(
    observed: Tensor,
    forward: Forward,
    sigma: float,
    denoiser: Denoiser,
    told: Sequence[float],
    *,
    weight: float = WEIGHT,
) -> Iterator[Tensor]:
    r"""The estimates :math:`v_1, v_2, \dots` of an image, each ``(B, C, H, W)``, one for each level that the denoiser is told.

    Args:
        observed: z ``(B, C, H, W)``, on the [0, 1] scale, of which noise may take it out.
        forward: the operator H, such as :class:`Blur` or :class:`Mask`.
        sigma: σ of the noise in ``observed``, on the [0, 1] scale, above 0.
        denoiser: D; see :data:`course_lib.noise.Denoiser`.
        told: σ of each pass, such as :func:`levels`.
        weight: λ. A larger one trusts the denoiser more and the observation less.

    Raises:
        TypeError: for integer images, or a σ or λ that is no number.
        ValueError: for images of a wrong shape or scale, a σ or λ that is not positive, or a level of which that is true.
    """
    checks.require_images(observed, "observed images")
    sigma = checks.number(sigma, "sigma", 0, checks.LARGEST_SIGMA, inside=True)
    weight = checks.number(weight, "weight", 0, inside=True)
    estimate = forward.start(observed)
    for level in told:
        level = checks.number(level, "a level of told", 0, checks.LARGEST_SIGMA, inside=True)
        agreeing = forward.agree(observed, estimate, weight * sigma**2 / level**2)
        estimate = denoiser(agreeing, level)
        yield estimate


def restore(
    observed: Tensor, forward: Forward, sigma: float, denoiser: Denoiser, *, passes: int = 8, weight: float = WEIGHT
) -> Tensor:
    """The last estimate of :func:`iterate` with the levels of :func:`levels`, ``(B, C, H, W)``; arguments and errors as there."""
    *_, estimate = iterate(observed, forward, sigma, denoiser, levels(sigma, passes), weight=weight)
    return estimate


def _real(spectrum: Tensor, images: Tensor) -> Tensor:
    return torch.fft.irfft2(spectrum, s=images.shape[-2:]).to(images.dtype)
