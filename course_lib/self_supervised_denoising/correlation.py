r"""How much of correlated noise its neighbours tell, in closed form.

Noise of variance 1 has the autocovariance r(d) at distance d. A blind spot hides a pixel, but its neighbours know something of its noise.
The best linear predictor from *all* other pixels leaves a part of the variance that its power spectrum :math:`S` tells
(Kolmogorov's formula for a missing value):

.. math:: \text{left} = \Bigl(\frac{1}{(2\pi)^2} \int S(\omega)^{-1}\,d\omega\Bigr)^{-1}, \qquad S(\omega) = \sum_d r(d)\,e^{-i\omega d} .

For Gaussian noise no other predictor is better. Every s-th pixel has the autocovariance r(s d), hence a spectrum of its own: with a larger
stride it becomes flat, and nothing can be guessed any more. Noise made by a separable filter has a separable spectrum, and the two factors
are multiplied.

Source: U. Grenander, M. Rosenblatt, *Statistical Analysis of Stationary Time Series*, 1957, on interpolation.
"""

from __future__ import annotations

import numpy as np

from course_lib import checks
from course_lib.corruptions import LONGEST, gaussian_taps

FREQUENCIES = 4096


def autocovariance(length: float, stride: int = 1) -> np.ndarray:
    """r(0), r(s), r(2 s), … along a row of the noise of :func:`course_lib.corruptions.correlated`, ``(n,)``, down to the last not zero.

    It is that of the filter as it is computed, which the formula exp(−d² / 4ℓ²) approaches for a long filter.

    Args:
        length: standard deviation ℓ of the filter in pixels, from 0 to 32.
        stride: s.

    Raises:
        TypeError: for anything but numbers.
        ValueError: for a length outside its range, or a stride that is no whole number of at least 1.
    """
    taps = gaussian_taps(checks.number(length, "length", 0, LONGEST)).double().numpy()
    return np.convolve(taps, taps[::-1])[len(taps) - 1 :][:: checks.whole(stride, "stride", 1)]


def guessable(length: float, stride: int = 1) -> float:
    """Share of the noise's variance, 0 to 1, that the best predictor from all other pixels of a sub-image at ``stride`` guesses.

    Arguments and errors as :func:`autocovariance`.
    """
    covariance = autocovariance(length, stride)
    angles = 2 * np.pi * (np.arange(FREQUENCIES) + 0.5) / FREQUENCIES
    waves = np.cos(np.outer(angles, np.arange(1, len(covariance))))
    spectrum = covariance[0] + 2 * waves @ covariance[1:]
    with np.errstate(divide="ignore"):  # a frequency without any noise: then all can be guessed
        left = 1 / (covariance[0] * np.mean(1 / spectrum.clip(min=0)))
    return float(max(0.0, 1 - left**2))  # along rows and along columns
