r"""Gradual denoising: every layer says what noise it has found, and networks for one class of images.

Idea. A network of 20 layers shows its work. Kernel 0 of each layer is an estimate of noise that goes straight to the output,

.. math:: \hat y = z + \frac{1}{10} \sum_{\ell = 0}^{19} r_\ell,

so that one can look at the image after the first, the second, … layer. The other 63 kernels carry on. And a network that knows that
the image shows a face knows more than one that has to be ready for anything: a *class-aware* network is the general one, trained
further on images of one class. At test time a classifier chooses the network.

Noise is Gaussian with one σ, or that of counting photons: :math:`z = \mathrm{Poisson}(c\,y)/c`, with c such that the brightest pixel of
the image expects as many photons as the *peak* says.

The loss, :math:`\frac{1}{2N}\sum_i \lVert \hat y_i - y_i \rVert_F^2`, the optimiser and the patches are those of the course: the paper's
are not in our sources.

Source: T. Remez, O. Litany, R. Giryes, A. M. Bronstein, *Class-Aware Fully-Convolutional Gaussian and Poisson Denoising*, IEEE TIP 2018,
arXiv:1808.06562; details of the layers are those of the authors' released code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib import checks, metrics, noise, rng
from course_lib.batches import ImagePool, to_float
from course_lib.data import Dataset
from course_lib.denoising import common, evaluation
from course_lib.denoising.dncnn import with_noise
from course_lib.rng import Draws
from course_lib.training import Plan

BORDER = 20  # pixels at the rim of an image that the paper's PSNR leaves out


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """The paper's network; patches and optimisation are the course's."""

    # the network
    depth: int = 20  # convolutions
    width: int = 64  # kernels of each, one of which estimates noise
    channels: int = 1
    centred: bool = False  # start orthogonal in the kernels' middle taps and with zeros in the others
    # the training patches
    patch_size: int = 64
    scales: tuple[float, ...] = (1.0,)
    sigma_255: tuple[float, float] = (25.0, 25.0)  # lowest and highest σ of Gaussian noise; the paper has one for each network
    peak: float = 0.0  # of Poisson noise in its place; 0 for Gaussian noise
    # the optimisation
    steps: int = 100_000
    batch_size: int = 64
    learning_rate: float = 1e-3
    schedule: str = "cosine"

    def __post_init__(self):
        super().__post_init__()
        common.require_shape(self.depth, self.width, self.channels, self.sigma_255, self.scales)
        if self.width < 2 or self.peak < 0:
            raise ValueError(f"width = {self.width}, peak = {self.peak}: at least 2 kernels, one of which carries on, and a peak ≥ 0.")


class GradualDenoiser(nn.Module):
    """Convolutions of 3×3, each of which also estimates noise; ``forward`` returns the **clean image**.

    Args:
        settings: ``depth``, ``width``, ``channels`` and ``centred`` are used.
        seed: of the initial weights, uniform as Glorot and Bengio (2010) derive unless centred; biases start at 0.01.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        channels, on = settings.channels, settings.width - settings.channels
        widths = [(channels, settings.width), *[(on, settings.width)] * (settings.depth - 2), (on, channels)]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in widths)
        self.channels = channels
        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.layers:
            if settings.centred:
                common.orthogonal(layer.weight, centred=True, gain=math.sqrt(2), generator=generator)
            else:
                nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.constant_(layer.bias, 0.01)

    def estimates(self, noisy: Tensor) -> Tensor:
        r"""What each layer adds to the image, :math:`r_\ell / 10`: ``(depth, B, C, H, W)``, float32
        whatever autocast does.
        """
        carried, found = noisy - 0.5, []
        for number, layer in enumerate(self.layers):
            features = layer(carried)
            found.append(features[:, : self.channels].float())
            carried = features[:, self.channels :]
            if number < len(self.layers) - 2:  # the last but one has no rectifier
                carried = carried.relu()
        return torch.stack(found) / 10

    def forward(self, noisy: Tensor) -> Tensor:
        """The clean estimate of ``noisy`` (B, C, H, W), in the same shape, float32 whatever autocast does."""
        return noisy + self.estimates(noisy).sum(0)

    @torch.no_grad()
    def denoise(self, noisy: Tensor, sigma: float | None = None) -> Tensor:
        """The clean estimate ``(B, C, H, W)``, of any height and width, on the device of ``noisy``; σ is not used.

        Raises:
            TypeError, ValueError: see :func:`course_lib.denoising.common.require_input`.
        """
        common.require_input(self, noisy)
        weights = next(self.parameters())
        return common.in_tiles(lambda part: self(part.to(weights)).to(part.device), noisy, radius=common.reach(self))

    @torch.no_grad()
    def gradually(self, noisy: Tensor) -> Tensor:
        """The image after each layer, the noisy one first: ``(depth + 1, B, C, H, W)``; errors as :meth:`denoise`."""
        common.require_input(self, noisy)
        steps = self.estimates(noisy.to(next(self.parameters()))).to(noisy.device)
        return torch.cat([noisy[None], noisy + steps.cumsum(0)])


def degraded(clean: Tensor, draws: Draws, settings: Settings) -> Tensor:
    """Images ``(B, C, H, W)`` with the noise that the settings ask for."""
    return noise.poisson(clean, settings.peak, draws("noise")) if settings.peak else with_noise(clean, draws, settings)


def prepare(images: Dataset | Iterable[Tensor], settings: Settings, seed: int = 0) -> ImagePool:
    """Training images, uint8 ``(C, H, W)``, as the pool from which :func:`batch` cuts patches."""
    return common.pool(images, settings.channels, settings.patch_size, settings.scales)


def batch(pool: ImagePool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(noisy, clean) patches ``(B, C, P, P)``. With Poisson noise each patch is scaled by its own maximum."""
    clean = pool.patches(settings.batch_size, draws("patches"))
    return degraded(clean, draws, settings), clean


def step(model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and the PSNR in dB of its denoised patches taken together, both scalars."""
    noisy, clean = batch
    return common.image_step(model(noisy), clean)


@torch.inference_mode()
def evaluate(
    model: GradualDenoiser,
    images: Iterable[Tensor],
    *,
    sigma_255: float = 0.0,
    peak: float = 0.0,
    border: int = BORDER,
    indices: Sequence[int] | None = None,
    seed: int = 0,
) -> list[float]:
    """PSNR in dB of each image, by the paper's protocol: raw, without a border of 20 pixels, the image mirrored beyond its rim.

    Args:
        model: in evaluation mode.
        images: uint8 ``(C, H, W)``.
        sigma_255, peak: noise, Gaussian on the 0–255 scale or Poisson: one of the two is positive.
        border: pixels left out on every side, where images are large enough; also how far the image is mirrored.
        indices: numbers of the images to measure, None for all.
        seed: of the test noise.

    Raises:
        TypeError: for images that are not uint8, or another network.
        ValueError: unless exactly one kind of noise is given, or for an image that is all border.
    """
    common.require_network(model, GradualDenoiser)
    checks.number(sigma_255, "sigma_255", 0)
    checks.number(peak, "peak", 0)
    border = checks.whole(border, "border", 0)
    if (sigma_255 > 0) == (peak > 0):
        raise ValueError(f"sigma_255 = {sigma_255}, peak = {peak}: give one of them, positive.")
    device, values = next(model.parameters()).device, []
    for index, image in evaluation.chosen(images, indices):
        shorter = min(image.shape[-2:])
        if shorter <= 2 * border:
            raise ValueError(f"an image of {tuple(image.shape[-2:])} pixels is all border: give a border below {shorter / 2:g}.")
        clean, draws = to_float(image)[None], rng.generator(seed, index, 0, "test noise")
        noisy = noise.poisson(clean, peak, draws) if peak else noise.gaussian(clean, noise.from_255(sigma_255), draws, clip=False)
        mirrored = torch.nn.functional.pad(noisy, (border,) * 4, mode="reflect") if border else noisy
        denoised = model.denoise(mirrored.to(device)).cpu()
        inner = (..., slice(2 * border, denoised.shape[-2] - 2 * border), slice(2 * border, denoised.shape[-1] - 2 * border))
        kept = (..., slice(border, clean.shape[-2] - border), slice(border, clean.shape[-1] - border))
        values.append(metrics.psnr(denoised[inner], clean[kept], protocol="raw").item())
    return values
