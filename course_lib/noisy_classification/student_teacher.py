r"""Student and teacher: a classifier of noisy images learns from another one's features, with no denoiser between.

Idea. A teacher is trained first, and then frozen. The student has its architecture, reads noisy images, and learns two things at once: the
labels, and to have on its way to them the features t of the teacher,

.. math:: \ell = L(z, c) + \lambda \sum_{l} \frac{1}{n_l} \lVert s_l(z) - t_l(u) \rVert_2^2 ,

L the cross-entropy of the label c, l the places where features are compared (behind the first convolution and behind each stage), n_l the
number of values there. What the teacher reads, u, and what it was trained on make the methods:

- *student-teacher learning*: a teacher of clean images reads the clean image, u = y. The student is asked to see through the noise.
- *simple self-distillation*: a teacher of noisy images reads a noisy image, and no clean one is needed anywhere. u = z, the very image of
  the student (``"same"``), or another shot of the scene with the same σ and noise of its own (``"fresh"``).

The noise is that of chapter 15: σ uniform up to a maximum for each image, clipped. With λ = 0 what is left is training on noisy images.

Source: A. Gnanasambandam, S. H. Chan, *Image Classification in the Dark using Quanta Image Sensors*, ECCV 2020, arXiv:2006.02026, for a
clean teacher; T. Sasaya, T. Watanabe, T. Ida, T. Ono, *Simple Self-Distillation Learning for Noisy Image Classification*, ICIP 2023, for a
noisy one. Neither paper's weights, layers, networks and schedules could be found, nor whether Sasaya's teacher and student share their
noise. They are choices of ours: the network and schedule of chapter 15, and λ = 1. It lies between the default 0.1 and the 10 of the runs
in the public code of a later paper that compares with the first (B. Goyal, M. Gupta, *Photon-Starved Scene Inference using Single Photon
Cameras*, ICCV 2021), and did better than 10 in a trial on digits. The student begins with weights of its own: one with the seed of its
teacher would otherwise begin where the teacher began, and be told the way that it went.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import noise, rng
from course_lib.frozen import Frozen
from course_lib.labelled import LabelledPool
from course_lib.noisy_classification import evaluation, resnet
from course_lib.noisy_classification.resnet import ClassifierSettings, ResNet, Seen, prepare
from course_lib.rng import Draws

__all__ = ["Settings", "Student", "batch", "before_training", "consistency", "evaluate", "prepare", "step"]

Reads = Literal["clean", "same", "fresh"]


@dataclass(frozen=True, kw_only=True)
class TaughtSettings(ClassifierSettings):
    """A student of noisy images with a teacher, whatever is compared."""

    max_sigma: float = 0.15  # of the student's images: σ of each is uniform up to this, on the [0, 1] scale (38 of 255)
    teacher_reads: Reads = "clean"  # the clean image, the very noisy image of the student, or another one with the same σ
    weight_teacher: float  # of what is learnt from the teacher; 0 for none, and then there is no teacher

    def __post_init__(self):
        super().__post_init__()
        noise.require_sigma(self.max_sigma)
        if self.teacher_reads not in get_args(Reads):
            raise ValueError(f'teacher_reads = "{self.teacher_reads}", but it must be one of {", ".join(get_args(Reads))}.')
        if self.weight_teacher < 0:
            raise ValueError(f"weight_teacher = {self.weight_teacher}, but it must be at least 0.")


@dataclass(frozen=True, kw_only=True)
class Settings(TaughtSettings):
    """A student that learns features."""

    weight_teacher: float = 1.0  # λ


class Taught(NamedTuple):
    """What a student in training gives, and what its teacher gives."""

    student: Seen
    teacher: Seen | None  # None without a teacher


class Student(nn.Module):
    """A residual network, in training with a teacher that it does not own.

    Args:
        settings: of the student; its architecture must be the teacher's.
        seed: of its initial weights.
        teacher: a :class:`course_lib.noisy_classification.resnet.ResNet`; may be None where ``weight_teacher`` is 0.

    Raises:
        ValueError: for a teacher that is missing, or whose features or logits are not those of the student in number and shape.
    """

    def __init__(self, settings: TaughtSettings, *, seed: int = 0, teacher: Frozen | None = None):
        super().__init__()
        if settings.weight_teacher and teacher is None:
            raise ValueError("weight_teacher asks for a teacher, but there is none: teacher=Frozen(network), or weight_teacher = 0.")
        self.student = ResNet(settings, seed=rng.derived_seed(seed, 0, 0, "student"))
        self.teacher = teacher if settings.weight_teacher else None
        if self.teacher is not None:
            self._require_fitting(settings)

    def _require_fitting(self, settings: TaughtSettings) -> None:
        """``ValueError`` unless the teacher takes the images, and what it gives of them can be compared with what the student gives."""
        image = torch.zeros(1, settings.channels, settings.size, settings.size)
        shapes = []
        for network in (self.teacher.network, self.student.eval()):  # in evaluation mode, so that no statistic changes
            try:
                with torch.no_grad():
                    seen = self.compared(network, image)
            except RuntimeError as error:
                raise ValueError(f"the teacher does not take images of {tuple(image.shape[1:])} ({error}).") from error
            shapes.append(", ".join("×".join(map(str, part.shape[1:])) for part in (*seen.features, seen.logits)))
        self.student.train()
        if shapes[0] != shapes[1]:
            raise ValueError(f"the teacher gives {shapes[0]}, but the student {shapes[1]}: both must have the same sizes.")

    @staticmethod
    def compared(network: nn.Module, images: Tensor) -> Seen:
        """What is compared of a network, for images ``(B, C, H, W)``.

        Raises:
            ValueError: for a network whose features are not known.
        """
        if not isinstance(network, ResNet):
            raise ValueError(f"the teacher is a {type(network).__name__}, but a ResNet is expected: its features are compared.")
        return network.seen(images)

    def forward(self, noisy: Tensor, shown: Tensor) -> Taught:
        """Student and teacher on a batch: ``noisy`` is what the one reads, ``shown`` the other, both ``(B, C, H, W)``."""
        own = self.student.seen(noisy)
        if self.teacher is None:
            return Taught(own, None)
        with torch.no_grad():  # nothing before the teacher is trained
            return Taught(own, self.compared(self.teacher.network, shown))


def consistency(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Tensor:
    r"""The sum over places of the mean squared difference of features, a scalar; no gradient
    reaches the teacher's.

    Args:
        student: features of each place, ``(B, channels, height, width)``.
        teacher: as many, in the same shapes.

    Raises:
        ValueError: for another number of places, or other shapes.
    """
    ours, theirs = ([tuple(part.shape) for part in features] for features in (student, teacher))
    if ours != theirs or not ours:
        raise ValueError(f"features are {ours} of the student, {theirs} of the teacher: no match.")
    pairs = zip(student, teacher, strict=True)
    return torch.stack([F.mse_loss(own, other.detach()) for own, other in pairs]).sum()


def before_training(model: Student, pool: LabelledPool, settings: TaughtSettings) -> None:
    """Give the student the mean of the training images, in shape ``(C, H, W)``; the teacher has its own."""
    resnet.before_training(model.student, pool, settings)


def batch(pool: LabelledPool, draws: Draws, settings: TaughtSettings) -> tuple[Tensor, Tensor, Tensor]:
    """(noisy images, what the teacher reads, labels ``(B,)``); both images ``(B, C, H, W)``, with the
    same crop and the same mirror.
    """
    clean, labels = pool.augmented(
        draws, settings.batch_size, padding=settings.padding, flip=settings.flip
    )
    sigma = noise.uniform_sigma(0.0, settings.max_sigma, len(clean), draws("sigma"))
    noisy = noise.gaussian(clean, sigma, draws("noise"), clip=True)
    if settings.teacher_reads == "clean":
        return noisy, clean, labels
    if settings.teacher_reads == "same":
        return noisy, noisy, labels
    return noisy, noise.gaussian(clean, sigma, draws("noise of the teacher"), clip=True), labels


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy plus λ times the distance of the features; the share that is classified
    correctly, and that distance (0 without a teacher): all scalars.
    """
    noisy, shown, labels = batch
    student, teacher = model(noisy, shown)
    loss, distance = F.cross_entropy(student.logits, labels), torch.zeros((), device=noisy.device)
    if teacher is not None:
        distance = consistency(student.features, teacher.features)
        loss = loss + settings.weight_teacher * distance
    right = (student.logits.detach().argmax(1) == labels).float().mean()
    return loss, {"accuracy": right, "distance": distance.detach()}


def evaluate(model: Student, images: Tensor, labels: Tensor, *, indices=None, **condition) -> list[float]:
    """For each uint8 image ``(N, C, H, W)`` 100 where the student is right, else 0; no teacher takes part.

    Errors as :func:`course_lib.noisy_classification.evaluation.evaluate`.
    """
    return evaluation.evaluate(model.student, images, labels, indices=indices, **condition)
