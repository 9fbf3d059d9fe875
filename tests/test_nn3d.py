"""NN3D: its non-local filter against plain loops in NumPy, and the iterations around a network."""

import math

import numpy as np
import pytest
import torch

from course_lib import metrics, noise
from course_lib.denoising import nn3d

SMALL = nn3d.Settings(block=4, group=8, radius=5, every=3)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# --- the filter against loops ---------------------------------------------------------------------------------------------


def naive_haar(values):
    """The Haar transform by its definition: means and differences of neighbours, again and again."""
    values, details = np.asarray(values, dtype=np.float64), []
    while len(values) > 1:
        details.insert(0, (values[0::2] - values[1::2]) / math.sqrt(2))
        values = (values[0::2] + values[1::2]) / math.sqrt(2)
    return np.concatenate([values, *details])


def naive_match(image, settings):
    channels, height, width = image.shape
    b, found = settings.block, {}
    ys = [*range(0, height - b, settings.every), height - b]
    xs = [*range(0, width - b, settings.every), width - b]
    for y in ys:
        for x in xs:
            own, near = image[:, y : y + b, x : x + b], []
            for v in range(max(0, y - settings.radius), min(height - b, y + settings.radius) + 1):
                for u in range(max(0, x - settings.radius), min(width - b, x + settings.radius) + 1):
                    near.append((((image[:, v : v + b, u : u + b] - own) ** 2).sum(), v, u))
            found[y, x] = [(v, u) for _, v, u in sorted(near)[: settings.group]]
    return found


def naive_average(image, groups, tau, settings):
    b, total, weights = settings.block, np.zeros_like(image), np.zeros(image.shape[1:])
    inverse = np.stack([naive_haar(row) for row in np.eye(settings.group)])  # the transform is orthonormal
    for places in groups.values():
        blocks = np.stack([image[:, v : v + b, u : u + b] for v, u in places])
        coefficients = np.apply_along_axis(naive_haar, 0, blocks)
        attenuation = np.ones_like(coefficients)
        attenuation[1:] = coefficients[1:] ** 2 / (coefficients[1:] ** 2 + tau**2)
        shrunk = np.tensordot(inverse, coefficients * attenuation, axes=1)
        weight = 1 / (attenuation**2).sum()
        for block, (v, u) in zip(shrunk, places, strict=True):
            total[:, v : v + b, u : u + b] += weight * block
            weights[v : v + b, u : u + b] += weight
    return total / weights


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(17, 22), (12, 12)])
def test_the_filter_against_plain_loops(channels, height, width):
    image = drawn(channels, height, width)
    groups = naive_match(image.double().numpy(), SMALL)
    found = nn3d.match(image, SMALL)
    assert [[divmod(p, width) for p in row] for row in found.tolist()] == list(groups.values())
    for tau in (0.01, 0.1, 1.0):
        ours = nn3d.average(image, found, tau, SMALL)
        expected = naive_average(image.double().numpy(), groups, tau, SMALL)
        assert np.abs(ours.numpy() - expected).max() < 1e-5


def test_the_haar_matrix_is_orthonormal_and_as_defined():
    for length in (2, 8, 32):
        matrix = nn3d.haar_matrix(length)
        assert torch.allclose(matrix @ matrix.T, torch.eye(length), atol=1e-6)
        assert np.abs(matrix.numpy() - np.stack([naive_haar(row) for row in np.eye(length)]).T).max() < 1e-6


def test_no_threshold_changes_nothing():
    image = drawn(1, 30, 26)
    image[:, :12] = 0.5  # flat, so that details are exactly zero
    assert torch.allclose(nn3d.average(image, nn3d.match(image, SMALL), 0.0, SMALL), image, atol=1e-6)


def test_a_large_threshold_averages_what_looks_alike():
    """Stripes under noise: every group holds blocks of the same phase, so that the noise of the mean is much smaller."""
    clean = 0.5 + 0.3 * torch.sin(torch.arange(48) * math.pi / 3).expand(1, 48, 48)
    noisy = clean + 0.05 * torch.randn(1, 48, 48, generator=torch.Generator().manual_seed(0))
    settings = nn3d.Settings(block=8, every=4)
    restored = nn3d.average(noisy, nn3d.match(noisy, settings), 10.0, settings)
    assert (restored - clean).square().mean() < (noisy - clean).square().mean() / 5


def test_a_block_is_first_in_its_own_group():
    flat = torch.full((1, 24, 24), 0.5)
    found = nn3d.match(flat, SMALL)
    starts = [*range(0, 20, 3), 20]
    assert found[:, 0].tolist() == [y * 24 + x for y in starts for x in starts]
    assert all(len(set(row)) == SMALL.group for row in found.tolist())


# --- the iterations -------------------------------------------------------------------------------------------------------


def test_the_iterations_by_hand():
    noisy, told = drawn(2, 1, 24, 24), []

    def cnn(images, sigma):
        told.append(sigma)
        return images * 0.9

    restored = nn3d.denoise(cnn, noisy, 0.2, SMALL)
    assert told == [0.2, 0.1]
    for image, result in zip(noisy, restored, strict=True):
        matches = nn3d.match(0.9 * image, SMALL)
        first = nn3d.average(0.9 * image, matches, 0.05, SMALL)
        assert torch.allclose(result, nn3d.average(0.9 * (image + first) / 2, matches, 0.025, SMALL), atol=1e-6)
    once = nn3d.denoise(cnn, noisy, 0.2, nn3d.Settings(iterations=1))
    assert once.shape == noisy.shape and told[2:] == [0.2]


def test_the_nearest_specialist_is_told_what_it_knows():
    seen = []

    def specialist(level):
        def denoise(noisy, sigma):
            seen.append((level, round(255 * sigma, 6), noisy))
            return noisy

        return denoise

    noisy, denoiser = drawn(1, 1, 4, 4), nn3d.nearest({15: specialist(15), 50: specialist(50)})
    for sigma_255, known, factor in ((15, 15, 1), (16, 15, 1), (25, 15, 0.6), (30, 50, 5 / 3), (75, 50, 2 / 3)):
        assert torch.allclose(denoiser(noisy, sigma_255 / 255), noisy, atol=1e-6)
        level, _, given = seen.pop()
        assert level == known and torch.allclose(given - 0.5, (noisy - 0.5) * factor, atol=1e-6)
    assert denoiser(noisy, 0.0) is noisy and not seen


# --- wrong input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noisy", "sigma", "error", "message"),
    [
        (torch.zeros(1, 1, 32, 32, dtype=torch.uint8), 0.1, TypeError, "torch.uint8"),
        (torch.rand(32, 32), 0.1, ValueError, r"image\[None, None\]"),
        (torch.rand(1, 1, 32, 32), -0.1, ValueError, "cannot be negative"),
        (torch.rand(1, 1, 32, 32), 25.0, ValueError, "on the 0–255 scale"),
        (torch.rand(1, 1, 9, 32), 0.1, ValueError, r"9×32 pixels has too few blocks of 10×10"),
        (torch.rand(1, 1, 14, 14), 0.1, ValueError, "a group needs 32"),
    ],
)
def test_wrong_input(noisy, sigma, error, message):
    with pytest.raises(error, match=message):
        nn3d.denoise(lambda images, level: images, noisy, sigma)


@pytest.mark.parametrize("change", [{"iterations": 0}, {"block": 0}, {"radius": 0}, {"every": 11}, {"group": 12}, {"group": 1}])
def test_settings_that_make_no_sense(change):
    with pytest.raises(ValueError, match=str(next(iter(change)))):
        nn3d.Settings(**change)


def test_specialists_that_make_no_sense():
    for given in ({}, {0.0: None}):
        with pytest.raises(ValueError, match="at least one, each for a σ above 0"):
            nn3d.nearest(given)


# --- the papers' measure --------------------------------------------------------------------------------------------------


def test_evaluation_is_that_of_the_network_with_the_filter_around():
    images = [(255 * drawn(1, 40, 44, seed=seed)).round().to(torch.uint8) for seed in range(3)]
    told = []

    def smooth(noisy, sigma):
        told.append(sigma)
        return torch.nn.functional.avg_pool2d(noisy, 3, 1, 1)

    values = nn3d.evaluate(smooth, images, 30.0, indices=[0, 2], seed=4)
    assert told == [30 / 255, 15 / 255] * 2
    for value, index in zip(values, (0, 2), strict=True):
        clean = images[index][None] / 255
        restored = nn3d.denoise(smooth, noise.test_noise(clean, 30 / 255, index, seed=4), 30 / 255)
        assert value == pytest.approx(metrics.psnr(restored, clean, protocol="quantised").item(), abs=1e-4)
