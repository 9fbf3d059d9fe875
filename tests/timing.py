"""Comparing how fast two functions are, where other programs compute too."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

ROUNDS = 15


def times_as_fast(ours: Callable[[], object], loop: Callable[[], object]) -> float:
    """How many times as fast the first is: processor time of the fastest of some runs each.

    They take turns, on one thread: threads that wait for each other on busy cores are counted as work, which once made a batch that is ten
    times as fast look like twice. Tests assert that it is faster at all, ``course bench`` measures by how much.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        taken = [[seconds(ours), seconds(loop)] for _ in range(1 + ROUNDS)][1:]  # the first run of each also allocates
    finally:
        torch.set_num_threads(threads)
    fastest_of_ours, fastest_of_loop = (min(column) for column in zip(*taken, strict=True))
    return fastest_of_loop / fastest_of_ours


def seconds(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began
