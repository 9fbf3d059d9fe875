"""The posterior of a blind-spot network against a loop over pixels, and what it does where it must be obvious."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from course_lib.self_supervised_denoising import posterior


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(channels, size=(3, 4)):
    told = torch.randn(2, posterior.outputs(channels), *size, generator=seeded(), dtype=torch.float64)
    return told, torch.randn(2, channels, *size, generator=seeded(1), dtype=torch.float64)


def by_hand(told, noisy, sigma):
    """Loss and estimate, pixel by pixel, by the formulas with inverses."""
    channels = noisy.shape[1]
    estimate, losses = np.zeros(tuple(noisy.shape)), []
    for b in range(len(noisy)):
        for y in range(noisy.shape[2]):
            for x in range(noisy.shape[3]):
                values, z = told[b, :, y, x].numpy(), noisy[b, :, y, x].numpy()
                mean, a, k = values[:channels], np.zeros((channels, channels)), channels
                for i in range(channels):
                    for j in range(i, channels):
                        a[i, j], k = values[k], k + 1
                prior = a.T @ a
                total = prior + sigma**2 * np.eye(channels)
                losses.append(0.5 * (z - mean) @ np.linalg.inv(total) @ (z - mean) + 0.5 * np.log(np.linalg.det(total)))
                inverse = np.linalg.inv(prior)
                weighed = np.linalg.inv(inverse + np.eye(channels) / sigma**2)
                estimate[b, :, y, x] = weighed @ (inverse @ mean + z / sigma**2)
    return np.mean(losses), estimate


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_against_a_loop(channels, sigma):
    told, noisy = drawn(channels)
    loss, estimate = by_hand(told, noisy, sigma)
    assert posterior.loss(told, noisy, sigma).item() == pytest.approx(loss, rel=1e-9)
    assert np.allclose(posterior.estimate(told, noisy, sigma).numpy(), estimate, rtol=1e-6, atol=1e-7)


def test_one_channel_by_the_short_formula():
    told, noisy = drawn(1)
    variance, sigma = told[:, 1:].square(), 0.2
    expected = (noisy * variance + told[:, :1] * sigma**2) / (variance + sigma**2)
    assert torch.allclose(posterior.estimate(told, noisy, sigma), expected)


def test_the_loss_is_a_likelihood():
    told, noisy = drawn(1, (1, 1))
    density = stats.norm(told[:, 0, 0, 0], (told[:, 1, 0, 0] ** 2 + 0.3**2).sqrt()).logpdf(noisy[:, 0, 0, 0])
    assert posterior.loss(told, noisy, 0.3).item() == pytest.approx(-density.mean() - math.log(2 * math.pi) / 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sure_prior_is_kept_and_an_unsure_one_is_given_up(channels):
    told, noisy = drawn(channels)
    mean = told[:, :channels]
    sure = torch.cat([mean, torch.zeros_like(told[:, channels:])], dim=1)
    assert torch.allclose(posterior.estimate(sure, noisy, 0.1), mean)
    diagonal = torch.eye(channels, dtype=torch.float64)[tuple(torch.triu_indices(channels, channels))].view(1, -1, 1, 1)
    unsure = torch.cat([mean, 1e4 * diagonal.expand_as(told[:, channels:])], dim=1)
    assert torch.allclose(posterior.estimate(unsure, noisy, 0.1), noisy, atol=1e-6)


def test_the_centre_is_worth_what_theory_says():
    """With a prior of variance v and noise of σ², the error falls from v to v σ² / (v + σ²)."""
    v, sigma, shape = 0.02, 0.1, (1, 1, 400, 400)
    mean = torch.rand(shape, generator=seeded(), dtype=torch.float64)
    clean = mean + math.sqrt(v) * torch.randn(shape, generator=seeded(1), dtype=torch.float64)
    noisy = clean + sigma * torch.randn(shape, generator=seeded(2), dtype=torch.float64)
    found = posterior.estimate(torch.cat([mean, torch.full_like(mean, math.sqrt(v))], dim=1), noisy, sigma)
    assert (mean - clean).square().mean().item() == pytest.approx(v, rel=0.02)
    assert (found - clean).square().mean().item() == pytest.approx(v * sigma**2 / (v + sigma**2), rel=0.02)


def test_gradients_are_finite_where_the_prior_is_sure():
    told, noisy = drawn(3)
    told = torch.cat([told[:, :3], torch.zeros_like(told[:, 3:])], dim=1).requires_grad_()
    posterior.loss(told, noisy, 0.1).backward()
    assert told.grad.isfinite().all()


@pytest.mark.parametrize(
    ("channels", "sigma", "message"),
    [(2, 0.1, r"outputs have shape \(2, 9, 3, 4\), but \(B, 5, H, W\) is expected for 2 channels"),
     (3, 0.0, "sigma = 0: the posterior weighs"),
     (3, -0.1, "negative"), (3, 25.0, "0–255 scale")],
)  # fmt: skip
def test_wrong_input(channels, sigma, message):
    told, _ = drawn(3)
    noisy = torch.zeros(2, channels, 3, 4)
    for function in (posterior.loss, posterior.estimate):
        with pytest.raises(ValueError, match=message):
            function(told, noisy, sigma)


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (3, 2, 4, 5), (3, 2, 1, 1)])
def test_outputs_of_other_images_are_not_stretched_over_these(shape):
    for call in (posterior.loss, posterior.estimate):
        with pytest.raises(ValueError, match="are not of noisy images"):
            call(torch.rand(shape), torch.rand(3, 1, 4, 4), 0.1)
        with pytest.raises(TypeError, match="noisy images: a tensor of floating-point numbers"):
            call(torch.rand(1, 2, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 0.1)
