"""AP-BSN: the blind spot through pixel-shuffle and back, isolation of sub-images, R3 by a naive loop, data and wrong input."""

from dataclasses import replace

import pytest
import torch
from test_blind_spot import with_biases

from course_lib import corruptions, data, metrics, noise, rng, training
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.denoising import dncnn
from course_lib.self_supervised_denoising import ap_bsn
from course_lib.self_supervised_denoising.ap_bsn import APBSN, Settings
from course_lib.self_supervised_denoising.blind_spot import Dilated

TINY = dict(width=4, modules=1, channels=1, stride=3, test_stride=2, passes=3, patch_size=12, batch_size=2, steps=4, precision="32-true")


def small(**changes):
    return Settings(**{**TINY, **changes})


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def photos(count=2, channels=1, size=(24, 30)):
    return (255 * rand(count, channels, *size)).to(torch.uint8)


# --- the network ----------------------------------------------------------------------------------------------------------


def jacobian(restore, size):
    """(output pixel, input pixel) of a gray restorer in double precision."""
    made = torch.autograd.functional.jacobian(restore, rand(1, 1, *size, seed=1, dtype=torch.float64), vectorize=True)
    return made.reshape(size[0] * size[1], size[0] * size[1])


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(10, 10), (11, 9)])
def test_the_diagonal_of_the_jacobian_is_exactly_zero(stride, size):
    model = with_biases(APBSN(small()))
    found = jacobian(lambda z: model.at_stride(z, stride), size)
    assert (found.diagonal() == 0).all() and (found != 0).any()


@pytest.mark.parametrize("stride", [2, 5])
def test_a_pixel_sees_its_own_part_only(stride):
    model = with_biases(APBSN(small()))
    found = jacobian(lambda z: model.at_stride(z, stride), (10, 10))
    y, x = torch.meshgrid(torch.arange(10), torch.arange(10), indexing="ij")
    part = (y % stride * stride + x % stride).flatten()
    same = part[:, None] == part[None, :]
    assert (found[~same] == 0).all(), "exactly"
    assert (found[same & ~torch.eye(100, dtype=torch.bool)] != 0).any()


def test_isolation_is_exact_in_the_batch():
    """What one sub-image holds has no influence on the estimate of another, far or near."""
    model, image = with_biases(APBSN(small())), rand(1, 1, 12, 12, dtype=torch.float64)
    changed = image.clone()
    changed[..., 1::3, 2::3] += 1
    before, after = model.at_stride(image, 3), model.at_stride(changed, 3)
    same = torch.ones(12, 12, dtype=torch.bool)
    same[1::3, 2::3] = False
    assert torch.equal(before[..., same], after[..., same]) and not torch.equal(before, after)


def test_parameters_and_reach_of_the_paper():
    model = APBSN(Settings())
    assert sum(p.numel() for p in model.parameters()) + 2 * 128 * 128 == 3_656_131, "with the two centres that the paper masks"
    assert model.blind.reach == 29
    quick = APBSN(small(width=32, modules=2))
    assert sum(p.numel() for p in quick.parameters()) < 100_000


@pytest.mark.parametrize("modules", [1, 2])
def test_reach_is_how_far_the_network_looks(modules):
    network = with_biases(Dilated(width=2, modules=modules, channels=1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()  # nothing cancels
    side = 2 * network.reach + 5
    image = rand(1, 1, side, side, dtype=torch.float64).requires_grad_()
    network(image)[0, 0, side // 2, side // 2].backward()
    seen = image.grad[0, 0].nonzero()
    assert int(seen.max()) - side // 2 == network.reach == side // 2 - int(seen.min())


def test_forward_by_a_loop_over_sub_images():
    model, image = APBSN(small()).double(), rand(2, 1, 12, 15, dtype=torch.float64)
    expected = torch.empty_like(image)
    for top in range(3):
        for left in range(3):
            expected[..., top::3, left::3] = model.blind(image[..., top::3, left::3])
    assert torch.allclose(model(image), expected, atol=1e-12)


def test_compile():
    model, image = APBSN(small()), rand(1, 1, 12, 12)
    assert torch.allclose(torch.compile(model, fullgraph=True, backend="eager")(image), model(image))


# --- R3 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(9, 12), (7, 7)])
def test_r3_by_a_naive_loop(channels, size):
    model = APBSN(small(channels=channels, passes=4)).double().eval()
    noisy = rand(2, channels, *size, dtype=torch.float64)
    masks = ap_bsn.refinement_masks(noisy.shape, 4, 0.16)
    first = model.at_stride(noisy, 2)
    total = torch.zeros_like(noisy)
    for t in range(4):
        mixed = first.clone()
        for index in masks[t].nonzero().tolist():
            mixed[tuple(index)] = noisy[tuple(index)]
        total += model.blind(mixed)
    assert torch.allclose(model.denoise(noisy), total / 4, atol=1e-12)
    assert torch.equal(model.denoise(noisy), model.denoise(noisy)), "the draws are fixed"
    assert torch.equal(model.denoise(noisy, passes=0), first)


def test_all_passes_of_r3_are_one_batch():
    seen = []

    class Blind(torch.nn.Module):
        reach = 2

        def forward(self, images):
            seen.append(len(images))
            return images

    noisy = rand(2, 1, 9, 9)
    ap_bsn.refined(Blind(), noisy, noisy.square(), ap_bsn.refinement_masks(noisy.shape, 8, 0.16))
    assert seen == [16]


def test_masks_of_r3():
    masks = ap_bsn.refinement_masks((1, 3, 64, 64), 8, 0.16)
    count = masks.numel()
    assert abs(masks.float().mean().item() - 0.16) < 4 * (0.16 * 0.84 / count) ** 0.5
    assert not torch.equal(masks[0], masks[1]) and not torch.equal(masks[:, :, 0], masks[:, :, 1])
    assert not torch.equal(masks, ap_bsn.refinement_masks((1, 3, 64, 64), 8, 0.16, seed=1))
    assert not ap_bsn.refinement_masks((1, 1, 8, 8), 2, 0.0).any() and ap_bsn.refinement_masks((1, 1, 8, 8), 2, 1.0).all()


def test_r3_with_all_or_nothing_replaced():
    model, noisy = APBSN(small()).eval(), rand(1, 1, 10, 10)
    first, every = model.at_stride(noisy, 2), torch.ones(2, 1, 1, 10, 10, dtype=torch.bool)
    assert torch.allclose(ap_bsn.refined(model.blind, noisy, first, every), model.blind(noisy), atol=1e-6)
    assert torch.allclose(ap_bsn.refined(model.blind, noisy, first, ~every), model.blind(first), atol=1e-6)


@pytest.mark.parametrize(
    ("passes", "share", "message"), [(0, 0.1, "passes = 0, but it must be at least 1"), (2, 1.5, "share = 1.5"), (2, -0.1, "share = -0.1")]
)
def test_masks_that_there_are_not(passes, share, message):
    with pytest.raises(ValueError, match=message):
        ap_bsn.refinement_masks((1, 1, 4, 4), passes, share)


# --- denoising ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(5, 5), (7, 12), (16, 9)])
def test_any_size(size):
    model, noisy = APBSN(small(channels=3)).eval(), rand(2, 3, *size)
    for stride in (1, 2, 5):
        assert model.denoise(noisy, stride=stride).shape == noisy.shape


DENOISE = {
    "stride 0": (dict(stride=0), ValueError, "stride = 0, but it must be at least 1"),
    "stride too large": (dict(stride=9), ValueError, "stride = 9, but the images have 8×8 pixels"),
    "stride and a half": (dict(stride=1.5), ValueError, "stride = 1.5, but it must be a whole number"),
    "passes": (dict(passes=-1), ValueError, "passes = -1, but it must be at least 0"),
}


@pytest.mark.parametrize("case", DENOISE)
def test_wrong_options(case):
    options, error, message = DENOISE[case]
    with pytest.raises(error, match=message):
        APBSN(small()).denoise(rand(1, 1, 8, 8), **options)


def test_wrong_images():
    model = APBSN(small())
    with pytest.raises(ValueError, match="this network was made for 1"):
        model.denoise(rand(1, 3, 8, 8))
    with pytest.raises(TypeError, match="batches.to_float makes them of 8-bit images"):
        model.denoise(photos())


# --- training -------------------------------------------------------------------------------------------------------------


def test_a_step_is_the_absolute_error_against_the_input():
    plan = small()
    model, noisy = APBSN(plan), rand(2, 1, 12, 12)
    loss, values = ap_bsn.step(model, noisy, plan)
    estimate, total = model(noisy), 0.0
    for b in range(2):
        for y in range(12):
            for x in range(12):
                total += abs(estimate[b, 0, y, x].item() - noisy[b, 0, y, x].item())
    assert loss.item() == pytest.approx(total / 288, rel=1e-5) and loss.requires_grad
    assert values["psnr"].item() == pytest.approx(-10 * torch.log10((estimate - noisy).square().mean()).item(), rel=1e-4)


def test_prepare_stores_one_noisy_version():
    plan, images = small(patch_size=24), photos(size=(24, 24))
    pool, again, other = (ap_bsn.prepare(images, plan, seed) for seed in (0, 0, 1))
    assert torch.equal(pool.pixels, again.pixels) and not torch.equal(pool.pixels, other.pixels)
    expected = corruptions.correlated(to_float(images[1])[None], noise.from_255(25), 1.0, rng.generator(0, 1, 0, "stored noise"))
    assert torch.equal(pool.pixels[24 * 24 :], expected.flatten())
    first = ap_bsn.batch(pool, rng.Draws(0, 3), plan)
    assert first.shape == (2, 1, 24, 24) and torch.equal(first, ap_bsn.batch(pool, rng.Draws(0, 3), plan))


def test_noisy_photographs_are_taken_as_they_are():
    """Their truth has no influence."""
    noisy, plan = photos(channels=3), small(channels=3, noise="camera")
    pools = [ap_bsn.prepare(Dataset("cc15", noisy, "drawn", ("a", "b"), truth=truth), plan) for truth in (noisy // 2, noisy // 3)]
    assert torch.equal(pools[0].pixels, to_float(noisy).flatten()) and torch.equal(pools[0].pixels, pools[1].pixels)


def test_the_noise_of_a_camera():
    plan, clean = small(channels=3, noise="camera"), torch.full((1, 3, 120, 120), 0.5)
    difference = ap_bsn.corrupted(clean, plan, rng.generator(0, 0, 0, "test")) - clean
    red = difference[0, 0, 4:-4, 4:-4]
    red = red - red.mean()
    along = (red[:, 1:] * red[:, :-1]).mean() / red.square().mean()
    assert along > 0.3, "interpolation correlates neighbours"
    far = (red[:, 5:] * red[:, :-5]).mean() / red.square().mean()
    assert abs(far) < 0.1, "but not pixels at the distance of the stride"


def test_training_learns_to_remove_noise_that_a_stride_decorrelates():
    """White noise on flat images, where the mean of the neighbours is right."""
    flat = torch.arange(40, 240, 10, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 30, 30).contiguous()
    plan = small(length=0.0, patch_size=30, batch_size=8, steps=100, width=8, learning_rate=1e-2, final_learning_rate=0.0,
                 schedule="cosine", warmup_steps=10)  # fmt: skip
    model = APBSN(plan)
    training.fit(model, ap_bsn.prepare(flat, plan), ap_bsn, plan, progress=False)
    noisy, reached = 20.2, ap_bsn.evaluate(model.eval(), flat[::5], passes=0)
    assert min(reached) > noisy + 4


def test_evaluate():
    model, images = APBSN(small()).eval(), photos(3)
    found = ap_bsn.evaluate(model, images, indices=[2, 0])
    expected = []
    for number in (2, 0):
        clean = to_float(images[number])[None]
        noisy = ap_bsn.corrupted(clean, model.settings, rng.generator(0, number, 0, "test noise"))
        expected.append(metrics.psnr(model.denoise(noisy), clean, protocol="quantised").item())
    assert found == expected
    assert ap_bsn.evaluate(model, images, stride=1, passes=0) != ap_bsn.evaluate(model, images, stride=2, passes=0)
    pairs = ap_bsn.evaluate_pairs(model, images, images // 2, stride=2, passes=0)
    restored = model.denoise(to_float(images[0])[None], stride=2, passes=0)
    assert pairs[0] == metrics.psnr(restored, to_float(images[0] // 2)[None], protocol="quantised").item()
    for measure in (ap_bsn.evaluate, ap_bsn.evaluate_pairs):
        with pytest.raises(TypeError, match="an APBSN is expected|a APBSN is expected"):
            measure(dncnn.DnCNN(dncnn.Settings(depth=2, width=4)), images, *([images] if measure is ap_bsn.evaluate_pairs else []))


SETTINGS = {
    "stride": (dict(stride=0), "stride = 0, test_stride = 2: a stride is at least 1"),
    "test stride": (dict(test_stride=-1), "test_stride = -1"),
    "patch": (dict(patch_size=13), "patch_size = 13: sub-images at stride 3 need a multiple of it"),
    "patch smaller than the stride": (dict(patch_size=0), "patch_size = 0"),
    "width": (dict(width=1), "width = 1"),
    "modules": (dict(modules=0), "modules = 0"),
    "channels": (dict(channels=2), "channels = 2"),
    "passes": (dict(passes=-1), "passes = -1"),
    "replaced": (dict(replaced=1.5), "replaced = 1.5"),
    "noise": (dict(noise="salt"), 'noise = "salt", but it must be one of correlated, camera'),
    "camera in gray": (dict(noise="camera"), "a camera's mosaic needs colour images"),
    "negative noise": (dict(sigma_255=-1.0), "sigma_255 = -1, but it must lie in 0 to 255"),
    "strong noise": (dict(sigma_255=300.0), "sigma_255 = 300"),
    "length": (dict(length=40.0), "length = 40, but it must lie in 0 to 32"),
    "negative length": (dict(length=-0.5), "length = -0.5"),
    "shot noise": (dict(sigma_s=2.0), "sigma_s = 2"),
    "read noise": (dict(sigma_c=-0.1), "sigma_c = -0.1"),
    "not a number": (dict(length=float("nan")), "length = nan"),
    "scales": (dict(scales=(0.0,)), "scales = "),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_wrong_settings(case):
    changes, message = SETTINGS[case]
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_wrong_training_images():
    with pytest.raises(ValueError, match="channels = 1, but the images have 3"):
        ap_bsn.prepare(photos(channels=3), small())
    with pytest.raises(ValueError, match="patch_size = 30, but the smallest image side is 24"):
        ap_bsn.prepare(photos(), small(patch_size=30))


def test_quick_presets_fit_the_embedded_photos():
    from course_lib.recipes import ap_bsn as of_ap_bsn

    for recipe in of_ap_bsn.RECIPES.values():
        preset = recipe.presets["quick"]
        images = data.load("photos", "train", color=preset.settings.channels == 3)
        assert ap_bsn.prepare(images, replace(preset.settings, scales=(1.0,))).positions > 0


