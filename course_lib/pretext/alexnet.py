r"""RotNet with AlexNet on photographs of one's own: the paper's experiment on ImageNet, for a folder that fits into memory.

Idea. The same task, loss and step as in :mod:`course_lib.pretext.rotation`, with a larger network on larger images. Five convolutions
with 64, 192, 384, 256 and 256 channels, each with batch normalisation, and two layers of 4,096 units before the four answers:
57 million parameters. Photographs of any sizes are first shrunk to squares of 256×256 pixels, and stay on the device as those; what
the network sees is a random part of a square, at 224×224.

Here parts are cut with bilinear interpolation, and without the ten attempts of torchvision's crop: a side that would be longer than
the square is as long as the square.

Source: Gidaris, Singh and Komodakis (2018), and their code: batches of 192 images, 50 epochs, a rate of 0.01 that falls by 10 after
15, 30 and 45. (The paper's text is said to have 30 epochs.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import batches, checks, rng
from course_lib.data import Dataset
from course_lib.labelled import LabelledPool, flips
from course_lib.plan import Plan
from course_lib.pretext import rotation
from course_lib.pretext.nin import Gamma, Normalised, initialise
from course_lib.pretext.rotation import step
from course_lib.rng import Draws

__all__ = ["AlexNet", "Settings", "batch", "evaluate", "parts", "prepare", "step"]

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of the channels of ImageNet, on the 0–255 scale."""

SIDE = 224  # of what the network sees, in pixels: its linear layers need it
STORED = 256  # of the squares that are kept, in pixels
SMALLEST, LONGEST = 0.08, 4 / 3  # part of a square's area, and ratio of the sides of a part


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """The plan for ImageNet, whose 1.28 million images make 50 epochs of 6,672 batches."""

    angles: tuple[int, ...] = (0, 90, 180, 270)  # in degrees, counter-clockwise; the classes, in this order
    initial_gamma: Gamma = "uniform"  # how γ of batch normalisation begins, see pretext.nin
    batch_size: int = 192  # images
    steps: int = 333_600
    optimizer: Literal["adam", "sgd", "muon"] = "sgd"
    nesterov: bool = True
    momentum: float = 0.9
    weight_decay: float = 5e-4
    learning_rate: float = 0.01
    final_learning_rate: float = 1e-5
    schedule: Literal["cosine", "exponential", "drop", "late"] = "drop"
    drop_at: tuple[float, ...] = (0.3, 0.6, 0.9)

    def __post_init__(self):
        super().__post_init__()
        rotation.require_angles(self.angles)
        if any(angle % 90 for angle in self.angles):
            raise ValueError(f"angles = {self.angles}: AlexNet is for quarter turns, which keep the size of the image.")
        if self.initial_gamma not in get_args(Gamma):
            raise ValueError(f'initial_gamma = "{self.initial_gamma}", but it must be one of {", ".join(get_args(Gamma))}.')


class AlexNet(nn.Module):
    """Colour images ``(B, 3, 224, 224)`` in [0, 1] give logits ``(B, R)`` for the R angles, float32.

    Args:
        settings: ``angles`` and ``initial_gamma`` are used.
        seed: of the initial weights.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        self.angles = settings.angles
        self.normalised = Normalised(3, MEAN, STD)
        pool = nn.MaxPool2d(3, 2)
        self.blocks = nn.Sequential(
            nn.Sequential(*_layer(3, 64, 11, stride=4, padding=2)),
            nn.Sequential(pool, *_layer(64, 192, 5, padding=2)),
            nn.Sequential(pool, *_layer(192, 384, 3, padding=1)),
            nn.Sequential(*_layer(384, 256, 3, padding=1)),
            nn.Sequential(*_layer(256, 256, 3, padding=1)),
        )
        self.head = nn.Sequential(
            pool, nn.Flatten(),
            nn.Linear(256 * 6 * 6, 4096, bias=False), nn.BatchNorm1d(4096), nn.ReLU(),
            nn.Linear(4096, 4096, bias=False), nn.BatchNorm1d(4096), nn.ReLU(),
            nn.Linear(4096, len(settings.angles)),
        )  # fmt: skip
        initialise(self, settings.initial_gamma, rng.generator(seed, 0, 0, "initial weights"))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, R)`` of images ``(B, 3, 224, 224)``, float32 whatever autocast does."""
        return self.head(self.blocks(self.normalised(images))).float()


def _layer(inputs: int, outputs: int, side: int, **places: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, side, **places), nn.BatchNorm2d(outputs), nn.ReLU()


def prepare(data: Dataset, settings: Settings, seed: int = 0) -> LabelledPool:
    """The pool of the photographs as squares ``(N, 3, 256, 256)``. Labels, where the data have any, are not used.

    Raises:
        TypeError, ValueError: for images that are not 8-bit and in colour, or none at all.
    """
    return LabelledPool(_squares(data.images), torch.zeros(len(data), dtype=torch.long), classes=1)


def _squares(images: Sequence[Tensor]) -> Tensor:
    """8-bit colour images ``(3, H, W)`` of any sizes as squares ``(N, 3, 256, 256)``."""
    if not len(images):
        raise ValueError("there are no images.")
    for image in images:
        checks.tensor(image, "an image", ("C", "H", "W"), of="8-bit")
        if image.shape[0] != 3:
            raise ValueError(f"an image has {image.shape[0]} channels, but AlexNet takes 3: photographs in colour are expected.")
    return torch.stack([batches.square(image, STORED) for image in images])


def parts(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A random part of each image, enlarged or shrunk to one size: 8 to 100 % of its area, its sides in a ratio of 3:4 to 4:3.

    Args:
        images: ``(B, C, H, W)``, floating point in [0, 1].
        side: of the parts, in pixels.
        generator: the source of the draws, on the device of the images.

    Returns:
        ``(B, C, side, side)``.

    Raises:
        TypeError, ValueError: for no generator, integer images, images of another shape or scale, or a side below 1.
    """
    checks.generator(generator)
    checks.require_images(images)
    side = checks.whole(side, "side", 1)
    area, ratio, x, y = torch.rand(4, len(images), generator=generator, device=images.device)
    area = SMALLEST + (1 - SMALLEST) * area
    ratio = torch.exp(math.log(LONGEST) * (2 * ratio - 1))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # as parts of the image's sides
    zero = torch.zeros_like(width)
    rows = [width, zero, (1 - width) * (2 * x - 1), zero, height, (1 - height) * (2 * y - 1)]
    matrix = torch.stack(rows, dim=1).view(-1, 2, 3)
    exact = images if images.dtype == torch.float64 else images.float()
    grid = F.affine_grid(matrix.to(exact), [*images.shape[:2], side, side], align_corners=False)
    return F.grid_sample(exact, grid, mode="bilinear", padding_mode="border", align_corners=False).to(images)


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(views ``(B, R, 3, 224, 224)``, labels ``(B, R)``): parts of the next images of the epoch, mirrored, and then turned."""
    images, _ = pool.epoch(draws, settings.batch_size)
    return rotation.views(flips(parts(images, SIDE, draws("parts")), draws("flips")), settings.angles)


def evaluate(
    model: nn.Module, images: Sequence[Tensor], angles: Sequence[int] | None = None, *, indices: Sequence[int] | None = None
) -> list[float]:
    """For each photograph ``(3, H, W)`` the share of the turns of its middle that the network recognises, in percent.

    Args, errors as :func:`course_lib.pretext.rotation.evaluate`; the photographs may have any sizes.
    """
    chosen = [images[i] for i in checks.indices(indices, len(images))]
    if not chosen:
        return []
    edge = (STORED - SIDE) // 2
    return rotation.evaluate(model, _squares(chosen)[..., edge:-edge, edge:-edge], angles)
