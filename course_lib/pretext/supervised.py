"""The supervised rival of a pretext task: the same network, trained with the labels of all images.

With three blocks of the NIN and ten classes it is the supervised network of RotNet's comparison. With a learning rate of 0 it is the
other rival, a network that learns nothing: its weights stay as they begin, while its batch normalisation gets the statistics of the
images, without which it does almost nothing.

Source: Gidaris, Singh and Komodakis (2018), and their code.
"""

from __future__ import annotations

from dataclasses import dataclass

from course_lib.pretext.nin import NIN, NINSettings
from course_lib.probes import batch, evaluate, prepare, step

__all__ = ["Settings", "batch", "evaluate", "network", "prepare", "step"]


@dataclass(frozen=True, kw_only=True)
class Settings(NINSettings):
    """The NIN with three blocks, for ten classes."""

    blocks: int = 3
    classes: int = 10

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(classes=2)


def network(settings: Settings, *, seed: int = 0) -> NIN:
    """A NIN with a class for each label: images ``(B, C, H, W)`` in [0, 1] give logits ``(B, classes)``."""
    return NIN(settings, classes=settings.classes, seed=seed)
