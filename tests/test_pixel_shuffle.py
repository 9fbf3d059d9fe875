"""Pixel-shuffle downsampling: the identity there and back, a naive loop, and how much of correlated noise is left to guess."""

import numpy as np
import pytest
import torch

from course_lib import corruptions, rng
from course_lib.self_supervised_denoising import correlation, linear_filter, pixel_shuffle


def images(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("size", [(7, 7), (8, 11), (30, 30), (13, 24)])
def test_there_and_back_is_the_identity(stride, size):
    original = images(2, 3, *size)
    parts = pixel_shuffle.down(original, stride)
    assert parts.shape == (2 * stride**2, 3, -(-size[0] // stride), -(-size[1] // stride))
    assert torch.equal(pixel_shuffle.up(parts, stride, size), original)
    if not (size[0] % stride or size[1] % stride):
        assert torch.equal(pixel_shuffle.down(pixel_shuffle.up(parts, stride, size), stride), parts)


@pytest.mark.parametrize(("stride", "size"), [(2, (6, 8)), (3, (6, 9)), (2, (5, 7)), (5, (11, 8))])
def test_down_by_hand(stride, size):
    original = images(2, 2, *size)
    parts = pixel_shuffle.down(original, stride)
    for b in range(2):
        for top in range(stride):
            for left in range(stride):
                part = parts[(b * stride + top) * stride + left]
                for y in range(part.shape[1]):
                    for x in range(part.shape[2]):
                        inside = min(top + y * stride, size[0] - 1), min(left + x * stride, size[1] - 1)
                        assert torch.equal(part[:, y, x], original[b, :, inside[0], inside[1]])


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [(11, 13), (10, 17)])
def test_no_pixel_comes_twice_into_one_part(stride, size):
    """Copies that fill the last row and column lie in other sub-images than their originals."""
    numbered = torch.arange(size[0] * size[1], dtype=torch.float64).view(1, 1, *size)
    for part in pixel_shuffle.down(numbered, stride):
        rows, columns = -(-size[0] // stride), -(-size[1] // stride)
        filled_row, filled_column = part[0, -1], part[0, :, -1]
        inner = part[0, : rows - 1, : columns - 1].flatten()
        assert len(inner.unique()) == len(inner)
        assert not torch.isin(filled_row, inner).any() and not torch.isin(filled_column, inner).any()


@pytest.mark.parametrize(
    ("stride", "error", "message"),
    [
        (0, ValueError, "stride = 0, but it must be at least 1"),
        (-2, ValueError, "stride = -2, but it must be at least 1"),
        (2.5, ValueError, "stride = 2.5, but it must be a whole number"),
        (float("nan"), ValueError, "stride = nan"),
        ("2", TypeError, "stride is '2', but a number is expected"),
        (7, ValueError, "stride = 7, but the images have 6×9 pixels: .* the stride can be 6 at most"),
    ],
)
def test_strides_that_there_are_not(stride, error, message):
    with pytest.raises(error, match=message):
        pixel_shuffle.down(images(1, 1, 6, 9), stride)


def test_other_wrong_input():
    with pytest.raises(ValueError, match=r"images: the shape \(6, 9\) was given, but \(B, C, H, W\) is expected"):
        pixel_shuffle.down(images(6, 9), 2)
    with pytest.raises(TypeError, match="images: a tensor of numbers is expected"):
        pixel_shuffle.down([[1.0]], 2)
    parts = pixel_shuffle.down(images(1, 1, 6, 9), 3)
    with pytest.raises(ValueError, match=r"\(9, 1, 2, 3\), but images of 6×10 pixels have 9 sub-images of 2×4 each at stride 3"):
        pixel_shuffle.up(parts, 3, (6, 10))
    with pytest.raises(ValueError, match="have 4 sub-images of 3×5 each at stride 2"):
        pixel_shuffle.up(parts, 2, (6, 9))
    with pytest.raises(ValueError, match="stride = 0"):
        pixel_shuffle.up(parts, 0, (6, 9))


# --- what neighbours know of the noise ------------------------------------------------------------------------------------


def test_shares_of_a_gaussian_of_one_pixel():
    found = [100 * correlation.guessable(1.0, stride) for stride in (1, 2, 3, 5)]
    assert np.round(found).tolist() == [100, 51, 4, 0]


@pytest.mark.parametrize("length", [0.5, 1.0, 2.0])
def test_autocovariance_is_that_of_the_noise(length):
    noise = corruptions.correlated(torch.zeros(1, 1, 600, 600, dtype=torch.float64), 1.0, length, rng.generator(0, 0, 0, "test"))[0, 0]
    expected = correlation.autocovariance(length)
    assert expected[0] == pytest.approx(1, abs=1e-12)
    for distance in range(min(5, len(expected))):
        shifted = noise[:, distance:] * noise[:, : 600 - distance]
        assert shifted.mean().item() == pytest.approx(expected[distance], abs=0.05)
    every_second = correlation.autocovariance(length, 2)
    assert np.array_equal(every_second, expected[::2])
    if length >= 1:
        distances = np.arange(6)
        assert np.allclose(expected[:6], np.exp(-(distances**2) / (4 * length**2)), atol=2e-3)


def solved(length, stride, reach):
    """Share that the best predictor from a window guesses, by the normal equations, pixel by pixel."""
    along = correlation.autocovariance(length, stride)
    r = lambda d: along[abs(d)] if abs(d) < len(along) else 0.0  # noqa: E731
    places = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1) if (y, x) != (0, 0)]
    matrix = np.array([[r(a[0] - b[0]) * r(a[1] - b[1]) for b in places] for a in places])
    vector = np.array([r(y) * r(x) for y, x in places])
    return vector @ np.linalg.solve(matrix, vector)


@pytest.mark.parametrize(("length", "stride"), [(0.5, 1), (0.7, 2), (1.0, 2), (1.0, 3), (1.0, 5), (1.5, 4), (0.0, 1)])
def test_guessable_is_the_limit_of_finite_windows(length, stride):
    small, large = (solved(length, stride, reach) for reach in (1, 5))
    found = correlation.guessable(length, stride)
    assert small - 1e-9 <= large <= found + 1e-9
    assert found == pytest.approx(large, abs=2e-3)


def test_a_filter_fitted_to_noise_guesses_as_much():
    noise = corruptions.correlated(torch.zeros(1, 1, 400, 400), 0.1, 1.0, rng.generator(0, 0, 0, "test"))
    parts = list(pixel_shuffle.down(noise, 2).split(1))
    fitted = linear_filter.fit(parts, parts, size=7, centre=False)
    left = torch.cat([fitted.denoise(part) - part for part in parts])[..., 4:-4, 4:-4].square().mean() / noise.square().mean()
    assert 1 - left.item() == pytest.approx(correlation.guessable(1.0, 2), abs=0.03)


def test_less_is_guessed_at_larger_strides_and_of_shorter_correlation():
    table = np.array([[correlation.guessable(length, stride) for stride in range(1, 7)] for length in (0.0, 0.5, 1.0, 2.0)])
    assert (np.diff(table, axis=1) <= 1e-9).all() and (np.diff(table, axis=0) >= -1e-9).all()
    assert (table[0] == 0).all()


@pytest.mark.parametrize(
    ("length", "stride", "message"),
    [(-1, 1, "length = -1, but it must lie in 0 to 32"), (33, 1, "length = 33"), (float("nan"), 1, "length = nan"), (1, 0, "stride = 0")],
)
def test_lengths_that_there_are_not(length, stride, message):
    with pytest.raises(ValueError, match=message):
        correlation.guessable(length, stride)
    if stride and length == length:
        with pytest.raises(ValueError, match=message):
            corruptions.gaussian_taps(length)
