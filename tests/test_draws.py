"""The named streams of a step: which generator a purpose gets, and that no other purpose changes it."""

import torch

from course_lib import rng


def drawn(generator, count=50):
    return torch.randn(count, generator=generator)


def test_a_purpose_is_the_generator_of_its_name():
    draws = rng.Draws(seed=3, step=7, rank=2)
    assert torch.equal(drawn(draws("noise")), drawn(rng.generator(3, 7, 2, "noise")))
    assert torch.equal(drawn(draws("crops")), drawn(rng.generator(3, 7, 2, "crops")))


def test_asked_for_again_a_stream_goes_on():
    draws = rng.Draws(step=7)
    both = torch.cat([drawn(draws("noise")), drawn(draws("noise"))])
    assert torch.equal(both, torch.cat([drawn(g) for g in [rng.generator(0, 7, 0, "noise")] * 2]))
    assert not torch.equal(both[:50], both[50:])


def test_another_purpose_before_it_changes_nothing():
    alone, beside = rng.Draws(seed=1), rng.Draws(seed=1)
    drawn(beside("flips"))
    assert torch.equal(drawn(alone("noise")), drawn(beside("noise")))


def test_shared_streams_are_the_same_on_every_process_and_in_every_step():
    orders = {
        tuple(torch.randperm(30, generator=rng.Draws(5, step, rank).shared("order", 2)).tolist()) for step in (0, 9) for rank in (0, 1)
    }
    assert len(orders) == 1
    other = tuple(torch.randperm(30, generator=rng.Draws(5, 0, 0).shared("order", 3)).tolist())
    own = tuple(torch.randperm(30, generator=rng.Draws(5, 2, 0)("order")).tolist())
    assert {other, own}.isdisjoint(orders), "another epoch has another order, and a step's own stream is not the shared one"


def test_ranks_draw_what_is_their_own():
    assert not torch.equal(drawn(rng.Draws(rank=0)("noise")), drawn(rng.Draws(rank=1)("noise")))
