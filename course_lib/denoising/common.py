"""What the denoising networks share: what they accept, and how training images become a pool of patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from course_lib import checks, metrics, noise
from course_lib.batches import ImagePool
from course_lib.data import Dataset
from course_lib.denoising import evaluation
from course_lib.rng import Draws
from course_lib.training import Method, Plan

UNTILED, TILE = 4_000_000, 512
"""Pixels of an image from which on networks restore it tile by tile, and the side of a tile."""


def require_input(network: nn.Module, noisy: Tensor) -> None:
    """Raise unless ``network``, which has ``channels``, can denoise ``noisy``, images ``(B, C, H, W)``.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong number of dimensions or channels, no pixels, NaN, or images on the 0–255 scale.
        RuntimeError: in training mode, where batch normalisation would use and change the statistics of ``noisy``.
    """
    checks.require_images(noisy, "noisy images", wait=True)
    if noisy.shape[1] != network.channels:
        raise ValueError(
            f"noisy images have {noisy.shape[1]} channels, but this network was made for {network.channels} "
            f"({'gray' if network.channels == 1 else 'colour'})."
        )
    if network.training and any(name.endswith("running_var") for name, _ in network.named_buffers()):
        raise RuntimeError("the network is in training mode: call its eval() before denoise, or its batch statistics change.")


def require_network(model: nn.Module, kind: type[nn.Module]) -> None:
    """Raise ``TypeError`` unless ``model`` is a network of this method: what evaluates one knows what it is made of."""
    if not isinstance(model, kind):
        raise TypeError(
            f"the network is {checks.described(model)}, but a {kind.__name__} is expected: every network is evaluated by its own method."
        )


def require_shape(depth: int, width: int, channels: int, sigma_255: tuple[float, float], scales: tuple[float, ...]) -> None:
    """Raise ``ValueError`` for settings of a plain network, or of its training patches, that make no sense."""
    if depth < 2 or width < 1 or channels not in (1, 3):
        raise ValueError(
            f"depth = {depth}, width = {width}, channels = {channels}: the network needs depth ≥ 2, width ≥ 1, "
            "and 1 (gray) or 3 (colour) channels."
        )
    if not isinstance(sigma_255, tuple) or len(sigma_255) != 2 or not 0 <= sigma_255[0] <= sigma_255[1] <= 255:
        raise ValueError(f"sigma_255 = {sigma_255}: give a lowest and a highest σ between 0 and 255, such as 0,55.")
    if not scales or min(scales) <= 0:
        raise ValueError(f"scales = {scales}: give one or more positive factors, such as 1,0.5.")


def in_tiles(
    restore: Callable[..., Tensor], *images: Tensor, radius: int, multiple: int = 1, above: int = UNTILED, side: int = TILE
) -> Tensor:
    """``restore(*images)``, computed tile by tile where the images are large, so that the memory it takes does not grow with them.

    Every tile is cut out with all the pixels around it that its result depends on. At the rim of the image it ends there, as the image
    does. So the result is the same but for rounding.

    Args:
        restore: a function of images ``(1, C, H, W)`` of one height and width; its result has these too.
        images: ``(B, C, H, W)``, or ``(1, C, H, W)`` for all.
        radius: how far away a pixel may lie on which a pixel of the result depends.
        multiple: of how many pixels a tile begins, for networks that compute at a lower resolution; ``side`` is such a multiple.
        above: of how many pixels of one image on it is cut into tiles.
        side: of a tile, in pixels.
    """
    count, (height, width) = max(map(len, images)), images[0].shape[-2:]
    if height * width <= above:
        return restore(*images)
    margin, result = multiple * math.ceil(radius / multiple), None
    for number in range(count):
        one = [image if len(image) == 1 else image[number : number + 1] for image in images]
        for top in range(0, height, side):
            for left in range(0, width, side):
                above_it, before_it = min(top, margin), min(left, margin)
                rows, columns = slice(top - above_it, top + side + margin), slice(left - before_it, left + side + margin)
                part = restore(*(image[..., rows, columns] for image in one))
                part = part[..., above_it : above_it + side, before_it : before_it + side]
                if result is None:
                    result = part.new_empty(count, part.shape[1], height, width)
                result[number : number + 1, :, top : top + side, left : left + side] = part
    return result


def reach(network: nn.Module) -> int:
    """How far away a pixel may lie that the result depends on, through a plain stack of all the convolutions of a network."""
    return sum(layer.kernel_size[0] // 2 for layer in network.modules() if isinstance(layer, nn.Conv2d))


@torch.no_grad()
def without_residual(network: nn.Module, noisy: Tensor) -> Tensor:
    """ŷ = z − R(z) ``(B, C, H, W)``, for a network whose ``forward`` returns the residual R(z); errors as :func:`require_input`.

    It computes in the precision of its weights and on their device, large images tile by tile; the estimate is on the device of
    ``noisy``.
    """
    require_input(network, noisy)
    weights = next(network.parameters(), noisy)
    return in_tiles(lambda part: part - network(part.to(weights)).to(part.device), noisy, radius=reach(network))


def psnr(
    model: nn.Module,
    folded: Callable[[nn.Module], nn.Module],
    images: Iterable[Tensor],
    sigma_255: float,
    *,
    protocol: metrics.Protocol,
    indices: Sequence[int] | None,
    seed: int,
) -> list[float]:
    """What ``evaluate`` of a method returns: PSNR in dB of each image ``(C, H, W)`` by the folded network, on the device of ``model``."""
    plain, sigma = folded(model), noise.from_255(sigma_255)
    device = next(model.parameters()).device
    denoise = plain.to(device).denoise
    return evaluation.psnr_per_image(denoise, images, sigma, protocol=protocol, indices=indices, seed=seed, device=device)


def image_loss(denoised: Tensor, clean: Tensor) -> Tensor:
    r""":math:`\frac{1}{2N}\sum_{i=1}^N \lVert \hat y_i - y_i \rVert_F^2`, a scalar; both ``(N, C, H, W)``."""
    return (denoised - clean).square().sum() / (2 * len(denoised))


def image_step(denoised: Tensor, clean: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a denoised batch, and its PSNR in dB, of all patches together, both scalars: for networks that return the clean image."""
    error = (denoised.detach() - clean).square().mean()
    return image_loss(denoised, clean), {"psnr": -10 * torch.log10(error)}


def orthogonal(kernel: Tensor, *, centred: bool, gain: float, generator: torch.Generator) -> None:
    """Start a kernel ``(out, in, 3, 3)`` with all singular values equal to ``gain``, in place.

    Args:
        kernel: as the matrix (out × 9·in) that maps a neighbourhood to a pixel.
        centred: only the middle tap is filled, and the other eight are zero, so that a pixel stays where it is until training
            finds a reason to mix it with its neighbours: a deep network then learns much sooner (Xiao et al., 2018).
        gain: 1, or √2 where half of the signal's energy goes into a rectifier.
        generator: of the random rotation.
    """
    start = kernel.detach()
    if centred:
        start = start.zero_()[:, :, 1, 1]
    nn.init.orthogonal_(start, gain=gain, generator=generator)


def pool(images: Dataset | Iterable[Tensor], channels: int, patch_size: int, scales: tuple[float, ...]) -> ImagePool:
    """Training images, uint8 ``(C, H, W)``, as the pool from which batches are cut.

    Raises:
        TypeError: for images that are not uint8.
        ValueError: for other channels, a wrong shape, images smaller than a patch, or noisy photographs.
    """
    made = ImagePool(images, patch_size, scales)
    if made.channels != channels:
        raise ValueError(f"channels = {channels}, but the training images have {made.channels}.")
    return made


def told_batch(pool: ImagePool, draws: Draws, settings: Plan, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of a network that is told the noise level: every patch has a σ of its own, and its map says which.

    Args:
        pool: what the patches are cut from, :func:`pool`.
        draws: of this step.
        settings: those of the method, with ``batch_size`` and ``sigma_255``.
        side: of the maps, in the network's pixels.

    Returns:
        noisy and, last, clean patches ``(B, C, P, P)``; between them uniform maps ``(B, 1, side, side)`` of σ on the [0, 1] scale.
    """
    clean = pool.patches(settings.batch_size, draws("patches"))
    low, high = (noise.from_255(s) for s in settings.sigma_255)
    sigma = noise.uniform_sigma(low, high, len(clean), draws("sigma"))
    level_map = sigma.view(-1, 1, 1, 1).expand(-1, 1, side, side).contiguous()
    return noise.gaussian(clean, sigma, draws("noise"), clip=False), level_map, clean


def told_nothing(method: Method) -> SimpleNamespace:
    """A method whose network is told the noise level, as its own control: the map ``(B, 1, H, W)`` is zero in every step.

    Network, patches, noise and loss are those of ``method``; ``training.fit`` takes it in its place.
    """

    def step(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], settings: Plan) -> tuple[Tensor, dict[str, Tensor]]:
        noisy, level_map, clean = batch
        return method.step(model, (noisy, torch.zeros_like(level_map), clean), settings)

    return SimpleNamespace(**{**vars(method), "step": step})
