"""For the whole site: what a visit loads, made small.

Pictures become files, which a browser loads when the reader comes near; the font of icons keeps those that are used; and what is of no
use on the web (maps of the theme's sources, a script that draws the icons a second time) is left out.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

LARGE = 4_000  # characters from which a picture becomes a file: a request of its own costs about as much
INLINE = re.compile(r'<img\b[^>]*?\bsrc="data:image/(?P<kind>webp|png|svg\+xml);base64,(?P<data>[A-Za-z0-9+/=]+)"[^>]*>')
SCRIPTS = re.compile(r"(<script\b.*?</script>)", re.DOTALL)
STYLES = "_static/styles/pydata-sphinx-theme.css"
FONTS = "_static/vendor/fontawesome/webfonts"
FONT = f"{FONTS}/fa-solid-900"
ICON = re.compile(r'((?:\.fa-[\w-]+:+before,?)+)\{content:"\\([0-9a-f]{4,5})"\}')
DRAWN_TWICE = "_static/scripts/fontawesome.js"


class SiteError(RuntimeError):
    """The site is not what this module knows how to make small; the message says where, and what to do."""


# --- pictures -------------------------------------------------------------------------------------------------------------


def size_of(content: bytes, kind: str) -> tuple[int, int]:
    """Width and height in pixels of a WebP, a PNG or an SVG, from its first bytes.

    Raises:
        SiteError: where they do not tell.
    """
    little = lambda start, end: int.from_bytes(content[start:end], "little")  # noqa: E731
    if kind == "png" and content[:8] == b"\x89PNG\r\n\x1a\n":
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    if kind == "webp" and content[12:16] == b"VP8L":
        return 1 + (little(21, 25) & 0x3FFF), 1 + (little(21, 25) >> 14 & 0x3FFF)
    if kind == "webp" and content[12:16] == b"VP8 ":
        return little(26, 28) & 0x3FFF, little(28, 30) & 0x3FFF
    if kind == "webp" and content[12:16] == b"VP8X":
        return 1 + little(24, 27), 1 + little(27, 30)
    if kind == "svg+xml" and (box := re.search(rb'viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"', content)):
        return round(float(box[1])), round(float(box[2]))
    raise SiteError(f"a picture says image/{kind}, but begins with {content[:16]!r}: its size cannot be read.")


def apart(html: str, site: Path, root: str) -> str:
    """The HTML of a page whose large pictures are files of ``site``, to be loaded when they come near; each has its size, so that nothing
    moves when it arrives.

    Args:
        html: of the page; what its scripts carry stays there.
        site: folder of the site.
        root: how the page names that folder, such as ``./`` or ``../``.
    """

    def filed(match: re.Match) -> str:
        tag, kind = match[0], match["kind"]
        if len(match["data"]) < LARGE:
            return tag
        content = base64.b64decode(match["data"])
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.{kind.removesuffix('+xml')}"
        (site / "_images").mkdir(exist_ok=True)
        (site / "_images" / name).write_bytes(content)
        width, height = size_of(content, kind)
        shown = re.search(r'\bwidth="(\d+)"', tag)
        sizes = f'height="{round(int(shown[1]) * height / width)}"' if shown else f'width="{width}" height="{height}"'
        return re.sub(r'src="data:[^"]*"', f'src="{root}_images/{name}" {sizes} loading="lazy" decoding="async"', tag, count=1)

    return "".join(part if part.startswith("<script") else INLINE.sub(filed, part) for part in SCRIPTS.split(html))


# --- icons ----------------------------------------------------------------------------------------------------------------


def icons_of(styles: str, others: str, pages: str) -> set[int]:
    """The code points of the icons that pages use, by their names, or styles, by the letter itself or its code."""
    codes = {name: int(match[2], 16) for match in ICON.finditer(styles) for name in re.findall(r"\.(fa-[\w-]+)", match[1])}
    named = set(re.findall(r"\bfa-[\w-]+", pages)) & set(codes)
    rest = ICON.sub("", styles) + others
    return (
        {codes[name] for name in named}
        | {ord(letter) for letter in re.findall("[\ue000-\uf8ff]", rest)}
        | {int(code, 16) for code in re.findall(r'content:"\\([ef][0-9a-f]{3})"', rest)}
    )


def trim_icons(site: Path) -> None:
    """Keep of the font of icons those that some page uses.

    Raises:
        SiteError: where the theme has its icons elsewhere.
    """
    from fontTools import subset, ttLib

    styles, font = site / STYLES, site / f"{FONT}.ttf"
    if not styles.is_file() or not font.is_file():
        raise SiteError(f"the theme no longer has {STYLES} and {FONT}.ttf: alter book/_sphinx/light.py to where its icons are.")
    text = styles.read_text(encoding="utf-8")
    others = "".join(path.read_text(encoding="utf-8") for path in site.glob("_static/**/*.css") if path != styles)
    scripts = [path for path in site.glob("_static/**/*.js") if path != site / DRAWN_TWICE]
    pages = "".join(path.read_text(encoding="utf-8") for path in (*site.glob("*.html"), *site.glob("api/*.html"), *scripts))
    wanted = icons_of(text, others, pages)
    if not wanted:
        raise SiteError(f"no icon of {STYLES} is used on any page, which cannot be: alter book/_sphinx/light.py.")
    trimmed = ttLib.TTFont(font)
    chooser = subset.Subsetter()
    chooser.populate(unicodes=wanted)
    chooser.subset(trimmed)
    trimmed.flavor = "woff"  # which every browser reads, and Python makes without another package
    trimmed.save(site / f"{FONT}.woff")
    styles.write_text(re.sub(r'url\([^)]*fa-solid-900\.woff2\) ?format\("woff2"\)', "url(../vendor/fontawesome/webfonts/fa-solid-900.woff) "
                             'format("woff")', text), encoding="utf-8")  # fmt: skip
    (site / f"{FONT}.woff2").unlink(missing_ok=True)


# --- all of it ------------------------------------------------------------------------------------------------------------


def lighten(app, exception):
    """Once all is written."""
    if exception or app.builder.name != "html":
        return
    site = Path(app.outdir)
    trim_icons(site)
    for useless in (*site.glob("_static/**/*.map"), site / DRAWN_TWICE):
        useless.unlink(missing_ok=True)


def setup(app):
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
