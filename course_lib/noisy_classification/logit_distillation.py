r"""Logit distillation: the student learns what its teacher finds likely, not how it comes to it.

Idea. The teacher's answer says more than the label: that this 7 could be a 1, and hardly a 0. Hinton et al. soften both answers by a
temperature T, since at T = 1 nearly all of the probability is on one class, and compare them,

.. math::
    \ell = (1 - \alpha)\, L(z, c) + \alpha\, T^2\, \mathrm{KL}\bigl(p_t \,\Vert\, p_s\bigr), \qquad
    p = \mathrm{softmax}(\text{logits} / T) .

L is the cross-entropy of the label c. **The factor T²**: the gradient of the divergence is :math:`(p_s - p_t) / T` for each logit, and for
large T the difference of the probabilities itself falls as 1/T. Without the factor, whoever raises T also turns α down.

It is the control of this part: same teacher, same images, same steps as in :mod:`course_lib.noisy_classification.student_teacher`, and only
what is learnt from the teacher differs. A teacher of another size will do, as long as it has the same classes.

Source: G. Hinton, O. Vinyals, J. Dean, *Distilling the Knowledge in a Neural Network*, 2015, arXiv:1503.02531. T = 4 and α = 1/2 are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks
from course_lib.noisy_classification import student_teacher
from course_lib.noisy_classification.resnet import Seen
from course_lib.noisy_classification.student_teacher import TaughtSettings, batch, before_training, evaluate, prepare

__all__ = ["Settings", "Student", "batch", "before_training", "divergence", "evaluate", "prepare", "step"]


@dataclass(frozen=True, kw_only=True)
class Settings(TaughtSettings):
    """A student that learns logits."""

    weight_teacher: float = 0.5  # α: the label has the rest
    temperature: float = 4.0  # T, of both softmaxes

    def __post_init__(self):
        super().__post_init__()
        if self.weight_teacher > 1:
            raise ValueError(f"weight_teacher = {self.weight_teacher}, but it must lie in 0 to 1: the label has the rest.")
        if not self.temperature > 0:
            raise ValueError(f"temperature = {self.temperature}, but it must be above 0.")


class Student(student_teacher.Student):
    """A student whose teacher has the same classes, and may have any size."""

    @staticmethod
    def compared(network: nn.Module, images: Tensor) -> Seen:
        """The logits alone, of images ``(B, C, H, W)``."""
        return Seen(network(images), ())


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² KL(p_t ‖ p_s), a scalar: the sum over the last axis of ``(..., classes)`` and the mean over the others; p = softmax(logits / T).

    No gradient reaches the teacher.

    Raises:
        TypeError: for anything but tensors of floating-point numbers.
        ValueError: for a temperature that is not above 0, or shapes that differ.
    """
    temperature = checks.number(temperature, "temperature", 0, inside=True)
    for value, name in ((student, "the student's logits"), (teacher, "the teacher's logits")):
        checks.tensor(value, name, of="floating", finite=False)
    if student.shape != teacher.shape:
        raise ValueError(f"the student's logits are {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}: other classes?")
    own, other = ((one / temperature).log_softmax(-1) for one in (student, teacher.detach()))
    return temperature**2 * F.kl_div(own, other, reduction="none", log_target=True).sum(-1).mean()


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum; the share that is classified correctly, and the divergence times T² (0 without
    a teacher): all scalars.
    """
    noisy, shown, labels = batch
    student, teacher = model(noisy, shown)
    loss, apart = F.cross_entropy(student.logits, labels), torch.zeros((), device=noisy.device)
    if teacher is not None:
        apart = divergence(student.logits, teacher.logits, settings.temperature)
        loss = (1 - settings.weight_teacher) * loss + settings.weight_teacher * apart
    right = (student.logits.detach().argmax(1) == labels).float().mean()
    return loss, {"accuracy": right, "divergence": apart.detach()}
