r"""Segmentation from pseudo-masks: a network that learns, pixel by pixel, what a classifier's activation maps suggest.

Idea. The pseudo-mask m of an image is coarse and often wrong, but wrong in other ways on every image. A second network g that must
answer for every pixel,

.. math:: \ell = -\frac{1}{BHW} \sum_{b,h,w} \bigl[m \log \sigma(g(x)) + (1 - m) \log(1 - \sigma(g(x)))\bigr]_{bhw} ,

cannot learn the errors that follow no rule, and keeps what they have in common. It sees whole images, with their background. Three more
things are known for free: an image from after holds nothing illegal, so that its mask is empty; where the background was removed there is
no object, so that a mask ends at the foreground (the authors refine their masks by SAM 2 instead); and a mirrored or relit scene has the
mirrored mask.

The classifier is held and not trained, and makes the masks of each batch as the batch comes. The network starts from a copy of its trunk.

Source: WS², arXiv:2509.06485, and its code, where g is a SegFormer; G. Boracchi's lecture. The average precision of pixels is our
addition: the authors report the mean intersection over union.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, metrics, rng
from course_lib.data import Dataset
from course_lib.frozen import Frozen
from course_lib.labelled import LabelledPool
from course_lib.plan import Plan
from course_lib.pretext import activation_maps, backgrounds, before_after
from course_lib.probes import outputs
from course_lib.rng import Draws

PRIOR = 0.03
"""The probability that a pixel is illegal, with which the training starts. From a half it would need many steps to get down to it."""


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """A small segmentation network on the pseudo-masks of a classifier."""

    width: int = 24  # channels of the head
    threshold: float = backgrounds.THRESHOLD  # of the difference to the empty belt, from which on there is an object
    jitter: float = 0.6  # as of the classifier
    flip: bool = True
    scales: tuple[float, ...] = (1.0,)  # at which the classifier sees an image; the authors: 0.2, 0.5, 1, 2, 4, 6
    mirrored: bool = False  # show it the mirror image too
    steps: int = 8000
    batch_size: int = 32

    def __post_init__(self):
        super().__post_init__()
        if self.width < 1 or not 0 <= self.jitter < 1 or not self.scales or min(self.scales) <= 0:
            raise ValueError(
                f"width = {self.width}, jitter = {self.jitter}, scales = {self.scales}: width is at least 1, jitter lies in 0 to 1, "
                "without 1, and there is at least one scale, all positive."
            )


class Segmenter(nn.Module):
    """The classifier's trunk, trained further, and a head that joins its last features with finer ones: ``(B, 1, H, W)`` logits.

    Args:
        settings: ``width`` is used.
        classifier: a :class:`~course_lib.pretext.before_after.Classifier`, whose pseudo-masks it learns from. It starts from a copy of
            its trunk, which knows already what tells illegal objects from lawful ones.
        seed: of the initial weights of the head.
    """

    def __init__(self, settings: Settings, classifier: Frozen, *, seed: int = 0):
        super().__init__()
        self.classifier = classifier
        trunk = copy.deepcopy(classifier.network.trunk).requires_grad_(True)
        self.fine, self.coarse = trunk[: classifier.network.fine], trunk[classifier.network.fine :]
        self.join = nn.Conv2d(sum(classifier.network.channels), settings.width, 1, bias=False)
        self.head = nn.Sequential(nn.BatchNorm2d(settings.width), nn.ReLU(), nn.Conv2d(settings.width, 1, 3, padding=1))
        generator = rng.generator(seed, 0, 0, "initial weights")
        nn.init.kaiming_normal_(self.join.weight, nonlinearity="relu", generator=generator)
        nn.init.normal_(self.head[2].weight, std=0.01, generator=generator)
        nn.init.constant_(self.head[2].bias, math.log(PRIOR / (1 - PRIOR)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, 1, H, W)``, float32, that a pixel of the images ``(B, 3, H, W)`` in [0, 1] is of an illegal object."""
        fine = self.fine(images - 0.5)
        coarse = F.interpolate(self.coarse(fine), size=fine.shape[-2:], mode="bilinear")
        logits = self.head(self.join(torch.cat([fine, coarse], 1)))
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear").float()


def masked_cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean over all pixels of the binary cross-entropy: ``(B, 1, H, W)`` logits and boolean masks give a scalar.

    Raises:
        TypeError, ValueError: for tensors of another kind, or of two shapes.
    """
    checks.tensor(logits, "logits", ("B", "1", "H", "W"), of="floating", finite=False)
    if checks.tensor(masks, "masks", ("B", "1", "H", "W"), of="booleans").shape != logits.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and masks {tuple(masks.shape)} differ in shape.")
    return F.binary_cross_entropy_with_logits(logits, masks.to(logits))


def prepare(found: Dataset, settings: Settings, seed: int = 0) -> LabelledPool:
    """The pool of images before and after as they come, with their foregrounds: uint8 ``(N, 4, H, W)``, the last channel 0 or 255.

    Backgrounds that come as a class of their own are left out; the other images then have none, and their foreground is everything.

    Raises:
        TypeError, ValueError: as :func:`course_lib.pretext.before_after.prepare`.
    """
    brought = found.labels is not None and bool((found.labels == before_after.BACKGROUND).any())
    pool = before_after.prepare(found, before_after.Settings(background="removed" if brought else "kept"))
    everything = torch.ones_like(pool.images[:, :1], dtype=torch.bool)
    mask = everything if brought else backgrounds.parted(pool.images, pool.labels, threshold=settings.threshold).mask
    return LabelledPool(torch.cat([pool.images, 255 * mask.to(torch.uint8)], 1), pool.labels, 2)


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """(images ``(B, 3, H, W)`` in [0, 1], foregrounds ``(B, 1, H, W)`` booleans, labels ``(B,)``), augmented as for the classifier."""
    both, labels = before_after.mirrored(pool, draws, settings)
    images, foreground = both[:, :3], both[:, 3:] > 0.5
    return before_after.relit(images, settings.jitter, draws("light")), foreground, labels


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss against the pseudo-masks of a batch, and the share of its pixels that they mark:
    both scalars.
    """
    images, foreground, labels = batch
    with torch.no_grad():
        maps = activation_maps.maps(
            model.classifier.network, images, scales=settings.scales, mirrored=settings.mirrored
        )
        before = (labels == before_after.BEFORE)[:, None, None, None]
        masks = activation_maps.pseudo_masks(maps) & foreground & before  # after: nothing to mark
    return masked_cross_entropy(model(images), masks), {"marked": masks.float().mean()}


@torch.no_grad()
def scores(model: nn.Module, images: Tensor, *, at_once: int = 200) -> Tensor:
    """Logits ``(N, 1, H, W)`` of uint8 images ``(N, 3, H, W)``, on the CPU; a pixel is marked where they are positive.

    Errors as :func:`course_lib.probes.outputs`.
    """
    return outputs(model, images, at_once=at_once).cpu()


def evaluate(model: nn.Module, images: Tensor, masks: Tensor, *, indices: Sequence[int] | None = None) -> list[float]:
    """The IoU of each image in percent, 100 or 0 where nothing is to be found.

    Args:
        model: a segmentation network, in evaluation mode.
        images: uint8 ``(N, 3, H, W)``.
        masks: booleans ``(N, 1, H, W)``.
        indices: numbers of the images to look at; None for all.

    Raises:
        TypeError, ValueError: for images or masks of another kind, number or size.
    """
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    if len(checks.tensor(masks, "masks", ("N", "1", "H", "W"), of="booleans")) != len(images):
        raise ValueError(f"there are {len(images)} images, but {len(masks)} masks.")
    chosen = checks.indices(indices, len(images))
    return (100 * metrics.iou(scores(model, images[chosen]) > 0, masks[chosen])).tolist()
