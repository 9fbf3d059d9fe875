"""The static face of a lab: the picture of the start, and what ``_static/lab.js`` makes a slider of.

Where no script runs, on paper, and in a JupyterLab whose kernel has not run the cell, the picture of the start is all there is.
The controls are made by the script, so that there is never one that does nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib import plots
from course_lib.widgets.frames import ERROR_GAIN, GAP, Frame
from course_lib.widgets.pattern import STEPS, ZERO
from course_lib.widgets.pictures import Pictures

LARGEST_BUDGET = 500_000
"""Characters that the pictures of one chapter may take on its static page."""
MOST_FRAMES = 40


@dataclass(frozen=True)
class Page:
    """What the static page has of a lab: a slider over the positions of a row, and a choice of the row."""

    kind: str  # class of the page's element
    slider: str  # label of the slider …
    choice: str  # … and of the choice
    rows: Mapping[str, Sequence[Any]]  # choice -> positions
    start: int  # the first position, from 0
    most_bytes: int  # that the pictures may take
    by: str = ""  # whose output it is, where JupyterLab offers that of others too
    positions: str = "positions"  # what the message calls them where there are too many

    def require_few(self) -> None:
        """Raise ``ValueError`` where there are more frames than a page may have: before they are computed."""
        count = sum(map(len, self.rows.values()))
        if count > MOST_FRAMES:
            raise ValueError(f"{count} frames, but at most {MOST_FRAMES}: give fewer {self.positions}.")

    def html_of(self, frames: Mapping[str, Sequence[Frame]]) -> str:
        """The page of these frames, choice -> frames along the slider.

        Raises:
            ValueError: if the pictures take more bytes than they may.
        """
        pictures = Pictures()
        rows = {
            key: [{"position": f.position, "alt": f.alt, "caption": f.caption(), **f.parts(pictures)} for f in row]
            for key, row in frames.items()
        }
        first = next(iter(frames.values()))[self.start]
        start = first.picture()
        size = len(pictures) + len(base64.b64encode(start))
        if size > self.most_bytes:
            raise ValueError(f"the pictures take {size} bytes, but at most {self.most_bytes}: give fewer, or smaller ones.")
        content = {
            "slider": self.slider, "choice": self.choice, "by": self.by, "start": self.start, "rows": rows,
            "pictures": pictures.coded, "sums": pictures.sums,
            "gain": ERROR_GAIN, "gap": GAP, "steps": STEPS, "zero": ZERO,
        }  # fmt: skip
        data = json.dumps(content, ensure_ascii=False).replace("<", r"\u003c")  # so that no text in it can end the script element
        name = hashlib.sha256(data.encode()).hexdigest()[:12]
        picture = plots.img_tag(start, first.alt, attributes='style="width:100%"')
        return (
            f'<div class="lab {self.kind}" id="lab-{name}"><div class="lab-start" style="max-width:800px">'
            f'<div class="lab-at">{html.escape(", ".join(self._where(rows)))}</div>{titles(first)}{picture}'
            '<p class="lab-run"><em>Run this cell to move the slider.</em></p></div>'
            f'<script type="application/json">{data}</script></div>'
        )

    def _where(self, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        """Where the controls stand at the start, in words: on paper there are none."""
        choice, row = next(iter(rows.items()))
        chosen = [f"{self.choice} {choice}"] if len(rows) > 1 else []
        return [f"{self.slider}: {row[self.start]['position']}", *chosen, *([f"by {self.by}"] if self.by else [])]


def titles(frame: Frame) -> str:
    """The caption over the picture, each title over its part."""
    style = "display:grid;grid-auto-flow:column;grid-auto-columns:1fr;text-align:center;font-variant-numeric:tabular-nums"
    return f'<div class="lab-titles" style="{style}">{frame.caption()}</div>'


def name_of(page: str) -> str:
    """The ``id`` of a page's element."""
    return page.split('id="', 1)[1].split('"', 1)[0]
