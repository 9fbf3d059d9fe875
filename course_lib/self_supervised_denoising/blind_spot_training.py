r"""Training blind-spot networks on single noisy images: nothing is masked, and every pixel is in the loss.

Idea. A network f with a blind spot cannot copy: :math:`f(z)_p` does not depend on :math:`z_p`. So

.. math:: E\lVert f(z) - z \rVert^2 = E\lVert f(z) - y \rVert^2 + E\lVert z - y \rVert^2 ,

and the noisy image itself is the target. Where Noise2Void learns from one pixel in 64, this learns from all.

The price is that the pixel's own value, though noisy, is never used. With ``posterior`` the network tells a mean and a covariance,
learns by their likelihood, and Bayes' rule brings the pixel back at the test, see
:mod:`course_lib.self_supervised_denoising.posterior`. That needs σ, at the training and at the test.

Source: S. Laine, T. Karras, J. Lehtinen, T. Aila, *High-Quality Self-Supervised Deep Image Denoising*, NeurIPS 2019, whose training on
ImageNet these settings follow, and whose code calls the plain form "μ only".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from course_lib import metrics, noise
from course_lib.batches import FloatPool
from course_lib.denoising.evaluation import psnr_per_image
from course_lib.rng import Draws
from course_lib.self_supervised_denoising import posterior
from course_lib.self_supervised_denoising.blind_spot import Dilated, HalfPlane
from course_lib.self_supervised_denoising.common import of_any_size
from course_lib.self_supervised_denoising.noise2noise import distance
from course_lib.self_supervised_denoising.single_shots import SingleShots
from course_lib.self_supervised_denoising.single_shots import prepare as prepare
from course_lib.self_supervised_denoising.single_shots import prepare_noisy as prepare_noisy

Architecture = Literal["half-plane", "dilated"]


@dataclass(frozen=True, kw_only=True)
class Settings(SingleShots):
    """The half-plane network as its authors train it; the presets in ``recipes`` change single fields."""

    # the network
    architecture: Architecture = "half-plane"
    depth: int = 5  # half-plane: poolings, of which the patch is a multiple of 2^depth; dilated: residual modules of a branch
    width: int = 48  # channels; half-plane: on the way down, and twice as many on the way up
    posterior: bool = True  # does the network tell a mean and a covariance? Else the mean alone
    # the training patches and the optimisation
    patch_size: int = 256
    steps: int = 500_000
    batch_size: int = 4
    learning_rate: float = 3e-4
    beta2: float = 0.99
    schedule: str = "late"
    warmup_steps: int = 50_000

    def __post_init__(self):
        super().__post_init__()
        if self.architecture not in get_args(Architecture):
            raise ValueError(f'architecture = "{self.architecture}", but it must be one of {", ".join(get_args(Architecture))}.')
        if self.architecture == "half-plane" and (self.depth < 1 or self.patch_size < 1 or self.patch_size % 2**self.depth):
            raise ValueError(f"depth = {self.depth}, patch_size = {self.patch_size}: depth ≥ 1, and a patch of a multiple of 2^depth.")
        if self.posterior and noise.from_255(self.sigma_255) < posterior.SMALLEST:
            raise ValueError(f"sigma_255 = {self.sigma_255}: the posterior weighs the pixel by its noise, which must not be 0.")


class BlindSpotDenoiser(nn.Module):
    """A blind-spot network of either architecture, and what it makes of an image; ``forward`` returns what the loss needs.

    Args:
        settings: ``architecture``, ``depth``, ``width``, ``channels`` and ``posterior`` are used.
        seed: of the initial weights.

    Raises:
        ValueError: for a depth, width or channels that the architecture has not.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        self.channels, self.posterior = settings.channels, settings.posterior
        shape = {
            "width": settings.width, "channels": settings.channels, "seed": seed,
            "outputs": posterior.outputs(settings.channels) if settings.posterior else None,
        }  # fmt: skip
        if settings.architecture == "half-plane":
            self.network = HalfPlane(depth=settings.depth, **shape)
        else:
            self.network = Dilated(modules=settings.depth, **shape)
        self.multiple = self.network.multiple

    def forward(self, noisy: Tensor) -> Tensor:
        """Of images ``(B, C, H, W)`` the estimates ``(B, C, H, W)``; with ``posterior`` followed by the entries of the covariance."""
        return self.network(noisy)

    def blind(self, noisy: Tensor, sigma: float | None = None) -> Tensor:
        """The estimate from the surroundings alone, of images ``(B, C, H, W)`` of any size; ``sigma`` is not used.

        Raises:
            TypeError: for integer images.
            ValueError: for a wrong number of dimensions or channels, or no pixels.
        """
        return of_any_size(self.network, noisy)[:, : self.channels]

    def denoise(self, noisy: Tensor, sigma: float | None = None) -> Tensor:
        """The estimate of images ``(B, C, H, W)`` of any size; with ``posterior`` the centre is used as well, and σ must be told.

        Args:
            noisy: floating point, nominally in [0, 1].
            sigma: of its noise, on the [0, 1] scale; not used without ``posterior``. An image without noise comes back as it is.

        Raises:
            TypeError: for integer images.
            ValueError: for a wrong number of dimensions or channels, no pixels, or a σ that is missing or makes no sense.
        """
        if not self.posterior:
            return self.blind(noisy)
        if sigma is None:
            raise ValueError("sigma is missing: the posterior weighs the pixel by its noise; blind() gives the estimate without it.")
        noise.require_sigma(sigma)
        told = of_any_size(self.network, noisy)
        return noisy if sigma < posterior.SMALLEST else posterior.estimate(told, noisy, sigma)


class Noisy(NamedTuple):
    """What one step learns from."""

    noisy: Tensor  # (B, C, P, P)


def batch(pool: FloatPool, draws: Draws, settings: Settings) -> Noisy:
    """Noisy patches ``(B, C, P, P)``, which are input and target."""
    return Noisy(pool.patches(settings.batch_size, draws("patches")))


def step(model: nn.Module, batch: Noisy, settings: Settings) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss over all pixels, and the PSNR in dB of the mean against the **noisy** image, both scalars."""
    told = model(batch.noisy).float()
    error = distance(told[:, : settings.channels], batch.noisy, "l2")
    loss = posterior.loss(told, batch.noisy, noise.from_255(settings.sigma_255)) if settings.posterior else error
    return loss, {"psnr": -10 * torch.log10(error.detach())}


def evaluate(
    model: BlindSpotDenoiser, images: Iterable[Tensor], sigma_255: float, *, centre: bool = True, protocol: metrics.Protocol = "raw",
    indices: Sequence[int] | None = None, seed: int = 0,
) -> list[float]:  # fmt: skip
    """PSNR in dB of each image ``(C, H, W)``, uint8, whole images in one pass.

    Args:
        model: in evaluation mode.
        images: the clean images.
        sigma_255: noise on the 0–255 scale, which a posterior is told.
        centre: may the pixel itself be used, where the network has a posterior? Else the mean alone is measured.
        protocol: see :func:`course_lib.metrics.psnr`.
        indices: numbers of the images to measure, None for all.
        seed: of the test noise.
    """
    device, restore = next(model.parameters()).device, model.denoise if centre else model.blind
    return psnr_per_image(restore, images, noise.from_255(sigma_255), protocol=protocol, indices=indices, seed=seed, device=device)
