"""Make the photos of the noise lab: those that no network of the course was trained on, at 256×256, without loss.

They lie in ``book/noise_lab``, because the site is built without the packages that they come from.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from course_lib.widgets.pictures import without_loss

FOLDER = Path(__file__).resolve().parents[1] / "book" / "noise_lab"
SIDE = 256


def photos() -> dict[str, np.ndarray]:
    """Photo -> uint8 pixels ``(256, 256)`` or ``(256, 256, 3)``: halved by averages of 2×2 pixels, or cut out."""
    import skimage.data

    cat = skimage.data.cat()
    top, left = (cat.shape[0] - SIDE) // 2, (cat.shape[1] - SIDE) // 2
    return {
        "camera": halved(skimage.data.camera()),
        "astronaut": halved(skimage.data.astronaut()),
        "cat": cat[top : top + SIDE, left : left + SIDE],
    }


def halved(pixels: np.ndarray) -> np.ndarray:
    """Half of each side: the mean of every 2×2 pixels, rounded."""
    height, width = (side // 2 for side in pixels.shape[:2])
    blocks = pixels.reshape(height, 2, width, 2, *pixels.shape[2:]).astype(np.uint16)
    return ((blocks.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)


if __name__ == "__main__":
    for name, pixels in photos().items():
        (FOLDER / f"{name}.webp").write_bytes(without_loss(pixels, effort=6))
