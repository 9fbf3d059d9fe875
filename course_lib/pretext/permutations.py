r"""Sets of permutations for a jigsaw: which of the 9! orders of nine tiles shall be told apart?

All 362,880 are too many classes, and too alike: two that exchange one pair of tiles differ in two places only (Hamming distance 2), and
where these tiles look the same nobody can tell which it was. So a set is chosen in which any two differ in many places. One at a time
is added: of all permutations the one that is farthest from those that are there already. "Farthest" can mean the largest *sum* of
distances, as in the paper's algorithm, or the largest *minimum*. The sum hardly tells sets apart: random permutations of nine have a
mean distance of 8.0 already, and :math:`n` of them at most

.. math:: 9 - 9\, \frac{n/9 - 1}{n - 1} .

The authors' file of 100 has a mean of 8.08, and a minimum of 2. The minimum is what says how ambiguous the task is.

:func:`affine` is a set with a proof: the maps :math:`x \mapsto a x + b` of the field with nine elements. Two of them agree in one place
at most, so that 72 permutations have a minimum of 8.

Source: Noroozi and Favaro (2016), algorithm 1, for the greedy choice by the sum; algebra for the rest.
"""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from course_lib import checks, rng

Criterion = Literal["minimum", "sum"]
LARGEST = 9  # tiles: 9! permutations take 3 MB


@cache
def _all(tiles: int) -> Tensor:
    """All permutations of 0, …, tiles − 1 in lexicographic order, ``(tiles!, tiles)`` uint8."""
    found = torch.zeros(1, 0, dtype=torch.uint8)
    for count in range(1, tiles + 1):  # each first number in front of the orders of the others, which are numbered on
        first = torch.arange(count, dtype=torch.uint8).repeat_interleave(len(found))[:, None]
        rest = found.repeat(count, 1)
        found = torch.cat([first, rest + (rest >= first).to(torch.uint8)], 1)
    return found


def everything(tiles: int) -> Tensor:
    """All orders of ``tiles`` tiles, lexicographically: ``(N, tiles)`` integers for N = tiles!.

    Raises:
        TypeError, ValueError: for a number of tiles outside of 2 to 9.
    """
    return _all(checks.whole(tiles, "tiles", 2, LARGEST)).long()


def greedy(count: int, tiles: int = 9, *, criterion: Criterion = "minimum", seed: int = 0) -> Tensor:
    """``count`` permutations, each as far as possible from those before it: ``(count, tiles)`` integers.

    Args:
        count: how many.
        tiles: of how many tiles.
        criterion: by the smallest distance to those chosen (of equals by the sum), or by the sum of distances as in the paper.
        seed: of the first one, and of the choice among equals.

    Raises:
        TypeError, ValueError: for more permutations than there are, tiles outside of 2 to 9, or a criterion that there is not.
    """
    tiles = checks.whole(tiles, "tiles", 2, LARGEST)
    count = checks.whole(count, "count", 1, math.factorial(tiles))
    if criterion not in get_args(Criterion):
        raise ValueError(f'criterion = "{criterion}", but it must be one of {", ".join(get_args(Criterion))}.')
    return _all(tiles)[list(_greedy(count, tiles, criterion, seed))].long()


@cache  # a set of 100 takes a second, and each network and evaluation asks for the same one
def _greedy(count: int, tiles: int, criterion: Criterion, seed: int) -> tuple[int, ...]:
    """Numbers of the permutations that are chosen, in the lexicographic order of all."""
    candidates, draws = _all(tiles), rng.generator(seed, 0, 0, "permutations")
    by_place = candidates.T.contiguous()  # (tiles, tiles!): nine long rows are compared faster than 362,880 short ones
    smallest = torch.full((len(candidates),), tiles, dtype=torch.int32)
    total = torch.zeros_like(smallest)
    chosen = [int(torch.randint(len(candidates), (1,), generator=draws))]
    while len(chosen) < count:
        to_last = sum((row != tile).to(torch.uint8) for row, tile in zip(by_place, candidates[chosen[-1]], strict=True))
        smallest, total = torch.minimum(smallest, to_last), total + to_last
        worth = total.clone() if criterion == "sum" else smallest * (tiles * count + 1) + total
        worth[chosen] = -1  # by the sum one could be taken twice
        best = (worth == worth.max()).nonzero()[:, 0]
        chosen.append(int(best[torch.randint(len(best), (1,), generator=draws)]))
    return tuple(chosen)


def random(count: int, tiles: int = 9, *, seed: int = 0) -> Tensor:
    """``count`` different permutations at random, ``(count, tiles)`` integers; errors as :func:`greedy`."""
    tiles = checks.whole(tiles, "tiles", 2, LARGEST)
    count = checks.whole(count, "count", 1, math.factorial(tiles))
    drawn = torch.randperm(math.factorial(tiles), generator=rng.generator(seed, 0, 0, "permutations"))[:count]
    return _all(tiles)[drawn].long()


def affine() -> Tensor:
    """The 72 maps ``x ↦ a x + b``, a ≠ 0, of the field with nine elements, as permutations ``(72, 9)``: any two differ in 8 or 9 places.

    The element number 3 p + q is p + q i, with i² = −1, and p and q counted modulo 3.
    """

    def times(x: tuple[int, int], y: tuple[int, int]) -> tuple[int, int]:
        return (x[0] * y[0] - x[1] * y[1]) % 3, (x[0] * y[1] + x[1] * y[0]) % 3

    field = list(itertools.product(range(3), repeat=2))
    maps = []
    for a in field[1:]:
        for b in field:
            images = [tuple((u + v) % 3 for u, v in zip(times(a, x), b, strict=True)) for x in field]
            maps.append([3 * p + q for p, q in images])
    return torch.tensor(maps)


def hamming(permutations: Tensor) -> Tensor:
    """In how many places two of n permutations ``(n, tiles)`` differ, for all pairs: ``(n (n − 1) / 2,)`` integers.

    Raises:
        TypeError, ValueError: for anything but integers of that shape, each row a permutation, and at least two.
    """
    require(permutations)
    if len(permutations) < 2:
        raise ValueError(f"permutations are {len(permutations)}, but at least two are needed for a distance.")
    first, second = torch.triu_indices(len(permutations), len(permutations), 1)
    return (permutations[first] != permutations[second]).sum(1)


def require(permutations: Tensor) -> Tensor:
    """The permutations ``(n, tiles)`` themselves.

    Raises:
        TypeError, ValueError: for anything but integers of that shape, or a row that is no permutation of 0 to tiles − 1.
    """
    checks.tensor(permutations, "permutations", ("n", "tiles"), of="integers")
    expected = torch.arange(permutations.shape[1], device=permutations.device).expand(permutations.shape)
    wrong = (permutations.sort(1).values != expected).any(1).nonzero()[:, 0]
    if len(wrong):
        row = permutations[wrong[0]].tolist()
        raise ValueError(f"permutations: row {int(wrong[0])} is {row}, which is no order of 0 to {permutations.shape[1] - 1}.")
    return permutations
