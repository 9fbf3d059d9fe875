r"""Pixel-level regularisation: a clean image and its perturbed copy shall be embedded alike.

Idea. A classifier that has seen noisy images in its training stands noise, and often pays for it on clean ones. Na et al. put pairs into
the batch, a clean image X and a perturbed copy X', classify both, and pull the logits of the copy (its *embedding* E') towards those of
the clean image. The clean embedding is the *pivot*: no gradient flows into it, so that the copy moves, and the clean image does not.

A batch of m images, by Algorithm 1: the first m − k images of the data, and k copies of the first k of them, k ≤ m/2,

.. math:: B' = \{X'_1, \ldots, X'_k,\; X_1, \ldots, X_{m-k}\} .

Loss (equation 1), with sums over the batch:

.. math::
    \ell = \frac{1}{(m-k) + \lambda k} \Bigl( \sum_{i=1}^{m-k} L(X_i, c_i) + \lambda \sum_{i=1}^{k} L(X'_i, c_i) \Bigr)
    + \lambda_2 \sum_{i=1}^{k} \lVert E'_i - E_i \rVert_2^2 ,

L the cross-entropy, λ = 0.3, λ₂ = 0.0001. The distance is a sum outside of the normalised bracket: the larger k, the more it weighs.

Rivals: clean images only, perturbed images only, and both without the distance (λ₂ = 0), which is data augmentation.

Choices of ours where the paper is silent: a batch of one kind only has m different images; without boxes the region of interest is the
centre, its side uniform from 0 to that of the image.

Source: T. Na, J. H. Ko, S. Mukhopadhyay, *Noise-Robust and Resolution-Invariant Image Classification with Pixel-Level Regularization*.
The authors' public code of a companion paper lets the gradient flow both ways and halves the distance; the equation here is the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, devices, noise
from course_lib.data import Dataset
from course_lib.labelled import LabelledPool
from course_lib.noisy_classification import resnet
from course_lib.noisy_classification.imagenet import PhotographPool, Photographs
from course_lib.noisy_classification.resnet import ClassifierSettings, before_training
from course_lib.resolution import Enlarging, mixed_resolution, random_low_resolution
from course_lib.rng import Draws

__all__ = ["Settings", "batch", "before_training", "perturbed", "pivot_loss", "prepare", "step"]

Training = Literal["clean", "perturbed", "both", "pivot"]
Perturbation = Literal["noise", "low_resolution", "regions"]
Pool = LabelledPool | PhotographPool


@dataclass(frozen=True, kw_only=True)
class Settings(ClassifierSettings):
    """A classifier of clean images, of perturbed ones, or of both; the paper's values for CIFAR-10."""

    training: Training = "pivot"
    perturbation: Perturbation = "noise"
    max_sigma: float = 0.15  # for noise: σ of each image is uniform up to this, on the [0, 1] scale (38 of 255)
    factors: tuple[int, ...] = (2, 4)  # for low resolution: by how much it is lower
    enlarging: tuple[str, ...] = get_args(Enlarging)  # … and how it gets the old size; both drawn for each image
    perturbed: float = 0.5  # k / m: which share of a batch are perturbed copies
    weight_perturbed: float = 0.3  # λ, of the cross-entropy of perturbed images
    weight_pivot: float = 1e-4  # λ₂, of the distance between the logits of a pair

    def __post_init__(self):
        super().__post_init__()
        for name, kinds in (("training", Training), ("perturbation", Perturbation)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f'{name} = "{getattr(self, name)}", but it must be one of {", ".join(get_args(kinds))}.')
        noise.require_sigma(self.max_sigma)
        if not self.factors or min(self.factors) < 1 or any(self.size % factor for factor in self.factors):
            raise ValueError(f"factors = {self.factors}: give one or more whole numbers that divide size = {self.size}, such as 2,4.")
        if not self.enlarging or not set(self.enlarging) <= set(get_args(Enlarging)):
            raise ValueError(f"enlarging = {self.enlarging}: give one or more of {', '.join(get_args(Enlarging))}.")
        if self.paired and not 1 <= self.copies <= self.batch_size / 2:
            raise ValueError(
                f"perturbed = {self.perturbed} of batch_size = {self.batch_size} are k = {self.copies} copies: a batch has at least one, "
                "and at most half of it, since each needs its clean image beside it (k ≤ m/2)."
            )
        if self.weight_perturbed < 0 or self.weight_pivot < 0:
            raise ValueError(f"weight_perturbed = {self.weight_perturbed}, weight_pivot = {self.weight_pivot}: neither may be negative.")

    @property
    def paired(self) -> bool:
        """Does a batch have clean images and copies of them?"""
        return self.training in ("both", "pivot")

    @property
    def copies(self) -> int:
        """k, the perturbed images of a batch."""
        return {"clean": 0, "perturbed": self.batch_size}.get(self.training, int(self.perturbed * self.batch_size + 1e-9))


def pivot_loss(logits: Tensor, labels: Tensor, k: int, *, weight_perturbed: float, weight_pivot: float) -> tuple[Tensor, Tensor]:
    """Equation 1 of a batch of k perturbed copies, their k clean images, and further clean images, in this order.

    Args:
        logits: ``(m, classes)``.
        labels: ``(m,)`` integers.
        k: at most m/2.
        weight_perturbed: λ.
        weight_pivot: λ₂; 0 for data augmentation alone.

    Returns:
        (the loss, and the sum of the squared distances in it without λ₂), two scalars.

    Raises:
        TypeError: for anything but tensors of numbers and of integers.
        ValueError: for shapes that do not fit, k beyond 0 to m/2, or a label that is no class (labels on a GPU are not looked at).
    """
    checks.tensor(logits, "logits", ("m", "classes"), of="floating", finite=False)
    m = len(checks.tensor(labels, "labels", ("m",), of="integers"))
    if len(logits) != m:
        raise ValueError(f"there are {len(logits)} rows of logits, but {m} labels.")
    weight_perturbed, weight_pivot = (checks.number(w, name, 0) for w, name in (
        (weight_perturbed, "weight_perturbed"), (weight_pivot, "weight_pivot")))  # fmt: skip
    k = checks.whole(k, "k")
    if not 0 <= k <= m / 2:
        raise ValueError(f"k = {k} perturbed images in a batch of m = {m}, but each needs its clean image beside it: k lies in 0 to m/2.")
    checks.labels(labels, logits.shape[1])
    each = F.cross_entropy(logits, labels.long(), reduction="none")
    classified = (each[k:].sum() + weight_perturbed * each[:k].sum()) / (m - k + weight_perturbed * k)
    distance = (logits[:k] - logits[k : 2 * k].detach()).square().sum()  # the clean embedding is the pivot
    return classified + weight_pivot * distance, distance


def perturbed(clean: Tensor, draws: Draws, settings: Settings, boxes: Tensor | None = None) -> Tensor:
    """Perturbed copies of clean images, each by its own amount.

    Args:
        clean: ``(B, C, H, W)`` in [0, 1].
        draws: the named streams of this step.
        settings: ``perturbation`` and its strength.
        boxes: regions of interest ``(B, 4)`` for ``regions``, see :func:`course_lib.resolution.mixed_resolution`. Every second image keeps
            its resolution there, the others nowhere.

    Returns:
        ``(B, C, H, W)`` in [0, 1]: noise is clipped, as in the paper.
    """
    if settings.perturbation == "noise":
        sigma = noise.uniform_sigma(0.0, settings.max_sigma, len(clean), draws("sigma"))
        return noise.gaussian(clean, sigma, draws("noise"), clip=True)
    low = random_low_resolution(clean, settings.factors, draws("resolution"), enlarging=settings.enlarging)
    if settings.perturbation == "low_resolution":
        return low
    if boxes is None:
        side = torch.randint(settings.size + 1, (len(clean), 1), generator=draws("boxes"), device=clean.device)
        start = (settings.size - side) // 2
        boxes = torch.cat([start, start, start + side, start + side], dim=1)
    mixed = mixed_resolution(clean, low, boxes)
    mixed[1::2] = low[1::2]
    return mixed


def prepare(found: Dataset | Photographs, settings: Settings, seed: int = 0) -> Pool:
    """The pool of a labelled data set, or of photographs in files; errors as :func:`course_lib.noisy_classification.resnet.prepare`."""
    return PhotographPool(found, settings) if isinstance(found, Photographs) else resnet.prepare(found, settings, seed)


def batch(pool: Pool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(images ``(m, C, H, W)``, labels ``(m,)``): perturbed copies first, then the clean images, as
    in Algorithm 1.
    """
    m, k = settings.batch_size, settings.copies
    count = m - k if settings.paired else m
    clean, labels, *boxes = pool.augmented(
        draws, count, padding=settings.padding, flip=settings.flip
    )
    if not k:
        return clean, labels
    copies = perturbed(clean[:k], draws, settings, *(box[:k] for box in boxes))
    if not settings.paired:
        return copies, labels
    return torch.cat([copies, clean]), torch.cat([labels[:k], labels])


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch; the share that is classified correctly, and the mean squared distance of
    the logits of a pair (0 without pairs): all scalars.
    """
    images, labels = batch
    logits = model(images)  # one pass for all, so that batch normalisation sees the mixture
    k = settings.copies if settings.paired else 0
    # a sum over the batches of all processes, of which the loop takes the mean
    weight = settings.weight_pivot * devices.processes() if settings.training == "pivot" else 0.0
    loss, distance = pivot_loss(
        logits, labels, k, weight_perturbed=settings.weight_perturbed, weight_pivot=weight
    )
    right = (logits.detach().argmax(1) == labels).float().mean()
    return loss, {"accuracy": right, "distance": distance.detach() / max(k, 1)}
