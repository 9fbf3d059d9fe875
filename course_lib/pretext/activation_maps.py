r"""Class activation maps: where does a classifier see what it says?

A network that ends in features :math:`f_k(h, w)`, their mean over the image and a linear layer has, for every class, a map

.. math:: M_c(h, w) = \sum_k w^c_k\, f_k(h, w), \qquad y_c = \frac{1}{HW} \sum_{h,w} M_c(h, w),

whose mean is the score of the class (CAM). Where a network ends otherwise, the weights are replaced by the mean gradient of the score,
:math:`\alpha^c_k = \frac{1}{HW} \sum_{h,w} \partial y_c / \partial f_k(h, w)`, and what is negative is dropped:
:math:`\mathrm{ReLU} \sum_k \alpha^c_k f_k` (Grad-CAM). For a network of the first kind :math:`\alpha^c_k = w^c_k / HW`: the same map,
divided by the number of places.

A softmax does not change when the same number is added to all scores, so that one raw map means nothing. Only their differences do, and
which of them is the largest. A pixel is marked where the map of "before" is the largest of all: the *pseudo-mask*.

Source: B. Zhou and others, *Learning Deep Features for Discriminative Localization*, CVPR 2016, arXiv:1512.04150; R. Selvaraju and
others, *Grad-CAM*, ICCV 2017, arXiv:1610.02391; for the pseudo-masks the code of WS², arXiv:2509.06485, which sums maps over scales.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks
from course_lib.batches import to_float
from course_lib.pretext.before_after import BEFORE


def cam(features: Tensor, weights: Tensor) -> Tensor:
    """Class activation maps: features ``(B, K, H, W)`` and weights ``(C, K)`` of the linear layer give ``(B, C, H, W)``.

    Raises:
        TypeError, ValueError: for anything but tensors of these kinds and shapes.
    """
    checks.tensor(features, "features", ("B", "K", "H", "W"), of="floating", finite=False)
    checks.tensor(weights, "weights", ("C", "K"), of="floating", finite=False)
    if features.shape[1] != weights.shape[1]:
        raise ValueError(f"features have {features.shape[1]} channels, but the linear layer has weights for {weights.shape[1]}.")
    return torch.einsum("bkhw,ck->bchw", features, weights.to(features))


def grad_cam(features: Tensor, scores: Tensor) -> Tensor:
    """Grad-CAM, before the ReLU: ``(B, C, H, W)``.

    Args:
        features: ``(B, K, H, W)``, from which the scores were computed; they need a gradient.
        scores: ``(B, C)`` logits.

    Raises:
        TypeError, ValueError: for anything but tensors of these kinds and shapes.
    """
    checks.tensor(features, "features", ("B", "K", "H", "W"), of="floating")
    checks.tensor(scores, "scores", ("B", "C"), of="floating")
    if len(features) != len(scores) or not scores.requires_grad:
        raise ValueError(f"features {tuple(features.shape)} and scores {tuple(scores.shape)}: the scores are computed from the features, "
                         "with a gradient.")
    maps = []
    for score in scores.sum(0):  # an image's score depends on its own features only
        gradient = torch.autograd.grad(score, features, retain_graph=True)[0]
        maps.append((gradient.mean((2, 3), keepdim=True) * features.detach()).sum(1))
    return torch.stack(maps, 1)


def maps(model: nn.Module, images: Tensor, *, scales: Sequence[float] = (1.0,), mirrored: bool = True) -> Tensor:
    """Class activation maps of a :class:`~course_lib.pretext.before_after.Classifier`, of the size of the images: ``(B, C, H, W)``.

    Args:
        model: has ``trunk`` and ``head``.
        images: ``(B, 3, H, W)`` in [0, 1].
        scales: at which the images are shown; the maps are averaged. The authors use 0.2, 0.5, 1, 2, 4 and 6.
        mirrored: show them mirrored as well?

    Raises:
        TypeError, ValueError: for images of another kind or shape, no scales, or one that is not positive.
    """
    checks.require_images(images)
    if not scales:
        raise ValueError("there are no scales to show the images at.")
    total = torch.zeros(())
    for scale in scales:
        size = [max(1, round(side * checks.number(scale, "scales", 0, 16, inside=True))) for side in images.shape[-2:]]
        shown = images if scale == 1 else F.interpolate(images, size=size, mode="bilinear", antialias=True)
        for flip in (False, True) if mirrored else (False,):
            found = cam(model.trunk((shown.flip(-1) if flip else shown) - 0.5), model.head.weight)
            found = F.interpolate(found, size=images.shape[-2:], mode="bilinear")
            total = total.to(found) + (found.flip(-1) if flip else found)
    return total / (len(scales) * (1 + mirrored))


@torch.no_grad()
def scores(model: nn.Module, images: Tensor, *, at_once: int = 100, **how) -> Tensor:
    """The evidence for "before" at each pixel of uint8 images ``(N, 3, H, W)``: ``(N, 1, H, W)``, on the CPU, illegal where positive.

    ``how`` are the arguments of :func:`maps`; errors as there.
    """
    weight = next(model.parameters())
    return torch.cat([evidence(maps(model, to_float(part.to(weight.device)), **how)).cpu() for part in images.split(at_once)])


def evidence(class_maps: Tensor, label: int = BEFORE) -> Tensor:
    """By how much the map of a class exceeds the largest of the others: ``(B, C, H, W)`` gives
    ``(B, 1, H, W)``.

    Raises:
        TypeError, ValueError: for anything but maps of at least two classes, or a label that is
            none of them.
    """
    checks.tensor(class_maps, "class_maps", ("B", "C", "H", "W"), of="floating", finite=False)
    label = checks.whole(label, "label", 0, class_maps.shape[1] - 1)
    if class_maps.shape[1] < 2:
        raise ValueError("one map alone says nothing: maps of at least two classes are compared.")
    others = [number for number in range(class_maps.shape[1]) if number != label]
    return class_maps[:, label, None] - class_maps[:, others].amax(1, keepdim=True)


def within(scores: Tensor, foreground: Tensor) -> Tensor:
    """Scores where there are objects, and less than any of them, and than 0, elsewhere.

    Args:
        scores: ``(B, 1, H, W)``.
        foreground: booleans of that shape, such as the mask of :func:`course_lib.pretext.backgrounds.parted`.

    Raises:
        TypeError, ValueError: for tensors of another kind, or of two shapes.
    """
    checks.tensor(scores, "scores", ("B", "1", "H", "W"), of="floating")
    if checks.tensor(foreground, "foreground", ("B", "1", "H", "W"), of="booleans").shape != scores.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and foreground {tuple(foreground.shape)} differ in shape.")
    return torch.where(foreground, scores, scores.min().clamp(max=0) - 1)


def pseudo_masks(class_maps: Tensor, label: int = BEFORE) -> Tensor:
    """Booleans ``(B, 1, H, W)``: pixels at which the map of a class is the largest. Errors as :func:`evidence`."""
    return evidence(class_maps, label) > 0
