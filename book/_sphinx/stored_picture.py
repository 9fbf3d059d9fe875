"""For pages without a notebook: a picture from the stored outputs of a chapter, found by what its alternative text begins with."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

IMAGE = re.compile(r'<img\b[^>]*?\bsrc="(?P<source>data:image/[^"]*)"[^>]*?\balt="(?P<alt>[^"]*)"[^>]*>')


def stored_picture(chapter: Path, words: str) -> tuple[str, str]:
    """Source and alternative text, as they stand in HTML, of the picture among a chapter's stored outputs whose text begins with words.

    Raises:
        LookupError: if there is none, or more than one.
    """
    found = {}
    for cell in json.loads(chapter.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            for match in IMAGE.finditer("".join(output.get("data", {}).get("text/html", ""))):
                if html.unescape(match["alt"]).startswith(words):
                    found[match["source"]] = match["alt"]
    if len(found) != 1:
        count = len(found) or "no"
        raise LookupError(f"{chapter.name} has {count} stored pictures whose alternative text begins with {words!r}, not one.")
    return next(iter(found.items()))


def setup(app):
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class StoredPicture(SphinxDirective):
        """``{stored-picture} CHAPTER WORDS``: the picture of a chapter whose alternative text begins with the words."""

        required_arguments = 1
        has_content = True

        def run(self):
            chapter = Path(self.env.srcdir) / f"{self.arguments[0]}.ipynb"
            self.env.note_dependency(str(chapter))
            source, alt = stored_picture(chapter, " ".join(self.content))
            return [nodes.raw("", f'<p class="stored-picture"><img src="{source}" alt="{alt}"></p>', format="html")]

    app.add_directive("stored-picture", StoredPicture)
    return {"parallel_read_safe": True}
