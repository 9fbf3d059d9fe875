"""A network that is held, not owned: a teacher, a frozen classifier, the trunk below a probe."""

from __future__ import annotations

from torch import nn


class Frozen(nn.Module):
    """Holds a network as it is: its owner neither trains, saves nor ships it.

    It is always in evaluation mode, and its weights and statistics never change. It has no parameters and no entries in a state
    dict, so that an optimiser, a checkpoint and a file of shipped weights know nothing of it. It moves to a device with its owner.
    Gradients pass through it to its input. Copies of the owner share it.

    Args:
        network: the network; its parameters no longer ask for gradients, and it is put in evaluation mode.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        network.eval().requires_grad_(False)
        self.__dict__["network"] = network  # not by attribute, which would make it a part of this module

    def forward(self, *inputs, **named):
        """What the network returns."""
        return self.network(*inputs, **named)

    def train(self, mode: bool = True) -> Frozen:
        """Follows its owner in name only: the network stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def _apply(self, fn, recurse: bool = True):
        super()._apply(fn, recurse)
        self.network._apply(fn, recurse)
        return self

    def __deepcopy__(self, memo) -> Frozen:
        return Frozen(self.network)
