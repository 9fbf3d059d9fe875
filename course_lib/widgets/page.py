"""The static face of a lab: HTML with a range input over frames that were computed before, which ``_static/lab.js`` swaps."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib import plots
from course_lib.widgets.frames import PAGE_QUALITIES, Frame

LARGEST_BUDGET = 300_000
"""Bytes that the frames of one chapter may take on its static page."""
MOST_FRAMES = 40


@dataclass(frozen=True)
class Page:
    """What the static page has of a lab: a slider over the positions of a row, and a choice of the row."""

    kind: str  # class of the page's element
    slider: str  # label of the slider …
    choice: str  # … and of the choice
    rows: Mapping[str, Sequence[Any]]  # choice -> positions
    start: int  # the first position, from 0
    most_bytes: int  # that the frames may take
    size: int | None = None  # side of the photo's centre that is shown, in pixels, where there is a photo
    by: str = ""  # whose output it is, where JupyterLab offers that of others too
    positions: str = "positions"  # what the message calls them where there are too many

    def require_few(self) -> None:
        """Raise ``ValueError`` where there are more frames than a page may have: before they are computed."""
        count = sum(map(len, self.rows.values()))
        if count > MOST_FRAMES:
            raise ValueError(f"{count} frames, but at most {MOST_FRAMES}: give fewer {self.positions}.")

    def html_of(self, frames: Mapping[str, Sequence[Frame]]) -> str:
        """The page of these frames, choice -> frames along the slider, in the best quality that there is room for.

        The controls appear only where JavaScript runs; without it the page shows the picture of the start.

        Raises:
            ValueError: if the frames take more bytes than they may.
        """
        images = self._coded(frames)
        content = {
            key: [
                {"position": frame.position, "image": image, "alt": frame.alt, "caption": frame.caption()}
                for frame, image in zip(row, images[key], strict=True)
            ]
            for key, row in frames.items()
        }
        row = next(iter(content.values()))
        first = row[self.start]
        picture = plots.img_tag(base64.b64decode(first["image"]), first["alt"])
        options = "".join(f"<option>{html.escape(key)}</option>" for key in content)
        # A choice of one would be a dead control.
        choice = f"<label>{self.choice} <select>{options}</select></label>" if len(content) > 1 else ""
        by = f" <span>by {html.escape(self.by)}</span>" if self.by else ""
        data = json.dumps(content, ensure_ascii=False).replace("<", r"\u003c")  # so that no text in it can end the script element
        return (
            f'<div class="lab {self.kind}">'
            '<div class="lab-controls" hidden>'
            f'<label>{self.slider} <input type="range" min="0" max="{len(row) - 1}" step="1" value="{self.start}" '
            f'aria-valuetext="{html.escape(first["position"])}"></label><output>{html.escape(first["position"])}</output>'
            f"{choice}{by}</div>"
            f'<div class="lab-titles" aria-live="polite">{first["caption"]}</div>{picture}'
            f'<script type="application/json">{data}</script></div>'
        )

    def _coded(self, frames: Mapping[str, Sequence[Frame]]) -> dict[str, list[str]]:
        """The pictures in base64, in the first quality in which they fit."""
        for quality in PAGE_QUALITIES:
            images = {key: [base64.b64encode(frame.picture(quality)).decode() for frame in row] for key, row in frames.items()}
            size = sum(len(image) for row in images.values() for image in row)
            if size <= self.most_bytes:
                return images
        raise ValueError(f"the frames take {size} bytes, but at most {self.most_bytes}: give fewer, or smaller ones.")
