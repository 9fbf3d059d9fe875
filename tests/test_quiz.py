"""The quiz: three questions a chapter, one right answer each, every answer explained; and the directive's errors."""

from __future__ import annotations

import re
import sys

import pytest

import pages

sys.path.append(str(pages.BOOK / "_sphinx"))
import quiz  # noqa: E402

TEXT = (pages.BOOK / "quiz.md").read_text(encoding="utf-8")
SITE = pages.BOOK.parent / "_build" / "html"


def questions(text: str) -> list[tuple[str, list[str]]]:
    found = re.findall(r"^```\{quiz\} ([^\n]+)\n(.*?)^```$", text, re.M | re.S)
    return [(question, body.splitlines()) for question, body in found]


def test_every_chapter_has_three_questions():
    sections = re.findall(r"^\{doc\}`(\w+)`\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    assert [name for name, _ in sections] == pages.chapters()
    for name, body in sections:
        assert len(questions(body)) == 3, name
        assert not any("`" in question for question, _ in questions(body)), "a fence's line ends no fence if it has a backtick"


def test_every_answer_is_explained_and_the_right_one_has_no_place():
    found = [quiz.answers(body) for _, body in questions(TEXT)]
    assert all(len(options) == 3 for options in found)
    named = [re.search(r"\w", re.sub(r"\$[^$]*\$", "", answer)) for options in found for _, answer, _ in options]
    assert all(named), "an answer that is a formula only has no name to be read aloud"
    places = [[sign for sign, _, _ in options].index("+") for options in found]
    assert set(places) == {0, 1, 2} and max(map(places.count, places)) < 0.6 * len(places), "one can guess by the place"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["- a :: b"], "0 right and 1 wrong"),
        (["+ a :: b"], "1 right and 0 wrong"),
        (["+ a :: b", "+ c :: d", "- e :: f"], "2 right and 1 wrong"),
        (["+ a", "- b :: c"], "'\\+ a' is no answer"),
        (["* a :: b"], "is no answer"),
        ([], "0 right and 0 wrong"),
    ],
)
def test_a_question_that_is_none(lines, message):
    with pytest.raises(ValueError, match=message):
        quiz.answers(lines)


def test_answers_open_on_the_site():
    page = SITE / "quiz.html"
    if not page.is_file():
        pytest.skip("the site is not built: run `make book`")
    text = page.read_text(encoding="utf-8")
    count = 3 * len(pages.chapters())
    assert text.count('<details class="quiz-right"><summary>') == count and text.count('<details class="quiz-wrong"><summary>') == 2 * count
    assert text.count("<strong>Right. </strong>") == count and "\\(" in text
