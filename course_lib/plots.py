"""The figures of the book: one style, and an alternative text with every one of them."""

from __future__ import annotations

import base64
import html
import io
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib import checks
from course_lib.batches import to_uint8

# of Okabe and Ito, told apart by everyone, and a gray
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
STYLE = {
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def figure(width: float, height: float, **subplots):
    """A matplotlib figure in the style of the book, ``(figure, axes)``, unknown to pyplot so that nothing shows it twice."""
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({**STYLE, "axes.prop_cycle": cycler(color=COLORS)}):
        made = Figure(figsize=(width, height))
        return made, made.subplots(**subplots)


def encoded(pixels: np.ndarray, quality: int, *, lossless: bool = False) -> bytes:
    """uint8 pixels ``(H, W)`` or ``(H, W, 3)`` as WebP; only what is shown is lossy, figures come from the arrays."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="WEBP", quality=quality, lossless=lossless, method=4)
    return file.getvalue()


def rendered(drawn, dpi: int = 90) -> np.ndarray:
    """The pixels of a matplotlib figure, uint8 ``(H, W, 3)``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn.set_dpi(dpi)
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def img_tag(content: bytes, alt: str, mime: str = "image/webp", attributes: str = "") -> str:
    """An ``<img>`` that carries its content, and its alternative text wherever the page is read."""
    data = base64.b64encode(content).decode()
    return f'<img src="data:{mime};base64,{data}" alt="{html.escape(alt, quote=True)}" {attributes}>'


class Shown:
    """A finished figure for the end of a cell: a picture with its alternative text."""

    def __init__(self, content: bytes, alt: str, width: int, mime: str = "image/webp", panels: int = 1):
        self.content, self.alt, self.width, self.mime, self.panels = content, alt, width, mime, panels

    def _repr_mimebundle_(self, include=None, exclude=None):
        beside = f";--panels:{self.panels}" if self.panels > 1 else ""  # for the site's style, which keeps each of them large on a phone
        tag = img_tag(self.content, self.alt, self.mime, f'width="{self.width}" style="max-width:100%;height:auto{beside}"')
        return {"text/html": tag, "text/plain": self.alt}


def show(drawn, alt: str, *, photo: bool = False, panels: int = 1) -> Shown:
    """A matplotlib figure as a picture with an alternative text.

    Args:
        drawn: the figure.
        alt: what a reader who cannot see it must know: what is shown, and what it says.
        photo: does it hold photographs? They are coded with loss, line drawings without.
        panels: how many photographs, side by side, a reader must see in detail.

    Raises:
        ValueError: for an empty alternative text.
    """
    if not alt.strip():
        raise ValueError("a figure needs an alternative text that says what it shows.")
    file = io.BytesIO()
    options = {"quality": 52, "method": 6} if photo else {"lossless": True, "method": 4}
    drawn.savefig(file, format="webp", dpi=90 if photo else 110, pil_kwargs=options)
    return Shown(file.getvalue(), alt, round(drawn.get_figwidth() * 80), panels=panels)


def pixels(image: Tensor) -> np.ndarray:
    """An image ``(C, H, W)`` or ``(1, C, H, W)`` in [0, 1], or 8-bit, as uint8 ``(H, W)`` or ``(H, W, 3)``, clamped.

    Raises:
        TypeError: for anything but a tensor of numbers.
        ValueError: for another shape, NaN, or an image on the 0–255 scale.
    """
    checks.tensor(image, "an image to show", finite=False)
    image = image[0] if image.dim() == 4 and len(image) == 1 else image
    if image.dim() != 3 or image.shape[0] not in (1, 3) or not image.numel():
        raise ValueError(f"an image to show has shape {tuple(image.shape)}, but (C, H, W) of 1 or 3 channels is expected.")
    eight_bit = image.cpu() if image.dtype == torch.uint8 else to_uint8(image.detach().cpu())
    array = eight_bit.permute(1, 2, 0).numpy()
    return array[..., 0] if array.shape[2] == 1 else array


def photographs(panels: Mapping[str, Tensor], alt: str, *, columns: int | None = None) -> Shown:
    """Images ``(C, H, W)``, in [0, 1] or 8-bit, side by side, each with its title; pixel for pixel, without axes.

    Raises:
        TypeError: for images that are no tensors of numbers.
        ValueError: for no images, or one of another shape, with NaN, or on the 0–255 scale.
    """
    if not panels:
        raise ValueError("there are no images to show.")
    columns = columns or len(panels)
    rows = -(-len(panels) // columns)
    drawn, axes = figure(2.9 * columns, 3.15 * rows, nrows=rows, ncols=columns, squeeze=False)
    for axis, (title, image) in zip(axes.flat, panels.items(), strict=False):
        axis.imshow(pixels(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(title, fontsize=10)
    for axis in axes.flat:
        axis.axis("off")
    return show(drawn, alt, photo=True, panels=columns)


def history(run, name: str, label: str, alt: str) -> Shown:
    """A value that a training reported, over its steps (an empty frame for a run of no steps)."""
    drawn, axis = figure(7, 3.0)
    axis.plot(run.steps, run.values.get(name, []), lw=1.5)
    axis.set(xlabel="step", ylabel=label)
    return show(drawn, alt)


def curves(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    alt: str,
    mark: float | None = None,
    logarithmic: bool = False,
    halves: Mapping[str, Sequence[float]] | None = None,
    dashes: Mapping[str, str] | None = None,
) -> Shown:
    """Lines over a common x, told apart by colour and marker; ``mark`` draws a dashed vertical line.

    With ``logarithmic`` both axes are, with a tick at each x. ``halves`` has half the width of a band around a line, such as its
    confidence interval, for those lines that have one. ``dashes`` has what lines that belong together are drawn with, such as ``"--"``;
    else those that come after the last colour are dashed. The names of more lines than there is room for within stand at the right.
    """
    many = len(lines) > 7
    drawn, axis = figure(8.6 if many else 7, 3.7 if many else 3.4)
    for number, ((label, y), marker) in enumerate(zip(lines.items(), itertools.cycle("osD^vPXp"), strict=False)):
        style = (dashes or {}).get(label, "-" if number < len(COLORS) else "--")
        (line,) = axis.plot(x, y, marker=marker, ms=4.5, lw=1.5, label=label, ls=style)
        if halves and label in halves:
            low, high = ([a + sign * b for a, b in zip(y, halves[label], strict=True)] for sign in (-1, 1))
            axis.fill_between(x, low, high, color=line.get_color(), alpha=0.2, lw=0)
    if mark is not None:
        axis.axvline(mark, color="#666666", ls="--", lw=1)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if all(isinstance(value, int) for value in x):
        axis.xaxis.get_major_locator().set_params(integer=True)  # there is no half a layer
    if logarithmic:
        axis.set(xscale="log", yscale="log")
        axis.set_xticks(list(x), [f"{value:g}" for value in x])
        axis.minorticks_off()
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "handlelength": 3.5} if many else {}
    axis.legend(fontsize=9, frameon=STYLE["legend.frameon"], **beside)
    return show(drawn, alt)


def grid(rows: Sequence[Sequence[tuple[Tensor, str, bool]]], labels: Sequence[str]):
    """Rows of small images, each ``(image (C, H, W) in [0, 1], title, framed?)``, with a label before each row: a figure to show."""
    columns = max(map(len, rows))
    drawn, axes = figure(1.25 * columns + 0.4, 1.45 * len(rows), nrows=len(rows), ncols=columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
    for row, label, line in zip(rows, labels, axes, strict=True):
        line[0].set_ylabel(label, fontsize=10)
        for axis, (image, title, framed) in zip(line, row, strict=False):
            axis.imshow(pixels(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set_title(title, fontsize=9)
            if framed:
                axis.spines[:].set(visible=True, color=COLORS[1], linewidth=3)
    return drawn


def mosaic(rows: Sequence[Sequence[Tensor]], *, gap: int = 4):
    """Rows of images ``(3, H, W)`` in [0, 1] of one size, pixel for pixel on white: a figure for a slider, which it keeps small.

    Raises:
        ValueError: for no images, or rows of unequal length.
    """
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        raise ValueError(f"rows have {[len(row) for row in rows]} images: give rows of as many images, at least one.")
    from matplotlib.figure import Figure

    lines = [torch.cat([torch.nn.functional.pad(image, (gap,) * 4, value=1.0) for image in row], 2) for row in rows]
    array = pixels(torch.cat(lines, 1))
    drawn = Figure(figsize=(array.shape[1] / 90, array.shape[0] / 90), dpi=90)
    drawn.figimage(array, origin="upper")
    return drawn


def tiles(images: Sequence[Tensor], positions: np.ndarray, alt: str, *, side: int = 24) -> Shown:
    """A mosaic: every image ``(C, H, W)`` in [0, 1] as a tile of a square grid, near the others that are near it.

    Args:
        images: N of them, of one size.
        positions: ``(N, 2)``, such as an embedding by t-SNE.
        alt: alternative text.
        side: tiles in a row and in a column. Images and cells are paired so that the sum of the squared distances is smallest;
            images that are left over are not shown.

    Raises:
        ValueError: for fewer images than cells, or positions of another number.
    """
    if len(images) < side * side or positions.shape != (len(images), 2):
        raise ValueError(f"{len(images)} images at positions {positions.shape}: {side * side} cells need as many images, each with (x, y).")
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    low, high = positions.min(0), positions.max(0)
    axis = (np.arange(side) + 0.5) / side
    cells = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    chosen = linear_sum_assignment(cdist(cells, (positions - low) / (high - low), "sqeuclidean"))[1]  # for each cell an image
    rows = [torch.cat([images[chosen[x * side + y]] for x in range(side)], dim=2) for y in reversed(range(side))]
    drawn, axes = figure(7, 7)
    axes.imshow(pixels(torch.cat(rows, dim=1)), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.axis("off")
    return show(drawn, alt, photo=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]):
    """A table that JupyterLab and the site both render."""
    from IPython.display import Markdown

    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (header, ["---"] * len(header), *rows)]
    return Markdown("\n".join(lines))


def source(function):
    """The source of a function or class of the library, highlighted: what a chapter explains is the code that runs."""
    import inspect

    from IPython.display import Code

    return Code(inspect.getsource(function), language="python")
