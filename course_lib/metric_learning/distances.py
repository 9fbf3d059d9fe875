"""Euclidean distances between embeddings, whose gradient is finite wherever they are."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib import checks

SMALLEST = 1e-12
"""Added under the root, since the derivative of √x at 0 is infinite, and two equal embeddings would give NaN."""


def paired(a: Tensor, b: Tensor) -> Tensor:
    r""":math:`D_i = \sqrt{\lVert a_i - b_i \rVert_2^2 + 10^{-12}}`: ``(B, D)`` twice gives ``(B,)``.

    Errors as :func:`course_lib.checks.alike`.
    """
    checks.alike(a=a, b=b)
    return ((a - b).square().sum(-1) + SMALLEST).sqrt()


def pairwise(a: Tensor, b: Tensor) -> Tensor:
    r"""Distance of every row of ``a`` ``(M, D)`` to every row of ``b`` ``(N, D)``: ``(M, N)``.

    By one matrix product, :math:`\lVert a\rVert^2 + \lVert b\rVert^2 - 2 a \cdot b`. Its terms are as large as the longest rows, and
    nearly cancel where two long rows are close: it is computed in 64 bits, after the rows are centred on the mean of ``b``, and clamped
    at 0 before the root. (Apple's GPUs have 32 bits only: there a distance below a thousandth of the longest row is not exact.)

    Raises:
        TypeError: for anything but tensors of numbers.
        ValueError: for other shapes, or rows of two lengths.
    """
    checks.tensor(a, "a", ("M", "D"), finite=False)
    checks.tensor(b, "b", ("N", "D"), finite=False)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a {tuple(a.shape)} and b {tuple(b.shape)}: rows of one length are expected, (M, D) and (N, D).")
    kind = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)  # of the result
    wide = torch.float32 if a.device.type == "mps" else torch.float64
    centre = b.detach().to(wide).mean(0)
    a, b = a.to(wide) - centre, b.to(wide) - centre
    squared = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * a @ b.T
    return (squared.clamp(min=0) + SMALLEST).sqrt().to(kind)
