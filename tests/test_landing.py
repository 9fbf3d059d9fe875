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
