"""Low resolution and JPEG against their definitions and a peer, the figures measured on them, and DnCNN-3's mixed batches."""

import io
import math
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import data, metrics, noise, rng
from course_lib.batches import to_float
from course_lib.denoising import dncnn, evaluation
from course_lib.recipes import of_images


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth(*shape, seed=0):
    """Images with edges and shades, in [0, 1]."""
    coarse = torch.rand(*shape[:2], shape[2] // 4 + 2, shape[3] // 4 + 2, generator=seeded(seed))
    return torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")[..., : shape[2], : shape[3]]


# --- bicubic interpolation ------------------------------------------------------------------------------------------------


def keys(x):
    """Keys' kernel with a = -1/2."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def weights(size, new):
    """(new, size): how one axis is interpolated, from the definition; the kernel is stretched where the axis shrinks."""
    factor = size / new
    stretch = max(1.0, factor)
    table = np.zeros((new, size))
    for i in range(new):
        centre = (i + 0.5) * factor - 0.5
        for j in range(size):
            table[i, j] = keys((j - centre) / stretch)
        table[i] /= table[i].sum()
    return table


def bicubic_by_definition(image, scale):
    height, width = image.shape
    small = weights(height, height // scale) @ image @ weights(width, width // scale).T
    small = np.rint(np.clip(small, 0, 1) * 255) / 255
    return weights(height // scale, height) @ small @ weights(width // scale, width).T


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_bicubic_by_definition(scale, channels):
    clean = smooth(2, channels, 24, 36)
    found = noise.bicubic(clean, scale)
    assert found.shape == clean.shape and found.dtype == torch.float32
    for b in range(2):
        for c in range(channels):
            expected = bicubic_by_definition(clean[b, c].double().numpy(), scale)
            # a value on the border between two of the 256 levels may be rounded either way
            difference = np.abs(found[b, c].numpy() - expected)
            assert difference.max() < 1.6 / 255 and (difference > 1e-5).mean() < 0.05


def test_bicubic_loses_detail_and_keeps_the_mean():
    clean = torch.rand(1, 1, 48, 48, generator=seeded())
    found = [noise.bicubic(clean, scale) for scale in (2, 3, 4)]
    errors = [(image - clean).square().mean().item() for image in found]
    assert errors[0] < errors[1] < errors[2]
    assert all(abs(image.mean() - clean.mean()) < 0.01 for image in found)


def test_bicubic_of_a_flat_image_is_the_image():
    flat = torch.full((1, 3, 12, 12), 128 / 255)
    assert torch.allclose(noise.bicubic(flat, 4), flat, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 0, -2, 2.5, math.nan, math.inf])
def test_bicubic_scale_out_of_range(scale):
    with pytest.raises(ValueError, match="integer of at least 2"):
        noise.bicubic(torch.rand(1, 1, 12, 12), scale)


def test_bicubic_of_sides_that_are_no_multiple():
    with pytest.raises(ValueError, match="10×12.*here to 9×12"):
        noise.bicubic(torch.rand(1, 1, 10, 12), 3)


# --- JPEG -----------------------------------------------------------------------------------------------------------------


def by_pillow(image, quality):
    """One uint8 H×W or H×W×3 array through a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow_with_one_quality_for_each_image(channels):
    clean = smooth(3, channels, 21, 34)
    found = noise.jpeg(clean, [5, 50, 95])
    assert found.shape == clean.shape and found.dtype == torch.float32
    for image, restored, quality in zip(clean, found, (5, 50, 95), strict=True):
        eight_bit = np.rint(image.numpy() * 255).astype(np.uint8).transpose(1, 2, 0).squeeze()
        expected = by_pillow(eight_bit, quality).reshape(21, 34, channels).transpose(2, 0, 1)
        assert np.array_equal((restored * 255).round().numpy(), expected)
    assert torch.equal(noise.jpeg(clean, 50)[1], found[1])


def test_jpeg_error_falls_with_quality():
    clean = smooth(1, 1, 64, 64)
    errors = [(noise.jpeg(clean, q) - clean).square().mean().item() for q in (5, 20, 60, 99)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 10


def test_jpeg_works_on_blocks_of_eight():
    """The lowest quality leaves little more than the mean of each block of 8×8 pixels."""
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 1, 32, 32).contiguous()
    columns = noise.jpeg(ramp, 1)[0, 0].diff(dim=1).abs().mean(0)
    within = torch.arange(31) % 8 != 7
    assert columns[~within].min() > columns[within].max()


@pytest.mark.parametrize("quality", [0, 101, -5, [50, 0], [50], [50, 60, 70]])
def test_jpeg_quality_out_of_range(quality):
    with pytest.raises(ValueError, match="in 1 to 100|from 1 to 100, or one for each of the 2 images"):
        noise.jpeg(torch.rand(2, 1, 16, 16), quality)


def test_jpeg_of_other_channels():
    with pytest.raises(ValueError, match="2 channels"):
        noise.jpeg(torch.rand(1, 2, 16, 16), 50)


@pytest.mark.parametrize("degrade", [lambda x: noise.bicubic(x, 2), lambda x: noise.jpeg(x, 50)], ids=["bicubic", "jpeg"])
def test_images_of_a_wrong_kind(degrade):
    with pytest.raises(TypeError, match="uint8"):
        degrade(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        degrade(torch.zeros(8, 8))


# --- figures --------------------------------------------------------------------------------------------------------------


def test_luma_is_that_of_scikit_image():
    from skimage.color import rgb2ycbcr

    colour = torch.rand(2, 3, 7, 9, generator=seeded())
    expected = rgb2ycbcr(colour.permute(0, 2, 3, 1).double().numpy())[..., 0] / 255
    assert np.abs(evaluation.luma(colour)[:, 0].numpy() - expected).max() < 1e-6
    gray = torch.rand(1, 1, 4, 4)
    assert evaluation.luma(gray) is gray


def test_super_resolution_is_measured_on_luma_inside_a_border():
    """By hand: cut to multiples of 3, degrade in colour, take the luma, leave out 3 pixels, neither clamp nor round."""
    image = (smooth(1, 3, 41, 38)[0] * 255).round().to(torch.uint8)
    sharp = to_float(image)[None, :, :39, :36]
    blurred = evaluation.luma(noise.bicubic(sharp, 3))
    error = (blurred + 0.5 - evaluation.luma(sharp))[..., 3:-3, 3:-3]
    found = evaluation.psnr_upscaled(lambda x: x + 0.5, [image], 3)
    assert found == pytest.approx([-10 * math.log10(error.square().mean().item())], abs=1e-4)


def test_deblocking_is_measured_in_8_bit():
    image = (smooth(1, 1, 40, 40)[0] * 255).round().to(torch.uint8)
    clean = to_float(image)[None]
    seen = []

    def restorer(decoded):
        seen.append(decoded)
        return decoded + 0.4 / 255  # less than half a level: rounded away

    found = evaluation.psnr_deblocked(restorer, [image], 10)
    assert torch.equal(seen[0], noise.jpeg(clean, 10))
    assert found == pytest.approx([metrics.psnr(seen[0], clean, protocol="raw").item()], abs=1e-4)


@pytest.mark.parametrize("of_restorer", [evaluation.psnr_upscaled, evaluation.psnr_deblocked])
def test_dncnn_that_predicts_nothing_changes_nothing(of_restorer):
    measure = of_images.restored(of_restorer, 3)
    images = [(smooth(1, 1, 24, 24, seed=s)[0] * 255).round().to(torch.uint8) for s in range(3)]
    model = dncnn.DnCNN(dncnn.Settings(depth=3, width=4, zero_last=True)).eval()
    identity = of_restorer(lambda x: x, images, 3)
    assert measure(model, images) == pytest.approx(identity, abs=1e-5)
    assert measure(model, images, indices=[2]) == pytest.approx(identity[2:], abs=1e-5)
    assert of_images.untouched(of_restorer, 3)(model, images, indices=[2]) == identity[2:]
    untrained = dncnn.DnCNN(dncnn.Settings(depth=3, width=4)).eval()
    assert measure(untrained, images) != pytest.approx(identity, abs=1e-2)


@pytest.mark.parametrize(
    "measure",
    [
        partial(dncnn.evaluate, sigma_255=3),
        of_images.restored(evaluation.psnr_upscaled, 3),
        of_images.restored(evaluation.psnr_deblocked, 3),
    ],
)
def test_images_may_come_from_any_iterable(measure):
    """Such as the values of a dictionary."""
    images = {name: (smooth(1, 1, 24, 24, seed=s)[0] * 255).round().to(torch.uint8) for s, name in enumerate("abc")}
    model = dncnn.DnCNN(dncnn.Settings(depth=2, width=4)).eval()
    expected = measure(model, list(images.values()))
    assert measure(model, images.values()) == measure(model, iter(images.values())) == expected
    assert measure(model, images.values(), indices=[0, 2]) == [expected[0], expected[2]]


def test_real_bicubic_figures_of_set5(course_data):
    """Within 0.05 dB of what the literature on super-resolution lists for bicubic interpolation."""
    images = data.load("set5", root=course_data).images
    for scale, published in ((2, 33.66), (3, 30.39), (4, 28.42)):
        found = evaluation.psnr_upscaled(lambda x: x, images, scale)
        assert sum(found) / 5 == pytest.approx(published, abs=0.05)


# --- DnCNN-3 --------------------------------------------------------------------------------------------------------------

GENERAL = dncnn.Settings(general=True, sigma_255=(0.0, 55.0), patch_size=50, batch_size=36, scales=(1.0,))


@pytest.mark.parametrize(("patch_size", "factors", "cut"), [(50, (2, 3, 4), 60), (40, (2, 3, 4), 48), (50, (3,), 60), (41, (2,), 50)])
def test_patches_are_cut_with_a_margin(patch_size, factors, cut):
    assert dncnn.Settings(general=True, patch_size=patch_size, factors=factors).cut == cut
    assert dncnn.Settings(patch_size=patch_size).cut == patch_size


def general_batch(step=0):
    images = [(smooth(1, 1, 90, 90, seed=s)[0] * 255).round().to(torch.uint8) for s in range(3)]
    pool = dncnn.prepare(images, GENERAL)
    return dncnn.batch(pool, rng.Draws(step=step), GENERAL)


def test_each_third_of_a_batch_has_its_degradation(monkeypatch):
    calls = []
    for name in ("gaussian", "bicubic", "jpeg"):
        original = getattr(noise, name)

        def spy(clean, strength, *rest, name=name, original=original, **options):
            calls.append((name, len(clean), strength))
            return original(clean, strength, *rest, **options)

        monkeypatch.setattr(noise, name, spy)
    degraded, clean = general_batch()
    assert degraded.shape == clean.shape == (36, 1, 50, 50) and degraded.dtype == clean.dtype == torch.float32
    assert [(name, count) for name, count, _ in calls] == [("gaussian", 12), ("bicubic", 4), ("bicubic", 4), ("bicubic", 4), ("jpeg", 12)]
    assert [strength for name, _, strength in calls if name == "bicubic"] == [2, 3, 4]
    sigma, quality = calls[0][2] * 255, calls[-1][2]
    assert len(sigma.unique()) == 12 and sigma.min() >= 0 and sigma.max() <= 55
    assert len(set(quality)) > 6 and min(quality) >= 5 and max(quality) <= 99
    assert not torch.equal(degraded, clean)


def test_noise_has_no_structure_where_low_resolution_and_jpeg_have():
    degraded, clean = general_batch()
    error = degraded - clean
    neighbours = [(e[..., 1:] * e[..., :-1]).mean() / e.square().mean() for e in error.tensor_split(3)]
    assert abs(neighbours[0]) < 0.05 and neighbours[1] > 0.3


def test_blocks_of_jpeg_begin_anywhere():
    """The margin is cut off at another place in every step."""
    places = {tuple(torch.randint(11, (2,), generator=seeded(s)).tolist()) for s in range(40)}
    assert len(places) > 25  # what the steps draw from
    firsts = []
    for step in range(6):
        degraded, clean = general_batch(step)
        jump = (degraded - clean)[-12:].diff(dim=3).abs().mean((0, 1, 2))  # 49 differences of neighbouring columns
        firsts.append(int(torch.stack([jump[start::8].mean() for start in range(8)]).argmax()))
    assert len(set(firsts)) > 2


def test_mixed_batches_are_functions_of_their_step():
    a, b, c = general_batch(3), general_batch(3), general_batch(4)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True)) and not torch.equal(a[0], c[0])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"factors": ()}, "factors"),
        ({"factors": (1, 2)}, "at least 2"),
        ({"jpeg_quality": (0, 50)}, "between 1 and 100"),
        ({"jpeg_quality": (60, 50)}, "lowest and a highest"),
        ({"jpeg_quality": (5, 101)}, "between 1 and 100"),
        ({"jpeg_quality": (5,)}, "jpeg_quality"),
        ({"general": True, "batch_size": 8}, "DnCNN-3 needs 9"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(setting, message):
    with pytest.raises(ValueError, match=message):
        dncnn.Settings(**setting)
