"""Pages of text, set from a small vocabulary in fonts that come with matplotlib: a class of images of which there is no end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib import rng

VOCABULARY = (
    "a able about above after again all along and another any as at away back bare be because before begin below best better between "
    "blind blur both bright by camera clean clear close colour come dark day deep denoise describe detail do down draw each edge end "
    "estimate even every far few field filter find first flat follow for form from front gentle give go good gray ground grow half hand "
    "hard have high how if image in into is it just keep kernel know large last layer learn left less let letter level light line little "
    "long look loss make many map mean measure more most much near never new next no noise not of often on one open or other out over "
    "page part past pattern photo pixel place point quiet random rather read real right same say see sharp short show signal small so "
    "some square step still strong such tell than that the then there these they thing this three time to too two under until up us very "
    "way we weak well what when where which while white who wide with word work write year you zero"
)
WORDS = VOCABULARY.split()
FONTS = {
    "train": ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSerif-Italic", "cmr10", "cmss10"),
    "test": ("STIXGeneral", "cmtt10", "DejaVuSans-Oblique"),  # no training sees these
}
SIZES = (11, 13, 15, 18, 24)  # pixels


def pages(count: int, split: str, *, side: int = 256, seed: int = 0) -> Tensor:
    """Dark text on light paper, each page in one font and size: uint8 ``(count, 1, side, side)``.

    Args:
        count: number of pages; page n is the same whatever the count is.
        split: ``"train"`` or ``"test"``, which have no font in common.
        side: of a page, in pixels.
        seed: of words, fonts, sizes, and the gray of ink and paper.

    Raises:
        ValueError: for an unknown split, or no page.
    """
    if split not in FONTS or count < 1 or side < 1:
        raise ValueError(f'split = "{split}", count = {count}, side = {side}: a split is train or test, and the others are positive.')
    return torch.stack([_page(number, split, side, seed) for number in range(count)])


def _page(number: int, split: str, side: int, seed: int) -> Tensor:
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    draws = rng.generator(seed, number, 0, f"page, {split}")

    def one_of(things):
        return things[int(torch.randint(len(things), (), generator=draws))]

    size = one_of(SIZES)
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{FONTS[split][number % len(FONTS[split])]}.ttf"
    font = ImageFont.truetype(str(file), size)
    ink, paper = int(torch.randint(0, 70, (), generator=draws)), int(torch.randint(190, 256, (), generator=draws))
    page = Image.new("L", (side, side), paper)
    pen, margin = ImageDraw.Draw(page), size // 2
    for y in range(margin, side, round(1.45 * size)):
        line = one_of(WORDS)
        while pen.textlength(line, font=font) < side:
            line += " " + one_of(WORDS)  # the last word runs off the page, as on a photograph of a part of it
        pen.text((margin, y), line, fill=ink, font=font)
    return torch.from_numpy(np.array(page))[None]
