"""A slide view of every page, one HTML file a page that opens offline: ``make slides``.

``_build/slides/NAME.html`` carries all it needs: style, script, pictures, the renderer of formulas. What becomes a slide follows
from the structure of a stored notebook: the title with the first paragraph; each section's first paragraph, formulas, lists and
tables; each figure, table and slider that a cell has as output; each function that a cell shows by ``plots.source``; the list of
exercises. All other words are notes, which the key N shows. Solutions are left out. Two tags of a cell say otherwise: ``no-slide``
leaves its slides out, ``slide`` takes all of its words, its code where it is in sight, and what it printed.
"""

from __future__ import annotations

import argparse
import base64
import functools
import html
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import command
import pages

ROOT = pages.BOOK.parent
DECK = Path(__file__).resolve().parent / "deck"
KATEX = pages.BOOK / "extra" / "katex"  # that of the site
FULL = 12.5  # lines of the largest letters that a slide holds
ROWS = 8  # of a table on one slide; a longer one goes on on the next, with its head
FEW = 3.7  # lines that leave room for a picture below them
LETTERS = 68  # of a line
LED = ("list", "formula", "table")  # what a short paragraph leads into
UNTAUGHT = ("References",)  # sections without slides

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style></head>
<body><main id="stage">
{slides}
<div id="bar"><span>{title}</span><button id="back" aria-label="previous slide">‹</button><span id="number" aria-live="polite"></span>
<button id="on" aria-label="next slide">›</button></div>
</main>
{scripts}
</body></html>
"""
INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Slides</title>
<style>body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}</style></head>
<body><h1>Slides</h1>
<p>Arrow keys, the space bar and the Page keys turn the slides. Click a slider to move it, by its arrow keys too; Page down or
Escape leaves it. N shows the notes. Printing gives a page a slide, with each slider as its first picture. Each file is complete
in itself.</p>
<ol start="0">{entries}</ol></body></html>
"""


@dataclass
class Slide:
    """What one slide shows, as HTML."""

    title: str
    body: list[str] = field(default_factory=list)
    kind: str = "words"  # or "title", "pictures"
    notes: list[str] = field(default_factory=list)
    lines: float = 0.0  # how full it is; FULL where nothing may follow


@functools.cache
def renderer():
    """Markdown with tables and formulas, as HTML; formulas are left to KaTeX."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.amsmath import amsmath_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def formula(content, options):
        left, right = ("\\[", "\\]") if options["display_mode"] else ("\\(", "\\)")
        return f'<span class="math">{left}{html.escape(content.strip(), quote=False)}{right}</span>'

    made = MarkdownIt("commonmark").enable("table")
    made.use(dollarmath_plugin, renderer=formula)
    return made.use(amsmath_plugin, renderer=lambda content: formula(content, {"display_mode": True}))


def as_html(markdown: str) -> str:
    """Words as HTML."""
    return renderer().render(markdown)


def inline(markdown: str) -> str:
    """Words of one line, as HTML without a paragraph around them."""
    return renderer().renderInline(markdown)


def parts(markdown: str) -> Iterator[tuple[str, str]]:
    """The blocks of a text as ``(kind, Markdown)``; kinds are heading, paragraph, list, table, formula, quote and code."""
    kinds = {
        "heading_open": "heading", "paragraph_open": "paragraph", "bullet_list_open": "list", "ordered_list_open": "list",
        "table_open": "table", "math_block": "formula", "amsmath": "formula", "blockquote_open": "quote", "fence": "code",
    }  # fmt: skip
    lines = markdown.splitlines()
    for token in renderer().parse(markdown):
        if token.level == 0 and token.type in kinds:
            yield kinds[token.type], "\n".join(lines[slice(*token.map)])


def weight(kind: str, markdown: str) -> float:
    """How many lines a block takes on a slide, roughly."""
    if kind == "formula":
        return 1.6 + 1.2 * markdown.count(r"\\")
    rows = [row for row in markdown.splitlines() if not re.fullmatch(r"[|: -]+", row)]
    if kind == "table":
        return 1.35 * len(rows)
    if kind == "list":
        items = re.split(r"^(?:[-*]|\d+\.) ", markdown, flags=re.M)[1:]
        return sum(0.25 + -(-len(" ".join(item.split())) // LETTERS) for item in items)
    return 0.6 + -(-len(" ".join(rows)) // LETTERS)


def tables(markdown: str) -> list[str]:
    """A table in pieces of at most ``ROWS`` rows of about equal number, each with the head; other words as they are."""
    head, rows = markdown.splitlines()[:2], markdown.splitlines()[2:]
    if len(rows) <= ROWS or not re.fullmatch(r"[|: -]+", head[1]) or not all(row.startswith("|") for row in rows):
        return [markdown]
    count = -(-len(rows) // ROWS)
    cuts = [round(i * len(rows) / count) for i in range(count + 1)]
    return ["\n".join([*head, *rows[begin:end]]) for begin, end in zip(cuts, cuts[1:], strict=False)]


def outputs(cell: dict) -> Iterator[tuple[str, str]]:
    """What a cell shows, as ``(kind, HTML)``; kinds are lab, figure, source, table and printed."""
    for output in cell["outputs"]:
        shown = {kind: "".join(text) for kind, text in output.get("data", {}).items() if isinstance(text, (str, list))}
        page = shown.get("text/html", "")
        if 'class="lab ' in page:
            yield "lab", page
        elif "text/latex" in shown:  # plots.source
            yield "source", f'<div class="output_html">{page}</div>'
        elif "<img" in page:
            yield "figure", re.sub(r"<img ", '<img class="figure" ', re.sub(r' style="max-width:100%;height:auto"', "", page))
        elif page:
            yield "table", page
        elif "text/markdown" in shown:
            for piece in tables(shown["text/markdown"].strip()):
                yield "table", as_html(piece)
        elif printed := shown.get("text/plain") or "".join(output.get("text", "")):
            yield "printed", f"<pre>{html.escape(printed)}</pre>"


class Deck:
    """Slides of a page, as they are made."""

    def __init__(self, name: str):
        self.name, self.slides, self.section, self.title = name, [], "", ""
        self.opened = False  # is the first paragraph of the section on a slide?

    def words(self, kind: str, markdown: str) -> None:
        """Put a block onto the slide of its section, or onto a further one where that is full."""
        lines, last = weight(kind, markdown), self.slides[-1] if self.slides else None
        if last is None or last.kind != "words" or last.title != self.section or (last.body and last.lines + lines > FULL):
            self.slides.append(last := Slide(self.section))
        last.body.append(as_html(markdown))
        last.lines += lines

    def note(self, markdown: str) -> None:
        """Add words for the speaker to the last slide."""
        if self.slides:
            self.slides[-1].notes.append(as_html(markdown))

    def shown(self, kind: str, page: str) -> None:
        """A slide for what a cell shows; where the words before it are few, or a table is short, one slide has both."""
        last = self.slides[-1] if self.slides else None
        open_ = last is not None and last.kind == "words" and last.title == self.section
        pictures, lines = kind in ("lab", "figure"), FULL if kind == "source" else 1.35 * page.count("<tr")
        if not open_ or (last.lines > FEW if pictures else last.lines + lines > FULL):
            self.slides.append(last := Slide(self.section))
        last.body.append(page)
        last.kind = "pictures" if pictures else "words"
        last.lines += lines

    def code(self, piece: pages.Piece) -> None:
        """What a cell shows: figures, tables and sliders always, its code and what it printed where it is tagged so."""
        whole = "slide" in piece.tags
        if whole and not piece.tags & {"hide-input", "hide-cell"}:
            self.shown("source", f"<pre>{html.escape(piece.text)}</pre>")
        for kind, page in outputs(piece.node):
            if kind != "printed" or whole:
                self.shown(kind, page)

    def prose(self, piece: pages.Piece) -> None:
        """Words of a cell: on slides, or as notes; errors as :func:`slides_of`."""
        blocks = list(parts(pages.plain(piece.text, self.name, piece.cell, link=lambda page: f"{page}.html")))
        for (kind, markdown), (after, _) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
            if kind == "heading":
                level, self.section = pages.heading(markdown)
                self.opened = False
                if level == 1:
                    self.title = self.section
                continue
            if self.section in UNTAUGHT:
                continue
            if not self.title:
                raise pages.error(self.name, piece.cell, "words before the title: a page begins with `# Title`")
            leads = after in LED and weight(kind, markdown) < FEW  # into what comes next, which would be no sentence without it
            if not self.slides:
                self.slides.append(Slide(self.title, [as_html(markdown)], "title"))
            elif kind == "paragraph" and self.opened and not leads and "slide" not in piece.tags:
                self.note(markdown)
                continue
            else:
                for part in tables(markdown) if kind == "table" else (markdown,):
                    self.words(kind, part)
            self.opened = self.opened or kind == "paragraph"


def slides_of(notebook: dict, name: str) -> list[Slide]:
    """The slides of a page.

    Raises:
        pages.PageError: as :func:`pages.pieces` and :func:`pages.plain`, and for a page without a title.
    """
    deck, exercises = Deck(name), []
    for piece in pages.pieces(notebook, name):
        if piece.kind == "exercise":
            exercises.append(f"**Exercise {pages.exercise_numbers()[piece.label]}** {piece.title}")
        if "no-slide" in piece.tags:
            continue
        if piece.kind == "prose":
            deck.prose(piece)
        elif piece.kind == "code" and deck.section not in UNTAUGHT:
            deck.code(piece)
    if not deck.slides:
        raise pages.error(name, 0, "nothing on this page becomes a slide")
    if exercises:
        deck.section = "Exercises"
        deck.words("list", "\n".join(f"- {line}" for line in exercises))
    return deck.slides


def script(code: str) -> str:
    """A script that stands in a page.

    Raises:
        ValueError: if it would end there before its time.
    """
    if "</script" in code:
        raise ValueError("a script that contains </script cannot stand in a page")
    return f"<script>{code}</script>"


def with_fonts(style: str) -> str:
    """The style of KaTeX with its fonts inside, since a deck is one file."""

    def inside(found: re.Match) -> str:
        font = base64.b64encode((KATEX / found[1]).read_bytes()).decode()
        return f"url(data:font/woff2;base64,{font})"

    return re.sub(r"url\((fonts/[\w-]+\.woff2)\)", inside, style)


def drawn(number: int, slide: Slide) -> str:
    """One slide as HTML."""
    head = f"<h1>{inline(slide.title)}</h1>" if slide.kind == "title" else ""
    above = "" if slide.kind == "title" else f"<h2>{inline(slide.title)}</h2>"
    notes = f'<aside class="notes">{"".join(slide.notes)}</aside>' if slide.notes else ""
    return (
        f'<section class="slide {slide.kind}" data-number="{number}" aria-label="slide {number}">{above}'
        f'<div class="body {slide.kind}">{head}{"".join(slide.body)}</div>{notes}</section>'
    )


def deck(notebook: dict, name: str) -> str:
    """A page as one HTML file; errors as :func:`slides_of`."""
    found = slides_of(notebook, name)
    body = "\n".join(drawn(number, slide) for number, slide in enumerate(found, 1))
    read = functools.partial(Path.read_text, encoding="utf-8")
    scripts = [script(read(pages.BOOK / "_static" / "lab.js")), script(read(DECK / "deck.js"))]
    style = read(pages.BOOK / "_static" / "course.css") + read(DECK / "deck.css")
    if 'class="math"' in body:
        scripts = [script(read(KATEX / name)) for name in ("katex.min.js", "formulas.js")] + scripts
        style = with_fonts(read(KATEX / "katex.min.css")) + style
    title = html.escape(re.sub(r"[$*`]", "", found[0].title), quote=False)
    return PAGE.format(title=title, style=style, slides=body, scripts="\n".join(scripts))


def write(folder: Path, chosen: list[str]) -> dict[str, int]:
    """Write decks into ``folder``, and an index of all that there are; returns their numbers of slides.

    Raises:
        pages.PageError: as :func:`slides_of`; nothing is written then.
    """
    made = {name: deck(pages.read(name), name) for name in chosen}
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in made.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    there = [name for name in pages.names() if (folder / f"{name}.html").is_file()]
    titles = {name: pages.heading(pages.source(pages.read(name)["cells"][0]))[1] for name in there}
    entries = "\n".join(f'<li><a href="{name}.html">{inline(title)}</a></li>' for name, title in titles.items())
    (folder / "index.html").write_text(INDEX.format(entries=entries), encoding="utf-8")
    return {name: page.count('<section class="slide ') for name, page in made.items()}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("pages", nargs="*", help="such as 08_dncnn; all of them if none is named")
    options.add_argument("--folder", type=Path, default=ROOT / "_build" / "slides", help="where to")
    chosen = options.parse_args()
    if unknown := [name for name in chosen.pages if name not in pages.names()]:
        print(f"no page {unknown[0]!r}; there are {', '.join(pages.names())}", file=sys.stderr)
        return 1
    try:
        counts = write(chosen.folder, chosen.pages or pages.names())
    except ValueError as reason:
        print(reason, file=sys.stderr)
        return 1
    print(f"{sum(counts.values())} slides in {len(counts)} files: open {chosen.folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
