"""The sliders of the book: one cell, alive in JupyterLab with a kernel and on the static page without one.

A widget displays two faces of one output. JupyterLab takes the ipywidgets view, whose every move computes. The site takes
the HTML, whose frames were computed when the chapter was executed and which ``_static/lab.js`` swaps.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from course_lib import devices, metrics, noise, plots
from course_lib.batches import center, to_float
from course_lib.noise import Denoiser, test_noise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_BUDGET = 300_000
"""Bytes that the frames of one chapter may take on its static page."""
MOST_FRAMES, PAGE_PHOTOS = 40, 2
PAGE_QUALITIES = (80, 65, 50, 40, 30, 20, 10, 5, 1)
"""WebP qualities of the page's frames, from the best to the lowest. Noise does not compress, so that one of them must fit."""


class Frame(Protocol):
    """What one position of a slider shows."""

    position: str  # of the slider, in words
    alt: str

    def picture(self, quality: int) -> bytes:
        """A WebP of that quality."""

    def caption(self) -> str:
        """What stands above the picture: HTML, one ``span`` for each part of it."""


@dataclass(frozen=True)
class Restored:
    """A degraded photo, what was made of it, and the error of that."""

    degraded: Tensor  # (1, C, H, W), as are the next two
    restored: Tensor
    clean: Tensor
    degraded_psnr: float  # dB, raw: 20 log10(255 / σ) but for chance, where noise was added
    restored_psnr: float  # dB, clamped
    names: tuple[str, str]  # what the first two are called
    position: str  # of the slider, in words
    alt: str

    def picture(self, quality: int) -> bytes:
        """Degraded, restored and error side by side, as WebP."""
        gap = torch.ones_like(self.clean[..., :4])
        error = plots.error_picture(self.restored, self.clean)
        return plots.encoded(plots.pixels(torch.cat([self.degraded, gap, self.restored, gap, error], dim=3)), quality)

    def caption(self) -> str:
        """The titles of the three parts, as HTML that spans the picture."""
        before, after = self.names
        titles = (f"{before}, {_db(self.degraded_psnr)}", f"{after}, {_db(self.restored_psnr)}", f"error × {plots.ERROR_GAIN}")
        return "".join(f"<span>{title}</span>" for title in titles)


@dataclass(frozen=True)
class Drawing:
    """A figure at one position of a slider: what a function given to :func:`figure_lab` returns."""

    figure: Figure
    title: str  # one line above it, with the numbers that change
    alt: str  # what a reader who cannot see it must know


@dataclass(frozen=True)
class Drawn:
    """A drawing that has been made: its pixels can be coded as often as it takes."""

    pixels: np.ndarray  # uint8 (H, W, 3)
    title: str
    alt: str
    position: str

    def picture(self, quality: int) -> bytes:
        """The figure as WebP, without loss where a good quality is asked for."""
        return plots.encoded(self.pixels, quality, lossless=quality >= PAGE_QUALITIES[0])

    def caption(self) -> str:
        """The title."""
        return f"<span>{html.escape(self.title)}</span>"


def _db(value: float) -> str:
    return f"{value:.2f} dB" if np.isfinite(value) else "exact"


class Lab:
    """What the labs share: frames that are computed once, a view with controls in JupyterLab, a static page."""

    kind = ""  # class of the page's element
    slider = ""  # label of the page's slider …
    choice = ""  # … and of its choice

    def __init__(self, photos: Mapping[str, Tensor], page_size: int, page_bytes: int):
        self.photos, self.page_size, self.page_bytes = dict(photos), page_size, page_bytes
        self._frames: dict[tuple, Frame] = {}
        self._view = None
        for photo in self.photos.values():
            to_float(photo[:, :1, :1])  # raises TypeError unless uint8

    def _photo(self, name: str, size: int | None) -> Tensor:
        return to_float(center(self.photos[name], size) if size else self.photos[name])[None]

    def _frame(self, restore: Callable[[Tensor], Tensor], degraded: Tensor, clean: Tensor, names, position: str, words: str) -> Restored:
        # The pictures may be computed in bfloat16 where that is faster; it moves a PSNR by less than 0.02 dB.
        fast = devices.precision("auto", torch.device("cpu")) == "bf16-mixed"
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast):
            restored = restore(degraded).float()
        before = metrics.psnr(degraded, clean, protocol="raw").item()  # noise is not clipped, so neither is its measure
        after = metrics.psnr(restored, clean, protocol="clamped").item()
        alt = words.replace("BEFORE", _db(before)).replace("AFTER", _db(after)) + f"; right its error, {plots.ERROR_GAIN} times as strong."
        return Restored(degraded, restored, clean, before, after, names, position, alt)

    # --- in JupyterLab --------------------------------------------------------------------------------------------------

    def _controls(self) -> list:
        """The ipywidgets controls, from left to right."""
        raise NotImplementedError

    def _chosen(self) -> Frame:
        """The frame that the controls choose."""
        raise NotImplementedError

    @property
    def view(self):
        """The ipywidgets box, with its controls as attributes, and the ``picture`` that they choose."""
        if self._view is None:
            import ipywidgets

            controls = self._controls()
            self.picture = ipywidgets.HTML()
            for control in controls:
                control.observe(self._redraw, names="value")
            self._redraw()
            self._view = ipywidgets.VBox([ipywidgets.HBox(controls), self.picture])
        return self._view

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

    def _page_frames(self) -> tuple[dict[str, list[Frame]], int, str]:
        """(choice -> the frames along the slider, position at the start, whose output it is, or nothing)."""
        raise NotImplementedError

    def page(self) -> str:
        """The HTML of the static page: a range input and a choice, over frames that are computed now.

        The controls appear only where JavaScript runs; without it the page shows the picture of the start.

        Raises:
            ValueError: if the frames are more, or take more bytes, than the page may have.
        """
        shown, start, words = self._page_frames()
        count = sum(map(len, shown.values()))
        if count > MOST_FRAMES:
            raise ValueError(f"{count} frames, but at most {MOST_FRAMES}: give fewer positions.")
        for quality in PAGE_QUALITIES:
            images = {key: [base64.b64encode(f.picture(quality)).decode() for f in row] for key, row in shown.items()}
            size = sum(len(image) for row in images.values() for image in row)
            if size <= self.page_bytes:
                break
        else:
            raise ValueError(f"the frames take {size} bytes, but at most {self.page_bytes}: give fewer, or smaller ones.")
        frames = {
            key: [
                {"position": frame.position, "image": image, "alt": frame.alt, "caption": frame.caption()}
                for frame, image in zip(row, images[key], strict=True)
            ]
            for key, row in shown.items()
        }
        first = next(iter(frames.values()))[start]
        picture = plots.img_tag(base64.b64decode(first["image"]), first["alt"])
        options = "".join(f"<option>{html.escape(key)}</option>" for key in frames)
        # A choice of one would be a dead control.
        choice = f"<label>{self.choice} <select>{options}</select></label>" if len(frames) > 1 else ""
        by = f" <span>by {html.escape(words)}</span>" if words else ""
        data = json.dumps(frames, ensure_ascii=False).replace("<", r"\u003c")  # so that no text in it can end the script element
        last = len(next(iter(frames.values()))) - 1
        return (
            f'<div class="lab {self.kind}">'
            '<div class="lab-controls" hidden>'
            f'<label>{self.slider} <input type="range" min="0" max="{last}" step="1" value="{start}" '
            f'aria-valuetext="{html.escape(first["position"])}"></label><output>{html.escape(first["position"])}</output>'
            f"{choice}{by}</div>"
            f'<div class="lab-titles" aria-live="polite">{first["caption"]}</div>{picture}'
            f'<script type="application/json">{data}</script></div>'
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        shown, start, _ = self._page_frames()
        return {**self.view._repr_mimebundle_(), "text/html": self.page(), "text/plain": next(iter(shown.values()))[start].alt}


class NoiseLab(Lab):
    """A slider for σ over noisy, denoised and error pictures; made by :func:`noise_lab`."""

    kind, slider, choice = "noise-lab", "noise", "photo"

    def __init__(self, denoisers, photos, sigmas_255, start, page_sigmas_255, page_size, page_bytes, seed):
        super().__init__(photos, page_size, page_bytes)
        self.denoisers, self.seed = dict(denoisers), seed
        self.sigmas_255, self.start, self.page_sigmas_255 = tuple(sigmas_255), start, tuple(page_sigmas_255)

    def frame(self, denoiser: str, photo: str, sigma_255: float, size: int | None = None) -> Restored:
        """What is shown for one denoiser, photo and σ, on the central ``size`` × ``size`` pixels; computed once each."""
        key = (denoiser, photo, sigma_255, size)
        if key not in self._frames:
            clean, sigma = self._photo(photo, size), noise.from_255(sigma_255)
            noisy = test_noise(clean, sigma, list(self.photos).index(photo), seed=self.seed)
            self._frames[key] = self._frame(
                lambda images: self.denoisers[denoiser](images, sigma), noisy, clean,
                ("noisy", "denoised"), f"σ = {sigma_255:g}",
                f"{photo} with noise of σ = {sigma_255:g}: left the noisy photo, BEFORE; middle the output of {denoiser}, AFTER",
            )  # fmt: skip
        return self._frames[key]

    def _controls(self) -> list:
        import ipywidgets

        options = [(f"{s:g}", s) for s in self.sigmas_255]
        self.sigma = ipywidgets.SelectionSlider(options=options, value=self.start, description="noise σ")
        self.photo = ipywidgets.Dropdown(options=list(self.photos), description="photo")
        self.denoiser = ipywidgets.Dropdown(options=list(self.denoisers), description="denoiser")
        return [self.sigma, self.photo, self.denoiser]

    def _chosen(self) -> Frame:
        return self.frame(self.denoiser.value, self.photo.value, self.sigma.value)

    def _page_frames(self):
        denoiser = next(iter(self.denoisers))
        photos = list(self.photos)[:PAGE_PHOTOS]
        if len(photos) * len(self.page_sigmas_255) > MOST_FRAMES:  # before they are computed
            raise ValueError(f"{len(photos) * len(self.page_sigmas_255)} frames, but at most {MOST_FRAMES}: give fewer σ.")
        frames = {photo: [self.frame(denoiser, photo, s, self.page_size) for s in self.page_sigmas_255] for photo in photos}
        return frames, self.page_sigmas_255.index(self.start), denoiser


class DegradationLab(Lab):
    """A choice of the degradation and a slider for its strength; made by :func:`degradation_lab`."""

    kind, slider, choice = "degradation-lab", "strength", "degradation"

    def __init__(self, restorers, photos, degradations, page_size, page_bytes):
        super().__init__(photos, page_size, page_bytes)
        self.restorers = dict(restorers)
        self.degradations = {name: dict(strengths) for name, strengths in degradations.items()}

    def frame(self, restorer: str, photo: str, degradation: str, strength: str, size: int | None = None) -> Restored:
        """What is shown for one restorer, photo, degradation and strength; computed once each."""
        key = (restorer, photo, degradation, strength, size)
        if key not in self._frames:
            clean = self._photo(photo, size)
            self._frames[key] = self._frame(
                self.restorers[restorer], self.degradations[degradation][strength](clean), clean,
                ("degraded", "restored"), strength,
                f"{photo} with {degradation}, {strength}: left the degraded photo, BEFORE; middle the output of {restorer}, AFTER",
            )  # fmt: skip
        return self._frames[key]

    def _controls(self) -> list:
        import ipywidgets

        most = max(map(len, self.degradations.values())) - 1
        self.degradation = ipywidgets.Dropdown(options=list(self.degradations), description="degradation")
        self.strength = ipywidgets.IntSlider(value=most // 2, min=0, max=most, readout=False, description="strength")
        self.photo = ipywidgets.Dropdown(options=list(self.photos), description="photo")
        self.restorer = ipywidgets.Dropdown(options=list(self.restorers), description="network")
        return [self.degradation, self.strength, self.photo, self.restorer]

    def _chosen(self) -> Frame:
        strength = list(self.degradations[self.degradation.value])[self.strength.value]
        return self.frame(self.restorer.value, self.photo.value, self.degradation.value, strength)

    def _page_frames(self):
        restorer, photo = next(iter(self.restorers)), next(iter(self.photos))
        frames = {
            name: [self.frame(restorer, photo, name, strength, self.page_size) for strength in strengths]
            for name, strengths in self.degradations.items()
        }
        return frames, (len(next(iter(frames.values()))) - 1) // 2, restorer


class RowLab(Lab):
    """What the labs of rows share: a choice of the row, and a slider for the position in it."""

    def __init__(self, rows, photos, slider, choice, start, page_size, page_bytes):
        super().__init__(photos, page_size, page_bytes)
        self.rows = {name: dict(row) for name, row in rows.items()}
        self.slider, self.choice, self.start = slider, choice, start

    def _frame_at(self, photo: str | None, chosen: str, position: str, size: int | None) -> Frame:
        """The frame of a row and a position, of a photo where there are some."""
        raise NotImplementedError

    def _controls(self) -> list:
        import ipywidgets

        options = [(name, i) for i, name in enumerate(next(iter(self.rows.values())))]
        self.position = ipywidgets.SelectionSlider(options=options, value=self.start, description=self.slider)
        # A choice of one would be a dead control.
        several, photos = len(self.rows) > 1, bool(self.photos)
        self.chosen = ipywidgets.Dropdown(options=list(self.rows), description=self.choice) if several else None
        self.photo = ipywidgets.Dropdown(options=list(self.photos), description="photo") if photos else None
        return [control for control in (self.chosen, self.position, self.photo) if control is not None]

    def _chosen(self) -> Frame:
        chosen = self.chosen.value if self.chosen else next(iter(self.rows))
        return self._frame_at(self.photo and self.photo.value, chosen, list(self.rows[chosen])[self.position.value], None)

    def _page_frames(self):
        count, photo = sum(map(len, self.rows.values())), next(iter(self.photos), None)
        if count > MOST_FRAMES:  # before they are computed
            raise ValueError(f"{count} frames, but at most {MOST_FRAMES}: give fewer positions.")
        frames = {name: [self._frame_at(photo, name, position, self.page_size) for position in row] for name, row in self.rows.items()}
        return frames, self.start, ""


class RestorationLab(RowLab):
    """A slider and a choice over pairs of a degradation and a restoration; made by :func:`restoration_lab`."""

    kind = "restoration-lab"

    def frame(self, photo: str, chosen: str, position: str, size: int | None = None) -> Restored:
        """What is shown for one photo, choice and position; computed once each."""
        key = (photo, chosen, position, size)
        if key not in self._frames:
            clean = self._photo(photo, size)
            degrade, restore = self.rows[chosen][position]
            self._frames[key] = self._frame(
                restore, degrade(clean), clean, ("degraded", "restored"), position,
                f"{photo}, {self.choice} {chosen}, {self.slider} {position}: "
                "left the degraded photo, BEFORE; middle the restored one, AFTER",
            )  # fmt: skip
        return self._frames[key]

    def _frame_at(self, photo, chosen, position, size):
        return self.frame(photo, chosen, position, size)


class FigureLab(RowLab):
    """A slider and a choice over figures; made by :func:`figure_lab`."""

    kind = "figure-lab"

    def frame(self, chosen: str, position: str) -> Drawn:
        """What is shown for a choice and a position; drawn once each."""
        key = (chosen, position)
        if key not in self._frames:
            drawing = self.rows[chosen][position]()
            self._frames[key] = Drawn(plots.rendered(drawing.figure), drawing.title, drawing.alt, position)
        return self._frames[key]

    def _frame_at(self, photo, chosen, position, size):
        return self.frame(chosen, position)


def noise_lab(
    denoisers: Mapping[str, Denoiser],
    photos: Mapping[str, Tensor],
    *,
    sigmas_255: Sequence[float] = tuple(range(0, 80, 5)),
    start: float = 25,
    page_sigmas_255: Sequence[float] = (0, 5, 10, 15, 20, 25, 30, 40, 50, 75),
    page_size: int = 128,
    page_bytes: int = LARGEST_BUDGET,
    seed: int = 0,
) -> NoiseLab:
    """A slider for the noise level: noisy photo, denoised photo and its error, with their PSNR.

    With a kernel every position is computed when it is first visited; σ, photo and denoiser can be chosen. The static
    page shows the first denoiser on the first two photos, from frames that are computed when the cell is executed.

    Args:
        denoisers: name -> ``denoiser(noisy, sigma)``, both on the [0, 1] scale.
        photos: name -> uint8 ``(C, H, W)``.
        sigmas_255: positions of the slider, on the 0–255 scale.
        start: the first position; one of ``sigmas_255`` and of ``page_sigmas_255``.
        page_sigmas_255: positions on the static page; times two photos at most 40.
        page_size: side of the photos' centre that the static page shows, in pixels.
        page_bytes: what the frames of the static page may take; a chapter has 300,000 for all its labs.
        seed: of the noise, whose pattern is the same at every σ.

    Raises:
        ValueError: for no denoiser or photo, σ outside [0, 255], or a start that is no position.
        TypeError: for photos that are not uint8.
    """
    if not denoisers or not photos:
        raise ValueError("noise_lab needs at least one denoiser and one photo.")
    for sigma in (*sigmas_255, *page_sigmas_255):
        if not 0 <= sigma <= 255:
            raise ValueError(f"σ = {sigma:g}, but it must lie in [0, 255], on the 0–255 scale.")
    if start not in sigmas_255 or start not in page_sigmas_255:
        raise ValueError(f"start = {start:g} must be one of sigmas_255 and of page_sigmas_255.")
    return NoiseLab(denoisers, photos, sigmas_255, start, page_sigmas_255, page_size, page_bytes, seed)


def degradation_lab(
    restorers: Mapping[str, Callable[[Tensor], Tensor]],
    photos: Mapping[str, Tensor],
    degradations: Mapping[str, Mapping[str, Callable[[Tensor], Tensor]]],
    *,
    page_size: int = 128,
    page_bytes: int = LARGEST_BUDGET,
) -> DegradationLab:
    """A choice between degradations, each with a slider for its strength: degraded, restored, and error.

    Args:
        restorers: name -> ``restorer(degraded)``, images ``(1, C, H, W)`` in [0, 1].
        photos: name -> uint8 ``(C, H, W)``.
        degradations: name -> strength in words -> ``degrade(clean)``; at most three, with equally many strengths, from
            the weakest to the strongest.
        page_size: side of the photo's centre that the static page shows, in pixels: the first photo, by the first restorer.
        page_bytes: what the frames of the static page may take; a chapter has 300,000 for all its labs.

    Raises:
        ValueError: for no restorer or photo, no or more than three degradations, or unequally many strengths.
        TypeError: for photos that are not uint8.
    """
    if not restorers or not photos:
        raise ValueError("degradation_lab needs at least one restorer and one photo.")
    if not 1 <= len(degradations) <= 3 or len({len(strengths) for strengths in degradations.values()}) != 1:
        raise ValueError("give one to three degradations, each with equally many strengths.")
    return DegradationLab(restorers, photos, degradations, page_size, page_bytes)


def restoration_lab(
    restorations: Mapping[str, Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]]],
    photos: Mapping[str, Tensor],
    *,
    slider: str,
    choice: str,
    start: int = 0,
    page_size: int = 128,
    page_bytes: int = LARGEST_BUDGET,
) -> RestorationLab:
    """A choice and a slider, each pair of which degrades a photo in its own way and restores it in its own way.

    Args:
        restorations: name of a choice -> position of the slider in words -> ``(degrade, restore)``, two functions of images
            ``(1, C, H, W)`` in [0, 1]. At most three choices, all with the same positions.
        photos: name -> uint8 ``(C, H, W)``. The static page shows the first.
        slider: label of the slider.
        choice: label of the choice.
        start: the first position, from 0.
        page_size: side of the photo's centre that the static page shows, in pixels.
        page_bytes: what the frames of the static page may take; a chapter has 300,000 for all its labs.

    Raises:
        ValueError: for no photo, no or more than three rows, rows of different positions, or a start that is no position.
        TypeError: for photos that are not uint8.
    """
    if not photos:
        raise ValueError("restoration_lab needs at least one photo.")
    _require_rows(restorations, start)
    return RestorationLab(restorations, photos, slider, choice, start, page_size, page_bytes)


def figure_lab(
    drawings: Mapping[str, Mapping[str, Callable[[], Drawing]]],
    *,
    slider: str,
    choice: str = "",
    start: int = 0,
    page_bytes: int = LARGEST_BUDGET,
) -> FigureLab:
    """A slider over figures, and a choice between at most three rows of them.

    Each figure is drawn when its position is first visited; for the static page all are drawn when the cell is executed.

    Args:
        drawings: name of a choice -> position of the slider in words -> a function that draws the figure. All rows have the
            same positions; with one row there is no choice.
        slider: label of the slider.
        choice: label of the choice.
        start: the first position, from 0.
        page_bytes: what the frames of the static page may take; a chapter has 300,000 for all its labs.

    Raises:
        ValueError: for no or more than three rows, rows of different positions, or a start that is no position.
    """
    _require_rows(drawings, start)
    return FigureLab(drawings, {}, slider, choice, start, 0, page_bytes)


def _require_rows(given: Mapping[str, Mapping[str, object]], start: int) -> None:
    rows = [list(row) for row in given.values()]
    if not 1 <= len(rows) <= 3 or not rows[0] or any(row != rows[0] for row in rows):
        raise ValueError("give one to three rows, all with the same positions, at least one.")
    if not 0 <= start < len(rows[0]):
        raise ValueError(f"start = {start}, but the positions are numbered 0 to {len(rows[0]) - 1}.")
