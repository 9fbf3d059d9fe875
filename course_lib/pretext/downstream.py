"""What the features of a network are worth for the classes that one cares about: a block of it below a probe, and its neighbours.

The k nearest neighbours need no training. So they are measured with the network itself, and are no recipe of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib import checks, few_labels, probes
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.frozen import Frozen
from course_lib.labelled import require_pairs
from course_lib.pretext import nin


@dataclass(frozen=True, kw_only=True)
class ProbeSettings(probes.Settings):
    """A probe of one block of a NIN: the second, as in the paper."""

    block: int = 2  # whose features, numbered from 1


def probe(settings: ProbeSettings, *, trunk: Frozen, seed: int = 0) -> probes.Probe:
    """A probe of the features of a block: images ``(B, C, H, W)`` in [0, 1] give logits ``(B, classes)``.

    Args:
        settings: which block, and which head.
        trunk: the whole NIN.
        seed: of the initial weights of the head.

    Raises:
        ValueError: for a block that there is not, or images that do not fit.
    """
    return probes.Probe(settings, Frozen(nin.trunk(trunk.network, settings.block)), seed=seed)


@torch.no_grad()
def features(network: nin.Trunk, images: Tensor, blocks: Sequence[int], *, at_once: int = 100) -> dict[int, Tensor]:
    """Features of some blocks, averaged over 4×4 parts of the image: of each ``(N, d)`` float32, on the CPU.

    Args:
        network: left in evaluation mode.
        images: 8-bit ``(N, C, H, W)``.
        blocks: numbered from 1.
        at_once: images that go through the network together.

    Raises:
        TypeError, ValueError: for images of another type or shape, blocks that there are not, or features with NaN.
    """
    checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
    layers, device = nin.trunk(network, max(blocks, default=0)).eval(), next(network.parameters()).device
    found: dict[int, list[Tensor]] = {checks.whole(block, "block", 1): [] for block in blocks}
    for part in images.split(checks.whole(at_once, "at_once", 1)):
        values = to_float(part.to(device))
        for number, layer in enumerate(layers):  # the first one normalises
            values = layer(values)
            if number in found:
                found[number].append(few_labels.pooled(values.float()).cpu())
    return {block: torch.cat(parts) for block, parts in found.items()}


def by_neighbours(
    network: nin.Trunk, images: Tensor, labels: Tensor, *, known: Callable[[], Dataset], block: int, indices: Sequence[int] | None = None
) -> list[float]:
    """For each image, 100 where its nearest training images, in the features of a block, vote for its class, else 0.

    Args:
        network: in evaluation mode.
        images: uint8 ``(N, C, H, W)``.
        labels: ``(N,)``.
        known: loads the training images, whose labels vote as in :func:`course_lib.probes.neighbours`.
        block: whose features, numbered from 1; they are averaged over 4×4 parts of the image.
        indices: numbers of the images to look at, in any order; None for all.

    Raises:
        TypeError, ValueError: for images or labels of another type, shape or number, or a number that no image has.
    """
    require_pairs(images, labels)
    chosen = checks.indices(indices, len(images))
    train = known()
    require_pairs(train.images, train.labels)
    queries = features(network, images[chosen], [block])[block]
    classes = 1 + int(max(train.labels.max(), labels.max()))
    scores = probes.neighbours(features(network, train.images, [block])[block], train.labels, queries, classes=classes)
    return (100.0 * (scores.argmax(1) == labels[chosen])).tolist()
