r"""Contrastive views: features in which two views of one image are near, and those of other images far. SimCLR.

Idea. Make two views of each of N images by a random part and a random change of the colours. Every image is a class of its own, and
the network must recognise it: metric learning whose identities come for nothing. Of the 2N views, with unit vectors
:math:`z` and similarity :math:`s_{ij} = z_i \cdot z_j`, each view i looks for its partner j (*NT-Xent*),

.. math:: \ell_{ij} = -\log \frac{\exp(s_{ij} / \tau)}{\sum_{k \ne i} \exp(s_{ik} / \tau)} ,

and the loss is the mean over all 2N views. The sum has 2N − 1 terms: the partner, and 2N − 2 others. The authors' code adds the means
of the two halves, which is twice as much.

The trap is the histogram of colours. Two parts of one photograph share it, so that images are recognised by it without a look at what
they show; random brightness, contrast, saturation and hue, and gray views, take that away. The vector z comes from a projection head
behind the features, and is thrown away after the training.

Source: Chen, Kornblith, Norouzi and Hinton, *A Simple Framework for Contrastive Learning of Visual Representations*, ICML 2020,
arXiv:2002.05709. Here the changes of colours have one order where theirs is random, and the hue turns around the axis of gray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, devices, rng
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.labelled import LabelledPool, flips
from course_lib.pretext import lens
from course_lib.pretext.alexnet import parts
from course_lib.pretext.nin import NINSettings, Trunk, initialise
from course_lib.rng import Draws


@dataclass(frozen=True, kw_only=True)
class Settings(NINSettings):
    """SimCLR's views for CIFAR-10 (strength 0.5, no blur), with the plan of RotNet."""

    temperature: float = 0.5  # τ
    embedding: int = 128  # length of z
    parts: bool = True  # show a random part of the image, 8 to 100 % of its area, at the size of the whole
    colour: float = 0.5  # strength s of the changes of colours: 0.8 s of brightness, contrast and saturation, 0.2 s of the hue
    changed: float = 0.8  # share of the views whose colours are changed
    gray: float = 0.2  # share of the views without colour
    padding: int = 0  # of another random crop
    batch_size: int = 256  # images, of two views each

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(embedding=1, batch_size=2)  # one image alone has no negatives, and a loss of 0
        if not self.temperature > 0:
            raise ValueError(f"temperature = {self.temperature}, but it must be positive.")
        for name in ("colour", "changed", "gray"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)}, but it must lie in 0 to 1.")
        if self.channels != 3 and (self.colour or self.gray):
            raise ValueError(f"channels = {self.channels}: images without colours have none to change, so that colour and gray must be 0.")
        if self.padding:
            raise ValueError(f"padding = {self.padding}: the views are parts of the image already, so that it must be 0.")


class Network(Trunk):
    """Images ``(B, C, H, W)`` in [0, 1] give vectors ``(B, embedding)`` of length 1, float32.

    Args:
        settings: of the trunk, and ``embedding``.
        seed: of the initial weights.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__(settings)
        wide = settings.width
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(wide, wide, bias=False), nn.BatchNorm1d(wide), nn.ReLU(), nn.Linear(wide, settings.embedding),
        )  # fmt: skip
        initialise(self, settings.initial_gamma, rng.generator(seed, 0, 0, "initial weights"))

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors ``(B, embedding)`` of images ``(B, C, H, W)``, float32 whatever autocast does."""
        return F.normalize(self.head(self.features(images)).float())


network = Network


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The mean of NT-Xent over the 2N views of N images: a scalar.

    All vectors equal give ln(2N − 1), and one image alone gives 0.

    Args:
        first, second: vectors of the two views, ``(N, d)``; their lengths do not matter.
        temperature: τ.

    Raises:
        TypeError, ValueError: for tensors of other kinds, of two shapes, or a temperature that is
            not positive.
    """
    for value, name in ((first, "first"), (second, "second")):
        checks.tensor(value, name, ("N", "d"), of="floating", finite=False)
    if first.shape != second.shape:
        shapes = f"first {tuple(first.shape)} and second {tuple(second.shape)}"
        raise ValueError(f"{shapes} differ: each image has two views.")
    temperature = checks.number(temperature, "temperature", 0, inside=True)
    scores = similarities(torch.cat([first, second])) / temperature  # −∞ of a view to itself
    return F.cross_entropy(scores, partners(len(first), scores.device))


def similarities(vectors: Tensor) -> Tensor:
    """Cosine of every two of ``(M, d)`` vectors, ``(M, M)``: −∞ of each to itself, which is not to be chosen."""
    unit = F.normalize(vectors)
    return (unit @ unit.T).masked_fill(torch.eye(len(unit), dtype=torch.bool, device=unit.device), -torch.inf)


def partners(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Where in the 2 · ``count`` views, all first ones and then all second ones, the partner of each is: ``(2 · count,)``."""
    return (torch.arange(2 * count, device=device) + count) % (2 * count)


def recoloured(images: Tensor, strength: float, changed: float, gray: float, generator: torch.Generator) -> Tensor:
    r"""Images in other colours, each by its own random amount.

    Brightness is multiplied, contrast stretched about the mean, saturation about the gray image, each by a factor in 1 ± 0.8 s (not
    below 0), and the colours are turned about the axis of gray by up to 0.2 s of a full turn. Then some lose their colours.

    Args:
        images: ``(B, 3, H, W)`` in [0, 1].
        strength: s.
        changed: share of the images whose colours are changed.
        gray: share of the images that are made gray.
        generator: the source of the draws, on the device of the images.

    Returns:
        Images in the shape of ``images``, in [0, 1].

    Raises:
        TypeError, ValueError: for no generator, integer images, images without three channels, or numbers outside of 0 to 1.
    """
    checks.generator(generator)
    checks.require_images(images)
    for name, value in (("strength", strength), ("changed", changed), ("gray", gray)):
        checks.number(value, name, 0, 1)
    lens.require_colour(images)
    uniform = torch.rand(6, len(images), 1, 1, 1, generator=generator, device=images.device).to(images)
    brightness, contrast, saturation = (1 + 0.8 * strength * (2 * uniform[:3] - 1)).clamp(min=0)
    turn = 2 * math.pi * 0.2 * strength * (2 * uniform[3] - 1)
    found = (images * brightness).clamp_(0, 1)
    mean = (found.mean((2, 3)) @ found.new_tensor(lens.LUMINANCE)).view(-1, 1, 1, 1)
    found = torch.addcmul(mean * (1 - contrast), found, contrast).clamp_(0, 1)
    found = torch.bmm(_colours(saturation.view(-1, 1, 1), turn.view(-1, 1, 1)), found.flatten(2)).view(images.shape)
    found = torch.where(uniform[4] < changed, found.clamp_(0, 1), images)
    return torch.where(uniform[5] < gray, lens.gray(found), found)


def _colours(saturation: Tensor, angle: Tensor) -> Tensor:
    """Matrices ``(B, 3, 3)`` that turn colours about (1, 1, 1), by Rodrigues' formula, and stretch them about their gray values."""
    eye, ones = (made(3, 3).to(angle) for made in (torch.eye, torch.ones))
    gray = ones * angle.new_tensor(lens.LUMINANCE)
    across = angle.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = angle.cos() * eye + angle.sin() * across + (1 - angle.cos()) * ones / 3
    return gray + saturation * turn @ (eye - gray)


def prepare(data: Dataset, settings: Settings, seed: int = 0) -> LabelledPool:
    """The pool of the images, without labels; errors as :meth:`course_lib.labelled.LabelledPool.unlabelled`."""
    return LabelledPool.unlabelled(data, settings)


def views(images: Tensor, settings: Settings, draws: Draws) -> Tensor:
    """Two views of each of the images ``(B, C, H, W)`` in [0, 1]: ``(2 B, C, H, W)``, all first
    views and then all second ones.

    Errors as :func:`recoloured`.
    """
    both = images.repeat(2, 1, 1, 1)
    if settings.parts:
        both = parts(both, settings.size, draws("parts"))
    if settings.flip:
        both = flips(both, draws("flips"))
    if settings.colour or settings.gray:
        both = recoloured(both, settings.colour, settings.changed, settings.gray, draws("colours"))
    return both


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> Tensor:
    """The views ``(2 B, C, H, W)`` in [0, 1] of the next images of the epoch."""
    return views(to_float(pool.drawn(draws, settings.batch_size)), settings, draws)


def step(
    model: nn.Module, batch: Tensor, settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch of views, over all processes together, and the share of the views whose
    nearest other one is their partner, both scalars.
    """
    first, second = (devices.gathered(part.contiguous()) for part in model(batch).chunk(2))
    with torch.no_grad():
        nearest = similarities(torch.cat([first, second])).argmax(1)
        right = nearest == partners(len(first), nearest.device)
    return nt_xent(first, second, settings.temperature), {"accuracy": right.float().mean()}
