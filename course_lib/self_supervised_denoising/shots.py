"""Several noisy shots of one scene, stored: what a camera gives a training that has no clean image, and what spoils it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from course_lib import checks
from course_lib.batches import FloatPool, to_float
from course_lib.noise import require_images
from course_lib.rng import Draws

PILED_UP = 1e-3
"""Share of pixels exactly at 0 or 1 from which images without any value beyond look clipped."""


def check_noisy(noisy: Tensor, kind: str = "gaussian") -> Tensor:
    """Noisy images ``(B, C, H, W)`` as floating point, with a warning where they were clipped or rounded to 8 bit.

    Args:
        noisy: floating point, or uint8.
        kind: of the noise. Lost pixels, text and impulses put values at 0 and 1 themselves: such images are not looked at.

    Raises:
        TypeError: for other integers, or no tensor.
        ValueError: for another number of dimensions, or no pixels.
    """
    checks.tensor(noisy, "noisy images", finite=False)
    why = "their noise has no zero mean near black and white, and a network learns that bias; use the sensor's own, unclipped values."
    if noisy.dtype == torch.uint8:
        noisy = to_float(noisy)
        require_images(noisy, "noisy images")
        warnings.warn(f"noisy images are 8-bit, so that they were rounded and clipped: {why}", stacklevel=3)
        return noisy
    require_images(noisy, "noisy images")
    if kind in ("gaussian", "poisson"):
        low, high = noisy.amin().item(), noisy.amax().item()
        black, white = (float((noisy == end).float().mean()) for end in (0, 1))
        clipped = [end for end, share, beyond in (("black", black, low < 0), ("white", white, high > 1)) if share > PILED_UP and not beyond]
        if kind == "poisson":  # no number of photons is negative
            clipped = [end for end in clipped if end == "white"]
        rounded = low >= 0 and high <= 1 and bool((noisy * 255 - (noisy * 255).round()).abs().max() < 1e-4)
        if clipped or rounded:
            how = f"clipped at {' and '.join(clipped)}" if clipped else "rounded to 8 bit, and so clipped"
            warnings.warn(f"noisy images look {how}: {why}", stacklevel=3)
    return noisy


class Shots:
    """Stored shots of scenes, from which random patches of pairs are cut.

    Args:
        scenes: for each its shots ``(1, C, H, W)``, their masks ``(1, C, H, W)`` or none, and the clean image or None.
        patch_size: side of the square patches, in pixels.
        channels: of the images.

    Raises:
        ValueError: for no scene, fewer than two shots, different numbers of them, other channels, or images smaller than a patch.
    """

    def __init__(self, scenes: Sequence[tuple[list[Tensor], list[Tensor], Optional[Tensor]]], patch_size: int, channels: int):  # noqa: UP045
        counts = {len(shots) for shots, _, _ in scenes}
        if len(counts) != 1 or min(counts) < 2:
            raise ValueError(f"scenes have {sorted(counts)} shots: give each equally many, and at least two, since a pair is of two.")
        found = {shot.shape[1] for shots, _, _ in scenes for shot in shots}
        if found != {channels}:
            raise ValueError(f"channels = {channels}, but the shots have {sorted(found)}.")
        self.count, self.channels = counts.pop(), channels
        self.masked, self.clean = bool(scenes[0][1]), scenes[0][2] is not None
        stacked = [torch.cat([*shots, *masks, *([] if clean is None else [clean])], dim=1)[0] for shots, masks, clean in scenes]
        self.pool = FloatPool(stacked, patch_size)

    def to(self, device: torch.device | str) -> Shots:
        """Move everything to ``device``, in place; returns the pool."""
        self.pool.to(device)
        return self

    def pairs(self, count: int, target: str, draws: Draws) -> tuple[Tensor, Tensor, Optional[Tensor]]:  # noqa: UP045
        """(noisy, target, mask of the target or None), ``(count, C, P, P)`` each, all of one place of a scene.

        Args:
            count: how many.
            target: "noisy": any other shot of the scene; "mean": of all its other shots; "same": the shot itself; "clean".
            draws: the streams of the step.

        Raises:
            ValueError: for a clean target where there is none.
        """
        if target == "clean" and not self.clean:
            raise ValueError('target = "clean", but recorded shots have no clean image: take "noisy" or "mean".')
        both = self.pool.patches(count, draws("patches"))
        shots, others = both.split([self.count * self.channels, both.shape[1] - self.count * self.channels], dim=1)
        shots = shots.unflatten(1, (self.count, self.channels))
        masks = others[:, : self.count * self.channels].unflatten(1, (self.count, self.channels)) if self.masked else None
        number = torch.arange(count, device=both.device)
        first = torch.randint(self.count, (count,), generator=draws("shot"), device=both.device)
        second = (first + torch.randint(1, self.count, (count,), generator=draws("other shot"), device=both.device)) % self.count
        noisy = shots[number, first]
        if target == "clean":
            return noisy, others[:, -self.channels :], None
        if target == "same":
            return noisy, noisy, None
        if target == "noisy":
            return noisy, shots[number, second], None if masks is None else masks[number, second]
        if masks is None:
            return noisy, (shots.sum(1) - noisy) / (self.count - 1), None
        left = masks.sum(1) - masks[number, first]  # in how many of the other shots each pixel is left
        return noisy, (shots.sum(1) - noisy) / left.clamp(min=1), (left > 0).to(noisy.dtype)
