"""One noisy version of each image, stored: all that Noise2Void and the blind-spot networks have to learn from.

Fresh noise in every step would show the same scene in many realisations, which is what Noise2Noise needs and a single shot does not
have.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from course_lib import noise, rng
from course_lib.batches import FloatPool, resized, to_float
from course_lib.data import Dataset, open_image
from course_lib.self_supervised_denoising.shots import check_noisy
from course_lib.training import Plan

JPEG = b"\xff\xd8\xff"  # with which its files begin, whatever they are called


@dataclass(frozen=True, kw_only=True)
class SingleShots(Plan):
    """What the methods of single noisy images have in common."""

    channels: int = 1  # 1 gray, 3 colour
    # the training patches
    patch_size: int = 64  # side in pixels
    scales: tuple[float, ...] = (1.0,)
    sigma_255: float = 25.0  # of the stored noise, where clean images are given; unclipped
    tested: bool = False  # is the stored noise that of the test? Then a training learns from the very images that it restores

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.sigma_255 <= 255:
            raise ValueError(f"sigma_255 = {self.sigma_255}: σ in 0 to 255 is needed.")
        if self.tested and self.scales != (1.0,):
            raise ValueError(f"tested = True with scales = {self.scales}: what is tested has its own size, so give scales=1.")


def prepare(images: Dataset | Iterable[Tensor], settings: SingleShots, seed: int = 0) -> FloatPool:
    """Clean images, uint8 ``(C, H, W)``, as a pool of one noisy version of each; the noise is that of (seed, number of the image).

    With ``settings.tested`` it is :func:`course_lib.noise.test_noise` of the number of the image, whatever the seed.
    """
    sigma, noisy = noise.from_255(settings.sigma_255), []
    sharp = [resized(image, scale) for scale in settings.scales for image in getattr(images, "images", images)]
    for number, image in enumerate(sharp):
        clean = to_float(image)[None]
        if settings.tested:
            noisy.append(noise.test_noise(clean, sigma, number)[0])
        else:
            noisy.append(noise.gaussian(clean, sigma, rng.generator(seed, number, 0, "stored noise"), clip=False)[0])
    return _pool(noisy, settings)


def prepare_noisy(images: Iterable[Tensor], settings: SingleShots) -> FloatPool:
    """Recorded noisy images ``(C, H, W)``, floating point, as the pool; clipped and 8-bit ones are taken with a warning.

    Raises:
        ValueError: for other channels, or images smaller than a patch.
    """
    return _pool([check_noisy(image[None])[0] for image in images], settings)


def _pool(noisy: Sequence[Tensor], settings: SingleShots) -> FloatPool:
    pool = FloatPool(noisy, settings.patch_size)
    if pool.channels != settings.channels:
        raise ValueError(f"channels = {settings.channels}, but the images have {pool.channels}.")
    return pool


def read(files: Iterable[str | Path]) -> list[Tensor]:
    """Image files as uint8 ``(C, H, W)``, for :func:`prepare_noisy`; a JPEG is read with a warning.

    JPEG makes 8×8 blocks out of the noise: it can then be told from the surroundings, and a blind spot returns it.

    Raises:
        TypeError, course_lib.data.DataError: see :func:`course_lib.data.open_image`.
    """
    images = []
    for file in files:
        images.append(open_image(file))
        with Path(file).expanduser().open("rb") as opened:
            compressed = opened.read(len(JPEG)) == JPEG
        if compressed:
            told = "its compression spreads the noise over 8×8 pixels, which can be told from their surroundings and so are not removed"
            warnings.warn(f"{file} is a JPEG: {told}. Use the file before compression.", stacklevel=2)
    return images
