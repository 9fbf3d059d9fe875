r"""Network in Network: the network that RotNet learns with on CIFAR-10, and its supervised rival.

Idea. Blocks of three convolutions each: the first looks at a neighbourhood, the two 1×1 behind it are a small network at every pixel
(hence the name). Every convolution has no bias, and is followed by batch normalisation and ReLU:

===== =============================================== ==================================
block convolutions                                    then
===== =============================================== ==================================
1     5×5 → 192, 1×1 → 160, 1×1 → 96                  maximum over 3×3, every other pixel
2     5×5 → 192, 1×1 → 192, 1×1 → 192                 mean over 3×3, every other pixel
3, 4  3×3 → 192, 1×1 → 192, 1×1 → 192                 nothing
===== =============================================== ==================================

The head is the mean over the image and a linear layer. Of images 32×32 the features are 96×16×16 after block 1, and 192×8×8 after
every other one. The mean counts the zeros around the image.

Initial weights are uniform on :math:`\pm 1/\sqrt{\text{fan-in}}`. So are those of the authors: their file has another
initialisation, which nothing calls. In the PyTorch of that time the scales γ of batch normalisation began uniform on [0, 1], since
version 1.2 they begin at 1.

Source: Lin, Chen and Yan, *Network In Network*, ICLR 2014; Gidaris, Singh and Komodakis, *Unsupervised Representation Learning by
Predicting Image Rotations*, ICLR 2018, and their code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from course_lib import checks, rng
from course_lib.probes import AuthorsPlan

MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
"""Of the channels of CIFAR-10, on the 0–255 scale."""

Gamma = Literal["uniform", "ones"]


@dataclass(frozen=True, kw_only=True)
class NINSettings(AuthorsPlan):
    """The network of the paper, its images, and its plan: 200 epochs of 50,000 images, of which the last drops are 60, 120 and 160."""

    blocks: int = 4
    width: int = 192  # channels of the widest layer; the others in proportion
    initial_gamma: Gamma = "uniform"  # how γ of batch normalisation begins: as in the PyTorch of the paper's time, or at 1
    batch_size: int = 128  # images
    steps: int = 78_125  # 200 epochs of 50,000 images
    drop_at: tuple[float, ...] = (0.3, 0.6, 0.8)  # epochs 60, 120 and 160 of 200

    def __post_init__(self):
        super().__post_init__()
        if self.initial_gamma not in get_args(Gamma):
            raise ValueError(f'initial_gamma = "{self.initial_gamma}", but it must be one of {", ".join(get_args(Gamma))}.')
        self.require_at_least(blocks=2, width=2, size=8)


class Normalised(nn.Module):
    """Images ``(B, C, H, W)`` in [0, 1], less the mean of the channels and divided by their standard deviation.

    Args:
        channels: of the images. For others than three the mean over the three values stands for each.
        mean, std: of red, green and blue, on the 0–255 scale: those of CIFAR-10.
    """

    def __init__(self, channels: int, mean: Sequence[float] = MEAN, std: Sequence[float] = STD):
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            each = torch.tensor(values if channels == 3 else [sum(values) / 3] * channels)
            self.register_buffer(name, each.view(-1, 1, 1) / 255, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The normalised images, in the shape of ``images``; ``ValueError`` for another number of channels."""
        if images.shape[-3] != len(self.mean):  # one gray channel would be stretched over three
            raise ValueError(f"images have {images.shape[-3]} channels, but this network was made for {len(self.mean)}.")
        return (images - self.mean) / self.std


class Trunk(nn.Module):
    """What the networks of all pretext tasks have in common: the images normalised, and the blocks. Each adds a head of its own.

    Args:
        settings: ``blocks``, ``width`` and ``channels`` are used.
    """

    def __init__(self, settings: NINSettings):
        super().__init__()
        wide = settings.width
        middle, narrow = round(wide * 160 / 192), round(wide * 96 / 192)
        shapes = [((settings.channels, 5), (wide, 1), (middle, 1), narrow), ((narrow, 5), (wide, 1), (wide, 1), wide)]
        shapes += [((wide, 3), (wide, 1), (wide, 1), wide)] * (settings.blocks - 2)
        pools = [nn.MaxPool2d(3, 2, padding=1), nn.AvgPool2d(3, 2, padding=1)]
        self.normalised = Normalised(settings.channels)
        self.blocks = nn.Sequential()
        for number, (*layers, last) in enumerate(shapes):
            outputs = [inputs for inputs, _ in layers[1:]] + [last]
            parts = [part for (inputs, side), output in zip(layers, outputs, strict=True) for part in _layer(inputs, output, side)]
            self.blocks.append(nn.Sequential(*parts, *pools[number : number + 1]))

    def features(self, images: Tensor) -> Tensor:
        """Features ``(B, width, ⌈H/4⌉, ⌈W/4⌉)`` of the last block, of images ``(B, C, H, W)`` in [0, 1]."""
        return self.blocks(self.normalised(images))


def side_of_features(side: int) -> int:
    """Height and width of the features of the last block, of images of ``side`` pixels: a quarter, rounded up."""
    return -(-side // 4)


class NIN(Trunk):
    """The network for ``classes`` classes: images ``(B, C, H, W)`` in [0, 1], of any size, give logits ``(B, classes)``, float32.

    Args:
        settings: ``blocks``, ``width``, ``channels`` and ``initial_gamma`` are used.
        classes: how many there are.
        seed: of the initial weights.

    Example:
        >>> network = NIN(NINSettings(), classes=4)
        >>> sum(p.numel() for p in network.parameters())
        1411140
    """

    def __init__(self, settings: NINSettings, *, classes: int, seed: int = 0):
        super().__init__(settings)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(settings.width, classes))
        initialise(self, settings.initial_gamma, rng.generator(seed, 0, 0, "initial weights"))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of images ``(B, C, H, W)``, float32 whatever autocast does."""
        return self.head(self.features(images)).float()


def _layer(inputs: int, outputs: int, side: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


def initialise(network: nn.Module, gamma: Gamma, generator: torch.Generator) -> None:
    """Weights and biases of convolutions and linear layers uniform on ±1/√fan-in, and γ of batch normalisation as ``gamma`` says."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for tensor in (layer.weight, layer.bias):
                if tensor is not None:
                    nn.init.uniform_(tensor, -bound, bound, generator=generator)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and gamma == "uniform":
            nn.init.uniform_(layer.weight, 0, 1, generator=generator)


def trunk(network: Trunk, block: int) -> nn.Sequential:
    """The part of a network up to a block, numbered from 1: images ``(B, C, H, W)`` give its features. Weights are shared, not copied.

    Raises:
        TypeError, ValueError: for a block that there is not.
    """
    block = checks.whole(block, "block", 1, len(network.blocks))
    return nn.Sequential(network.normalised, *network.blocks[:block])


def first_filters(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    r"""The first filters as they act: each kernel times :math:`\gamma / \sqrt{\mathrm{var} + \epsilon}` of the normalisation behind it.

    Without that the picture of a filter says nothing of how strong it is.

    Args:
        layer: the convolution, with kernels ``(F, C, k, k)``.
        norm: the batch normalisation of its F outputs, with running statistics.

    Returns:
        ``(F, C, k, k)``.

    Raises:
        ValueError: where the two do not fit.
    """
    if layer.out_channels != norm.num_features:
        raise ValueError(f"the convolution has {layer.out_channels} filters, but the normalisation {norm.num_features} channels.")
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (layer.weight * scale[:, None, None, None]).detach()
