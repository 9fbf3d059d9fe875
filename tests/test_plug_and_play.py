"""Plug-and-play: each half against a dense solve, the passes against a loop, and what is refused."""

import math

import numpy as np
import pytest
import torch

from course_lib import batches, data, metrics, noise, rng, runs
from course_lib.denoising import plug_and_play
from course_lib.denoising.plug_and_play import Blur, Mask

SIDES = (6, 8)


def draw(*shape):
    return torch.rand(*shape, generator=rng.generator(0, 0, 0, "plug and play"), dtype=torch.float64)


def operators():
    kernel = draw(3, 5)  # neither square nor symmetric
    return {"blur": Blur(kernel / kernel.sum()), "mask": Mask((draw(1, 1, *SIDES) < 0.6).double())}


def dense(forward):
    """The matrix of an operator, column by column: what it makes of an image with a single bright pixel."""
    pixels = math.prod(SIDES)
    return np.stack([forward(one.view(1, 1, *SIDES)).flatten().numpy() for one in torch.eye(pixels, dtype=torch.float64)], axis=1)


def by_hand(image, kernel):
    """Circular convolution from its definition."""
    (height, width), (h, w) = image.shape, kernel.shape
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            for a in range(h):
                for b in range(w):
                    result[i, j] += kernel[a, b] * image[(i - (a - h // 2)) % height, (j - (b - w // 2)) % width]
    return result


def test_a_blur_is_the_convolution_with_its_kernel():
    forward, image = operators()["blur"], draw(2, 3, *SIDES)
    expected = [[by_hand(channel, forward.kernel.numpy()) for channel in one] for one in image.numpy()]
    assert np.allclose(forward(image), expected)


@pytest.mark.parametrize("name", ["blur", "mask"])
@pytest.mark.parametrize("alpha", [1e-3, 0.7])
def test_agreement_is_the_least_squares_solution(name, alpha):
    """Against the normal equations (HᵀH + αI) u = Hᵀz + αv with the matrix of H."""
    forward = operators()[name]
    matrix = dense(forward)
    truth, near = draw(2, 1, 1, *SIDES)
    observed = forward(truth) + 0.01
    left = matrix.T @ matrix + alpha * np.eye(len(matrix))
    expected = np.linalg.solve(left, matrix.T @ observed.flatten().numpy() + alpha * near.flatten().numpy())
    assert np.allclose(forward.agree(observed, near, alpha).flatten(), expected)


@pytest.mark.parametrize("name", ["blur", "mask"])
def test_passes_alternate_the_two_halves(name):
    forward, sigma, weight, told = operators()[name], 0.02, 0.3, []

    def denoiser(images, level):
        told.append(level)
        return images / (1 + level)

    observed = forward(draw(1, 2, *SIDES))
    found = list(plug_and_play.iterate(observed, forward, sigma, denoiser, [0.2, 0.1, 0.05], weight=weight))
    v = forward.start(observed)
    for level, estimate in zip([0.2, 0.1, 0.05], found, strict=True):
        v = forward.agree(observed, v, weight * sigma**2 / level**2) / (1 + level)
        assert torch.allclose(estimate, v)
    assert told == [0.2, 0.1, 0.05]
    last = plug_and_play.restore(observed, forward, sigma, denoiser, passes=4, weight=weight)
    *_, expected = plug_and_play.iterate(observed, forward, sigma, denoiser, plug_and_play.levels(sigma, 4), weight=weight)
    assert torch.equal(last, expected)


def test_levels_fall_by_equal_factors_to_that_of_the_noise():
    found = plug_and_play.levels(0.02, 5, first=0.32)
    assert found == pytest.approx([0.32, 0.16, 0.08, 0.04, 0.02])
    assert plug_and_play.levels(0.02, 1) == [0.02] and plug_and_play.levels(0.3, 3) == pytest.approx([0.3] * 3)


def test_lost_pixels_start_at_the_mean_of_the_known_ones():
    known = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    started = Mask(known).start(torch.tensor([[[[0.2, 9e9], [0.6, -1.0]]]]).clamp(-1, 1))
    assert torch.allclose(started, torch.tensor([[[[0.2, 0.4], [0.6, 0.4]]]]))


def test_a_gaussian_kernel():
    kernel = plug_and_play.gaussian_kernel(1.3, 9)
    assert kernel.sum() == pytest.approx(1) and torch.equal(kernel, kernel.T) and torch.equal(kernel, kernel.flip(0))
    assert (kernel[4, 5] / kernel[4, 4]).item() == pytest.approx(math.exp(-1 / (2 * 1.3**2)))


@pytest.mark.parametrize("name", ["blur", "mask"])
def test_the_shipped_ffdnet_restores_a_photo(name):
    clean = batches.to_float(batches.center(batches.square(data.load("photos", "test").image("camera"), 256), 96))[None]
    known = (torch.rand(1, 1, 96, 96, generator=rng.generator(0, 0, 0, "known")) < 0.5).float()
    forward, sigma = {"blur": Blur(torch.eye(9) / 9), "mask": Mask(known)}[name], noise.from_255(2)
    noisy = noise.gaussian(forward(clean), sigma, rng.generator(0, 0, 0, "noise"), clip=False)
    observed = forward(noisy) if name == "mask" else noisy
    restored = plug_and_play.restore(observed, forward, sigma, runs.shipped("ffdnet").denoise, passes=8)
    before, after = (metrics.psnr(one, clean, protocol="clamped").item() for one in (forward.start(observed), restored))
    assert after > before + 4


IMAGE = torch.full((1, 1, 8, 8), 0.5)
BLUR = Blur(torch.full((3, 3), 1 / 9))


def same(images, level):
    return images


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Blur(torch.ones(2, 3)), ValueError, "both sides must be odd"),
        (lambda: Blur(torch.ones(1, 3, 3)), ValueError, r"kernel: the shape \(1, 3, 3\)"),
        (lambda: Blur([[1.0]]), TypeError, "kernel: a tensor of numbers is expected"),
        (lambda: Blur(torch.ones(9, 9))(IMAGE), ValueError, "9×9 pixels, but the images only 8×8"),
        (lambda: BLUR(IMAGE[0]), ValueError, "write image"),
        (lambda: Mask(torch.full((1, 1, 8, 8), 0.5)), ValueError, "values other than 0"),
        (lambda: Mask(torch.zeros(1, 1, 8, 8)), ValueError, "nothing to restore it from"),
        (lambda: Mask(torch.ones(8, 8)), ValueError, "known: the shape"),
        (lambda: Mask(torch.ones(1, 1, 4, 4))(IMAGE), ValueError, "does not fit images"),
        (lambda: plug_and_play.gaussian_kernel(0, 3), ValueError, "width = 0"),
        (lambda: plug_and_play.gaussian_kernel(1.0, 4), ValueError, "side = 4, but it must be odd"),
        (lambda: plug_and_play.levels(0, 3), ValueError, "sigma = 0"),
        (lambda: plug_and_play.levels(0.1, 0), ValueError, "passes = 0"),
        (lambda: plug_and_play.restore(IMAGE, BLUR, 25, same), ValueError, "sigma = 25"),
        (lambda: plug_and_play.restore(IMAGE * 255, BLUR, 0.1, same), ValueError, "divide them by 255"),
        (lambda: plug_and_play.restore(IMAGE, BLUR, 0.1, same, weight=-1), ValueError, "weight = -1"),
        (lambda: list(plug_and_play.iterate(IMAGE, BLUR, 0.1, same, [0.1, 0])), ValueError, "a level of told = 0"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
