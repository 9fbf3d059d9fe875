"""The figures of classifying noisy images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import plots


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
        for name, (x, y) in zip(classes, ((space.means - centre) @ directions).tolist(), strict=True):
            axis.text(x, y, name, color="#666666", fontsize=13, ha="center", va="center")
        for number, (name, features) in enumerate(space.points.items()):
            x, y = ((features - centre) @ directions).T.tolist()
            single = len(x) == 1
            style = dict(marker="*", s=170, edgecolors="black", zorder=3) if single else dict(s=12, alpha=0.6)
            axis.scatter(x, y, label=name, color=plots.COLORS[number % len(plots.COLORS)], linewidths=0.6 if single else 0, **style)
        axis.set_title(title, fontsize=10)
        axis.set(xticks=[], yticks=[])
        axis.margins(0.1)
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.02))
    return drawn
