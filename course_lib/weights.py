"""The small trained networks that the course ships, as safetensors whose hash stands in the record of their run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib import project, results


class WeightsError(RuntimeError):
    """Weights that are missing, altered, or of another network; the message says which."""


def path(recipe: str, preset: str = "paper") -> Path:
    """``data/weights/RECIPE.safetensors``; ``RECIPE.PRESET.safetensors`` for another preset than the paper's."""
    name = recipe if preset == "paper" else f"{recipe}.{preset}"
    return project.home() / "data" / "weights" / f"{name}.safetensors"


def save(model: nn.Module, file: Path, *, half: bool = True) -> str:
    """Write all tensors of ``model``, floating-point ones in half precision if ``half``; returns the SHA-256.

    Written beside and renamed, so that an interruption leaves no partial file.
    """
    from safetensors.torch import save as to_bytes

    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }
    content = to_bytes(tensors)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(file.name + ".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(file)
    return hashlib.sha256(content).hexdigest()


def load(model: nn.Module, recipe: str, preset: str = "paper") -> None:
    """Load the shipped weights of a recipe into ``model``, in place, and put it in evaluation mode.

    Args:
        model: a network of the architecture that the record names.
        recipe: such as ``"dncnn_s"``.
        preset: of the run that the weights come from.

    Raises:
        WeightsError: if the file is missing, is not the one of the record, or is of another network. ``model`` is
            unchanged then.
    """
    from safetensors.torch import load as from_bytes

    file = path(recipe, preset)
    expected = results.read(recipe, preset).get("weights", {}).get("sha256")
    if expected is None:
        raise WeightsError(f"the record of {recipe} ({preset}) names no weights: that run shipped none.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise WeightsError(f"{file} cannot be read ({error}): restore it with `git checkout {file.name}`.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise WeightsError(
            f"{file} is truncated, altered or of another run: its SHA-256 is {found[:16]}…, the record has "
            f"{expected[:16]}…. Restore it from the repository."
        )
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in from_bytes(content).items()}
    current = model.state_dict()
    wrong = sorted(set(current) ^ set(tensors)) + [n for n in current if n in tensors and current[n].shape != tensors[n].shape]
    if wrong:
        raise WeightsError(
            f"{file.name} is not of this {type(model).__name__}: {len(wrong)} tensors differ in name or shape, the first is "
            f"{wrong[0]}. Build the network with the settings of the record (runs.shipped does)."
        )
    with torch.no_grad():
        model.load_state_dict(tensors)
    model.eval()


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
        WeightsError: for anything but a stack of numbered convolutions and batch normalisations.
    """
    layers: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"(?:.*\.)?(\d+)\.(weight|bias|running_mean|running_var|num_batches_tracked)", str(name))
        if found is None or not isinstance(tensor, Tensor):
            raise WeightsError(
                f'"{name}" is no tensor of a numbered layer, such as "model.3.weight": a state dict of a plain stack of '
                "convolutions is expected. If the file holds more than that, hand over the part that is the state dict."
            )
        layers.setdefault(int(found[1]), {})[found[2]] = tensor.detach().float()
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


@torch.no_grad()
def fill(layers: nn.Sequential, stack: list[tuple[Tensor, Tensor]]) -> None:
    """Copy the (weight, bias) of a stack into the convolutions among ``layers``, in order."""
    targets = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    for target, (weight, bias) in zip(targets, stack, strict=True):
        target.weight.copy_(weight)
        target.bias.copy_(bias)
