"""The built site: whole, self-contained, and with alternative texts. Needs ``_build/html``, which `make book` makes."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlparse

import pytest
import site_is_whole

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
pytestmark = pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="the site is not built: run `make book`")


class Tags(HTMLParser):
    """All start tags of a page with their attributes."""

    def __init__(self, page: Path):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def chapter_pages() -> list[Path]:
    return [SITE / f"{path.stem}.html" for path in sorted((ROOT / "book").glob("*.ipynb"))]


def test_every_page_was_built():
    assert site_is_whole.main() == 0


def test_a_missing_page_would_be_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(site_is_whole, "ROOT", tmp_path)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "_toc.yml").write_text("root: index\n")
    assert site_is_whole.main() == 1


@pytest.mark.parametrize("page", sorted(SITE.glob("**/*.html")), ids=lambda p: p.relative_to(SITE).as_posix())
def test_nothing_is_loaded_from_another_host(page):
    """Scripts, styles and pictures come with the site, so that it works offline and tells nobody who reads it."""
    for tag, attributes in Tags(page).found:
        address = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        if tag == "link" and attributes.get("rel") in ("canonical", "search", "next", "prev", "index", "genindex"):
            continue
        assert not urlparse(address or "").netloc, f"<{tag}> loads {address}"


@pytest.mark.parametrize("page", chapter_pages(), ids=lambda p: p.stem)
def test_pictures_say_what_they_show(page):
    images = [attributes for tag, attributes in Tags(page).found if tag == "img" and "logo" not in attributes.get("class", "")]
    assert images
    for attributes in images:
        assert len(attributes.get("alt") or "") > 20, attributes.get("src", "")[:60]


@pytest.mark.parametrize("page", chapter_pages(), ids=lambda p: p.stem)
def test_the_static_face_of_a_widget_was_taken(page):
    text = page.read_text(encoding="utf-8")
    assert ('class="lab ' in text) == page.name[:2].isdigit(), "chapters have a widget, pages of results have none"
    assert "application/vnd.jupyter.widget-view+json" not in text and "html-manager" not in text


def test_formulas_are_drawn_by_the_copy_that_comes_along():
    """And only pages with formulas load it."""
    assert len(list((SITE / "katex" / "fonts").glob("*.woff2"))) == 20
    for page in SITE.glob("**/*.html"):
        text = page.read_text(encoding="utf-8")
        assert ("katex/katex.min.js" in text) == ('class="math' in text), page.name
        assert "mathjax" not in text.lower().replace("mathjax_ignore", ""), "but for a class by which MyST marks what is no formula"


def test_what_the_theme_brings_and_no_visit_needs_is_left_out():
    assert not list(SITE.glob("**/*.map")) and not (SITE / "_static/scripts/fontawesome.js").exists()
    assert (SITE / "_static/vendor/fontawesome/webfonts/fa-solid-900.woff").stat().st_size < 10_000
    for page in SITE.glob("*.html"):
        assert ("searchindex.js" in page.read_text(encoding="utf-8")) == (page.name == "search.html")


def test_pages_declare_their_language():
    assert re.search(r'<html[^>]* lang="en"', (SITE / "index.html").read_text(encoding="utf-8"))


def test_api_pages_have_the_arguments_of_networks():
    page = (SITE / "api" / "denoising.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    assert "dncnn.DnCNN(settings, *, seed=0)" in text and "(*args, **kwargs)" not in text


@pytest.mark.parametrize("page", sorted(SITE.glob("**/*.html")), ids=lambda p: p.relative_to(SITE).as_posix())
def test_no_page_tells_of_the_machine_that_built_it(page):
    """No path, no address of an object: the default values of the API are as the source has them."""
    text = page.read_text(encoding="utf-8")
    for told in (str(ROOT), str(Path.home()) + "/", "site-packages", "&lt;module ", " object at 0x"):
        assert told not in text, f"{told!r} in {page.name}"


@pytest.mark.parametrize("page", sorted(SITE.glob("**/*.html")), ids=lambda p: p.relative_to(SITE).as_posix())
def test_thebe_is_left_out(page):
    """It would let a reader run cells on a server elsewhere, and wrote a constant twice into every page."""
    assert "THEBE_JS_URL" not in page.read_text(encoding="utf-8")
