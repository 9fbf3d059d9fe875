"""Euclidean distances between embeddings, whose gradient is finite wherever they are."""

from __future__ import annotations

from torch import Tensor

SMALLEST = 1e-12
"""Added under the root, since the derivative of √x at 0 is infinite, and two equal embeddings would give NaN."""


def paired(a: Tensor, b: Tensor) -> Tensor:
    r""":math:`D_i = \sqrt{\lVert a_i - b_i \rVert_2^2 + 10^{-12}}`: ``(B, D)`` twice gives ``(B,)``."""
    return ((a - b).square().sum(-1) + SMALLEST).sqrt()


def pairwise(a: Tensor, b: Tensor) -> Tensor:
    r"""Distance of every row of ``a`` ``(M, D)`` to every row of ``b`` ``(N, D)``: ``(M, N)``.

    By one matrix product, :math:`\lVert a\rVert^2 + \lVert b\rVert^2 - 2 a \cdot b`, from which rounding can take slightly
    more than there is: it is clamped at 0 before the root. The rows are first centred on the mean of ``b``, since a common
    offset takes away digits.
    """
    centre = b.detach().mean(0)
    a, b = a - centre, b - centre
    squared = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * a @ b.T
    return (squared.clamp(min=0) + SMALLEST).sqrt()
