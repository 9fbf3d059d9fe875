"""The sliders of the book: one cell, alive in JupyterLab with a kernel and on the static page without one.

A widget displays two faces of one output. JupyterLab takes the ipywidgets view, whose every move computes. The site takes
the HTML, whose frames were computed when the chapter was executed and which ``_static/noise_lab.js`` swaps.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from course_lib import devices, metrics, noise, plots
from course_lib.batches import center, to_float
from course_lib.noise import Denoiser, test_noise

LARGEST_BUDGET = 300_000
"""Bytes that the frames of one chapter may take on its static page."""
MOST_FRAMES, PAGE_PHOTOS = 40, 2
PAGE_QUALITIES = (80, 65, 50, 40, 30, 20, 10)
"""WebP qualities of the page's frames, from the best to the lowest. Noise does not compress, so that one of them must fit."""


@dataclass(frozen=True)
class Frame:
    """What one position of the slider shows."""

    noisy: Tensor  # (1, C, H, W), as are the next two
    denoised: Tensor
    clean: Tensor
    noisy_psnr: float  # dB, raw: 20 log10(255 / σ) but for chance
    denoised_psnr: float  # dB, clamped
    alt: str

    def picture(self, quality: int) -> bytes:
        """Noisy, denoised and error side by side, as WebP."""
        gap = torch.ones_like(self.clean[..., :4])
        error = plots.error_picture(self.denoised, self.clean)
        return plots.encoded(plots.pixels(torch.cat([self.noisy, gap, self.denoised, gap, error], dim=3)), quality)

    def caption(self) -> str:
        """The titles of the three parts, as HTML that spans the picture."""
        titles = (f"noisy, {_db(self.noisy_psnr)}", f"denoised, {_db(self.denoised_psnr)}", f"error × {plots.ERROR_GAIN}")
        return "".join(f"<span>{title}</span>" for title in titles)


def _db(value: float) -> str:
    return f"{value:.2f} dB" if np.isfinite(value) else "exact"


class NoiseLab:
    """A slider for σ over noisy, denoised and error pictures; made by :func:`noise_lab`."""

    def __init__(self, denoisers, photos, sigmas_255, start, page_sigmas_255, page_size, seed):
        self.denoisers, self.photos, self.seed = dict(denoisers), dict(photos), seed
        self.sigmas_255, self.start = tuple(sigmas_255), start
        self.page_sigmas_255, self.page_size = tuple(page_sigmas_255), page_size
        self._frames: dict[tuple, Frame] = {}
        self._view = None

    def frame(self, denoiser: str, photo: str, sigma_255: float, size: int | None = None) -> Frame:
        """What is shown for one denoiser, photo and σ, on the central ``size`` × ``size`` pixels; computed once each."""
        key = (denoiser, photo, sigma_255, size)
        if key not in self._frames:
            clean = to_float(center(self.photos[photo], size) if size else self.photos[photo])[None]
            sigma = noise.from_255(sigma_255)
            noisy = test_noise(clean, sigma, seed=self.seed)
            # The pictures may be computed in bfloat16 where that is faster; it moves a PSNR by less than 0.02 dB.
            fast = devices.precision("auto", torch.device("cpu")) == "bf16-mixed"
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast):
                denoised = self.denoisers[denoiser](noisy, sigma).float()
            before = metrics.psnr(noisy, clean, protocol="raw").item()  # the noise is not clipped, so neither is its measure
            after = metrics.psnr(denoised, clean, protocol="clamped").item()
            alt = (
                f"{photo} with noise of σ = {sigma_255:g}: left the noisy photo, {_db(before)}; middle the output of "
                f"{denoiser}, {_db(after)}; right its error, {plots.ERROR_GAIN} times as strong."
            )
            self._frames[key] = Frame(noisy, denoised, clean, before, after, alt)
        return self._frames[key]

    # --- in JupyterLab --------------------------------------------------------------------------------------------------

    @property
    def view(self):
        """The ipywidgets box, with the controls ``sigma``, ``photo`` and ``denoiser``, and the ``picture`` that they choose."""
        if self._view is None:
            import ipywidgets

            self.sigma = ipywidgets.SelectionSlider(
                options=[(f"{s:g}", s) for s in self.sigmas_255], value=self.start, description="noise σ"
            )
            self.photo = ipywidgets.Dropdown(options=list(self.photos), description="photo")
            self.denoiser = ipywidgets.Dropdown(options=list(self.denoisers), description="denoiser")
            self.picture = ipywidgets.HTML()
            for control in (self.sigma, self.photo, self.denoiser):
                control.observe(self._redraw, names="value")
            self._redraw()
            self._view = ipywidgets.VBox([ipywidgets.HBox([self.sigma, self.photo, self.denoiser]), self.picture])
        return self._view

    def _redraw(self, change=None) -> None:
        try:
            frame = self.frame(self.denoiser.value, self.photo.value, self.sigma.value)
            shown = plots.img_tag(frame.picture(quality=85), frame.alt, attributes='style="width:100%"')
            titles = f'<div style="display:flex;justify-content:space-around">{frame.caption()}</div>'
            self.picture.value = f'<div style="max-width:800px">{titles}{shown}</div>'
        except Exception as error:  # an ipywidgets callback swallows it: the reader would see a slider that does nothing
            self.picture.value = f"<b>This position could not be computed:</b> {html.escape(str(error))}"
            raise

    # --- on the static page ---------------------------------------------------------------------------------------------

    def page(self) -> str:
        """The HTML of the static page: the first denoiser on the first two photos, with a range input for σ.

        The controls appear only where JavaScript runs; without it the page shows the picture of the starting σ.

        Raises:
            ValueError: if the frames are more, or take more bytes, than a chapter's page may have.
        """
        denoiser, photos = next(iter(self.denoisers)), list(self.photos)[:PAGE_PHOTOS]
        if len(photos) * len(self.page_sigmas_255) > MOST_FRAMES:
            raise ValueError(f"{len(photos) * len(self.page_sigmas_255)} frames, but at most {MOST_FRAMES}: give fewer σ.")
        shown = {f"{p}/{s:g}": self.frame(denoiser, p, s, self.page_size) for p in photos for s in self.page_sigmas_255}
        for quality in PAGE_QUALITIES:
            images = {key: base64.b64encode(frame.picture(quality)).decode() for key, frame in shown.items()}
            size = sum(map(len, images.values()))
            if size <= LARGEST_BUDGET:
                break
        else:
            raise ValueError(f"the frames take {size} bytes, but at most {LARGEST_BUDGET}: give fewer, or smaller ones.")
        frames = {key: {"image": images[key], "alt": frame.alt, "caption": frame.caption()} for key, frame in shown.items()}
        first = frames[f"{photos[0]}/{self.start:g}"]
        picture = plots.img_tag(base64.b64decode(first["image"]), first["alt"])
        options = "".join(f"<option>{html.escape(photo)}</option>" for photo in photos)
        position = self.page_sigmas_255.index(self.start)
        data = json.dumps({"sigmas": [f"{s:g}" for s in self.page_sigmas_255], "frames": frames}, ensure_ascii=False)
        data = data.replace("<", r"\u003c")  # so that no text in it can end the script element
        return (
            '<div class="noise-lab">'
            '<div class="noise-lab-controls" hidden>'
            f'<label>noise σ <input type="range" min="0" max="{len(self.page_sigmas_255) - 1}" step="1" value="{position}" '
            f'aria-valuetext="σ = {self.start:g}"></label><output>{self.start:g}</output>'
            f"<label>photo <select>{options}</select></label> <span>{html.escape(denoiser)}</span></div>"
            f'<div class="noise-lab-titles" aria-live="polite">{first["caption"]}</div>{picture}'
            f'<script type="application/json">{data}</script></div>'
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        frame = self.frame(next(iter(self.denoisers)), next(iter(self.photos)), self.start)
        return {**self.view._repr_mimebundle_(), "text/html": self.page(), "text/plain": frame.alt}


def noise_lab(
    denoisers: Mapping[str, Denoiser],
    photos: Mapping[str, Tensor],
    *,
    sigmas_255: Sequence[float] = tuple(range(0, 80, 5)),
    start: float = 25,
    page_sigmas_255: Sequence[float] = (0, 5, 10, 15, 20, 25, 30, 40, 50, 75),
    page_size: int = 128,
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
    for photo in photos.values():
        to_float(photo[:, :1, :1])  # raises TypeError unless uint8
    return NoiseLab(denoisers, photos, sigmas_255, start, page_sigmas_255, page_size, seed)
