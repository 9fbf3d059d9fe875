"""For links to a page: what other sites, and search engines, show of it: its title, and how its text begins."""

from __future__ import annotations

import html
import re

LONGEST = 200  # characters of a description that are shown anywhere
PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)


def description(body: str) -> str:
    """The first paragraph of a page as plain text, cut at a word; empty where the page has none."""
    found = PARAGRAPH.search(body)
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", found[1] if found else "")).split())
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"


def describe(app, page, template, context, doctree):
    """Say it in the head of the page."""
    told = description(context.get("body") or "")
    title = re.sub(r"<[^>]+>", "", context.get("title") or "")
    tags = {"og:type": "article", "og:site_name": app.config.html_title, "og:title": html.unescape(title)}
    tags |= {"og:description": told} if told else {}
    said = [f'<meta property="{name}" content="{html.escape(text)}" />' for name, text in tags.items() if text]
    if told:
        said.append(f'<meta name="description" content="{html.escape(told)}" />')
    context["metatags"] = "\n".join([context.get("metatags") or "", *said])


def setup(app):
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
