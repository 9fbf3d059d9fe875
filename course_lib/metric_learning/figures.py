"""The figures of metric learning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from course_lib import plots


def distributions(pairs: Mapping[str, tuple[Tensor, Tensor]], *, gamma: float | None = None, most: float | None = None):
    """Histograms of the distances of pairs, of one identity and of two, beside each other for every name: a figure to show.

    Args:
        pairs: name -> (distance ``(N,)``, same identity? ``(N,)``).
        gamma: a threshold to mark.
        most: end of the distance axis; the largest distance where it is None.
    """
    drawn, axes = plots.figure(3.6 * max(2, len(pairs)), 2.6, ncols=len(pairs), squeeze=False)
    for axis, (name, (distance, same)) in zip(axes.flat, pairs.items(), strict=True):
        bins = np.linspace(0, most or float(distance.max()), 41)
        for kind, color, label in ((same, plots.COLORS[0], "one person"), (~same, plots.COLORS[1], "two people")):
            axis.hist(distance[kind].clamp(max=bins[-1]).numpy(), bins, density=True, alpha=0.6, color=color, label=label)
        if gamma is not None:
            axis.axvline(gamma, color="#333333", ls="--", lw=1.2, label="γ")
        axis.set(title=name, xlabel="distance", yticks=[])
        axis.legend(fontsize=8, frameon=plots.STYLE["legend.frameon"])
    return drawn
