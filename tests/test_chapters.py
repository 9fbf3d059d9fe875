"""What holds of every chapter: text and notebook agree, all is executed, claims can fail, figures have alternative texts."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import figures_in_prose
import judged
import nbformat
import pytest

import execute
import staleness
from course_lib import data

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"

SOURCES = execute.chapters()
CHAPTERS = [path for path in SOURCES if path.name[:2].isdigit()]  # the others are pages of results
LARGEST = 900_000  # bytes of an executed chapter

# With training and loading of weights switched off, the rest of the library as it is. Probes are trained all the same:
# what they tell is how good the features are of a trunk that was not.
SABOTAGE = """
import dataclasses
from course_lib import probes, training, weights
from course_lib.widgets import page

_fit = training.fit
def _train_nothing(model, data, method, plan, **options):
    return _fit(model, data, method, plan if method is probes else dataclasses.replace(plan, steps=0), **options)
training.fit = _train_nothing
weights.load = lambda model, *args, **kwargs: model.eval()
_html_of = page.Page.html_of
page.Page.html_of = lambda self, frames: _html_of(dataclasses.replace(self, most_bytes=10**9), frames)  # noise takes more bytes
"""


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request) -> Path:
    return request.param


@pytest.fixture
def stored(source):
    """The committed, executed notebook of a page."""
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


@pytest.fixture
def chapter(source) -> Path:
    """The same, for what holds of chapters only."""
    if source not in CHAPTERS:
        pytest.skip("a page of results, not a chapter")
    return source


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def test_there_are_chapters():
    assert len(CHAPTERS) >= 2 and BOOK / "reproduction.md" in SOURCES


def test_text_and_notebook_are_in_sync(source, stored):
    expected = execute.notebook(source)
    assert [(c.cell_type, c.source, sorted(tags(c))) for c in stored.cells] == [
        (c.cell_type, c.source, sorted(tags(c))) for c in expected.cells
    ], f"run `make execute CHAPTER={source.stem}`"


def test_no_text_is_lost_as_a_comment(source):
    """A line that begins with % is one in MyST: a sentence broken before "6 %" loses its end."""
    prose = re.sub(r"```\{code-cell\}.*?```", "", source.read_text(encoding="utf-8"), flags=re.S)
    assert not re.findall(r"^\s*%.*", prose, re.M)


def test_every_cell_was_executed_in_order(stored):
    assert [cell.execution_count for cell in code(stored)] == list(range(1, len(code(stored)) + 1))


def test_no_error_or_stderr_is_stored(stored):
    outputs = [output for cell in code(stored) for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


def test_stored_outputs_are_those_of_this_library(source, stored):
    """A hash stored at execution: outputs that are older than the code which made them are reported."""
    now = staleness.stamp(execute.notebook(source))
    assert stored.metadata["course"]["library"] == now, f"stale outputs: run `make execute CHAPTER={source.stem}`"


def test_sources_that_a_page_shows_are_those_of_this_library(stored):
    """The hash leaves out comments and docstrings, which a reader sees here."""
    library = [path.read_text(encoding="utf-8") for path in staleness.PACKAGE.rglob("*.py")]
    for cell in code(stored):
        if "plots.source(" in cell.source:
            [shown] = [output["data"]["text/plain"] for output in cell.outputs if "text/latex" in output.get("data", {})]
            assert any(shown.strip() in text for text in library), f"{cell.source} shows another source: run `make execute`"


def test_a_chapter_takes_at_most_a_minute(stored):
    """As measured when it was executed; twice the goal, since machines differ."""
    assert 0 < stored.metadata["course"]["seconds"] <= 120


def test_size_and_no_widget_state(source, stored):
    assert source.with_suffix(".ipynb").stat().st_size <= LARGEST
    assert "widgets" not in stored.metadata
    assert stored.metadata["kernelspec"] == execute.KERNELSPEC, "JupyterLab would call the notebook modified as soon as it is opened"
    assert not any(execute.VIEW in o.get("data", {}) for cell in code(stored) for o in cell.outputs), "a view is nothing without its kernel"


def test_frames_of_a_chapter_fit_its_page(chapter, stored):
    pages = [o["data"]["text/html"] for c in code(stored) for o in c.outputs if 'class="lab ' in o.get("data", {}).get("text/html", "")]
    assert pages, "a chapter has at least one widget"
    found = [json.loads(re.search(r"json\">(.*?)</script>", page, re.S)[1]) for page in pages]
    frames = [frame for lab in found for row in lab["rows"].values() for frame in row]
    assert len(frames) <= 40
    starts = [re.search(r"base64,([^\"]+)", page)[1] for page in pages]
    assert sum(map(len, starts)) + sum(len(picture) for lab in found for picture in lab["pictures"]) <= 500_000
    assert all(frame["alt"] and frame["caption"] for frame in frames)


def test_only_embedded_data_were_used(source, stored):
    text = "".join(output.get("text", "") for cell in code(stored) for output in cell.outputs)
    loaded = re.findall(r"(\w+): [\d,]+ images \([^)]*\) from ", text)
    assert loaded or source not in CHAPTERS
    assert set(loaded) <= set(data.EMBEDDED), "stored outputs may show embedded images only"


def test_pictures_have_alternative_texts(stored):
    for cell in code(stored):
        for output in cell.outputs:
            data = output.get("data", {})
            assert not {"image/png", "image/jpeg", "image/svg+xml"} & set(data), "make figures by course_lib.plots"
            for tag in re.findall(r"<img[^>]*>", data.get("text/html", "")):
                assert re.search(r'alt="[^"]{20,}"', tag)


def test_at_most_a_third_of_the_visible_lines_is_code(source, stored):
    """Plotting, tables and bookkeeping are behind a toggle; prose counts in lines of 100 letters."""
    visible, prose, inside = 0, 0, False
    for cell in stored.cells:
        if cell.cell_type == "markdown":
            inside = "{solution-start}" in cell.source or (inside and "{solution-end}" not in cell.source)
            prose += 0 if inside else sum(len(textwrap.wrap(line, 100)) for line in cell.source.splitlines())
        elif not inside and not tags(cell) & {"hide-input", "hide-cell"}:
            visible += sum(bool(line.strip()) for line in cell.source.splitlines())
    assert visible <= (visible + prose) / 3, f"{visible} lines of code, {prose} of prose: hide-input"


def test_code_in_sight_is_at_most_100_columns_wide(stored):
    for cell in code(stored):
        shown = [cell.source] if not tags(cell) & {"hide-input", "hide-cell"} else []
        if "plots.source(" in cell.source:
            shown += [output["data"]["text/plain"] for output in cell.outputs if "text/latex" in output.get("data", {})]
        assert all(len(line) <= 100 for text in shown for line in text.splitlines()), cell.source


def test_what_is_hidden_on_the_site_is_hidden_in_jupyterlab(stored):
    for cell in code(stored):
        if tags(cell) & {"hide-input", "hide-cell"}:
            assert cell.metadata.get("jupyter", {}).get("source_hidden"), cell.source


def test_parts_of_a_chapter(chapter, stored):
    text = chapter.read_text(encoding="utf-8")
    assert any("claim" in tags(cell) for cell in code(stored))
    exercises = re.findall(r"```\{exercise\}", text)
    assert len(exercises) >= 3
    assert len(re.findall(r"```\{solution-start\}", text)) == len(re.findall(r"```\{solution-end\}", text)) == len(exercises)
    assert "\n## References\n" in text and "{cite:" in text.partition("\n## References\n")[2]
    for cell in code(stored):
        if tags(cell) & {"claim", "check"}:
            assert "assert" in cell.source.lower()


def test_solutions_are_hidden_in_jupyterlab(chapter, stored):
    inside = False
    for cell in stored.cells:
        if cell.cell_type == "markdown":
            inside = "{solution-start}" in cell.source or (inside and "{solution-end}" not in cell.source)
        elif inside:
            assert cell.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}


def test_claims_fail_without_training(source):
    """Run the page with training switched off: every assert of every claim must fail, and nothing else may."""
    made = execute.notebook(source)
    asserted = {}
    for cell in code(made):
        cell.metadata.setdefault("tags", []).append("raises-exception")
        if "claim" in tags(cell):
            cell.source, asserted[cell["id"]] = judged.judged(cell.source, cell["id"])
    assert asserted and all(asserted.values())
    made.cells.append(nbformat.v4.new_code_cell(judged.AFTER))
    execute.run(made, before=SABOTAGE + judged.BEFORE)
    said = (output["text"] for output in made.cells[-1].outputs if output.get("name") == "stdout")  # it may come in parts
    found = judged.verdicts("".join(said))
    ended = {cell["id"]: output.ename for cell in code(made) for output in cell.outputs if output.output_type == "error"}
    claims_failed = {cell for (cell, _), failed in found.items() if failed}  # what follows a failed assert may well be impossible
    others = [(error, cell.source) for cell in code(made) if (error := ended.get(cell["id"])) and cell["id"] not in claims_failed]
    assert not others, f"cells that fail without training, but not by an assert of a claim: {others}"
    unmoved = [text for cell, texts in asserted.items() for text in texts if not found.get((cell, text), cell in ended)]
    assert not unmoved, f"asserts of claims that hold without training: {unmoved}"


def test_each_assert_of_a_claim_is_judged():
    source = "for n in (1, 2):\n    assert n < 3, 'small'\n    assert n < 2\nassert n == 3\nif n > 5:\n    assert 0"
    changed, texts = judged.judged(source, "a")
    assert texts == ["n < 3", "n < 2", "n == 3", "0"]
    told = {}
    exec(judged.BEFORE + changed + "\ntold.update({key[1]: failed for key, failed in _Judge.found.items()})", {"told": told})
    assert told == {"n < 3": False, "n < 2": True, "n == 3": True}
    with pytest.raises(ZeroDivisionError):
        exec(judged.BEFORE + judged.judged("assert 1 / 0", "b")[0], {})


def test_figures_in_prose_have_a_source(source):
    table = figures_in_prose.FIGURES.get(source.stem, {})
    assert figures_in_prose.wrong(source.stem, source.read_text(encoding="utf-8"), table) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("It reaches 29.23 dB, and 3 dB more.", None),
        ("It reaches 29.32 dB, and 3 dB more.", "29.32 dB has no source"),
        ("It reaches 29.23 dB.", "3 dB is not in the text any more"),
        ("It reaches 29.23 dB, 3 dB more, and 97 % of them.", "97 % has no source"),
    ],
)
def test_a_figure_in_prose_without_a_source_is_found(text, fault):
    cell = "```{code-cell} ipython3\nassert gain > 3  # not 59.31 dB\n```\n"
    table = {"29.23 dB": 29.2345, "3 dB": figures_in_prose.Beside("gain > 3")}
    faults = figures_in_prose.wrong("page", cell + text, table)
    assert (fault is None and faults == []) or any(fault in found for found in faults)
    assert figures_in_prose.wrong("page", text, table), "what no cell asserts is found"
    altered = figures_in_prose.wrong("page", cell + text, {**table, "29.23 dB": 29.24})
    assert "29.23" not in text or any("its source has 29.24" in found for found in altered)
