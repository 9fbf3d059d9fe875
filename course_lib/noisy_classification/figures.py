"""The figures of classifying noisy images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import plots, results


def verdicts(image: Tensor, said: Mapping[str, Tensor], label: int, classes: tuple[str, ...] | list[str]):
    """An image beside what classifiers say of it, each with how sure it is: a figure to show.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        said: name of a classifier -> its logits ``(classes,)``.
        label: the true class.
        classes: their names.
    """
    drawn, (left, right) = plots.figure(6.4, 2.2, ncols=2, width_ratios=[1, 2.2])
    left.imshow(plots.pixels(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    left.axis("off")
    for row, logits in enumerate(said.values()):
        chance, best = logits.softmax(0).max(0)
        right.barh(row, chance.item(), color=plots.COLORS[2] if int(best) == label else plots.COLORS[1])
        right.text(1.03, row, f'says "{classes[int(best)]}"', va="center", fontsize=9)
    right.set(xlim=(0, 1.3), yticks=range(len(said)), xticks=[0, 0.5, 1], xlabel="probability of what it says")
    right.set_yticklabels(list(said))
    right.invert_yaxis()
    return drawn


def verdicts_in_words(said: Mapping[str, Tensor], label: int, classes: tuple[str, ...] | list[str]) -> str:
    """The same for whoever cannot see it, from logits ``(classes,)``: ``clean only says 3, wrong; …``."""
    words = []
    for name, logits in said.items():
        best = int(logits.argmax())
        words.append(f"{name} says {classes[best]}, {'right' if best == label else 'wrong'}")
    return "; ".join(words)


def trade_off(points: Mapping[str, Mapping[str, tuple[float, float]]], *, below: str = ""):
    """Accuracy against PSNR: a line through the points of each series in their order, named beside them. A figure to show.

    Args:
        points: name of a series -> name of a point -> (PSNR in dB, accuracy in percent). A series without points is left out.
        below: the series whose points are named below them, where there is room; those of all others above.

    Raises:
        ValueError: for no points at all.
    """
    if not any(points.values()):
        raise ValueError("there are no points to draw: give {series: {point: (psnr, accuracy)}}.")
    drawn, axis = plots.figure(7, 3.9)
    there = {name: series for name, series in points.items() if series}
    names = []
    for (name, series), marker in zip(there.items(), itertools.cycle("osD^vPX"), strict=False):
        [line] = axis.plot(*zip(*series.values(), strict=True), marker=marker, ms=5.5, lw=1.5, label=name)
        sides = ((-6, -12), (-6, 5), (5, -13), (5, 5)) if name == below else ((5, 5), (5, -13), (-5, 5), (-5, -13))
        names += [(label, place, line.get_color(), sides) for label, place in series.items()]
    axis.margins(0.12)
    axis.set(xlabel="PSNR of what the classifier sees (dB)", ylabel="correct, of 100")
    axis.legend(fontsize=9, frameon=plots.STYLE["legend.frameon"])
    drawn.draw_without_rendering()  # from here on it is known where on the page a point lies
    taken = []
    for label, place, color, sides in names:
        text = axis.annotate(label, place, sides[0], textcoords="offset points", fontsize=8.5, color=color)
        for x, y in sides:  # the first on which no other name stands
            text.set(position=(x, y), ha="left" if x > 0 else "right")
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
    return drawn


def recorded(rows: Mapping[str, str], preset: str, data: str, sigma_255: float) -> dict[str, tuple[float, float]]:
    """What is recorded of cascades, for :func:`trade_off`: name of a point -> (PSNR in dB, accuracy in percent), without what was not run.

    Args:
        rows: name of a point -> recipe.
        preset: of the runs.
        data: the data set that they were tested on.
        sigma_255: of the test's noise, on the 0–255 scale.

    Raises:
        results.RecordError: for a damaged record.
    """
    found = {}
    for name, recipe in rows.items():
        if (recipe, preset) in results.recorded():
            measured = results.read(recipe, preset)["metrics"][data]
            found[name] = (measured[f"psnr_{sigma_255:g}"], measured[f"accuracy_{sigma_255:g}"])
    return found


@dataclass(frozen=True)
class Space:
    """The features of one network's coordinates, and who is in them.

    Args:
        means: of each class ``(K, D)``: the plane that is drawn is the one in which they are furthest apart.
        points: name -> features ``(n, D)`` to show there.
    """

    means: Tensor
    points: Mapping[str, Tensor]


def plane(means: Tensor) -> tuple[Tensor, Tensor]:
    """(Centre ``(D,)``, axes ``(D, 2)``) of the plane that keeps most of the scatter of ``(K, D)`` points: their principal components.

    Raises:
        ValueError: for fewer than three points, or points of fewer than two coordinates.
    """
    if means.dim() != 2 or min(means.shape[0] - 1, means.shape[1]) < 2:
        raise ValueError(f"means are {tuple(means.shape)}, but at least three points of at least two coordinates, (K, D), make a plane.")
    centre = means.mean(0)
    axes = torch.linalg.svd(means - centre, full_matrices=False)[2][:2].T
    return centre, axes * axes[axes.abs().argmax(0), torch.arange(2)].sign()  # the largest entry of each is positive


def feature_spaces(spaces: Mapping[str, Space], classes: tuple[str, ...] | list[str]):
    """A panel for each space: the means of the classes by their names, single points as stars, several as clouds; a figure to show."""
    drawn, axes = plots.figure(8.2, 3.6, ncols=len(spaces), squeeze=False)
    for axis, (title, space) in zip(axes[0], spaces.items(), strict=True):
        centre, directions = plane(space.means)
        means = ((space.means - centre) @ directions).tolist()
        axis.update_datalim(means)  # texts do not widen the axes
        for name, (x, y) in zip(classes, means, strict=True):
            axis.text(x, y, name, color="#666666", fontsize=13, ha="center", va="center")
        for number, (name, features) in enumerate(space.points.items()):
            x, y = ((features - centre) @ directions).T.tolist()
            single = len(x) == 1
            style = dict(marker="*", s=170, edgecolors="black", zorder=3) if single else dict(s=12, alpha=0.6)
            axis.scatter(x, y, label=name, color=plots.COLORS[number % len(plots.COLORS)], linewidths=0.6 if single else 0, **style)
        axis.set_title(title, fontsize=10)
        axis.set(xticks=[], yticks=[])
        axis.margins(0.1)
        axis.autoscale_view()
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.02))
    return drawn
