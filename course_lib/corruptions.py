"""Noise that has no σ: photons, lost pixels, impulses, overlaid text; and noise whose neighbours are alike.

Each function takes clean images ``(B, C, H, W)`` and draws every value from the generator that it is given. A strength is a number
for all images or one for each, ``(B,)``. What such noise does to mean, median and mode of a pixel decides which loss can learn from
noisy targets, see :mod:`course_lib.self_supervised_denoising.noise2noise`.
"""

from __future__ import annotations

import math
import numbers
from functools import cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks, rng
from course_lib.noise import as_map, from_255, gaussian, require_images

Kind = Literal["gaussian", "poisson", "bernoulli", "text", "impulses"]
STRENGTHS: dict[str, tuple[float, float, str]] = {
    "gaussian": (0, 255, "σ on the 0–255 scale"),
    "poisson": (1e-3, 1e6, "photons that a white pixel expects"),
    "bernoulli": (0, 1, "the share of the pixels that are lost"),
    "text": (0, 0.6, "the share of the pixels that text covers"),
    "impulses": (0, 1, "the share of the pixels that are replaced"),
}
"""Kind of noise -> lowest and highest strength, and what it is."""

LONGEST = 32
"""Largest standard deviation in pixels of the filter that correlates noise."""

SHEET_SIDE = 512  # of the sheet of strings that overlaid text is cut from, in pixels


def require_strength(kind: str, strength: tuple[float, float]) -> None:
    """Raise ``ValueError`` unless ``strength`` is a lowest and a highest one that a kind of noise can have."""
    if kind not in STRENGTHS:
        raise ValueError(f'unknown noise "{kind}"; there are {", ".join(STRENGTHS)}.')
    low, high, words = STRENGTHS[kind]
    if not isinstance(strength, tuple) or len(strength) != 2 or not low <= strength[0] <= strength[1] <= high:
        raise ValueError(f"strength = {strength}: for {kind} noise give a lowest and a highest one in {low:g} to {high:g}, {words}.")


def each(strength: float | Tensor, images: Tensor, name: str, low: float, high: float, advice: str) -> Tensor:
    """``strength`` as ``(B, 1, 1, 1)``, after a check that it lies in [low, high].

    Args:
        strength: a number, or one for each image ``(B,)``.
        images: the images ``(B, C, H, W)`` that it belongs to.
        name: what the message calls it.
        low, high: the range, ends included. A tensor on a GPU is not looked at: the GPU would wait in every step.
        advice: how the message ends.

    Raises:
        TypeError: for anything but a number or a tensor.
        ValueError: for a strength outside the range, NaN, or a tensor of another shape.
    """
    if not isinstance(strength, Tensor | numbers.Real):
        raise TypeError(f"{name} is {type(strength).__name__}, but a number or a tensor with one for each image is expected.")
    values = torch.as_tensor(strength, dtype=images.dtype, device=images.device)
    if values.dim() and values.shape != images.shape[:1]:
        raise ValueError(f"{name} has shape {tuple(values.shape)}: give one number, or one for each of the {len(images)} images.")
    if values.device.type == "cpu" and not bool(((values >= low) & (values <= high)).all()):
        wrong = values.flatten()[~((values >= low) & (values <= high)).flatten()][0].item()
        raise ValueError(f"{name} = {wrong:g}, but it must lie in {low:g} to {high:g}: {advice}")
    return values.expand(len(images)).view(-1, 1, 1, 1)


def corrupt(clean: Tensor, kind: str, strength: float | Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """A noisy version of clean images ``(B, C, H, W)``, and the mask ``(B, C, H, W)`` of the pixels that are left in it.

    Args:
        clean: floating point in [0, 1].
        kind: of the noise, a key of ``STRENGTHS``, which says what strength means.
        strength: a number, or one for each image ``(B,)``.
        generator: the source of the draws, on the device of ``clean``.

    Returns:
        (noisy images, mask); the mask is None for all noise but Bernoulli's.

    Raises:
        TypeError: for no generator.
        ValueError: for an unknown kind, or a strength that makes no sense.
    """
    if kind == "gaussian":
        return gaussian(clean, from_255(strength), generator, clip=False), None
    if kind == "poisson":
        return photons(clean, strength, generator), None
    if kind == "bernoulli":
        noisy, mask = dropped(clean, strength, generator)
        return noisy, mask.expand_as(clean)
    if kind == "text":
        return text(clean, strength, generator), None
    if kind == "impulses":
        return impulses(clean, strength, generator), None
    raise ValueError(f'unknown noise "{kind}"; there are {", ".join(STRENGTHS)}.')


def photons(clean: Tensor, at_white: float | Tensor, generator: torch.Generator) -> Tensor:
    r"""Photon noise, :math:`z = \mathrm{Poisson}(\chi\,y) / \chi`: every pixel counts photons, and white expects χ of them.

    The mean is y, the variance :math:`y / \chi`. In contrast to :func:`course_lib.noise.poisson`, χ belongs to the value 1 and not to
    the brightest pixel of an image.

    Args:
        clean: images ``(B, C, H, W)``, floating point, in [0, 1].
        at_white: χ from 0.001 to 10⁶, a number or one for each image ``(B,)``.
        generator: the source of the draws, on the device of ``clean``.

    Returns:
        The noisy images, in the shape and type of ``clean``; whole multiples of 1/χ, not clipped at 1.

    Raises:
        TypeError: for integer images, no generator, or a χ that is no number.
        ValueError: for a wrong shape, a χ outside its range, or negative intensities.
    """
    checks.generator(generator)
    require_images(clean, "clean images")
    exact = clean if clean.dtype == torch.float64 else clean.float()  # half precision does not even hold a large χ
    chi = each(at_white, exact, "at_white", 1e-3, 1e6, "it is the number of photons that a white pixel expects.")
    if clean.device.type == "cpu" and bool((clean < 0).any()):
        raise ValueError("clean images have negative intensities: no number of photons is negative.")
    return (torch.poisson(exact * chi, generator=generator) / chi).to(clean)


def dropped(clean: Tensor, probability: float | Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    r"""Bernoulli noise, :math:`z = m\,y` with :math:`P(m = 0) = p` for each pixel: all channels of a pixel are kept or lost together.

    Args:
        clean: images ``(B, C, H, W)``, floating point.
        probability: p that a pixel is lost, from 0 to 1, a number or one for each image ``(B,)``.
        generator: the source of the draws, on the device of ``clean``.

    Returns:
        (the noisy images in the shape of ``clean``, the mask m ``(B, 1, H, W)``: 1 where the pixel was kept).

    Raises:
        TypeError: for integer images, no generator, or a probability that is no number.
        ValueError: for a wrong shape, or a probability outside [0, 1].
    """
    checks.generator(generator)
    lost = _chosen(clean, probability, generator)
    return clean.masked_fill(lost, 0), (~lost).to(clean.dtype)


def impulses(clean: Tensor, probability: float | Tensor, generator: torch.Generator) -> Tensor:
    r"""Random-valued impulses: with probability p a pixel is replaced by a colour that is uniform in :math:`[0, 1]^C`.

    Its mean is :math:`(1 - p)\,y + p/2`. Its median is y for every p < 1/2, its mode y for every p < 1.

    Args:
        clean: images ``(B, C, H, W)``, floating point.
        probability: p, from 0 to 1, a number or one for each image ``(B,)``.
        generator: the source of the draws, on the device of ``clean``.

    Returns:
        The noisy images, in the shape and type of ``clean``.

    Raises:
        TypeError: for integer images, no generator, or a probability that is no number.
        ValueError: for a wrong shape, or a probability outside [0, 1].
    """
    checks.generator(generator)
    hit = _chosen(clean, probability, generator)
    colours = torch.rand(clean.shape, generator=generator, device=clean.device, dtype=torch.float32).to(clean.dtype)
    return torch.where(hit, colours, clean)


def text(clean: Tensor, coverage: float | Tensor, generator: torch.Generator) -> Tensor:
    """Overlaid text: strings of random sizes and colours at random places, which cover a share of the pixels.

    A pixel is covered with the probability ``coverage``, by a colour that has nothing to do with the image: to the statistics of one
    pixel it is as :func:`impulses`, but neighbours are covered together. The strings are cut at a random place from one sheet
    (:func:`sheet_of_strings`), of which each image gets its own choice of strings in its own colours.

    Args:
        clean: images ``(B, C, H, W)``, floating point.
        coverage: expected share of covered pixels, from 0 to 0.6, a number or one for each image ``(B,)``.
        generator: the source of the draws, on the device of ``clean``.

    Returns:
        The images with text, in the shape and type of ``clean``.

    Raises:
        TypeError: for integer images, no generator, or a coverage that is no number.
        ValueError: for a wrong shape, or a coverage outside [0, 0.6].
    """
    checks.generator(generator)
    require_images(clean, "clean images")
    share = each(coverage, clean, "coverage", 0, 0.6, "the share of the pixels that text covers.").view(-1, 1)
    device, (batch, channels, height, width) = clean.device, clean.shape
    sheet, count, covered = sheet_of_strings()
    place = torch.randint(SHEET_SIDE, (2, batch, 1), generator=generator, device=device)
    y = (place[0] + torch.arange(height, device=device)) % SHEET_SIDE  # the sheet is a torus: each place is equally likely
    x = (place[1] + torch.arange(width, device=device)) % SHEET_SIDE
    string = sheet.to(device)[y[:, :, None], x[:, None, :]].long()  # (B, H, W): number of the string on top, 0 for none
    written = torch.rand(batch, count + 1, generator=generator, device=device) < share / covered
    written[:, 0] = False
    colours = torch.rand(batch, channels, count + 1, generator=generator, device=device).to(clean.dtype)
    flat = string.flatten(1)
    over = written.gather(1, flat).view(batch, 1, height, width)
    ink = colours.gather(2, flat[:, None].expand(-1, channels, -1)).view(clean.shape)
    return torch.where(over, ink, clean)


@cache
def sheet_of_strings() -> tuple[Tensor, int, float]:
    """A sheet full of strings: int16 ``(SHEET_SIDE, SHEET_SIDE)`` with the number of the string on top, their count, the covered share.

    It is the same in every process. Strings that run off one side come in again at the other.
    """
    from pathlib import Path

    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    from course_lib.data.typeset import FONTS, SIZES, WORDS

    draws = rng.generator(0, 0, 0, "overlaid text")
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(str(folder / f"{FONTS['train'][0]}.ttf"), size) for size in SIZES]
    sheet = np.zeros((SHEET_SIDE, SHEET_SIDE), dtype=np.int16)
    count = 0
    while (sheet > 0).mean() < 0.65:
        count += 1
        words = [WORDS[i] for i in torch.randint(len(WORDS), (1 + int(torch.randint(3, (), generator=draws)),), generator=draws)]
        font = fonts[int(torch.randint(len(fonts), (), generator=draws))]
        line = " ".join(words)
        left, top, right, bottom = map(math.floor, font.getbbox(line))
        drawn = Image.new("L", (right - left + 2, bottom - top + 2))
        ImageDraw.Draw(drawn).text((1 - left, 1 - top), line, fill=255, font=font)
        rows, columns = np.nonzero(np.asarray(drawn) > 127)
        y, x = torch.randint(SHEET_SIDE, (2,), generator=draws).tolist()
        sheet[(rows + y) % SHEET_SIDE, (columns + x) % SHEET_SIDE] = count
    return torch.from_numpy(sheet), count, float((sheet > 0).mean())


def correlated(clean: Tensor, sigma: float | Tensor, length: float, generator: torch.Generator) -> Tensor:
    r"""Gaussian noise whose neighbours are alike: white noise through a Gaussian filter of ``length`` pixels, of variance σ² again.

    Pixels at distance d are correlated by about :math:`\exp(-d^2 / 4\,\ell^2)`, exactly so for long filters.

    Args:
        clean: images ``(B, C, H, W)``, floating point, in [0, 1]; the channels' noise is independent.
        sigma: standard deviation on the [0, 1] scale: a float, one for each image ``(B,)``, or a map ``(1 or B, 1, H, W)``.
        length: standard deviation ℓ of the filter in pixels, from 0 (white noise) to 32.
        generator: the source of the draws, on the device of ``clean``.

    Returns:
        The noisy images, in the shape and type of ``clean``, not clipped.

    Raises:
        TypeError: for integer images, or no generator.
        ValueError: for a wrong shape, a σ that makes no sense, or a length outside its range.
    """
    checks.generator(generator)
    require_images(clean, "clean images")
    scale = as_map(sigma, clean)
    kernel = gaussian_taps(length).to(clean).view(1, 1, 1, -1)
    reach = kernel.numel() // 2
    batch, channels, height, width = clean.shape
    shape = (batch * channels, 1, height + 2 * reach, width + 2 * reach)
    white = torch.randn(shape, generator=generator, device=clean.device, dtype=clean.dtype)
    if reach:
        white = F.conv2d(F.conv2d(white, kernel), kernel.transpose(2, 3))
    return clean + scale * white.view(clean.shape)


def gaussian_taps(length: float) -> Tensor:
    """The filter of :func:`correlated` along a row: ``(n,)`` float64 with n = 2 ⌈4ℓ⌉ + 1, of norm 1, so that the variance stays as it is.

    Raises:
        TypeError: for anything but a number.
        ValueError: for a length outside 0 to ``LONGEST``.
    """
    length = checks.number(length, "length")
    if not 0 <= length <= LONGEST:
        raise ValueError(f"length = {length:g}, but it must lie in 0 to {LONGEST}: the standard deviation of the filter in pixels.")
    reach = math.ceil(4 * length)
    taps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    taps = torch.exp(-taps.square() / (2 * max(length, 1e-9) ** 2))
    return taps / taps.norm()


def _chosen(clean: Tensor, probability: float | Tensor, generator: torch.Generator) -> Tensor:
    """Pixels that are hit, booleans ``(B, 1, H, W)``."""
    require_images(clean, "clean images")
    share = each(probability, clean, "probability", 0, 1, "the share of the pixels that are hit.")
    uniform = torch.rand(len(clean), 1, *clean.shape[2:], generator=generator, device=clean.device)
    return uniform < share.to(uniform.dtype)
