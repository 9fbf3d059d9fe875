r"""The embedding network that the methods of this part share: :math:`f_\omega(I)`, an image as a short vector.

Two convolutions with pooling and three linear layers: the small embedder that tutorials on metric learning train on MNIST,
for images of any one size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks, noise, rng
from course_lib.batches import IdentityPool, shots
from course_lib.data import Dataset
from course_lib.rng import Draws
from course_lib.training import Plan


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings(Plan):
    """What the methods of this part have in common."""

    # the network
    height: int = 28  # of the images, in pixels
    width: int = 28
    channels: int = 1
    dimension: int = 64  # length of an embedding
    normalise: bool = False  # put embeddings on the unit sphere
    # the batches: P identities × K images
    images: int = 4  # K
    shift: float = 0.0  # every image enters as another shot of itself: moved by up to this fraction of its side, …
    angle: float = 0.0  # … turned by up to this many degrees, …
    light: float = 0.0  # … in another light, …
    sigma_255: tuple[float, float] = (0.0, 0.0)  # … with noise of a σ between these, on the 0–255 scale
    batch_size: int = 64  # P × K
    steps: int = 1000

    def __post_init__(self):
        super().__post_init__()
        if min(self.height, self.width) < 16 or self.channels < 1 or self.dimension < 1:
            raise ValueError(
                f"height = {self.height}, width = {self.width}, channels = {self.channels}, dimension = {self.dimension}: images of "
                "at least 16×16 pixels, one channel, and embeddings of at least one number are needed."
            )
        if self.images < 2 or self.batch_size % self.images:
            raise ValueError(
                f"batch_size = {self.batch_size} with images = {self.images}: a batch has images, at least 2, of each of its identities, "
                f"so batch_size is a multiple of images, such as {max(2, self.images) * max(2, self.batch_size // max(2, self.images))}."
            )
        if not 0 <= self.shift <= 0.5 or not 0 <= self.angle <= 180 or not 0 <= self.light <= 1:
            raise ValueError(f"shift = {self.shift}, angle = {self.angle}, light = {self.light}: shift lies in 0 to 0.5, angle in 0 to "
                "180, light in 0 to 1.")
        if len(self.sigma_255) != 2 or not 0 <= self.sigma_255[0] <= self.sigma_255[1] <= 255:
            raise ValueError(f"sigma_255 = {self.sigma_255}: give a lowest and a highest σ between 0 and 255, such as 0,55.")

    @property
    def identities(self) -> int:
        """P, the identities of a batch."""
        return self.batch_size // self.images


class Embedder(nn.Module):
    """Conv 32 (5×5), PReLU, pool, Conv 64 (5×5), PReLU, pool, Linear 256, PReLU, Linear 256, PReLU, Linear: ``(B, dimension)``.

    Args:
        settings: ``height``, ``width``, ``channels``, ``dimension`` and ``normalise`` are used.
        seed: of the initial weights.
    """

    def __init__(self, settings: EmbeddingSettings, *, seed: int = 0):
        super().__init__()
        self.shape = (settings.channels, settings.height, settings.width)
        self.normalise = settings.normalise
        rows, columns = (((side - 4) // 2 - 4) // 2 for side in (settings.height, settings.width))
        self.layers = self.stack(settings, rows * columns)
        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)

    def stack(self, settings: EmbeddingSettings, places: int) -> nn.Sequential:
        """The layers, ``(B, C, H, W)`` to ``(B, dimension)``; ``places`` pixels are left of an image after the second pooling."""
        return nn.Sequential(
            nn.Conv2d(settings.channels, 32, 5), nn.PReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5), nn.PReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(64 * places, 256), nn.PReLU(),
            nn.Linear(256, 256), nn.PReLU(),
            nn.Linear(256, settings.dimension),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``(B, dimension)`` of images ``(B, C, H, W)`` in [0, 1], float32 whatever autocast does."""
        embeddings = self.layers(images - 0.5).float()
        return F.normalize(embeddings, dim=1) if self.normalise else embeddings

    @torch.no_grad()
    def embed(self, images: Tensor, *, at_once: int = 512) -> Tensor:
        """Embeddings ``(N, dimension)`` of images ``(N, C, H, W)``, ``at_once`` at a time, on the device of ``images``.

        Raises:
            TypeError: for integer images.
            ValueError: for images of another size than the network was made for.
        """
        weights = self.ready(images)
        checks.whole(at_once, "at_once", 1)
        return torch.cat([self(part.to(weights)).to(images.device) for part in images.split(at_once)])

    def ready(self, images: Tensor) -> Tensor:
        """A weight, whose device and type the images ``(N, C, H, W)`` must get; ``TypeError`` and ``ValueError`` as :meth:`embed`."""
        checks.require_images(images, wait=True)
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"images are {tuple(images.shape[1:])}, but this network was made for (C, H, W) = {self.shape}.")
        return next(self.parameters())


class Headed(nn.Module):
    """An embedding network with a head that its training needs, and a door does not; a method adds the head and ``forward``.

    Args:
        settings: those of the embedding network.
        seed: of the initial weights.
    """

    def __init__(self, settings: EmbeddingSettings, *, seed: int = 0):
        super().__init__()
        self.embedder = Embedder(settings, seed=seed)

    def embed(self, images: Tensor, *, at_once: int = 512) -> Tensor:
        """Embeddings ``(N, dimension)`` of images ``(N, C, H, W)``, the head left out, as :meth:`Embedder.embed`."""
        return self.embedder.embed(images, at_once=at_once)


def prepare(people: Dataset, settings: EmbeddingSettings, seed: int = 0) -> IdentityPool:
    """Training images, uint8 ``(N, C, H, W)``, with their identities, ``people.labels``, as the pool of the batches.

    Raises:
        ValueError: for images without identities or of another size than the settings say, or fewer identities than a batch takes.
    """
    images, identities = people.images, people.labels
    if identities is None:
        raise ValueError(f"{people.name} has no labels: who is in a picture must be known, to learn whose pictures belong together.")
    if tuple(images.shape[1:]) != (settings.channels, settings.height, settings.width):
        raise ValueError(
            f"images are {tuple(images.shape[1:])}, but the settings say (C, H, W) = "
            f"({settings.channels}, {settings.height}, {settings.width})."
        )
    pool = IdentityPool(images, identities)
    if not 2 <= settings.identities <= len(pool):
        raise ValueError(
            f"batch_size = {settings.batch_size} with images = {settings.images} takes {settings.identities} identities, but a batch needs "
            f"at least 2, since losses compare images of two identities, and there are {len(pool)}."
        )
    return pool


def batch(pool: IdentityPool, draws: Draws, settings: EmbeddingSettings) -> tuple[Tensor, Tensor]:
    """(images ``(P · K, C, H, W)``, identities ``(P · K,)``): K shots of each of P identities."""
    images, identities = pool.pk(settings.identities, settings.images, draws("identities"))
    if settings.shift or settings.angle or settings.light:
        images = shots(images, draws("shots"), shift=settings.shift, angle=settings.angle, light=settings.light)
    if settings.sigma_255[1] > 0:
        sigma = noise.uniform_sigma(*(noise.from_255(s) for s in settings.sigma_255), len(images), draws("sigma"))
        images = noise.gaussian(images, sigma, draws("noise"), clip=False)
    return images, identities
