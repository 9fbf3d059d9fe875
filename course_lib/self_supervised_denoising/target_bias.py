r"""Which statistic of a noisy pixel each loss keeps, and how far that is from the clean value.

The constant c that minimises :math:`\sum_k \ell(c - z_k)` over many noisy values of one pixel is their mean for :math:`\ell_2`, their
median for :math:`\ell_1`, and their mode for :math:`\ell_0`. Its distance to the clean value y is the *bias* that the best possible network
keeps, however long it trains. For a pixel of value y, with :math:`\varphi, \Phi` the density and the distribution of N(0, 1):

=====================  =========================================  ==============================  ============================
noise                  mean                                       median                          mode
=====================  =========================================  ==============================  ============================
Gaussian               0                                          0                               0
clipped Gaussian       :func:`clipped_mean` − y                   0                               to 0 or 1, near them
Poisson, χ             0                                          within 1/χ                      within 1/χ
lost with p            −p y                                       0 for p < ½, then −y            0 for p < ½, then −y
text, impulses, p      p (½ − y)                                  0 for p < ½                     0 for p < 1
=====================  =========================================  ==============================  ============================

For the mean this carries over to a network exactly: :math:`E[z' \mid z] = E[y \mid z]` if the bias is 0. The median of :math:`z'`
given z is that of y only where the input tells y well; the rest is an approximation.

Source: J. Lehtinen et al., *Noise2Noise*, ICML 2018, arXiv:1803.04189, for the losses; the biases are derived here.
"""

from __future__ import annotations

import math

import numpy as np

from course_lib import checks

STATISTICS = {"l2": "mean", "l1": "median", "l0": "mode"}
"""Loss -> the statistic of the targets that minimises it."""
KINDS = ("gaussian", "clipped", "poisson", "bernoulli", "text", "impulses")


def clipped_mean(y: float, sigma: float) -> float:
    r"""Mean of a pixel y with Gaussian noise of σ, clipped to [0, 1]; :math:`\sigma/\sqrt{2\pi}` above y for a black pixel.

    With :math:`a = -y/\sigma, b = (1 - y)/\sigma`: :math:`y\,(\Phi(b) - \Phi(a)) + \sigma\,(\varphi(a) - \varphi(b)) + 1 - \Phi(b)`.

    Raises:
        TypeError, ValueError: for a y that is no number, or a σ that is none of at least 0.
    """
    from scipy import stats

    y, sigma = checks.number(y, "y"), checks.number(sigma, "sigma", 0)
    if sigma == 0:
        return min(max(y, 0.0), 1.0)
    normal, a, b = stats.norm, -y / sigma, (1 - y) / sigma
    return float(y * (normal.cdf(b) - normal.cdf(a)) + sigma * (normal.pdf(a) - normal.pdf(b)) + normal.sf(b))


def bias(kind: str, loss: str, y: float, strength: float) -> float:
    """By how much the minimiser of a loss exceeds the clean value, with very many noisy targets.

    Args:
        kind: of the noise, one of ``KINDS``: "clipped" is Gaussian noise clipped to [0, 1].
        loss: "l2", "l1" or "l0".
        y: clean value, in [0, 1].
        strength: σ on the [0, 1] scale; χ, the photons that white expects; or p, the share of the pixels that are hit.

    Raises:
        ValueError: for an unknown kind or loss, a value outside [0, 1], or a strength that makes no sense.
    """
    if kind not in KINDS or loss not in STATISTICS:
        raise ValueError(f'kind "{kind}" and loss "{loss}": they are one of {", ".join(KINDS)} and of {", ".join(STATISTICS)}.')
    hits = kind in ("bernoulli", "text", "impulses")
    if not 0 <= y <= 1 or not strength >= 0 or (kind == "poisson" and strength == 0) or (hits and strength > 1):
        raise ValueError(f"y = {y:g}, strength = {strength:g}: y lies in [0, 1], σ is not negative, χ is positive, and p lies in [0, 1].")
    if kind == "gaussian":
        return 0.0
    if kind == "clipped":
        return _clipped(loss, y, strength)
    if kind == "poisson":
        from scipy import stats

        count = strength * y
        kept = {"l2": count, "l1": float(stats.poisson.median(count)), "l0": math.floor(count)}[loss]
        return kept / strength - y
    p = strength
    if kind == "bernoulli":
        return -p * y if loss == "l2" else (0.0 if p < 0.5 else -y)
    if loss == "l2":
        return p * (0.5 - y)
    if loss == "l0":
        return 0.0 if p < 1 else math.nan  # without any clean pixel there is no mode
    return min(max(y, (p - 0.5) / p), 0.5 / p) - y if p > 0.5 else 0.0


def _clipped(loss: str, y: float, sigma: float) -> float:
    if loss == "l2":
        return clipped_mean(y, sigma) - y
    if loss == "l1" or sigma == 0:
        return 0.0  # clipping keeps the order of values, and so moves the median as it moves y itself: not at all
    from scipy import stats

    black, white = stats.norm.cdf(-y / sigma), stats.norm.sf((1 - y) / sigma)
    return float(-y if black >= white else 1 - y)  # one value with a probability of its own beats every density


def fitted(values: np.ndarray, loss: str, *, epsilon: float = 1e-3) -> float:
    """The constant that minimises a loss over noisy values ``(N,)`` of one pixel, found by trying every one of them or their mean.

    Args:
        values: the noisy values.
        loss: "l2", "l1", or "l0", taken as the share of values that are further than ``epsilon`` away.
        epsilon: width of a value's neighbourhood for l0.

    Raises:
        ValueError: for no values, or an unknown loss.
    """
    if loss not in STATISTICS or values.ndim != 1 or not len(values):
        raise ValueError(f'loss "{loss}" of values {values.shape}: it is one of {", ".join(STATISTICS)}, of one or more values (N,).')
    if loss == "l2":
        return float(values.mean())
    if loss == "l1":
        return float(np.median(values))
    ordered = np.sort(values)
    near = np.searchsorted(ordered, ordered + epsilon, side="right") - np.searchsorted(ordered, ordered - epsilon, side="left")
    best = np.flatnonzero(near == near.max())
    return float(ordered[best].mean())
