"""The figures of classifying noisy images."""

from __future__ import annotations

from collections.abc import Mapping

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
