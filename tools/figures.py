"""Every stored figure of the pages as a file: ``make figures``.

``_build/figures`` gets diagrams as SVG, and everything else as WebP, as it is stored, and as PNG, pixel by pixel the same, for programs
that know no WebP. A slider gives its first picture. A name has the page, the number of the figure on it, and its section, as in
``12_noise2noise-07-which_loss_for_which_noise.png``; ``index.html`` shows them all with their alternative texts.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import command
import pages

ROOT = pages.BOOK.parent
PICTURE = re.compile(r'<img [^>]*?src="data:image/(?P<kind>[\w.+-]+);base64,(?P<data>[^"]+)"[^>]*>')
INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Figures</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem; }}
figure {{ margin: 0 0 2rem; }} img {{ max-width: 40rem; display: block; }}
</style></head>
<body><h1>Figures</h1>
{figures}
</body></html>
"""


@dataclass(frozen=True)
class Figure:
    """A picture that a page shows."""

    name: str  # of its files, without ending
    kind: str  # "svg" or "webp"
    content: bytes
    alt: str


def slug(words: str) -> str:
    """A heading as part of a file's name: small letters, digits and underscores."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\$[^$]*\$", "", words)).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")


def figures(notebook: dict, name: str) -> Iterator[Figure]:
    """The pictures of a page outside its solutions, in their order.

    Raises:
        pages.PageError: as :func:`pages.pieces`, and for a picture that is neither SVG nor WebP.
    """
    section, number = "", 0
    for piece in pages.pieces(notebook, name):
        if piece.kind == "prose":
            without_code = re.sub(r"^```.*?^```", "", piece.text, flags=re.M | re.S)
            section = ([slug(words) for words in re.findall(r"^#{1,6} +(.*)", without_code, re.M)] or [section])[-1]
        for output in piece.node["outputs"] if piece.kind == "code" else ():
            for picture in PICTURE.finditer("".join(output.get("data", {}).get("text/html", ""))):
                kind = picture["kind"].removesuffix("+xml")
                if kind not in ("svg", "webp"):
                    raise pages.error(name, piece.cell, f"a picture of type {picture['kind']!r}: figures are made by plots or diagrams")
                alt = re.search(r'alt="([^"]*)"', picture[0])
                number += 1
                yield Figure(
                    f"{name}-{number:02d}-{section}", kind, base64.b64decode(picture["data"]), html.unescape(alt[1]) if alt else ""
                )


def write(folder: Path) -> list[Path]:
    """Write all figures and their index into ``folder``, in the place of older ones; returns their files. Errors as :func:`figures`."""
    from PIL import Image

    found = [figure for name in pages.names() for figure in figures(pages.read(name), name)]
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if re.fullmatch(r"\w+-\d\d-\w+\.(svg|webp|png)", old.name):
            old.unlink()
    written, entries = [], []
    for figure in found:
        path = folder / f"{figure.name}.{figure.kind}"
        path.write_bytes(figure.content)
        written.append(path)
        if figure.kind == "webp":
            written.append(path.with_suffix(".png"))
            Image.open(io.BytesIO(figure.content)).save(written[-1])
        alt = html.escape(figure.alt)
        words = f"<figcaption><b>{path.name}</b> {alt}</figcaption>"
        entries.append(f'<figure><img src="{path.name}" alt="{alt}" loading="lazy">{words}</figure>')
    (folder / "index.html").write_text(INDEX.format(figures="\n".join(entries)), encoding="utf-8")
    return written


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--folder", type=Path, default=ROOT / "_build" / "figures", help="where to; older figures there are replaced")
    chosen = options.parse_args()
    try:
        written = write(chosen.folder)
    except ValueError as reason:
        print(reason, file=sys.stderr)
        return 1
    print(f"{len({path.stem for path in written})} figures in {len(written)} files: open {chosen.folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
