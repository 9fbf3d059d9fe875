"""Draws are functions of (seed, step, rank, purpose), and of nothing else."""

import itertools
import math

import pytest
import torch

from course_lib import rng

BASE = (3, 700, 1, "noise")


def draws(*key, count=1000):
    return torch.randn(count, generator=rng.generator(*key))


def correlation(a, b):
    return torch.corrcoef(torch.stack([a, b]).double())[0, 1].item()


def test_same_four_arguments_give_the_same_draws():
    assert torch.equal(draws(*BASE), draws(*BASE))


def test_draws_do_not_depend_on_the_global_generator_and_leave_it_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draws(*BASE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(draws(*BASE), first)


@pytest.mark.parametrize(
    "other",
    [(4, 700, 1, "noise"), (3, 701, 1, "noise"), (3, 700, 0, "noise"), (3, 700, 1, "crops")],
    ids=["seed", "step", "rank", "purpose"],
)
def test_each_argument_changes_the_stream(other):
    a, b = draws(*BASE), draws(*other)
    assert (a == b).sum() < 5  # not even a part of the stream is shared
    assert abs(correlation(a, b)) < 5 / math.sqrt(len(a))


def test_seed_0_step_1_is_not_seed_1_step_0():
    assert not torch.equal(draws(0, 1, 0, "batch"), draws(1, 0, 0, "batch"))
    assert not torch.equal(draws(0, 1, 0, "batch"), draws(0, 0, 1, "batch"))
    assert not torch.equal(draws(1, 11, 0, "batch"), draws(11, 1, 0, "batch"))


def test_no_two_of_many_keys_share_a_seed():
    keys = list(itertools.product(range(12), range(12), range(12), ("batch", "noise", "1", "11")))
    seeds = {rng.derived_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62  # all of the 63 bits are in use
    assert len({seed % 2**32 for seed in seeds}) == len(keys)  # PyTorch's CPU generator looks at the low 32 bits only


def test_streams_of_neighbouring_steps_are_uncorrelated():
    """n·r² of independent normal streams follows χ²(1): its largest and its sum over 200 pairs are checked, at two lags."""
    count, pairs = 4000, 200
    streams = [draws(0, step, 0, "noise", count=count) for step in range(pairs + 1)]
    for lag in (0, 1):  # lag 1: one stream is not the other one shifted
        r = [correlation(a[lag:], b[: count - lag]) for a, b in itertools.pairwise(streams)]
        scores = [count * value**2 for value in r]
        assert max(scores) < 4.5**2
        assert abs(sum(scores) - pairs) < 5 * math.sqrt(2 * pairs)
        assert abs(sum(r)) * math.sqrt(count / pairs) < 5  # no common tendency, too small to be seen in one pair


def test_first_draws_of_successive_steps_look_independent():
    """A run draws a few numbers from each of many streams: these must be uniform and uncorrelated from step to step."""
    steps = 4000
    first = torch.cat([torch.rand(1, generator=rng.generator(0, step, 0, "batch")) for step in range(steps)]).double()
    assert abs(first.mean().item() - 0.5) < 5 * math.sqrt(1 / 12 / steps)
    assert abs(first.var().item() - 1 / 12) < 5 * math.sqrt(1 / 180 / steps)
    assert abs(correlation(first[1:], first[:-1])) < 5 / math.sqrt(steps)


def test_device_of_the_generator():
    assert rng.generator(*BASE).device.type == "cpu"
    if torch.cuda.is_available():
        generator = rng.generator(*BASE, device="cuda")
        assert torch.rand(1, generator=generator, device="cuda").device.type == "cuda"
