"""What functions of the library accept: one check of numbers, one of tensors, one of images, one of indices, one of generators.

Each raises ``TypeError`` or ``ValueError`` with a message that names the argument, says what it is, and what is expected. A tensor
on a GPU is not looked into, unless ``wait`` says so: that would make the GPU wait in every training step.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

LARGEST_SIGMA = 2.0
"""More than this many times the range of the image is not noise but a σ written on the 0–255 scale."""

LARGEST_VALUE = 1 + 6 * LARGEST_SIGMA
"""No image in [0, 1] reaches more, even with the strongest noise that there is. One that does is on the 0–255 scale."""

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

Kind = Literal["numbers", "floating", "booleans", "integers", "8-bit"]
KINDS = {
    "numbers": ("numbers", FLOATING + INTEGERS),
    "floating": ("floating-point numbers", FLOATING),
    "booleans": ("booleans", (torch.bool,)),
    "integers": ("integers", INTEGERS),
    "8-bit": ("8-bit numbers (torch.uint8)", (torch.uint8,)),
}


# --- numbers --------------------------------------------------------------------------------------------------------------


def number(value: Any, name: str, low: float = -math.inf, high: float = math.inf, *, inside: bool = False) -> float:
    """``value`` as a Python float: a number, NumPy's too, or a tensor with a single one.

    Args:
        value: what was given.
        name: of the argument, for the message.
        low, high: between which it must lie. It must be finite, whatever they are.
        inside: must it lie between them, and be neither of them?

    Raises:
        TypeError: for anything but a number; ``"51"`` and ``True`` are none.
        ValueError: for NaN, an infinite number, and one that lies elsewhere.
    """
    found = _single(value)
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        raise TypeError(f"{name} is {described(value)}, but a number is expected.")
    found = float(found)
    if not math.isfinite(found) or not (low < found < high if inside else low <= found <= high):
        raise ValueError(f"{name} = {found:g}, but it must {_between(low, high, inside)}.")
    return found


def whole(value: Any, name: str, low: float = -math.inf, high: float = math.inf) -> int:
    """``value`` as a Python int, as :func:`number`; ``ValueError`` also for a number with a fraction, such as 2.5 (2.0 is 2)."""
    found = number(value, name, low, high)
    if found != int(found):
        raise ValueError(f"{name} = {found:g}, but it must be a whole number.")
    return int(_single(value))


def indices(given: Iterable[int] | None, count: int, name: str = "indices") -> list[int]:
    """The numbers of the things that are asked for, in the order in which they are, as often as they are: all where it is None.

    Raises:
        TypeError: for anything but a sequence of whole numbers.
        ValueError: for a number outside of 0 to ``count`` − 1.
    """
    if given is None:
        return list(range(count))
    if isinstance(given, str | bytes) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) != 1:
        raise TypeError(f"{name} is {described(given)}, but a sequence of whole numbers is expected, such as [0, 2].")
    chosen = []
    for one in given:
        found = _single(one)
        if isinstance(found, bool) or not isinstance(found, numbers.Integral):
            raise TypeError(f"{name} has {described(one)} in it, but whole numbers are expected, such as [0, 2].")
        if not 0 <= found < count:
            raise ValueError(f"{name} has {found} in it, but there are {count}, numbered from 0 to {count - 1}.")
        chosen.append(int(found))
    return chosen


def generator(value: Any) -> None:
    """``TypeError`` for anything but a ``torch.Generator``: with None PyTorch would draw from its own, which no seed here decides."""
    if not isinstance(value, torch.Generator):
        expected = "a torch.Generator is expected: course_lib.rng.generator(seed, step, rank, purpose) makes one"
        raise TypeError(f"generator is {described(value)}, but {expected}.")


def _single(value: Any) -> Any:
    """The number in a tensor or array without axes, and everything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _between(low: float, high: float, inside: bool) -> str:
    if math.isinf(low) and math.isinf(high):
        return "be finite"
    if math.isinf(high):
        return f"be {'above' if inside else 'at least'} {low:g}, and finite"
    return f"be above {low:g} and below {high:g}" if inside else f"lie in {low:g} to {high:g}"


# --- tensors --------------------------------------------------------------------------------------------------------------


def described(value: Any) -> str:
    """What a value is, in few words: its type, and if it has one its shape."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"a NumPy array {tuple(value.shape)} of {value.dtype} (torch.from_numpy makes a tensor of it)"
    if isinstance(value, str | bytes | bool | int | float | complex | None):
        return repr(value)
    return f"a {type(value).__name__}" + (" (torch.stack or torch.tensor makes a tensor of it)" if isinstance(value, list | tuple) else "")


def tensor(value: Any, name: str, axes: Sequence[str] | None = None, *, of: Kind = "numbers", finite: bool = True) -> Tensor:
    """``value`` itself, if it is a tensor of that kind with that many axes, all finite (a GPU waits where that is looked for).

    Args:
        value: what was given.
        name: of the argument, for the message.
        axes: a letter for each, such as ``("N", "D")``; any number of them where it is None.
        of: what the tensor holds. Numbers are floating point (16, 32 or 64 bits) or integers.
        finite: must all be finite? Not for losses: what they give is then NaN as well, and the training loop says what to do.

    Raises:
        TypeError: for anything but a tensor of that kind.
        ValueError: for another number of axes, or values that are NaN or infinite.
    """
    words, types = KINDS[of]
    if not isinstance(value, Tensor) or value.dtype not in types:
        raise TypeError(f"{name}: a tensor of {words} is expected{_shape(axes)}, but this is {described(value)}.")
    if axes is not None and value.dim() != len(axes):
        raise ValueError(f"{name}: the shape {tuple(value.shape)} was given, but {_shape(axes).removeprefix(', ')} is expected.")
    if finite and value.dtype in FLOATING and not bool(value.isfinite().all()):
        raise ValueError(f"{name}: {int((~value.isfinite()).sum())} of {value.numel()} values are NaN or infinite.")
    return value


def alike(**named: Any) -> None:
    """Raise unless tensors ``(…)`` hold floating-point numbers and have one shape: what a loss compares element by element.

    Args:
        named: the tensors, by the names of the arguments.

    Raises:
        TypeError: for anything but tensors of floating-point numbers.
        ValueError: for two shapes, or no element.
    """
    for name, value in named.items():
        tensor(value, name, of="floating", finite=False)
    shapes = {name: tuple(value.shape) for name, value in named.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{' and '.join(f'{name} {shape}' for name, shape in shapes.items())} differ: they must have one shape.")
    if 0 in next(iter(shapes.values())):
        raise ValueError(f"{' and '.join(shapes)} are empty: there is nothing to compare.")


def classified(logits: Tensor, labels: Tensor, axes: Sequence[str] = ("B", "classes"), *, names=("logits", "labels")) -> Tensor:
    """What a cross-entropy takes: logits ``(…, classes)`` and the number of a class for each row ``(…,)``; the labels, as int64.

    Args:
        logits, labels: what was given.
        axes: of the logits; the labels have all but the last.
        names: of the two arguments, for the messages.

    Raises:
        TypeError: for anything but floating-point logits and integer labels.
        ValueError: for shapes that do not fit, no rows, or a label that is no class (see :func:`labels`).
    """
    tensor(logits, names[0], axes, of="floating", finite=False)
    tensor(labels, names[1], axes[:-1], of="integers")
    if labels.shape != logits.shape[:-1]:
        shapes = f"{names[0]} {tuple(logits.shape)} and {names[1]} {tuple(labels.shape)}"
        raise ValueError(f"{shapes} do not fit: {_shape(axes)[2:]} and {_shape(axes[:-1])[2:]}.")
    if not logits.numel():
        raise ValueError(f"{names[0]} {tuple(logits.shape)} are empty: there is nothing to take a mean of.")
    _require_classes(labels, logits.shape[-1], names[1])
    return labels.long()


def labels(value: Tensor, classes: int) -> None:
    """Raise ``ValueError`` unless integers ``(N,)`` are classes, numbered from 0 (on a GPU they are not looked at)."""
    _require_classes(value, classes, "labels")


def _require_classes(value: Tensor, classes: int, name: str) -> None:
    if torch.compiler.is_compiling() or value.device.type != "cpu" or not value.numel():  # one graph, and no GPU that waits
        return
    if not 0 <= int(value.min()) <= int(value.max()) < classes:
        raise ValueError(f"{name} are {int(value.min())} to {int(value.max())}, but there are classes = {classes}, numbered from 0.")


def _shape(axes: Sequence[str] | None) -> str:
    return "" if axes is None else f", ({', '.join(axes)}{',' * (len(axes) == 1)})"


# --- images ---------------------------------------------------------------------------------------------------------------


def require_images(images: Tensor, name: str = "images", *, wait: bool = False) -> None:
    """Raise unless ``images`` are floating-point ``(B, C, H, W)`` on the [0, 1] scale, where noise may leave that range.

    Args:
        images: what was given.
        name: of the argument, for the message.
        wait: look at the values on a GPU too.

    Raises:
        TypeError: for anything but a tensor, and for integer images, which would round every noise value.
        ValueError: for another number of dimensions, no pixels, NaN or infinite values, or values that only the 0–255 scale explains.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"{name} are {described(images)}, but a tensor (B, C, H, W) is expected.")
    if images.dtype not in FLOATING:
        eight = ": batches.to_float makes them of 8-bit images" if images.dtype == torch.uint8 else ""
        raise TypeError(f"{name} are {images.dtype}, but must be floating point in [0, 1]{eight}.")
    if images.dim() != 4:
        missing = {2: ": for one gray image (H, W) write image[None, None]", 3: ": for one image (C, H, W) write image[None]"}
        raise ValueError(f"{name} have shape {tuple(images.shape)}, but (B, C, H, W) is expected{missing.get(images.dim(), '')}.")
    if images.numel() == 0:
        raise ValueError(f"{name} have shape {tuple(images.shape)}: there is no pixel in them.")
    if wait or images.device.type == "cpu":
        require_scale(images, name)


def require_scale(images: Tensor, name: str = "images") -> None:
    """Raise ``ValueError`` unless floating-point ``images``, of any shape but not empty, are numbers on the [0, 1] scale.

    What is refused reaches values above ``LARGEST_VALUE`` and is mostly positive, as an image on the 0–255 scale is with or without
    noise: the output of a network that has not learnt anything may be as large, but of either sign.

    Args:
        images: what was given; the device waits.
        name: of the argument, for the message.
    """
    low, high = (bound.item() for bound in images.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} have values that are NaN or infinite: no image has.")
    if high > LARGEST_VALUE and low > -high / 2:
        raise ValueError(
            f"{name} have values up to {high:g}, which only the 0–255 scale explains: in this library images are on the [0, 1] scale, "
            "so divide them by 255."
        )
