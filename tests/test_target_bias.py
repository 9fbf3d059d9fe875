"""The bias of each loss, by formula, against draws of the noise itself."""

import math

import numpy as np
import pytest
import torch

from course_lib import corruptions, noise
from course_lib.self_supervised_denoising import target_bias

COUNT = 60_000
DRAWS = {
    "gaussian": lambda y, s, g: noise.gaussian(y, s, g, clip=False),
    "clipped": lambda y, s, g: noise.gaussian(y, s, g, clip=True),
    "poisson": corruptions.photons,
    "bernoulli": lambda y, s, g: corruptions.dropped(y, s, g)[0],
    "impulses": corruptions.impulses,
}


def drawn(kind, y, strength):
    return DRAWS[kind](torch.full((1, 1, 400, COUNT // 400), y), strength, torch.Generator().manual_seed(0)).double().flatten().numpy()


@pytest.mark.parametrize("y", [0.0, 0.02, 0.3, 0.95])
@pytest.mark.parametrize(
    ("kind", "strength"),
    [("gaussian", 0.1), ("clipped", 0.1), ("clipped", 0.4), ("poisson", 30.0), ("poisson", 2.5), ("bernoulli", 0.3), ("bernoulli", 0.7),
     ("impulses", 0.4), ("impulses", 0.7)],
)  # fmt: skip
@pytest.mark.parametrize("loss", ["l2", "l1", "l0"])
def test_against_draws(kind, strength, y, loss):
    values = drawn(kind, y, strength)
    expected = target_bias.bias(kind, loss, y, strength)
    if loss == "l0" and kind == "gaussian":
        tolerance = 0.05  # the mode of a smooth density is found badly from draws
    elif loss == "l0" and kind == "clipped":
        share = max((values == 0).mean(), (values == 1).mean())
        if share < 0.01:
            pytest.skip("no value has a noticeable probability of its own")
        tolerance = 1e-3
    else:
        spread = values.std() / math.sqrt(COUNT)
        tolerance = {"l2": 5 * spread, "l1": 10 * spread, "l0": 2e-3}[loss] + 1e-4
    if kind == "poisson" and loss == "l0" and (strength * y) % 1 == 0 and y:
        tolerance += 1 / strength  # two neighbouring counts are equally likely
    assert target_bias.fitted(values, loss) - y == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("coverage", [0.2, 0.45])
def test_text_is_as_impulses_to_one_pixel(coverage):
    y = 0.3
    values = corruptions.text(torch.full((8000, 1, 1, 1), y), coverage, torch.Generator().manual_seed(0)).double().flatten().numpy()
    for loss in target_bias.STATISTICS:
        assert target_bias.fitted(values, loss) - y == pytest.approx(target_bias.bias("text", loss, y, coverage), abs=0.02)


def test_formulas_by_hand():
    bias = target_bias.bias
    assert 255 * bias("clipped", "l2", 0.0, 25 / 255) == pytest.approx(25 / math.sqrt(2 * math.pi)) == pytest.approx(9.97, abs=0.01)
    assert bias("impulses", "l2", 0.2, 0.7) == pytest.approx(0.7 * 0.3)
    assert bias("impulses", "l1", 0.2, 0.49) == 0 and bias("impulses", "l1", 0.2, 0.7) == pytest.approx(0.2 / 0.7 - 0.2)
    assert bias("clipped", "l1", 0.0, 0.5) == 0
    assert math.isnan(bias("impulses", "l0", 0.2, 1.0))
    assert target_bias.clipped_mean(0.3, 0.0) == 0.3


def test_fitted_constants_minimise_their_losses():
    values = drawn("impulses", 0.3, 0.45)[:400]
    grid = np.linspace(0, 1, 2001)
    for loss, power in (("l2", 2), ("l1", 1)):
        best = grid[np.argmin([(np.abs(values - c) ** power).mean() for c in grid])]
        assert target_bias.fitted(values, loss) == pytest.approx(best, abs=6e-3)
    counted = [(np.abs(values - c) <= 1e-3).sum() for c in values]
    assert target_bias.fitted(values, "l0") == pytest.approx(values[int(np.argmax(counted))], abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gausian", "l2", 0.5, 0.1), 'kind "gausian" and loss "l2": they are one of gaussian, clipped'),
        (("gaussian", "l3", 0.5, 0.1), 'loss "l3"'),
        (("gaussian", "l2", 1.5, 0.1), "y = 1.5"),
        (("gaussian", "l2", 0.5, -0.1), "strength = -0.1"),
        (("poisson", "l2", 0.5, 0.0), "χ is positive"),
        (("impulses", "l2", 0.5, 1.1), "p lies in"),
    ],
)
def test_wrong_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        target_bias.bias(*arguments)


@pytest.mark.parametrize("values", [np.array([]), np.zeros((2, 2))])
def test_no_values(values):
    with pytest.raises(ValueError, match="it is one of l2, l1, l0, of one or more values"):
        target_bias.fitted(values, "l2")
