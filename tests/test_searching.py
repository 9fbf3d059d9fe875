"""What the search's excerpts are taken from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
sys.path.append(str(BOOK / "_sphinx"))
import searching  # noqa: E402

SITE = BOOK.parent / "_build" / "html"


def test_paragraphs_are_those_of_their_sections():
    """Without code and formulas on lines of their own; of a formula in a line what can be read."""
    from docutils import nodes
    from sphinx import addnodes

    signature = addnodes.desc_signature("", "f(x)", ids=["lib.f"])
    entry = addnodes.desc("", signature, addnodes.desc_content("", nodes.paragraph("", "", nodes.Text("Gives  one."))))
    inner = nodes.section("", nodes.title("", "Inner"), nodes.paragraph("", "two"), entry, ids=["inner"])
    formulas = [nodes.Text("of "), nodes.math("", "\\sigma"), nodes.Text(" and "), nodes.math("", "\\frac{a}{b}"), nodes.Text(".")]
    outer = nodes.section(
        "", nodes.title("", "Outer"), nodes.paragraph("", "", *formulas), nodes.literal_block("", "code = 1"), nodes.math_block("", "x"),
        nodes.bullet_list("", nodes.list_item("", nodes.paragraph("", "an item"))), inner, ids=["outer"],
    )  # fmt: skip
    document = nodes.Element("", outer)
    assert searching.paragraphs(document) == {"outer": ["of sigma and ….", "an item"], "inner": ["two"], "lib.f": ["Gives one."]}


@pytest.mark.skipif(not (SITE / "_static" / "search").is_dir(), reason="the site is not built: run `make book`")
def test_the_texts_of_all_pages_are_there_and_load_where_something_is_looked_for():
    code = (SITE / "_static" / "search" / "texts.js").read_text(encoding="utf-8")
    texts = json.loads(code.removeprefix("window.searchTexts = ").removesuffix(";\n"))
    assert {path.stem for path in BOOK.glob("*.md")} <= texts.keys() and all(texts.values())
    for page in SITE.glob("*.html"):
        assert ("search/results.js" in page.read_text(encoding="utf-8")) == (page.name == "search.html")
