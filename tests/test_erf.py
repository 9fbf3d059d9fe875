"""The effective receptive field against convolutions by hand, and the findings of the paper about untrained networks."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import nn

from course_lib.denoising import dncnn, erf


def field(depth, kind, draws=1, **options):
    return erf.measure(lambda seed: erf.stack(depth, kind, seed=seed, **options), 2 * depth + 3, draws=draws)


@pytest.mark.parametrize("depth", [1, 5, 10])
@pytest.mark.parametrize("edge", [1.0, 2.0])
def test_uniform_weights_against_repeated_convolution(depth, edge):
    kernel = np.full((3, 3), edge)
    kernel[1, 1] = 1
    expected = np.ones((1, 1))
    for _ in range(depth):
        expected = convolve2d(expected, kernel)
    found = field(depth, "uniform", edge=edge)
    assert np.abs(found[1:-1, 1:-1].numpy() - expected / expected.max()).max() < 1e-5
    assert not found[0].any() and not found[:, 0].any(), "nothing outside the theoretical field"


def test_a_deep_stack_of_boxes_is_a_gaussian():
    """Of variance 2/3 a layer, that of the numbers -1, 0, 1."""
    depth = 40
    found = field(depth, "uniform")
    x = torch.arange(found.shape[0]) - found.shape[0] // 2
    gauss = torch.exp(-(x[:, None] ** 2 + x**2) / (2 * depth * 2 / 3))
    assert (found - gauss).abs().max() < 0.01


def test_the_field_grows_with_the_root_of_the_depth():
    sizes = {depth: erf.size(field(depth, "uniform")) for depth in (5, 10, 20, 40)}
    for depth in (5, 10, 20):
        assert sizes[2 * depth] / sizes[depth] == pytest.approx(math.sqrt(2), rel=0.12)
        assert sizes[2 * depth] / (4 * depth + 1) < sizes[depth] / (2 * depth + 1), "a shrinking share of the theoretical field"


@pytest.mark.parametrize("kind", ["random", "random + ReLU"])
def test_random_weights_are_seeded_and_keep_the_signal(kind):
    a, b, c = (erf.stack(6, kind, width=64, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a[0].weight, c[0].weight)
    gain = 2 if "ReLU" in kind else 1
    assert a[2 if "ReLU" in kind else 1].weight.var().item() == pytest.approx(gain / (9 * 64), rel=0.05)
    assert sum(isinstance(layer, nn.ReLU) for layer in a) == (5 if "ReLU" in kind else 0)


def test_large_edges_widen_the_field_at_the_same_variance():
    plain, wide = (erf.stack(10, "random", edge=edge) for edge in (1.0, 3.0))
    assert wide[4].weight.square().mean().item() == pytest.approx(plain[4].weight.square().mean().item(), rel=0.2)
    assert erf.size(field(10, "random", draws=4, edge=3.0)) > erf.size(field(10, "random", draws=4))


def test_the_mean_over_draws_against_a_loop():
    network = dncnn.DnCNN(dncnn.Settings(depth=3, width=4)).eval()
    found = erf.measure(lambda draw: network, 11, draws=3, seed=5)
    total = torch.zeros(11, 11)
    for draw in range(3):
        image = torch.rand(1, 1, 11, 11, generator=erf.rng.generator(5, draw, 0, "inputs"))
        with torch.no_grad():
            before = network.double().layers(image.double())[0, 0, 5, 5]  # `forward` would round to float32
            for y in range(11):
                for x in range(11):
                    moved = image.double().clone()
                    moved[0, 0, y, x] += 1e-7
                    total[y, x] += float(abs(network.layers(moved)[0, 0, 5, 5] - before) / 1e-7)
        network.float()
    assert torch.allclose(found, total / total.max(), atol=1e-3)
    assert found.max() == 1 and not found[:2].any()


def test_given_inputs_are_what_is_measured():
    """Of a network that squares its input the gradient is twice the input."""
    pictures = [torch.rand(1, 1, 5, 5), torch.rand(1, 1, 5, 5)]
    mean = lambda image: image.square().mean((2, 3), keepdim=True).expand_as(image)  # noqa: E731
    found = erf.measure(lambda draw: mean, 5, draws=2, inputs=lambda draw: pictures[draw])
    total = sum(pictures)[0, 0]
    assert torch.allclose(found, total / total.max(), atol=1e-6) and not pictures[0].requires_grad
    with pytest.raises(ValueError, match=r"input 0 has shape \(1, 1, 5, 5\), but \(1, 1, 7, 7\)"):
        erf.measure(lambda draw: mean, 7, inputs=lambda draw: pictures[draw])


def test_size_counts_pixels():
    counted = torch.zeros(9, 9)
    counted[2:7, 2:7] = 0.05
    counted[4, 4] = 1
    assert erf.size(counted) == 5 and erf.size(counted, 0.1) == 1 and erf.size(0.5 * counted) == 5


@pytest.mark.parametrize("wrong", [{"kind": "normal"}, {"depth": 0}, {"width": 0}, {"edge": 0}])
def test_stacks_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        erf.stack(**{"depth": 3, "kind": "random", **wrong})


@pytest.mark.parametrize("wrong", [{"side": 8}, {"side": 0}, {"draws": 0}])
def test_measurements_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="odd side"):
        erf.measure(lambda draw: nn.Identity(), **{"side": 9, **wrong})
