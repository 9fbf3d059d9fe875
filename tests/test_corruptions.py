"""Photons, lost pixels, impulses, text and correlated noise have the statistics that they promise, and refuse what makes no sense."""

import math

import numpy as np
import pytest
import torch

from course_lib import corruptions


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(value, *shape):
    return torch.full(shape, value)


def assert_share(found, expected, count):
    """Within 5 standard errors of a share of ``count`` independent trials."""
    assert abs(float(found) - expected) < 5 * math.sqrt(expected * (1 - expected) / count) + 1e-9


# --- photons --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chi", "y"), [(1, 0.5), (30, 0.25), (30, 1.0), (1000, 0.7)])
def test_photons(chi, y):
    noisy = corruptions.photons(flat(y, 2, 1, 256, 256), chi, seeded())
    values, n = noisy.double(), noisy.numel()
    assert abs(values.mean().item() - y) < 5 * math.sqrt(y / chi / n)
    fourth = (3 + chi * y) / (chi * y) - 1  # excess of a Poisson variance's own variance, relative
    assert values.var().item() == pytest.approx(y / chi, rel=5 * math.sqrt((2 + fourth) / n))
    assert torch.allclose((values * chi).round(), values * chi, atol=1e-2), "whole numbers of photons"


def test_photons_one_strength_for_each_image_and_beyond_white():
    noisy = corruptions.photons(flat(1.0, 2, 3, 64, 64), torch.tensor([4.0, 400.0]), seeded())
    assert noisy[0].var() == pytest.approx(1 / 4, rel=0.05) and noisy[1].var() == pytest.approx(1 / 400, rel=0.05)
    assert noisy.max() > 1, "not clipped"
    assert torch.equal(corruptions.photons(flat(0.0, 1, 1, 8, 8), 10, seeded()), flat(0.0, 1, 1, 8, 8))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_photons_of_a_type_that_does_not_hold_their_number(kind):
    noisy = corruptions.photons(flat(0.5, 1, 1, 64, 64).to(kind), 1e6, seeded())
    assert noisy.dtype == kind and noisy.double().mean().item() == pytest.approx(0.5, abs=2e-3)


def test_negative_intensities():
    with pytest.raises(ValueError, match="negative intensities: no number of photons is negative"):
        corruptions.photons(flat(-0.1, 1, 1, 4, 4), 10, seeded())


# --- lost and replaced pixels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.95, 1.0])
def test_dropped(p):
    clean = torch.rand(2, 3, 128, 128, generator=seeded(1)) + 0.1
    noisy, mask = corruptions.dropped(clean, p, seeded())
    assert mask.shape == (2, 1, 128, 128) and set(mask.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(noisy, clean * mask), "all channels of a pixel together"
    assert_share(1 - mask.mean(), p, mask.numel())


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_impulses(p):
    clean = flat(2.0, 2, 3, 128, 128)  # a value that no impulse has
    noisy = corruptions.impulses(clean, p, seeded())
    hit = (noisy != clean).any(1)
    assert_share(hit.double().mean(), p, hit.numel())
    colours = noisy.permute(1, 0, 2, 3)[:, hit]
    if p:
        assert (colours != 2).all(), "all channels together"
        assert abs(colours.mean().item() - 0.5) < 5 * math.sqrt(1 / 12 / colours.numel())
        assert colours.var().item() == pytest.approx(1 / 12, rel=0.05)
        assert abs(np.corrcoef(colours[0], colours[1])[0, 1]) < 5 / math.sqrt(colours.shape[1]), "each channel has a draw of its own"


def test_one_probability_for_each_image():
    p = torch.tensor([0.05, 0.6])
    for hit in (corruptions.dropped(flat(1.0, 2, 1, 128, 128), p, seeded())[0] == 0,
                corruptions.impulses(flat(2.0, 2, 1, 128, 128), p, seeded()) != 2):  # fmt: skip
        for image, expected in zip(hit, p.tolist(), strict=True):
            assert_share(image.double().mean(), expected, image.numel())


# --- text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coverage", [0.0, 0.1, 0.25, 0.5])
def test_text_covers_as_much_as_it_shall_at_every_pixel(coverage):
    count = 1200
    covered = (corruptions.text(flat(2.0, count, 1, 24, 24), coverage, seeded()) != 2).double()
    shares = covered.mean(dim=(1, 2, 3))  # of an image; images are independent, pixels are not
    assert abs(shares.mean().item() - coverage) < 5 * shares.std().item() / math.sqrt(count) + 1e-9
    if coverage:
        corner, middle = covered[:, 0, 0, 0].mean(), covered[:, 0, 12, 12].mean()
        assert_share(corner, coverage, count)
        assert_share(middle, coverage, count)


def test_text_is_of_strings_in_one_colour_each():
    noisy = corruptions.text(flat(2.0, 1, 3, 200, 200), 0.3, seeded())
    colours = noisy[0].flatten(1).T[(noisy[0] != 2).all(0).flatten()].unique(dim=0)
    covered = int((noisy[0, 0] != 2).sum())
    assert 10 < len(colours) < covered / 20, "many pixels share the colour of their string"
    assert colours.min() >= 0 and colours.max() <= 1
    neighbours = (noisy[0, :, :, 1:] == noisy[0, :, :, :-1]).all(0) & (noisy[0, 0, :, 1:] != 2)
    assert neighbours.double().mean() > 0.3 / 4, "neighbours are covered together"


def test_text_differs_from_draw_to_draw():
    first, second = (corruptions.text(flat(2.0, 1, 1, 64, 64), 0.4, seeded(seed)) != 2 for seed in (1, 2))
    assert not torch.equal(first, second)
    assert torch.equal(first, corruptions.text(flat(2.0, 1, 1, 64, 64), 0.4, seeded(1)) != 2)


# --- correlated noise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "expected"), [(0, (0, 0)), (0.5, (0.26, 0.02)), (1.0, (0.78, 0.37)), (1.5, (0.89, 0.64))])
def test_correlated(length, expected):
    eta = corruptions.correlated(torch.zeros(4, 2, 256, 256), 0.1, length, seeded()).double() / 0.1
    effective = eta.numel() / max(1.0, 4 * math.pi * length**2)  # independent pixels among them
    assert abs(eta.mean().item()) < 5 / math.sqrt(effective)
    assert eta.std().item() == pytest.approx(1, abs=5 / math.sqrt(2 * effective))
    for distance, rho in zip((1, 2), expected, strict=True):
        for a, b in ((eta[..., distance:], eta[..., :-distance]), (eta[..., distance:, :], eta[..., :-distance, :])):
            assert (a * b).mean().item() == pytest.approx(rho, abs=0.02)
    assert abs((eta[:, 0] * eta[:, 1]).mean().item()) < 5 / math.sqrt(effective / 2), "channels are independent"


def test_correlated_noise_by_definition():
    """Against a loop over pixels and taps."""
    length, side, reach = 0.7, 5, 3
    found = corruptions.correlated(torch.zeros(1, 1, side, side, dtype=torch.float64), 1.0, length, seeded())
    white = torch.randn(1, 1, side + 2 * reach, side + 2 * reach, generator=seeded(), dtype=torch.float64)[0, 0]
    taps = [math.exp(-(i**2) / (2 * length**2)) for i in range(-reach, reach + 1)]
    norm = math.sqrt(sum(t * t for t in taps))
    for y in range(side):
        for x in range(side):
            expected = sum(
                taps[i] / norm * taps[j] / norm * white[y + i, x + j].item() for i in range(2 * reach + 1) for j in range(2 * reach + 1)
            )
            assert found[0, 0, y, x].item() == pytest.approx(expected, abs=1e-12)


def test_correlated_noise_has_one_strength_for_each_image():
    eta = corruptions.correlated(torch.zeros(2, 1, 128, 128), torch.tensor([0.05, 0.5]), 1.0, seeded())
    assert eta[0].std() == pytest.approx(0.05, rel=0.1) and eta[1].std() == pytest.approx(0.5, rel=0.1)


# --- what all share -------------------------------------------------------------------------------------------------------

ALL = {
    "photons": lambda x, g: corruptions.photons(x, 30, g),
    "dropped": lambda x, g: corruptions.dropped(x, 0.3, g)[0],
    "impulses": lambda x, g: corruptions.impulses(x, 0.3, g),
    "text": lambda x, g: corruptions.text(x, 0.3, g),
    "correlated": lambda x, g: corruptions.correlated(x, 0.1, 1.0, g),
}


@pytest.mark.parametrize("name", ALL)
def test_shape_type_draws_and_input(name):
    for dtype in (torch.float32, torch.float64):
        clean = torch.rand(2, 3, 40, 24, generator=seeded(3)).to(dtype)
        copy = clean.clone()
        noisy = ALL[name](clean, seeded(4))
        assert noisy.shape == clean.shape and noisy.dtype == dtype and torch.equal(clean, copy)
        assert torch.equal(noisy, ALL[name](clean, seeded(4))) and not torch.equal(noisy, ALL[name](clean, seeded(5)))


@pytest.mark.parametrize("name", ALL)
def test_wrong_images(name):
    with pytest.raises(TypeError, match="floating point in .0, 1.: batches.to_float makes them of 8-bit images"):
        ALL[name](torch.zeros(1, 1, 8, 8, dtype=torch.uint8), seeded())
    with pytest.raises(ValueError, match=r"\(B, C, H, W\) is expected: for one image"):
        ALL[name](torch.zeros(1, 8, 8), seeded())


@pytest.mark.parametrize(
    ("draw", "strength", "message"),
    [
        (corruptions.photons, 0, r"at_white = 0, but it must lie in 0.001 to 1e\+06: it is the number of photons"),
        (corruptions.photons, -3.0, "at_white = -3, but"),
        (corruptions.photons, math.nan, "at_white = nan, but"),
        (corruptions.dropped, 1.5, "probability = 1.5, but it must lie in 0 to 1"),
        (corruptions.dropped, torch.tensor([0.2, -0.1]), "probability = -0.1, but"),
        (corruptions.impulses, 50, "probability = 50, but"),
        (corruptions.impulses, torch.tensor([0.1, 0.2, 0.3]), r"has shape \(3,\): give one number, or one for each of the 2"),
        (corruptions.text, 0.7, "coverage = 0.7, but it must lie in 0 to 0.6"),
        (corruptions.text, torch.tensor([[0.1], [0.2]]), r"has shape \(2, 1\)"),
        (lambda x, length, g: corruptions.correlated(x, 0.1, length, g), -1, "length = -1, but it must lie in 0 to 32"),
        (lambda x, length, g: corruptions.correlated(x, 0.1, length, g), math.nan, "length = nan, but"),
        (lambda x, sigma, g: corruptions.correlated(x, sigma, 1.0, g), 25, "0–255 scale"),
    ],
)
def test_wrong_strength(draw, strength, message):
    with pytest.raises(ValueError, match=message):
        draw(torch.zeros(2, 1, 8, 8), strength, seeded())


@pytest.mark.parametrize("draw", [corruptions.photons, corruptions.dropped, corruptions.impulses, corruptions.text])
def test_strength_that_is_no_number(draw):
    with pytest.raises(TypeError, match="is str, but a number or a tensor with one for each image"):
        draw(torch.zeros(2, 1, 8, 8), "strong", seeded())
