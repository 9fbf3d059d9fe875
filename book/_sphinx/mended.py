"""For every page: what the theme and its extensions write, mended where it keeps a reader out or makes a page heavy.

Each mend is one replacement in a page's HTML, as it is written. A mend that no longer finds what it replaces fails the build: the theme
is another one then, and somebody has to look.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import light


@dataclass(frozen=True)
class Mend:
    """A pattern in the HTML of a page, what takes its place, and why."""

    why: str
    pattern: str
    replacement: str
    everywhere: bool = True  # is it on every page? Else it is where the page has what it mends


MENDS = (
    # --- what keeps a reader out
    # a name that a screen reader speaks must contain the words that others read: so whoever says them to a computer is understood
    Mend("the name of the search button hides its words", r'(<button class="btn search-button-field [^>]*) aria-label="Search"', r"\1"),
    Mend(
        "the words of the three schemes, which no one sees, are not in the name of the switch",
        r'(<i class="theme-switch [^>]*?)\s+title="[^"]*"', r'\1 aria-hidden="true"',
    ),
    Mend("the name of a hidden cell hides its words", r'<summary aria-label="Toggle hidden content">', "<summary>", everywhere=False),
    Mend(
        "what opens a part of the table of contents has no name",
        r'<summary>(<span class="toctree-toggle" role="presentation">)', r'<summary aria-label="Pages of this part">\1',
    ),
    Mend(
        "the bibliography is a list without items",
        r'<div role="list" class="citation-list">', '<div class="citation-list">', everywhere=False,
    ),
    # --- what makes a page heavy
    Mend(
        "icons are drawn a second time, by a script of half a megabyte",
        r'<script defer src="[^"]*/scripts/fontawesome\.js[^"]*"></script>', "",
    ),
    Mend("Thebe, which is left out, has a style", r'<link [^>]*href="[^"]*sphinx-thebe\.css[^"]*" />', ""),
)
NO_SEARCH = Mend(
    "every page loads the index of the search, which the page of the search alone needs",
    r'(?:<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>\s*){3}', "",
)  # fmt: skip


SKIP = '<a href="#main-content">Skip to main content</a>'
LAB = re.compile(r'<div class="lab [\w-]+" id="([\w-]+)"')


class ThemeChanged(RuntimeError):
    """A page lacks what a mend replaces."""


def mended(page: str, html: str, mends: tuple[Mend, ...] = MENDS) -> str:
    """The HTML of a page after all mends.

    Raises:
        ThemeChanged: where a page lacks what every page has; the message says which mend, and on which page.
    """
    for mend in (*mends, *(() if page == "search" else (NO_SEARCH,))):
        html, count = re.subn(mend.pattern, mend.replacement, html)
        if mend.everywhere and not count:
            raise ThemeChanged(
                f"{page}: nothing matches {mend.pattern!r}, so that it is not mended that {mend.why}: the theme has changed. "
                "Look at the page, then alter or remove the mend in book/_sphinx/mended.py."
            )
    if lab := LAB.search(html):  # so that the keyboard is with the first slider after three presses
        if SKIP not in html:
            raise ThemeChanged(f"{page}: {SKIP!r} is not there, beside which that to the slider belongs: alter book/_sphinx/mended.py.")
        html = html.replace(SKIP, f'{SKIP} <a href="#{lab[1]}">Skip to the slider</a>', 1)
    return html


def mend_all(app):
    """From here on, mend each page that the builder writes."""
    if app.builder.name != "html":
        return
    render = app.builder.templates.render

    def rendered(template, context):
        html = render(template, context)
        if "<html" not in html or "pagename" not in context:  # the theme renders parts of a page too
            return html
        page = context["pagename"]
        return light.apart(mended(page, html), Path(app.outdir), "../" * page.count("/") or "./")

    app.builder.templates.render = rendered


def setup(app):
    app.connect("builder-inited", mend_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
