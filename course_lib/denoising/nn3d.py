r"""NN3D: a non-local filter between two passes of a network that is already trained.

Idea. A convolutional network sees a few dozen pixels around each pixel. The same window may appear ten more times in the image,
and non-local methods live on that. NN3D needs no training: it lets a network denoise, averages blocks of the result that look
alike, mixes this with the noisy image, and lets the network denoise once more, now told less noise. For k = 1 … K,

.. math:: \bar z_k = \lambda_k z + (1 - \lambda_k)\,\hat y_{k-1}, \qquad \tilde y_k = \mathrm{CNN}(\bar z_k, \lambda_k \sigma), \qquad
   \hat y_k = \mathrm{NLF}(\tilde y_k, \tau_k) .

The filter NLF takes every block of a grid together with the 31 blocks near it that look most like it, and transforms this *group* along
itself, pixel by pixel, by Haar wavelets. The approximation, which is the mean of the group, is kept; a detail q becomes
:math:`q^3 / (q^2 + \tau^2)`, so that small differences between the blocks vanish and large ones stay. After the inverse transform
every block returns to its place, where overlapping blocks are averaged, each with the inverse of the sum of its group's
squared attenuations :math:`q^2 / (q^2 + \tau^2)` as its weight: groups that were smoothed more count more.

K = 2 is the paper's. :math:`\lambda_k = 1/k`, :math:`\tau_k = \lambda_k \sigma / 4`, blocks of 10×10, groups of 32, and the search on
:math:`\tilde y_1` only are those of a reimplementation; the step of the grid and the size of the search window are ours.

Source: C. Cruz, A. Foi, V. Katkovnik, K. Egiazarian, *Nonlocality-Reinforced Convolutional Neural Networks for Image Denoising*,
IEEE Signal Processing Letters 25(8), 2018, arXiv:1803.02112.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks, noise
from course_lib.denoising import evaluation
from course_lib.noise import Denoiser, require_images, require_sigma

AT_ONCE = 256  # groups are filtered together; so many stay in the processor's cache, which is six times as fast as all of them


@dataclass(frozen=True, kw_only=True)
class Settings:
    """NN3D with two iterations."""

    iterations: int = 2  # K
    block: int = 10  # side of a block
    group: int = 32  # blocks of a group, a power of two
    radius: int = 16  # blocks are sought at most so many rows and columns away
    every: int = 5  # step of the grid of blocks that get a group

    def __post_init__(self):
        if self.iterations < 1 or self.block < 1 or self.radius < 1 or not 1 <= self.every <= self.block:
            raise ValueError(f"{self}: iterations, block and radius are at least 1, and every is at most block, or pixels are left out.")
        if self.group < 2 or self.group & (self.group - 1):
            raise ValueError(f"group = {self.group}: Haar wavelets need a power of two, from 2 on.")


def denoise(cnn: Denoiser, noisy: Tensor, sigma: float, settings: Settings | None = None) -> Tensor:
    """The clean estimate of NN3D around ``cnn``.

    Args:
        cnn: ``cnn(images, sigma)``, a denoiser that is told the level; see :func:`nearest` for networks that are not.
        noisy: ``(B, C, H, W)`` floating point, nominally in [0, 1].
        sigma: of the noise, on the [0, 1] scale.
        settings: those of :class:`Settings` where it is None.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong shape, images too small for a group, or σ outside [0, 2].
    """
    settings = settings or Settings()
    require_images(noisy, "noisy images")
    require_sigma(sigma)
    estimate, matches = noisy, None
    for k in range(1, settings.iterations + 1):
        share = 1 / k
        mixed = share * noisy + (1 - share) * estimate
        estimate = cnn(mixed, share * sigma)
        if matches is None:
            matches = [match(image, settings) for image in estimate]
        threshold = share * sigma / 4
        estimate = torch.stack([average(image, found, threshold, settings) for image, found in zip(estimate, matches, strict=True)])
    return estimate


def corners(length: int, settings: Settings) -> Tensor:
    """Where the blocks of the grid begin along a side, ``(blocks,)``: every so many pixels, and at the last place possible."""
    last = length - settings.block
    return torch.tensor([*range(0, last, settings.every), last])


@torch.no_grad()
def match(image: Tensor, settings: Settings) -> Tensor:
    """The group of every block of the grid: places of the blocks that look most like it, itself first.

    Args:
        image: ``(C, H, W)``.
        settings: block, group, radius and every are used.

    Returns:
        ``(N, group)``, each the number y · W + x of a block's upper left pixel, by increasing squared distance.

    Raises:
        ValueError: for an image in whose corner there are fewer blocks than a group has.
    """
    _, height, width = checks.tensor(image, "image", ("C", "H", "W")).shape
    block, radius = settings.block, settings.radius
    rows, columns = height - block + 1, width - block + 1  # places where a block can begin
    if min(rows, columns) < 1 or min(rows, radius + 1) * min(columns, radius + 1) < settings.group:
        raise ValueError(
            f"an image of {height}×{width} pixels has too few blocks of {block}×{block} within {radius} pixels of a corner: "
            f"a group needs {settings.group}."
        )
    ys, xs = corners(height, settings).to(image.device), corners(width, settings).to(image.device)
    shifts = range(-radius, radius + 1)
    distances = image.new_full((len(shifts) ** 2, len(ys), len(xs)), math.inf)
    padded = F.pad(image, (radius,) * 4)
    for number, (dy, dx) in enumerate((dy, dx) for dy in shifts for dx in shifts):
        shifted = padded[:, radius + dy : radius + dy + height, radius + dx : radius + dx + width]
        of_blocks = _block_means((image - shifted).square().sum(0), settings)
        inside = ((ys + dy >= 0) & (ys + dy < rows))[:, None] & ((xs + dx >= 0) & (xs + dx < columns))
        distances[number] = of_blocks.masked_fill(~inside, math.inf)
    middle = len(distances) // 2
    distances[middle] = -1.0  # a block comes first in its own group, also where others are the same
    nearest = distances.flatten(1).topk(settings.group, dim=0, largest=False).indices  # (group, N)
    dy, dx = nearest // len(shifts) - radius, nearest % len(shifts) - radius
    y, x = ys.repeat_interleave(len(xs)) + dy, xs.repeat(len(ys)) + dx
    return (y * width + x).T


def _block_means(values: Tensor, settings: Settings) -> Tensor:
    """Means of ``(H, W)`` over the blocks of the grid, and over no others: first along columns, then along rows."""
    block, every = settings.block, settings.every
    for _ in range(2):
        regular = F.avg_pool2d(values[None], (block, 1), (every, 1))[0, : len(range(0, len(values) - block, every))]
        values = torch.cat([regular, values[-block:].mean(0, keepdim=True)]).T
    return values


@torch.no_grad()
def average(image: Tensor, matches: Tensor, threshold: float, settings: Settings) -> Tensor:
    """The non-local filter NLF: groups shrunk along themselves, and put back.

    Args:
        image: ``(C, H, W)``.
        matches: ``(N, group)``, from :func:`match`.
        threshold: τ; with 0 the image is returned as it is, but for rounding.
        settings: block and group are used.
    """
    channels, height, width = image.shape
    size, haar = settings.block, haar_matrix(settings.group).to(image)
    side = torch.arange(size, device=image.device)
    within = (side[:, None] * width + side).flatten()  # pixels of a block
    total, weights = image.new_zeros(channels, height * width), image.new_zeros(height * width)
    for some in matches.split(AT_ONCE):
        places = (some[..., None] + within).flatten()  # (n · group · size²)
        groups = (
            image.flatten(1)[:, places]
            .view(channels, len(some), settings.group, size**2)
            .transpose(0, 1)
        )
        details = haar @ groups  # along the group: (n, C, group, size²)
        energy, tiny = details.square(), torch.finfo(image.dtype).tiny
        attenuation = energy / (energy + threshold**2).clamp(min=tiny)
        attenuation[:, :, 0] = 1  # the approximation
        shrunk = haar.T @ (details * attenuation)
        weight = 1 / attenuation.square().sum((1, 2, 3))  # (n,)
        weighted = (shrunk * weight.view(-1, 1, 1, 1)).transpose(0, 1).reshape(channels, -1)
        total.index_add_(1, places, weighted)
        weights.index_add_(0, places, weight.repeat_interleave(settings.group * size**2))
    return (total / weights).view_as(image)


def haar_matrix(length: int) -> Tensor:
    """The orthonormal Haar transform of ``length`` values, a power of two, as ``(length, length)``: the first row is the approximation."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < length:
        coarse = torch.kron(matrix, torch.tensor([[1.0, 1.0]], dtype=torch.float64))
        fine = torch.kron(torch.eye(len(matrix), dtype=torch.float64), torch.tensor([[1.0, -1.0]], dtype=torch.float64))
        matrix = torch.cat([coarse, fine]) / math.sqrt(2)
    return matrix.float()


def nearest(specialists: Mapping[float, Denoiser]) -> Denoiser:
    """A denoiser that is told the level, made of networks for one level each: the nearest one is used.

    Where no network is within a tenth of the level, the image's contrast is scaled so that its noise is what the nearest
    network knows, and scaled back afterwards.

    Args:
        specialists: σ on the 0–255 scale -> denoiser.

    Raises:
        ValueError: for no specialist, or a level that is not positive.
    """
    if not specialists or not all(checks.number(level, "the σ of a specialist") > 0 for level in specialists):
        raise ValueError(f"specialists for σ = {sorted(specialists)}: give at least one, each for a σ above 0.")

    def denoiser(noisy: Tensor, sigma: float) -> Tensor:
        if sigma <= 0:
            return noisy
        known = min(specialists, key=lambda level: abs(math.log(level / 255 / sigma)))
        factor = known / 255 / sigma
        if abs(factor - 1) < 0.1:
            return specialists[known](noisy, sigma)
        return (specialists[known]((noisy - 0.5) * factor + 0.5, known / 255) - 0.5) / factor + 0.5

    return denoiser


def evaluate(
    cnn: Denoiser,
    images: Iterable[Tensor],
    sigma_255: float,
    *,
    indices: Sequence[int] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[float]:
    """PSNR in dB of each image after NN3D around ``cnn``, by the protocol of the networks: unclipped noise, 8-bit output.

    Args:
        cnn: as for :func:`denoise`.
        images: uint8 ``(C, H, W)``.
        sigma_255: noise on the 0–255 scale.
        indices: numbers of the images to measure, None for all.
        seed: of the test noise, the same as for the network alone.
        device: where network and filter compute.
    """
    return evaluation.psnr_per_image(
        partial(denoise, cnn), images, noise.from_255(sigma_255), protocol="quantised", indices=indices, seed=seed, device=device
    )
