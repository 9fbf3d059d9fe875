"""An embedding network with an eighth of the weights: small enough for a page of the site to load it, and to compute it as one draws."""

from __future__ import annotations

from torch import nn

from course_lib.metric_learning.embedding import Embedder, EmbeddingSettings


class SmallEmbedder(Embedder):
    """Conv 16 (5×5), PReLU, pool, Conv 32 (5×5), PReLU, pool, Linear 64, PReLU, Linear: ``(B, C, H, W)`` to ``(B, dimension)``.

    Args:
        settings: ``height``, ``width``, ``channels``, ``dimension`` and ``normalise`` are used.
        seed: of the initial weights.
    """

    def stack(self, settings: EmbeddingSettings, places: int) -> nn.Sequential:
        """The layers, ``(B, C, H, W)`` to ``(B, dimension)``; ``places`` pixels are left of an image after the second pooling."""
        return nn.Sequential(
            nn.Conv2d(settings.channels, 16, 5), nn.PReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5), nn.PReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(32 * places, 64), nn.PReLU(),
            nn.Linear(64, settings.dimension),
        )  # fmt: skip
