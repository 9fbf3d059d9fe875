r"""SLKD: a small restorer with two teachers, one for each half.

Idea. A student of the shape of its teacher, with fewer channels, learns

- the *encoder* from a teacher of the same task, who reads the degraded image: how a degradation is removed;
- the *decoder* from a teacher who reads the clean image: how an image without degradation is put together.

Features of different networks are not alike channel by channel. A 1×1 convolution first brings the student's to the width of the
teacher's; then not the features are compared but their natural-scene statistics: for the encoder the contrast-normalised (MSCN)
coefficients of BRISQUE, with their variance and neighbours' products,

.. math:: \ell_{NC} = \frac1L \sum_l \bigl\lVert \hat f_l - \hat t_l \bigr\rVert_1 + \bigl\lVert S(\hat f_l) - S(\hat t_l) \bigr\rVert_1 ,

for the decoder the standard deviations of blocks, which PIQE judges by,

.. math:: \ell_{ET} = \frac1L \sum_l \bigl\lVert \sqrt{V(f_l)} - \sqrt{V(t_l)} \bigr\rVert_1 \big/ \bigl\lVert \sqrt{V(t_l)} \bigr\rVert_1 ,

and the images by a Kullback-Leibler divergence between softmaxes over the pixels of a channel, at temperature T:

.. math:: \ell = \lVert \hat y - y \rVert_1 + w_{NC}\,\ell_{NC} + w_{ET}\,\ell_{ET} + w_{KL}\,T^2\,\mathrm{KL}(p_t \,\Vert\, p_s) .

Norms are means over all entries. The teachers are used in training only.

Source: after the idea of *SLKD* (Y. Zhang, D. Yan, ICASSP 2025, arXiv:2501.09268; Drones 9(3):209, 2025). No code of it was found. That
there are two teachers, what each teaches, BRISQUE for the encoder, PIQE for the decoder, a pixel loss and a divergence are the paper's.
Ours are: how the statistics are made differentiable, the divergence over pixels, which of the published weights 0.5, 0.1, 0.1 belongs to
what, and the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, rng
from course_lib.frozen import Frozen
from course_lib.noisy_classification import brisque, logit_distillation, piqe, restorer
from course_lib.noisy_classification.restorer import LEVELS, Restored, Restorer, prepare
from course_lib.rng import Draws

__all__ = ["Settings", "Student", "batch", "evaluate", "naturalness", "prepare", "step", "structure"]


@dataclass(frozen=True, kw_only=True)
class Settings(restorer.Settings):
    """A student; width and blocks are its own."""

    width: int = 12  # of 32: a seventh of the parameters and operations
    naturalness: float = 0.5  # weight of the encoder's loss; 0 leaves it and its teacher out
    structure: float = 0.1  # of the decoder's
    divergence: float = 0.1  # of the images'
    temperature: float = 1.0  # of the softmax over the pixels
    block: int = 4  # side of a block of features, in pixels; PIQE has 16, of images

    def __post_init__(self):
        super().__post_init__()
        if self.reads != "degraded":
            raise ValueError('reads = "clean", but a student is for degraded images.')
        if min(self.naturalness, self.structure, self.divergence) < 0 or self.temperature <= 0:
            weights = f"naturalness = {self.naturalness}, structure = {self.structure}, divergence = {self.divergence}"
            raise ValueError(f"{weights}, temperature = {self.temperature}: weights are at least 0, the temperature is above 0.")
        if self.block < 2 or self.patch_size // 2 ** (LEVELS - 1) < self.block:
            smallest = self.patch_size // 2 ** (LEVELS - 1)
            raise ValueError(f"block = {self.block}, but the smallest features are {smallest} pixels wide: take 2 to {smallest}.")


class Taught(NamedTuple):
    """What a student in training returns: its own, brought to the width of its teachers, and theirs."""

    student: Restored
    degraded: Restored | None  # of the teacher who reads degraded images; None where no loss asks
    clean: Restored | None  # of the teacher who reads clean ones


class Student(nn.Module):
    """A small restorer; in training with two teachers that it does not own.

    Args:
        settings: ``width`` and ``blocks`` of the student; which losses have a weight.
        seed: of its initial weights.
        degraded_teacher: a restorer of the same task; may be None where ``naturalness`` and ``divergence`` are 0.
        clean_teacher: a restorer that reads clean images; may be None where ``structure`` is 0.

    Raises:
        ValueError: for a teacher that is missing, of another number of channels, or that reads the wrong images.
    """

    def __init__(self, settings: Settings, *, seed: int = 0, degraded_teacher: Frozen | None = None, clean_teacher: Frozen | None = None):
        super().__init__()
        needed = {"degraded": settings.naturalness or settings.divergence, "clean": settings.structure}
        teachers = {"degraded": degraded_teacher, "clean": clean_teacher}
        for reads, teacher in teachers.items():
            if needed[reads] and teacher is None:
                raise ValueError(f"a weight asks for {reads}_teacher, but there is none: hand one over, or set that weight to 0.")
            found = getattr(teacher, "network", None)
            if found is not None and not isinstance(found, Restorer):
                raise ValueError(f"{reads}_teacher is a {type(found).__name__}, but a Restorer is expected: its levels are compared.")
            if found is not None and (found.channels, found.residual) != (settings.channels, reads == "degraded"):
                read, channels = "degraded" if found.residual else "clean", found.channels
                raise ValueError(
                    f"{reads}_teacher reads {read} images of {channels} channels, but {reads} ones of {settings.channels} are expected."
                )
        self.student = Restorer(settings, seed=seed)
        self.channels = settings.channels
        self.degraded_teacher = degraded_teacher if needed["degraded"] else None
        self.clean_teacher = clean_teacher if needed["clean"] else None
        self.to_degraded = self._conversions(settings, self.degraded_teacher if settings.naturalness else None, seed, "encoder")
        self.to_clean = self._conversions(settings, self.clean_teacher, seed, "decoder")

    @staticmethod
    def _conversions(settings: Settings, teacher: Frozen | None, seed: int, side: str) -> nn.ModuleList:
        """1×1 convolutions from the width of the student to that of a teacher, level by level; none without a teacher."""
        made = nn.ModuleList()
        if teacher is None:
            return made
        generator = rng.generator(seed, 0, 0, f"conversion of the {side}")
        for level in range(LEVELS):
            layer = nn.Conv2d(settings.width * 2**level, teacher.network.first.out_channels * 2**level, 1, bias=False)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear", generator=generator)
            made.append(layer)
        return made

    def forward(self, degraded: Tensor, clean: Tensor) -> Taught:
        """Student and teachers on a batch ``(B, C, H, W)``, whose sides are multiples of 4."""
        own = self.student(degraded)
        encoder = tuple(layer(level) for layer, level in zip(self.to_degraded, own.encoder, strict=False))
        decoder = tuple(layer(level) for layer, level in zip(reversed(self.to_clean), own.decoder, strict=False))
        with torch.no_grad():  # nothing before the teachers is trained
            of_degraded = self.degraded_teacher(degraded) if self.degraded_teacher is not None else None
            of_clean = self.clean_teacher(clean) if self.clean_teacher is not None else None
        return Taught(Restored(own.image, encoder, decoder), of_degraded, of_clean)

    def restore(self, degraded: Tensor) -> Tensor:
        """The student's estimate ``(B, C, H, W)``, for images of any size; no teacher takes part."""
        return self.student.restore(degraded)


# --- the losses -----------------------------------------------------------------------------------------------------------


def require_levels(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> None:
    """Raise ``ValueError`` or ``TypeError`` unless both have floating-point features, of one shape at each level."""
    if len(student) != len(teacher) or not student:
        raise ValueError(f"there are {len(student)} levels of the student and {len(teacher)} of the teacher, but each needs one.")
    for own, target in zip(student, teacher, strict=True):
        checks.alike(student=own, teacher=target)


def naturalness(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Tensor:
    """ℓ_NC of the features of corresponding levels ``(B, C, H, W)``, a scalar.

    Both are divided by the standard deviation of the teacher's, since features have no range of
    their own; the constant of the contrast normalisation is a hundredth of that.

    Raises:
        TypeError, ValueError: for features of other shapes, or another number of levels.
    """
    require_levels(student, teacher)
    total = torch.zeros((), device=student[0].device)
    # in float32: variances are differences of large numbers
    with torch.autocast(total.device.type, enabled=False):
        for own, target in zip(student, teacher, strict=True):
            scale = target.float().std().clamp(min=1e-6)
            own, target = (brisque.mscn(one.float() / scale, 0.01) for one in (own, target))
            total = total + F.l1_loss(own, target) + F.l1_loss(
                brisque.smooth(own), brisque.smooth(target)
            )
    return total / len(student)


def structure(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], block: int) -> Tensor:
    """ℓ_ET of the features of corresponding levels ``(B, C, H, W)``, a scalar; ``block`` is the
    side of a block in pixels. Errors as :func:`naturalness`.
    """
    require_levels(student, teacher)
    total = torch.zeros((), device=student[0].device)
    for own, target in zip(student, teacher, strict=True):
        own, target = (
            (piqe.block_variances(one.float(), block) + 1e-8).sqrt() for one in (own, target)
        )
        total = total + F.l1_loss(own, target) / target.mean()
    return total / len(student)


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² KL(p_t ‖ p_s), a scalar: the mean over images and channels ``(B, C, H, W)``, p = softmax over pixels of image / T.

    Errors as :func:`course_lib.noisy_classification.logit_distillation.divergence`.
    """
    checks.alike(student=student, teacher=teacher)
    return logit_distillation.divergence(student.flatten(2), teacher.flatten(2), temperature)


# --- the method -----------------------------------------------------------------------------------------------------------


def batch(pool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(degraded, clean) patches ``(B, C, P, P)``, those of a restorer."""
    return restorer.batch(pool, draws, settings)


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of all losses, and PSNR in dB, ℓ_NC, ℓ_ET and KL of a batch, all scalars;
    a loss of weight 0 is reported as 0.
    """
    degraded, clean = batch
    found = model(degraded, clean)
    zero = torch.zeros((), device=clean.device)
    nc = (
        naturalness(found.student.encoder, found.degraded.encoder)
        if settings.naturalness else zero
    )  # fmt: skip
    et = (
        structure(found.student.decoder, found.clean.decoder, settings.block)
        if settings.structure else zero
    )  # fmt: skip
    kl = (
        divergence(found.student.image, found.degraded.image, settings.temperature)
        if settings.divergence else zero
    )  # fmt: skip
    loss = (
        F.l1_loss(found.student.image, clean)
        + settings.naturalness * nc + settings.structure * et + settings.divergence * kl
    )  # fmt: skip
    error = (found.student.image.detach() - clean).square().mean()
    return loss, {
        "psnr": -10 * torch.log10(error), "naturalness": nc.detach(),
        "structure": et.detach(), "divergence": kl.detach(),
    }  # fmt: skip


evaluate = restorer.evaluate
