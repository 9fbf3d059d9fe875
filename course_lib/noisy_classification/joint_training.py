r"""Denoise first, then classify: with a denoiser that was trained for good pictures, or for what the classifier says of them.

Idea. A denoiser f before a classifier h that was trained on clean images. Trained by the squared error alone, f gives the mean of all
images that are possible, which is smooth, and what the classifier looked for may be gone. Liu et al. train f through the classifier, which
is **frozen**:

.. math:: \ell = L\bigl(h(f(z)), c\bigr) + \lambda\, \frac{1}{n} \lVert f(z) - y \rVert_2^2 ,

L the cross-entropy of the label c, n the number of values of the image in [0, 1]. λ = 0 asks for the label only, a large λ for the image
only, and from one to the other runs a curve of accuracy and PSNR. With a second noisy image z' in place of y the error is Noise2Noise's.

Frozen is more than "without gradient": in training mode batch normalisation would take its statistics from the denoiser's images, and
the classifier would no longer be the one that was trained. Here it is always in evaluation mode.

Four ways, by ``trained`` and the weights of the loss: the denoiser by the image (``weight_label = 0``), the denoiser by both, the
denoiser by the label (``weight_image = 0``), and, the other way round, the classifier anew on what a frozen denoiser gives.

Source: D. Liu, B. Wen, X. Liu, Z. Wang, T. S. Huang, *When Image Denoising Meets High-Level Vision Tasks*, IJCAI 2018, arXiv:1706.04284.
The denoiser is that of their released code, with padded convolutions in place of unpadded ones and a cut of the border, and with sizes
for 32×32 pixels. Their λ is not known to us as printed; the authors' released weight 5e-8, for sums over values of 0 to 255, is about 245
of this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, metrics, noise, rng
from course_lib.batches import to_float
from course_lib.denoising import ffdnet
from course_lib.frozen import Frozen
from course_lib.labelled import LabelledPool
from course_lib.noisy_classification import evaluation, resnet
from course_lib.noisy_classification.resnet import ClassifierSettings, ResNet, prepare
from course_lib.rng import Draws

__all__ = ["Cascade", "RestorationUNet", "Settings", "batch", "before_training", "evaluate_psnr", "prepare", "step"]

Architecture = Literal["unet", "ffdnet"]


@dataclass(frozen=True, kw_only=True)
class Settings(ClassifierSettings):
    """A denoiser before a classifier; ``blocks``, ``width`` and ``centred`` are the classifier's."""

    trained: Literal["denoiser", "classifier"] = "denoiser"  # the other one is frozen
    denoiser: Architecture = "unet"
    denoiser_width: int = 64  # channels at full size
    denoiser_depth: int = 12  # convolutions of FFDNet; the U-Net has one depth
    sigma: float = 0.15  # of the noise, on the [0, 1] scale, clipped; FFDNet is told
    target: Literal["clean", "noisy"] = "clean"  # what the denoised image is compared with: noisy is Noise2Noise
    weight_label: float = 1.0  # of the cross-entropy, for a denoiser; a classifier has nothing else
    weight_image: float = 1.0  # λ, of the mean squared error per value
    optimizer: Literal["adam", "sgd", "muon"] = "adam"
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.0
    schedule: Literal["cosine", "exponential", "drop", "late"] = "cosine"
    weight_decay: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        choices = {"trained": ("denoiser", "classifier"), "denoiser": get_args(Architecture), "target": ("clean", "noisy")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name} = "{getattr(self, name)}", but it must be one of {", ".join(allowed)}.')
        noise.require_sigma(self.sigma)
        if self.size % 4:
            raise ValueError(f"size = {self.size}: the denoiser halves the image twice, so that it must be a multiple of 4.")
        if self.denoiser_width < 2 or self.denoiser_width % 2 or self.denoiser_depth < 2:
            raise ValueError(
                f"denoiser_width = {self.denoiser_width}, denoiser_depth = {self.denoiser_depth}: an even width and at least 2 layers are "
                "needed."
            )
        if min(self.weight_label, self.weight_image) < 0 or (self.trained == "denoiser" and not self.weight_label + self.weight_image > 0):
            raise ValueError(
                f"weight_label = {self.weight_label}, weight_image = {self.weight_image}: neither may be negative, one must be positive."
            )


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions of which the first two have fewer channels, added to the input ``(B, C, H, W)``."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """The sum, in the shape of the input."""
        return (x + self.layers(x)).relu()


class RestorationUNet(nn.Module):
    """Liu et al.'s denoiser: twice down, twice up, a residual to the noisy image; ``(B, C, H, W)`` with sides that are multiples of 4.

    Args:
        channels: of the images.
        width: channels at full size; half size has twice as many.
        seed: of the initial weights. The last convolution is zero, so that the network begins as the identity.
    """

    def __init__(self, channels: int = 3, width: int = 64, *, seed: int = 0):
        super().__init__()
        w = width
        self.at_full = nn.Sequential(nn.Conv2d(channels, w, 5, padding=2), nn.ReLU())
        self.at_half = nn.Sequential(
            nn.Conv2d(w, 2 * w, 3, 2, padding=1, bias=False), nn.BatchNorm2d(2 * w), nn.ReLU(), Bottleneck(2 * w, w // 2)
        )
        self.at_quarter = nn.Sequential(
            nn.Conv2d(2 * w, 2 * w, 3, 2, padding=1, bias=False), nn.BatchNorm2d(2 * w), nn.ReLU(), Bottleneck(2 * w, w // 2)
        )
        self.up1 = nn.ConvTranspose2d(2 * w, w // 2, 4, 2, padding=1)
        self.joined = nn.Sequential(
            nn.Conv2d(2 * w + w // 2, 4 * w, 3, padding=1, bias=False), nn.BatchNorm2d(4 * w), nn.ReLU(), Bottleneck(4 * w, w)
        )
        self.up2 = nn.ConvTranspose2d(4 * w, w, 4, 2, padding=1)
        self.last = nn.Conv2d(2 * w, channels, 3, padding=1)
        generator = rng.generator(seed, 0, 0, "initial weights of the denoiser")
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.last.weight)

    def forward(self, noisy: Tensor) -> Tensor:
        """The clean estimate ``(B, C, H, W)``, float32."""
        full = self.at_full(noisy)
        half = self.at_half(full)
        half = self.joined(torch.cat([self.up1(self.at_quarter(half)).relu(), half], dim=1))
        return noisy + self.last(torch.cat([self.up2(half).relu(), full], dim=1)).float()


class ToldFFDNet(nn.Module):
    """FFDNet that is told one σ for all images: ``(B, C, H, W)`` to the clean estimate in the same shape."""

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__()
        plan = ffdnet.Settings(depth=settings.denoiser_depth, width=settings.denoiser_width, channels=settings.channels, centred=True)
        self.network, self.sigma = ffdnet.FFDNet(plan, seed=seed), settings.sigma

    def forward(self, noisy: Tensor) -> Tensor:
        """The clean estimate ``(B, C, H, W)``, float32."""
        level_map = torch.full_like(noisy[:, :1, ::2, ::2], self.sigma)
        return self.network(noisy, level_map)


class Answer(NamedTuple):
    """What a cascade gives."""

    denoised: Tensor  # (B, C, H, W)
    logits: Tensor  # (B, classes)


class Cascade(nn.Module):
    """A denoiser and then a classifier, of which one is trained and the other frozen.

    Args:
        settings: which one, and the architectures.
        seed: of the initial weights of the one that is trained.
        classifier, denoiser: the frozen one; the other is made here.

    Raises:
        ValueError: where the one to be frozen is missing, or the one to be trained is given, or the frozen one does not take the images.
    """

    def __init__(self, settings: Settings, *, seed: int = 0, classifier: Frozen | None = None, denoiser: Frozen | None = None):
        super().__init__()
        frozen, other = (classifier, denoiser) if settings.trained == "denoiser" else (denoiser, classifier)
        if frozen is None or other is not None:
            needed = "classifier" if settings.trained == "denoiser" else "denoiser"
            raise ValueError(f'with trained = "{settings.trained}" a frozen {needed} is needed, and only that: {needed}=Frozen(network).')
        if settings.trained == "classifier":
            self.denoiser, self.classifier = denoiser, ResNet(settings, seed=seed)
        else:
            architecture = RestorationUNet(settings.channels, settings.denoiser_width, seed=seed)
            self.denoiser = architecture if settings.denoiser == "unet" else ToldFFDNet(settings, seed=seed)
            self.classifier = classifier
        image = torch.zeros(1, settings.channels, settings.size, settings.size)
        try:
            with torch.no_grad():
                shape = frozen(image).shape
        except RuntimeError as error:
            raise ValueError(f"the frozen network does not take images of {tuple(image.shape[1:])} ({error}).") from error
        expected = (1, settings.classes) if settings.trained == "denoiser" else tuple(image.shape)
        if tuple(shape) != expected:
            raise ValueError(f"the frozen network gives {tuple(shape)}, but {expected} is expected: other classes, or another network.")

    def forward(self, noisy: Tensor) -> Answer:
        """The denoised images of ``noisy`` ``(B, C, H, W)``, and the logits of these."""
        denoised = self.denoiser(noisy)
        return Answer(denoised, self.classifier(denoised))

    def classify(self, noisy: Tensor) -> Tensor:
        """Logits ``(B, classes)`` alone, of noisy images ``(B, C, H, W)``."""
        return self(noisy).logits


def before_training(model: Cascade, pool: LabelledPool, settings: Settings) -> None:
    """Give a classifier that is trained the mean of the training images; a frozen one has its own, in shape ``(C, H, W)``."""
    if settings.trained == "classifier":
        resnet.before_training(model.classifier, pool, settings)


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(noisy images ``(B, C, H, W)``, target, clean images, labels ``(B,)``); target and clean images in the shape of the first."""
    clean, labels = pool.augmented(draws, settings.batch_size, padding=settings.padding, flip=settings.flip)
    noisy = noise.gaussian(clean, settings.sigma, draws("noise"), clip=True)
    again = settings.target == "noisy"
    target = noise.gaussian(clean, settings.sigma, draws("noise of the target"), clip=True) if again else clean
    return noisy, target, clean, labels


def step(
    model: nn.Module,
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
    settings: Settings,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss; the share that is classified correctly, and the PSNR in dB of all images: scalars.
    """
    noisy, target, clean, labels = batch
    denoised, logits = model(noisy)
    of_label, of_image = settings.weight_label, settings.weight_image
    if settings.trained == "classifier":
        of_label, of_image = 1.0, 0.0
    terms = []  # one without weight is left out: a gradient of zeros costs as much as any other
    if of_label:
        terms.append(of_label * F.cross_entropy(logits, labels))
    if of_image:
        terms.append(of_image * F.mse_loss(denoised, target))
    loss = torch.stack(terms).sum()
    with torch.no_grad():
        right = (logits.argmax(1) == labels).float().mean()
        decibel = -10 * torch.log10(F.mse_loss(denoised, clean))
    return loss, {"accuracy": right, "psnr": decibel}


def evaluate(model: Cascade, images: Tensor, labels: Tensor, *, indices=None, sigma: float) -> list[float]:
    """For each uint8 image ``(N, C, H, W)`` 100 where the cascade is right at σ, else 0.

    Errors as :func:`course_lib.noisy_classification.evaluation.evaluate`.
    """
    return evaluation.evaluate(_Classifying(model), images, labels, indices=indices, sigma=sigma)


class _Classifying(nn.Module):
    """A cascade as a classifier of noisy images."""

    def __init__(self, cascade: Cascade):
        super().__init__()
        self.cascade = cascade

    def forward(self, noisy: Tensor) -> Tensor:
        return self.cascade.classify(noisy)


@torch.no_grad()
def evaluate_psnr(model: Cascade, images: Tensor, labels: Tensor, *, indices=None, sigma: float, at_once: int = 500) -> list[float]:
    """PSNR in dB of each denoised image, clamped, at σ with clipped noise.

    Args:
        model: a cascade in evaluation mode.
        images: uint8 ``(N, C, H, W)``.
        labels: ``(N,)``; nothing is made of them, so that all measures are called alike.
        indices: numbers of the images to look at; None for all.
        sigma: on the [0, 1] scale.
        at_once: images in one batch.

    Raises:
        TypeError, ValueError: as :func:`course_lib.noisy_classification.evaluation.degraded`.
    """
    chosen = checks.indices(indices, len(images))
    noisy = evaluation.degraded(images, indices=chosen, sigma=sigma)
    weight = next((p for p in model.parameters()), noisy)
    denoised = torch.cat([model.denoiser(part.to(weight)).to(noisy) for part in noisy.split(checks.whole(at_once, "at_once", 1))])
    return metrics.psnr(denoised, to_float(images[chosen]), protocol="clamped").tolist()
