"""The lecturers' page: every chapter with minutes that add up, what it builds on, what to show, and what to ask."""

from __future__ import annotations

import re
import sys

import pytest

import pages

sys.path.append(str(pages.BOOK / "_sphinx"))
import chapter_facts  # noqa: E402

TEXT = (pages.BOOK / "lecturers.md").read_text(encoding="utf-8")
SECTIONS = {name: body for name, body in re.findall(r"^## (\d\d) · [^\n]*\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)}
MAKEFILE = (pages.BOOK.parent / "Makefile").read_text(encoding="utf-8")


def minutes(number: str) -> int:
    return int(re.search(r"^\*\*(\d+) minutes\.\*\*", SECTIONS[number], re.M)[1])


def test_every_chapter_has_its_section():
    assert list(SECTIONS) == [name[:2] for name in pages.chapters()]


@pytest.mark.parametrize("name", pages.chapters())
def test_a_chapter_is_planned(name):
    section = SECTIONS[name[:2]]
    assert chapter_facts.prerequisites(section).keys() == {name}
    [show] = re.findall(r"^- \*\*Show\*\* (.*(?:\n  .*)*)", section, re.M)
    times = [(int(a), int(b)) for a, b in re.findall(r"\((\d+)–(\d+)\)", show)]
    assert times[0][0] == 0 and times[-1][1] == minutes(name[:2])
    assert all(end == begin for (_, end), (begin, _) in zip(times, times[1:], strict=False)), "one thing after the other"
    asked = re.findall(r"^- \*\*Ask\*\* (.*(?:\n  .*)*)", section, re.M)
    assert len(asked) >= 2 and all("Expect " in question for question in asked)


def test_lessons_hold_all_chapters():
    lessons = [int(m) for m in re.findall(r"^\| \d+ \| .* \| (\d+) \|$", TEXT, re.M)]
    assert sum(lessons) == sum(minutes(number) for number in SECTIONS) and max(lessons) <= 90
    planned = re.search(r"^## A plan\n(.*?)^## ", TEXT, re.M | re.S)[1]
    assert set(re.findall(r"\((\d\d_\w+)\)", planned)) == set(pages.chapters())


def test_commands_that_it_names_exist():
    named = re.findall(r"`make (\w+)`", TEXT)
    assert len(named) >= 4 and all(re.search(rf"^{target}:", MAKEFILE, re.M) for target in named)
