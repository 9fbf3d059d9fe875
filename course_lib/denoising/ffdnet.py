r"""FFDNet: one network for every noise level, because it is told the level.

Idea. A blind network has to find out how strong the noise is, and one for a single σ is of no use at another. FFDNet
:math:`\mathcal F(z, M)` takes a *noise-level map* :math:`M` beside the image: the σ of every pixel. A user can so trade noise
against detail, and remove noise whose strength changes over the image. To be fast it works at half resolution: the image
is split into four interleaved sub-images (*pixel unshuffle*), which loses nothing, and put together again at the end.

Loss, over N patches: :math:`\ell = \frac{1}{2N}\sum_i \lVert \mathcal F(z_i, M_i) - y_i\rVert_F^2`: unlike DnCNN, the
network returns the clean image.

Networks. Gray: 15 convolutions of 64 channels; colour: 12 of 96; 3×3 kernels. At half resolution d of them see
:math:`2(2d + 1)` pixels a side: 62×62 in gray, 50×50 in colour. Training sees σ from [0, 75] and uniform maps only.

Kernels are kept nearly orthogonal: their singular values start at 1 and are held near [0.9, 1.1] by a very soft
constraint. A network that returns the clean image has to learn first to pass the image on, and a wide one takes its time:
with :attr:`Settings.centred` kernels start orthogonal in their middle tap and zero in the others, so that every pixel stays
where it is. That is not the paper's; short runs of the course use it.

Source: K. Zhang, W. Zuo, L. Zhang, *FFDNet: Toward a Fast and Flexible Solution for CNN-Based Image Denoising*, IEEE TIP
27(9), 2018, arXiv:1710.04026; the constraint's strength is that of the authors' released code. The centred start is the
*delta-orthogonal* one of L. Xiao, Y. Bahri, J. Sohl-Dickstein, S. Schoenholz, J. Pennington, *Dynamical Isometry and a Mean
Field Theory of CNNs*, ICML 2018, arXiv:1806.05393.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import devices, rng
from course_lib.batches import ImagePool
from course_lib.data import Dataset
from course_lib.denoising import common, published
from course_lib.noise import as_map
from course_lib.rng import Draws
from course_lib.training import Plan

BN_EPS = 1e-4  # of the authors' batch normalisation
CONSTRAINED_EVERY = 100  # updates between two corrections of one kernel: the released code's 1 % of them


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """Gray FFDNet as published; the presets in ``recipes`` change single fields."""

    # the network
    depth: int = 15  # convolutions: 15 gray, 12 colour
    width: int = 64  # channels between them: 64 gray, 96 colour
    channels: int = 1  # 1 gray, 3 colour
    batch_norm: bool = True  # after every convolution but the first and the last; folded after the training
    orthogonal: bool = True  # hold the kernels' singular values near [0.9, 1.1]
    centred: bool = False  # start with zeros but in the kernels' middle taps
    # the training patches
    patch_size: int = 70  # side in pixels, even: 70 gray, 50 colour
    scales: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # each training image enters at these sizes
    sigma_255: tuple[float, float] = (0.0, 75.0)  # lowest and highest σ of a patch, on the 0–255 scale
    # the optimisation
    steps: int = 400_000  # 50 epochs of 128 × 8,000 patches, a number that the course's sources do not confirm
    batch_size: int = 128
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    schedule: str = "exponential"

    def __post_init__(self):
        super().__post_init__()
        common.require_shape(self.depth, self.width, self.channels, self.sigma_255, self.scales)
        if self.patch_size < 2 or self.patch_size % 2:
            raise ValueError(f"patch_size = {self.patch_size}: FFDNet works at half resolution, give an even number.")


class FFDNet(nn.Module):
    """Unshuffle, Conv + ReLU, depth - 2 times Conv + BN + ReLU, Conv, shuffle; ``forward`` returns
    the **clean image**.

    The sub-images are in the order of ``torch.nn.functional.pixel_unshuffle``: of each channel the
    pixels at even rows and even columns, even rows and odd columns, odd rows and even columns, odd
    rows and odd columns; then comes the map.

    Args:
        settings: ``depth``, ``width``, ``channels``, ``batch_norm`` and ``centred`` are used.
        seed: of the initial weights, which are orthogonal: all singular values are 1 before batch
            normalisation, and √2, which keeps the strength of a signal through a ReLU, without it.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        width, channels, norm = settings.width, settings.channels, settings.batch_norm
        layers: list[nn.Module] = [
            nn.Conv2d(4 * channels + 1, width, 3, padding=1),
            nn.ReLU(inplace=True),
        ]
        for _ in range(settings.depth - 2):
            layers.append(nn.Conv2d(width, width, 3, padding=1, bias=not norm))
            if norm:
                layers.append(nn.BatchNorm2d(width, eps=BN_EPS))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(width, 4 * channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)
        self.channels = channels

        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                gain = 1.0 if norm else math.sqrt(2)
                common.orthogonal(
                    layer.weight, centred=settings.centred, gain=gain, generator=generator
                )
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, noisy: Tensor, noise_level_map: Tensor) -> Tensor:
        """The clean estimate (B, C, H, W), float32 whatever autocast does.

        Args:
            noisy: ``(B, C, H, W)`` with even H and W.
            noise_level_map: σ on the [0, 1] scale, ``(B, 1, H / 2, W / 2)``.
        """
        sub_images = F.pixel_unshuffle(noisy, 2)
        restored = self.layers(torch.cat([sub_images, noise_level_map], dim=1))
        return F.pixel_shuffle(restored.float(), 2)

    @torch.no_grad()
    def denoise(self, noisy: Tensor, sigma: float | Tensor) -> Tensor:
        """The clean estimate of images of any size; odd sides are continued by one pixel and cut
        again.

        Args:
            noisy: ``(B, C, H, W)`` floating point, nominally in [0, 1].
            sigma: what the network is told, on the [0, 1] scale: a float, one for each image
                ``(B,)``, or a map ``(1 or B, 1, H, W)``.

        Returns:
            The estimate, on the device of ``noisy``, wherever the network is.

        Raises:
            TypeError: for integer images.
            ValueError: for a wrong shape of images or σ, a negative σ, or one above 2.
            RuntimeError: in training mode, where batch normalisation would use and change the
                statistics of ``noisy``.
        """
        common.require_input(self, noisy)
        height, width = noisy.shape[-2:]
        even = (0, width % 2, 0, height % 2)
        weights = next(self.parameters())
        told = torch.as_tensor(as_map(sigma, noisy)).to(noisy).expand(len(noisy), 1, height, width)
        image, told = (F.pad(one, even, mode="replicate") for one in (noisy, told))

        def restored(image: Tensor, told: Tensor) -> Tensor:
            level_map = F.avg_pool2d(told.to(weights), 2)  # the network works at half resolution
            return self(image.to(weights), level_map).to(noisy.device)

        radius = 2 * common.reach(self) + 1
        denoised = common.in_tiles(restored, image, told, radius=radius, multiple=2)
        return denoised[..., :height, :width]


@torch.no_grad()
def constrain(kernel: Tensor, low: float = 0.9, high: float = 1.1, by: float = 1e-5) -> None:
    """Move the singular values of a kernel that lie outside [low, high] towards that interval by ``by``, in place.

    The kernel ``(out, in, 3, 3)`` is taken as the matrix (out × 9·in) that maps a neighbourhood to a pixel.
    """
    u, s, v = torch.linalg.svd(kernel.flatten(1).float(), full_matrices=False)
    moved = torch.where(s > high, (s - by).clamp(min=high), torch.where(s < low, (s + by).clamp(max=low), s))
    kernel.copy_(((u * moved) @ v).view_as(kernel))


def prepare(images: Dataset | Iterable[Tensor], settings: Settings, seed: int = 0) -> ImagePool:
    """Training images, uint8 ``(C, H, W)``, as the pool from which :func:`batch` cuts patches."""
    return common.pool(images, settings.channels, settings.patch_size, settings.scales)


def before_step(model: nn.Module, step: int, settings: Settings) -> None:
    """Constrain one kernel: kernel k has its turn in the steps k, k + 100, k + 200, …"""
    turn = step % CONSTRAINED_EVERY
    if settings.orthogonal and turn < settings.depth:
        constrain([parameter for parameter in model.parameters() if parameter.dim() == 4][turn])


def batch(pool: ImagePool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """(noisy, uniform noise-level maps at half resolution, clean): patches ``(B, C, P, P)``, maps
    ``(B, 1, P / 2, P / 2)``.
    """
    return common.told_batch(pool, draws, settings, settings.patch_size // 2)


def step(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], settings: Settings) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and the PSNR in dB of its denoised patches taken together, both scalars."""
    noisy, level_map, clean = batch
    return common.image_step(model(noisy, level_map), clean)


def evaluate(
    model: FFDNet, images: Iterable[Tensor], sigma_255: float, *, indices: Sequence[int] | None = None, seed: int = 0
) -> list[float]:
    """PSNR in dB of each image, by the paper's protocol: whole images, the right σ told, unclipped noise, 8-bit output.

    Args:
        model: in evaluation mode.
        images: uint8 ``(C, H, W)``.
        sigma_255: noise on the 0–255 scale.
        indices: numbers of the images to measure, None for all.
        seed: of the test noise.

    Raises:
        TypeError, ValueError: for another network, and as :func:`course_lib.denoising.evaluation.psnr_per_image`.
    """
    return common.psnr(model, folded, images, sigma_255, protocol="quantised", indices=indices, seed=seed)


def folded(model: FFDNet) -> FFDNet:
    """The same function without batch normalisation; see :func:`course_lib.denoising.published.convolutions`.

    It has 485,316 parameters in gray and 852,108 in colour. Returns a new network in evaluation mode. ``TypeError`` for another network.
    """
    common.require_network(model, FFDNet)
    return from_published(model.state_dict(), eps=BN_EPS)


def from_published(state: Mapping[str, Tensor], *, eps: float = 1e-5) -> FFDNet:
    """A network with weights that others published for FFDNet, in evaluation mode, batch normalisation folded.

    They must be of the form that returns the clean image, as the authors' is (the implementation in IPOL returns the
    noise), with the sub-images in PyTorch's order, which is that of the authors' PyTorch code (not of their MATLAB code),
    and the map last. Depth, width and channels are those of the tensors.

    Args:
        state: the state dict, ``torch.load(file, map_location="cpu", weights_only=True)``.
        eps: of the batch normalisation, where there is one: 1e-5 is PyTorch's default, 1e-4 the authors'.

    Raises:
        weights.WeightsError: for tensors that are not an FFDNet's.
    """
    stack, width, channels = published.stack_of(
        state, eps=eps, name="an FFDNet", channels_of=lambda n: (n - 1) // 4, inputs=lambda c: 4 * c + 1, outputs=lambda c: 4 * c
    )
    plain = FFDNet(Settings(depth=len(stack), width=width, channels=channels, batch_norm=False))
    published.fill(plain.layers, stack)
    return plain.to(memory_format=devices.memory_format(devices.default())).eval()


def receptive_field(depth: int) -> int:
    """Side of the square of input pixels that reach one output pixel: 2 · (2 · depth + 1), a whole number of 2×2 blocks."""
    return 2 * (2 * depth + 1)
