r"""FDnCNN: DnCNN that is told the noise level, at full resolution.

Idea. The noise-level map :math:`M`, the σ of every pixel, enters a plain stack of convolutions as one more channel beside the
noisy image :math:`z`. Nothing else is needed to tell a network the level. FFDNet, of the same authors, then takes image and
map to half resolution, where the same layers cost a quarter and see twice as far; FDnCNN is what shows what that changes.

Loss, as of FFDNet, over N patches: :math:`\ell = \frac{1}{2N}\sum_i \lVert \mathcal F(z_i, M_i) - y_i\rVert_F^2`: the network
returns the clean image. (The authors' released code takes the absolute difference instead.)

Network. 20 convolutions of 64 channels, 3×3, with biases and without batch normalisation: 666,497 parameters in gray, which
see 41×41 pixels. Its step is FFDNet's, and its batches have the patches, the σ and the noise that FFDNet's have with the same seed.

Source: K. Zhang, W. Zuo, L. Zhang, *FFDNet: Toward a Fast and Flexible Solution for CNN-Based Image Denoising*, IEEE TIP
27(9), 2018, arXiv:1710.04026, and the authors' released code, where FDnCNN is named. For its training the course takes FFDNet's
settings, but for batch normalisation and the constraint on the kernels: the course's sources do not confirm others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib import rng
from course_lib.batches import ImagePool
from course_lib.denoising import common, dncnn
from course_lib.denoising.ffdnet import prepare, step
from course_lib.noise import as_map
from course_lib.rng import Draws
from course_lib.training import Plan

__all__ = ["FDnCNN", "Settings", "as_it_is", "batch", "evaluate", "prepare", "step"]


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """Gray FDnCNN; the presets in ``recipes`` change single fields."""

    # the network
    depth: int = 20  # convolutions
    width: int = 64  # channels between them
    channels: int = 1  # 1 gray, 3 colour
    centred: bool = False  # start orthogonal in the kernels' middle taps and with zeros in the others, instead of He's way
    # the training patches, FFDNet's
    patch_size: int = 70  # side in pixels
    scales: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # each training image enters at these sizes
    sigma_255: tuple[float, float] = (0.0, 75.0)  # lowest and highest σ of a patch, on the 0–255 scale
    # the optimisation, FFDNet's
    steps: int = 400_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    schedule: str = "exponential"

    def __post_init__(self):
        super().__post_init__()
        common.require_shape(self.depth, self.width, self.channels, self.sigma_255, self.scales)


class FDnCNN(nn.Module):
    """Conv + ReLU, depth - 1 times, then Conv, on image and map; ``forward`` returns the **clean image**.

    Args:
        settings: ``depth``, ``width``, ``channels`` and ``centred`` are used.
        seed: of the initial weights, see :func:`course_lib.denoising.dncnn.initialise`.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        width, channels = settings.width, settings.channels
        layers: list[nn.Module] = [nn.Conv2d(channels + 1, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(settings.depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))
        self.channels = channels

        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                dncnn.initialise(layer.weight, settings, generator)
                nn.init.zeros_(layer.bias)

    def forward(self, noisy: Tensor, noise_level_map: Tensor) -> Tensor:
        """The clean estimate (B, C, H, W), float32 whatever autocast does.

        Args:
            noisy: ``(B, C, H, W)``.
            noise_level_map: σ on the [0, 1] scale, ``(B, 1, H, W)``.
        """
        return self.layers(torch.cat([noisy, noise_level_map], dim=1)).float()

    @torch.no_grad()
    def denoise(self, noisy: Tensor, sigma: float | Tensor) -> Tensor:
        """The clean estimate of images of any size ``(B, C, H, W)``, on the device of ``noisy``.

        Args:
            noisy: ``(B, C, H, W)`` floating point, nominally in [0, 1].
            sigma: what the network is told, on the [0, 1] scale: a float, one for each image ``(B,)``, or a map ``(1 or B, 1, H, W)``.

        Raises:
            TypeError: for integer images.
            ValueError: for a wrong shape of images or σ, a negative σ, or one above 2.
        """
        common.require_input(self, noisy)
        weights = next(self.parameters())
        told = torch.as_tensor(as_map(sigma, noisy)).to(noisy).expand(len(noisy), 1, *noisy.shape[-2:])

        def restored(image: Tensor, told: Tensor) -> Tensor:
            return self(image.to(weights), told.to(weights)).to(noisy.device)

        return common.in_tiles(restored, noisy, told, radius=common.reach(self))


def batch(pool: ImagePool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """(noisy, uniform noise-level maps, clean): patches ``(B, C, P, P)``, maps ``(B, 1, P, P)``."""
    return common.told_batch(pool, draws, settings, settings.patch_size)


def evaluate(
    model: FDnCNN, images: Iterable[Tensor], sigma_255: float, *, indices: Sequence[int] | None = None, seed: int = 0
) -> list[float]:
    """PSNR in dB of each image, by FFDNet's protocol: whole images, the right σ told, unclipped noise, 8-bit output.

    Args:
        model: the network.
        images: uint8 ``(C, H, W)``.
        sigma_255: noise on the 0–255 scale.
        indices: numbers of the images to measure, None for all.
        seed: of the test noise.

    Raises:
        TypeError, ValueError: for another network, and as :func:`course_lib.denoising.evaluation.psnr_per_image`.
    """
    return common.psnr(model, as_it_is, images, sigma_255, protocol="quantised", indices=indices, seed=seed)


def as_it_is(model: FDnCNN) -> FDnCNN:
    """The network itself, which has no batch normalisation to fold. ``TypeError`` for another network."""
    common.require_network(model, FDnCNN)
    return model
