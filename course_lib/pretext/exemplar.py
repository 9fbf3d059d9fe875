r"""Exemplar: features learnt by telling thousands of images from each other, whatever is done to them.

Idea. Take N images, and call each of them a class. Move, turn, enlarge and recolour an image at random: it stays of its class, so that a
network that recognises it has learnt what does not change. The loss is the cross-entropy of N classes,

.. math:: \ell = -\frac{1}{B} \sum_{i=1}^{B} \log p_\theta\bigl(i \mid T_i x_i\bigr) .

With too many classes two of them look alike, and the labels contradict each other; the authors find about 8,000 the best. Contrastive
views (:mod:`course_lib.pretext.contrastive`) keep the idea, and put the other images of a batch in place of a layer of N outputs.

Images are drawn with probabilities in proportion to their mean squared gradient: of a bare wall there is nothing to recognise.

Source: Dosovitskiy et al., *Discriminative Unsupervised Feature Learning with Convolutional Neural Networks*, NIPS 2014,
arXiv:1406.6909. Colours are changed as SimCLR does; the authors change them along principal components, and in HSV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, rng
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.labelled import LabelledPool, require_pairs, require_shape
from course_lib.pretext.contrastive import recoloured
from course_lib.pretext.nin import NIN, NINSettings
from course_lib.rng import Draws


@dataclass(frozen=True, kw_only=True)
class Settings(NINSettings):
    """The paper's 8,000 surrogate classes and its movements, with the NIN."""

    classes: int = 8000  # N
    shift: float = 0.2  # most that an image moves either way, as a part of its side
    smallest: float = 0.7  # factor of its size
    largest: float = 1.4
    angle: float = 20.0  # most that it turns either way, in degrees
    colour: float = 0.5  # strength of the changes of colours, see contrastive.recoloured
    padding: int = 0  # of another random crop

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(classes=2)
        checks.number(self.shift, "shift", 0, 1)
        checks.number(self.angle, "angle", 0, 180)
        checks.number(self.colour, "colour", 0, 1)
        if not 0 < self.smallest <= self.largest:
            raise ValueError(f"smallest = {self.smallest}, largest = {self.largest}: factors of the size are positive, the smallest first.")
        if self.padding:
            raise ValueError(f"padding = {self.padding}: images are moved already, so that it must be 0.")
        if self.channels != 3 and self.colour:
            raise ValueError(f"channels = {self.channels}: images without colours have none to change, so that colour must be 0.")


def network(settings: Settings, *, seed: int = 0) -> NIN:
    """A NIN with a class for each image: images ``(B, C, H, W)`` in [0, 1] give logits ``(B, N)``."""
    return NIN(settings, classes=settings.classes, seed=seed)


def gradients(images: Tensor) -> Tensor:
    """The mean squared difference of neighbouring pixels of each 8-bit image ``(N, C, H, W)``: ``(N,)``.

    Raises:
        TypeError, ValueError: for anything but images of that type and shape.
    """
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    values = to_float(images)
    return sum(values.diff(dim=axis).square().mean((1, 2, 3)) for axis in (2, 3))


def prepare(data: Dataset, settings: Settings, seed: int = 0) -> LabelledPool:
    """The pool of the surrogate classes: ``classes`` of the images, drawn by the seed, each with its own number as label.

    Raises:
        TypeError, ValueError: for images that are not 8-bit, of several sizes, of another shape, or fewer of them than classes.
    """
    images = data.images
    if isinstance(images, tuple):
        raise ValueError("images are of several sizes, but (N, C, H, W) is expected: make them of one size.")
    require_pairs(images, torch.zeros(len(images), dtype=torch.long))
    require_shape(images, settings)
    if len(images) < settings.classes:
        raise ValueError(f"classes = {settings.classes}, but there are {len(images)} images: each class is an image of its own.")
    slopes = torch.cat([gradients(part) for part in images.split(1000)])
    chosen = torch.multinomial(slopes + 1e-12, settings.classes, generator=rng.generator(seed, 0, 0, "surrogate classes"))
    return LabelledPool(images[chosen], torch.arange(settings.classes), settings.classes)


def moved(images: Tensor, settings: Settings, generator: torch.Generator) -> Tensor:
    """Images ``(B, C, H, W)`` in [0, 1], each shifted, enlarged and turned by its own amount, in the same shape.

    What comes in from outside is mirrored.

    Raises:
        TypeError, ValueError: for no generator, integer images, or images of another shape or scale.
    """
    checks.generator(generator)
    checks.require_images(images)
    turn, size, right, down = torch.rand(4, len(images), generator=generator, device=images.device)
    angle = math.radians(settings.angle) * (2 * turn - 1)
    factor = settings.smallest * (settings.largest / settings.smallest) ** size
    cos, sin = angle.cos() / factor, angle.sin() / factor
    right, down = (2 * settings.shift * (2 * one - 1) for one in (right, down))
    matrix = torch.stack([cos, -sin, right, sin, cos, down], dim=1).view(-1, 2, 3).to(images)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits ``(B, N)`` and the numbers of the images ``(B,)``: a scalar.

    Errors as :func:`course_lib.checks.classified`.
    """
    return F.cross_entropy(logits, checks.classified(logits, labels, ("B", "N")))


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(the next images ``(B, C, H, W)`` in [0, 1], moved, mirrored and recoloured at random; their numbers ``(B,)``)."""
    images, labels = pool.augmented(draws, settings.batch_size, padding=0, flip=settings.flip)
    images = moved(images, settings, draws("movements"))
    return (recoloured(images, settings.colour, 1.0, 0.0, draws("colours")) if settings.colour else images), labels


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and the share of its images that are recognised, both scalars."""
    images, labels = batch
    logits = model(images)
    return loss(logits, labels), {"accuracy": (logits.detach().argmax(1) == labels).float().mean()}
