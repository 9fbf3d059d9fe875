"""BRISQUE's statistics and PIQE against loops written from the papers, and against libraries of others."""

import math

import numpy as np
import pytest
import torch
from scipy import special

from course_lib import data, rng
from course_lib.noisy_classification import brisque, piqe

PYPIQE = {  # (photo, σ) -> score of pypiqe 1.2 (with OpenCV 5.0.0) for a crop of it with noise that is rounded and clipped
    ("camera", 0): 28.972286, ("camera", 5): 36.082736, ("camera", 15): 62.984877, ("camera", 50): 75.423103,
    ("cat", 0): 35.212598, ("cat", 5): 35.827970, ("cat", 15): 63.206620, ("cat", 50): 75.541725,
    ("flower", 0): 26.212661, ("flower", 5): 42.022947, ("flower", 15): 63.569420, ("flower", 50): 75.683398,
}  # fmt: skip


def crop(photo, sigma_255=0):
    """A crop of a photo of the test split, with noise, ``(1, 1, 224, 224)`` float64 in [0, 1]."""
    found = data.load("photos", "test")
    clean = found.image(photo)[0, 100:324, 40:264].double()
    draws = rng.generator(found.names.index(photo), 0, 0, "parity")
    noise = torch.randn(clean.shape, generator=draws, dtype=torch.float64)
    return (clean + sigma_255 * noise).clamp(0, 255).round()[None, None] / 255


def mscn_by_loop(image):
    """Coefficients of a gray image on the 0–255 scale, pixel by pixel."""
    window = np.array([[math.exp(-(a * a + b * b) / (2 * (7 / 6) ** 2)) for a in range(-3, 4)] for b in range(-3, 4)])
    window /= window.sum()
    padded = np.pad(image, 3, mode="edge")
    found = np.zeros_like(image)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            part = padded[y : y + 7, x : x + 7]
            mean = (window * part).sum()
            found[y, x] = (image[y, x] - mean) / (math.sqrt(abs((window * part**2).sum() - mean**2)) + 1)
    return found


def test_mscn_by_definition():
    image = crop("cat", 5)[..., :23, :17]
    assert np.allclose(brisque.mscn(image)[0, 0].numpy(), mscn_by_loop(255 * image[0, 0].numpy()), atol=1e-6)


def test_every_channel_is_normalised_by_itself():
    features = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    apart = torch.cat([brisque.mscn(features[:, c : c + 1], 0.1) for c in range(3)], dim=1)
    assert torch.allclose(brisque.mscn(features, 0.1), apart, atol=1e-6)
    assert brisque.mscn(torch.full((1, 1, 8, 8), 0.5)).abs().max() < 1e-4, "a flat region has no contrast"


def test_a_gradient_passes_through_flat_regions():
    flat = torch.full((1, 1, 12, 12), 0.5, requires_grad=True)
    brisque.smooth(brisque.mscn(flat)).sum().backward()
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 4.0])
def test_the_shape_of_a_generalised_gaussian_is_found(shape):
    uniform = (np.arange(200_000) + 0.5) / 200_000  # quantiles in place of draws
    half = special.gammaincinv(1 / shape, uniform) ** (1 / shape)
    values = torch.from_numpy(np.concatenate([-half, half]))
    found, variance = brisque.generalized_gaussian(values)
    assert abs(found.item() - shape) < 0.01 and abs(variance - values.square().mean()) < 1e-12
    symmetric = brisque.asymmetric(values)
    assert abs(symmetric.shape - shape) < 0.01 and abs(symmetric.mean) < 1e-6 and abs(symmetric.left - symmetric.right) < 1e-6


def test_neighbours_are_pairs_of_neighbours():
    values = torch.arange(12.0).view(1, 1, 3, 4)
    pairs = [[(values[0, 0, y, x] * values[0, 0, y + down, x + right]).item() for y in range(3) for x in range(4)
              if 0 <= y + down < 3 and x + right < 4] for down, right in brisque.SHIFTS]  # fmt: skip
    assert [found.flatten().tolist() for found in brisque.neighbours(values)] == pairs


def test_distributions_agree_with_piq():
    """piq fits the same two distributions by the same table; its filter pads with zeros and its shifts wrap around, so that only what
    is fitted to given coefficients is the same to the last digits, and the statistics of an image nearly."""
    theirs = pytest.importorskip("piq.brisque")
    coefficients = brisque.mscn(crop("camera", 5))
    shape, deviation = theirs._ggd_parameters(coefficients.squeeze(1))
    ours = brisque.generalized_gaussian(coefficients.flatten(1))
    assert torch.allclose(ours[0], shape) and torch.allclose(ours[1].sqrt(), deviation)
    for product in brisque.neighbours(coefficients):
        shape, left, right = theirs._aggd_parameters(product.squeeze(1))
        found = brisque.asymmetric(product.flatten(1))
        assert torch.allclose(found.shape, shape) and torch.allclose(found.left.sqrt(), left) and torch.allclose(found.right.sqrt(), right)
    image = crop("camera", 5)
    assert torch.allclose(brisque.statistics(image)[:, :18], theirs._natural_scene_statistics(255 * image), atol=0.05)


def test_statistics_have_names_and_see_noise_and_blur():
    assert len(brisque.NAMES) == len(set(brisque.NAMES)) == 36
    variance = [brisque.statistics(crop("camera", sigma))[0, brisque.NAMES.index("variance at full size")] for sigma in (0, 5, 15, 25, 50)]
    assert all(a < b for a, b in zip(variance, variance[1:], strict=False))
    colour = crop("camera").expand(1, 3, -1, -1)
    assert torch.allclose(brisque.statistics(colour), brisque.statistics(crop("camera")), atol=2e-3), "shapes are steps of 0.001"


def piqe_by_loop(image):
    """The score of a gray image on the 0–255 scale, whose sides are multiples of 16, block by block."""
    normal = mscn_by_loop(np.round(255 * image / image.max()))
    active = distortion = 0
    for top in range(0, image.shape[0], 16):
        for left in range(0, image.shape[1], 16):
            block = normal[top : top + 16, left : left + 16]
            variance = block.var(ddof=1)
            if variance <= 0.1:
                continue
            active += 1
            edges = (block[0], block[-1], block[:, 0], block[:, -1])
            if any(edge[i : i + 6].std(ddof=1) < 0.1 for edge in edges for i in range(11)):
                distortion += 1 - variance
            sigma, ratio = math.sqrt(variance), block[:, 7:9].std(ddof=1) / np.delete(block, (7, 8), 1).std(ddof=1)
            if sigma > 2 * abs(sigma - ratio) / max(sigma, ratio):
                distortion += variance
    return 100 * (distortion + 1) / (active + 1)


@pytest.mark.parametrize("sigma", [0, 15])
def test_piqe_by_definition(sigma):
    image = crop("flower", sigma)[..., :64, 32:96]
    assert abs(piqe.piqe(image).score.item() - piqe_by_loop(255 * image[0, 0].numpy())) < 1e-6


@pytest.mark.parametrize(("photo", "sigma"), PYPIQE)
def test_piqe_agrees_with_pypiqe(photo, sigma):
    assert abs(piqe.piqe(crop(photo, sigma), as_released=True).score.item() - PYPIQE[photo, sigma]) < 1e-5


def test_piqe_of_sides_that_are_no_multiple_of_a_block():
    """The score that pypiqe 1.2 gives for 205×207 pixels of the camera man; a picture smaller than a block is mirrored up to one."""
    image = data.load("photos", "test").image("camera")[:, 100:305, 40:247].double()[None] / 255
    assert abs(piqe.piqe(image, as_released=True).score.item() - 28.910816635835126) < 1e-5
    assert piqe.piqe(image[..., :5, :7]).active.shape == (1, 1, 1)


def test_piqe_tells_which_blocks_are_noisy():
    half = crop("camera")
    half[..., :112] = crop("camera", 25)[..., :112]
    found = piqe.piqe(half)
    assert found.noise[0, :, :7].float().mean() > 0.9 > 0.3 > found.noise[0, :, 7:].float().mean()
    assert torch.equal(piqe.piqe(torch.cat([half, crop("flower")])).score[:1], found.score), "every image by itself"
    assert piqe.piqe(torch.full((1, 1, 32, 32), 0.5)).score.item() == 100
    for level in (0.0, -0.5):
        assert piqe.piqe(torch.full((1, 1, 32, 32), level)).score.item() == 100, "nothing is brighter than black, and nothing to scale to"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: brisque.statistics(torch.rand(1, 1, 8, 40)), ValueError, "at least 16×16"),
        (lambda: brisque.statistics(torch.rand(1, 2, 40, 40)), ValueError, "1 (gray) or 3 (colour)"),
        (lambda: brisque.mscn(torch.rand(1, 1, 3, 40)), ValueError, "the window reaches 3 pixels"),
        (lambda: brisque.mscn(torch.rand(1, 1, 9, 9), 0), ValueError, "constant"),
        (lambda: brisque.mscn(torch.zeros(1, 1, 9, 9, dtype=torch.uint8)), TypeError, "floating-point"),
        (lambda: piqe.piqe(torch.zeros(1, 1, 9, 9, dtype=torch.uint8)), TypeError, "uint8"),
        (lambda: piqe.block_variances(torch.rand(1, 1, 9, 40)), ValueError, "a block has 16×16"),
    ],
)
def test_wrong_input(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)
