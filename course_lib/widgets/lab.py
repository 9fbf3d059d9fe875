"""The one mechanism of all sliders: choice -> position -> frame, in JupyterLab and on the static page.

A lab displays two faces of one output. JupyterLab takes the ipywidgets view, whose every move computes. The site takes
the HTML, whose frames were computed when the chapter was executed.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from course_lib import plots
from course_lib.widgets.frames import Frame
from course_lib.widgets.page import Page


@dataclass(frozen=True)
class Choice:
    """A choice that JupyterLab offers; the lab has the control as an attribute of that ``name``."""

    name: str
    label: str
    options: Sequence[str]

    def control(self):
        """The control of ipywidgets."""
        import ipywidgets

        return ipywidgets.Dropdown(options=list(self.options), description=self.label)


@dataclass(frozen=True)
class Slider:
    """The slider in JupyterLab; the lab has the control as an attribute of that ``name``."""

    name: str
    label: str
    options: Sequence[tuple[str, Any]]  # of each position its words, and the value of the control
    start: Any  # value of the control at first
    readout: bool = True  # are the words shown beside it? Not where they differ from row to row

    def control(self):
        """The control of ipywidgets."""
        import ipywidgets

        return ipywidgets.SelectionSlider(options=list(self.options), value=self.start, description=self.label, readout=self.readout)


class Lab:
    """Rows of frames: a choice of the row, a slider along it, a view with controls in JupyterLab, and a static page.

    Each frame is made when it is first looked at, and kept.

    Args:
        make: ``make(*choices, position)`` with a value of each choice, and ``make(*choices, position, size)`` for the central
            ``size`` × ``size`` pixels of a photo, returns the :class:`~course_lib.widgets.frames.Frame`.
        choices: in the order in which ``make`` takes them. The last is that of the row; the page shows the first option of the others.
        slider: along a row.
        rows: option of the last choice -> its positions, in the order of the slider.
        order: names of the controls in JupyterLab, from left to right. A choice that is left out keeps its first option.
        static: what the static page shows.
    """

    def __init__(
        self,
        make: Callable[..., Frame],
        choices: Sequence[Choice],
        slider: Slider,
        rows: Mapping[str, Sequence[Any]],
        *,
        order: Sequence[str],
        static: Page,
    ):
        self.choices, self.slider, self.order, self.static = tuple(choices), slider, tuple(order), static
        self.rows = {name: tuple(positions) for name, positions in rows.items()}
        self.start = slider.start
        self._made = cache(make)
        self._view = None

    def frame(self, *chosen: Any) -> Frame:
        """What is shown for a value of each choice, a position, and perhaps a size: the arguments of ``make``; made once each."""
        return self._made(*chosen)

    # --- in JupyterLab --------------------------------------------------------------------------------------------------

    @property
    def view(self):
        """The ipywidgets box, with its controls as attributes, and the ``picture`` that they choose."""
        if self._view is None:
            import ipywidgets

            controls = {part.name: part.control() for part in (*self.choices, self.slider)}
            vars(self).update(controls)
            self.picture = ipywidgets.HTML()
            for control in controls.values():
                control.observe(self._redraw, names="value")
            self._redraw()
            self._view = ipywidgets.VBox([ipywidgets.HBox([controls[name] for name in self.order]), self.picture])
        return self._view

    def _chosen(self) -> Frame:
        """The frame that the controls choose."""
        values = [getattr(self, choice.name).value for choice in self.choices]
        return self.frame(*values, self.rows[values[-1]][getattr(self, self.slider.name).index])

    def _redraw(self, change=None) -> None:
        try:
            frame = self._chosen()
            shown = plots.img_tag(frame.picture(quality=85), frame.alt, attributes='style="width:100%"')
            titles = f'<div style="display:grid;grid-auto-flow:column;grid-auto-columns:1fr;text-align:center">{frame.caption()}</div>'
            self.picture.value = f'<div style="max-width:800px">{titles}{shown}</div>'
        except Exception as error:  # an ipywidgets callback swallows it: the reader would see a slider that does nothing
            self.picture.value = f"<b>This position could not be computed:</b> {html.escape(str(error))}"
            raise

    # --- on the static page ---------------------------------------------------------------------------------------------

    def page(self) -> str:
        """The HTML of the static page: a range input and a choice, over frames that are computed now.

        Raises:
            ValueError: if the frames are more, or take more bytes, than the page may have.
        """
        return self.static.html_of(self._page_frames())

    def _page_frames(self) -> dict[str, list[Frame]]:
        """Option of the last choice -> the frames along the slider."""
        self.static.require_few()
        first = [choice.options[0] for choice in self.choices[:-1]]
        size = () if self.static.size is None else (self.static.size,)
        return {
            option: [self.frame(*first, option, position, *size) for position in positions]
            for option, positions in self.static.rows.items()
        }

    def _repr_mimebundle_(self, include=None, exclude=None):
        view, page = self.view._repr_mimebundle_(), self.page()
        start = next(iter(self._page_frames().values()))[self.static.start]
        return {**view, "text/html": page, "text/plain": start.alt}
