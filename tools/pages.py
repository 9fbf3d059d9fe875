"""What the stored notebooks are made of, for the editions beside the site: students' notebooks, slides, figures.

A page is taken apart into pieces, in their order: prose, code, exercises and solutions. Whatever this file does not know is a
:class:`PageError` that names the cell: an edition without solutions must not guess where one ends.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_lib import project

BOOK = Path(__file__).resolve().parents[1] / "book"
FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,})(?:\{(?P<name>[^}]+)\}[ \t]*(?P<title>.*))?")
ROLE = re.compile(r"(?<!`)\{(?P<name>[a-z:]+)\}`(?P<text>[^`]+)`")
HIDDEN_DIRECTIVE = re.compile(r"^[ \t>*-]*(?:`{3,}|:{3,}|~{3,})[ \t]*\{(?:exercise|solution)", re.M)
FENCED = re.compile(r"(^```.*?^```)", re.M | re.S)
LINK = re.compile(r"\[(?P<words>[^\[\]]*)\]\((?P<page>[\w./-]+)(?P<anchor>#[\w-]+)?\)")
INLINE = re.compile(r"(`+[^`\n]+`+)")


class PageError(ValueError):
    """A page holds what no edition knows how to treat; the message names the page and the cell, and says what to do."""


@dataclass(frozen=True)
class Piece:
    """A part of a page."""

    kind: str  # "prose", "code", "exercise" or "solution"
    cell: int  # the number of its cell in the notebook, from 0
    text: str  # MyST, without the directive's own lines; the source of code
    label: str = ""  # of an exercise, or the exercise that a solution belongs to
    title: str = ""  # of an exercise
    node: dict | None = None  # the whole cell, of code
    tags: frozenset[str] = frozenset()  # of its cell


def names(book: Path = BOOK) -> list[str]:
    """Stems of all pages that are notebooks, in the order of the table of contents."""
    return re.findall(r"file: (\S+)\.ipynb", (book / "_toc.yml").read_text(encoding="utf-8"))


def chapters(book: Path = BOOK) -> list[str]:
    """The same, of the chapters only; the others are pages of results."""
    return [name for name in names(book) if name[:2].isdigit()]


def read(name: str, book: Path = BOOK) -> dict:
    """The stored notebook of a page.

    Raises:
        PageError: if it was not executed yet, or is damaged.
    """
    path = book / f"{name}.ipynb"
    if not path.is_file():
        raise PageError(f"{path} does not exist: make execute CHAPTER={name}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        whole = "metadata" in found and all("source" in cell for cell in found["cells"])
    except (ValueError, KeyError, TypeError) as wrong:
        raise PageError(f"{path} is no notebook ({type(wrong).__name__}: {wrong}): {project.restoring(path)}") from wrong
    if not whole:
        raise PageError(f"{path} is no notebook (without metadata, or with a cell without source): {project.restoring(path)}")
    return found


def source(cell: dict) -> str:
    """The text of a cell, which a notebook may store as lines."""
    return "".join(cell["source"])


def error(name: str, cell: int, what: str) -> PageError:
    """A fault of a page, with its place."""
    return PageError(f"{name}, cell {cell}: {what}")


def blocks(text: str) -> Iterator[tuple[str | None, str, str]]:
    """A markdown cell as ``(directive, title, text)``: the directives on its top level, and what lies between them as ``None``.

    Raises:
        ValueError: if a fence is not closed.
    """
    lines, between = iter(text.splitlines()), []
    for line in lines:
        opened = FENCE.match(line)
        if not opened:
            between.append(line)
            continue
        inside, mark = [], opened["fence"]
        for inner in lines:
            bare = inner.strip()
            if len(bare) >= len(mark) and set(bare) == {mark[0]}:
                break
            inside.append(inner)
        else:
            raise ValueError(f"{line!r} is not closed in its cell")
        if opened["name"] is None:
            between += [line, *inside, mark]
            continue
        if any(between):
            yield None, "", "\n".join(between).strip("\n")
        between = []
        yield opened["name"], (opened["title"] or "").strip(), "\n".join(inside).strip("\n")
    if any(between):
        yield None, "", "\n".join(between).strip("\n")


def options(text: str) -> tuple[dict[str, str], str]:
    """The ``:name: value`` lines at the beginning of a directive, and the rest."""
    found, lines = {}, text.splitlines()
    while lines and (line := re.match(r":([\w-]+):[ \t]*(.*)", lines[0])):
        found[line[1]] = line[2].strip()
        del lines[0]
    return found, "\n".join(lines).strip("\n")


def pieces(notebook: dict, name: str) -> list[Piece]:
    """Take a page apart.

    Raises:
        PageError: for a cell of an unknown kind, a directive of exercises or solutions other than those of the chapters, a
            solution within another, of no exercise, or without an end, an exercise without a label, and one without a solution.
    """
    found: list[Piece] = []
    open_solution = ""
    exercises: dict[str, int] = {}
    solved: set[str] = set()
    for number, cell in enumerate(notebook["cells"]):
        fail = functools.partial(error, name, number)
        tags = frozenset(cell["metadata"].get("tags", ()))
        if cell["cell_type"] == "code":
            found.append(Piece("solution" if open_solution else "code", number, source(cell), open_solution, node=cell, tags=tags))
            continue
        if cell["cell_type"] != "markdown":
            raise fail(f"a cell of type {cell['cell_type']!r}: chapters have markdown and code")
        try:
            parts = list(blocks(source(cell)))
        except ValueError as reason:
            raise fail(f"{reason}: close it there, so that one sees where it ends") from None
        for directive, title, text in parts:
            if directive == "solution-start":
                if open_solution:
                    raise fail(f"the solution of {title!r} begins within that of {open_solution!r}: end that one first")
                if title not in exercises:
                    raise fail(f"a solution of {title!r}, which is no exercise further up: {', '.join(exercises) or 'there is none'}")
                if title in solved:
                    raise fail(f"a second solution of {title!r}: one exercise has one answer cell, join the two")
                open_solution = title
                solved.add(title)
                found.append(Piece("solution", number, "", title))
            elif directive == "solution-end":
                if not open_solution:
                    raise fail("a solution ends that did not begin")
                open_solution = ""
            elif directive == "exercise":
                chosen, body = options(text)
                if open_solution:
                    raise fail(f"an exercise within the solution of {open_solution!r}, which has no {{solution-end}}")
                if not chosen.get("label"):
                    raise fail("an exercise without `:label:`, by which its solution is found")
                if HIDDEN_DIRECTIVE.search(body):
                    raise fail("an exercise or a solution inside an exercise")
                exercises[chosen["label"]] = number
                found.append(Piece("exercise", number, body, chosen["label"], title, tags=tags))
            elif directive and directive.startswith(("exercise", "solution")):
                raise fail(f"the directive {{{directive}}}: write {{exercise}}, {{solution-start}} and {{solution-end}}")
            else:
                if HIDDEN_DIRECTIVE.search(text):
                    raise fail("an exercise or a solution that is indented or inside another block: put it on the top level")
                whole = text if directive is None else f"````{{{directive}}} {title}\n{text}\n````"
                found.append(Piece("solution" if open_solution else "prose", number, whole, open_solution, tags=tags))
    if open_solution:
        raise error(name, number, f"the page ends within the solution of {open_solution!r}: {{solution-end}} is missing")
    for label, number in exercises.items():
        if label not in solved:
            raise error(name, number, f"the exercise {label!r} has no solution, so that nobody knows where its answer belongs")
    return found


@functools.cache
def exercise_numbers(book: Path = BOOK) -> dict[str, int]:
    """Label -> number of each exercise, counted through the whole book, as the site counts them."""
    labels = [piece.label for name in names(book) for piece in pieces(read(name, book), name) if piece.kind == "exercise"]
    return {label: number for number, label in enumerate(labels, 1)}


@functools.cache
def bibliography(book: Path = BOOK) -> dict[str, dict]:
    """Key -> ``{"authors": family names, "year", "text": one line of plain text}`` of each work in ``references.bib``."""
    from pybtex.backends.plaintext import Backend
    from pybtex.database import parse_file
    from pybtex.style.formatting.plain import Style

    entries = parse_file(str(book / "references.bib")).entries
    style, backend, found = Style(), Backend(), {}
    for key, entry in entries.items():
        people = entry.persons.get("author") or entry.persons.get("editor", [])
        [formatted] = style.format_entries([entry])
        found[key] = {
            "authors": [re.sub(r"[{}]", "", " ".join((*person.prelast_names, *person.last_names))) for person in people],
            "year": entry.fields.get("year", "n.d."),
            "text": " ".join(formatted.text.render(backend).split()),
        }
    return found


def author_year(key: str, textual: bool, book: Path = BOOK) -> str:
    """A citation in words: ``Lehtinen et al. (2018)``, or ``Lehtinen et al., 2018`` where it stands in brackets."""
    work = bibliography(book)[key]
    first, *others = work["authors"] or [key]
    who = first if not others else f"{first} and {others[0]}" if len(others) == 1 else f"{first} et al."
    return f"{who} ({work['year']})" if textual else f"{who}, {work['year']}"


def plain(text: str, name: str, cell: int, link=lambda page: f"{page}.ipynb") -> str:
    """MyST prose as Markdown that reads well without MyST: citations, references and boxes in words, links to other pages by ``link``.

    Raises:
        PageError: for a role or a directive that it does not know, or a work that is not in the bibliography.
    """

    def role(match: re.Match) -> str:
        words, _, target = match["text"].replace("\n", " ").partition(" <")
        target = target.rstrip(">")
        if match["name"] in ("cite:t", "cite:p", "cite"):
            keys = [key.strip() for key in match["text"].split(",")]
            if unknown := [key for key in keys if key not in bibliography()]:
                raise error(name, cell, f"{unknown[0]!r} is not in references.bib")
            textual = match["name"] == "cite:t"
            cited = [author_year(key, textual) for key in keys]
            return ", ".join(cited) if textual else f"({'; '.join(cited)})"
        if match["name"] in ("ref", "numref"):
            number = exercise_numbers().get(target or words)
            alone = not target or words.lower() == "exercise"
            return words if not number else f"Exercise {number}" if alone else f"{words} (Exercise {number})"
        if match["name"] == "doc":
            page = target or words
            return f"[{words}]({link(page)})" if page in names() else words
        if match["name"] in ("term", "abbr"):
            return words
        raise error(name, cell, f"the role {{{match['name']}}}: teach `plain` in tools/pages.py how it reads in words")

    def prose(text: str) -> str:
        """Roles in words and links to other pages, outside code."""

        def linked(match: re.Match) -> str:
            page = match["page"].removesuffix(".md").removesuffix(".ipynb")
            if page in names():
                return f"[{match['words']}]({link(page)}{match['anchor'] or ''})"
            return match["words"] if (BOOK / f"{page}.md").is_file() else match[0]  # a page of the website only

        made = []
        for number, part in enumerate(FENCED.split(text)):
            inner = [part] if number % 2 else INLINE.split(ROLE.sub(role, part))
            made += [
                piece if number % 2 or turn % 2 else LINK.sub(linked, piece)
                for turn, piece in enumerate(inner)
            ]
        return "".join(made)

    made = []
    for directive, title, inside in blocks(text):
        if directive is None or directive == "div":
            made.append(prose(options(inside)[1] if directive else inside))
        elif directive in ("admonition", "note", "tip", "warning", "important", "dropdown"):
            body = prose(options(inside)[1])
            made.append("\n".join(f"> {line}".rstrip() for line in (f"**{title or directive.capitalize()}**", "", *body.splitlines())))
        else:
            raise error(name, cell, f"the directive {{{directive}}}: teach `plain` in tools/pages.py how it reads in words")
    return "\n\n".join(made)


def cited(text: str) -> list[str]:
    """Keys of the works that a text cites, each once, in their order."""
    keys = [key.strip() for match in ROLE.finditer(text) if match["name"].startswith("cite") for key in match["text"].split(",")]
    return list(dict.fromkeys(keys))


def heading(text: str) -> tuple[int, str] | None:
    """Level and words of the heading that a text begins with, if it does."""
    found = re.match(r"(#{1,6}) +(.*)", text)
    return (len(found[1]), found[2].strip()) if found else None
