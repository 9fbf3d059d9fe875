"""An embedding network with an eighth of the weights: small enough for a page of the site to load it, and to compute it as one draws."""

from __future__ import annotations

from torch import nn

from course_lib import rng
from course_lib.metric_learning.embedding import Embedder, EmbeddingSettings


class SmallEmbedder(Embedder):
    """Conv 16 (5×5), PReLU, pool, Conv 32 (5×5), PReLU, pool, Linear 64, PReLU, Linear: ``(B, C, H, W)`` to ``(B, dimension)``.

    Args:
        settings: ``height``, ``width``, ``channels``, ``dimension`` and ``normalise`` are used.
        seed: of the initial weights.
    """

    def __init__(self, settings: EmbeddingSettings, *, seed: int = 0):
        nn.Module.__init__(self)
        rows, columns = (((side - 4) // 2 - 4) // 2 for side in (settings.height, settings.width))
        self.shape = (settings.channels, settings.height, settings.width)
        self.normalise = settings.normalise
        self.layers = nn.Sequential(
            nn.Conv2d(settings.channels, 16, 5), nn.PReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5), nn.PReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(32 * rows * columns, 64), nn.PReLU(),
            nn.Linear(64, settings.dimension),
        )  # fmt: skip
        generator = rng.generator(seed, 0, 0, "initial weights")
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)
