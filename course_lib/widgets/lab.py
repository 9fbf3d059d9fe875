"""The one mechanism of all sliders: choice -> position -> frame, in JupyterLab and on the static page.

A lab has two faces. The site takes the HTML, whose frames were computed when the chapter was executed. JupyterLab shows the
ipywidgets view, whose every move computes, as long as its kernel lives; before and after that it shows the HTML's picture of the
start, which asks the reader to run the cell.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from course_lib import plots
from course_lib.widgets.frames import Frame
from course_lib.widgets.page import Page, name_of, titles

ONLY_IN_JUPYTERLAB = """
<style>
.jp-OutputArea-child:has(.lab) + .jp-OutputArea-child .jupyter-widgets:not(:has(*)) { display: none }
</style>
<script>
(() => {
  if (window.courseLabs || !document.querySelector(".jp-Notebook")) return;
  const tell = () => {
    for (const lab of document.querySelectorAll(".course-lab")) {
      const [shown, handle] = [lab.querySelector("[data-position]"), lab.querySelector("[role=slider]")];
      if (!shown || !handle) continue;
      const said = {"aria-label": shown.dataset.slider, "aria-valuetext": shown.dataset.position};
      for (const [name, words] of Object.entries(said)) {
        if (handle.getAttribute(name) !== words) handle.setAttribute(name, words);
      }
    }
  };
  window.courseLabs = new MutationObserver(tell);
  window.courseLabs.observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ["aria-valuetext"]});
})();
</script>
"""
"""What JupyterLab lacks. It says "model not found" of a view whose kernel is gone, and tells screen readers a slider's index."""


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
        make: ``make(*choices, position)`` with a value of each choice returns the :class:`~course_lib.widgets.frames.Frame`.
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
        """What both faces show for a value of each choice and a position, the arguments of ``make``; made once each."""
        return self._made(*chosen)

    # --- in JupyterLab --------------------------------------------------------------------------------------------------

    @property
    def view(self):
        """The ipywidgets box, with its controls as attributes, and the ``picture`` that they choose."""
        if self._view is None:
            import ipywidgets

            controls = {part.name: part.control() for part in (*self.choices, self.slider)}
            vars(self).update(controls)
            self.picture, self._hiding = ipywidgets.HTML(), ipywidgets.HTML()
            for control in controls.values():
                control.observe(self._redraw, names="value")
            self._redraw()
            row = ipywidgets.HBox([controls[name] for name in self.order])
            self._view = ipywidgets.VBox([row, self.picture, self._hiding])
            self._view.add_class("course-lab")
        return self._view

    def _chosen(self) -> Frame:
        """The frame that the controls choose."""
        values = [getattr(self, choice.name).value for choice in self.choices]
        return self.frame(*values, self.rows[values[-1]][getattr(self, self.slider.name).index])

    def _redraw(self, change=None) -> None:
        try:
            frame = self._chosen()
            shown = plots.img_tag(frame.picture(), frame.alt, attributes='style="width:100%;image-rendering:pixelated"')
            said = f'data-slider="{html.escape(self.slider.label)}" data-position="{html.escape(frame.position)}"'
            self.picture.value = f'<div style="max-width:800px" {said}>{titles(frame)}{shown}</div>'
        except Exception as error:  # an ipywidgets callback swallows it: the reader would see a slider that does nothing
            self.picture.value = f"<b>This position could not be computed:</b> {html.escape(str(error))}"
            raise

    # --- on the static page ---------------------------------------------------------------------------------------------

    def page(self) -> str:
        """The HTML of the static page: the picture of the start, and the frames of the slider, which are computed now.

        Raises:
            ValueError: if the frames are more, or take more bytes, than the page may have.
        """
        self.static.require_few()
        first = [choice.options[0] for choice in self.choices[:-1]]
        rows = self.static.rows.items()
        return self.static.html_of({option: [self.frame(*first, option, p) for p in positions] for option, positions in rows})

    # --- both -----------------------------------------------------------------------------------------------------------

    def _ipython_display_(self):
        """The page, and after it the view, which hides the page's picture while it lives."""
        from IPython.display import display

        view, page = self.view, self.page()
        self._hiding.value = f"<style>#{name_of(page)} {{ display: none }}</style>"
        alt = self._chosen().alt
        display({"text/html": page + ONLY_IN_JUPYTERLAB, "text/plain": alt}, raw=True)
        # The site, and a JupyterLab that does not trust the notebook, take the HTML, of which there is none.
        display({**view._repr_mimebundle_(), "text/html": "", "text/plain": ""}, raw=True)
