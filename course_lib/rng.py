"""Every random draw of the course is a function of (seed, step, rank, purpose).

Nothing here has a state to save: a run that is resumed at step 700 makes the draws of step 700 again because it asks
for them by name. Two purposes of one step ("crops", "noise") never share a stream, so adding a draw for one of them
does not change the other.
"""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, step: int, rank: int, purpose: str) -> int:
    """A seed: the first bytes of BLAKE2b of the four values, as a number below 2⁶³.

    Hashing rather than adding: ``seed + step`` would make step 1 of seed 0 equal to step 0 of seed 1. PyTorch's generator
    on a CPU uses the lower 32 bits only; that two of 20,000 steps draw the same numbers then has a chance of 5 %, and does
    no harm.
    """
    key = f"{int(seed)}/{int(step)}/{int(rank)}/{purpose}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def generator(
    seed: int, step: int, rank: int, purpose: str, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator on ``device``, seeded by (seed, step, rank, purpose).

    Args:
        seed: the run's seed; the same one on every process.
        step: the optimiser step, or the index of the image or repetition that the draw belongs to.
        rank: the process, so that each draws its own crops and noise; 0 for draws that all must share.
        purpose: a word for what is drawn, such as ``"batch"``.
        device: where the drawn tensors shall live. The CPU and a GPU give different numbers for the same seed.

    Example:
        >>> import torch
        >>> a = torch.rand(2, generator=generator(0, 7, 0, "noise"))
        >>> bool((a == torch.rand(2, generator=generator(0, 7, 0, "noise"))).all())
        True
    """
    return torch.Generator(device=device).manual_seed(derived_seed(seed, step, rank, purpose))


class Draws:
    """The named streams of one step of one process: what a method's ``batch`` draws from.

    ``draws("noise")`` is the generator of (seed, step, rank, "noise"), ``draws.shared("order", epoch)`` one that all
    processes have in common. Asked for again in the same step, a stream goes on where it was.

    Args:
        seed: the run's seed.
        step: the optimiser step.
        rank: the process.
        device: where the drawn tensors shall live.

    Example:
        >>> draws = Draws(seed=0, step=7)
        >>> draws("noise") is draws("noise"), draws("noise") is draws("crops")
        (True, False)
    """

    def __init__(self, seed: int = 0, step: int = 0, rank: int = 0, device: torch.device | str = "cpu"):
        self.seed, self.step, self.rank, self.device = seed, step, rank, device
        self._streams: dict[tuple, torch.Generator] = {}

    def __call__(self, purpose: str) -> torch.Generator:
        """This process's stream for a purpose, such as ``"noise"``, in this step."""
        return self._stream(purpose, self.step, self.rank)

    def shared(self, purpose: str, at: int) -> torch.Generator:
        """The stream for a purpose that is the same on every process and in every step, such as that of the epoch ``at``."""
        return self._stream(purpose, at, -1)

    def _stream(self, purpose: str, step: int, rank: int) -> torch.Generator:
        key = (purpose, step, rank)
        if key not in self._streams:
            self._streams[key] = generator(self.seed, step, rank, purpose, self.device)
        return self._streams[key]
