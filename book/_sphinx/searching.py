"""For the search: the texts of the pages, from which results take their excerpts, and the script that shows them.

Sphinx's index says which page has a word. Its own page of results then fetches each page that it found, which costs megabytes and fails
where the site was opened as files. Here the paragraphs of all sections are one script, which is loaded when something is looked for.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import described

SCRIPT = Path(__file__).parent / "search" / "results.js"
FOLDER = "_static/search"


def said(node) -> str:
    """The words of a node; a formula in them as its letters where it has no more to it, else as three dots."""
    from docutils import nodes

    if isinstance(node, nodes.math):
        formula = node.astext()
        return "…" if re.search(r"[{}^_&]", formula) else formula
    return node.astext() if isinstance(node, nodes.Text) or not node.children else "".join(map(said, node.children))


def paragraphs(doctree) -> dict[str, list[str]]:
    """The paragraphs of each section of a page, by the anchor of the section, and of each entry of the library, by its own.

    Code, formulas on lines of their own, outputs and what stands in raw HTML are left out.
    """
    from docutils import nodes
    from sphinx import addnodes

    found: dict[str, list[str]] = {}

    def walk(node, anchor: str) -> None:
        for child in node.children:
            inner = anchor
            if isinstance(child, nodes.section):
                inner = child["ids"][0]
            elif isinstance(child, addnodes.desc):
                ids = [identifier for signature in child.findall(addnodes.desc_signature) for identifier in signature["ids"]]
                inner = ids[0] if ids else anchor
            if isinstance(child, nodes.paragraph):
                if text := described.readable(said(child)):
                    found.setdefault(inner, []).append(text)
            elif not isinstance(child, nodes.literal_block | nodes.math_block | nodes.raw | nodes.title | addnodes.desc_signature):
                walk(child, inner)

    walk(doctree, "")
    return found


def setup(app):
    texts: dict[str, dict[str, list[str]]] = {}

    def keep(app, page, template, context, doctree):
        if doctree is not None:
            texts[page] = paragraphs(doctree)
        if page == "search":
            app.add_js_file("search/results.js", loading_method="defer")

    def write(app, exception):
        if exception or app.builder.name != "html":
            return
        for page in app.env.found_docs - texts.keys():  # pages that this build has left as they were
            texts[page] = paragraphs(app.env.get_doctree(page))
        folder = Path(app.outdir) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(SCRIPT, folder / SCRIPT.name)
        code = f"window.searchTexts = {json.dumps(texts, ensure_ascii=False, separators=(',', ':'), sort_keys=True)};\n"
        (folder / "texts.js").write_text(code, encoding="utf-8")

    app.connect("html-page-context", keep)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": False}  # one process keeps the texts of all pages
