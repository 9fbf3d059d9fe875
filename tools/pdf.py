"""The whole book as one PDF: ``make pdf`` prints the built site by Chromium or Chrome.

The pages of ``_build/html`` become one document: title, contents with page numbers, the chapters part by part, formulas, glossary,
bibliography, and an appendix with the solutions. Sliders stand as their first picture, code that a page hides is left out. Outline
and links work. Left out are what only a browser can run (the labs and the quiz), the lecturers' page, and the pages of the library.
Chapters are printed as the site has them: ``make book`` comes first.
"""

from __future__ import annotations

import argparse
import html
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
STYLE = Path(__file__).resolve().parent / "print.css"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
LEFT_OUT = ("index", "noise_lab", "gallery_lab", "lecturers", "quiz")
PATIENCE = 600_000  # milliseconds for the formulas of the whole book, and for printing it
FOOT = '<div style="font: 8px sans-serif; width: 100%; text-align: center; color: #555"><span class="pageNumber"></span></div>'


class PrintError(RuntimeError):
    """Something that printing needs is missing; the message says what to do."""


@dataclass(frozen=True)
class Part:
    """A part of the book: its caption, and the names of its pages."""

    caption: str
    pages: tuple[str, ...]


def parts(book: Path = ROOT / "book") -> list[Part]:
    """The parts of the table of contents, without what cannot be printed."""
    import yaml

    contents = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    found = []
    for part in contents["parts"]:
        names = [str(Path(chapter["file"]).with_suffix("")) for chapter in part["chapters"]]
        printed = tuple(name for name in names if name not in LEFT_OUT and not name.startswith("api/"))
        found.append(Part(part.get("caption", "Before we begin"), printed))
    return found


def article(site: Path, name: str, printed: Sequence[str]):
    """The text of a page, ready to stand among those of others; returns it and its solutions, as trees of Beautiful Soup.

    Raises:
        PrintError: if the page was not built.
    """
    from bs4 import BeautifulSoup

    path = site / f"{name}.html"
    if not path.is_file():
        raise PrintError(f"{path} does not exist: run `make book` first")
    found = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").find("article", class_="bd-article")
    if found is None:
        raise PrintError(f"{path} has no article: it was built by another theme, or is damaged; run `make book`")
    for gone in found.select("script, a.headerlink, button, details.hide, .lab-run, .noise-lab-shown, .chapter-facts"):
        gone.decompose()
    for element in found.find_all(id=True):
        element["id"] = f"{name}--{element['id']}"
    for link in found.find_all("a", href=True):
        page, _, anchor = link["href"].partition("#")
        target = page.removesuffix(".html") or name
        if target in printed:
            link["href"] = f"#{target}--{anchor}" if anchor else f"#{target}"
        elif not page.startswith(("http:", "https:", "mailto:")):
            link.unwrap()  # a page that is not printed
    for picture in found.find_all("img", src=True):
        if not picture["src"].startswith("data:"):
            picture["src"] = (path.parent / picture["src"]).resolve().as_uri()
    for level in (5, 4, 3, 2, 1):  # a chapter is in a part
        for heading in found.find_all(f"h{level}"):
            heading.name = f"h{level + 1}"
    return found, [solution.extract() for solution in found.select("div.solution")]


def entry(target: str, title: str) -> str:
    """A line of the contents, whose page number comes with printing."""
    words = html.escape(title)
    return f'<li class="entry"><a href="#{target}">{words}</a> <span class="number" data-title="{words}"></span></li>'


def compose(site: Path, wanted: Sequence[Part], title: str, author: str) -> str:
    """All pages as one HTML document; errors as :func:`article`."""
    printed = [name for part in wanted for name in part.pages]
    body, contents, solutions = [], [], []
    for part in wanted:
        entries = []
        for number, name in enumerate(part.pages):
            text, solved = article(site, name, printed)
            heading = text.find("h2").get_text().strip()
            caption = f'<h1 class="part">{html.escape(part.caption)}</h1>' if number == 0 else ""
            body.append(f'<section class="page" id="{name}">{caption}{text.decode_contents()}</section>')
            entries.append(entry(name, heading))
            if solved:
                solutions.append(f"<h2>Solutions: {html.escape(heading)}</h2>{''.join(map(str, solved))}")
        contents.append(f"<li>{html.escape(part.caption)}<ul>{''.join(entries)}</ul></li>")
    if solutions:
        body.append(f'<section class="page" id="solutions"><h1 class="part">Solutions</h1>{"".join(solutions)}</section>')
        contents.append(entry("solutions", "Solutions"))
    styles = [(site / "_static" / "pygments.css").read_text(encoding="utf-8"), STYLE.read_text(encoding="utf-8")]
    katex = (site / "katex").resolve().as_uri()
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{"".join(styles)}</style>
<link rel="stylesheet" href="{katex}/katex.min.css">
<script defer src="{katex}/katex.min.js"></script><script defer src="{katex}/formulas.js"></script></head>
<body><section class="front"><p class="title">{html.escape(title)}</p><p>{html.escape(author)}</p>
<p>Text CC BY 4.0, code MIT. Sliders stand as their first picture, code that the website hides is left out.</p></section>
<nav><p class="contents">Contents</p><ul>{"".join(contents)}</ul></nav>
{"".join(body)}</body></html>"""


def browser() -> str:
    """The program that prints: ``COURSE_BROWSER``, or the first of the usual names.

    Raises:
        PrintError: if there is none.
    """
    chosen = os.environ.get("COURSE_BROWSER")
    for name in (chosen,) if chosen else BROWSERS:
        if found := shutil.which(name):
            return found
    wanted = f"COURSE_BROWSER = {chosen} is no program" if chosen else f"there is no {', '.join(BROWSERS)}"
    raise PrintError(f"{wanted}: install Chromium or Chrome, or set COURSE_BROWSER to one")


def outline(pdf: Path) -> list[tuple[int, str, int]]:
    """The outline of a PDF as ``(depth, title, page)``, depth from 0 and pages from 1."""
    from pypdf import PdfReader

    reader = PdfReader(pdf)

    def walk(items, depth):
        for item in items:
            if isinstance(item, list):
                yield from walk(item, depth + 1)
            else:
                yield depth, " ".join(item.title.split()), reader.get_destination_page_number(item) + 1

    return list(walk(reader.outline, 0))


def write(text: str, pdf: Path, playwright_browser=None) -> int:
    """Print an HTML document, twice: the second time the contents have page numbers. Returns the number of pages.

    Raises:
        PrintError: if there is no browser, or Playwright is not installed.
    """
    if playwright_browser is None:
        try:
            from playwright.sync_api import sync_playwright
        except ImportError:
            raise PrintError("playwright is not installed: make install, or pip install 'course-lib[test]'") from None
        with sync_playwright() as playwright:
            started = playwright.chromium.launch(executable_path=browser(), args=("--no-sandbox", "--disable-gpu"))
            try:
                return write(text, pdf, started)
            finally:
                started.close()
    from pypdf import PdfReader

    pdf.parent.mkdir(parents=True, exist_ok=True)
    source = pdf.with_suffix(".unfinished.html")
    source.write_text(text, encoding="utf-8")
    context = playwright_browser.new_context()
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(source.resolve().as_uri(), wait_until="load")
        page.evaluate("() => document.fonts.ready.then(() => null)")
        form = {
            "path": pdf, "format": "A4", "outline": True, "tagged": True, "print_background": True, "display_header_footer": True,
            "header_template": "<span></span>", "footer_template": FOOT,
            "margin": {"top": "18mm", "bottom": "18mm", "left": "19mm", "right": "19mm"},
        }  # fmt: skip
        page.pdf(**form)
        numbers = {title: number for depth, title, number in reversed(outline(pdf)) if depth <= 1}
        page.evaluate(
            "numbers => document.querySelectorAll('nav .number').forEach(e => { e.textContent = numbers[e.dataset.title] ?? ''; })", numbers
        )
        page.pdf(**form)
    finally:
        context.close()
        source.unlink()
    return len(PdfReader(pdf).pages)


def main() -> int:
    import yaml

    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--to", type=Path, default=ROOT / "_build" / "book.pdf", help="the file to write")
    chosen = options.parse_args()
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    try:
        count = write(compose(SITE, parts(), config["title"], config["author"]), chosen.to)
    except PrintError as reason:
        print(reason, file=sys.stderr)
        return 1
    print(f"{count} pages, {chosen.to.stat().st_size / 1e6:.0f} MB: {chosen.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
