"""What one position of a slider shows: a photo with its restoration and their error, or a figure."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from course_lib import devices, metrics, plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_QUALITIES = (80, 65, 50, 40, 30, 20, 10, 5, 1)
"""WebP qualities of the page's frames, from the best to the lowest. Noise does not compress, so that one of them must fit."""
ERROR_GAIN = 4  # error pictures show the error this many times as strong


class Frame(Protocol):
    """What one position of a slider shows."""

    position: str  # of the slider, in words
    alt: str

    def picture(self, quality: int) -> bytes:
        """A WebP of that quality."""

    def caption(self) -> str:
        """What stands above the picture: HTML, one ``span`` for each part of it."""


def error_picture(estimate: Tensor, clean: Tensor) -> Tensor:
    """``estimate - clean``, of images of one shape, ``ERROR_GAIN`` times as strong, around mid-gray: gray is right, white too bright."""
    return (0.5 + ERROR_GAIN * (estimate - clean)).clamp(0, 1)


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
        error = error_picture(self.restored, self.clean)
        return plots.encoded(plots.pixels(torch.cat([self.degraded, gap, self.restored, gap, error], dim=3)), quality)

    def caption(self) -> str:
        """The titles of the three parts, as HTML that spans the picture."""
        before, after = self.names
        titles = (f"{before}, {_db(self.degraded_psnr)}", f"{after}, {_db(self.restored_psnr)}", f"error × {ERROR_GAIN}")
        return "".join(f"<span>{title}</span>" for title in titles)


def restored_frame(
    restore: Callable[[Tensor], Tensor], degraded: Tensor, clean: Tensor, *, names: tuple[str, str], position: str, words: str
) -> Restored:
    """Restore a degraded photo, and measure it before and after.

    Args:
        restore: maps ``degraded`` to an estimate of ``clean``; images ``(1, C, H, W)`` in [0, 1].
        degraded, clean: the photo, degraded and not.
        names: what the degraded and the restored photo are called above the picture.
        position: of the slider, in words.
        words: the alternative text up to the error, with BEFORE and AFTER where the two PSNR belong.
    """
    # The pictures may be computed in bfloat16 where that is faster; it moves a PSNR by less than 0.02 dB.
    fast = devices.precision("auto", torch.device("cpu")) == "bf16-mixed"
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast):
        restored = restore(degraded).float()
    before = metrics.psnr(degraded, clean, protocol="raw").item()  # noise is not clipped, so neither is its measure
    after = metrics.psnr(restored, clean, protocol="clamped").item()
    alt = words.replace("BEFORE", _db(before)).replace("AFTER", _db(after)) + f"; right its error, {ERROR_GAIN} times as strong."
    return Restored(degraded, restored, clean, before, after, names, position, alt)


def _db(value: float) -> str:
    return f"{value:.2f} dB" if np.isfinite(value) else "exact"


@dataclass(frozen=True)
class Drawing:
    """A figure at one position of a slider: what a function given to ``figure_lab`` returns."""

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
