"""The PDF of some pages of the built site: it has their titles in outline and text, page numbers, formulas, and solutions at its end."""

from __future__ import annotations

import re

import browser
import pytest
from pypdf import PdfReader

import pages
import pdf

WANTED = [pdf.Part("IV · Denoising without clean images", ("12_noise2noise",)), pdf.Part("Reference", ("formulas", "glossary"))]


@pytest.fixture(scope="module")
def text():
    if not (pdf.SITE / "glossary.html").is_file():
        browser.absent(f"there is no site in {pdf.SITE}: run `make book` first")
    return pdf.compose(pdf.SITE, WANTED, "A title", "its authors")


@pytest.fixture(scope="module")
def book(chrome, text, tmp_path_factory):
    target = tmp_path_factory.mktemp("pdf") / "book.pdf"
    count = pdf.write(text, target, chrome)
    assert [path.name for path in target.parent.iterdir()] == ["book.pdf"] and target.read_bytes().startswith(b"%PDF-")
    assert count == len(PdfReader(target).pages) > 8
    return target


@pytest.fixture(scope="module")
def texts(book):
    """The words of each page."""
    return [page.extract_text() for page in PdfReader(book).pages]


def test_the_outline_has_parts_chapters_and_sections(book):
    titles = [(depth, title) for depth, title, _ in pdf.outline(book)]
    for expected in (
        (0, "IV · Denoising without clean images"), (1, "Noise2Noise: can one learn from noisy pairs?"),
        (2, "Why a noisy target is enough"), (1, "Formulas"), (1, "Glossary"), (0, "Solutions"),
    ):  # fmt: skip
        assert expected in titles


def test_the_contents_have_the_pages_of_the_outline(book, texts):
    shown = " ".join(texts[1].split())
    for depth, title, page in pdf.outline(book):
        if (depth == 1 and not title.startswith("Solutions: ")) or title == "Solutions":
            assert re.search(rf"{re.escape(title)} ?{page}\b", shown), (title, shown)
            assert title.split(":")[0] in texts[page - 1]
            assert texts[page - 1].rstrip().endswith(str(page)), "its number stands below the page"


def test_solutions_are_at_the_end_and_sliders_are_pictures(book, text, texts):
    begin = next(page for depth, title, page in pdf.outline(book) if (depth, title) == (0, "Solutions"))
    before, after = "".join(texts[: begin - 1]), "".join(texts[begin - 1 :])
    secret = "independent of"  # of the solution of the first exercise
    own, following = (f"Exercise {pages.exercise_numbers()['ex-n2n-shared'] + k}" for k in (0, 1))
    assert own in before and following in before and secret not in before.partition(own)[2].partition(following)[0] and secret in after
    assert text.count('class="lab-start"') == 1 and 'type="application/json"' not in text


def test_links_stay_within_the_book(text):
    targets = set(re.findall(r' id="([^"]+)"', text))
    links = set(re.findall(r'href="#([^"]+)"', text))
    assert links and links <= targets
    assert all(link.startswith(("#", "http")) for link in re.findall(r'<a [^>]*href="([^"]+)"', text))


def test_formulas_are_drawn(texts):
    assert not re.search(r"\\[()\[\]]|\\lVert", "".join(texts))


def test_the_book_is_planned_from_the_table_of_contents():
    printed = [name for part in pdf.parts() for name in part.pages]
    assert set(pages.chapters()) < set(printed) and {"formulas", "glossary", "bibliography", "reproduction"} < set(printed)


def test_a_site_that_is_not_built_is_an_error(tmp_path):
    with pytest.raises(pdf.PrintError, match="make book"):
        pdf.compose(tmp_path, WANTED, "A title", "its authors")
    (tmp_path / "12_noise2noise.html").write_text("<p>Words.</p>")
    with pytest.raises(pdf.PrintError, match="no article"):
        pdf.compose(tmp_path, WANTED, "A title", "its authors")


def test_no_browser_is_an_error(monkeypatch):
    monkeypatch.setenv("COURSE_BROWSER", "no-such-browser")
    with pytest.raises(pdf.PrintError, match="no-such-browser is no program"):
        pdf.browser()
