r"""Noise2Void: learning from single noisy images, by hiding the pixels that are asked for.

Idea. A network that gets a noisy image z and is compared with that same z learns the identity. So hide some pixels: a masker M replaces
them by a neighbour's value, say, and the loss looks at these alone,

.. math:: \ell = \frac{\sum_p B_p \bigl(f(M(z))_p - z_p\bigr)^2}{\sum_p B_p} .

If the noise of a pixel cannot be told from its surroundings, the best guess of the noisy pixel is the best guess of the clean one. The
loss then levels off above the variance of the noise, which no surroundings can tell: a plateau there is success.

The theory behind it is J-invariance. If :math:`f(z)_J` does not depend on :math:`z_J`,

.. math:: E\lVert f(z) - z \rVert^2 = E\lVert f(z) - y \rVert^2 + E\lVert z - y \rVert^2 ,

so that a denoiser can be tuned without a clean image. :func:`hidden` makes any denoiser J-invariant: it hides the pixels of a 4×4 grid, one
phase after the other.

The network is the U-Net of Noise2Noise. It returns the image: a residual, added to an input in which nothing is hidden any more, would
show the network at the test the very pixel that it was trained not to see. At the test nothing is hidden, and the centre's value is used
after all, though the network was not trained to.

Each image has one noisy version, stored; see :mod:`course_lib.self_supervised_denoising.single_shots`.

Source: A. Krull, T.-O. Buchholz, F. Jug, *Noise2Void: Learning Denoising from Single Noisy Images*, CVPR 2019, arXiv:1811.10980;
schedule of the authors' notebook for BSD68, whose network has batch normalisation. J-invariance: J. Batson, L. Royer, *Noise2Self*,
ICML 2019, with the grid and the kernel of its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, metrics, noise, rng
from course_lib.batches import FloatPool
from course_lib.denoising.evaluation import psnr_per_image
from course_lib.rng import Draws
from course_lib.self_supervised_denoising import masking
from course_lib.self_supervised_denoising.common import of_any_size
from course_lib.self_supervised_denoising.noise2noise import UNet, distance
from course_lib.self_supervised_denoising.single_shots import SingleShots
from course_lib.self_supervised_denoising.single_shots import prepare as prepare
from course_lib.self_supervised_denoising.single_shots import prepare_noisy as prepare_noisy
from course_lib.self_supervised_denoising.single_shots import read as read

GRID = 4  # side of the grid of which one pixel is hidden at a time


@dataclass(frozen=True, kw_only=True)
class Settings(SingleShots):
    """The authors' training on BSD68, with the U-Net of Noise2Noise; the presets in ``recipes`` change single fields."""

    # the network
    depth: int = 2  # poolings
    width: int = 48  # channels on the way down; twice as many on the way up
    # the masks; patch_size is a multiple of 2^depth
    mask_ratio: float = 1 / 64  # share of masked pixels: 64 of a patch of 64×64
    masker: masking.Masker = "neighbour or centre"
    radius: int = 2  # of the neighbourhood
    # the optimisation
    steps: int = 80_000
    batch_size: int = 128
    learning_rate: float = 4e-4

    def __post_init__(self):
        super().__post_init__()
        if self.depth < 1 or self.width < 3 or self.channels not in (1, 3) or self.patch_size < 2 or self.patch_size % 2**self.depth:
            raise ValueError(
                f"depth = {self.depth}, width = {self.width}, channels = {self.channels}, patch_size = {self.patch_size}: the U-Net needs "
                f"depth ≥ 1, width ≥ 3, 1 or 3 channels, and patches whose side is a multiple of {2 ** max(self.depth, 0)}."
            )
        if not 1 < masking.box_side(self.mask_ratio) <= self.patch_size:
            side = masking.box_side(self.mask_ratio)
            raise ValueError(
                f"mask_ratio = {self.mask_ratio:g} is one pixel in {side} × {side}: a patch of {self.patch_size} needs one that is masked, "
                "and one that is not."
            )
        if self.masker not in get_args(masking.Masker):
            raise ValueError(f'masker = "{self.masker}", but it must be one of {", ".join(get_args(masking.Masker))}.')
        if self.radius < 1:
            raise ValueError(f"radius = {self.radius}: a neighbourhood has a radius of at least 1.")


class Masked(NamedTuple):
    """What one step learns from, each ``(B, C, P, P)``."""

    masked: Tensor  # the noisy patches with pixels replaced
    noisy: Tensor  # as they were
    mask: Tensor  # 1 where a pixel was replaced


def batch(pool: FloatPool, draws: Draws, settings: Settings) -> Masked:
    """Noisy patches, with the pixels of a mask replaced, and the mask; each ``(B, C, P, P)``."""
    noisy = pool.patches(settings.batch_size, draws("patches"))
    chosen = masking.stratified(noisy, settings.mask_ratio, draws("mask"))
    masked = masking.replaced(
        noisy, chosen, settings.masker, settings.radius, draws("replacement")
    )
    return Masked(masked, noisy, chosen.mask(noisy))


def step(
    model: nn.Module, batch: Masked, settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss on the masked pixels, and the PSNR in dB against the **noisy** values there,
    both scalars.
    """
    loss = distance(model(batch.masked), batch.noisy, "l2", mask=batch.mask)
    return loss, {"psnr": -10 * torch.log10(loss.detach())}


@torch.no_grad()
def masked_error(model: UNet, noisy: Tensor, settings: Settings, *, masks: int = 4, seed: int = 0) -> float:
    """The loss on noisy images ``(B, C, H, W)`` that are kept apart, with fixed masks: the same ones whenever it is asked for.

    It needs no clean image, so a training may be chosen by it. Images may be of any size.

    Raises:
        TypeError, ValueError: for integer images, fewer than one mask, or images so small that a mask has no pixel in them.
    """
    masks = checks.whole(masks, "masks", 1)
    found = []
    for number in range(masks):
        draws = rng.generator(seed, number, 0, "validation mask")
        chosen = masking.stratified(noisy, settings.mask_ratio, draws)
        if not bool(chosen.inside.any()):
            raise ValueError(f"no pixel of images of {tuple(noisy.shape[-2:])} pixels is masked at mask_ratio = {settings.mask_ratio:g}.")
        masked = masking.replaced(noisy, chosen, settings.masker, settings.radius, draws)
        found.append(distance(of_any_size(model, masked), noisy, "l2", mask=chosen.mask(noisy)).item())
    return sum(found) / masks


def evaluate(
    model: UNet, images: Iterable[Tensor], sigma_255: float, *, protocol: metrics.Protocol = "raw",
    indices: Sequence[int] | None = None, seed: int = 0,
) -> list[float]:  # fmt: skip
    """PSNR in dB of each image ``(C, H, W)``, uint8, by the paper's protocol: nothing is hidden, clamped or rounded.

    Args:
        model: in evaluation mode.
        images: the clean images.
        sigma_255: noise on the 0–255 scale.
        protocol: see :func:`course_lib.metrics.psnr`.
        indices: numbers of the images to measure, None for all.
        seed: of the test noise.
    """
    device = next(model.parameters()).device
    return psnr_per_image(
        model.denoise, images, noise.from_255(sigma_255), protocol=protocol, indices=indices, seed=seed, device=device
    )


def evaluate_hidden(model: UNet, images: Iterable[Tensor], sigma_255: float, **options) -> list[float]:
    """As :func:`evaluate`, of images ``(C, H, W)``, but each pixel is hidden while it is asked for, see :func:`hidden`."""
    device = next(model.parameters()).device

    def denoiser(noisy: Tensor, sigma: float) -> Tensor:
        return hidden(model.denoise, noisy)

    return psnr_per_image(denoiser, images, noise.from_255(sigma_255), **{"protocol": "raw", "device": device, **options})


# --- J-invariance ---------------------------------------------------------------------------------------------------------


def surroundings(noisy: Tensor) -> Tensor:
    """The mean of each pixel's 8 neighbours, weighted (½ 1 ½; 1 0 1; ½ 1 ½) / 6, in images ``(B, C, H, W)``; mirrored at the border.

    Raises:
        TypeError, ValueError: for integer images, or images of a wrong shape, of less than 2×2 pixels, or with NaN.
    """
    checks.require_images(noisy, "noisy images")
    if min(noisy.shape[-2:]) < 2:
        raise ValueError(f"noisy images have {tuple(noisy.shape[-2:])} pixels, but a pixel has neighbours from 2×2 on.")
    kernel = torch.tensor([[0.5, 1, 0.5], [1, 0, 1], [0.5, 1, 0.5]], dtype=noisy.dtype, device=noisy.device) / 6
    planes = F.pad(noisy.flatten(0, 1)[:, None], [1] * 4, mode="reflect")
    return F.conv2d(planes, kernel[None, None]).view(noisy.shape)


def hidden(denoiser: Callable[[Tensor], Tensor], noisy: Tensor) -> Tensor:
    """What a denoiser says of each pixel of ``noisy`` ``(B, C, H, W)`` while it is hidden: 16 passes, one for each phase of a 4×4 grid.

    The hidden pixels are replaced by :func:`surroundings`. The result is J-invariant for each phase J of the grid.
    """
    around, found = surroundings(noisy), torch.zeros_like(noisy)
    for phase in range(GRID * GRID):
        mask = masking.grid(noisy, GRID, phase).mask(noisy)
        found = found + mask * denoiser(torch.where(mask.bool(), around, noisy))
    return found


def self_loss(denoiser: Callable[[Tensor], Tensor], noisy: Tensor) -> float:
    """The mean squared error against the noisy images ``(B, C, H, W)`` themselves, each pixel hidden in its turn.

    In expectation it is the error against the clean images plus the variance of the noise, so that its minimum is the same.
    """
    return (hidden(denoiser, noisy) - noisy).square().mean().item()
