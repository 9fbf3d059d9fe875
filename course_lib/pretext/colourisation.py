r"""Colourisation: features learnt by guessing the colours of a gray image.

Idea. In the Lab space, L is how bright a pixel is and (a, b) which colour it has. Show a network L, and ask for (a, b). Grass is green,
and a banana is yellow: who knows what it is knows the colour. But a car can be red or blue, and the squared error of the two is smallest
for gray. So colours are *classes*: bins of a grid of the ab plane, of which Q lie within the colours that a screen can show. The network
gives a distribution over them for each of 8×8 parts of the image.

- **Soft targets**: a colour belongs to its nearest 5 bins, :math:`z_q \propto \exp(-\lVert y - c_q \rVert^2 / 2 \sigma^2)`.
- **Rebalancing**: most pixels of photographs are nearly gray. A pixel counts by the weight of its most probable bin,
  :math:`w \propto ((1 - \lambda)\, \tilde p + \lambda / Q)^{-1}` with :math:`\sum_q \tilde p_q w_q = 1`, where :math:`\tilde p` are
  the smoothed frequencies of the bins in the training images, and Q counts the bins that occur.
- **Annealed mean**: the answer is :math:`\sum_q f_T(z)_q\, c_q` with :math:`f_T(z)_q \propto z_q^{1/T}`, between the mean (T = 1, pale) and
  the mode (T → 0, vivid and patchy).

.. math:: \ell = -\frac{1}{N} \sum_{n} w_{q^*(n)} \sum_q z_{nq} \log \hat z_{nq}

Images in which no colour exceeds 5 in a or b do not count. The bins are counted here from the sRGB cube; the paper has Q = 313, of
which nobody has said how it comes about, and which cannot be derived again.

Source: Zhang, Isola and Efros, *Colorful Image Colorization*, ECCV 2016, arXiv:1603.08511, and their code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, metrics, rng
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.labelled import LabelledPool
from course_lib.pretext import lens
from course_lib.pretext.nin import NINSettings, Trunk, initialise
from course_lib.rng import Draws

GRID = 10  # distance of the bins, in units of Lab
NEAREST = 5  # bins that a colour belongs to
SIGMA = 5.0  # how fast it belongs less to those that are farther away
GRAY = 5.0  # images whose a and b exceed it nowhere do not count
TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)  # D65


@dataclass(frozen=True, kw_only=True)
class Settings(NINSettings):
    """The NIN on the brightness of CIFAR-10, with the paper's λ and T."""

    uniform: float = 0.5  # λ, the share of the uniform distribution in the rebalancing; 1 for none
    temperature: float = 0.38  # T of the annealed mean

    def __post_init__(self):
        super().__post_init__()
        if self.channels != 3:
            raise ValueError(f"channels = {self.channels}: colours cannot be learnt from gray images, give images of 3 channels.")
        if self.size % 4:
            raise ValueError(f"size = {self.size}: it must be a multiple of 4, since colours are guessed for parts of 4×4 pixels.")
        checks.number(self.uniform, "uniform", 0, 1)
        checks.number(self.temperature, "temperature", 0, inside=True)


def lab(images: Tensor) -> Tensor:
    """sRGB images ``(B, 3, H, W)`` in [0, 1] in the Lab space, in the same shape: L in 0 to 100, a and b about −100 to 100.

    Raises:
        TypeError, ValueError: for integer images, or images without three channels.
    """
    lens.require_colour(images)
    linear = torch.where(images > 0.04045, ((images.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, images / 12.92)
    white = images.new_tensor(WHITE).view(3, 1, 1)
    xyz = torch.einsum("cd,bdhw->bchw", images.new_tensor(TO_XYZ), linear) / white
    root = torch.where(xyz > 0.008856, xyz.clamp(min=0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def srgb(colours: Tensor) -> Tensor:
    """The sRGB images in [0, 1] of Lab images ``(B, 3, H, W)``, in the same shape; colours that no screen can show are clipped.

    Raises:
        TypeError, ValueError: for anything but a floating-point tensor of that shape.
    """
    if checks.tensor(colours, "colours", ("B", "3", "H", "W"), of="floating").shape[1] != 3:
        raise ValueError(f"colours are {tuple(colours.shape)}, but L, a and b are three.")
    light, a, b = colours.unbind(1)
    y = (light + 16) / 116
    root = torch.stack([y + a / 500, y, y - b / 200], 1).clamp(min=0)
    xyz = torch.where(root > 0.2068966, root**3, (root - 16 / 116) / 7.787) * colours.new_tensor(WHITE).view(3, 1, 1)
    linear = torch.einsum("cd,bdhw->bchw", torch.linalg.inv(colours.new_tensor(TO_XYZ)), xyz)
    bright = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bright, 12.92 * linear).clamp(0, 1)


@cache
def _bins() -> Tensor:
    steps = torch.linspace(0, 1, 86, dtype=torch.float64)
    cube = torch.cartesian_prod(steps, steps, steps).T.reshape(1, 3, 1, -1)
    return (lab(cube)[0, 1:, 0].T / GRID).round().unique(dim=0).float() * GRID


def bins() -> Tensor:
    """The centres of the bins ``(Q, 2)``: points of the ab grid that are nearest to a colour of the sRGB cube, in 86 steps a side."""
    return _bins().clone()


def soft_targets(ab: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """(the nearest 5 bins, the nearest first, and how much a colour belongs to each), both ``(N, 5)``; the latter has rows of sum 1.

    Args:
        ab: colours ``(N, 2)``.
        centres: ``(Q, 2)``.

    Raises:
        TypeError, ValueError: for tensors of other kinds or shapes.
    """
    for value, name in ((ab, "ab"), (centres, "centres")):
        if checks.tensor(value, name, ("N", "2"), of="floating", finite=False).shape[1] != 2:
            raise ValueError(f"{name} is {tuple(value.shape)}, but (N, 2) is expected: a and b.")
    square = (ab[:, None] - centres.to(ab)).square().sum(2)
    distance, nearest = square.topk(NEAREST, dim=1, largest=False)
    return nearest, (-distance / (2 * SIGMA**2)).softmax(1)


def rebalancing(frequency: Tensor, uniform: float) -> Tensor:
    """The weight w of each bin, ``(Q,)``: 0 for those that never occur, and with a mean of 1 over the pixels.

    Args:
        frequency: smoothed frequencies ``(Q,)`` of the bins, with sum 1.
        uniform: λ.

    Raises:
        TypeError, ValueError: for frequencies of another kind, that are negative or do not sum to 1, or a λ outside of 0 to 1.
    """
    checks.tensor(frequency, "frequency", ("Q",), of="floating")
    uniform = checks.number(uniform, "uniform", 0, 1)
    if bool((frequency < 0).any()) or abs(float(frequency.sum()) - 1) > 1e-3:
        raise ValueError(f"frequency has the sum {float(frequency.sum()):g}, and its least is {float(frequency.min()):g}: give shares.")
    occurs = frequency > 0
    mixed = (1 - uniform) * frequency + uniform / int(occurs.sum())
    weight = torch.where(occurs, 1 / mixed, 0)
    return weight / (frequency * weight).sum()


def annealed_mean(logits: Tensor, centres: Tensor, temperature: float) -> Tensor:
    """Colours ``(B, 2, h, w)`` of logits ``(B, Q, h, w)``: the mean of the bins ``(Q, 2)`` after sharpening by T.

    Raises:
        TypeError, ValueError: for tensors of other kinds or shapes, or a temperature that is not positive.
    """
    checks.tensor(logits, "logits", ("B", "Q", "h", "w"), of="floating")
    if checks.tensor(centres, "centres", ("Q", "2"), of="floating").shape != (logits.shape[1], 2):
        raise ValueError(f"logits {tuple(logits.shape)} and centres {tuple(centres.shape)} do not fit: (B, Q, h, w) and (Q, 2).")
    sharp = (logits / checks.number(temperature, "temperature", 0, inside=True)).softmax(1)
    return torch.einsum("bqhw,qc->bchw", sharp, centres.to(sharp))


class Network(Trunk):
    """Images ``(B, 3, H, W)`` in [0, 1], of which it sees the brightness only, give logits ``(B, Q, H/4, W/4)``, float32.

    ``centres`` ``(Q, 2)`` and ``weights`` ``(Q,)``, the bins and the rebalancing of the training images, travel with it.

    Args:
        settings: of the trunk.
        seed: of the initial weights.
    """

    def __init__(self, settings: Settings, *, seed: int = 0):
        super().__init__(settings)
        self.register_buffer("centres", bins())
        self.register_buffer("weights", torch.ones(len(self.centres)))
        self.head = nn.Conv2d(settings.width, len(self.centres), 1)
        initialise(self, settings.initial_gamma, rng.generator(seed, 0, 0, "initial weights"))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, Q, H/4, W/4)`` of images ``(B, 3, H, W)``."""
        return self.head(self.features(images)).float()


network = Network


def parts(images: Tensor) -> Tensor:
    """The mean colours ``(B, 2, H/4, W/4)`` of parts of 4×4 pixels, of images ``(B, 3, H, W)``; errors as :func:`lab`."""
    return F.avg_pool2d(lab(images)[:, 1:], 4)


def prepare(data: Dataset, settings: Settings, seed: int = 0) -> LabelledPool:
    """The pool of the images, without labels; errors as :meth:`course_lib.labelled.LabelledPool.unlabelled`."""
    return LabelledPool.unlabelled(data, settings)


@torch.no_grad()
def before_training(model: Network, pool: LabelledPool, settings: Settings) -> None:
    """Count how often each bin occurs in the training images, and give the network the rebalancing of that."""
    count = torch.zeros(len(model.centres), dtype=torch.float64)
    for some in pool.images.cpu().split(500):
        nearest, share = soft_targets(parts(to_float(some)).permute(0, 2, 3, 1).reshape(-1, 2), model.centres.cpu())
        count.scatter_add_(0, nearest.flatten(), share.double().flatten())
    model.weights.copy_(rebalancing((count / count.sum()).float(), settings.uniform))


def batch(pool: LabelledPool, draws: Draws, settings: Settings) -> tuple[Tensor, Tensor]:
    """(gray images ``(B, 3, H, W)``, the colours of their parts ``(B, 2, H/4, W/4)``) of the next images."""
    images, _ = pool.augmented(draws, settings.batch_size, padding=settings.padding, flip=settings.flip)
    return lens.gray(images).contiguous(), parts(images)


def loss(logits: Tensor, ab: Tensor, centres: Tensor, weights: Tensor) -> Tensor:
    """The rebalanced cross-entropy with soft targets, the mean over all parts of all images: a scalar.

    Args:
        logits: ``(B, Q, h, w)``.
        ab: the colours ``(B, 2, h, w)``.
        centres, weights: of the bins, ``(Q, 2)`` and ``(Q,)``.

    Raises:
        ValueError: for colours of another number of images, or of parts of them.
    """
    if ab.shape != (len(logits), 2, *logits.shape[2:]):
        raise ValueError(f"logits {tuple(logits.shape)} and colours {tuple(ab.shape)} do not fit: (B, Q, h, w) and (B, 2, h, w).")
    nearest, share = soft_targets(ab.permute(0, 2, 3, 1).reshape(-1, 2), centres)
    log = logits.log_softmax(1).permute(0, 2, 3, 1).reshape(-1, logits.shape[1])
    entropy = -(share * log.gather(1, nearest)).sum(1) * weights[nearest[:, 0]]
    coloured = (ab.abs() > GRAY).flatten(1).any(1).repeat_interleave(ab.shape[-2] * ab.shape[-1])
    return (entropy * coloured).mean()


def step(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and the share of its parts whose most probable bin is the nearest one, both scalars."""
    gray, ab = batch
    logits = model(gray)
    nearest, _ = soft_targets(ab.permute(0, 2, 3, 1).reshape(-1, 2), model.centres)
    right = logits.detach().argmax(1).flatten() == nearest[:, 0]
    return loss(logits, ab, model.centres, model.weights), {"accuracy": right.float().mean()}


@torch.no_grad()
def colourised(model: nn.Module, images: Tensor, temperature: float = 0.38) -> Tensor:
    """Images ``(B, 3, H, W)`` in [0, 1] with their own brightness and the colours that the network guesses, in the same shape.

    Errors as :func:`lab` and :func:`annealed_mean`.
    """
    light = lab(images)[:, :1]
    guessed = annealed_mean(model(lens.gray(images)), model.centres, temperature)
    return srgb(torch.cat([light, F.interpolate(guessed, images.shape[-2:], mode="bilinear")], 1))


@torch.no_grad()
def evaluate(
    model: nn.Module, images: Tensor, settings: Settings, *, indices: Sequence[int] | None = None
) -> list[float]:
    """For each image the PSNR in dB of it in the colours that the network guesses, of uint8 images ``(N, C, H, W)``.

    Raises:
        TypeError, ValueError: for images of another type or shape, or a number that no image has.
    """
    chosen = checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")[checks.indices(indices, len(images))]
    device, found = next(model.parameters()).device, []
    for part in chosen.split(256) if len(chosen) else ():
        clean = to_float(part.to(device))
        found.append(metrics.psnr(colourised(model, clean, settings.temperature), clean, protocol="clamped").cpu())
    return torch.cat(found).tolist() if found else []
