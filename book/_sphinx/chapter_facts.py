"""For each page that is a notebook: what a reader wants to know before it: run time, what it builds on, its data, and its downloads.

Nothing of it is typed here. The run time and the data are those of the run whose outputs the page shows: ``tools/execute.py`` stores the
one, and ``data.load`` prints a line about each data set. What comes before is what ``book/lecturers.md`` says. A wide window has the facts
above the table of contents, beside the title, where they take no room; a narrow one below the title.
"""

from __future__ import annotations

import html
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import downloads

ROOT = Path(__file__).resolve().parents[2]
BEFORE = re.compile(r"Before: (?P<what>[^{}\n]+)\. \{doc\}`(?P<page>\w+)`")
CHAPTERS = re.compile(r"\bchapters? \d+(?:(?:, | and | to )\d+)*")
LOADED = re.compile(r"^(?P<name>\w+): \d+ images? \([^)]*\) from (?P<source>.+)$", re.M)
STUDENT = "student"  # the folder of the site that has the edition without solutions
ABOUT_DATA = "api/ground_floor.html#course_lib.data.load"


class FactsError(ValueError):
    """A page lacks a fact, or one contradicts the book; the message says which, and what to do."""


@dataclass(frozen=True)
class Facts:
    """What is known of a page."""

    seconds: int
    data: dict[str, list[str]]  # the sources by name, in the order in which they were loaded
    before: str  # plain words; empty for a page of results


def prerequisites(text: str) -> dict[str, str]:
    """What each page builds on, by its name, as the lecturers' page says it: ``Before: chapter 8; least squares. {doc}`09_ffdnet```."""
    return {match["page"]: match["what"] for match in BEFORE.finditer(text)}


def facts(name: str, notebook: dict, before: str) -> Facts:
    """The facts of a page, from its stored notebook.

    Raises:
        FactsError: if the notebook has no record of its run.
    """
    seconds = notebook["metadata"].get("course", {}).get("seconds")
    if not isinstance(seconds, int | float) or seconds <= 0:
        raise FactsError(f"{name}.ipynb does not say how long it ran ({seconds!r}): make execute CHAPTER={name}")
    data: dict[str, list[str]] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            for match in LOADED.finditer("".join(output.get("text", ""))):
                sources = data.setdefault(match["name"], [])
                if match["source"] not in sources:
                    sources.append(match["source"])
    return Facts(round(seconds), data, before)


def duration(seconds: int) -> str:
    """In words: seconds below two minutes, else minutes, to the half."""
    if seconds < 120:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    halves = round(seconds / 30)
    return f"{halves // 2}{'½' if halves % 2 else ''} minutes"


def linked(before: str, addresses: dict[int, tuple[str, str]]) -> str:
    """The prerequisites as HTML, the numbers of chapters being links.

    Args:
        before: plain words.
        addresses: of each chapter, by its number: the address of its page, and its title.

    Raises:
        FactsError: if a chapter is named that there is not.
    """

    def link(match: re.Match) -> str:
        number = int(match[0])
        if number not in addresses:
            raise FactsError(f"{before!r} names chapter {number}, which is not in book/_toc.yml: alter book/lecturers.md.")
        address, title = addresses[number]
        label = html.escape(f"chapter {number}, {title}", quote=True)
        return f'<a href="{address}" aria-label="{label}" title="{html.escape(title, quote=True)}">{number}</a>'

    return CHAPTERS.sub(lambda match: re.sub(r"\d+", link, match[0]), html.escape(before))


def shown(found: Facts, name: str, root: str, addresses: dict[int, tuple[str, str]], url: str = "") -> str:
    """The facts as an HTML list of terms; ``root`` is how the page names the folder of the site, and ``url`` names the repository."""
    terms = [("Run time", f'<span title="of the run whose outputs this page shows">{duration(found.seconds)}</span>')]
    if found.before:
        terms.append(("Before", linked(found.before, addresses)))
    if found.data:
        named = (
            f'<a href="{root}{ABOUT_DATA}" title="{html.escape("; ".join(sources), quote=True)}">{key.replace("_", " ")}</a>'
            for key, sources in found.data.items()
        )
        terms.append(("Data", ", ".join(named)))
    links = [
        f'<a href="{root}_sources/{name}.ipynb" download>notebook</a>',
        f'<a href="{root}{STUDENT}/{name}.ipynb" download="{name}_student.ipynb">without solutions</a>',
    ]
    terms.append(("Download", ", ".join(links)))
    if address := downloads.colab(url, name):
        terms.append(("Run", f'<a href="{html.escape(address, quote=True)}">in Colab, without solutions</a>'))
    return "<dl>" + "".join(f"<div><dt>{term}</dt> <dd>{words}</dd></div>" for term, words in terms) + "</dl>"


def beneath_title(body: str, name: str, facts_of_page: str) -> str:
    """The body of a page with its facts below the title.

    Raises:
        FactsError: if the page has no title.
    """
    if "</h1>" not in body:
        raise FactsError(f"{name} has no title, below which its facts would stand: begin it with `# …`.")
    return body.replace("</h1>", f'</h1>\n<div class="chapter-facts chapter-facts-narrow">{facts_of_page}</div>', 1)


def setup(app):
    from sphinx.util import logging

    book = ROOT / "book"

    def titles() -> dict[int, tuple[str, str]]:
        names = re.findall(r"file: ((\d\d)_\w+)\.ipynb", (book / "_toc.yml").read_text(encoding="utf-8"))
        return {int(number): (f"{name}.html", app.env.titles[name].astext()) for name, number in names if name in app.env.titles}

    def add(app, page, template, context, doctree):
        path = book / f"{page}.ipynb"
        if app.builder.name != "html" or doctree is None or not path.is_file():
            return
        before = prerequisites((book / "lecturers.md").read_text(encoding="utf-8")).get(page, "")
        if page[:2].isdigit() and not before:
            logging.getLogger(__name__).warning("book/lecturers.md does not say what comes before %s: `Before: …. {doc}`%s``", page, page)
        found = facts(page, json.loads(path.read_text(encoding="utf-8")), before)
        made = shown(found, page, "./", titles(), downloads.repository())
        context["chapter_facts"] = made
        context["body"] = beneath_title(context["body"], page, made)

    def with_templates(app, config):
        config.templates_path.append(str(Path(__file__).parent / "templates"))

    def editions(app, exception):
        """The edition for students, of each page, once all is written."""
        if exception or app.builder.name != "html":
            return
        sys.path.append(str(ROOT / "tools"))
        import pages
        import student

        folder = Path(app.outdir) / STUDENT
        folder.mkdir(exist_ok=True)
        for name in pages.names():
            downloads.save(folder / f"{name}.ipynb", student.edition(pages.read(name), name, downloads.repository()))

    app.connect("config-inited", with_templates)
    app.connect("html-page-context", add)
    app.connect("build-finished", editions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
