"""Digits on photographs: small labelled images with colour and clutter, for which no file and no network is needed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks, rng
from course_lib.data.dataset import Dataset, Request
from course_lib.data.embedded import digits, photos

SIDE = 32  # of an image, in pixels: that of CIFAR-10


def digits_on_photos(asked: Request) -> Dataset:
    r"""Every digit of a split on a random place of a random colour photograph of that split, :math:`x = |p - d|` in each channel.

    As MNIST-M is made (Ganin and Lempitsky 2015, "Unsupervised Domain Adaptation by Backpropagation"), of other photographs. A
    digit is framed with zeros to 32×32, so that the photograph shows around it and is inverted under its strokes. The photograph, and
    then the place in it, are uniform. The two parts share neither digits nor photographs, and are the same in every process.
    """
    written, behind = digits(asked), photos(Request("photos", asked.split, asked.root, color=True))
    draws = rng.generator(0, 0, 0, f"digits on photographs, {asked.split}")
    edge = (SIDE - written.images.shape[-1]) // 2
    strokes = F.pad(written.images, [edge] * 4).to(torch.int16)
    places = crops(behind.images, len(written), draws)
    images = (places.to(torch.int16) - strokes).abs().to(torch.uint8)
    source = f"{written.source}, on {len(behind)} colour photographs inside scikit-image and scikit-learn by absolute difference"
    return Dataset(asked.name, images, source, written.names, written.labels, written.classes)


def crops(images: tuple[Tensor, ...] | Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` crops ``(count, C, SIDE, SIDE)`` of images ``(C, H, W)`` of any size: each of a random image, at a random place.

    Raises:
        TypeError: for no generator.
    """
    checks.generator(generator)
    heights, widths = (torch.tensor([image.shape[side] for image in images]) for side in (-2, -1))
    starts = (heights * widths).cumsum(0) - heights * widths  # of each image among all pixels
    pixels = torch.cat([image.flatten(1) for image in images], dim=1)  # (C, all pixels)
    chosen = torch.randint(len(images), (count,), generator=generator)
    uniform = torch.rand(2, count, generator=generator, dtype=torch.float64)
    top = (uniform[0] * (heights[chosen] - SIDE + 1)).long()
    left = (uniform[1] * (widths[chosen] - SIDE + 1)).long()
    within = torch.arange(SIDE)
    rows = (top[:, None] + within)[:, :, None]  # (count, SIDE, 1)
    columns = (left[:, None] + within)[:, None, :]
    places = starts[chosen][:, None, None] + rows * widths[chosen][:, None, None] + columns
    return pixels[:, places].transpose(0, 1).contiguous()
