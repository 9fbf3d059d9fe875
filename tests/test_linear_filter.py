"""The linear filter against ``numpy.linalg.lstsq``, and what its target does to it."""

import numpy as np
import pytest
import torch

from course_lib import noise, rng
from course_lib.self_supervised_denoising import linear_filter


def scenes(count=3, seed=0):
    """Smooth images of different sizes."""
    draws = torch.Generator().manual_seed(seed)
    shapes = [(40 + 7 * i, 56 - 5 * i) for i in range(count)]
    coarse = [torch.rand(1, 1, h // 6 + 2, w // 6 + 2, generator=draws) for h, w in shapes]
    return [torch.nn.functional.interpolate(c, size=s, mode="bicubic").clamp(0, 1) for c, s in zip(coarse, shapes, strict=True)]


def noisy_of(clean, purpose, sigma=0.1):
    return [noise.gaussian(x, sigma, rng.generator(0, i, 0, purpose), clip=False) for i, x in enumerate(clean)]


def neighbourhood(image, y, x, size):
    """By hand: the mirrored surroundings of one pixel."""
    height, width = image.shape
    reach = size // 2

    def mirrored(i, n):
        return -i if i < 0 else 2 * (n - 1) - i if i >= n else i

    return [image[mirrored(y + a, height), mirrored(x + b, width)] for a in range(-reach, reach + 1) for b in range(-reach, reach + 1)]


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("centre", [True, False])
def test_against_lstsq(size, centre):
    clean = scenes()
    noisy = noisy_of(clean, "first")
    found = linear_filter.fit(noisy, clean, size, centre=centre)
    rows, targets = [], []
    for z, y in zip(noisy, clean, strict=True):
        image = z[0, 0].double().numpy()
        for i in range(image.shape[0]):
            for j in range(image.shape[1]):
                rows.append(neighbourhood(image, i, j, size) + [1.0])
        targets.append(y.double().numpy().ravel())
    matrix = np.array(rows)
    middle = size * size // 2
    if not centre:
        matrix = np.delete(matrix, middle, axis=1)
    expected = np.linalg.lstsq(matrix, np.concatenate(targets), rcond=None)[0]
    weights = found.weights.flatten().numpy()
    if not centre:
        assert weights[middle] == 0
        weights = np.delete(weights, middle)
    assert np.allclose(weights, expected[:-1], atol=1e-9) and found.constant == pytest.approx(expected[-1], abs=1e-9)
    made = found.denoise(noisy[0])[0, 0].numpy().ravel()
    assert np.allclose(made, (matrix @ expected)[: made.size], atol=1e-6)


def test_what_the_target_does():
    clean = scenes(6)
    first, second = noisy_of(clean, "first"), noisy_of(clean, "second")
    by = {name: linear_filter.fit(first, target) for name, target in (("clean", clean), ("second", second), ("same", first))}
    assert by["same"].centre == pytest.approx(1, abs=1e-6) and by["same"].weights.abs().sum() == pytest.approx(1, abs=1e-5)
    assert by["clean"].centre < 0.5 and torch.allclose(by["clean"].weights, by["second"].weights, atol=0.02)
    rho = 0.6  # the second noise is correlated with the first: the filter is the mixture that theory says
    shared = [y + rho * (a - y) + (1 - rho**2) ** 0.5 * (b - y) for y, a, b in zip(clean, first, second, strict=True)]
    mixed = (1 - rho) * by["clean"].weights + rho * by["same"].weights
    assert torch.allclose(linear_filter.fit(first, shared).weights, mixed, atol=0.02)


def test_masked_pixels_alone_count_against_lstsq():
    clean = scenes(2)
    noisy = noisy_of(clean, "first")
    masks = [(torch.rand(y.shape, generator=torch.Generator().manual_seed(i)) < 0.2).float() for i, y in enumerate(clean)]
    found = linear_filter.fit(noisy, clean, 3, masks=masks)
    spoilt = [torch.where(mask.bool(), y, 9.0) for y, mask in zip(clean, masks, strict=True)]
    assert torch.equal(found.weights, linear_filter.fit(noisy, spoilt, 3, masks=masks).weights), "what does not count has no influence"
    rows, targets = [], []
    for z, y, mask in zip(noisy, clean, masks, strict=True):
        for i, j in mask[0, 0].nonzero().tolist():
            rows.append(neighbourhood(z[0, 0].double().numpy(), i, j, 3) + [1.0])
            targets.append(y[0, 0, i, j].item())
    expected = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    assert np.allclose(found.weights.flatten(), expected[:-1], atol=1e-6) and found.constant == pytest.approx(expected[-1], abs=1e-6)
    with pytest.raises(ValueError, match="there are 1 masks for 2 noisy images"):
        linear_filter.fit(noisy, clean, 3, masks=masks[:1])
    with pytest.raises(ValueError, match="fewer pixels count than the 10 numbers that are fitted"):
        linear_filter.fit(noisy, clean, 3, masks=[torch.zeros_like(mask) for mask in masks])


def test_sizes_channels_and_type_of_what_is_filtered():
    found = linear_filter.fit(noisy_of(scenes(), "first"), scenes())
    images = torch.rand(2, 3, 17, 33)
    made = found.denoise(images)
    assert made.shape == images.shape and made.dtype == torch.float32
    assert torch.allclose(made[1:, 2:], found.denoise(images[1:, 2:])), "each channel by itself"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "there are 0 noisy images and 0 targets"),
        ((scenes(2), scenes(1)), "there are 2 noisy images and 1 targets"),
        ((scenes(1), scenes(1), 4), "size = 4: the side of the filter is an odd number of at least 3"),
        ((scenes(1), scenes(1), 1), "size = 1"),
        ((scenes(1), [torch.zeros(1, 1, 9, 9)]), "two gray ones of one size"),
        (([torch.zeros(1, 3, 9, 9)], [torch.zeros(1, 3, 9, 9)]), "two gray ones of one size"),
        ((scenes(1), scenes(1), 3, [torch.full_like(scenes(1)[0], 0.5)]), "masks have values other than 0 and 1"),
    ],
)
def test_wrong_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        linear_filter.fit(*arguments[:3], **({"masks": arguments[3]} if len(arguments) > 3 else {}))


def test_integer_images():
    with pytest.raises(TypeError, match="floating point"):
        linear_filter.fit([torch.zeros(1, 1, 9, 9, dtype=torch.uint8)], [torch.zeros(1, 1, 9, 9)])
    with pytest.raises(TypeError, match="floating point"):
        linear_filter.fit(scenes(1), scenes(1)).denoise(torch.zeros(1, 1, 9, 9, dtype=torch.uint8))
