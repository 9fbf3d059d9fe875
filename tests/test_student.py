"""The students' edition: no solution leaks, each exercise has its answer cells, and what is left runs without the solutions."""

from __future__ import annotations

import json
import re
import zipfile

import nbformat
import pytest

import notebooks
import pages
import student
from student import downloads

CHAPTERS = [name for name in pages.names() if "{exercise}" in (pages.BOOK / f"{name}.md").read_text(encoding="utf-8")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The edition, written once."""
    made = tmp_path_factory.mktemp("edition") / "student"
    student.write(made, "")
    return made


def solutions(name: str) -> list[tuple[str, list[str]]]:
    """Label and lines of each solution, found by its directive in the text of the chapter; and the outputs of its cells."""
    text = (pages.BOOK / f"{name}.md").read_text(encoding="utf-8")
    found = re.findall(r"^```\{solution-start\} (\S+)\n(.*?)^```\{solution-end\}", text, re.M | re.S)
    return [(label, [line.strip() for line in body.splitlines()]) for label, body in found]


def outputs_of_solutions(name: str) -> list[str]:
    """What the cells of solutions printed and drew."""
    cells = [piece.node for piece in pages.pieces(pages.read(name), name) if piece.kind == "solution" and piece.node]
    outputs = [output for cell in cells for output in cell["outputs"]]
    return [line.strip() for o in outputs for line in "".join(o.get("text", "")).splitlines()] + [
        "".join(text) for o in outputs for kind, text in o.get("data", {}).items() if kind != "text/plain"
    ]


def all_text(notebook) -> str:
    """Everything that a notebook holds: sources, outputs, metadata."""
    cells = [*(pages.source(cell) for cell in notebook["cells"])]
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", ())]
    told = ["".join(o.get("text", "")) for o in outputs] + ["".join(t) for o in outputs for t in o.get("data", {}).values()]
    return "\n".join([*cells, *told, json.dumps([cell["metadata"] for cell in notebook["cells"]])])


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_solution_leaks(name, folder):
    """No line of a solution, be it words, code or output, unless the chapter or the library, which it shows, has the line as well."""
    edition = all_text(json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8")))
    whole = (pages.BOOK / f"{name}.md").read_text(encoding="utf-8")
    outside = re.sub(r"^```\{solution-start\}.*?^```\{solution-end\}", "", whole, flags=re.M | re.S)
    outside += "".join(path.read_text(encoding="utf-8") for path in (pages.BOOK.parent / "course_lib").rglob("*.py"))
    assert (found := solutions(name))
    for label, lines in found:
        own = [line for line in lines if len(line) > 12 and line not in outside and not line.startswith(("jupyter:", "```", ":class:"))]
        assert own, f"nothing of the solution of {label} can be told from the chapter"
        assert [line for line in own if line in edition or pages.plain(line, name, 0) in edition] == [], f"the solution of {label} leaks"
    elsewhere = all_text({"cells": [p.node for p in pages.pieces(pages.read(name), name) if p.kind == "code"]})
    assert [text[:80] for text in outputs_of_solutions(name) if len(text) > 12 and text not in elsewhere and text in edition] == []
    assert not re.search(r"\{(exercise|solution)[\w-]*\}", edition.replace("`{exercise}`", ""))


@pytest.mark.parametrize("name", CHAPTERS)
def test_each_exercise_has_its_answer_cells(name, folder):
    cells = nbformat.read(folder / f"{name}.ipynb", as_version=4).cells
    wanted = [pages.exercise_numbers()[label] for label, _ in solutions(name)]
    starts = {int(m[1]): i for i, cell in enumerate(cells) if (m := re.match(r"### Exercise (\d+): .+", cell.source))}
    assert list(starts) == wanted
    for number, following in zip(wanted, [*list(starts.values())[1:], len(cells)], strict=True):
        own = cells[starts[number] : following]
        [place] = [i for i, cell in enumerate(own) if "answer" in cell.metadata.get("tags", ())]
        assert own[place].cell_type == "code" and own[place].source == "" and own[place].outputs == []
        assert own[place - 1].source.startswith(f"**Your answer to Exercise {number}**")


@pytest.mark.parametrize("name", pages.names())
def test_the_rest_is_the_chapter(name, folder):
    """Valid, every other code cell with its outputs, and words that need no MyST."""
    made = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    nbformat.validate(made)
    kept = [piece.node["outputs"] for piece in pages.pieces(pages.read(name), name) if piece.kind == "code"]
    code = [cell for cell in json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert code[0]["id"] == downloads.ID
    assert [cell["outputs"] for cell in code[1:] if "answer" not in cell["metadata"].get("tags", ())] == kept
    for cell in made.cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"(?<!`)\{[a-z:]+\}`|^[`:]{3,}\{", cell.source, re.M), cell.source
            for target in re.findall(r"\]\(([\w.-]+\.ipynb)\)", cell.source):
                assert (folder / target).is_file()


def test_the_zip_is_the_folder(folder):
    with zipfile.ZipFile(folder.with_suffix(".zip")) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"student/{path.name}": path.read_bytes() for path in folder.iterdir()
        }


def test_numbers_of_exercises_are_those_of_the_site():
    page = pages.BOOK.parent / "_build" / "html" / "12_noise2noise.html"
    if not page.is_file():
        pytest.skip("the site is not built: run `make book`")
    found = re.findall(r'<div class="exercise admonition" id="([\w-]+)">.*?Exercise (\d+)', page.read_text(encoding="utf-8"), re.S)
    assert found and all(pages.exercise_numbers()[label] == int(number) for label, number in found)


def page(*cells) -> dict:
    """A notebook of markdown cells, and of code cells where a text begins with ``>>>``."""
    made = []
    for text in cells:
        code = text.startswith(">>>")
        cell = {"cell_type": "code" if code else "markdown", "metadata": {}, "source": text.removeprefix(">>>").strip()}
        made.append({**cell, "outputs": [], "execution_count": 1} if code else cell)
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


EXERCISE = "```{exercise} Title\n:label: ex-start-seed\n\nDo it.\n```"
START, END = "```{solution-start} ex-start-seed\n:class: dropdown\n```\n\nThe answer.", "```{solution-end}\n```"


@pytest.mark.parametrize(
    ("cells", "cell", "message"),
    [
        ([EXERCISE], 0, "has no solution"),
        ([EXERCISE, START], 1, "ends within the solution of 'ex-start-seed'"),
        ([EXERCISE, START, START], 2, "begins within"),
        ([EXERCISE, START + "\n" + END, START + "\n" + END], 2, "a second solution"),
        ([EXERCISE, START, EXERCISE], 2, "which has no {solution-end}"),
        ([START, END], 0, "no exercise further up"),
        ([EXERCISE, END], 1, "that did not begin"),
        (["```{exercise} Title\nDo it.\n```"], 0, "without `:label:`"),
        ([EXERCISE, "```{solution} ex-start-seed\nThe answer.\n```"], 1, "the directive {solution}"),
        ([EXERCISE, "- item\n  ```{solution-start} ex-start-seed\n  ```"], 1, "indented or inside"),
        ([EXERCISE, "````{note}\n```{solution} ex-start-seed\nThe answer.\n```\n````"], 1, "indented or inside"),
        ([EXERCISE, START.replace("```\n\nThe", "The")], 1, "is not closed"),
        ([EXERCISE, START, END, "```{figure} a.png\n```"], 3, "the directive {figure}"),
        ([EXERCISE, START, END, "See {eq}`one`."], 3, "the role {eq}"),
        ([EXERCISE, START, END, "See {cite:t}`nobody1900`."], 3, "'nobody1900' is not in references.bib"),
        ([EXERCISE, START, ">>> solved = 1", END, ">>> def f():\n    return solved"], 4, "uses 'solved', which only the solution"),
        ([EXERCISE, START, END, ">>> %matplotlib inline"], 3, "no plain Python"),
    ],
)
def test_an_unknown_structure_is_an_error_that_names_the_cell(cells, cell, message):
    with pytest.raises(pages.PageError, match=re.escape(message)) as caught:
        student.edition(page(*cells), "a_page", "")
    assert str(caught.value).startswith(f"a_page, cell {cell}: ")


def test_a_cell_of_another_kind_is_an_error():
    notebook = page(EXERCISE, START, END)
    notebook["cells"][1]["cell_type"] = "raw"
    with pytest.raises(pages.PageError, match="a_page, cell 1: a cell of type 'raw'"):
        student.edition(notebook, "a_page", "")


def test_what_stands_around_a_solution_in_its_cell_stays():
    made = student.edition(page("Before.\n\n" + EXERCISE + "\n\n" + START, ">>> solved = 1", END + "\n\n## After"), "a_page", "")
    words = [pages.source(cell) for cell in made["cells"] if cell["cell_type"] == "markdown"]
    assert words[0] == "Before." and words[1].endswith("Do it.") and words[3] == "## After"
    assert "The answer." not in "".join(words)
    assert "solved" not in json.dumps(made)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (":::{div} noise-panel told\nWords ([lab](noise_lab.md)).\n:::", "Words (lab)."),
        ("```{admonition} Title\n:class: tip\nWords.\n```", "> **Title**\n>\n> Words."),
        ("{doc}`the noise lab <noise_lab>`, {doc}`a chapter <08_dncnn>`", "the noise lab, [a chapter](08_dncnn.ipynb)"),
        ("[FFDNet](09_ffdnet.ipynb#training), [a site](https://example.org)", "[FFDNet](09_ffdnet.ipynb#training), [a site](https://example.org)"),
        ("{term}`probes <probe>`, {cite:p}`boracchi2025`", "probes, (Boracchi, 2025)"),
    ],
)
def test_words_in_place_of_myst(text, words):
    assert pages.plain(text, "a_page", 0) == words


def test_code_that_shows_myst_is_left_alone():
    text = "Write `{cite:t}` and\n\n```\n{cite:t}`x` [a](08_dncnn)\n```\n\nor [a](08_dncnn)."
    assert pages.plain(text, "a_page", 0) == text.replace("or [a](08_dncnn)", "or [a](08_dncnn.ipynb)")


@pytest.mark.parametrize("lost", ["notes.txt", "00_start_here.ipynb"])
def test_nothing_of_a_reader_is_deleted(tmp_path, lost):
    student.write(tmp_path / "student", "")
    path = tmp_path / "student" / lost
    if path.suffix == ".ipynb":
        notebook = json.loads(path.read_text(encoding="utf-8"))
        next(cell for cell in notebook["cells"] if "answer" in cell["metadata"].get("tags", ()))["source"] = "my answer"
        path.write_text(json.dumps(notebook))
    else:
        path.write_text("mine")
    kept = path.read_bytes()
    with pytest.raises(ValueError, match=lost):
        student.write(tmp_path / "student", "")
    assert path.read_bytes() == kept


def run_first_cell(url: str, monkeypatch, there: bool) -> list[list[str]]:
    """Run the cell that begins a notebook; returns the commands that it starts."""
    import importlib.util
    import subprocess
    import sys

    commands: list[list[str]] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if there else None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setattr(sys, "path", [*sys.path])
    exec(pages.source(downloads.first_cell(url)), {})
    return commands


def test_the_first_cell_installs_the_package_where_it_is_missing(monkeypatch):
    clone, install = run_first_cell("https://github.com/owner/name", monkeypatch, there=False)
    assert clone[:2] == ["git", "clone"] and "https://github.com/owner/name" in clone and clone[-1] == install[-1]
    assert run_first_cell("https://github.com/owner/name", monkeypatch, there=True) == []


def test_without_a_repository_the_first_cell_says_what_to_install(monkeypatch):
    with pytest.raises(ModuleNotFoundError, match=r"make install"):
        run_first_cell("", monkeypatch, there=False)
    assert run_first_cell("", monkeypatch, there=True) == []


@pytest.mark.parametrize("url", ["github.com/owner/name", "https://github.com", "https://github.com/a b/c", "file:///tmp"])
def test_an_address_that_is_none_is_an_error(url):
    with pytest.raises(ValueError, match="repository.url"):
        downloads.first_cell(url)


@pytest.mark.parametrize(
    ("url", "opens"),
    [
        ("https://github.com/owner/a.name", "owner/a.name"),
        ("https://github.com/owner/name.git", "owner/name"),
        ("https://github.com/owner/name/", "owner/name"),
        ("https://gitlab.com/owner/name", ""),
        ("", ""),
    ],
)
def test_colab_opens_what_is_on_github(url, opens):
    address = downloads.colab(url, "08_dncnn")
    assert address == (f"https://colab.research.google.com/github/{opens}/blob/notebooks/08_dncnn.ipynb" if opens else "")


def test_the_branch_for_colab_is_the_edition_and_nothing_else_changes(tmp_path):
    """One commit, whose notebooks get the package by themselves; written again it is one commit still."""
    repository, edition = tmp_path / "repository", tmp_path / "edition"
    repository.mkdir()
    edition.mkdir()
    for command in (("init", "-q", "-b", "main"), ("config", "user.name", "A"), ("config", "user.email", "a@example.org")):
        notebooks.git(repository, *command)
    (repository / "mine.txt").write_text("mine", encoding="utf-8")
    for text in ("first", "second"):
        (edition / "08_a.ipynb").write_text(json.dumps(downloads.ready(page(text), "https://github.com/o/n")), encoding="utf-8")
        notebooks.commit(edition, repository)
        assert notebooks.git(repository, "log", "--format=%s", notebooks.BRANCH).count("\n") == 0
        stored = json.loads(notebooks.git(repository, "show", f"{notebooks.BRANCH}:08_a.ipynb"))
        assert stored["cells"][0]["id"] == downloads.ID and stored["cells"][1]["source"] == text
    assert notebooks.git(repository, "status", "--porcelain") == "?? mine.txt"
    notebooks.git(repository, "checkout", "-q", notebooks.BRANCH)
    with pytest.raises(notebooks.GitError, match="is checked out"):
        notebooks.commit(edition, repository)
    with pytest.raises(notebooks.GitError, match="git worktree: fatal: not a git repository"):
        notebooks.commit(edition, tmp_path)


@pytest.mark.parametrize("url", ["", "https://gitlab.com/o/n"])
def test_without_github_there_is_no_branch_for_colab(url, monkeypatch, capsys):
    monkeypatch.setattr(downloads, "repository", lambda: url)
    monkeypatch.setattr(notebooks, "commit", lambda *_: pytest.fail("a branch was written"))
    assert notebooks.main() == 1
    assert "Set it to https://github.com/OWNER/NAME first" in capsys.readouterr().err


def test_the_first_cell_is_put_in_once():
    notebook = page("# Title")
    once = downloads.ready(notebook, "")
    assert len(once["cells"]) == 2 and downloads.ready(once, "") == once and len(notebook["cells"]) == 1


def test_notebooks_that_the_site_offers_begin_with_that_cell():
    sources = sorted((pages.BOOK.parent / "_build" / "html" / "_sources").glob("*.ipynb"))
    if not sources:
        pytest.skip("the site is not built: run `make book`")
    for path in sources:
        assert json.loads(path.read_text(encoding="utf-8"))["cells"][0]["id"] == downloads.ID, path.name
