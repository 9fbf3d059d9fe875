"""For links to a page: what other sites, and search engines, show of it: its title, how its text begins, and a picture.

Other sites take addresses only in full. So the picture, ``book/_static/card.png``, and the address of the page itself are named where
``html.baseurl`` of ``_config.yml`` says where the site is, and left out where it does not.
"""

from __future__ import annotations

import html
import re
from urllib.parse import urlsplit

LONGEST = 200  # characters of a description that are shown anywhere
PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
CARD, CARD_SIZE = "_static/card.png", (1200, 630)
CARD_SHOWS = (
    "Four pictures of one photo: with noise of σ = 25, as non-local means restores it, as the small network of chapter 8 does, and as the "
    "full DnCNN-S does."
)


def readable(text: str) -> str:
    """Text on one line; of a formula within it the letters and names."""
    return " ".join(re.sub(r"\\[()]|\\(?=[A-Za-z])", "", text).split())


def description(body: str) -> str:
    """The first paragraph of a page as plain text, cut at a word; empty where the page has none."""
    found = PARAGRAPH.search(body)
    text = readable(html.unescape(re.sub(r"<[^>]+>", "", found[1] if found else "")))
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"


def checked(baseurl: str) -> str:
    """Where the site is, ending with a slash; empty where it is not said.

    Raises:
        ValueError: if it is no address in full.
    """
    parts = urlsplit(baseurl)
    if baseurl and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment):
        raise ValueError(f"html.baseurl is {baseurl!r}: give where the site is in full, as https://OWNER.github.io/NAME/")
    return f"{baseurl.rstrip('/')}/" if baseurl else ""


def tags(title: str, told: str, site: str, address: str, baseurl: str) -> dict[str, str]:
    """The content of the tags by their names.

    Args:
        title: of the page.
        told: its description.
        site: the title of the book.
        address: of the page below ``baseurl``.
        baseurl: where the site is, ending with a slash, or empty.
    """
    made = {"description": told, "og:type": "article", "og:site_name": site, "og:title": title, "og:description": told}
    if not baseurl:
        return {**made, "twitter:card": "summary"}
    width, height = CARD_SIZE
    picture = {"og:image": baseurl + CARD, "og:image:width": str(width), "og:image:height": str(height), "og:image:alt": CARD_SHOWS}
    return {**made, "og:url": baseurl + address, **picture, "twitter:card": "summary_large_image"}


def written(content: dict[str, str]) -> str:
    """As HTML. Tags of Open Graph have a ``property``, others a ``name``."""
    kinds = ((name, "property" if name.startswith("og:") else "name", html.escape(text)) for name, text in content.items())
    return "\n".join(f'<meta {kind}="{name}" content="{text}" />' for name, kind, text in kinds)


def describe(app, page, template, context, doctree):
    """Say it in the head of the page."""
    title = html.unescape(re.sub(r"<[^>]+>", "", context.get("title") or "")) or app.config.html_title
    told = description(context.get("body") or "") or f"{title}: {app.config.html_title}"
    address = "" if page == app.config.root_doc else f"{page}.html"
    made = tags(title, told, app.config.html_title, address, checked(app.config.html_baseurl))
    context["metatags"] = "\n".join([context.get("metatags") or "", written(made)])


def setup(app):
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
