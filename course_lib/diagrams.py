"""Diagrams of networks and training schemes: what goes in, what comes out, what is frozen, and where the loss sits.

All diagrams of the book are drawn here, so that they look alike: boxes on a grid, and arrows between them. A box says by its
kind what it is: images or other data, a network that is trained, one that is frozen, an operation, or a loss.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from course_lib.plots import Shown

Kind = Literal["data", "network", "frozen", "operation", "loss", "words"]

FILL = {"data": "#ffffff", "network": "#d6e6f2", "frozen": "#eeeeee", "operation": "#ffffff", "loss": "#f9e0d0", "words": "none"}
LINE = {"data": "#444444", "network": "#0072b2", "frozen": "#777777", "operation": "#444444", "loss": "#d55e00", "words": "none"}
COLUMN, ROW = 132, 66  # pixels of a cell of the grid
WIDE, HIGH = 108, 46  # pixels of a box of size (1, 1), which leaves room for arrows between neighbours
FONT = 13  # pixels
LETTER = 6.9  # about the mean width of a letter in pixels, for a check that texts fit their boxes
MARGIN = 14
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#444444"/></marker>'
)


@dataclass(frozen=True)
class Box:
    """A box of a diagram.

    Args:
        text: its lines, divided by newlines.
        at: column and row of its middle on the grid, from 0; fractions are allowed.
        kind: what it stands for. ``frozen`` has a dashed border, ``operation`` round ends, ``words`` no border at all.
        size: columns and rows that it fills.
    """

    text: str
    at: tuple[float, float]
    kind: Kind = "data"
    size: tuple[float, float] = (1, 1)

    @property
    def middle(self) -> tuple[float, float]:
        """Its middle in pixels, ``(x, y)``."""
        return self.at[0] * COLUMN, self.at[1] * ROW

    @property
    def half(self) -> tuple[float, float]:
        """Half its width and half its height in pixels."""
        return ((self.size[0] - 1) * COLUMN + WIDE) / 2, ((self.size[1] - 1) * ROW + HIGH) / 2


@dataclass(frozen=True)
class Arrow:
    """An arrow from one box to another.

    Args:
        start, end: names of the boxes.
        text: a word or two beside it.
        via: corners on the way, as columns and rows of the grid.
        dashed: a dashed line without a tip, for what is no flow of data, such as "has the same weights as".
    """

    start: str
    end: str
    text: str = ""
    via: Sequence[tuple[float, float]] = ()
    dashed: bool = False


def draw(boxes: Mapping[str, Box], arrows: Sequence[Arrow], alt: str) -> Shown:
    """The diagram as an SVG picture on white, for the page and for JupyterLab.

    Args:
        boxes: name -> box.
        arrows: between them, by their names.
        alt: the diagram in words.

    Raises:
        ValueError: for no boxes, an unknown kind, an arrow from or to a box that is not there, a text wider or higher than its box,
            or an alternative text of less than 20 letters.
    """
    _require(boxes, arrows, alt)
    left, top = (min(box.middle[i] - box.half[i] for box in boxes.values()) - MARGIN for i in (0, 1))
    right, bottom = (max(box.middle[i] + box.half[i] for box in boxes.values()) + MARGIN for i in (0, 1))
    corners = [(x * COLUMN, y * ROW) for arrow in arrows for x, y in arrow.via]
    left, top = min([left, *(x - MARGIN for x, _ in corners)]), min([top, *(y - MARGIN for _, y in corners)])
    right, bottom = max([right, *(x + MARGIN for x, _ in corners)]), max([bottom, *(y + MARGIN for _, y in corners)])
    parts = [_line(arrow, boxes) for arrow in arrows] + [_box(box) for box in boxes.values()] + [_label(arrow, boxes) for arrow in arrows]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:g} {top:g} {right - left:g} {bottom - top:g}" '
        f'width="{right - left:g}" height="{bottom - top:g}" font-family="system-ui, sans-serif" font-size="{FONT}" '
        f'text-anchor="middle"><defs>{TIP}</defs><rect x="{left:g}" y="{top:g}" width="100%" height="100%" fill="#ffffff"/>'
        f"{''.join(parts)}</svg>"
    )
    return Shown(svg.encode(), alt, round(right - left), "image/svg+xml")


def _require(boxes: Mapping[str, Box], arrows: Sequence[Arrow], alt: str) -> None:
    if not boxes:
        raise ValueError("there are no boxes to draw.")
    if len(alt) < 20:
        raise ValueError(f'alt = "{alt}" is too short: say in words what goes where.')
    for name, box in boxes.items():
        if box.kind not in get_args(Kind):
            raise ValueError(f'box "{name}": kind = "{box.kind}", but it must be one of {", ".join(get_args(Kind))}.')
        lines = box.text.split("\n")
        if max(map(len, lines)) * LETTER > 2 * box.half[0] or len(lines) * FONT * 1.3 > 2 * box.half[1]:
            raise ValueError(f'box "{name}": its text does not fit into a size of {box.size}: break the line, or enlarge the box.')
    for arrow in arrows:
        missing = [name for name in (arrow.start, arrow.end) if name not in boxes]
        if missing:
            raise ValueError(f'an arrow from "{arrow.start}" to "{arrow.end}": there is no box "{missing[0]}" among {", ".join(boxes)}.')


def _box(box: Box) -> str:
    (x, y), (a, b) = box.middle, box.half
    dashes = ' stroke-dasharray="5 3"' if box.kind == "frozen" else ""
    border = (
        f'<rect x="{x - a:g}" y="{y - b:g}" width="{2 * a:g}" height="{2 * b:g}" rx="{b if box.kind == "operation" else 5:g}" '
        f'fill="{FILL[box.kind]}" stroke="{LINE[box.kind]}" stroke-width="1.5"{dashes}/>'
    )
    return border + _words(box.text, x, y)


def _words(text: str, x: float, y: float) -> str:
    lines = text.split("\n")
    first = y - (len(lines) - 1) * FONT * 0.65 + FONT * 0.35
    return "".join(
        f'<text x="{x:g}" y="{first + i * FONT * 1.3:g}" fill="#1a1a1a">{html.escape(line)}</text>' for i, line in enumerate(lines)
    )


def _path(arrow: Arrow, boxes: Mapping[str, Box]) -> list[tuple[float, float]]:
    """The corners of an arrow in pixels, from border to border."""
    start, end = boxes[arrow.start], boxes[arrow.end]
    inner = [(x * COLUMN, y * ROW) for x, y in arrow.via]
    return [_border(start, (inner or [end.middle])[0]), *inner, _border(end, (inner or [start.middle])[-1])]


def _border(box: Box, towards: tuple[float, float]) -> tuple[float, float]:
    """Where the line from the middle of a box to a point leaves it; straight, where the point lies beside or below the box."""
    (x, y), (a, b) = box.middle, box.half
    across, down = towards[0] - x, towards[1] - y
    if abs(across) <= 0.9 * a and abs(down) > b:  # above or below: straight up or down
        return x + across, y + (b if down > 0 else -b)
    if abs(down) <= 0.9 * b and abs(across) > a:
        return x + (a if across > 0 else -a), y + down
    scale = min(a / abs(across) if across else float("inf"), b / abs(down) if down else float("inf"))
    return (x + across * scale, y + down * scale) if scale != float("inf") else (x, y)


def _line(arrow: Arrow, boxes: Mapping[str, Box]) -> str:
    points = " ".join(f"{x:g},{y:g}" for x, y in _path(arrow, boxes))
    end = ' stroke-dasharray="4 4"' if arrow.dashed else ' marker-end="url(#tip)"'
    return f'<polyline points="{points}" fill="none" stroke="#444444" stroke-width="1.4"{end}/>'


def _label(arrow: Arrow, boxes: Mapping[str, Box]) -> str:
    """The text of an arrow on the middle of its longest part, above a line that lies and on one that stands."""
    if not arrow.text:
        return ""
    path = _path(arrow, boxes)
    (x, y), (u, v) = max(zip(path, path[1:], strict=False), key=lambda part: abs(part[0][0] - part[1][0]) + abs(part[0][1] - part[1][1]))
    lift = 9 if abs(u - x) > abs(v - y) else 0
    return f'<g stroke="#ffffff" stroke-width="4" paint-order="stroke">{_words(arrow.text, (x + u) / 2, (y + v) / 2 - lift)}</g>'
