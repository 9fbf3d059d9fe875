r"""AP-BSN: a blind spot where the noise is correlated, by asymmetric pixel-shuffle downsampling.

Idea. A blind spot relies on noise that neighbours do not share. Pixel-shuffle downsampling PD with stride s puts pixels side by side that
were s apart, so that the noise is nearly independent, and the blind-spot network f learns from noisy images alone,

.. math:: \ell = \bigl\lVert \mathrm{PD}_a^{-1} f(\mathrm{PD}_a(z)) - z \bigr\rVert_1 , \qquad a = 5.

What removes correlation removes detail too. The two strides need not be equal: a network that has learnt, at a = 5, to ignore noise is
applied at the test with a smaller stride, b = 2, where more detail is left. The loss is the mean of the absolute error over all pixels,
of which the blind spot hides each from itself.

Random-replacing refinement (R3), at the test. Each value of the first estimate is replaced by the noisy one with probability p = 0.16,
T = 8 times; f sees these T images at full resolution, and their results are averaged,

.. math:: \hat y = \frac1T \sum_{t=1}^T f\bigl(m_t \odot z + (1 - m_t) \odot \hat y_0\bigr), \qquad
    \hat y_0 = \mathrm{PD}_b^{-1} f(\mathrm{PD}_b(z)).

So few values are noisy that the noise of a pixel can hardly be told from those around it, and the traces of the sub-images' grid go.

Network: :class:`course_lib.self_supervised_denoising.blind_spot.Dilated`, called DBSNl. Where this differs from the authors' code: their
values are on the 0–255 scale, which is a question of the first and last layer's scale; their sub-images share one image; and they continue
the border by reflection in R3, which shows a pixel its own mirror image, where here there are zeros, as in the training.

Every image has one noisy version, stored. Noise comes from a filter or a simulated camera, or is that of photographs.

Source: W. Lee, S. Son, K. M. Lee, *AP-BSN: Self-Supervised Denoising for Real-World Images via Asymmetric PD and Blind-Spot Network*,
CVPR 2022, arXiv:2203.11799, with schedule and R3 of the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Optional, get_args

import torch
from torch import Tensor, nn

from course_lib import camera, checks, corruptions, metrics, noise, rng
from course_lib.batches import FloatPool, resized, to_float
from course_lib.data import Dataset
from course_lib.denoising import common, evaluation
from course_lib.rng import Draws
from course_lib.self_supervised_denoising import pixel_shuffle
from course_lib.self_supervised_denoising.blind_spot import Dilated
from course_lib.self_supervised_denoising.noise2noise import distance
from course_lib.training import Plan

Noise = Literal["correlated", "camera"]


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """The authors' training on SIDD; the presets in ``recipes`` change single fields."""

    # the network
    width: int = 128  # channels
    modules: int = 9  # residual modules of each branch
    channels: int = 3  # 1 gray, 3 colour
    # pixel-shuffle downsampling and R3
    stride: int = 5  # in the training; 1 for a plain blind-spot network
    test_stride: int = 2
    passes: int = 8  # T of R3; 0 for the estimate without it
    replaced: float = 0.16  # p of R3
    # the training patches
    patch_size: int = 120  # side in pixels, a multiple of the stride
    scales: tuple[float, ...] = (1.0,)
    # the stored noise, where clean images are given; unclipped
    noise: Noise = "correlated"
    sigma_255: float = 25.0  # of correlated noise
    length: float = 1.0  # of the filter that correlates it, in pixels; 0 for white noise
    sigma_s: float = 0.08  # of a camera's shot noise, see camera.noise_level
    sigma_c: float = 0.03  # of its read noise
    # the optimisation: 20 epochs of 24,542 crops
    steps: int = 61_360
    batch_size: int = 8
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-6
    schedule: str = "drop"
    drop_at: tuple[float, ...] = (0.4, 0.8)

    def __post_init__(self):
        super().__post_init__()
        if self.width < 2 or self.modules < 1 or self.channels not in (1, 3):
            raise ValueError(
                f"width = {self.width}, modules = {self.modules}, channels = {self.channels}: the network needs width ≥ 2, modules ≥ 1, "
                "and 1 (gray) or 3 (colour) channels."
            )
        if self.stride < 1 or self.test_stride < 1:
            raise ValueError(f"stride = {self.stride}, test_stride = {self.test_stride}: a stride is at least 1, every pixel.")
        if self.patch_size < self.stride or self.patch_size % self.stride:
            raise ValueError(f"patch_size = {self.patch_size}: sub-images at stride {self.stride} need a multiple of it.")
        if self.passes < 0 or not 0 <= self.replaced <= 1:
            raise ValueError(f"passes = {self.passes}, replaced = {self.replaced}: R3 needs passes ≥ 0, and a share of the pixels, 0 to 1.")
        if self.noise not in get_args(Noise):
            raise ValueError(f'noise = "{self.noise}", but it must be one of {", ".join(get_args(Noise))}.')
        if self.noise == "camera" and self.channels != 3:
            raise ValueError("a camera's mosaic needs colour images: channels = 3.")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales = {self.scales}: give one or more positive factors, such as 1,0.5.")
        checks.number(self.sigma_255, "sigma_255", 0, 255)
        checks.number(self.length, "length", 0, corruptions.LONGEST)
        checks.number(self.sigma_s, "sigma_s", 0, 1)
        checks.number(self.sigma_c, "sigma_c", 0, 1)


class APBSN(nn.Module):
    """A blind-spot network on the sub-images of a picture.

    Args:
        settings: ``width``, ``modules``, ``channels``, the strides and those of R3 are used.
        seed: of the initial weights.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        self.settings, self.channels = settings, settings.channels
        self.blind = Dilated(width=settings.width, modules=settings.modules, channels=settings.channels, seed=seed)

    def at_stride(self, noisy: Tensor, stride: int) -> Tensor:
        """The estimate ``(B, C, H, W)`` of each pixel from the others of its sub-image."""
        parts = pixel_shuffle.down(noisy, stride)
        estimates = common.in_tiles(self.blind, parts, radius=self.blind.reach)
        return pixel_shuffle.up(estimates, stride, noisy.shape[2:])

    def forward(self, noisy: Tensor) -> Tensor:
        """The estimate ``(B, C, H, W)`` at the stride of the training."""
        return self.at_stride(noisy, self.settings.stride)

    @torch.no_grad()
    def denoise(
        self, noisy: Tensor, sigma: float | None = None, *, stride: int | None = None, passes: int | None = None
    ) -> Tensor:
        """The clean estimate of images of any size, at a stride of the test, with R3.

        Args:
            noisy: ``(B, C, H, W)`` floating point, nominally in [0, 1].
            sigma: not used; every denoiser of the course is called alike.
            stride: of the test, and
            passes: of R3 (0: none); those of the settings where they are None.

        Returns:
            The estimate, on the device of ``noisy``. It is the same in each call: the draws of R3 are fixed.

        Raises:
            TypeError: for integer images.
            ValueError: for a wrong number of dimensions or channels, no pixels, a stride below 1 or
                larger than the images, or a negative number of passes.
        """
        common.require_input(self, noisy)
        passes = checks.whole(self.settings.passes if passes is None else passes, "passes", 0)
        images = noisy.to(next(self.parameters()))
        estimate = self.at_stride(images, self.settings.test_stride if stride is None else stride)
        if passes:
            masks = refinement_masks(images.shape, passes, self.settings.replaced).to(images.device)
            estimate = refined(self.blind, images, estimate, masks)
        return estimate.to(noisy.device)


# --- random-replacing refinement ------------------------------------------------------------------------------------------


def refinement_masks(shape: Sequence[int], passes: int, share: float, seed: int = 0) -> Tensor:
    """Which values each pass takes from the noisy image: booleans ``(T, B, C, H, W)``, true with probability ``share``.

    Args:
        shape: of the images, (B, C, H, W).
        passes: T, at least 1.
        share: p, from 0 to 1; each channel of a pixel is drawn by itself.
        seed: of the draws, which are made on the CPU, so that every device gets the same.

    Raises:
        TypeError: for anything but numbers.
        ValueError: for fewer passes than 1, or a share outside [0, 1].
    """
    checks.number(share, "share", 0, 1)
    draws = rng.generator(seed, 0, 0, "R3")
    return torch.rand((checks.whole(passes, "passes", 1), *shape), generator=draws) < share


def refined(network: nn.Module, noisy: Tensor, estimate: Tensor, masks: Tensor) -> Tensor:
    """R3: the mean of what a blind-spot network makes of mixtures of the estimate and the noisy image, ``(B, C, H, W)``.

    Args:
        network: sees images at full resolution.
        noisy, estimate: ``(B, C, H, W)``.
        masks: ``(T, B, C, H, W)`` booleans, true where a pass takes the noisy value. The T passes are
            one batch.
    """
    mixed = torch.where(masks, noisy, estimate).flatten(0, 1)
    made = common.in_tiles(network, mixed, radius=network.reach)
    return made.unflatten(0, masks.shape[:2]).mean(0)


# --- the method -----------------------------------------------------------------------------------------------------------


def corrupted(clean: Tensor, settings: Settings, generator: torch.Generator) -> Tensor:
    """Clean images ``(B, C, H, W)`` in [0, 1] with the noise of the settings, unclipped where no camera clips it."""
    if settings.noise == "camera":
        return camera.photograph(clean, settings.sigma_s, settings.sigma_c, generator, pattern=camera.PATTERNS[0])[0]
    return corruptions.correlated(clean, noise.from_255(settings.sigma_255), settings.length, generator)


def prepare(images: Dataset | Iterable[Tensor], settings: Settings, seed: int = 0) -> FloatPool:
    """The pool of the batches: noisy photographs as they are, or one noisy version of each clean image.

    Args:
        images: uint8 ``(C, H, W)``. A data set of noisy photographs, which has clean counterparts beside them, gives its
            photographs alone, and its truth is not looked at; all others are clean, and get the noise of (seed, number of the image).
        settings: ``noise`` and what belongs to it, ``scales`` (of clean images), ``patch_size``, ``channels``.
        seed: of the noise.

    Raises:
        ValueError: for other channels, or images smaller than a patch.
    """
    if getattr(images, "truth", None) is not None:
        noisy = [to_float(image) for image in images.images]
    else:
        sharp = [resized(image, scale) for scale in settings.scales for image in getattr(images, "images", images)]
        draws = (rng.generator(seed, number, 0, "stored noise") for number in range(len(sharp)))
        noisy = [corrupted(to_float(image)[None], settings, draw)[0] for image, draw in zip(sharp, draws, strict=True)]
    pool = FloatPool(noisy, settings.patch_size)
    if pool.channels != settings.channels:
        raise ValueError(f"channels = {settings.channels}, but the images have {pool.channels}.")
    return pool


def batch(pool: FloatPool, draws: Draws, settings: Settings) -> Tensor:
    """Noisy patches ``(B, C, P, P)``: input and target at once."""
    return pool.patches(settings.batch_size, draws("patches"))


def step(model: nn.Module, batch: Tensor, settings: Settings) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean absolute error against the **noisy** patches, and the PSNR in dB against them, both
    scalars.
    """
    estimate = model(batch)
    loss = distance(estimate, batch, "l1")
    return loss, {"psnr": -10 * torch.log10(distance(estimate.detach(), batch, "l2"))}


@torch.inference_mode()
def evaluate(
    model: APBSN, images: Iterable[Tensor], *, stride: Optional[int] = None, passes: Optional[int] = None,  # noqa: UP045
    indices: Sequence[int] | None = None, seed: int = 0,
) -> list[float]:  # fmt: skip
    """PSNR in dB of each image with the noise that the network was made for; the output is rounded to 8 bit.

    Args:
        model: in evaluation mode.
        images: the clean images, uint8 ``(C, H, W)``.
        stride, passes: see :meth:`APBSN.denoise`.
        indices: numbers of the images to measure, None for all.
        seed: of the test noise.

    Raises:
        TypeError: for another network.
    """
    common.require_network(model, APBSN)
    device, values = next(model.parameters()).device, []
    for index, image in evaluation.chosen(images, indices):
        clean = to_float(image)[None]
        noisy = corrupted(clean, model.settings, rng.generator(seed, index, 0, "test noise"))
        denoised = model.denoise(noisy.to(device), stride=stride, passes=passes).cpu()
        values.append(metrics.psnr(denoised, clean, protocol="quantised").item())
    return values


def evaluate_pairs(
    model: APBSN, noisy: Sequence[Tensor], clean: Sequence[Tensor], *, stride: Optional[int] = None,  # noqa: UP045
    passes: Optional[int] = None, indices: Sequence[int] | None = None,  # noqa: UP045
) -> list[float]:  # fmt: skip
    """PSNR in dB of real photographs ``(C, H, W)``; ``stride`` and ``passes`` as :meth:`APBSN.denoise`, the rest and errors as
    :func:`course_lib.denoising.evaluation.psnr_of_pairs`. ``TypeError`` for another network.
    """
    common.require_network(model, APBSN)
    restorer = partial(model.denoise, stride=stride, passes=passes)
    return evaluation.psnr_of_pairs(restorer, noisy, clean, indices=indices, device=next(model.parameters()).device)
