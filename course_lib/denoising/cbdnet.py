r"""CBDNet: real photographs, by a network that first looks how strong the noise is, and then removes it.

Idea. An estimator :math:`\mathcal F_E` predicts the noise level of every pixel, :math:`\hat\sigma = \mathcal F_E(z)`, and a
denoiser :math:`\mathcal F_D` is told, :math:`\hat y = z + \mathcal F_D(z, \hat\sigma)`. As with FFDNet, to be told too little
leaves noise, and to be told too much only smooths. So the estimator is trained to err on the safe side. Between the two a
user can correct the map. It trains on noise that a model of the camera makes (:mod:`course_lib.camera`), in turns with real
pairs where there are some.

Loss, with :math:`\lambda_a = 0.5, \lambda_{TV} = 0.05`:

.. math:: \ell = \lVert \hat y - y \rVert^2 + \lambda_a\, \bigl|\alpha - 1[\hat\sigma < \sigma]\bigr|\, (\hat\sigma - \sigma)^2
   + \lambda_{TV} \bigl(\lVert \nabla_h \hat\sigma \rVert^2 + \lVert \nabla_v \hat\sigma \rVert^2\bigr),

each as a mean over pixels here. At :math:`\alpha = 0.3` to underestimate costs 7/3 times as much as to overestimate by the same
amount. Real pairs have no map, and so no middle term.

Networks. The estimator has 5 convolutions of 32 channels at full resolution, with a rectifier after the last one too; the
denoiser is a U-Net of widths 64, 128, 256 whose skip connections are added. 29,507 and 4,335,875 parameters.

Source: S. Guo, Z. Yan, K. Zhang, W. Zuo, L. Zhang, *Toward Convolutional Blind Denoising of Real Photographs*, CVPR 2019,
arXiv:1807.04686. Weights of the loss and the 1×1 convolution at the end are those of reimplementations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import camera, checks, noise, rng
from course_lib.batches import ImagePool, padded, require_eight_bit
from course_lib.data import Dataset
from course_lib.denoising import common, evaluation
from course_lib.rng import Draws
from course_lib.training import Plan


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """CBDNet as reimplementations have it; the paper's own schedule is not confirmed."""

    # the networks
    width: int = 64  # of the U-Net at full resolution; twice and four times that below
    estimator_width: int = 32
    # the training patches
    patch_size: int = 128  # a multiple of 4
    scales: tuple[float, ...] = (1.0,)
    # the camera
    sigma_s: float = 0.16  # largest shot noise, drawn from 0 on for each channel
    sigma_c: float = 0.06  # largest read noise, drawn from 0 on for each channel
    gamma: tuple[float, float] = (1.8, 2.6)  # of the response curve, which stands for the paper's 201 measured ones
    mosaic: float = 0.8  # share of steps with a Bayer mosaic: four orders and none are equally likely
    jpeg_quality: tuple[int, int] = (60, 100)  # lowest and highest, for every second step
    # the loss
    alpha: float = 0.3  # |α − 1| weighs an underestimated level, α an overestimated one
    asymmetric: float = 0.5  # weight of the level's error
    smooth: float = 0.05  # weight of its total variation
    # the optimisation
    steps: int = 100_000
    batch_size: int = 32
    learning_rate: float = 2e-4
    schedule: str = "cosine"

    def __post_init__(self):
        super().__post_init__()
        if self.width < 1 or self.estimator_width < 1 or self.patch_size < 8 or self.patch_size % 4:
            raise ValueError(
                f"width = {self.width}, estimator_width = {self.estimator_width}, patch_size = {self.patch_size}: widths of at least "
                "1, and patches whose side is a multiple of 4, since the U-Net halves it twice, are needed."
            )
        if not 0 < self.alpha < 0.5 or min(self.asymmetric, self.smooth) < 0:
            raise ValueError(
                f"alpha = {self.alpha}, asymmetric = {self.asymmetric}, smooth = {self.smooth}: α lies between 0 and 0.5, so that too "
                "little costs more than too much, and weights are not negative."
            )
        if not (0 <= self.sigma_s <= 1 and 0 <= self.sigma_c <= 1 and 0 <= self.mosaic <= 1):
            raise ValueError(f"sigma_s = {self.sigma_s}, sigma_c = {self.sigma_c}, mosaic = {self.mosaic}: they lie in 0 to 1.")
        low, high = self.jpeg_quality
        if not 1 <= low <= high <= 100 or not 1 <= self.gamma[0] <= self.gamma[1] <= 4:
            raise ValueError(f"jpeg_quality = {self.jpeg_quality}, gamma = {self.gamma}: ranges within 1 to 100 and 1 to 4 are needed.")


REACH = 5 + 2 + 2 * 3 + 4 * 6 + 2 * 3 + 2 + 4
"""How far away a pixel may lie that a restored one depends on.

The estimator has 5 layers; the U-Net 2 + 2 at full resolution, 3 + 3 at half of it, 6 at a quarter, and blocks of 4×4 pixels
that it halves twice."""


def convolutions(*widths: int) -> nn.Sequential:
    """3×3 convolutions from each width to the next, each with a rectifier."""
    layers = [(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True)) for a, b in zip(widths[:-1], widths[1:], strict=True)]
    return nn.Sequential(*(layer for pair in layers for layer in pair))


class UNet(nn.Module):
    """The non-blind denoiser: image and noise-level map ``(B, 6, H, W)`` to a correction ``(B, 3, H, W)``; H and W multiples of 4."""

    def __init__(self, width: int):
        super().__init__()
        w = width
        self.top = convolutions(6, w, w)
        self.middle = convolutions(w, *[2 * w] * 3)
        self.bottom = convolutions(2 * w, *[4 * w] * 6)
        self.up_middle, self.after_middle = nn.ConvTranspose2d(4 * w, 2 * w, 2, stride=2), convolutions(*[2 * w] * 4)
        self.up_top, self.after_top = nn.ConvTranspose2d(2 * w, w, 2, stride=2), convolutions(*[w] * 3)
        self.last = nn.Conv2d(w, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        """The correction ``(B, 3, H, W)`` that belongs to image and map ``(B, 6, H, W)``."""
        top = self.top(images)
        middle = self.middle(F.avg_pool2d(top, 2))
        bottom = self.bottom(F.avg_pool2d(middle, 2))
        middle = self.after_middle(self.up_middle(bottom) + middle)
        return self.last(self.after_top(self.up_top(middle) + top))


class CBDNet(nn.Module):
    """Estimator and denoiser; ``forward`` returns **the clean image and the noise level**.

    Args:
        settings: ``width`` and ``estimator_width`` are used.
        seed: of the initial weights, normal with variance 2 / inputs; the last layers of both networks start at zero.
    """

    channels = 3

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        self.estimator = convolutions(3, *[settings.estimator_width] * 4, 3)  # its last rectifier keeps levels at 0 or above
        self.denoiser = UNet(settings.width)
        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.denoiser.last.weight)
        # The estimate starts as a constant above 0: a rectifier that has become 0 everywhere has no gradient, and stays there.
        nn.init.zeros_(self.estimator[-2].weight)
        nn.init.constant_(self.estimator[-2].bias, 0.05)

    def forward(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """(clean estimate, noise level), each ``(B, 3, H, W)``, float32 whatever autocast does; H
        and W multiples of 4.
        """
        level = self.estimator(noisy).float()
        both = torch.cat([noisy, level.to(noisy.dtype)], dim=1)
        return noisy + self.denoiser(both).float(), level

    @torch.no_grad()
    def denoise(self, noisy: Tensor, sigma: float | None = None, *, level: Tensor | None = None) -> Tensor:
        """The clean estimate of colour images of any size; sides are mirrored up to a multiple of 4 and cut again.

        Args:
            noisy: ``(B, 3, H, W)`` floating point, nominally in [0, 1].
            sigma: not used; every denoiser of the course is called alike.
            level: a noise level ``(B or 1, 3, H, W)`` to be told instead of the estimator's, such as twice that.

        Returns:
            The estimate, on the device of ``noisy``, wherever the network is.

        Raises:
            TypeError: for integer images, or a level that is no tensor.
            ValueError: for a wrong shape of images or level, or a level that is negative or above 2.
        """
        images, size = self._ready(noisy)
        levels = ()
        if level is not None:
            shape = tuple(getattr(level, "shape", ()))
            if len(shape) != 4 or shape[1:] != noisy.shape[1:] or shape[0] not in (1, len(noisy)):
                raise ValueError(
                    f"level has shape {shape}, but a tensor of the shape {tuple(noisy.shape)} of the images is expected (or one level "
                    "for all of them): torch.full_like(noisy, 0.1) tells the same everywhere."
                )
            noise.require_sigma(level)
            levels = (padded(level.to(images), 4).expand(len(images), -1, -1, -1),)

        def restored(part: Tensor, told: Tensor | None = None) -> Tensor:
            part = part.to(weights)
            told = self.estimator(part) if told is None else told.to(weights)
            return (part + self.denoiser(torch.cat([part, told], dim=1))).to(noisy.device)

        weights = next(self.parameters())
        return common.in_tiles(restored, images, *levels, radius=REACH, multiple=4, side=256)[..., : size[0], : size[1]]  # it is wide

    @torch.no_grad()
    def level(self, noisy: Tensor) -> Tensor:
        """The estimated noise level of every pixel and channel, in the shape of ``noisy``; errors as :meth:`denoise`."""
        images, size = self._ready(noisy)
        weights = next(self.parameters())
        found = common.in_tiles(lambda part: self.estimator(part.to(weights)).to(part.device), images, radius=common.reach(self.estimator))
        return found[..., : size[0], : size[1]]

    def _ready(self, noisy: Tensor) -> tuple[Tensor, tuple[int, int]]:
        common.require_input(self, noisy)
        return padded(noisy, 4), tuple(noisy.shape[-2:])


def asymmetric(level: Tensor, true_level: Tensor, alpha: float) -> Tensor:
    r"""Mean of :math:`|\alpha - 1[\hat\sigma < \sigma]|\,(\hat\sigma - \sigma)^2` over all pixels:
    too little costs more, for α < 1/2.

    Both levels are ``(B, C, H, W)`` in image units; the loss is a scalar. Errors as :func:`course_lib.checks.alike`.
    """
    checks.alike(level=level, true_level=true_level)
    alpha = checks.number(alpha, "alpha")
    error = level - true_level
    return ((alpha - (error < 0).to(error.dtype)).abs() * error.square()).mean()


def total_variation(level: Tensor) -> Tensor:
    """Mean squared difference of neighbours, both ways: ``(B, C, H, W)`` gives a scalar; errors as :mod:`course_lib.checks`."""
    checks.tensor(level, "level", ("B", "C", "H", "W"), of="floating", finite=False)
    return level.diff(dim=-1).square().mean() + level.diff(dim=-2).square().mean()


class Pool:
    """Clean photographs to photograph again, and real pairs, if there are some."""

    def __init__(self, clean: ImagePool, pairs: ImagePool | None):
        self.clean, self.pairs = clean, pairs

    def to(self, device: torch.device | str) -> Pool:
        """Move everything to ``device``, in place; returns the pool."""
        self.clean.to(device)
        if self.pairs is not None:
            self.pairs.to(device)
        return self


def prepare(
    images: Dataset | Iterable[Tensor], settings: Settings, seed: int = 0, *, pairs: Iterable[tuple[Tensor, Tensor]] = ()
) -> Pool:
    """Clean colour images, uint8 ``(3, H, W)``, and real pairs (noisy, clean) of such, as the pool of the batches.

    Raises:
        ValueError: for images that are not in colour, or are smaller than a patch.
    """
    stacked = [torch.cat(require_eight_bit(pair)) for pair in pairs]  # a patch is cut from both at once
    if any(both.shape[0] != 6 for both in stacked):
        raise ValueError(f"pairs have {sorted({both.shape[0] for both in stacked})} channels together, but two colour images have 6.")
    clean = common.pool(images, 3, settings.patch_size, settings.scales)
    return Pool(clean, ImagePool(stacked, settings.patch_size) if stacked else None)


Batch = tuple[Tensor, Tensor, Optional[Tensor]]  # noqa: UP045 - the API pages are built without torch


def batch(pool: Pool, draws: Draws, settings: Settings) -> Batch:
    """(noisy, clean, true noise level or None), images ``(B, 3, P, P)``: synthetic and, in every
    second step, real ones.
    """
    if pool.pairs is not None and draws.step % 2:
        both = pool.pairs.patches(settings.batch_size, draws("patches"))
        return both[:, :3], both[:, 3:], None
    clean = pool.clean.patches(settings.batch_size, draws("patches"))
    # 3 + 3 numbers for the channels' σ, 1 for γ
    draw = torch.rand(7, len(clean), generator=draws("camera"), device=draws.device)
    low, high = settings.gamma
    choice = torch.rand(3, generator=draws("mosaic and file"), device=draws.device).tolist()
    pattern = camera.PATTERNS[int(4 * choice[1])] if choice[0] < settings.mosaic else None
    noisy, level = camera.photograph(
        clean,
        settings.sigma_s * draw[:3].T,
        settings.sigma_c * draw[3:6].T,
        draws("noise"),
        gamma=low + (high - low) * draw[6],
        pattern=pattern,
    )
    if choice[2] < 0.5:
        worst, best = settings.jpeg_quality
        quality = torch.randint(
            worst, best + 1, (len(clean),), generator=draws("quality"), device=draws.device
        )
        noisy = noise.jpeg(noisy, quality.tolist())
    return noisy, clean, level


def step(model: nn.Module, batch: Batch, settings: Settings) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch; PSNR in dB of its denoised patches taken together, and the mean estimated level: all scalars."""
    noisy, clean, true_level = batch
    denoised, level = model(noisy)
    error = (denoised - clean).square().mean()
    loss = error + settings.smooth * total_variation(level)
    if true_level is not None:
        loss = loss + settings.asymmetric * asymmetric(level, true_level, settings.alpha)
    return loss, {"psnr": -10 * torch.log10(error.detach()), "level": level.detach().mean()}


def evaluate(model: CBDNet, noisy: Sequence[Tensor], clean: Sequence[Tensor], *, indices: Sequence[int] | None = None) -> list[float]:
    """PSNR in dB of real photographs ``(C, H, W)``; arguments and errors as :func:`course_lib.denoising.evaluation.psnr_of_pairs`.

    ``TypeError`` for another network.
    """
    common.require_network(model, CBDNet)
    return evaluation.psnr_of_pairs(model.denoise, noisy, clean, indices=indices, device=next(model.parameters()).device)
