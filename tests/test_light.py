"""What the site's extensions do to a page: each mend finds what it mends or says so, pictures become files, icons are those in use."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "book" / "_sphinx"))
import light  # noqa: E402
import mended  # noqa: E402


def coded(kind: str, **options) -> tuple[bytes, str]:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue(), base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("WEBP", {"quality": 80}), ("WEBP", {"quality": 80, "exif": b"Exif\0\0x"})],
)
def test_a_large_picture_becomes_a_file_that_has_its_size(kind, options, tmp_path):
    content, text = coded(kind, **options)
    tag = f'<img src="data:image/{kind.lower()};base64,{text}" alt="noise" style="width:100%">'
    html = light.apart(f"<p>{tag}</p><script>{tag}</script>", tmp_path, "../")
    (file,) = (tmp_path / "_images").iterdir()
    assert file.read_bytes() == content and file.suffix == f".{kind.lower()}"
    shown, script = html.split("</p>")
    assert f'src="../_images/{file.name}" width="90" height="60" loading="lazy"' in shown and 'alt="noise"' in shown
    assert tag in script, "what a script carries is its own"


def test_a_drawing_keeps_the_width_that_it_is_shown_in(tmp_path):
    drawing = base64.b64encode(b'<svg viewBox="0 0 400 100">' + b" " * 4000 + b"</svg>").decode()
    html = light.apart(f'<img src="data:image/svg+xml;base64,{drawing}" width="300">', tmp_path, "./")
    assert 'height="75"' in html and 'width="300"' in html and ".svg" in html


def test_a_small_picture_stays(tmp_path):
    tag = '<img src="data:image/png;base64,AAAA">'
    assert light.apart(tag, tmp_path, "./") == tag


def test_a_picture_whose_size_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(light.SiteError, match="its size cannot be read"):
        light.apart(f'<img src="data:image/webp;base64,{"A" * 8000}">', tmp_path, "./")


def test_the_icons_that_are_kept():
    """By their names in pages, by their letters and by their codes in styles; no other."""
    styles = '.fa-bars:before,.fa-navicon:before{content:"\\f0c9"}.fa-sun:before{content:"\\f185"}:root{--icon:"\uf06a"}'
    assert light.icons_of(styles, '.x:after{content:"\\f107"}', '<i class="fa-solid fa-bars">') == {0xF0C9, 0xF06A, 0xF107}


def test_a_theme_with_its_icons_elsewhere_is_noticed(tmp_path):
    with pytest.raises(light.SiteError, match="no longer has _static/styles"):
        light.trim_icons(tmp_path)


def test_a_mend_that_finds_nothing_fails_the_build():
    mend = mended.Mend("a button has no name", "<button>", '<button aria-label="x">')
    assert mended.mended("search", "<button>", (mend,)) == '<button aria-label="x">'
    with pytest.raises(mended.ThemeChanged, match="index: nothing matches '<button>', so that it is not mended that a button has no name"):
        mended.mended("index", "<a>", (mend,))


def test_a_page_with_a_lab_has_a_link_to_its_slider():
    page = f'{mended.SKIP}<div class="lab noise-lab" id="lab-12ab">'
    assert '<a href="#lab-12ab">Skip to the slider</a>' in mended.mended("search", page, ())
    with pytest.raises(mended.ThemeChanged, match="beside which"):
        mended.mended("search", '<div class="lab noise-lab" id="lab-12ab">', ())
