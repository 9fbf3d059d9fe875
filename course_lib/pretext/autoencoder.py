r"""Reconstruction as a pretext task: autoencoder, denoising autoencoder, and the context encoder that fills holes.

Idea. Squeeze an image into a short code, and rebuild it from that. What the network gets is the image, a noisy version, or one with
holes; what it is compared with is always the image:

.. math:: \ell = \frac{1}{\lvert M \rvert} \lVert M \odot (x - g(f(\tilde x))) \rVert_2^2 .

- **autoencoder**: :math:`\tilde x = x`, all pixels count. It compresses, and need not understand what.
- **denoising**: :math:`\tilde x = x + \eta`. The noise is local and low-level, and so is what removes it.
- **inpainting**: random blocks are filled with the mean colour, and only *they* count. What was there cannot be copied, and has to be
  inferred from the rest. (A fixed hole in the middle teaches worse features: the network learns where it is.)

The authors of the context encoder could not train their adversarial loss together with features of AlexNet, so that theirs, too, come
from the squared error alone; where several contents are possible its answer is their mean, and blurred.

Source: Vincent et al., *Extracting and Composing Robust Features with Denoising Autoencoders*, ICML 2008; Pathak et al., *Context
Encoders: Feature Learning by Inpainting*, CVPR 2016, arXiv:1604.07379.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from course_lib import checks, metrics, noise, rng
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.labelled import LabelledPool
from course_lib.pretext.nin import MEAN, NINSettings, Trunk, initialise, side_of_features
from course_lib.rng import Draws

Task = Literal["autoencoder", "denoising", "inpainting"]
BLOCKS = 4  # holes of an image, which may overlap
WIDEST = 4  # at most a quarter of a side each, so that four of them cover at most a quarter of the image


@dataclass(frozen=True, kw_only=True)
class Settings(NINSettings):
    """The NIN as an encoder, with a code of as many numbers as the linear autoencoder of chapter 4 has."""

    task: Task = "autoencoder"
    code: int = 192  # numbers
    sigma: float = 0.2  # of the noise, for "denoising", in [0, 1]
    optimizer: Literal["adam", "sgd", "muon"] = "adam"  # the gradients of a squared error are too small for the others' rate
    learning_rate: float = 1e-3
    final_learning_rate: float = 8e-6
    weight_decay: float = 1e-4

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(code=1)
        if self.task not in get_args(Task):
            raise ValueError(f'task = "{self.task}", but it must be one of {", ".join(get_args(Task))}.')
        if self.size % 4:
            raise ValueError(f"size = {self.size}: it must be a multiple of 4, since the decoder enlarges twice by 2.")
        checks.number(self.sigma, "sigma", 0, 1)


class Network(Trunk):
    """Images ``(B, C, H, W)`` in [0, 1] give their reconstructions, in the same shape, float32.

    Args:
        settings: of the trunk, and ``code`` and ``size``.
        seed: of the initial weights.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__(settings)
        wide, narrow, side = settings.width, max(1, settings.width // 4), side_of_features(settings.size)
        # few channels where height and width become one vector: the two linear layers would otherwise be most of the network
        self.squeeze = nn.Sequential(nn.Conv2d(wide, narrow, 1), nn.Flatten(), nn.Linear(narrow * side**2, settings.code))
        self.decoder = nn.Sequential(
            nn.Linear(settings.code, narrow * side**2, bias=False), nn.Unflatten(1, (narrow, side, side)),
            nn.BatchNorm2d(narrow), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(narrow, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(wide, wide // 2, 3, padding=1, bias=False), nn.BatchNorm2d(wide // 2), nn.ReLU(),
            nn.Conv2d(wide // 2, settings.channels, 3, padding=1),
        )  # fmt: skip
        initialise(self, settings.initial_gamma, rng.generator(seed, 0, 0, "initial weights"))

    def encode(self, images: Tensor) -> Tensor:
        """Codes ``(B, code)`` of images ``(B, C, H, W)`` in [0, 1]."""
        return self.squeeze(self.features(images))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions of images ``(B, C, H, W)``, in the same shape, not clipped."""
        return 0.5 + self.decoder(self.encode(images)).float()


network = Network


def blocks(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Holes of images: booleans ``(count, 1, size, size)``, True in four random blocks of an eighth to a quarter of the side each.

    Raises:
        TypeError, ValueError: for no generator, a count below 0, or images smaller than 8 pixels.
    """
    checks.generator(generator)
    count, size = checks.whole(count, "count", 0), checks.whole(size, "size", 8)
    low, high, device = size // (2 * WIDEST), size // WIDEST, generator.device
    side = torch.randint(low, high + 1, (2, count, BLOCKS, 1), generator=generator, device=device)
    start = (torch.rand(side.shape, generator=generator, device=device) * (size - side + 1)).long()
    at = torch.arange(size, device=device)
    down, across = (at >= start) & (at < start + side)  # each (count, BLOCKS, size)
    return (down[..., None] & across[..., None, :]).any(1, keepdim=True)


def central(count: int, size: int, device: torch.device | str = "cpu") -> Tensor:
    """The hole of a test: booleans ``(count, 1, size, size)``, True in the middle, half as wide and high as the image."""
    hole = torch.zeros(count, 1, size, size, dtype=torch.bool, device=device)
    hole[..., size // 4 : size - size // 4, size // 4 : size - size // 4] = True
    return hole


def filled(images: Tensor, holes: Tensor) -> Tensor:
    """Images ``(B, C, H, W)`` with the mean colour of CIFAR-10 where the holes ``(B, 1, H, W)`` are, in the shape of ``images``.

    Raises:
        TypeError, ValueError: for integer images, holes that are no booleans, or masks of another size.
    """
    checks.require_images(images)
    checks.tensor(holes, "holes", ("B", "1", "H", "W"), of="booleans")
    if holes.shape != (len(images), 1, *images.shape[-2:]):
        raise ValueError(f"images {tuple(images.shape)} and holes {tuple(holes.shape)} do not fit: (B, 1, H, W) holes are expected.")
    mean = MEAN if images.shape[1] == 3 else [sum(MEAN) / 3] * images.shape[1]
    return torch.where(holes, images.new_tensor(mean).view(-1, 1, 1) / 255, images)


def loss(estimate: Tensor, images: Tensor, counted: Tensor) -> Tensor:
    """Mean squared error over the pixels that count: a scalar, 0 where none does.

    Args:
        estimate, images: ``(B, C, H, W)``.
        counted: booleans ``(B, 1, H, W)``.

    Raises:
        TypeError, ValueError: for tensors of other kinds or shapes.
    """
    checks.tensor(estimate, "estimate", ("B", "C", "H", "W"), of="floating", finite=False)
    checks.tensor(images, "images", ("B", "C", "H", "W"), of="floating", finite=False)
    checks.tensor(counted, "counted", ("B", "1", "H", "W"), of="booleans")
    if estimate.shape != images.shape or counted.shape != (len(images), 1, *images.shape[-2:]):
        shapes = [tuple(one.shape) for one in (estimate, images, counted)]
        raise ValueError("estimate {}, images {} and counted pixels {} do not fit.".format(*shapes))
    errors = (estimate - images).square().mean(1, keepdim=True)
    return (errors * counted).sum() / counted.sum().clamp(min=1)


def prepare(data: Dataset, settings: Settings, seed: int = 0) -> LabelledPool:
    """The pool of the images, without labels; errors as :meth:`course_lib.labelled.LabelledPool.unlabelled`."""
    return LabelledPool.unlabelled(data, settings)


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """(what the network gets, the images, both ``(B, C, H, W)``; which pixels count ``(B, 1, H, W)``) of the next images."""
    images, _ = pool.augmented(draws, settings.batch_size, padding=settings.padding, flip=settings.flip)
    counted = torch.ones_like(images[:, :1], dtype=torch.bool)
    if settings.task == "denoising":
        return noise.gaussian(images, settings.sigma, draws("noise"), clip=False), images, counted
    if settings.task == "inpainting":
        counted = blocks(len(images), settings.size, draws("holes"))
        return filled(images, counted), images, counted
    return images, images, counted


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, a scalar, and nothing to report beside it."""
    given, images, counted = batch
    return loss(model(given), images, counted), {}


@torch.no_grad()
def evaluate(
    model: nn.Module, images: Tensor, settings: Settings, *, indices: Sequence[int] | None = None
) -> list[float]:
    """For each image the PSNR of what is rebuilt, in dB: of the whole of it, or of the hole in its middle.

    Args:
        model: of these settings, in evaluation mode.
        images: uint8 ``(N, C, H, W)``.
        settings: the task. The noise of an image is always the same.
        indices: numbers of the images to look at, in any order; None for all.

    Raises:
        TypeError, ValueError: for images of another type or shape, or a number that no image has.
    """
    chosen = torch.tensor(checks.indices(indices, len(checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit"))))
    device, found = next(model.parameters()).device, []
    for part in chosen.split(256) if len(chosen) else ():
        clean = to_float(images[part])
        estimate = model(given(clean, settings, part.tolist()).to(device)).cpu()
        if settings.task == "inpainting":
            edge = settings.size // 4
            estimate, clean = (one[..., edge:-edge, edge:-edge] for one in (estimate, clean))
        found.append(metrics.psnr(estimate, clean, protocol="clamped"))
    return torch.cat(found).tolist() if found else []


def given(clean: Tensor, settings: Settings, numbers: Sequence[int] | None = None) -> Tensor:
    """What the network gets of test images: the images themselves, with noise that never changes, or with a hole in the middle.

    Args:
        clean: ``(B, C, H, W)`` in [0, 1].
        settings: the task.
        numbers: of the images in their data set, which decide their noise; None for 0, 1, …

    Returns:
        Images in the shape of ``clean``.
    """
    if settings.task == "denoising":
        numbers = range(len(clean)) if numbers is None else numbers
        return torch.cat([noise.test_noise(one[None], settings.sigma, number) for one, number in zip(clean, numbers, strict=True)])
    return filled(clean, central(len(clean), settings.size, clean.device)) if settings.task == "inpainting" else clean
