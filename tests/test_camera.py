"""Light, sensor, mosaic and response: each stage against a loop or a property, and wrong input."""

import math

import pytest
import torch

from course_lib import camera, rng


def seeded(name="draws"):
    return rng.generator(0, 0, 0, name)


def picture(channels=3, height=7, width=10, dtype=torch.double):
    return torch.rand(2, channels, height, width, generator=seeded("picture"), dtype=torch.float32).to(dtype)


def test_response_and_its_inverse():
    clean = picture()
    for gamma in (1.0, 2.2, torch.tensor([1.8, 2.4])):
        assert torch.allclose(camera.response(camera.irradiance(clean, gamma), gamma), clean, atol=1e-12)
    assert camera.response(torch.full((1, 1, 1, 1), 0.25), 2.0).item() == 0.5
    assert camera.response(torch.full((1, 1, 1, 1), 1.7), 2.0).item() == 1, "a sensor saturates"
    assert camera.response(torch.full((1, 1, 1, 1), -0.1), 2.0).item() == 0
    two = camera.irradiance(torch.full((2, 1, 1, 1), 0.5), torch.tensor([1.0, 2.0]))
    assert two.flatten().tolist() == [0.5, 0.25]


def test_the_noise_level_by_loops():
    light = picture()
    shot, read = torch.tensor([[0.1, 0.0, 0.16], [0.02, 0.05, 0.08]]), torch.tensor([0.06, 0.0])
    level = camera.noise_level(light, shot, read)
    for b in range(2):
        for c in range(3):
            for value, found in zip(light[b, c].flatten().tolist(), level[b, c].flatten().tolist(), strict=True):
                assert found == pytest.approx(math.sqrt(shot[b, c].item() ** 2 * value + read[b].item() ** 2), abs=1e-9)


@pytest.mark.parametrize("light", [0.02, 0.3, 1.0])
def test_noise_has_the_level_that_is_stated(light):
    flat = torch.full((1, 1, 300, 300), light)
    noisy = camera.poisson_gaussian(flat, 0.12, 0.03, seeded())
    assert noisy.std().item() == pytest.approx(math.sqrt(0.12**2 * light + 0.03**2), rel=0.02)
    assert noisy.mean().item() == pytest.approx(light, abs=0.002)
    assert torch.equal(noisy, camera.poisson_gaussian(flat, 0.12, 0.03, seeded()))
    assert torch.equal(camera.poisson_gaussian(flat, 0.0, 0.0, seeded()), flat)


@pytest.mark.parametrize("pattern", camera.PATTERNS)
def test_mosaic_by_loops(pattern):
    colors = picture()
    measured = camera.mosaic(colors, pattern)
    for b in range(2):
        for row in range(7):
            for column in range(10):
                channel = "RGB".index(pattern[2 * (row % 2) + column % 2])
                assert measured[b, 0, row, column] == colors[b, channel, row, column]


@pytest.mark.parametrize("pattern", camera.PATTERNS)
def test_demosaic_by_loops(pattern):
    """A missing colour is the mean of the nearest pixels that measured it, of those inside the image."""
    measured = picture(channels=1)
    found = camera.demosaic(measured, pattern)
    near, diagonal = [(0, 1), (1, 0), (0, -1), (-1, 0)], [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    for row in range(7):
        for column in range(10):
            for channel in range(3):
                def is_known(r, c, channel=channel):
                    return 0 <= r < 7 and 0 <= c < 10 and "RGB".index(pattern[2 * (r % 2) + c % 2]) == channel

                if is_known(row, column):
                    assert found[0, channel, row, column] == measured[0, 0, row, column]
                    continue
                places = [(row + r, column + c) for r, c in near if is_known(row + r, column + c)]
                places = places or [(row + r, column + c) for r, c in diagonal if is_known(row + r, column + c)]
                expected = sum(measured[0, 0, r, c].item() for r, c in places) / len(places)
                assert found[0, channel, row, column].item() == pytest.approx(expected, abs=1e-12), (row, column, channel)


def test_a_picture_of_one_colour_survives_the_mosaic():
    flat = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 6, 8)
    for pattern in camera.PATTERNS:
        assert torch.allclose(camera.demosaic(camera.mosaic(flat, pattern), pattern), flat, atol=1e-6)


def test_the_mosaic_makes_noise_correlated():
    """The reason why blind spots fail on real photographs: the neighbours know the noise."""
    flat = torch.full((1, 3, 200, 200), 0.5)

    def correlation(pattern):
        noisy, _ = camera.photograph(flat, 0.1, 0.02, seeded(), gamma=1.0, pattern=pattern)
        residual = (noisy - flat)[0, 1]
        return (residual[:, 1:] * residual[:, :-1]).mean().item() / residual.square().mean().item()

    assert abs(correlation(None)) < 0.02 and correlation("RGGB") > 0.2


def test_a_photograph_without_noise_is_the_picture():
    clean = picture(dtype=torch.float32)
    taken, level = camera.photograph(clean, 0.0, 0.0, seeded())
    assert torch.allclose(taken, clean, atol=1e-6) and not level.any()
    taken, level = camera.photograph(clean, 0.1, 0.02, seeded(), pattern="GBRG")
    assert taken.shape == level.shape == clean.shape and taken.min() >= 0 and taken.max() <= 1
    assert torch.equal(level, camera.noise_level(camera.irradiance(clean, 2.2), 0.1, 0.02))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: camera.response(p, 0.5), ValueError, "gamma = 0.5, but it must lie in 1 to 4"),
        (lambda p: camera.response(p, torch.ones(3)), ValueError, r"gamma has shape \(3,\)"),
        (lambda p: camera.noise_level(p, -0.1, 0.0), ValueError, "sigma_s = -0.1"),
        (lambda p: camera.noise_level(p, 0.1, 25.0), ValueError, "sigma_c = 25.0, but it must lie in 0 to 1"),
        (lambda p: camera.noise_level(p, float("nan"), 0.0), ValueError, "sigma_s = nan"),
        (lambda p: camera.mosaic(p, "RGBG"), ValueError, "RGGB, GRBG, GBRG, BGGR"),
        (lambda p: camera.mosaic(p[:, :1], "RGGB"), ValueError, "1 channels, but a mosaic samples 3"),
        (lambda p: camera.demosaic(p, "RGGB"), ValueError, "3 channels, but the mosaic of a sensor has 1"),
        (lambda p: camera.irradiance((p * 255).to(torch.uint8), 2.2), TypeError, "torch.uint8"),
    ],
)
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=message):
        call(picture(dtype=torch.float32))
