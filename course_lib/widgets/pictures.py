"""The pictures of a static page: each once, without loss, and with a sum by which the page knows that it reads them right."""

from __future__ import annotations

import base64
import io

import numpy as np


def without_loss(pixels: np.ndarray, *, effort: int = 2) -> bytes:
    """uint8 pixels ``(H, W)`` or ``(H, W, 3)`` as WebP that decodes to the same pixels; ``effort`` 0 to 6 makes it smaller, and slow."""
    from PIL import Image

    file = io.BytesIO()
    quality = min(25 * effort, 99)  # at 100 libwebp tries everything: 20 times as long, for 2 % fewer bytes
    Image.fromarray(pixels).save(file, format="WEBP", lossless=True, quality=quality, method=effort)
    return file.getvalue()


class Pictures:
    """Pictures by number; the same pixels get the same number."""

    def __init__(self):
        self.coded: list[str] = []  # base64
        self.sums: list[int] = []
        self._numbers: dict[tuple, int] = {}

    def add(self, pixels: np.ndarray) -> int:
        """The number of a picture, uint8 ``(H, W)`` or ``(H, W, 3)``."""
        key = (pixels.shape, pixels.tobytes())
        if key not in self._numbers:
            self._numbers[key] = len(self.coded)
            self.coded.append(base64.b64encode(without_loss(pixels, effort=6)).decode())
            self.sums.append(int(pixels.sum()) * (3 if pixels.ndim == 2 else 1))  # a browser sees red, green and blue
        return self._numbers[key]

    def __len__(self) -> int:
        """Characters that all of them take on the page."""
        return sum(map(len, self.coded))
