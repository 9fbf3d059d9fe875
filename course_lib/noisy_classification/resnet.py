r"""Residual networks that classify images, and what the methods of this part have in common.

The network of He et al. for CIFAR-10 has 6n + 2 layers: a 3×3 convolution, three stages of n blocks with 16, 32 and 64 channels at full,
half and quarter size, the mean over the image, and a linear layer. A block adds to its input what two convolutions make of it,
:math:`x + g(x)`; where the size changes, x is taken at every second pixel and filled up with channels of zeros ("option A"), so that
the shortcuts have no parameters. n = 3 gives ResNet-20 with 269,722 parameters in colour, n = 18 gives ResNet-110 with 1,727,962.

Source: K. He, X. Zhang, S. Ren, J. Sun, *Deep Residual Learning for Image Recognition*, CVPR 2016, arXiv:1512.03385.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, rng
from course_lib.data import Dataset
from course_lib.labelled import ImageSettings, LabelledPool

Centred = Literal["pixel", "channel", "none"]


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(ImageSettings):
    """A classifier of CIFAR-10 on the schedule of Na et al., which all methods of this part share."""

    # the network
    blocks: int = 3  # n of the 6n + 2 layers
    width: int = 16  # channels of the first stage; the others have twice and four times as many
    classes: int = 10
    centred: Centred = "pixel"  # the mean of the training images that is subtracted: of each pixel, of each channel, or none
    # the plan
    steps: int = 94_000
    batch_size: int = 128  # m
    weight_decay: float = 1e-4
    final_learning_rate: float = 1e-3  # divided by 10 at each of the drops
    drop_at: tuple[float, ...] = (48 / 94, 72 / 94)

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(blocks=1, width=1, size=4, classes=2)
        if self.centred not in get_args(Centred):
            raise ValueError(f'centred = "{self.centred}", but it must be one of {", ".join(get_args(Centred))}.')

    @property
    def layers(self) -> int:
        """How many layers with weights the network has, 20 for n = 3."""
        return 6 * self.blocks + 2


class Block(nn.Module):
    """Two 3×3 convolutions with batch normalisation, added to the input.

    ``(B, C, H, W)`` gives ``(B, channels, H/stride, W/stride)``.
    """

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.stride, self.more = stride, channels - inputs

    def forward(self, x: Tensor) -> Tensor:
        """ReLU of the input plus what the convolutions make of it, in the shapes above."""
        made = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        if self.stride > 1:  # every second pixel, and channels of zeros
            x = F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return (x + made).relu()


class Seen(NamedTuple):
    """What a network makes of images on its way, and at its end."""

    logits: Tensor  # (B, classes), float32
    features: tuple[Tensor, ...]  # behind the first convolution and behind each stage: (B, channels, height, width)


class ResNet(nn.Module):
    """The residual network of 6n + 2 layers: images ``(B, C, H, W)`` in [0, 1] give logits ``(B, classes)``, float32.

    Args:
        settings: ``blocks``, ``width``, ``channels``, ``size`` and ``classes`` are used.
        seed: of the initial weights.
    """

    def __init__(self, settings: ClassifierSettings, *, seed: int = 0):
        super().__init__()
        width = settings.width
        self.register_buffer("mean", torch.zeros(settings.channels, settings.size, settings.size))
        self.stem = nn.Sequential(nn.Conv2d(settings.channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        widths = (width, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList([
            nn.Sequential(*(Block(widths[s] if b == 0 else widths[s + 1], widths[s + 1], 2 if s and b == 0 else 1)
                            for b in range(settings.blocks)))
            for s in range(3)
        ])  # fmt: skip
        self.head = nn.Linear(widths[-1], settings.classes)
        _initialised(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of images ``(B, C, H, W)`` in [0, 1]: the *embedding* in which Na et al. compare images."""
        return self.seen(images).logits

    def seen(self, images: Tensor) -> Seen:
        """The same logits of images ``(B, C, H, W)``, and the features ``(B, channels, height, width)`` on the way to them."""
        features = [self.stem(images - self.mean)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return Seen(self.head(features[-1].mean(dim=(2, 3))).float(), tuple(features))


class ResNet18(nn.Module):
    """ResNet-18 for photographs, torchvision's, without weights: images ``(B, 3, H, W)`` in [0, 1] give logits ``(B, classes)``, float32.

    Args:
        settings: ``size`` and ``classes`` are used, and kept: evaluation cuts photographs to the same size.
        seed: of the initial weights.
    """

    def __init__(self, settings: ClassifierSettings, *, seed: int = 0):
        from torchvision.models import resnet18

        super().__init__()
        self.settings = settings
        self.register_buffer("mean", torch.zeros(3, settings.size, settings.size))
        self.layers = resnet18(weights=None, num_classes=settings.classes)
        _initialised(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.layers(images - self.mean).float()


def _initialised(model: nn.Module, seed: int) -> None:
    """Kernels by He's rule (normal, variance 2 / fan-out), the linear layer by PyTorch's bounds, all from one named stream."""
    generator = rng.generator(seed, 0, 0, "initial weights")
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for tensor in (layer.weight, layer.bias):
                nn.init.uniform_(tensor, -bound, bound, generator=generator)


def prepare(found: Dataset, settings: ClassifierSettings, seed: int = 0) -> LabelledPool:
    """The pool of a labelled data set; errors as :class:`course_lib.labelled.LabelledPool`, for images of another shape as well.

    Raises:
        ValueError: for images that do not have the ``channels`` and ``size`` of the settings.
    """
    return LabelledPool.of(found, settings.classes).fitting(settings)


@torch.no_grad()
def before_training(model: nn.Module, pool: LabelledPool, settings: ClassifierSettings) -> None:
    """Give the network the mean of the training images, which it subtracts from all that it gets (as shapes ``(C, H, W)``)."""
    mean = pool.mean_image()
    if settings.centred == "channel":
        mean = mean.mean(dim=(1, 2), keepdim=True)
    model.mean.copy_((mean if settings.centred != "none" else torch.zeros_like(mean)).expand_as(model.mean))


@torch.no_grad()
def logits(model: nn.Module, images: Tensor, *, at_once: int = 500) -> Tensor:
    """What a classifier gives for images ``(N, C, H, W)`` in [0, 1], ``at_once`` at a time: ``(N, classes)``, on the images' device.

    Raises:
        TypeError, ValueError: for integer images, another shape, or outputs with NaN.
    """
    checks.require_images(images, wait=True)
    weight = next(model.parameters(), torch.zeros(()))
    parts = images.split(checks.whole(at_once, "at_once", 1))
    return checks.tensor(torch.cat([model(part.to(weight)).to(images.device) for part in parts]), "the model's outputs", ("N", "classes"))
