"""Gaussian noise of which a page needs one pattern for every σ and every photo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from course_lib import noise

STEPS = 16
"""Steps of the pattern to one σ. A draw of a few hundred thousand normal numbers stays within ±127 / 16 σ, so none is clipped."""
ZERO = 128  # the level that stands for no noise


@dataclass(frozen=True)
class GaussianNoise:
    """Gaussian noise for labs: ``noise(clean)`` is ``clean`` + σ · pattern, not clipped.

    The pattern is the standard normal draw of ``noise.test_noise``, rounded to 1/16, so that it has the 8 bits of a picture: a static
    page carries it once and computes the noisy photo for every σ, pixel for pixel the one that the network got. Rounding
    adds 0.03 % to the variance. Photos of one shape share the pattern.

    Args:
        sigma_255: σ on the 0–255 scale.
        seed: another one gives another pattern.

    Raises:
        ValueError: for σ outside [0, 255], or NaN.

    Example:
        >>> clean = torch.full((1, 1, 64, 64), 0.5)
        >>> round(float((GaussianNoise(25)(clean) - clean).std()) * 255)
        25
    """

    sigma_255: float
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.sigma_255 <= 255:
            raise ValueError(f"σ = {self.sigma_255:g}, but it must lie in [0, 255], on the 0–255 scale.")

    def __call__(self, clean: Tensor) -> Tensor:
        """The noisy version of ``clean`` ``(1, C, H, W)``, in the same shape."""
        pattern = _pattern(tuple(clean.shape), self.seed).to(clean)
        return clean + noise.from_255(self.sigma_255) * pattern / STEPS

    def levels(self, shape: tuple[int, ...]) -> np.ndarray:
        """The pattern as a picture: uint8 of ``shape`` ``(H, W)`` or ``(H, W, 3)``, 128 where there is no noise."""
        channels = shape[2] if len(shape) == 3 else 1
        pattern = _pattern((1, channels, *shape[:2]), self.seed)[0]
        return (pattern + ZERO).to(torch.uint8).permute(1, 2, 0).reshape(shape).numpy()

    def shown(self, clean: np.ndarray) -> np.ndarray:
        """The noisy version of a photo in 8 bits, uint8 ``(H, W)`` or ``(H, W, 3)``: as every page computes it, to the last bit."""
        noisy = clean + self.sigma_255 * (self.levels(clean.shape).astype(float) - ZERO) / STEPS
        return np.rint(noisy).clip(0, 255).astype(np.uint8)


@cache
def _pattern(shape: tuple[int, ...], seed: int) -> Tensor:
    """The draw in whole steps, float ``shape``."""
    draw = noise.test_noise(torch.zeros(shape), 1.0, seed=seed)
    pattern = (draw * STEPS).round()
    assert pattern.abs().max() < ZERO, f"a draw of {math.prod(shape)} numbers went beyond {ZERO / STEPS} σ"
    return pattern
