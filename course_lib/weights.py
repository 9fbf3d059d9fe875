"""The small trained networks that the course ships, as safetensors whose hash stands in the record of their run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from course_lib import files, project, results


class WeightsError(RuntimeError):
    """Weights that are missing, altered, or of another network; the message says which."""


def path(recipe: str, preset: str = "paper") -> Path:
    """``data/weights/RECIPE.safetensors``; ``RECIPE.PRESET.safetensors`` for another preset than the paper's."""
    name = recipe if preset == "paper" else f"{recipe}.{preset}"
    return project.home() / "data" / "weights" / f"{name}.safetensors"


def save(model: nn.Module, file: Path, *, half: bool = True) -> str:
    """Write all tensors of ``model``, floating-point ones in half precision if ``half``; returns the SHA-256.

    Raises:
        files.WriteError: where the file cannot be written; what was there before is unchanged.
    """
    content = encoded(model, half=half)
    files.write(file, content)
    return hashlib.sha256(content).hexdigest()


def encoded(model: nn.Module, *, half: bool = True) -> bytes:
    """What :func:`save` writes."""
    from safetensors.torch import save as to_bytes

    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }
    return to_bytes(tensors)


def load(model: nn.Module, recipe: str, preset: str | None = None) -> None:
    """Load the shipped weights of a recipe into ``model``, in place, and put it in evaluation mode.

    Args:
        model: a network of the architecture that the record names.
        recipe: such as ``"dncnn_s"``.
        preset: of the run that the weights come from; None for the best record beside the paper.

    Raises:
        WeightsError: if the file is missing, is not the one of the record, or is of another network. ``model`` is
            unchanged then.
    """
    from safetensors.torch import load as from_bytes

    preset = preset or results.best(recipe)
    file = path(recipe, preset)
    expected = results.read(recipe, preset).get("weights", {}).get("sha256")
    if expected is None:
        raise WeightsError(f"the record of {recipe} ({preset}) names no weights: that run shipped none.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise WeightsError(f"{file} cannot be read ({error}): {project.restoring(file)}.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise WeightsError(
            f"{file} is truncated, altered or of another run: its SHA-256 is {found[:16]}…, the record has "
            f"{expected[:16]}…: {project.restoring(file)}."
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
