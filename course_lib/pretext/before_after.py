r"""Before and after: a classifier that must find out by itself what somebody takes away.

Idea. On a sorting line nobody writes labels, but somebody removes what is illegal. Images from *before* that place and from *after* it
are labels for free, and the only thing that all images of one class have, and none of the other, is an illegal object:

.. math:: \hat p = \mathrm{softmax}\Bigl(\frac{1}{HW} \sum_{h,w} W f(x)_{hw}\Bigr), \qquad
          \ell = -\frac{1}{C} \sum_{c=1}^{C} \bigl[t_c \log \hat p_c + (1 - t_c) \log(1 - \hat p_c)\bigr],

with t the class as a one-hot vector. The score of a class is the mean of a map, the *class activation map*, which says where the network
found the class (:mod:`course_lib.pretext.activation_maps`).

Shortcut. Each class was filmed in a light of its own, on its own stretch of the belt. The background alone gives the answer, and a
network that reads it need not look at any object. The authors remove the background, and make it a third class: what can be seen on a
belt speaks for "background", whichever class the image is of.

Source: A. Marelli, L. Magri, F. Arrigoni, G. Boracchi, *Temporal-consistent CAMs*, 2025, arXiv:2502.01455; A. Marelli and others,
*WS²*, ICCV workshops 2025, arXiv:2509.06485, and their code, from which the loss is (a cross-entropy of each of the softmax's outputs),
as are the paper preset's numbers; G. Boracchi's lecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, probes, rng
from course_lib.data import Dataset
from course_lib.labelled import LabelledPool, flips
from course_lib.plan import Plan
from course_lib.pretext import backgrounds
from course_lib.rng import Draws

CLASSES = ("after", "before", "background")
AFTER, BEFORE, BACKGROUND = range(3)
Background = Literal["kept", "removed", "class"]
Trunk = Literal["small", "resnet50"]


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    """A classifier of before and after, by default the authors'."""

    background: Background = "class"  # kept; removed; or removed, and a third class made of them
    threshold: float = backgrounds.THRESHOLD  # of the difference to the empty belt, where they are removed here
    trunk: Trunk = "resnet50"  # or a small one, with features at a quarter of the resolution
    width: int = 32  # channels of the small one's first layer
    jitter: float = 0.6  # strength and colour of the light change by up to this, anew in each step
    flip: bool = True  # mirror half of the images, along and across
    steps: int = 11_200  # 25 epochs of about 14,300 images
    batch_size: int = 32
    learning_rate: float = 5e-4
    final_learning_rate: float = 5e-4  # constant: the authors make a schedule, which they never step

    def __post_init__(self):
        super().__post_init__()
        for name, allowed in (("background", get_args(Background)), ("trunk", get_args(Trunk))):
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name} = "{getattr(self, name)}", but it must be one of {", ".join(allowed)}.')
        if self.width < 1 or not 0 <= self.jitter < 1 or not 0 < self.threshold < 1:
            raise ValueError(
                f"width = {self.width}, jitter = {self.jitter}, threshold = {self.threshold}: width is at least 1, jitter lies in 0 to 1, "
                "without 1, and threshold between 0 and 1."
            )

    @property
    def classes(self) -> int:
        """2, or 3 with the backgrounds."""
        return 3 if self.background == "class" else 2


# --- the network ----------------------------------------------------------------------------------------------------------


def small_trunk(width: int) -> nn.Sequential:
    """Four convolutions with batch normalisation and ReLU: ``(B, 3, H, W)`` to ``(B, 3 · width, ⌈H / 4⌉, ⌈W / 4⌉)``.

    A feature sees 21×21 pixels, about one object: what it says, it says of a place.
    """
    layers: list[nn.Module] = []
    for inputs, outputs, side, stride in ((3, width, 5, 2), (width, width, 3, 1), (width, 2 * width, 3, 2), (2 * width, 3 * width, 3, 1)):
        layers += [nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class Classifier(nn.Module):
    """A fully convolutional trunk, the mean over the image, and a linear layer without bias: ``(B, classes)`` logits.

    ``trunk[:fine]`` gives features of a higher resolution; ``channels`` are the numbers of these and of the last features.

    Args:
        settings: ``trunk``, ``width`` and ``background`` are used.
        seed: of the initial weights.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        if settings.trunk == "resnet50":
            from torchvision.models import resnet50

            whole = resnet50(weights=None)
            self.trunk, self.channels, self.fine = nn.Sequential(*list(whole.children())[:-2]), (256, 2048), 5
        else:
            self.trunk, self.channels, self.fine = small_trunk(settings.width), (settings.width, 3 * settings.width), 6
        self.head = nn.Linear(self.channels[1], settings.classes, bias=False)  # a bias belongs to no place, and would be on no map
        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        nn.init.normal_(self.head.weight, std=0.01, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)``, float32, of images ``(B, 3, H, W)`` in [0, 1]: after, before, and perhaps background."""
        return self.head(self.trunk(images - 0.5).mean((2, 3))).float()


# --- the loss -------------------------------------------------------------------------------------------------------------


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    r"""The authors' loss: the binary cross-entropy of each output of the softmax, its mean over classes and batch, a scalar.

    With two classes it is the cross-entropy; with more it punishes a wrong class once more than that does.

    Args:
        logits: ``(B, C)``.
        labels: ``(B,)`` integers.

    Raises:
        TypeError, ValueError: for anything but tensors of these kinds and shapes, or a label that is no class.
    """
    labels = checks.classified(logits, labels, ("B", "C"))
    log_p = F.log_softmax(logits, 1)
    # log(1 − p_c) is the logarithm of the sum of the others' exponentials, less that of all
    others = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    log_not = (logits[:, None] + torch.zeros_like(others, dtype=logits.dtype).masked_fill(others, -float("inf"))).logsumexp(2)
    log_not = log_not - logits.logsumexp(1, keepdim=True)
    truth = F.one_hot(labels, logits.shape[1]).to(logits)
    return -(truth * log_p + (1 - truth) * log_not).mean()


# --- training -------------------------------------------------------------------------------------------------------------


def prepare(found: Dataset, settings: Settings, seed: int = 0) -> LabelledPool:
    """The pool of images with their classes, after their backgrounds were removed where the settings say so.

    A data set that brings images of backgrounds (label 2) is taken as it is: its images have none any more. Of others the background is
    removed by :func:`course_lib.pretext.backgrounds.parted`, and of every second image it is kept as an image of the third class.

    Args:
        found: images uint8 ``(N, 3, H, W)`` with ``labels (N,)``: 0 after, 1 before, 2 background.
        settings: ``background`` and ``threshold`` are used.
        seed: not used; nothing is random here.

    Raises:
        TypeError, ValueError: for images without labels, of several sizes or not in colour, or a data set without one of the classes.
    """
    if bool((_labelled(found).labels == BACKGROUND).any()):
        images, labels = found.images, found.labels
        if settings.background == "kept":
            raise ValueError(f'{found.name} has its backgrounds as a class of their own: choose another background than "kept".')
        kept = torch.ones_like(labels, dtype=torch.bool) if settings.background == "class" else labels != BACKGROUND
        return LabelledPool(images[kept], labels[kept], settings.classes)
    images, labels = found.images, found.labels
    if settings.background == "kept":
        return LabelledPool(images, labels, 2)
    objects, background, _ = backgrounds.parted(images, labels, threshold=settings.threshold)
    if settings.background == "removed":
        return LabelledPool(objects, labels, 2)
    background = background[::2]
    return LabelledPool(torch.cat([objects, background]), torch.cat([labels, labels.new_full((len(background),), BACKGROUND)]), 3)


def _labelled(found: Dataset) -> LabelledPool:
    """The pool of all images; errors as :func:`prepare`."""
    pool = LabelledPool.of(found, 3)
    if pool.images.shape[1] != 3:
        raise ValueError(f"images are {tuple(pool.images.shape[1:])}, but three channels are expected: load them in colour.")
    for label, name in enumerate(CLASSES[:2]):
        if not bool((pool.labels == label).any()):
            raise ValueError(f"{found.name} has no image of the class {name}: a classifier of before and after needs both.")
    return pool


def relit(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Each image in another light: every channel times its own gain, between 1 − strength and 1 + strength; black stays black.

    Args:
        images: ``(B, C, H, W)`` in [0, 1].
        strength: 0 to 1.
        generator: the source of the draws, on the device of the images.

    Raises:
        TypeError, ValueError: for no generator, images of another kind or shape, or another strength.
    """
    checks.generator(generator)
    checks.require_images(images)
    strength = checks.number(strength, "strength", 0, 1)
    draws = torch.rand(len(images), images.shape[1] + 1, 1, 1, generator=generator, device=images.device)
    gains = 1 + strength * (draws[:, 1:] + draws[:, :1] - 1)  # half of it common to all channels: brightness; half their own: colour
    return (images * gains).clamp(0, 1)


def mirrored(pool: LabelledPool, draws: Draws, settings: Plan) -> tuple[Tensor, Tensor]:
    """(images ``(B, C, H, W)`` in [0, 1], labels ``(B,)``): the next of the epoch, mirrored at random along and across."""
    images, labels = pool.epoch(draws, settings.batch_size)
    if settings.flip:
        images = flips(flips(images, draws("flips")).transpose(2, 3), draws("flips")).transpose(2, 3)
    return images, labels


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(images ``(B, 3, H, W)`` in [0, 1], labels ``(B,)``): the next of the epoch, relit and mirrored at random."""
    images, labels = mirrored(pool, draws, settings)
    return relit(images, settings.jitter, draws("light")), labels


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and the share of it that is classified correctly, both scalars."""
    images, labels = batch
    logits = model(images)
    accuracy = (logits.detach().argmax(1) == labels).float().mean()
    return softmax_cross_entropy(logits, labels), {"accuracy": accuracy}


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, *, indices: Sequence[int] | None = None) -> list[float]:
    """For each image, 100 where "before" or "after" is right, whatever "background" says: the mean is in percent.

    Args:
        model: the classifier, in evaluation mode.
        images: uint8 ``(N, 3, H, W)``, with their backgrounds.
        labels: ``(N,)``: 0 after, 1 before.
        indices: numbers of the images to look at; None for all.

    Raises:
        TypeError, ValueError: as :func:`course_lib.probes.evaluate`.
    """
    return probes.evaluate(_Two(model), images, labels, indices=indices)


class _Two(nn.Module):
    """A classifier's logits of after and before alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.training = model, model.training

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[:, :2]
