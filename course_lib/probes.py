r"""Probes: what do the features of a network tell, that was trained for something else?

Idea. The network below, the *trunk*, is held as it is, and a small classifier is trained on its features
:math:`z = f(x)` with the labels of the task that one cares about,

.. math:: \ell = -\frac{1}{B} \sum_{i=1}^{B} \log \mathrm{softmax}\bigl(h(f(x_i))\bigr)_{u_i} .

The better the features, the better a small head h does. A *linear* head asks whether the classes can be told apart by planes, a
*non-linear* one whether what tells them apart is there at all, a *convolutional* one also how features lie beside each other. With
``fine_tuned`` the trunk is a start and is trained as well. :func:`neighbours` asks without any training: which images are the nearest?

Two rivals belong beside every probe: the same head on a trunk that was never trained (:func:`calibrated`, or batch normalisation
does almost nothing in it), and the whole network trained with the labels.

A linear head here is one layer on all features as they are; the authors' linear probe of ImageNet first pools them to about 9,000
values and normalises these.

Source: Gidaris, Singh and Komodakis (2018), and their code for what the paper leaves out (augmented images, SGD with Nesterov
momentum, 0.9, weight decay 5e-4, a rate of 0.1 that falls by 5 three times); Wu et al. (2018) for the weighted nearest neighbours.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, rng
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.frozen import Frozen
from course_lib.labelled import ImageSettings, LabelledPool, require_pairs
from course_lib.rng import Draws

Head = Literal["linear", "nonlinear", "conv"]


@dataclass(frozen=True, kw_only=True)
class AuthorsPlan(ImageSettings):
    """How the authors train networks and probes alike: SGD with Nesterov momentum, and a rate that falls by 5 three times."""

    nesterov: bool = True
    weight_decay: float = 5e-4
    final_learning_rate: float = 0.0008


@dataclass(frozen=True, kw_only=True)
class Settings(AuthorsPlan):
    """A probe of 10 classes on features of the images of CIFAR-10."""

    head: Head = "nonlinear"
    fine_tuned: bool = False  # train the trunk as well, from where it is
    classes: int = 10
    drop_at: tuple[float, ...] = (0.2, 0.4, 0.45)  # of the non-linear head: after epochs 20, 40 and 45 of 100

    def __post_init__(self):
        super().__post_init__()
        if self.head not in get_args(Head):
            raise ValueError(f'head = "{self.head}", but it must be one of {", ".join(get_args(Head))}.')
        self.require_at_least(classes=2, batch_size=2 if self.head == "nonlinear" else 1)  # batch normalisation has no spread of one


def head(settings: Settings, features: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """The classifier of features of a shape ``(C, H, W)`` or ``(C,)``, freshly initialised.

    - linear: one layer on all values;
    - nonlinear: two layers without bias, each with batch normalisation and ReLU, of min(20 · classes, 2048) units, and a linear one;
    - conv: a block of convolutions (3×3, 1×1, 1×1, of 192 channels), the mean over the image, and a linear layer.

    Weights are normal with variance 2 / fan-out, as those of the authors' probes.

    Raises:
        ValueError: for a convolutional head on features without height and width.
    """
    if settings.head == "linear":
        made = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(features), settings.classes))
    elif settings.head == "nonlinear":
        hidden = min(20 * settings.classes, 2048)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs in (math.prod(features), hidden):
            layers += [nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        made = nn.Sequential(*layers, nn.Linear(hidden, settings.classes))
    else:
        if len(features) != 3:
            raise ValueError(f"features are {tuple(features)}, but a convolutional head is for (C, H, W): take a block before the pooling.")
        layers = []
        for inputs, side in ((features[0], 3), (192, 1), (192, 1)):
            layers += [nn.Conv2d(inputs, 192, side, padding=side // 2, bias=False), nn.BatchNorm2d(192), nn.ReLU()]
        made = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, settings.classes))
    for layer in made:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out), generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return made


class Probe(nn.Module):
    """A trunk and a classifier of its features: images ``(B, C, H, W)`` in [0, 1] give logits ``(B, classes)``, float32.

    Args:
        settings: which head, and whether the trunk is trained.
        trunk: the network below. As :class:`~course_lib.frozen.Frozen` it is held, and its features come from evaluation mode; where
            the settings say ``fine_tuned``, the probe trains a copy of its own.
        seed: of the initial weights of the head.

    Raises:
        ValueError: for a trunk that cannot take the images of the settings, or whose features do not fit the head.
    """

    def __init__(self, settings: Settings, trunk: Frozen, *, seed: int = 0):
        super().__init__()
        self.trunk = copy.deepcopy(trunk.network).requires_grad_(True) if settings.fine_tuned else trunk
        weight = next(trunk.network.parameters(), torch.zeros(()))
        image = torch.zeros(2, settings.channels, settings.size, settings.size, device=weight.device, dtype=weight.dtype)
        try:
            with torch.no_grad():
                features = trunk(image).shape[1:]
        except RuntimeError as error:
            shape = f"{settings.channels} × {settings.size} × {settings.size}"
            raise ValueError(f"the trunk does not take images of {shape} ({error}): set channels and size.") from error
        self.head = head(settings, features, rng.generator(seed, 0, 0, "initial weights of the probe"))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        return self.head(self.trunk(images)).float()


def prepare(found: Dataset, settings: Settings, seed: int = 0) -> LabelledPool:
    """The pool of a labelled data set; errors as :class:`course_lib.labelled.LabelledPool`, for images of another shape as well.

    Raises:
        ValueError: for images that do not have the ``channels`` and ``size`` of the settings.
    """
    return LabelledPool.of(found, settings.classes).fitting(settings)


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(images ``(B, C, H, W)`` in [0, 1], labels ``(B,)``): the next of the epoch, cropped and mirrored at random."""
    return pool.augmented(draws, settings.batch_size, padding=settings.padding, flip=settings.flip)


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The cross-entropy of a batch, and the share that is classified correctly, both scalars."""
    images, labels = batch
    logits = model(images)
    return F.cross_entropy(logits, labels), {
        "accuracy": (logits.detach().argmax(1) == labels).float().mean()
    }


@torch.no_grad()
def outputs(model: nn.Module, images: Tensor, *, at_once: int = 100) -> Tensor:
    """What ``model`` gives for uint8 images ``(N, C, H, W)``, ``at_once`` at a time: ``(N, …)`` float32, on its device.

    Raises:
        TypeError, ValueError: for anything but images of that type and shape, a model in training mode, or a result with NaN.
    """
    if getattr(model, "training", False):
        raise ValueError("the model is in training mode, where the images change its batch statistics: call model.eval().")
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    weight = next(model.parameters(), torch.zeros(()))
    parts = images.split(checks.whole(at_once, "at_once", 1))
    return checks.tensor(torch.cat([model(to_float(part.to(weight.device))).float() for part in parts]), "the model's outputs")


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, *, indices: Sequence[int] | None = None) -> list[float]:
    """For each image, 100 where the largest logit is that of its label, else 0: the mean is in percent.

    Args:
        model: a classifier, in evaluation mode.
        images: uint8 ``(N, C, H, W)``.
        labels: ``(N,)``.
        indices: numbers of the images to look at, in any order; None for all.

    Raises:
        TypeError, ValueError: for images or labels of another type, shape or number, a number that no image has, a label that is no
            class of the model, or outputs with NaN.
    """
    require_pairs(images, labels)
    if indices is not None:
        chosen = checks.indices(indices, len(images))
        images, labels = images[chosen], labels[chosen]
    said, labels = checks.tensor(outputs(model, images), "the model's outputs", ("N", "classes")).cpu(), labels.cpu()
    checks.labels(labels, said.shape[1])
    return (100.0 * (said.argmax(1) == labels)).tolist()


@torch.no_grad()
def calibrated(network: nn.Module, images: Tensor, *, at_once: int = 500) -> nn.Module:
    """``network`` with the batch statistics of images, which an untrained one needs: its initial ones make normalisation a near no-op.

    Args:
        network: changed in place, and left in evaluation mode.
        images: uint8 ``(N, C, H, W)``.
        at_once: images in one batch, at least 2. One image that would be left alone, without a spread, goes with those before it.

    Raises:
        TypeError, ValueError: for anything but images of that type and shape, or fewer than 2 of them.
    """
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    if len(images) < 2:
        raise ValueError(f"there are {len(images)} images, but the statistics of a batch need at least 2.")
    at_once = checks.whole(at_once, "at_once", 2)
    sizes = [len(part) for part in images.split(at_once)]
    if sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]
    normal = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    before = [layer.momentum for layer in normal]
    for layer in normal:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
    weight = next(network.parameters(), torch.zeros(()))
    network.train()
    try:
        for part in images.split(sizes):  # once: each batch is normalised by its own statistics, which a second time are the same
            network(to_float(part.to(weight.device)))
    finally:
        for layer, momentum in zip(normal, before, strict=True):
            layer.momentum = momentum
        network.eval()
    return network


def neighbours(
    features: Tensor, labels: Tensor, queries: Tensor, *, classes: int, k: int = 200, temperature: float = 0.07
) -> Tensor:
    r"""Scores of the classes by the k nearest neighbours: :math:`\sum_{i \in N_k(q)} [u_i = c]\, \exp(\cos(z_i, q) / \tau)`.

    Args:
        features: ``(N, d)`` or ``(N, C, H, W)``, which are flattened, of images whose labels are known.
        labels: ``(N,)``.
        queries: ``(Q, d)``, or as ``features``.
        classes: how many there are.
        k: how many neighbours vote; all where there are fewer.
        temperature: τ; a large one gives every neighbour the same vote.

    Returns:
        ``(Q, classes)``, each row with sum 1.

    Raises:
        TypeError: for anything but tensors of numbers, and labels that are integers.
        ValueError: for k below 1, a temperature that is not positive, NaN, a label that is no class, or shapes that do not fit.
    """
    for tensor, name in ((features, "features"), (queries, "queries")):
        if checks.tensor(tensor, name).dim() < 2:
            raise ValueError(f"{name} {tuple(tensor.shape)} do not fit: (N, d) or (N, C, H, W) is expected.")
    checks.tensor(labels, "labels", ("N",), of="integers")
    k, temperature = checks.whole(k, "k"), checks.number(temperature, "temperature")
    checks.labels(labels, checks.whole(classes, "classes", 1, 2**31))
    kind = torch.promote_types(torch.promote_types(features.dtype, queries.dtype), torch.float32)
    features, queries = features.flatten(1).to(kind), queries.flatten(1).to(kind)
    if k < 1 or not temperature > 0:
        raise ValueError(f"k = {k}, temperature = {temperature}: k must be at least 1, and the temperature positive.")
    if features.shape[1] != queries.shape[1] or labels.shape != features.shape[:1]:
        shapes = [tuple(one.shape) for one in (features, labels, queries)]
        raise ValueError("features {}, labels {} and queries {} do not fit: (N, d), (N,), (Q, d).".format(*shapes))
    features, scores = F.normalize(features), []
    for part in F.normalize(queries).split(1024):  # the similarities of all at once could be more than the memory holds
        similarity, nearest = (part @ features.T).topk(min(k, len(features)), dim=1)
        votes = (similarity / temperature).softmax(1)  # the shares are those of exp(similarity / τ), and nothing overflows
        scores.append(votes.new_zeros(len(part), classes).scatter_add_(1, labels.long()[nearest], votes))
    return torch.cat(scores)
