"""Exported figures: all that pages show, readable names, pixels as they are stored."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from PIL import Image
from test_student import page

import figures
import pages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("figures")
    (made / "12_noise2noise-99-a_figure_of_old.svg").write_text("<svg/>")
    (made / "mine.txt").write_text("mine")
    figures.write(made)
    return made


def test_every_figure_outside_solutions_is_there(folder):
    for name in pages.names():
        shown = [piece.node for piece in pages.pieces(pages.read(name), name) if piece.kind == "code"]
        text = json.dumps([output for cell in shown for output in cell["outputs"]])
        stored = [base64.b64decode(data) for data in re.findall(r"<img src=.{1,3}data:image/[\w+]+;base64,([A-Za-z0-9+/=]+)", text)]
        files = [path for path in sorted(folder.glob(f"{name}-*")) if path.suffix != ".png"]
        assert [path.read_bytes() for path in files] == stored, name
        assert stored or name not in pages.chapters()


def test_names_can_be_read(folder):
    names = [path.name for path in folder.glob("*-*")]
    assert all(re.fullmatch(r"[a-z0-9_]+-\d\d-[a-z0-9_]+\.(svg|webp|png)", name) for name in names)
    assert "12_noise2noise-01-why_a_noisy_target_is_enough.svg" in names


def test_png_has_the_pixels_of_the_page(folder):
    for path in list(folder.glob("*.webp"))[::10]:
        stored, copied = (np.asarray(Image.open(p).convert("RGB")) for p in (path, path.with_suffix(".png")))
        assert np.array_equal(stored, copied)


def test_old_figures_go_and_other_files_stay(folder):
    assert not (folder / "12_noise2noise-99-a_figure_of_old.svg").exists() and (folder / "mine.txt").read_text() == "mine"


def test_the_index_says_what_they_show(folder):
    text = (folder / "index.html").read_text(encoding="utf-8")
    shown = re.findall(r'<img src="([^"]+)" alt="([^"]*)"', text)
    assert {name for name, _ in shown} == {p.name for p in folder.glob("*-*") if p.suffix != ".png"}
    assert all(len(alt) > 20 for _, alt in shown)


def test_a_picture_of_another_kind_is_an_error():
    made = page("# Title", ">>> draw()")
    made["cells"][1]["outputs"] = [{"output_type": "display_data", "data": {"text/html": '<img src="data:image/jpeg;base64,AAAA">'}}]
    with pytest.raises(pages.PageError, match="a_page, cell 1: a picture of type 'jpeg'"):
        list(figures.figures(made, "a_page"))


def test_slugs():
    assert figures.slug("Which loss for $\\ell_2$, σ = 25?") == "which_loss_for_25"
    assert figures.slug("What naïve means") == "what_naive_means"
