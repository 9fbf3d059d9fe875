"""The noise has the strength that was asked for, and strengths that make no sense are refused."""

import math

import numpy as np
import pytest
import torch

from course_lib import noise

SIGMAS_255 = (5, 15, 25, 50, 75, 100)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def uniform_images(*shape, seed=1):
    return torch.rand(shape, generator=seeded(seed))


def assert_gaussian(values, sigma):
    """Mean, standard deviation and kurtosis within 5 standard errors of N(0, σ²) for this many values."""
    values = values.double().flatten()
    n = len(values)
    assert abs(values.mean().item()) < 5 * sigma / math.sqrt(n)
    assert abs(values.std().item() / sigma - 1) < 5 / math.sqrt(2 * n)
    kurtosis = (values**4).mean().item() / (values**2).mean().item() ** 2
    assert abs(kurtosis - 3) < 5 * math.sqrt(24 / n)


def psnr(a, b):
    return -10 * math.log10(np.mean((a.double().numpy() - b.double().numpy()) ** 2))


# --- strength -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_255", SIGMAS_255)
def test_one_sigma_for_all(sigma_255):
    clean = uniform_images(2, 3, 128, 128)
    noisy = noise.gaussian(clean, sigma_255 / 255, seeded(), clip=False)
    assert noisy.shape == clean.shape and noisy.dtype == torch.float32
    assert_gaussian(noisy - clean, sigma_255 / 255)


def test_one_sigma_for_each_image():
    clean = uniform_images(4, 1, 128, 128)
    sigma = torch.tensor([0.02, 0.1, 0.3, 1.0])
    difference = noise.gaussian(clean, sigma, seeded(), clip=False) - clean
    for values, expected in zip(difference, sigma.tolist(), strict=True):
        assert_gaussian(values, expected)


@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_level_map(maps, channels):
    """Every quarter of a σ map gets its own σ, and a ramp is followed pixel by pixel."""
    clean = uniform_images(2, channels, 128, 128)
    sigma = torch.full((maps, 1, 128, 128), 0.02)
    sigma[:, :, :64, 64:], sigma[:, :, 64:, :64], sigma[:, :, 64:, 64:] = 0.1, 0.3, 0.6
    if maps == 2:
        sigma[1] = sigma[1].flip(-1)
    difference = noise.gaussian(clean, sigma, seeded(), clip=False) - clean
    for image in range(2):
        for rows in (slice(0, 64), slice(64, 128)):
            for columns in (slice(0, 64), slice(64, 128)):
                expected = sigma[image % maps, 0, rows, columns][0, 0].item()
                assert_gaussian(difference[image, :, rows, columns], expected)

    ramp = torch.linspace(0.05, 0.5, 128).repeat(128, 1)[None, None]
    standardised = (noise.gaussian(clean, ramp, seeded(1), clip=False) - clean) / ramp
    for columns in torch.arange(128).split(16):
        assert_gaussian(standardised[..., columns], 1.0)


def test_noise_is_white():
    """Neighbouring pixels, channels and images are uncorrelated: none of them shares its noise."""
    clean = uniform_images(2, 3, 128, 128)
    eta = ((noise.gaussian(clean, 0.1, seeded(), clip=False) - clean) / 0.1).double()
    pairs = {
        "rows": (eta[..., 1:, :], eta[..., :-1, :]),
        "columns": (eta[..., 1:], eta[..., :-1]),
        "channels": (eta[:, 1:], eta[:, :-1]),
        "images": (eta[1:], eta[:-1]),
    }
    for name, (a, b) in pairs.items():
        assert abs((a * b).mean().item()) < 5 / math.sqrt(a.numel()), name


@pytest.mark.parametrize("sigma_255", SIGMAS_255)
def test_input_psnr(sigma_255):
    """20·log10(255 / σ) without clipping; the bound of 0.05 dB is 5 standard errors of 640² pixels. Clipping raises it."""
    clean = uniform_images(1, 1, 640, 640)
    theory = 20 * math.log10(255 / sigma_255)
    unclipped = psnr(noise.gaussian(clean, noise.from_255(sigma_255), seeded(), clip=False), clean)
    clipped = psnr(noise.gaussian(clean, noise.from_255(sigma_255), seeded(), clip=True), clean)
    assert unclipped == pytest.approx(theory, abs=0.05)
    assert clipped > unclipped
    if sigma_255 >= 15:
        assert clipped > theory + 0.1


def test_clipping():
    clean = uniform_images(2, 1, 32, 32)
    unclipped = noise.gaussian(clean, 0.5, seeded(), clip=False)
    clipped = noise.gaussian(clean, 0.5, seeded(), clip=True)
    assert unclipped.min() < -0.2 and unclipped.max() > 1.2
    assert torch.equal(clipped, unclipped.clamp(0, 1))
    with pytest.raises(TypeError, match="clip"):
        noise.gaussian(clean, 0.5, seeded())  # clipping is never a silent default


# --- formula --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float", "no axes", "each image", "one map", "a map for each image"])
def test_formula_pixel_by_pixel(kind):
    shape = b, c, h, w = 2, 3, 4, 5
    clean = uniform_images(*shape)
    sigma = {
        "float": 0.3,
        "no axes": torch.tensor(0.3),
        "each image": torch.tensor([0.1, 0.7]),
        "one map": uniform_images(1, 1, h, w, seed=2),
        "a map for each image": uniform_images(b, 1, h, w, seed=2),
    }[kind]
    epsilon = torch.randn(shape, generator=seeded(9))
    noisy = noise.gaussian(clean, sigma, seeded(9), clip=False)
    for i in range(b):
        for k in range(c):
            for y in range(h):
                for x in range(w):
                    s = {
                        "float": lambda i, y, x: sigma,
                        "no axes": lambda i, y, x: sigma.item(),
                        "each image": lambda i, y, x: sigma[i].item(),
                        "one map": lambda i, y, x: sigma[0, 0, y, x].item(),
                        "a map for each image": lambda i, y, x: sigma[i, 0, y, x].item(),
                    }[kind](i, y, x)
                    expected = clean[i, k, y, x].item() + s * epsilon[i, k, y, x].item()
                    assert noisy[i, k, y, x].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("sigma", [0.0, 0, torch.tensor(0.0), torch.zeros(2), torch.zeros(2, 1, 8, 8)])
@pytest.mark.parametrize("clip", [False, True])
def test_sigma_zero_returns_the_input(sigma, clip):
    clean = uniform_images(2, 3, 8, 8)
    assert torch.equal(noise.gaussian(clean, sigma, seeded(), clip=clip), clean)


def test_input_is_left_as_it_is():
    clean = uniform_images(2, 1, 8, 8)
    copy = clean.clone()
    noise.gaussian(clean, 0.2, seeded(), clip=True)
    assert torch.equal(clean, copy)


def test_draws_come_from_the_generator():
    clean = uniform_images(1, 1, 8, 8)
    generator = seeded(4)
    first, second = (noise.gaussian(clean, 0.1, generator, clip=False) for _ in range(2))
    assert torch.equal(first, noise.gaussian(clean, 0.1, seeded(4), clip=False))
    assert not torch.equal(first, second)
    assert not torch.equal(first, noise.gaussian(clean, 0.1, seeded(5), clip=False))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_type_of_the_images_is_kept(dtype):
    clean = uniform_images(2, 1, 8, 8).to(dtype)
    assert noise.gaussian(clean, 0.1, seeded(), clip=False).dtype == dtype
    assert noise.gaussian(clean, torch.tensor([0.1, 0.2], dtype=dtype), seeded(), clip=False).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_type_of_the_images_is_kept_whatever_the_type_of_sigma(dtype):
    clean = uniform_images(2, 1, 8, 8).to(dtype)
    for sigma in (torch.tensor(0.1), torch.tensor([0.1, 0.2]), torch.full((1, 1, 8, 8), 0.1)):
        assert noise.gaussian(clean, sigma.double(), seeded(), clip=False).dtype == dtype


# --- errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sigma",
    [-0.1, torch.tensor(-0.1), torch.tensor([0.1, -0.1]), torch.linspace(-0.1, 0.5, 64).view(1, 1, 8, 8)],
    ids=["float", "no axes", "one of two", "in a map"],
)
def test_negative_sigma(sigma):
    with pytest.raises(ValueError, match="negative"):
        noise.gaussian(uniform_images(2, 1, 8, 8), sigma, seeded(), clip=False)


@pytest.mark.parametrize(
    "sigma",
    [math.nan, torch.tensor(math.nan), torch.tensor([0.1, math.nan]), torch.tensor([math.nan, 0.1])],
    ids=["float", "no axes", "last of two", "first of two"],
)
def test_sigma_that_is_no_number(sigma):
    with pytest.raises(ValueError, match="NaN"):
        noise.gaussian(uniform_images(2, 1, 8, 8), sigma, seeded(), clip=False)


@pytest.mark.parametrize("sigma", [25, 25.0, torch.tensor([0.1, 25.0]), torch.full((1, 1, 8, 8), 25.0), math.inf])
def test_sigma_on_the_wrong_scale(sigma):
    with pytest.raises(ValueError, match=r"255") as error:
        noise.gaussian(uniform_images(2, 1, 8, 8), sigma, seeded(), clip=False)
    assert "[0, 1]" in str(error.value)


def test_sigma_up_to_two_is_allowed():
    noise.gaussian(uniform_images(1, 1, 8, 8), 2.0, seeded(), clip=False)
    with pytest.raises(ValueError, match="255"):
        noise.gaussian(uniform_images(1, 1, 8, 8), 2.01, seeded(), clip=False)


def test_arrays_are_no_tensors():
    images = uniform_images(2, 1, 8, 8)
    with pytest.raises(TypeError, match="images are a NumPy array .*torch.from_numpy.*a tensor .* is expected"):
        noise.gaussian(images.numpy(), 0.1, seeded(), clip=False)
    for sigma in (images.numpy(), None, "25"):
        with pytest.raises(TypeError, match=f"sigma is {type(sigma).__name__}, but a number on the .0, 1. scale or a torch tensor"):
            noise.gaussian(images, sigma, seeded(), clip=False)
    same = [noise.gaussian(images, sigma, seeded(), clip=False) for sigma in (0.5, np.float32(0.5), torch.tensor(0.5))]
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], same[2])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integer_images(dtype):
    with pytest.raises(TypeError, match="floating point"):
        noise.gaussian(torch.ones(1, 1, 8, 8, dtype=dtype), 0.1, seeded(), clip=False)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (1, 1, 1, 8, 8)])
def test_wrong_number_of_dimensions(shape):
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        noise.gaussian(uniform_images(*shape), 0.1, seeded(), clip=False)


@pytest.mark.parametrize(
    "shape",
    [(1,), (3,), (2, 1), (2, 1, 8), (2, 8, 8), (8, 8), (2, 1, 8, 7), (2, 1, 7, 8), (3, 1, 8, 8), (2, 3, 8, 8), (2, 1, 1, 1)],
    ids=str,
)
def test_sigma_of_a_shape_that_does_not_fit(shape):
    with pytest.raises(ValueError, match="does not fit") as error:
        noise.gaussian(uniform_images(2, 3, 8, 8), torch.full(shape, 0.1), seeded(), clip=False)
    assert str(shape) in str(error.value)


# --- random σ and scales --------------------------------------------------------------------------------------------------


def test_uniform_sigma_range():
    """Two-sided: no value outside, and the largest distance to the uniform distribution is what 20,000 values allow."""
    low, high, count = 0.05, 0.25, 20_000
    sigma = noise.uniform_sigma(low, high, count, seeded())
    assert sigma.shape == (count,) and sigma.dtype == torch.float32
    assert sigma.min() >= low and sigma.max() <= high
    place = ((sigma.double() - low) / (high - low)).sort().values
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    distance = torch.maximum((place - steps[:-1]).abs(), (place - steps[1:]).abs()).max().item()
    assert distance < 1.95 / math.sqrt(count)  # Kolmogorov–Smirnov at 0.1 %


def test_uniform_sigma_is_one_value_for_each_image_and_drawn_from_the_generator():
    assert len(noise.uniform_sigma(0, 1, 64, seeded()).unique()) == 64
    assert torch.equal(noise.uniform_sigma(0, 1, 64, seeded(3)), noise.uniform_sigma(0, 1, 64, seeded(3)))
    assert not torch.equal(noise.uniform_sigma(0, 1, 64, seeded(3)), noise.uniform_sigma(0, 1, 64, seeded(4)))


def test_uniform_sigma_without_a_range_is_constant():
    assert torch.equal(noise.uniform_sigma(0.1, 0.1, 5, seeded()), torch.full((5,), 0.1))


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (0.2, 0.1, "above"),
        (-0.1, 0.1, "negative"),
        (-0.2, -0.1, "negative"),
        (0, 55, "255"),
        (math.nan, 0.1, "NaN"),
        (0.1, math.nan, "NaN"),
    ],
)
def test_uniform_sigma_errors(low, high, message):
    with pytest.raises(ValueError, match=message):
        noise.uniform_sigma(low, high, 4, seeded())


@pytest.mark.parametrize(("sigma_255", "sigma"), [(0, 0), (25, 0.09803921568627451), (51, 0.2), (255, 1), (0.5, 0.5 / 255)])
def test_from_255(sigma_255, sigma):
    assert noise.from_255(sigma_255) == pytest.approx(sigma, rel=1e-12)


@pytest.mark.parametrize(("shape", "advice"), [((8, 8), "image[None, None]"), ((3, 8, 8), "image[None]")])
def test_the_advice_on_missing_axes_is_right(shape, advice):
    with pytest.raises(ValueError) as error:
        noise.require_images(torch.zeros(shape))
    assert str(error.value).endswith(f"write {advice}.")
    image = torch.zeros(shape)
    noise.require_images({"image[None, None]": image[None, None], "image[None]": image[None]}[advice])
