"""Labs of rows with the same positions: pairs of a degradation and a restoration, and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from course_lib import plots
from course_lib.widgets.frames import Drawing, Drawn, Frame, Restored, restored_frame
from course_lib.widgets.lab import Choice, Lab, Slider
from course_lib.widgets.page import LARGEST_BUDGET, Page
from course_lib.widgets.photos import prepared, require_photos


def restoration_lab(
    restorations: Mapping[str, Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]]],
    photos: Mapping[str, Tensor],
    *,
    slider: str,
    choice: str,
    start: int = 0,
    page_size: int = 128,
    page_bytes: int = LARGEST_BUDGET,
) -> Lab:
    """A choice and a slider, each pair of which degrades a photo in its own way and restores it in its own way.

    Args:
        restorations: name of a choice -> position of the slider in words -> ``(degrade, restore)``, two functions of images
            ``(1, C, H, W)`` in [0, 1]. At most three choices, all with the same positions. Give Gaussian noise as a
            ``GaussianNoise``, of which the page needs one pattern only; of another ``degrade`` it needs every picture.
        photos: name -> uint8 ``(C, H, W)``. The static page shows the first.
        slider: label of the slider.
        choice: label of the choice.
        start: the first position, from 0.
        page_size: side of the photos' centre that is shown, in pixels.
        page_bytes: what the pictures of the static page may take; a chapter has 500,000 for all its labs.

    Returns:
        A lab with ``frame(photo, choice, position)``, the controls ``chosen``, ``position`` (from 0) and ``photo``, and its ``rows``.

    Raises:
        ValueError: for no photo, no or more than three rows, rows of different positions, or a start that is no position.
        TypeError: for photos that are not uint8.
    """
    if not photos:
        raise ValueError("restoration_lab needs at least one photo.")
    _require_rows(restorations, start)
    require_photos(photos)
    restorations, photos = {name: dict(row) for name, row in restorations.items()}, dict(photos)

    def make(photo: str, chosen: str, position: str) -> Restored:
        degrade, restore = restorations[chosen][position]
        return restored_frame(
            restore, degrade, prepared(photos[photo], page_size), names=("degraded", "restored"), position=position,
            words=f"{photo}, {choice} {chosen}, {slider} {position}: left the degraded photo, BEFORE; middle the restored one, AFTER",
        )  # fmt: skip

    others = (Choice("photo", "photo", tuple(photos)),)
    page = Page("restoration-lab", slider, choice, _positions(restorations), start, page_bytes)
    return _lab(make, others, page)


def figure_lab(
    drawings: Mapping[str, Mapping[str, Callable[[], Drawing]]],
    *,
    slider: str,
    choice: str = "",
    start: int = 0,
    page_bytes: int = LARGEST_BUDGET,
) -> Lab:
    """A slider over figures, and a choice between at most three rows of them.

    Each figure is drawn when its position is first visited; for the static page all are drawn when the cell is executed.

    Args:
        drawings: name of a choice -> position of the slider in words -> a function that draws the figure. All rows have the
            same positions; with one row there is no choice.
        slider: label of the slider.
        choice: label of the choice.
        start: the first position, from 0.
        page_bytes: what the pictures of the static page may take; a chapter has 500,000 for all its labs.

    Returns:
        A lab with ``frame(choice, position)``, the controls ``chosen`` and ``position`` (from 0), and its ``rows``.

    Raises:
        ValueError: for no or more than three rows, rows of different positions, or a start that is no position.
    """
    _require_rows(drawings, start)
    drawings = {name: dict(row) for name, row in drawings.items()}

    def make(chosen: str, position: str) -> Drawn:
        drawing = drawings[chosen][position]()
        return Drawn(plots.rendered(drawing.figure), drawing.title, drawing.alt, position)

    return _lab(make, (), Page("figure-lab", slider, choice, _positions(drawings), start, page_bytes))


def _lab(make: Callable[..., Frame], others: Sequence[Choice], page: Page) -> Lab:
    """A lab whose page shows all its rows. Its slider has numbers from 0 as values, and a choice of one row is no control."""
    words = next(iter(page.rows.values()))
    choices = (*others, Choice("chosen", page.choice, tuple(page.rows)))
    slider = Slider("position", page.slider, [(name, i) for i, name in enumerate(words)], page.start)
    order = (*(("chosen",) if len(page.rows) > 1 else ()), "position", *(other.name for other in others))
    return Lab(make, choices, slider, page.rows, order=order, static=page)


def _positions(rows: Mapping[str, Mapping[str, object]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(row) for name, row in rows.items()}


def _require_rows(given: Mapping[str, Mapping[str, object]], start: int) -> None:
    rows = [list(row) for row in given.values()]
    if not 1 <= len(rows) <= 3 or not rows[0] or any(row != rows[0] for row in rows):
        raise ValueError("give one to three rows, all with the same positions, at least one.")
    if isinstance(start, bool) or not isinstance(start, int) or not 0 <= start < len(rows[0]):
        raise ValueError(f"start = {start!r}, but the positions are numbered 0 to {len(rows[0]) - 1}.")
