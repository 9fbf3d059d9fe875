"""What stands beside a chapter's title: its run time, what it builds on, its data and its downloads, each from where it is recorded."""

from __future__ import annotations

import json
import re
import sys

import pytest

import pages

sys.path.append(str(pages.BOOK / "_sphinx"))
import chapter_facts  # noqa: E402
from chapter_facts import FactsError  # noqa: E402

SITE = pages.BOOK.parent / "_build" / "html"
BEFORE = chapter_facts.prerequisites((pages.BOOK / "lecturers.md").read_text(encoding="utf-8"))
TITLES = {8: ("08_a.html", "A & B"), 9: ("09_c.html", "C"), 12: ("12_d.html", "D")}


def notebook(seconds=77, *printed: str) -> dict:
    cells = [{"cell_type": "code", "outputs": [{"output_type": "stream", "text": text}]} for text in printed]
    return {"cells": cells, "metadata": {"course": {"seconds": seconds}}}


def test_what_comes_before_is_read_from_the_lecturers_page():
    text = "**60 minutes.** Before: chapter 8; least squares. {doc}`09_ffdnet`\n\n**20 minutes.** Before: Python, and more. {doc}`a`"
    assert chapter_facts.prerequisites(text) == {"09_ffdnet": "chapter 8; least squares", "a": "Python, and more"}


@pytest.mark.parametrize("name", pages.chapters())
def test_a_chapter_builds_on_earlier_ones(name):
    named = [int(number) for phrase in chapter_facts.CHAPTERS.findall(BEFORE[name]) for number in re.findall(r"\d+", phrase)]
    assert all(number < int(name[:2]) for number in named)


@pytest.mark.parametrize("name", pages.names())
def test_every_page_has_a_run_time_and_its_data(name):
    found = chapter_facts.facts(name, pages.read(name), BEFORE.get(name, ""))
    assert 0 < found.seconds <= 600 and found.data


def test_data_are_those_that_the_run_has_loaded():
    photos = "photos: 10 images (5 sizes) from photographs inside scikit-image, train split, in gray\n"
    printed = (photos, f"preset quick\n{photos}my photos: 3 images from here", "pages: 1 image (1×9×9) from a <press>\n")
    found = chapter_facts.facts("a", notebook(30, *printed, photos.replace("train", "test")), "")
    assert found.data == {
        "photos": ["photographs inside scikit-image, train split, in gray", "photographs inside scikit-image, test split, in gray"],
        "pages": ["a <press>"],
    }
    assert "a &lt;press&gt;" in chapter_facts.shown(found, "a", "./", TITLES)


@pytest.mark.parametrize(
    ("url", "linked"), [("https://github.com/made-up/course", True), ("https://gitlab.com/made-up/course", False), ("", False)]
)
def test_colab_is_offered_where_it_can_open_the_notebook(url, linked):
    made = chapter_facts.shown(chapter_facts.facts("08_a", notebook(), ""), "08_a", "./", TITLES, url)
    assert ('href="https://colab.research.google.com/github/made-up/course/blob/notebooks/08_a.ipynb"' in made) == linked
    assert ("Colab" in made) == linked and "_sources/08_a.ipynb" in made and "student/08_a.ipynb" in made


@pytest.mark.parametrize("seconds", [None, 0, -1, "77"])
def test_a_page_without_a_record_of_its_run_is_refused(seconds):
    with pytest.raises(FactsError, match="08_a.ipynb does not say how long it ran .*: make execute CHAPTER=08_a"):
        chapter_facts.facts("08_a", notebook(seconds), "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (77, "77 seconds"), (119, "119 seconds"), (120, "2 minutes"), (157, "2½ minutes"), (170, "3 minutes")],
)
def test_durations_in_words(seconds, words):
    assert chapter_facts.duration(seconds) == words


@pytest.mark.parametrize(
    ("before", "linked"),
    [
        ("chapter 8; least squares", [8]),
        ("chapters 8, 9 and 12; two distributions", [8, 9, 12]),
        ("chapters 8 to 12", [8, 12]),
        ("2 hours of sleep", []),
    ],
)
def test_chapters_are_links(before, linked):
    made = chapter_facts.linked(before, TITLES)
    assert re.sub(r"<[^>]+>", "", made) == before
    assert re.findall(r'<a href="(\w+\.html)"', made) == [TITLES[number][0] for number in linked]
    if 8 in linked:
        assert 'aria-label="chapter 8, A &amp; B"' in made


def test_a_chapter_that_there_is_not_is_refused():
    with pytest.raises(FactsError, match="'chapter 40' names chapter 40, which is not in book/_toc.yml: alter book/lecturers.md"):
        chapter_facts.linked("chapter 40", TITLES)


def test_a_page_without_title_is_refused():
    with pytest.raises(FactsError, match="a has no title"):
        chapter_facts.beneath_title("<p>text</p>", "a", "<dl></dl>")


@pytest.mark.skipif(not (SITE / "student").is_dir(), reason="the site is not built: run `make book`")
@pytest.mark.parametrize("name", pages.names())
def test_the_page_has_them_twice_and_its_downloads_are_there(name):
    """For a wide window and for a narrow one, of which the style shows one."""
    page = (SITE / f"{name}.html").read_text(encoding="utf-8")
    boxes = re.findall(r'<div class="chapter-facts[^>]*>(<dl>.*?</dl>)', page, re.S)
    assert len(boxes) == 2 and boxes[0] == boxes[1]
    assert chapter_facts.duration(round(pages.read(name)["metadata"]["course"]["seconds"])) in boxes[0]
    for address in re.findall(r'href="([^"]+)"', boxes[0]):
        path, _, anchor = address.partition("#")
        assert not anchor or f'id="{anchor}"' in (SITE / path).read_text(encoding="utf-8"), address
        assert (SITE / path).is_file(), address
    edition = json.loads((SITE / "student" / f"{name}.ipynb").read_text(encoding="utf-8"))
    answers = sum("answer" in cell["metadata"].get("tags", ()) for cell in edition["cells"])
    assert answers == len(re.findall(r'<div class="exercise admonition"', page))
