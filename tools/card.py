"""Draw ``book/_static/card.png``, the picture that other sites show beside a link to this one: ``python tools/card.py``.

It is made of ``book/_static/readme.webp``, a picture of the stored outputs, whose photos are drawn pixel by pixel as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import pages

SIZE = (1200, 630)  # what the sites that show such a picture ask for
GROUND, INK, QUIET = "#12304f", "white", "#c9d8ea"
TITLE, QUESTION = "Departing from\nSupervised Learning", "How far does one get without labels, or without clean images?"
BELOW = "A photo at σ = 25: noisy, by non-local means, and by two networks of the book"
STATIC = pages.BOOK / "_static"


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along."""
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"), size)


def card(photos: Image.Image) -> Image.Image:
    """The picture, with a strip of photos at its own size.

    Raises:
        ValueError: if the strip is wider than the card, or higher than the place for it.
    """
    place = (SIZE[0], 300)
    if photos.width > place[0] or photos.height > place[1]:
        raise ValueError(f"the strip of photos is {photos.width}×{photos.height} pixels, and there is place for {place[0]}×{place[1]}")
    made = Image.new("RGB", SIZE, GROUND)
    draw, left = ImageDraw.Draw(made), (SIZE[0] - photos.width) // 2
    draw.multiline_text((left, 42), TITLE, INK, font(56, bold=True), spacing=12)
    draw.text((left, 200), QUESTION, QUIET, font(28))
    made.paste(photos, (left, 262))
    draw.text((left, 570), BELOW, QUIET, font(24))
    return made


def main() -> int:
    with Image.open(STATIC / "readme.webp") as photos:
        made = card(photos.convert("RGB"))
    made.save(STATIC / "card.png", optimize=True)
    print(f"{STATIC / 'card.png'}: {(STATIC / 'card.png').stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
