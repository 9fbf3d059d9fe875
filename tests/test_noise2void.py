"""Noise2Void: the loss on masked pixels against a loop, J-invariance and its identity, stored noise, and what a wrong input is told."""

import math
import warnings

import numpy as np
import pytest
import torch

from course_lib import batches, rng, training
from course_lib.data import DataError
from course_lib.noise import gaussian
from course_lib.self_supervised_denoising import noise2void
from course_lib.self_supervised_denoising.noise2noise import UNet
from course_lib.self_supervised_denoising.noise2void import Masked, Settings

SMALL = {"depth": 1, "width": 6, "patch_size": 16, "steps": 5, "batch_size": 4}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def small(**changes):
    return Settings(**{**SMALL, **changes})


def photos(count=2, channels=1, size=(40, 56)):
    return [torch.randint(0, 256, (channels, *size), dtype=torch.uint8, generator=seeded(i)) for i in range(count)]


def smooth(*shape, seed=0):
    coarse = torch.rand(*shape[:2], shape[2] // 8 + 1, shape[3] // 8 + 1, generator=seeded(seed), dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, size=shape[2:], mode="bicubic")


# --- loss and batches -----------------------------------------------------------------------------------------------------


def test_loss_looks_at_masked_pixels_alone():
    masked, noisy = (torch.rand(2, 1, 8, 8, generator=seeded(s)) for s in (1, 2))
    mask = (torch.rand(2, 1, 8, 8, generator=seeded(3)) < 0.2).float()
    model = torch.nn.Conv2d(1, 1, 3, padding=1)
    loss, values = noise2void.step(model, Masked(masked, noisy, mask), small())
    estimate, total, count = model(masked), 0.0, 0
    for place in np.ndindex(2, 1, 8, 8):
        if mask[place]:
            total, count = total + (estimate[place].item() - noisy[place].item()) ** 2, count + 1
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    assert values["psnr"].item() == pytest.approx(-10 * math.log10(total / count), rel=1e-5) and not values["psnr"].requires_grad
    elsewhere = noisy + 9 * (1 - mask)
    assert torch.equal(noise2void.step(model, Masked(masked, elsewhere, mask), small())[0], loss)


@pytest.mark.parametrize("masker", ["neighbour", "neighbour or centre", "mean", "median", "random value"])
def test_batches(masker):
    plan = small(masker=masker, channels=3, mask_ratio=1 / 16)
    pool = noise2void.prepare(photos(channels=3), plan)
    made = noise2void.batch(pool, rng.Draws(0, 3), plan)
    assert made.masked.shape == made.noisy.shape == made.mask.shape == (4, 3, 16, 16)
    assert (made.mask.mean((2, 3)) == 1 / 16).all()
    outside = made.mask == 0
    assert torch.equal(made.masked[outside], made.noisy[outside])
    again = noise2void.batch(pool, rng.Draws(0, 3), plan)
    assert all(torch.equal(a, b) for a, b in zip(made, again, strict=True))
    assert not torch.equal(made.mask, noise2void.batch(pool, rng.Draws(0, 4), plan).mask)


@pytest.mark.parametrize("masker", ["neighbour", "mean", "random value"])
def test_a_constant_patch_has_a_finite_loss_over_as_many_pixels(masker):
    plan = small(masker=masker, sigma_255=0.0, precision="32-true")
    pool = noise2void.prepare([torch.full((1, 20, 20), 99, dtype=torch.uint8)], plan)
    made = noise2void.batch(pool, rng.Draws(), plan)
    loss, _ = noise2void.step(UNet(plan), made, plan)
    assert loss.isfinite() and loss > 0 and made.mask.sum() == 4 * 4


def test_noise_is_stored_once_for_each_image():
    plan = small(patch_size=40, scales=(1.0, 0.75))
    image = photos(1, size=(56, 56))
    pool, again, other = (noise2void.prepare(image, plan, seed) for seed in (0, 0, 1))
    assert torch.equal(pool.pixels, again.pixels) and not torch.equal(pool.pixels, other.pixels)
    assert pool.heights.tolist() == [56, 42]
    eta = pool.pixels[: 56 * 56].view(56, 56) - batches.to_float(image[0])[0]
    assert eta.std().item() == pytest.approx(25 / 255, rel=0.06) and pool.pixels.min() < 0, "not clipped"


def test_training_and_fixed_validation_masks():
    plan = small(steps=40, batch_size=8, learning_rate=3e-3, optimizer="muon", mask_ratio=1 / 16, precision="32-true", width=12, depth=2)
    pool = noise2void.prepare([torch.full((1, 48, 48), 128, dtype=torch.uint8)], plan)
    model = UNet(plan, seed=0)
    kept_apart = gaussian(torch.full((2, 1, 32, 32), 128 / 255), 25 / 255, seeded(5), clip=False)
    before = noise2void.masked_error(model, kept_apart, plan)
    assert before == noise2void.masked_error(model, kept_apart, plan), "the same masks whenever it is asked for"
    assert before != noise2void.masked_error(model, kept_apart, plan, seed=1)
    training.fit(model, pool, noise2void, plan, progress=False)
    after = noise2void.masked_error(model, kept_apart, plan)
    assert after < before and after > 0.8 * (25 / 255) ** 2, "the noise of a hidden pixel cannot be told"


@pytest.mark.parametrize("size", [(33, 47), (16, 16), (17, 16)])
def test_images_of_odd_sizes(size):
    """Prepared, masked, restored and validated on: nothing asks for a multiple of anything but of the patch."""
    plan = small(precision="32-true")
    pool = noise2void.prepare(photos(2, size=size), plan)
    made = noise2void.batch(pool, rng.Draws(), plan)
    assert made.noisy.shape == (4, 1, 16, 16)
    model = UNet(plan).eval()
    noisy = torch.rand(2, 1, *size, generator=seeded())
    assert model.denoise(noisy).shape == noisy.shape == noise2void.hidden(model.denoise, noisy).shape
    assert 0 < noise2void.masked_error(model, noisy, plan) < math.inf


def test_evaluation_with_every_pixel_hidden():
    images = photos(2, size=(20, 24))
    model = UNet(small()).eval()
    [found] = noise2void.evaluate_hidden(model, images, 25.0, indices=[1])
    clean = batches.to_float(images[1])[None]
    noisy = gaussian(clean, 25 / 255, rng.generator(0, 1, 0, "test noise"), clip=False)
    error = (noise2void.hidden(model.denoise, noisy) - clean).square().mean().item()
    assert found == pytest.approx(-10 * math.log10(error), abs=1e-4)


def test_evaluation_is_raw():
    images = photos(2, size=(20, 24))
    model = UNet(small()).eval()
    model.denoise = lambda noisy, sigma: noisy
    [found] = noise2void.evaluate(model, images, 25.0, indices=[1])
    clean = batches.to_float(images[1])[None]
    noisy = gaussian(clean, 25 / 255, rng.generator(0, 1, 0, "test noise"), clip=False)
    assert found == pytest.approx(-10 * math.log10((noisy - clean).square().mean().item()), abs=1e-4)


# --- J-invariance ---------------------------------------------------------------------------------------------------------


def blur(width):
    """A linear filter that uses the pixel itself."""
    taps = torch.exp(-torch.arange(-4, 5, dtype=torch.float64).square() / (2 * width**2))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    return lambda z: torch.nn.functional.conv2d(torch.nn.functional.pad(z, [4] * 4, mode="reflect"), kernel[None, None].to(z))


def test_hidden_pixels_are_not_used():
    image = torch.rand(1, 1, 9, 9, generator=seeded(), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: noise2void.hidden(blur(1.0), z), image, vectorize=True).reshape(81, 81)
    assert (jacobian.diagonal() == 0).all() and (jacobian != 0).any(1).all()


def test_surroundings_by_hand():
    image = torch.rand(1, 1, 5, 6, generator=seeded(), dtype=torch.float64)
    found = noise2void.surroundings(image)[0, 0]
    at = image[0, 0]
    expected = (at[1, 2] + at[3, 2] + at[2, 1] + at[2, 3] + (at[1, 1] + at[1, 3] + at[3, 1] + at[3, 3]) / 2) / 6
    assert found[2, 2].item() == pytest.approx(expected.item(), abs=1e-12)
    corner = (2 * at[1, 0] + 2 * at[0, 1] + 4 * at[1, 1] / 2) / 6  # mirrored
    assert found[0, 0].item() == pytest.approx(corner.item(), abs=1e-12)


def test_the_identity_of_the_self_supervised_loss():
    """E‖f(z) − z‖² = E‖f(z) − y‖² + σ² for a J-invariant f; and so the best width of a blur is found without the clean image."""
    clean, sigma = smooth(4, 1, 96, 96), 0.1
    noisy = gaussian(clean, sigma, seeded(1), clip=False)
    widths = (0.4, 0.8, 1.2, 2.0, 3.0)
    by_itself = [noise2void.self_loss(blur(w), noisy) for w in widths]
    by_truth = [(noise2void.hidden(blur(w), noisy) - clean).square().mean().item() for w in widths]
    variance = (noisy - clean).square().mean().item()
    for loss, error in zip(by_itself, by_truth, strict=True):
        assert loss == pytest.approx(error + variance, rel=0.02)
    assert int(np.argmin(by_itself)) == int(np.argmin(by_truth)) not in (0, len(widths) - 1)
    seeing = [(blur(w)(noisy) - noisy).square().mean().item() for w in widths]
    assert int(np.argmin(seeing)) == 0, "without hiding, the least blur always looks best"


# --- wrong input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_ratio": 0.0}, "mask_ratio = 0, but it must lie between 0 and 1"),
        ({"mask_ratio": 1.5}, "mask_ratio = 1.5"),
        ({"masker": "nearest"}, 'masker = "nearest", but it must be one of neighbour, neighbour or centre'),
        ({"radius": 0}, "radius = 0"),
        ({"sigma_255": -1.0}, "sigma_255 = -1.0"),
        ({"patch_size": 15}, "patches whose side is a multiple of 2"),
        ({"depth": 0}, "depth = 0"),
        ({"channels": 2}, "channels = 2"),
    ],
)
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_clipped_and_8_bit_images_are_taken_with_a_warning():
    noisy = gaussian(smooth(1, 1, 40, 40).float(), 0.3, seeded(), clip=True)[0]
    with pytest.warns(UserWarning, match="look clipped at black"):
        noise2void.prepare_noisy([noisy], small())
    with pytest.warns(UserWarning, match="are 8-bit, so that they were rounded and clipped"):
        noise2void.prepare_noisy(photos(1), small())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noise2void.prepare_noisy([gaussian(smooth(1, 1, 40, 40).float(), 0.3, seeded(), clip=False)[0]], small())
    with pytest.raises(ValueError, match="channels = 3, but the images have 1"):
        noise2void.prepare_noisy([noisy + 1], small(channels=3))


def test_a_jpeg_is_read_with_a_warning(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "renamed.png.txt"):
        Image.fromarray(pixels).save(tmp_path / name, format="JPEG" if "j" in name or "r" in name else "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [image] = noise2void.read([tmp_path / "a.png"])
    assert torch.equal(image[0], torch.from_numpy(pixels))
    for name in ("a.jpg", "renamed.png.txt"):
        with pytest.warns(UserWarning, match=rf"{name} is a JPEG: its compression spreads the noise over 8×8 pixels"):
            noise2void.read([tmp_path / name])


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1e-4, 1e-6])
def test_a_patch_has_pixels_that_are_masked_and_others(ratio):
    with pytest.raises(ValueError, match=r"mask_ratio = .* is one pixel in .*: a patch of 64 needs"):
        noise2void.Settings(mask_ratio=ratio)


def test_a_validation_without_a_masked_pixel_is_no_success():
    plan = noise2void.Settings(depth=1, width=4)
    model = noise2void.UNet(plan).eval()
    with pytest.raises(ValueError, match="no pixel of images of .2, 2. pixels is masked"):
        noise2void.masked_error(model, torch.rand(1, 1, 2, 2), plan)
    with pytest.raises(ValueError, match="masks = 0"):
        noise2void.masked_error(model, torch.rand(1, 1, 16, 16), plan, masks=0)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "shot_17.png").write_bytes(b"no image")
    for name, message in (("shot_17.png", "shot_17.png is no image that Pillow reads"), ("shot_18.png", "shot_18.png is missing")):
        with pytest.raises(DataError, match=message):
            noise2void.read([tmp_path / name])
