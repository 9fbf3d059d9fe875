"""What the pages without a notebook take from chapters' stored outputs, and what a link to a page shows."""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
sys.path.append(str(BOOK / "_sphinx"))
import described  # noqa: E402
import noise_lab  # noqa: E402
import stored_picture  # noqa: E402

LARGEST_SLIDER = 120_000  # bytes of the landing page's slider, as a host sends it


def chapter(folder: Path, *texts: str) -> Path:
    outputs = [{"data": {"text/html": [f'<img src="data:image/png;base64,AA{i}" alt="{text}" width="9">']}} for i, text in enumerate(texts)]
    file = folder / "01_a.ipynb"
    file.write_text(json.dumps({"cells": [{"outputs": outputs}]}), encoding="utf-8")
    return file


def test_a_stored_picture_is_found_by_its_words(tmp_path):
    file = chapter(tmp_path, "A cat &amp; a dog.", "A man.")
    assert stored_picture.stored_picture(file, "A cat & a") == ("data:image/png;base64,AA0", "A cat &amp; a dog.")


@pytest.mark.parametrize(("words", "count"), [("A horse", "no"), ("A ", "2")])
def test_words_that_fit_no_picture_or_two_are_refused(words, count, tmp_path):
    with pytest.raises(LookupError, match=f"01_a.ipynb has {count} stored pictures whose alternative text begins with '{words}', not one"):
        stored_picture.stored_picture(chapter(tmp_path, "A cat.", "A man."), words)


def test_the_landing_page_has_a_slider_that_is_small_and_a_picture_for_each_part():
    text = (BOOK / "index.md").read_text(encoding="utf-8")
    ((name, kind),) = re.findall(r"```\{stored-lab\} (\S+) (\S+)", text)
    assert len(gzip.compress(noise_lab.stored_lab(BOOK / f"{name}.ipynb", kind).encode())) < LARGEST_SLIDER
    asked = re.findall(r"### [IVX]+ · .*\n\n```\{stored-picture\} (\S+)\n(.*)\n```", text)
    assert len(asked) == len(re.findall(r'caption: "[IVX]+ ·', (BOOK / "_toc.yml").read_text(encoding="utf-8")))
    for name, words in asked:
        stored_picture.stored_picture(BOOK / f"{name}.ipynb", words)


def test_a_description_is_plain_and_ends_at_a_word():
    assert described.description("<h1>x</h1><p>One <em>&amp;</em>\n two.</p><p>three</p>") == "One & two."
    assert described.description("<h1>x</h1>") == ""
    long = described.description(f"<p>{'word ' * 100}</p>")
    assert len(long) <= described.LONGEST + 2 and long.endswith("word …")


@pytest.mark.parametrize(
    ("paragraph", "told"),
    [(r"Let \(\hat y\) be an <em>estimate</em> of \(y\).", "Let hat y be an estimate of y."), ("1 &lt; 2 \\ 3", "1 < 2 \\ 3")],
)
def test_of_a_formula_a_description_keeps_what_can_be_read(paragraph, told):
    assert described.description(f"<p>{paragraph}</p>") == told


def test_a_link_shows_a_picture_where_the_site_has_an_address():
    made = described.tags('A "B" & <C>', "told", "The book", "api/a.html", "https://example.org/book/")
    assert made["og:image"] == "https://example.org/book/_static/card.png" and made["twitter:card"] == "summary_large_image"
    assert made["og:url"] == "https://example.org/book/api/a.html" and len(made["og:image:alt"]) > 20
    text = described.written(made)
    assert '<meta property="og:title" content="A &quot;B&quot; &amp; &lt;C&gt;" />' in text
    assert '<meta name="description" content="told" />' in text and '<meta name="twitter:card"' in text


def test_without_an_address_no_picture_is_named():
    """Other sites would look for it in vain."""
    made = described.tags("A", "told", "The book", "a.html", "")
    assert not {"og:image", "og:url"} & made.keys() and made["twitter:card"] == "summary" and made["og:title"] == "A"


@pytest.mark.parametrize(("given", "where"), [("", ""), ("https://a.org", "https://a.org/"), ("http://a.org/b/", "http://a.org/b/")])
def test_where_the_site_is(given, where):
    assert described.checked(given) == where


@pytest.mark.parametrize("given", ["a.org/b", "/b/", "file:///b", "https://", "https://a.org/?b", "https://a.org/#b"])
def test_an_address_that_is_not_in_full_is_refused(given):
    with pytest.raises(ValueError, match="html.baseurl is .* give where the site is in full"):
        described.checked(given)


def test_the_picture_has_the_size_that_is_named_and_shows_the_photos_as_they_are():
    from PIL import Image, ImageChops

    import card

    with Image.open(BOOK / "_static" / "card.png") as stored, Image.open(BOOK / "_static" / "readme.webp") as photos:
        assert stored.size == described.CARD_SIZE == card.SIZE
        strip = photos.convert("RGB")
    made = card.card(strip)
    left = (made.width - strip.width) // 2
    assert ImageChops.difference(made.crop((left, 262, left + strip.width, 262 + strip.height)), strip).getbbox() is None
    with pytest.raises(ValueError, match="2000×10 pixels, and there is place for 1200×300"):
        card.card(Image.new("RGB", (2000, 10)))


@pytest.mark.skipif(not (BOOK.parent / "_build" / "html" / "index.html").is_file(), reason="the site is not built: run `make book`")
def test_every_page_is_described():
    site = BOOK.parent / "_build" / "html"
    assert (site / described.CARD).is_file()
    for page in (*site.glob("*.html"), *site.glob("api/*.html")):
        head = page.read_text(encoding="utf-8").split("</head>")[0]
        for name in ("description", "og:title", "og:description", "og:site_name", "twitter:card"):
            assert len(re.findall(rf'<meta (?:name|property)="{name}" content="[^"]+" />', head)) == 1, (page.name, name)
