"""What one position of a slider shows: a photo with its restoration and their error, or a figure."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from course_lib import metrics, plots
from course_lib.batches import to_float
from course_lib.widgets.pattern import GaussianNoise
from course_lib.widgets.pictures import Pictures, without_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ERROR_GAIN = 4  # error pictures show the error this many times as strong
GAP = 4  # white columns between two parts of a picture


class Frame(Protocol):
    """What one position of a slider shows. The pixels of Python's picture and of the page's are the same."""

    position: str  # of the slider, in words
    alt: str

    def picture(self) -> bytes:
        """A WebP without loss."""

    def caption(self) -> str:
        """What stands above the picture: HTML, one ``span`` for each part of it."""

    def parts(self, pictures: Pictures) -> dict[str, Any]:
        """What the page makes the picture of: numbers of ``pictures``, to which it adds what they lack."""


def error_picture(estimate: Tensor, clean: Tensor) -> Tensor:
    """``estimate - clean``, of images of one shape, ``ERROR_GAIN`` times as strong, around mid-gray: gray is right, white too bright."""
    return (0.5 + ERROR_GAIN * (estimate - clean)).clamp(0, 1)


@dataclass(frozen=True)
class Restored:
    """A degraded photo, what was made of it, and the error of that.

    What is shown has 8 bits, as every screen has, and both PSNR are those of what is shown.
    """

    degraded: Tensor  # (1, C, H, W) as the restorer got it, not clipped; so are the next two
    restored: Tensor
    clean: Tensor
    noise: GaussianNoise | None  # where that is all that the photo was degraded by
    names: tuple[str, str]  # what the first two are called
    position: str  # of the slider, in words
    words: str  # the alternative text up to the error, with BEFORE and AFTER where the two PSNR belong

    @cached_property
    def shown(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Degraded, restored and clean photo as they are shown, uint8 ``(H, W)`` or ``(H, W, 3)``."""
        clean = plots.pixels(self.clean)
        degraded = plots.pixels(self.degraded) if self.noise is None else self.noise.shown(clean)
        return degraded, plots.pixels(self.restored), clean

    @cached_property
    def degraded_psnr(self) -> float:
        """In dB, of the degraded photo as it is shown. Noise is clipped there, so that this is above 20 log10(255 / σ)."""
        return self._psnr(self.shown[0])

    @cached_property
    def restored_psnr(self) -> float:
        """In dB, of the restored photo as it is shown."""
        return self._psnr(self.shown[1])

    def _psnr(self, shown: np.ndarray) -> float:
        estimate, clean = (to_float(torch.from_numpy(pixels)).reshape(1, 1, 1, -1) for pixels in (shown, self.shown[2]))
        return metrics.psnr(estimate, clean, protocol="raw").item()

    @property
    def alt(self) -> str:
        """The alternative text."""
        words = self.words.replace("BEFORE", _db(self.degraded_psnr)).replace("AFTER", _db(self.restored_psnr))
        return f"{words}; right its error, {ERROR_GAIN} times as strong."

    def picture(self) -> bytes:
        """Degraded, restored and error side by side, as WebP without loss."""
        degraded, restored, clean = self.shown
        error = (128 + ERROR_GAIN * (restored.astype(int) - clean)).clip(0, 255).astype(np.uint8)
        gap = np.full_like(clean[:, :GAP], 255)
        return without_loss(np.concatenate([degraded, gap, restored, gap, error], axis=1))

    def caption(self) -> str:
        """The titles of the three parts, as HTML that spans the picture."""
        before, after = self.names
        titles = (f"{before}, {_db(self.degraded_psnr)}", f"{after}, {_db(self.restored_psnr)}", f"error × {ERROR_GAIN}")
        return "".join(f"<span>{title}</span>" for title in titles)

    def parts(self, pictures: Pictures) -> dict[str, Any]:
        """The clean and the restored photo; and the noise's pattern and σ where noise is all, else the degraded photo."""
        degraded, restored, clean = self.shown
        both = {"clean": pictures.add(clean), "restored": pictures.add(restored)}
        if self.noise is None:
            return {**both, "degraded": pictures.add(degraded)}
        return {**both, "pattern": pictures.add(self.noise.levels(clean.shape)), "sigma": self.noise.sigma_255}


def restored_frame(
    restore: Callable[[Tensor], Tensor],
    degrade: Callable[[Tensor], Tensor],
    clean: Tensor,
    *,
    names: tuple[str, str],
    position: str,
    words: str,
) -> Restored:
    """Degrade a photo, restore it, and measure it before and after.

    Args:
        restore: maps the degraded photo to an estimate of ``clean``; images ``(1, C, H, W)`` in [0, 1].
        degrade: maps ``clean`` to the degraded photo. Of a :class:`~course_lib.widgets.pattern.GaussianNoise` the page needs
            σ only; of anything else it needs every degraded photo.
        clean: the photo ``(1, C, H, W)`` in [0, 1], in steps of 1/255.
        names: what the degraded and the restored photo are called above the picture.
        position: of the slider, in words.
        words: the alternative text up to the error, with BEFORE and AFTER where the two PSNR belong.

    Raises:
        ValueError: for a degraded or restored photo of another shape than ``clean``, or one that is not finite.
    """
    with torch.inference_mode():
        degraded = degrade(clean).float()
        _require_photo(degraded, clean, f"the {names[0]} photo")
        restored = restore(degraded).float()
        _require_photo(restored, clean, f"the {names[1]} photo")
    return Restored(degraded, restored, clean, degrade if isinstance(degrade, GaussianNoise) else None, names, position, words)


def _require_photo(image: Tensor, clean: Tensor, what: str) -> None:
    if image.shape != clean.shape:
        raise ValueError(f"{what} has shape {tuple(image.shape)}, but the clean one has {tuple(clean.shape)}.")
    if not bool(image.isfinite().all()):
        share = (~image.isfinite()).float().mean().item()
        raise ValueError(f"{what} is not finite in {share:.1%} of its pixels: such a picture cannot be shown, and has no PSNR.")


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
    """A drawing that has been made."""

    pixels: np.ndarray  # uint8 (H, W, 3)
    title: str
    alt: str
    position: str

    def picture(self) -> bytes:
        """The figure as WebP without loss."""
        return without_loss(self.pixels)

    def caption(self) -> str:
        """The title."""
        return f"<span>{html.escape(self.title)}</span>"

    def parts(self, pictures: Pictures) -> dict[str, Any]:
        """The figure."""
        return {"figure": pictures.add(self.pixels)}
