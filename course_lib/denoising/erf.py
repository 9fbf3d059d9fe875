r"""The effective receptive field: which input pixels a network's output really depends on, and how much.

Idea. Through d convolutions of 3×3 an output pixel *can* depend on (2d + 1)×(2d + 1) input pixels. But there are many paths from the
middle of that square to the output and few from its rim. Put a gradient of 1 on the central output pixel and 0 on all others, and
propagate it back: :math:`|\partial y_{0} / \partial z_x|`, averaged over inputs and weights, says how much pixel x counts. Where the
weights are all the same, it is a d-fold convolution of a box with itself, which tends to a Gaussian whose width grows with the root of
d. The *effective* field is the set of pixels that count more than 4.55 % of the middle one. Within it lie 95.45 % of a Gaussian in two
dimensions. Its size is the root of their number.

Source: W. Luo, Y. Li, R. Urtasun, R. Zemel, *Understanding the Effective Receptive Field in Deep Convolutional Neural Networks*,
NeurIPS 2016, arXiv:1701.04128.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from course_lib import checks, rng

THRESHOLD = 1 - 0.9545  # of the middle pixel, by the paper's convention; 95.45 % is what ±2 standard deviations hold in one dimension

Kind = Literal["uniform", "random", "random + ReLU"]
"""Weights that are all the same; random weights; random weights with a rectifier after every layer but the last."""


def stack(depth: int, kind: Kind, *, width: int = 16, edge: float = 1.0, seed: int = 0) -> nn.Sequential:
    """``depth`` convolutions of 3×3 without biases, untrained, from one channel to one.

    Args:
        depth: number of layers.
        kind: of the weights; with ``"uniform"`` one channel says it all, and ``width`` is not used.
        width: channels between the layers.
        edge: factor of a kernel's eight outer taps before it is scaled to its variance: above 1 the middle starts small and the
            rim large, by which the field starts larger.
        seed: of the weights, normal with variance 1 / (9 · inputs), or 2 / (9 · inputs) with rectifiers.

    Raises:
        ValueError: for an unknown kind, no layer or channel, or an edge that is not positive.
    """
    if kind not in ("uniform", "random", "random + ReLU"):
        raise ValueError(f'kind = "{kind}", but it must be "uniform", "random" or "random + ReLU".')
    depth, width = checks.whole(depth, "depth"), checks.whole(width, "width")
    if depth < 1 or width < 1 or not checks.number(edge, "edge") > 0:
        raise ValueError(f"depth = {depth}, width = {width}, edge = {edge}: they must be positive.")
    width = 1 if kind == "uniform" else width
    profile = torch.full((3, 3), float(edge))
    profile[1, 1] = 1
    profile = profile / profile.square().mean().sqrt()
    draws, layers = rng.generator(seed, depth, 0, "initial weights"), []
    for number in range(depth):
        inputs, outputs = (1 if number == 0 else width), (1 if number == depth - 1 else width)
        layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        with torch.no_grad():
            if kind == "uniform":
                layer.weight.copy_(profile / profile.sum())
            else:
                gain = 2 if kind == "random + ReLU" else 1
                layer.weight.normal_(0, math.sqrt(gain / (9 * inputs)), generator=draws).mul_(profile)
        layers.append(layer)
        if kind == "random + ReLU" and number < depth - 1:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def measure(
    make: Callable[[int], Callable[[Tensor], Tensor]],
    side: int,
    *,
    draws: int = 8,
    seed: int = 0,
    inputs: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """The mean absolute gradient of the central output pixel over inputs, scaled to 1 at its
    largest: ``(side, side)``.

    Args:
        make: a function of the number of a draw that returns the network for it, one image
            ``(1, 1, H, W)`` to another: a new one each time for untrained networks, always the same
            for a trained one, in evaluation mode.
        side: of the square that is looked at, odd; larger than the theoretical field, to see that
            it ends.
        draws: random inputs, uniform in [0, 1], and networks to average over.
        seed: of the inputs.
        inputs: a function of the number of a draw that returns the image ``(1, 1, side, side)``,
            such as a piece of a noisy photo: what a trained network depends on depends on what it
            sees. Random images where it is None.

    Raises:
        ValueError: for an even side, no draw, or an input of another shape.
    """
    side, draws = checks.whole(side, "side"), checks.whole(draws, "draws")
    if side < 1 or side % 2 == 0 or draws < 1:
        raise ValueError(
            f"side = {side}, draws = {draws}: the square needs a middle, so an odd side, and at "
            "least one draw."
        )
    total = torch.zeros(side, side)
    for draw in range(draws):
        image = (
            torch.rand(1, 1, side, side, generator=rng.generator(seed, draw, 0, "inputs"))
            if inputs is None
            else inputs(draw)
        )
        if checks.tensor(image, f"input {draw}", finite=False).shape != (1, 1, side, side):
            raise ValueError(
                f"input {draw} has shape {tuple(image.shape)}, but (1, 1, {side}, {side}) is "
                "expected."
            )
        image = image.detach().clone().requires_grad_()
        output = make(draw)(image)
        (gradient,) = torch.autograd.grad(output[0, 0, side // 2, side // 2], image)
        total += gradient[0, 0].abs()
    return total / total.max().clamp(min=torch.finfo(total.dtype).tiny)


def size(field: Tensor, threshold: float = THRESHOLD) -> float:
    """Side of a square with as many pixels as ``field``, ``(H, W)`` from :func:`measure`, has above ``threshold`` times its middle.

    Raises:
        TypeError, ValueError: for anything but a tensor of numbers ``(H, W)`` without NaN, or a threshold that is not positive.
    """
    checks.tensor(field, "field", ("H", "W"))
    if not field.numel():
        raise ValueError(f"field has the shape {tuple(field.shape)}: there is no pixel in it.")
    checks.number(threshold, "threshold", 0, inside=True)
    middle = field[field.shape[0] // 2, field.shape[1] // 2]
    return math.sqrt(int((field > threshold * middle).sum()))
