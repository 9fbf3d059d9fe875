"""Labelled images on the device: epochs in which every image comes once, random crops and flips, all by indexing.

The images stay on the device as uint8. An epoch's order is a function of (seed, epoch) that all processes share, so that a run
resumes in the middle of an epoch, and several processes share an epoch out without a sampler or a worker process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks, devices
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.plan import Plan
from course_lib.rng import Draws


@dataclass(frozen=True, kw_only=True)
class ImageSettings(Plan):
    """What the plans of networks for small images have in common: the images, how they are augmented, and SGD with momentum."""

    channels: int = 3  # of the images
    size: int = 32  # of the images, in pixels
    padding: int = 4  # of the random crops, in pixels; 0 for none
    flip: bool = True  # mirror half of the images (not those of digits)
    optimizer: Literal["adam", "sgd", "muon"] = "sgd"
    momentum: float = 0.9
    learning_rate: float = 0.1
    schedule: Literal["cosine", "exponential", "drop", "late"] = "drop"

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(channels=1, size=1, padding=0)

    def require_at_least(self, **lowest: int) -> None:
        """Raise ``ValueError`` unless each of the named settings is at least as large as is said."""
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} = {getattr(self, name)}, but it must be at least {low}.")


def require_pairs(images: Tensor, labels: Tensor) -> None:
    """Raise unless ``images`` are uint8 ``(N, C, H, W)`` and ``labels`` as many integers ``(N,)``: ``TypeError``, ``ValueError``."""
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    if len(checks.tensor(labels, "labels", ("N",), of="integers")) != len(images):
        raise ValueError(f"there are {len(images)} images, but {len(labels)} labels.")


def require_shape(images: Tensor, settings: ImageSettings) -> Tensor:
    """The images ``(N, C, H, W)`` themselves; ``ValueError`` unless they have the ``channels`` and the ``size`` of the settings."""
    if tuple(images.shape[1:]) != (settings.channels, settings.size, settings.size):
        given = f"channels = {settings.channels}, size = {settings.size}"
        raise ValueError(f"images are {tuple(images.shape[1:])}, but {given}: the settings must be those of the images.")
    return images


class LabelledPool:
    """Images of one size with their classes, from which epochs are drawn.

    Args:
        images: uint8 ``(N, C, H, W)``.
        labels: ``(N,)`` integers, 0 to classes − 1.
        classes: how many there are.

    Raises:
        TypeError: for images that are not uint8.
        ValueError: for a wrong shape, another number of labels than of images, or a label that is no class.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: int):
        if isinstance(images, tuple):
            raise ValueError("images are of several sizes, but (N, C, H, W) is expected: make them of one size.")
        require_pairs(images, labels)
        if not len(images):
            raise ValueError("there are no images to draw batches from.")
        classes = checks.whole(classes, "classes", 1)
        checks.labels(labels, classes)
        self.images, self.labels, self.classes = images, labels.long(), classes

    @classmethod
    def of(cls, found: Dataset, classes: int) -> LabelledPool:
        """The pool of a data set with labels; errors as the class itself, and ``ValueError`` for a data set without labels."""
        if found.labels is None:
            raise ValueError(f"{found.name} has no labels: choose a data set that has, such as digits.")
        return cls(found.images, found.labels, classes)

    @classmethod
    def unlabelled(cls, found: Dataset, settings: ImageSettings) -> LabelledPool:
        """The pool of a data set for a task that makes its labels itself: those of the data, where they have any, are not used.

        Raises:
            TypeError, ValueError: for images that are not 8-bit, of several sizes, or not of the ``channels`` and ``size`` of the settings.
        """
        return cls(found.images, torch.zeros(len(found), dtype=torch.long), classes=1).fitting(settings)

    def fitting(self, settings: ImageSettings) -> LabelledPool:
        """The pool itself; ``ValueError`` unless its images have the ``channels`` and the ``size`` of the settings."""
        require_shape(self.images, settings)
        return self

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def to(self, device: torch.device | str) -> LabelledPool:
        """Move everything to ``device``, in place; returns the pool."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        return self

    def places(self, draws: Draws, count: int) -> Tensor:
        """Which images this process gets in this step, ``(count,)``: its share of the next ones in the order of the epoch.

        The order of every epoch is another permutation of all images. A batch that reaches beyond the end of an epoch goes on
        with the next one, so that all batches have one size and no image is left out.
        """
        return in_order(draws, len(self), count, self.images.device)

    def drawn(self, draws: Draws, count: int) -> Tensor:
        """The images of :meth:`places`, 8-bit ``(count, C, H, W)``."""
        return self.images.index_select(0, self.places(draws, count))  # images are copied whole; images[places] copies value by value

    def epoch(self, draws: Draws, count: int) -> tuple[Tensor, Tensor]:
        """The images of :meth:`places`, ``(count, C, H, W)`` float32 in [0, 1], and their labels ``(count,)``."""
        places = self.places(draws, count)
        return to_float(self.images.index_select(0, places)), self.labels[places]

    def augmented(self, draws: Draws, count: int, *, padding: int, flip: bool) -> tuple[Tensor, Tensor]:
        """The same, in the same shapes, each image moved by up to ``padding`` pixels (:func:`crops`), half of them mirrored if ``flip``."""
        images, labels = self.epoch(draws, count)
        if padding:
            images = crops(images, padding, draws("crops"))
        return (flips(images, draws("flips")) if flip else images), labels

    def mean_image(self) -> Tensor:
        """The mean of all images, ``(C, H, W)`` float32 in [0, 1]."""
        return self.images.sum(0, dtype=torch.float64).div(255 * len(self)).float()


def in_order(draws: Draws, total: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Numbers ``(count,)`` of the images out of ``total`` that a process gets in a step, as :meth:`LabelledPool.places` says."""
    first = (draws.step * devices.processes() + draws.rank) * count
    at = torch.arange(first, first + count, device=device)
    orders = torch.stack([
        torch.randperm(total, generator=draws.shared("order", epoch), device=device)
        for epoch in range(first // total, (first + count - 1) // total + 1)
    ])  # fmt: skip
    return orders[at // total - first // total, at % total]


def crops(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``padding`` pixels either way, each by its own amount; what comes in is black.

    The random crop of the classification literature: pad with zeros, and cut out the old size.

    Args:
        images: ``(B, C, H, W)``.
        padding: in pixels, at least 0.
        generator: the source of the draws, on the device of the images.

    Returns:
        Images in the shape of ``images``.

    Raises:
        TypeError, ValueError: for no generator, anything but a tensor of that shape, or a padding that is no whole number of at least 0.
    """
    checks.generator(generator)
    checks.tensor(images, "images", ("B", "C", "H", "W"), finite=False)
    padding = checks.whole(padding, "padding", 0, max(images.shape[-2:]))
    count, channels, height, width = images.shape
    offset = torch.randint(2 * padding + 1, (2, count, 1), generator=generator, device=images.device)[..., 0]
    if not images.numel():
        return images
    wider = F.pad(images, [padding] * 4).contiguous()
    # every row that is cut out begins somewhere in the memory: all of them are picked by number, and copied whole, not value by value
    planes = torch.arange(count * channels, device=images.device).unflatten(0, (count, channels, 1))
    rows = planes * wider.shape[2] + offset[0][:, None, None] + torch.arange(height, device=images.device)
    starts = rows * wider.shape[3] + offset[1][:, None, None]
    return wider.flatten().unfold(0, width, 1).index_select(0, starts.flatten()).view_as(images)


def flips(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every image ``(C, H, W)`` of a batch, or its mirror image, each with probability 1/2, in the shape of ``images``.

    Raises:
        TypeError, ValueError: for no generator, anything but a tensor of that shape.
    """
    checks.generator(generator)
    checks.tensor(images, "images", ("B", "C", "H", "W"), finite=False)
    mirrored = torch.randint(2, (len(images), 1, 1, 1), generator=generator, device=images.device).flatten()
    both = torch.stack([images, images.flip(-1)], 1).flatten(0, 1)  # of which one is copied whole: a choice value by value takes longer
    return both.index_select(0, 2 * torch.arange(len(images), device=images.device) + mirrored)
