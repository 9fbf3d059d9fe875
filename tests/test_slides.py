"""Slides: what becomes one, by structure and by tags; nothing of a chapter's pictures and no formula is lost, and no solution is shown."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from test_student import EXERCISE, page, solutions

import pages
import slides


@pytest.fixture(scope="module")
def decks():
    """Every page's slides."""
    return {name: slides.slides_of(pages.read(name), name) for name in pages.names()}


def shown(name: str) -> list[tuple[str, str]]:
    """What the cells of a page show outside its solutions."""
    return [output for p in pages.pieces(pages.read(name), name) if p.kind == "code" for output in slides.outputs(p.node)]


@pytest.mark.parametrize("name", pages.names())
def test_every_picture_and_slider_has_its_slide(name, decks):
    bodies = ["".join(slide.body) for slide in decks[name]]
    wanted = [(kind, content) for kind, content in shown(name) if kind != "printed"]
    assert wanted and (name not in pages.chapters() or any(kind == "lab" for kind, _ in wanted))
    for kind, content in wanted:
        [place] = [i for i, body in enumerate(bodies) if content in body]
        if kind in ("lab", "figure"):  # one a slide
            assert decks[name][place].kind == "pictures" and bodies[place].count("base64,") == content.count("base64,")


@pytest.mark.parametrize("name", pages.chapters())
def test_every_displayed_formula_and_every_section_has_its_slide(name, decks):
    everything = "".join("".join(slide.body) for slide in decks[name])
    text = "\n\n".join(piece.text for piece in pages.pieces(pages.read(name), name) if piece.kind == "prose")
    assert everything.count("\\[") == len(re.findall(r"^\$\$.*?\$\$", text, re.M | re.S))
    titles = {slide.title for slide in decks[name]}
    sections = set(re.findall(r"^#{1,2} +(.*)", re.sub(r"```.*?```", "", text, flags=re.S), re.M)) - {*slides.UNTAUGHT}
    assert sections == titles & sections


@pytest.mark.parametrize("name", pages.chapters())
def test_no_solution_is_shown_and_exercises_are_named(name, decks):
    text = "".join("".join((*slide.body, *slide.notes)) for slide in decks[name])
    for label, lines in solutions(name):
        assert f"Exercise {pages.exercise_numbers()[label]}</strong>" in "".join(decks[name][-1].body)
        longest = max((line for line in lines if not re.search(r"[`$\\{*]", line)), key=len)
        assert slides.html.escape(longest, quote=False) not in text


class References(HTMLParser):
    """Addresses that a page loads."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.found += [a for a in (found.get("src"), found.get("href") if tag == "link" else None) if a]


def test_a_deck_carries_all_it_needs(tmp_path):
    counts = slides.write(tmp_path, ["12_noise2noise", "reproduction"])
    for name, count in counts.items():
        text = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        assert count == len(slides.slides_of(pages.read(name), name)) > 10
        assert all(address.startswith("data:") for address in References(text).found)
    assert "katex.render" in (tmp_path / "12_noise2noise.html").read_text(encoding="utf-8")
    assert re.findall(r'href="([\w.]+)"', (tmp_path / "index.html").read_text(encoding="utf-8")) == [f"{name}.html" for name in counts]


def tagged(text: str, *tags: str) -> dict:
    """A page of a title, a cell with tags, and another cell."""
    made = page("# Title\n\nWhat it is about.", text, "## Next\n\nMore.")
    made["cells"][1]["metadata"]["tags"] = list(tags)
    return made


SECTION = "## Section\n\nThe first paragraph.\n\nThe second one."


@pytest.mark.parametrize(
    ("text", "tags", "titles", "on_slides", "in_notes"),
    [
        (SECTION, (), ["Title", "Section", "Next"], ["The first paragraph."], ["The second one."]),
        (SECTION, ("slide",), ["Title", "Section", "Next"], ["The first paragraph.", "The second one."], []),
        (SECTION, ("no-slide",), ["Title", "Next"], [], []),
        (">>> print(1)", (), ["Title", "Next"], [], []),
        (">>> print(1)", ("slide",), ["Title", "Title", "Next"], ["print(1)"], []),
        (">>> print(1)", ("slide", "hide-input"), ["Title", "Next"], [], []),
        (SECTION + "\n\n$$\nx\n$$\n\n- item", (), ["Title", "Section", "Next"], ["\\[x\\]", "item", "The second one."], []),
    ],
)
def test_tags_and_structure_choose(text, tags, titles, on_slides, in_notes):
    found = slides.slides_of(tagged(text, *tags), "a_page")
    bodies, notes = ("".join("".join(part) for part in parts) for parts in ([s.body for s in found], [s.notes for s in found]))
    assert [slide.title for slide in found] == titles
    assert all(words in bodies and words not in notes for words in on_slides)
    assert all(words in notes and words not in bodies for words in in_notes)


def test_what_was_printed_is_shown_on_demand():
    made = tagged(">>> print(1)", "slide", "hide-input")
    made["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "a < b"}]
    assert slides.slides_of(made, "a_page")[1].body == ["<pre>a &lt; b</pre>"]


def test_words_flow_onto_further_slides():
    items = "\n".join(f"- {'word ' * 30}{number}" for number in range(3))
    found = slides.slides_of(page(f"# Title\n\nIntro.\n\n## Section\n\n{items}\n\n$$\nx\n$$\n\n{items}"), "a_page")
    assert [slide.title for slide in found] == ["Title", "Section", "Section"] and all(slide.lines <= slides.FULL for slide in found)


@pytest.mark.parametrize(("rows", "lengths"), [(3, [3]), (8, [8]), (9, [4, 5]), (17, [6, 5, 6])])
def test_a_long_table_goes_on_on_the_next_slide(rows, lengths):
    body = [f"| {number} | x |" for number in range(rows)]
    found = slides.tables("\n".join(["| a | b |", "|---|---|", *body]))
    assert [piece.splitlines()[:2] for piece in found] == [["| a | b |", "|---|---|"]] * len(lengths)
    assert [line for piece in found for line in piece.splitlines()[2:]] == body and [len(p.splitlines()) - 2 for p in found] == lengths


@pytest.mark.parametrize(
    ("cells", "message"),
    [(["Words."], "a_page, cell 0: words before the title"), (["# Title"], "nothing on this page"), ([EXERCISE], "has no solution")],
)
def test_a_page_that_cannot_be_shown_is_an_error(cells, message):
    with pytest.raises(pages.PageError, match=message):
        slides.slides_of(page(*cells), "a_page")


def test_a_script_does_not_end_early():
    with pytest.raises(ValueError, match="</script"):
        slides.script("'</script>'")
