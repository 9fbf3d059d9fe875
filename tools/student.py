"""The students' edition: every page as a notebook without solutions, with an answer cell at each exercise: ``make student``.

``_build/student`` gets the notebooks and a README, ``_build/student.zip`` the same as one file. They are made from the stored
notebooks of ``book/`` and read well without any extension of JupyterLab: citations and references are in words, exercises have the
numbers of the site. A notebook begins with a cell that gets the package, or says what to install.
"""

from __future__ import annotations

import argparse
import builtins
import json
import symtable
import sys
import tempfile
import zipfile
from pathlib import Path

import command
import pages

ROOT = pages.BOOK.parent
sys.path.append(str(pages.BOOK / "_sphinx"))
import downloads  # noqa: E402

README = """# {title}

The chapters without their solutions. Open one in JupyterLab, VS Code or Colab. Each exercise has a cell for your words and one for
your code; everything else is as in the book.

The notebooks need Python 3.11 to 3.13 and the package `course_lib`. Their first cell looks for it, and {how}.
Sliders compute once their cells were run.
"""
ANSWER = "**Your answer to Exercise {number}** (double-click to write; code goes into the cell below)"


def markdown(text: str, identifier: str) -> dict:
    """A cell of words."""
    return {"cell_type": "markdown", "id": identifier, "metadata": {}, "source": text.splitlines(keepends=True)}


def answer(number: int) -> list[dict]:
    """Where a student answers an exercise: in words, and in code."""
    code = {"cell_type": "code", "execution_count": None, "id": f"answer-code-{number}", "metadata": {"tags": ["answer"]}}
    return [markdown(ANSWER.format(number=number), f"answer-words-{number}"), {**code, "outputs": [], "source": []}]


def bound_and_used(code: str) -> tuple[set[str], set[str]]:
    """The names that code binds on its top level, and the global names that it uses anywhere; ``SyntaxError`` if it is not Python."""
    bound, used = set(), set()

    def look(table, top):
        for symbol in table.get_symbols():
            if top and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                bound.add(symbol.get_name())
            if symbol.is_referenced() and (top or symbol.is_global()):
                used.add(symbol.get_name())
        for inner in table.get_children():
            look(inner, False)

    look(symtable.symtable(code, "cell", "exec"), True)
    return bound, used


def check_that_it_runs(found: list[pages.Piece], name: str) -> None:
    """What is left must not need what only a solution defines.

    Raises:
        pages.PageError: with the cell that does, and the name that it would miss.
    """
    kept, in_solutions = set(dir(builtins)), {}
    for piece in found:
        if piece.node is None:
            continue
        try:
            bound, used = bound_and_used(piece.text)
        except SyntaxError as reason:
            raise pages.error(name, piece.cell, f"its code is no plain Python ({reason.msg}), so that nobody knows what it needs") from None
        if piece.kind == "solution":
            in_solutions |= dict.fromkeys(bound, piece.label)
            continue
        for missing in sorted(used - kept - bound & in_solutions.keys()):
            raise pages.error(name, piece.cell, f"uses {missing!r}, which only the solution of {in_solutions[missing]!r} defines")
        kept |= bound


def edition(notebook: dict, name: str, url: str) -> dict:
    """A page for students.

    Raises:
        pages.PageError: for what :func:`pages.pieces` and :func:`pages.plain` do not know, and where a cell needs a solution.
    """
    found = pages.pieces(notebook, name)
    check_that_it_runs(found, name)
    cells, answered, works = [], set(), []
    for number, piece in enumerate(found):
        if piece.kind == "code":
            cells.append(piece.node)
        elif piece.kind == "prose":
            works += pages.cited(piece.text)
            cells.append(markdown(pages.plain(piece.text, name, piece.cell), f"prose-{number}"))
        elif piece.kind == "exercise":
            works += pages.cited(piece.text)
            title = f"### Exercise {pages.exercise_numbers()[piece.label]}: {piece.title}"
            cells.append(markdown(f"{title}\n\n{pages.plain(piece.text, name, piece.cell)}", f"exercise-{number}"))
        elif piece.label not in answered:
            answered.add(piece.label)
            cells += answer(pages.exercise_numbers()[piece.label])
    if works:
        listed = "\n".join(f"- {pages.bibliography()[key]['text']}" for key in dict.fromkeys(works))
        cells.append(markdown(f"**Works cited**\n\n{listed}", "works-cited"))
    metadata = {key: value for key, value in notebook["metadata"].items() if key in ("kernelspec", "language_info")}
    made = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": max(5, notebook["nbformat_minor"])}
    return downloads.ready(made, url)


def check_that_nothing_is_lost(folder: Path) -> None:
    """A folder is replaced only if it holds an edition that nobody wrote into.

    Raises:
        ValueError: with the file that would be lost.
    """
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.name != "README.md" and path.suffix != ".ipynb":
            raise ValueError(f"{folder} holds {path.name}, which is no part of an edition and would be deleted: name another folder")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.suffix == ".ipynb" else ()
        if any("answer" in cell["metadata"].get("tags", ()) and pages.source(cell).strip() for cell in cells):
            raise ValueError(f"{path} has an answer, which would be lost: move it elsewhere, or name another folder")


def write(folder: Path, url: str) -> list[Path]:
    """Write the edition into ``folder``, in the place of an older one, and all of it into a zip beside it; returns the notebooks.

    Nothing is written before every page was made: a page that cannot be leaves the edition that was there.

    Raises:
        pages.PageError: as :func:`edition`.
        ValueError: as :func:`check_that_nothing_is_lost`.
    """
    made = {name: edition(pages.read(name), name, url) for name in pages.names()}
    check_that_nothing_is_lost(folder)
    how = "fetches it where it is missing" if url else "says what to install where it is missing"
    contents = {f"{name}.ipynb": downloads.text(notebook) for name, notebook in made.items()}
    contents["README.md"] = README.format(title="Departing from Supervised Learning", how=how)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as unfinished:  # a full disk leaves the old edition
        beside, packed = Path(unfinished) / folder.name, Path(unfinished) / "packed.zip"
        beside.mkdir()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in sorted(contents.items()):
                (beside / name).write_text(text, encoding="utf-8")
                archive.write(beside / name, f"{folder.name}/{name}")
        if folder.exists():
            folder.rename(Path(unfinished) / "older")
        beside.rename(folder)
        packed.replace(folder.with_suffix(".zip"))
    return [folder / f"{name}.ipynb" for name in made]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--folder", type=Path, default=ROOT / "_build" / "student", help="where to; an older edition there is replaced")
    chosen = options.parse_args()
    try:
        written = write(chosen.folder, downloads.repository())
    except ValueError as reason:
        print(reason, file=sys.stderr)
        return 1
    print(f"{len(written)} notebooks without solutions in {chosen.folder}, and in {chosen.folder.with_suffix('.zip').name} beside it")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
