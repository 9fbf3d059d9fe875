r"""What a fixed camera sees when nothing lies on the belt, and images without it.

Idea. Objects come and go, the belt stays: at each pixel the median over many images of one light, :math:`b = \mathrm{med}_i\, x_i`, is
the empty belt. An image is compared with it after its own light is taken out, one gain a channel, the median over the pixels of
:math:`x / b`. Where they differ by more than a threshold lies an object, unless the place is only darker, and by about the same factor in
all channels: a shadow. What remains after single pixels are dropped and small holes are closed is the *foreground* m.

The image without its background is x where m is, and elsewhere black; the background alone is x where m is not, and elsewhere black.
Pixels at the border of m, which mix object and belt, are in neither: a rim of belt around an object would tell its class as well as the
whole belt does.

It needs a camera that does not move, and an object on less than half of the images at each place.

Source: the median of a sequence is the classical background model (see M. Piccardi, *Background subtraction techniques: a review*,
2004). The lecture's authors ship images whose background was removed beforehand.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks
from course_lib.batches import to_float
from course_lib.labelled import require_pairs

THRESHOLD = 0.11
"""Difference to the empty belt, on the [0, 1] scale, from which on a pixel belongs to an object."""

SHADOW = (0.5, 1.05, 0.2)
"""A shadow lets through between the first and the second of these shares of the light, and as much in all channels up to the third."""


class Parted(NamedTuple):
    """Images in two parts, each black where the other one lies."""

    objects: Tensor  # (N, C, H, W) uint8, without background
    background: Tensor  # (N, C, H, W) uint8, without objects
    mask: Tensor  # (N, 1, H, W) booleans: where objects lie, with their border


def empty_belt(images: Tensor) -> Tensor:
    """The median of each pixel over images of one light: uint8 ``(N, C, H, W)`` gives ``(C, H, W)`` float32 in [0, 1].

    Raises:
        TypeError, ValueError: for anything but 8-bit images of that shape, at least three.
    """
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    if len(images) < 3:
        raise ValueError(f"there are {len(images)} images: a median that shows the empty belt needs at least 3, and better 50.")
    return to_float(images.median(0).values)


def foreground(images: Tensor, belt: Tensor, *, threshold: float = THRESHOLD) -> Tensor:
    """Where something lies on the belt: booleans ``(N, 1, H, W)``.

    Args:
        images: uint8 ``(N, C, H, W)``.
        belt: the empty belt ``(C, H, W)`` in the same light, in [0, 1].
        threshold: on the [0, 1] scale.

    Raises:
        TypeError, ValueError: for images or a belt of another kind or shape, or a threshold outside of 0 to 1.
    """
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    checks.number(threshold, "threshold", 0, 1)
    if checks.tensor(belt, "belt", ("C", "H", "W"), of="floating").shape != images.shape[1:]:
        raise ValueError(f"the belt is {tuple(belt.shape)}, but the images are {tuple(images.shape[1:])}: both must be of one size.")
    seen = to_float(images)
    expected = (belt * (seen / belt.clamp(min=0.02)).flatten(2).median(2).values[:, :, None, None]).clamp(min=0.02)
    passed = seen / expected
    low, high, spread = SHADOW
    brightness = passed.mean(1, keepdim=True)
    shadow = (passed.amax(1, keepdim=True) - passed.amin(1, keepdim=True) < spread) & (brightness > low) & (brightness < high)
    found = ((seen - expected).abs().amax(1, keepdim=True) > threshold) & ~shadow
    closed = shrunk(grown(found))  # holes up to 2 pixels wide disappear, …
    return grown(shrunk(closed))  # … and so do specks


def grown(mask: Tensor) -> Tensor:
    """A mask of booleans ``(N, 1, H, W)`` that is one pixel wider on every side."""
    return F.max_pool2d(mask.float(), 3, 1, 1) > 0.5


def shrunk(mask: Tensor) -> Tensor:
    """A mask of booleans ``(N, 1, H, W)`` that is one pixel narrower on every side, but for the border of the image."""
    return ~grown(~mask)


def parted(images: Tensor, labels: Tensor, *, threshold: float = THRESHOLD) -> Parted:
    """Images without their background, and their backgrounds without objects; each class of ``labels`` has a belt of its own.

    Args:
        images: uint8 ``(N, C, H, W)``.
        labels: ``(N,)`` integers: which images were filmed in one light.
        threshold: as for :func:`foreground`.

    Raises:
        TypeError, ValueError: as for :func:`foreground`, or for labels of another number.
    """
    require_pairs(images, labels)
    mask = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.bool)
    for label in labels.unique():
        own = labels == label
        mask[own] = foreground(images[own], empty_belt(images[own]), threshold=threshold)
    return Parted(images * shrunk(mask), images * ~grown(mask), mask)
