r"""An encoder and a decoder that restore an image: the teachers and the students of chapter 18, and their tasks.

Network. Three levels of residual blocks, each level at half the resolution and twice the width of the one above; what the encoder found
at a level is added to the decoder's. ``forward`` returns the image and the features of every level, since a student learns from these.

Tasks. White Gaussian noise, motion blur with a little noise, or rain, drawn anew in each step (:mod:`course_lib.degradations`). What a
network reads is its other half: the *degraded* image, as every restorer, or the *clean* one, which it then only has to pass on.
Such a teacher of clean images never sees the task; its features are those of an image without degradation.

.. math:: \ell = \frac{1}{n} \lVert f(z) - y \rVert_1 .

The residual :math:`f(z) = z + g(z)` is for those who read degraded images. With it, one who reads clean images would learn g = 0.

Source: our own, after the common shape of restoration networks (Ronneberger, Fischer and Brox 2015; Zamir et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, degradations, metrics, rng
from course_lib.batches import ImagePool, padded, to_float
from course_lib.data import Dataset
from course_lib.denoising import common
from course_lib.denoising.evaluation import chosen
from course_lib.noise import from_255, gaussian, test_noise, uniform_sigma
from course_lib.rng import Draws
from course_lib.training import Plan

Task = Literal["noise", "motion", "rain"]
LEVELS = 3
TEST = {"noise": 25.0, "motion": 15.0, "rain": 0.03}
"""Strength of each task where it is tested, as σ on the 0–255 scale, length of the way in pixels, and share of pixels with a drop."""


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """A teacher; the presets in ``recipes`` change single fields."""

    # the network
    width: int = 32  # channels of the first level, doubled at each further one
    blocks: int = 2  # residual blocks of a level
    channels: int = 3  # 1 gray, 3 colour
    # the task
    task: Task = "noise"
    reads: Literal["degraded", "clean"] = "degraded"
    sigma_255: tuple[float, float] = (25.0, 25.0)  # lowest and highest, of the task "noise"
    length: tuple[float, float] = (5.0, 25.0)  # of a motion, in pixels
    motion_sigma_255: float = 2.0  # noise of a moved picture
    density: tuple[float, float] = (0.01, 0.05)  # share of pixels with a drop
    # the training patches
    patch_size: int = 128  # side in pixels, a multiple of 4
    scales: tuple[float, ...] = (1.0,)
    # the optimisation: Adam, cosine, patches and batch of the journal version of SLKD; it has 100 epochs
    steps: int = 100_000
    batch_size: int = 8
    learning_rate: float = 3e-4

    def __post_init__(self):
        super().__post_init__()
        common.require_shape(2, self.width, self.channels, self.sigma_255, self.scales)
        if self.blocks < 1:
            raise ValueError(f"blocks = {self.blocks}, but a level needs at least one.")
        if self.task not in get_args(Task) or self.reads not in ("degraded", "clean"):
            tasks = ", ".join(get_args(Task))
            raise ValueError(f'task = "{self.task}", reads = "{self.reads}": tasks are {tasks}; degraded or clean images are read.')
        degradations.require_range(self.length, "length", 1, degradations.LONGEST)
        degradations.require_range(self.density, "density", 0, degradations.DENSEST)
        checks.number(self.motion_sigma_255, "motion_sigma_255", 0, 255)
        if self.patch_size < 16 or self.patch_size % 2 ** (LEVELS - 1):
            raise ValueError(f"patch_size = {self.patch_size}, but it must be a multiple of {2 ** (LEVELS - 1)}, and at least 16.")


class Restored(NamedTuple):
    """What a restorer returns."""

    image: Tensor  # (B, C, H, W)
    encoder: tuple[Tensor, ...]  # of level l: (B, 2ˡ · width, H / 2ˡ, W / 2ˡ), before it goes on down
    decoder: tuple[Tensor, ...]  # the same, on the way up, from the smallest level to the largest


class Block(nn.Module):
    """Two convolutions around a rectifier, and what came in is added: ``(B, C, H, W)`` in and out."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x + Conv(ReLU(Conv(x))), in the shape ``(B, C, H, W)`` of x."""
        return x + self.second(F.relu(self.first(x)))


class Restorer(nn.Module):
    """The network: ``forward`` of images ``(B, C, H, W)``, whose sides are multiples of 4, returns a :class:`Restored`.

    Args:
        settings: ``width``, ``blocks``, ``channels`` and ``reads`` are used.
        seed: of the initial weights. Those that end a block, and the last ones, begin at zero: the network begins as its skip connections.
    """

    multiple = 2 ** (LEVELS - 1)

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        widths = [settings.width * 2**level for level in range(LEVELS)]
        self.channels, self.residual = settings.channels, settings.reads == "degraded"

        def level(width: int) -> nn.Sequential:
            return nn.Sequential(*(Block(width) for _ in range(settings.blocks)))

        self.first = nn.Conv2d(settings.channels, settings.width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(list(zip(widths, widths[1:], strict=False))))
        self.encoder = nn.ModuleList(level(width) for width in widths)
        self.decoder = nn.ModuleList(level(width) for width in reversed(widths[:-1]))
        self.last = nn.Conv2d(settings.width, settings.channels, 3, padding=1)
        generator = rng.generator(seed, 0, 0, "initial weights")
        ends = {id(self.last)} | {id(block.second) for block in self.modules() if isinstance(block, Block)}
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear", generator=generator)
                if id(layer) in ends and (layer is not self.last or self.residual):
                    nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Restored:
        """The restored images ``(B, C, H, W)``, and the features of all levels."""
        x = self.first(images - 0.5)
        encoder = []
        for number, level in enumerate(self.encoder):
            x = level(x)
            encoder.append(x)
            if number < LEVELS - 1:
                x = self.down[number](x)
        decoder = [x]
        for up, level, skip in zip(self.up, self.decoder, reversed(encoder[:-1]), strict=True):
            x = level(up(x) + skip)
            decoder.append(x)
        change = self.last(x).float()
        return Restored((images if self.residual else 0.5) + change, tuple(encoder), tuple(decoder))

    @torch.no_grad()
    def restore(self, degraded: Tensor) -> Tensor:
        """The estimate ``(B, C, H, W)`` of clean images from degraded ones of any size, on their device; errors as ``require_input``."""
        common.require_input(self, degraded)
        weights = next(self.parameters())

        def part(images: Tensor) -> Tensor:
            return self(padded(images.to(weights), self.multiple)).image[..., : images.shape[-2], : images.shape[-1]].to(images.device)

        return common.in_tiles(part, degraded, radius=self.radius(), multiple=self.multiple)

    def radius(self) -> int:
        """How far away a pixel may lie that the result depends on: every convolution of a level counts by the size of its pixels."""
        reach = 2  # the first and the last one
        for number, level in enumerate((*self.encoder, *self.decoder)):
            scale = 2 ** (number if number < LEVELS else 2 * (LEVELS - 1) - number)
            reach += scale * 2 * len(level)
        return reach + 2 * 2 ** (LEVELS - 1)  # a pixel of the smallest level is a square of pixels


# --- tasks and figures ----------------------------------------------------------------------------------------------------


def degrade(clean: Tensor, settings: Settings, generator: torch.Generator) -> Tensor:
    """Clean images ``(B, C, H, W)`` as the task of the settings hands them out, in the same shape; errors as the degradation's."""
    if settings.task == "motion":
        return degradations.motion_blur(clean, settings.length, from_255(settings.motion_sigma_255), generator)
    if settings.task == "rain":
        return degradations.rain(clean, settings.density, generator)
    sigma = uniform_sigma(*(from_255(level) for level in settings.sigma_255), len(clean), generator)
    return gaussian(clean, sigma, generator, clip=False)


def test_image(clean: Tensor, task: str, number: int, *, strength: float | None = None, seed: int = 0) -> Tensor:
    """Image ``(1, C, H, W)`` of that number as the test of a task has it: the same for all networks.

    Args:
        clean: floating point in [0, 1].
        task: of ``TEST``.
        number: of the image, which its degradation depends on.
        strength: σ on the 0–255 scale, length, or density; None for that of ``TEST``.
        seed: of the tests.

    Raises:
        ValueError: for an unknown task, or a strength that makes no sense.
    """
    if task not in TEST:
        raise ValueError(f'unknown task "{task}"; there are {", ".join(TEST)}.')
    level = TEST[task] if strength is None else strength
    if task == "noise":
        return test_noise(clean, from_255(level), number, seed=seed)  # that of all denoisers
    generator = rng.generator(seed, number, 0, f"test of the task {task}")
    if task == "motion":
        return degradations.motion_blur(clean, (float(level), float(level)), from_255(2.0), generator)
    return degradations.rain(clean, (float(level), float(level)), generator)


def flops(network: nn.Module, side: int = 128) -> int:
    """Floating-point operations for an image of ``side`` × ``side``, a multiplication and an addition being two, by PyTorch's counter."""
    from torch.utils.flop_counter import FlopCounterMode

    weight = next(network.parameters())
    image = torch.zeros(1, network.channels, side, side, device=weight.device, dtype=weight.dtype)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops()


# --- the method -----------------------------------------------------------------------------------------------------------


def prepare(images: Dataset | Iterable[Tensor], settings: Settings, seed: int = 0) -> ImagePool:
    """Clean training images, uint8 ``(C, H, W)``, as a pool of patches; errors as :func:`course_lib.denoising.common.pool`."""
    return common.pool(images, settings.channels, settings.patch_size, settings.scales)


def batch(pool: ImagePool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(degraded, clean) patches ``(B, C, P, P)``, the degradation drawn anew."""
    clean = pool.patches(settings.batch_size, draws("patches"))
    return degrade(clean, settings, draws("degradation")), clean


def step(model: Restorer, batch: tuple[Tensor, Tensor], settings: Settings) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean absolute error of a batch and its PSNR in dB, both scalars."""
    degraded, clean = batch
    image = model(degraded if settings.reads == "degraded" else clean).image
    error = (image.detach() - clean).square().mean()
    return F.l1_loss(image, clean), {"psnr": -10 * torch.log10(error)}


@torch.inference_mode()
def evaluate(
    model: nn.Module, images: Iterable[Tensor], task: str, *, strength: float | None = None, indices: Sequence[int] | None = None,
    seed: int = 0,
) -> list[float]:  # fmt: skip
    """PSNR in dB of each restored image, rounded to 8 bit.

    Args:
        model: has ``restore``; in evaluation mode.
        images: uint8 ``(C, H, W)``.
        task, strength, seed: see :func:`course_lib.noisy_classification.restorer.test_image`.
        indices: numbers of the images to measure, None for all.
    """
    values = []
    for number, image in chosen(images, indices):
        clean = to_float(image)[None]
        restored = model.restore(test_image(clean, task, number, strength=strength, seed=seed))
        values.append(metrics.psnr(restored, clean, protocol="quantised").item())
    return values
