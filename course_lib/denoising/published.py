"""Weights of plain stacks of convolutions, as denoisers are published: batch normalisation folded, shapes checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from course_lib.weights import WeightsError


def convolutions(state: Mapping[str, Tensor], *, eps: float) -> list[tuple[Tensor, Tensor]]:
    r"""The (weight, bias) of each convolution of a plain stack Conv (+ BN) (+ ReLU), Conv …, with the BN moved into them.

    In evaluation mode :math:`\mathrm{BN}(Wx + b) = \gamma (Wx + b - \mu) / \sqrt{v + \epsilon} + \beta` is affine, hence a
    convolution with weight :math:`W \gamma / \sqrt{v + \epsilon}` and bias
    :math:`\beta + \gamma (b - \mu) / \sqrt{v + \epsilon}`.

    The layers are put in the order of the number in their names, so that ``layers.3.weight``, ``model.3.weight`` and
    ``module.dncnn.3.weight`` are all understood: a convolution is what has a weight with four axes, BN what has a
    running mean. A convolution without bias gets one of zeros.

    Args:
        state: a state dict.
        eps: of the batch normalisation; it is not stored in a state dict. 1e-5 is PyTorch's default.

    Raises:
        WeightsError: for anything but a stack of numbered convolutions and batch normalisations, or for several of them.
    """
    layers: dict[int, dict[str, Tensor]] = {}
    names: dict[tuple[int, str], str] = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"(?:.*\.)?(\d+)\.(weight|bias|running_mean|running_var|num_batches_tracked)", str(name))
        if found is None or not isinstance(tensor, Tensor):
            raise WeightsError(
                f'"{name}" is no tensor of a numbered layer, such as "model.3.weight": a state dict of a plain stack of '
                "convolutions is expected. If the file holds more than that, hand over the part that is the state dict."
            )
        layer = layers.setdefault(int(found[1]), {})
        if found[2] in layer:
            raise WeightsError(
                f"{names[int(found[1]), found[2]]} and {name} have the same number and kind: the file holds more than one network, such "
                "as an average of weights beside them. Hand over the tensors of one, without the others."
            )
        layer[found[2]], names[int(found[1]), found[2]] = tensor.detach().float(), name
    stack: list[tuple[Tensor, Tensor]] = []
    last = None  # number of the last convolution
    for number, layer in sorted(layers.items()):
        weight = layer.get("weight", torch.empty(0))
        if weight.dim() == 4:
            stack.append((weight, layer.get("bias", torch.zeros(len(weight)).to(weight.device))))
            last = number
        elif (
            last == number - 1
            and {"weight", "bias", "running_mean", "running_var"} <= set(layer)
            and weight.shape == stack[-1][1].shape
        ):
            convolution, bias = stack[-1]
            scale = weight / (layer["running_var"] + eps).sqrt()
            stack[-1] = (convolution * scale.view(-1, 1, 1, 1), layer["bias"] + (bias - layer["running_mean"]) * scale)
        else:
            raise WeightsError(f"layer {number}, with {', '.join(layer)}, is neither a convolution nor its batch normalisation.")
    return stack


def stack_of(
    state: Mapping[str, Tensor], *, eps: float, name: str, channels_of: Callable[[int], int], inputs: Callable[[int], int],
    outputs: Callable[[int], int],
) -> tuple[list[tuple[Tensor, Tensor]], int, int]:  # fmt: skip
    """The convolutions of published weights, checked: (kernels ``(out, in, 3, 3)`` and biases ``(out,)``, width, channels of the images).

    Args:
        state: the state dict.
        eps: of its batch normalisation, where there is one.
        name: of the network, for the message.
        channels_of: channels of the images from the inputs of the first convolution.
        inputs, outputs: from the channels of the images, those of the first and last convolution.

    Raises:
        WeightsError: unless they are 3×3 convolutions of one width, from ``inputs`` to ``outputs``, for gray or colour.
    """
    stack = convolutions(state, eps=eps)
    shapes = [tuple(weight.shape) for weight, _ in stack]
    width, channels = (shapes[0][0], channels_of(shapes[0][1])) if shapes else (0, 0)
    middle = [(width, width, 3, 3)] * (len(shapes) - 2)
    if len(shapes) < 2 or channels not in (1, 3) or shapes != [(width, inputs(channels), 3, 3), *middle, (outputs(channels), width, 3, 3)]:
        raise WeightsError(f"convolutions of the shapes {shapes} are not those of {name}.")
    return stack, width, channels


@torch.no_grad()
def fill(layers: nn.Sequential, stack: list[tuple[Tensor, Tensor]]) -> None:
    """Copy the (weight, bias) of a stack into the convolutions among ``layers``, in order."""
    targets = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    for target, (weight, bias) in zip(targets, stack, strict=True):
        target.weight.copy_(weight)
        target.bias.copy_(bias)
