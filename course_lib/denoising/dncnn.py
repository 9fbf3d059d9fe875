r"""DnCNN: a plain convolutional network that predicts the noise.

Idea. The noisy image is :math:`z = y + \eta`. Instead of the clean image :math:`y` the network :math:`R` estimates the
*residual* :math:`\eta`, and :math:`\hat y = z - R(z)`. To return a good image unchanged, the network then only has to
return zero. Batch normalisation makes the deep stack trainable, and the two help each other.

Loss, over N patches (equation 1 of the paper): :math:`\ell = \frac{1}{2N}\sum_i \lVert R(z_i) - (z_i - y_i)\rVert_F^2`.

Networks. DnCNN-S has 17 layers and is trained for one σ; DnCNN-B has 20 layers and is trained *blind*, with a σ from
[0, 55] for each patch; DnCNN-3 is DnCNN-B with two more tasks, super-resolution and JPEG deblocking: what bicubic
interpolation or a decoder gets wrong is a residual as well. All convolutions are 3×3 with 64 channels, without pooling,
so that d layers see (2d + 1)×(2d + 1) pixels.

Source: K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang, *Beyond a Gaussian Denoiser*, IEEE TIP 26(7), 2017,
arXiv:1608.03981; the optimiser, scales and noise on the fly are those of the authors' released code, version 1.1. It
differs from ours where either works as well: it shrinks the already shrunk image again (so that its scales are 1, 0.9,
0.72 and 0.504), cuts patches on a grid of 10 pixels, and keeps the statistics of the last batch for batch normalisation
where we keep a running mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib import devices, metrics, noise, rng
from course_lib.batches import ImagePool
from course_lib.data import Dataset
from course_lib.denoising import common, published
from course_lib.rng import Draws
from course_lib.training import Plan

BN_EPS = 1e-4  # of the authors' batch normalisation


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """DnCNN-S as published; the presets in ``recipes`` change single fields."""

    # the network
    depth: int = 17  # convolutions: 17 for one σ, 20 blind
    width: int = 64  # channels between them
    channels: int = 1  # 1 gray, 3 colour
    batch_norm: bool = True  # after every convolution but the first and the last
    zero_last: bool = False  # start with the last convolution at zero, so that the untrained network returns its input
    centred: bool = False  # start orthogonal in the kernels' middle taps and with zeros in the others, instead of He's way
    # the training patches
    patch_size: int = 40  # side in pixels: 40 for one σ, 50 blind
    scales: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7)  # each training image enters at these sizes
    sigma_255: tuple[float, float] = (25.0, 25.0)  # lowest and highest σ of a patch, on the 0–255 scale
    general: bool = False  # DnCNN-3: a third of a batch gets noise, a third low resolution, a third JPEG compression
    factors: tuple[int, ...] = (2, 3, 4)  # … of the low resolution, in equal parts
    jpeg_quality: tuple[int, int] = (5, 99)  # … lowest and highest
    # the optimisation
    steps: int = 82_800  # × 128 patches: as many as 50 epochs of the 212,000 that the released code cuts out
    batch_size: int = 128
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    schedule: str = "drop"  # after 30 of the 50 epochs

    def __post_init__(self):
        super().__post_init__()
        common.require_shape(self.depth, self.width, self.channels, self.sigma_255, self.scales)
        if self.general and self.batch_size < 3 * len(self.factors):
            raise ValueError(f"batch_size = {self.batch_size}: DnCNN-3 needs {3 * len(self.factors)}, one patch for each degradation.")
        if not self.factors or min(self.factors) < 2:
            raise ValueError(f"factors = {self.factors}: give one or more integers of at least 2, such as 2,3,4.")
        if len(self.jpeg_quality) != 2 or not 1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100:
            raise ValueError(f"jpeg_quality = {self.jpeg_quality}: give a lowest and a highest between 1 and 100, such as 5,99.")

    @property
    def cut(self) -> int:
        """Side of the patches before their degradation.

        Low resolution needs a multiple of every factor; eight pixels more than ``patch_size`` let the blocks of JPEG
        begin anywhere in what is left.
        """
        multiple = math.lcm(*self.factors)
        return multiple * math.ceil((self.patch_size + 8) / multiple) if self.general else self.patch_size


class DnCNN(nn.Module):
    """Conv + ReLU, then depth - 2 times Conv + BN + ReLU, then Conv; ``forward`` returns the
    **residual**.

    Args:
        settings: ``depth``, ``width``, ``channels``, ``batch_norm``, ``zero_last`` and ``centred``
            are used.
        seed: of the initial weights, see :func:`initialise`.

    As in the original, convolutions before batch normalisation have no bias (its β is one). Without
    it they have.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        width, channels, norm = settings.width, settings.channels, settings.batch_norm
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(settings.depth - 2):
            layers.append(nn.Conv2d(width, width, 3, padding=1, bias=not norm))
            if norm:
                layers.append(nn.BatchNorm2d(width, eps=BN_EPS))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(width, channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)
        self.channels = channels

        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                initialise(layer.weight, settings, generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if settings.zero_last:
            nn.init.zeros_(self.layers[-1].weight)

    def forward(self, noisy: Tensor) -> Tensor:
        """Estimate of the noise in ``noisy`` (B, C, H, W), in the same shape, float32 whatever
        autocast does.
        """
        return self.layers(noisy).float()

    def denoise(self, noisy: Tensor, sigma: float | None = None) -> Tensor:
        """The clean estimate ŷ = z − R(z).

        Args:
            noisy: ``(B, C, H, W)`` floating point, nominally in [0, 1], of any height and width;
                the network itself computes in the precision of its weights.
            sigma: not used: DnCNN has no input for it. It is here because every denoiser of the
                course is called alike.

        Returns:
            The estimate, on the device of ``noisy``, wherever the network is.

        Raises:
            TypeError: for integer images.
            ValueError: for a wrong number of dimensions or channels.
            RuntimeError: in training mode, where batch normalisation would use and change the
                statistics of ``noisy``.
        """
        return common.without_residual(self, noisy)


def initialise(kernel: Tensor, settings: Settings, generator: torch.Generator) -> None:
    """Fill a kernel ``(out, in, 3, 3)``: normal with variance 2 / (9 · inputs), as He et al. (2015) derive for ReLU.

    Or centred, where the settings say so.
    """
    if settings.centred:
        common.orthogonal(kernel, centred=True, gain=math.sqrt(2), generator=generator)
    else:
        nn.init.kaiming_normal_(kernel, nonlinearity="relu", generator=generator)


def loss(residual: Tensor, true_noise: Tensor) -> Tensor:
    r"""Equation 1: :math:`\frac{1}{2N}\sum_{i=1}^N \lVert R(z_i) - (z_i - y_i) \rVert_F^2`, a scalar.

    Both ``(N, C, H, W)``. A sum over the pixels of a patch: a mean over them would be smaller by C·H·W / 2 (800 for
    40×40), so learning rates and clipping thresholds do not carry over from one form to the other.
    """
    return (residual - true_noise).square().sum() / (2 * len(residual))


def prepare(images: Dataset | Iterable[Tensor], settings: Settings, seed: int = 0) -> ImagePool:
    """Training images, uint8 ``(C, H, W)``, as the pool from which :func:`batch` cuts patches."""
    return common.pool(images, settings.channels, settings.cut, settings.scales)


def batch(pool: ImagePool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(noisy, clean) patches ``(B, C, P, P)``: new places, new orientations and new noise in every
    step.
    """
    clean = pool.patches(settings.batch_size, draws("patches"))
    if settings.general:
        return general_batch(clean, draws, settings)
    return with_noise(clean, draws, settings), clean


def with_noise(clean: Tensor, draws: Draws, settings: Settings) -> Tensor:
    """Every patch ``(C, H, W)`` of the batch gets a σ of its own, and noise of that strength."""
    low, high = (noise.from_255(s) for s in settings.sigma_255)
    sigma = noise.uniform_sigma(low, high, len(clean), draws("sigma"))
    return noise.gaussian(clean, sigma, draws("noise"), clip=False)


def general_batch(clean: Tensor, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """DnCNN-3: the first third of the patches gets noise, the second low resolution, the last JPEG
    compression.

    Thirds of fixed size rather than a draw for each patch: every step sees all tasks, and all
    shapes stay the same. The patches are degraded with a margin, which is then cut off, because a
    real image goes on beyond a patch.
    """
    first, second, third = clean.tensor_split(3)
    low, high = settings.jpeg_quality
    quality = torch.randint(
        low, high + 1, (len(third),), generator=draws("quality"), device=draws.device
    )
    parts = zip(second.tensor_split(len(settings.factors)), settings.factors, strict=True)
    degraded = torch.cat([
        with_noise(first, draws, settings),
        *(noise.bicubic(part, factor) for part, factor in parts),
        noise.jpeg(third, quality.tolist()),
    ])  # fmt: skip
    p = settings.patch_size
    top, left = torch.randint(
        settings.cut - p + 1, (2,), generator=draws("cut"), device=draws.device
    ).tolist()
    rows, columns = slice(top, top + p), slice(left, left + p)
    return tuple(images[..., rows, columns].contiguous() for images in (degraded, clean))


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and the PSNR in dB of its denoised patches taken together, both
    scalars.
    """
    noisy, clean = batch
    true_noise = noisy - clean
    residual = model(noisy)
    error = (residual.detach() - true_noise).square().mean()
    return loss(residual, true_noise), {"psnr": -10 * torch.log10(error)}


def evaluate(
    model: DnCNN,
    images: Iterable[Tensor],
    sigma_255: float,
    *,
    protocol: metrics.Protocol = "quantised",
    indices: Sequence[int] | None = None,
    seed: int = 0,
) -> list[float]:
    """PSNR in dB of each image, by the paper's protocol: whole images, unclipped noise, 8-bit output, float32.

    Args:
        model: in evaluation mode.
        images: uint8 ``(C, H, W)``.
        sigma_255: noise on the 0–255 scale.
        protocol: how the output becomes a figure; another one for comparisons with papers that use that.
        indices: numbers of the images to measure, None for all.
        seed: of the test noise.

    Raises:
        TypeError, ValueError: for another network, and as :func:`course_lib.denoising.evaluation.psnr_per_image`.
    """
    return common.psnr(model, folded, images, sigma_255, protocol=protocol, indices=indices, seed=seed)


def folded(model: DnCNN) -> DnCNN:
    """The same function without batch normalisation: its scale and shift moved into the convolutions before it.

    :func:`course_lib.denoising.published.convolutions` has the formula. The result has 555,137 parameters for DnCNN-S, and is how
    the authors distribute their weights. Returns a new network in evaluation mode; ``model`` is left as it is. ``TypeError`` for
    another network.
    """
    common.require_network(model, DnCNN)
    return from_published(model.state_dict(), eps=BN_EPS)


def from_published(state: Mapping[str, Tensor], *, eps: float = 1e-5) -> DnCNN:
    """A network with weights that others published for DnCNN, in evaluation mode, batch normalisation folded.

    Both layouts in use are understood, whatever the layers are called: Conv + ReLU with the batch normalisation already
    in the biases (the authors' weights), and Conv + BN + ReLU (third-party ports). Depth, width and channels are those
    of the tensors. In both the network's output is the residual, as here.

    Args:
        state: the state dict, ``torch.load(file, map_location="cpu", weights_only=True)``.
        eps: of the batch normalisation, where there is one: 1e-5 is PyTorch's default, 1e-4 the authors'.

    Raises:
        weights.WeightsError: for tensors that are not a DnCNN's.
    """
    def same(channels: int) -> int:
        return channels

    stack, width, channels = published.stack_of(state, eps=eps, name="a DnCNN", channels_of=same, inputs=same, outputs=same)
    plain = DnCNN(Settings(depth=len(stack), width=width, channels=channels, batch_norm=False))
    published.fill(plain.layers, stack)
    return plain.to(memory_format=devices.memory_format(devices.default())).eval()


def receptive_field(depth: int) -> int:
    """Side of the square of input pixels that reach one output pixel through ``depth`` 3×3 convolutions: 2 · depth + 1."""
    return 2 * depth + 1
