r"""Noise2Noise: a noisy target is as good as a clean one, if its noise has nothing to do with that of the input.

Idea. The network that minimises :math:`E\lVert f(z) - y \rVert^2` is the conditional mean :math:`E[y \mid z]`. Take a second noisy
image :math:`z'` of the same scene as the target. If :math:`E[z' \mid z] = E[y \mid z]`, which holds for independent noise of zero
mean,

.. math:: E\lVert f(z) - z' \rVert^2 = E\lVert f(z) - y \rVert^2 + E\lVert z' - y \rVert^2 ,

and both losses have the same minimiser. The loss is larger by the variance of the noise, and a finite number of targets makes its
gradient noisier. Other losses keep another statistic of the target: :math:`\ell_1` the median, which survives text or impulses on fewer
than half of the pixels; the annealed :math:`\ell_0`, :math:`(\lvert f(z) - z' \rvert + \epsilon)^\gamma` with γ falling from 2 to 0, the
mode. Where pixels are lost, the loss leaves out those that the target has lost.

Network. A U-Net with 5 poolings, 48 channels down and 96 up, the input being its last skip connection: 991,203 parameters in colour,
988,609 in gray. It returns the image, not a residual.

Noise is drawn anew in each step, for input and target, each with a strength of its own, as in the paper. Every clean image is then seen in
as many realisations as there are steps, which no recorded pairs would give. With :attr:`Settings.shots` each scene has stored shots.

Source: J. Lehtinen, J. Munkberg, J. Hasselgren, S. Laine, T. Karras, M. Aittala, T. Aila, *Noise2Noise: Learning Image Restoration
without Clean Data*, ICML 2018, arXiv:1803.04189; network, schedule, Gaussian and Poisson noise are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Optional, Union, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, corruptions, metrics, rng
from course_lib.batches import ImagePool, require_eight_bit, resized, to_float
from course_lib.data import Dataset
from course_lib.denoising import common
from course_lib.denoising.evaluation import chosen
from course_lib.rng import Draws
from course_lib.self_supervised_denoising.common import of_any_size
from course_lib.self_supervised_denoising.shots import Shots, check_noisy
from course_lib.training import Plan

Loss = Literal["l2", "l1", "l0"]
Target = Literal["noisy", "clean", "same", "mean"]

@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """The released colour network on Gaussian noise; the presets in ``recipes`` change single fields."""

    # the network
    depth: int = 5  # poolings
    width: int = 48  # channels on the way down; twice as many on the way up
    channels: int = 3  # 1 gray, 3 colour
    # the training patches
    patch_size: int = 256  # side in pixels, a multiple of 2^depth; smaller images are enlarged to it
    scales: tuple[float, ...] = (1.0,)
    # the noise
    noise: corruptions.Kind = "gaussian"
    strength: tuple[float, float] = (0.0, 50.0)  # lowest and highest, see corruptions.STRENGTHS; each image of a pair has its own
    shots: int = 0  # stored shots of a scene, 0 for noise that is drawn anew in each step
    # the loss
    target: Target = "noisy"  # "clean" and "same" (the input itself) are controls; "mean": of all other stored shots
    loss: Loss = "l2"
    final_gamma: float = 0.0  # of l0, whose γ falls to it from 2
    epsilon: float = 1e-8  # of l0
    # the optimisation
    steps: int = 300_000
    batch_size: int = 4
    learning_rate: float = 3e-4
    beta2: float = 0.99
    schedule: str = "late"

    def __post_init__(self):
        super().__post_init__()
        if self.depth < 1 or self.width < 3 or self.channels not in (1, 3):
            raise ValueError(
                f"depth = {self.depth}, width = {self.width}, channels = {self.channels}: the U-Net needs depth ≥ 1, width ≥ 3, "
                "and 1 (gray) or 3 (colour) channels."
            )
        if self.patch_size < 1 or self.patch_size % 2**self.depth:
            raise ValueError(f"patch_size = {self.patch_size}: {self.depth} poolings need a multiple of {2**self.depth}.")
        for name, kinds in (("noise", corruptions.Kind), ("target", Target), ("loss", Loss)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f'{name} = "{getattr(self, name)}", but it must be one of {", ".join(get_args(kinds))}.')
        corruptions.require_strength(self.noise, self.strength)
        if self.shots < 0 or self.shots == 1 or (self.target == "mean" and self.shots < 2):
            raise ValueError(f"shots = {self.shots}: a pair needs 2 shots or more of a scene (0: drawn anew, which has no mean).")
        if not 0 <= self.final_gamma <= 2 or not self.epsilon > 0:
            raise ValueError(f"final_gamma = {self.final_gamma}, epsilon = {self.epsilon}: γ ends in 0 to 2, and ϵ is above 0.")


class UNet(nn.Module):
    """Conv, then ``depth`` times Conv and pooling, Conv; then up again, with two Convs a level; ``forward`` returns the **image**.

    Kernels are 3×3, with leaky rectifiers (0.1) after all but the last. Pooling takes the maximum of 2×2, the way up repeats pixels;
    each level of it gets what was pooled to its size on the way down, the last one the input.

    Args:
        settings: ``depth``, ``width`` and ``channels`` are used.
        seed: of the initial weights: normal, of variance 2 / inputs, in the last layer 1 / inputs.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        depth, w, c = settings.depth, settings.width, settings.channels
        self.channels, self.multiple = c, 2**depth

        def conv(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.1, inplace=True))

        self.first = conv(c, w)
        self.down = nn.ModuleList(conv(w, w) for _ in range(depth))
        self.bottom = conv(w, w)
        inputs = [2 * w, *[3 * w] * (depth - 2)][: depth - 1]  # what comes from below and what was pooled
        self.up = nn.ModuleList(nn.Sequential(conv(n, 2 * w), conv(2 * w, 2 * w)) for n in inputs)
        below = 2 * w if depth > 1 else w
        self.top = nn.Sequential(conv(below + c, 4 * w // 3), conv(4 * w // 3, 2 * w // 3))
        self.last = nn.Conv2d(2 * w // 3, c, 3, padding=1)

        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                kind = "linear" if layer is self.last else "relu"
                nn.init.kaiming_normal_(layer.weight, nonlinearity=kind, generator=generator)
                nn.init.zeros_(layer.bias)

    def forward(self, noisy: Tensor) -> Tensor:
        """The clean estimate of ``noisy`` ``(B, C, H, W)``, float32 whatever autocast does; H and W are multiples of 2^depth."""
        image = noisy - 0.5
        skips, x = [image], self.first(image)
        for layer in self.down:
            x = F.max_pool2d(layer(x), 2)
            skips.append(x)
        x = self.bottom(x)
        skips.pop()  # the smallest goes straight on
        for layer in (*self.up, self.top):
            x = layer(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()], dim=1))
        return self.last(x).float() + 0.5

    def denoise(self, noisy: Tensor, sigma: float | None = None) -> Tensor:
        """The clean estimate of images of any size; sides are mirrored up to a multiple of 2^depth and cut again.

        Args:
            noisy: ``(B, C, H, W)`` floating point, nominally in [0, 1].
            sigma: not used; every denoiser of the course is called alike.

        Returns:
            The estimate, on the device of ``noisy``, wherever the network is.

        Raises:
            TypeError: for integer images.
            ValueError: for a wrong number of dimensions or channels, or no pixels.
        """
        return of_any_size(self, noisy)


# --- the loss ------------------------------------------------------------------------------------------------------------


def distance(
    estimate: Tensor, target: Tensor, loss: str, *, mask: Tensor | None = None, gamma: float | Tensor = 2.0, epsilon: float = 1e-8
) -> Tensor:
    r"""The loss, a scalar: the mean of :math:`d^2` (l2), :math:`|d|` (l1) or :math:`(|d| + \epsilon)^\gamma` (l0), with d the difference.

    Args:
        estimate, target: ``(B, C, H, W)``.
        loss: "l2", "l1" or "l0".
        mask: ``(B, C, H, W)``, 1 where a pixel of the target counts; the mean is over these. None: all count.
        gamma, epsilon: of l0.

    Raises:
        TypeError, ValueError: for estimate and target as :func:`course_lib.checks.alike`.
        ValueError: for an unknown loss, or a mask of another shape, which would count a pixel once for all of its channels.
    """
    checks.alike(estimate=estimate, target=target)
    if mask is not None and mask.shape != estimate.shape:
        shapes = f"the mask is {tuple(mask.shape)}, but the estimate {tuple(estimate.shape)}"
        raise ValueError(f"{shapes}: give one in its shape; mask.expand_as(estimate) makes it of (B, 1, H, W).")
    difference = (estimate - target).abs()
    if loss == "l2":
        values = difference.square()
    elif loss == "l1":
        values = difference
    elif loss == "l0":
        values = (difference + epsilon) ** gamma
    else:
        raise ValueError(f'unknown loss "{loss}"; there are {", ".join(get_args(Loss))}.')
    return values.mean() if mask is None else (mask * values).sum() / mask.sum().clamp(min=1)


# --- the method -----------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """What one step learns from."""

    noisy: Tensor  # (B, C, P, P)
    target: Tensor  # (B, C, P, P): another noisy one, or the clean one
    mask: Optional[Tensor]  # noqa: UP045 - (B, C, P, P): which pixels of the target count, None for all
    gamma: Tensor  # a scalar, of l0 in this step


def prepare(images: Dataset | Iterable[Tensor], settings: Settings, seed: int = 0) -> Union[ImagePool, Shots]:  # noqa: UP007
    """Clean training images, uint8 ``(C, H, W)``, as the pool of the batches; with ``settings.shots``, their stored noisy shots.

    The stored noise is that of (seed, number of the image, number of the shot). Images that are smaller than a patch are enlarged; others
    than uint8, other shapes or channels raise ``TypeError`` or ``ValueError``.
    """
    images = require_eight_bit(images)
    if any(not image.numel() for image in images):
        raise ValueError("an image has no pixels.")
    sharp = [resized(image, max(1.0, settings.patch_size / min(image.shape[-2:]))) for image in images]
    if not settings.shots:
        return common.pool(sharp, settings.channels, settings.patch_size, settings.scales)
    scenes = [to_float(resized(image, scale))[None] for scale in settings.scales for image in sharp]
    stored = []
    for number, clean in enumerate(scenes):
        draws = [rng.generator(seed, number, shot, "stored shots") for shot in range(settings.shots)]
        made = [_noisy(clean, settings, draw, draw) for draw in draws]
        stored.append(([z for z, _ in made], [m for _, m in made if m is not None], clean))
    return Shots(stored, settings.patch_size, settings.channels)


def prepare_shots(scenes: Iterable[Tensor], settings: Settings) -> Shots:
    """Noisy shots that were recorded, ``(M, C, H, W)`` for each scene with M ≥ 2, as the pool of the batches: there is no clean image.

    8-bit images, and others that look clipped, are taken with a warning: their noise has no zero mean near black and white. Fewer than
    two shots of a scene, different numbers of them, or another shape raise ``ValueError``.
    """
    if settings.target == "clean":
        raise ValueError('target = "clean", but recorded shots have no clean image: take "noisy" or "mean".')
    stored = [(list(check_noisy(scene, settings.noise).split(1)), [], None) for scene in scenes]
    return Shots(stored, settings.patch_size, settings.channels)


def batch(pool: Union[ImagePool, Shots], draws: Draws, settings: Settings) -> Pair:  # noqa: UP007
    """Patches of noisy images and of their targets; input and target have noise, and its strength,
    of their own.
    """
    done = draws.step / max(1, settings.steps - 1)
    gamma = torch.tensor(2 - (2 - settings.final_gamma) * done, device=draws.device)
    if isinstance(pool, Shots):
        return Pair(*pool.pairs(settings.batch_size, settings.target, draws), gamma)
    clean = pool.patches(settings.batch_size, draws("patches"))
    noisy, _ = _noisy(clean, settings, draws("strength"), draws("noise"))
    if settings.target == "clean":
        return Pair(noisy, clean, None, gamma)
    if settings.target == "same":
        return Pair(noisy, noisy, None, gamma)
    return Pair(
        noisy, *_noisy(clean, settings, draws("target's strength"), draws("target's noise")), gamma
    )


def _noisy(clean: Tensor, settings: Settings, strength: torch.Generator, noise: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Noisy images, each with a strength of its own, and the mask of the pixels that are left in them."""
    low, high = settings.strength
    drawn = low + (high - low) * torch.rand(len(clean), generator=strength, device=clean.device)
    return corruptions.corrupt(clean, settings.noise, drawn, noise)


def step(model: nn.Module, batch: Pair, settings: Settings) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and the PSNR in dB against its **targets**, both scalars.

    Against noisy targets it cannot exceed the targets' own: it levels off at 20 log₁₀(255 / σ)
    where the network is perfect.
    """
    estimate = model(batch.noisy)
    loss = distance(
        estimate,
        batch.target,
        settings.loss,
        mask=batch.mask,
        gamma=batch.gamma,
        epsilon=settings.epsilon,
    )
    error = distance(estimate.detach(), batch.target, "l2", mask=batch.mask)
    return loss, {"psnr": -10 * torch.log10(error)}


@torch.inference_mode()
def evaluate(
    model: UNet, images: Iterable[Tensor], kind: str, strength: float, *, indices: Sequence[int] | None = None, seed: int = 0
) -> list[float]:
    """PSNR in dB of each image by the paper's protocol: whole images, 8-bit output; the noise is seeded, as the paper's is not.

    Args:
        model: in evaluation mode.
        images: uint8 ``(C, H, W)``.
        kind, strength: of the noise, see :data:`course_lib.corruptions.STRENGTHS`.
        indices: numbers of the images to measure, None for all.
        seed: of the test noise.
    """
    values = []
    for index, image in chosen(images, indices):
        clean = to_float(image)[None]
        noisy, _ = corruptions.corrupt(clean, kind, strength, rng.generator(seed, index, 0, "test noise"))
        values.append(metrics.psnr(model.denoise(noisy), clean, protocol="quantised").item())
    return values
