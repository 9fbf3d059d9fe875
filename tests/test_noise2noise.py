"""Noise2Noise: the released U-Net, losses and pairs against loops, stored shots, and what a wrong input is told."""

import math
import warnings

import numpy as np
import pytest
import torch

from course_lib import batches, corruptions, recipes, rng, training
from course_lib.batches import FloatPool
from course_lib.self_supervised_denoising import common, noise2noise
from course_lib.self_supervised_denoising.noise2noise import Settings, UNet
from course_lib.self_supervised_denoising.shots import Shots, check_noisy

SMALL = {"depth": 2, "width": 6, "channels": 1, "patch_size": 16, "steps": 10, "batch_size": 4}
MIDDLE = {"gaussian": 25.0, "poisson": 30.0, "bernoulli": 0.4, "text": 0.25, "impulses": 0.4}
KINDS = tuple(MIDDLE)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def small(**changes):
    return Settings(**{**SMALL, **changes})


def photos(count=2, channels=1, size=(40, 56), seed=0):
    return [torch.randint(0, 256, (channels, *size), dtype=torch.uint8, generator=seeded(seed + i)) for i in range(count)]


# --- the network ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "parameters"), [(3, 991_203), (1, 988_609)])
def test_parameters(channels, parameters):
    model = UNet(Settings(channels=channels))
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_layers_of_the_released_network():
    shapes = [tuple(p.shape[:2]) for p in UNet(Settings()).parameters() if p.dim() == 4]
    down = [(48, 3)] + [(48, 48)] * 6
    up = [(96, 96), (96, 96)] + [(96, 144), (96, 96)] * 3
    assert shapes == [*down, *up, (64, 99), (32, 64), (3, 32)]
    assert all(tuple(p.shape[2:]) == (3, 3) for p in UNet(Settings()).parameters() if p.dim() == 4)


def test_initial_weights():
    first, again, other = (UNet(Settings(), seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    kernels = [p for p in first.parameters() if p.dim() == 4]
    assert not torch.equal(kernels[0], next(other.parameters()))
    for kernel in kernels:
        gain = 1 if kernel is kernels[-1] else 2
        assert kernel.var().item() == pytest.approx(gain / kernel[0].numel(), rel=5 * math.sqrt(2 / kernel.numel()))
    assert all((p == 0).all() for p in first.parameters() if p.dim() == 1)


def forward_by_hand(model, noisy):
    """The released network, written out from its description."""
    weights = [p.detach().double().numpy() for p in model.parameters()]
    layers = list(zip(weights[::2], weights[1::2], strict=True))

    def conv(x, number, *, linear=False):
        kernel, bias = layers[number]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        made = np.zeros((len(bias), *x.shape[1:]))
        for i in range(3):
            for j in range(3):
                made += np.einsum("oi,ihw->ohw", kernel[:, :, i, j], padded[:, i : i + x.shape[1], j : j + x.shape[2]])
        made += bias[:, None, None]
        return made if linear else np.where(made > 0, made, 0.1 * made)

    def pool(x):
        return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).max((2, 4))

    def up(x):
        return x.repeat(2, 1).repeat(2, 2)

    image = noisy.double().numpy() - 0.5
    pooled = []
    x = conv(image, 0)
    for number in (1, 2, 3, 4, 5):
        x = pool(conv(x, number))
        pooled.append(x)
    x = conv(x, 6)
    for level, (a, b) in zip((4, 3, 2, 1), ((7, 8), (9, 10), (11, 12), (13, 14)), strict=True):
        x = conv(conv(np.concatenate([up(x), pooled[level - 1]]), a), b)
    x = conv(conv(np.concatenate([up(x), image]), 15), 16)
    return conv(x, 17, linear=True) + 0.5


def test_forward_against_the_description():
    model = UNet(Settings(width=6), seed=3).double()
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.normal_(0, 0.1, generator=seeded(p.numel()))
    noisy = torch.rand(2, 3, 32, 64, generator=seeded(), dtype=torch.float64)
    found = model(noisy).detach().numpy()
    for image, expected in zip(noisy, found, strict=True):
        assert np.allclose(forward_by_hand(model, image), expected, atol=1e-6)  # forward returns single precision


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (31, 33), (32, 64), (40, 100)])
def test_any_size(size):
    model = UNet(Settings(width=3, channels=1)).eval()
    noisy = torch.rand(2, 1, *size, generator=seeded())
    made = model.denoise(noisy)
    assert made.shape == noisy.shape and made.isfinite().all()
    continued = batches.padded(noisy, 32)
    assert torch.equal(continued[..., : size[0], : size[1]], noisy) and not any(side % 32 for side in continued.shape[-2:])
    assert torch.allclose(made, model(continued)[..., : size[0], : size[1]], atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_depth_and_compile(depth):
    model = UNet(Settings(depth=depth, width=6, channels=1, patch_size=32))
    assert model.multiple == 2**depth
    noisy = torch.rand(1, 1, 32, 32, generator=seeded())
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(noisy), model(noisy))


def test_what_a_network_gives_can_be_trained_on():
    network, weight = UNet(small()).eval(), torch.ones((), requires_grad=True)
    restored = common.of_any_size(network, torch.rand(1, 1, 19, 22, generator=seeded()))
    assert restored.shape == (1, 1, 19, 22) and torch.equal(restored, network.denoise(torch.rand(1, 1, 19, 22, generator=seeded())))
    (weight * restored).sum().backward()  # an inference tensor could not be saved for the gradient
    assert torch.isclose(weight.grad, restored.sum())


def test_images_that_the_network_cannot_take():
    model = UNet(Settings(width=3)).eval()
    with pytest.raises(ValueError, match="1 channels, but this network was made for 3"):
        model.denoise(torch.zeros(1, 1, 32, 32))
    with pytest.raises(TypeError, match="batches.to_float makes them of 8-bit images"):
        model.denoise(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="for one image"):
        model.denoise(torch.zeros(3, 32, 32))


# --- the loss -------------------------------------------------------------------------------------------------------------


def distance_by_hand(estimate, target, loss, mask, gamma, epsilon):
    total, count = 0.0, 0
    for place in np.ndindex(tuple(estimate.shape)):
        if mask is None or mask[place] == 1:
            d = abs(estimate[place].item() - target[place].item())
            total += {"l2": d * d, "l1": d, "l0": (d + epsilon) ** gamma}[loss]
            count += 1
    return total / max(1, count)


@pytest.mark.parametrize("loss", ["l2", "l1", "l0"])
@pytest.mark.parametrize("masked", [False, True])
def test_loss_against_a_loop(loss, masked):
    estimate, target = (torch.rand(2, 2, 3, 4, generator=seeded(s), dtype=torch.float64) for s in (1, 2))
    mask = (torch.rand(2, 2, 3, 4, generator=seeded(3)) < 0.5).double() if masked else None
    found = noise2noise.distance(estimate, target, loss, mask=mask, gamma=0.7, epsilon=1e-3)
    assert found.item() == pytest.approx(distance_by_hand(estimate, target, loss, mask, 0.7, 1e-3), rel=1e-12)


def test_annealed_loss_starts_as_l2_and_ends_at_its_gamma():
    plan = small(loss="l0", final_gamma=0.5, steps=11)
    pool = noise2noise.prepare(photos(), plan)
    gammas = [noise2noise.batch(pool, rng.Draws(0, step), plan).gamma for step in range(11)]
    assert gammas[0] == 2 and gammas[-1] == 0.5 and gammas == sorted(gammas, reverse=True)
    estimate, target = torch.rand(1, 1, 4, 4, generator=seeded()), torch.zeros(1, 1, 4, 4)
    at_two = noise2noise.distance(estimate, target, "l0", gamma=2.0)
    assert at_two.item() == pytest.approx(noise2noise.distance(estimate, target, "l2").item(), rel=1e-5)


def test_all_pixels_lost_give_a_finite_loss():
    zeros = torch.zeros(1, 1, 4, 4)
    assert noise2noise.distance(torch.ones(1, 1, 4, 4), zeros, "l2", mask=zeros).item() == 0


def test_unknown_loss_or_noise():
    with pytest.raises(ValueError, match='unknown loss "l3"; there are l2, l1, l0'):
        noise2noise.distance(torch.zeros(1), torch.zeros(1), "l3")
    with pytest.raises(ValueError, match='unknown noise "fog"; there are gaussian, poisson'):
        corruptions.corrupt(torch.zeros(1, 1, 4, 4), "fog", 1.0, seeded())


def test_expected_loss_is_larger_by_the_variance_of_the_target():
    """The identity of the docstring, for a fixed estimate."""
    plan = {"strength": (25.0, 25.0), "patch_size": 32, "batch_size": 32, "channels": 1, "depth": 1, "width": 3}
    noisy_plan, clean_plan = (Settings(target=t, **plan) for t in ("noisy", "clean"))
    model = UNet(clean_plan, seed=1)
    pool = noise2noise.prepare(photos(4, size=(64, 64)), clean_plan)
    losses = {
        name: [noise2noise.step(model, noise2noise.batch(pool, rng.Draws(0, s), p), p)[0].item() for s in range(20)]
        for name, p in (("noisy", noisy_plan), ("clean", clean_plan))
    }
    gap = np.mean(losses["noisy"]) - np.mean(losses["clean"])
    assert gap == pytest.approx((25 / 255) ** 2, rel=0.02)


# --- pairs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_batches_of_every_kind(kind, channels):
    plan = small(noise=kind, strength=(MIDDLE[kind],) * 2, channels=channels)
    pool = noise2noise.prepare(photos(channels=channels), plan)
    made = noise2noise.batch(pool, rng.Draws(0, 3), plan)
    clean = noise2noise.batch(pool, rng.Draws(0, 3), small(**{**vars(plan), "target": "clean"})).target
    assert made.noisy.shape == made.target.shape == clean.shape == (4, channels, 16, 16)
    assert (made.mask is not None) == (kind == "bernoulli")
    assert not torch.equal(made.noisy, made.target), "input and target have noise of their own"
    if made.mask is not None:
        assert torch.equal(made.target, made.mask * clean) and made.mask.shape == clean.shape
    loss, values = noise2noise.step(UNet(plan), made, plan)
    assert loss.isfinite() and list(values) == ["psnr"] and not values["psnr"].requires_grad


def test_input_and_target_have_independent_noise_of_independent_strength():
    plan = small(strength=(0.0, 50.0), patch_size=64, batch_size=64)
    pool = noise2noise.prepare(photos(size=(64, 64)), plan)
    made, clean = (noise2noise.batch(pool, rng.Draws(0, 1), p) for p in (plan, small(**{**vars(plan), "target": "clean"})))
    a, b = (noisy - clean.target for noisy in (made.noisy, made.target))
    strengths = [255 * noise.std(dim=(1, 2, 3)) for noise in (a, b)]
    assert strengths[0].max() > 45 and strengths[0].min() < 6 and abs(np.corrcoef(*strengths)[0, 1]) < 0.4
    assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 5 / math.sqrt(a.numel())
    assert torch.equal(made.noisy, clean.noisy), "clean targets change nothing of the input"


def test_controls():
    pool = noise2noise.prepare(photos(), small())
    same = noise2noise.batch(pool, rng.Draws(), small(target="same"))
    assert torch.equal(same.noisy, same.target)


def test_small_images_are_enlarged():
    plan = small(patch_size=64)
    pool = noise2noise.prepare(photos(size=(40, 80)), plan)
    assert pool.heights.tolist() == [64, 64] and pool.widths.tolist() == [128, 128]


def test_learning():
    """A few steps on one flat scene bring the network from noise to below half of it, without any clean image."""
    plan = small(steps=60, batch_size=8, learning_rate=3e-3, optimizer="muon", strength=(25.0, 25.0), width=12, precision="32-true")
    scene = torch.full((1, 48, 48), 128, dtype=torch.uint8)
    model = UNet(plan, seed=0)
    training.fit(model, noise2noise.prepare([scene], plan), noise2noise, plan, progress=False)
    noisy, _ = corruptions.corrupt(torch.full((1, 1, 48, 48), 128 / 255), "gaussian", 25.0, seeded(9))
    assert (model.denoise(noisy) - 128 / 255).std() < 0.5 * 25 / 255


# --- stored shots ---------------------------------------------------------------------------------------------------------


def test_shots_are_stored_seeded_and_independent():
    plan = small(shots=3, strength=(25.0, 25.0))
    images = photos(2, size=(48, 48))
    pool, again, other = (noise2noise.prepare(images, plan, seed) for seed in (0, 0, 1))
    assert isinstance(pool, Shots) and torch.equal(pool.pool.pixels, again.pool.pixels)
    assert not torch.equal(pool.pool.pixels, other.pool.pixels)
    scenes = pool.pool.pixels.view(2, 4, 48, 48)
    clean = torch.stack([batches.to_float(image)[0] for image in images])
    assert torch.equal(scenes[:, 3], clean)
    eta = (scenes[:, :3] - clean[:, None]).flatten(0, 1).flatten(1)
    assert eta.std(1).tolist() == pytest.approx([25 / 255] * 6, rel=0.06)
    assert (np.corrcoef(eta) - np.eye(6)).max() < 5 / 48


def test_pairs_are_of_one_scene_and_of_different_shots():
    """Shots are flat images of their own number, so that a patch tells which shot of which scene it is."""
    scenes = [torch.stack([torch.full((1, 20, 20), (10.0 * scene + shot) / 255) for shot in range(3)]) for scene in range(4)]
    pool = noise2noise.prepare_shots(scenes, small(noise="impulses", strength=(0.1, 0.1)))
    seen = set()

    def numbers(images):
        return (255 * images.amax((1, 2, 3))).round().tolist()

    for step in range(60):
        noisy, target, mask = pool.pairs(8, "noisy", rng.Draws(0, step))
        assert mask is None
        for a, b in zip(numbers(noisy), numbers(target), strict=True):
            assert a // 10 == b // 10 and a != b
            seen.add((a, b))
    assert len(seen) == 4 * 3 * 2, "every ordered pair of every scene comes"
    noisy, mean, _ = pool.pairs(8, "mean", rng.Draws(0, 0))
    for a, m in zip(numbers(noisy), (255 * mean.amax((1, 2, 3))).tolist(), strict=True):
        others = [10 * (a // 10) + shot for shot in range(3) if shot != a % 10]
        assert m == pytest.approx(sum(others) / 2, abs=1e-3)


def test_stored_shots_with_lost_pixels_have_their_masks():
    plan = small(shots=3, noise="bernoulli", strength=(0.5, 0.5))
    pool = noise2noise.prepare(photos(size=(32, 32)), plan)
    for target in ("noisy", "mean", "clean", "same"):
        noisy, other, mask = pool.pairs(4, target, rng.Draws(0, 2))
        clean = pool.pairs(4, "clean", rng.Draws(0, 2))[1]
        assert noisy.shape == other.shape == clean.shape
        if target in ("noisy", "mean"):
            assert torch.allclose(other * mask, clean * mask, atol=1e-6) and mask.unique().tolist() == [0, 1]
            assert 1 - mask.mean() == pytest.approx(0.5 if target == "noisy" else 0.25, abs=0.07)
        else:
            assert mask is None


def test_shots_of_one_plan_learn_too():
    plan = small(shots=2, steps=3)
    model = UNet(plan)
    history = training.fit(model, noise2noise.prepare(photos(), plan), noise2noise, plan, progress=False)
    assert history.steps[-1] == 3 and math.isfinite(history.values["psnr"][-1])


@pytest.mark.parametrize(
    ("scenes", "message"),
    [
        ([torch.rand(1, 1, 20, 20) * 1.1], r"scenes have \[1\] shots: give each equally many, and at least two"),
        ([torch.rand(2, 1, 20, 20) * 1.1, torch.rand(3, 1, 20, 20) * 1.1], r"scenes have \[2, 3\] shots"),
        ([torch.rand(2, 3, 20, 20) * 1.1], r"channels = 1, but the shots have \[3\]"),
        ([torch.rand(2, 20, 20) * 1.1], "for one image"),
        ([torch.rand(2, 1, 8, 8) * 1.1], "patch_size = 16, but the smallest image side is 8"),
    ],
)
def test_wrong_shots(scenes, message):
    with pytest.raises(ValueError, match=message):
        noise2noise.prepare_shots(scenes, small())
    with pytest.raises(ValueError, match='target = "clean", but recorded shots have no clean image'):
        noise2noise.prepare_shots(scenes, small(target="clean"))


def test_scenes_that_are_no_images():
    with pytest.raises(TypeError, match="noisy images"):
        noise2noise.prepare_shots([[torch.rand(1, 20, 20), torch.rand(1, 20, 20)]], small())
    with pytest.raises(ValueError, match="no pixels"):
        noise2noise.prepare([torch.zeros(1, 0, 20, dtype=torch.uint8)], small())
    with pytest.raises(TypeError, match="8-bit"):
        noise2noise.prepare([torch.rand(1, 20, 20)], small())


def test_a_pool_of_floating_point_images_refuses_integers():
    with pytest.raises(TypeError, match="floating-point ones are expected: 8-bit noise is rounded and clipped"):
        FloatPool(photos(), 16)


# --- clipped and 8-bit images ---------------------------------------------------------------------------------------------


def noisy_photo(*, clip=False, eight_bit=False, kind="gaussian"):
    clean = torch.linspace(0, 1, 64 * 64).view(1, 1, 64, 64)
    noisy, _ = corruptions.corrupt(clean, kind, MIDDLE[kind], seeded())
    noisy = noisy.clamp(0, 1) if clip or eight_bit else noisy
    return batches.to_uint8(noisy) if eight_bit else noisy


@pytest.mark.parametrize(
    ("noisy", "kind", "message"),
    [
        (noisy_photo(eight_bit=True), "gaussian", "noisy images are 8-bit, so that they were rounded and clipped: their noise has no zero"),
        (noisy_photo(clip=True), "gaussian", "noisy images look clipped at black and white: their noise has no zero mean"),
        (noisy_photo().clamp(min=0), "gaussian", "look clipped at black: "),
        (noisy_photo(eight_bit=True).float() / 255, "gaussian", "look clipped at black and white: "),
        (batches.to_float(batches.to_uint8(0.25 + 0.5 * noisy_photo())), "gaussian", "look rounded to 8 bit, and so clipped"),
        (noisy_photo(clip=True, kind="poisson"), "poisson", "look clipped at white: "),
    ],
)
def test_a_warning_for_clipped_or_8_bit_images(noisy, kind, message):
    with pytest.warns(UserWarning, match=message) as caught:
        found = check_noisy(noisy, kind)
    assert found.is_floating_point() and "use the sensor's own, unclipped values" in str(caught[0].message)


@pytest.mark.parametrize("kind", KINDS)
def test_no_warning_for_noise_as_it_is(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(check_noisy(noisy_photo(kind=kind), kind), noisy_photo(kind=kind))


def test_recorded_8_bit_shots_are_taken_with_a_warning():
    with pytest.warns(UserWarning, match="8-bit"):
        pool = noise2noise.prepare_shots([torch.randint(0, 256, (2, 1, 20, 20), dtype=torch.uint8)], small())
    assert pool.count == 2


# --- settings, evaluation and recipes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 0}, "depth = 0, width = 6"),
        ({"channels": 2}, "1 .gray. or 3 .colour. channels"),
        ({"patch_size": 18}, "patch_size = 18: 2 poolings need a multiple of 4"),
        ({"noise": "fog"}, 'noise = "fog", but it must be one of gaussian, poisson, bernoulli, text, impulses'),
        ({"target": "dirty"}, 'target = "dirty", but it must be one of noisy, clean, same, mean'),
        ({"loss": "ssim"}, 'loss = "ssim", but it must be one of l2, l1, l0'),
        ({"strength": (50.0, 0.0)}, "for gaussian noise give a lowest and a highest one in 0 to 255, σ on the 0–255 scale"),
        ({"strength": 25.0}, "strength = 25.0, but a tuple of 2 numbers, a lowest and a highest, is expected"),
        ({"noise": "poisson", "strength": (0.0, 50.0)}, "for poisson noise give a lowest and a highest one in 0.001 to"),
        ({"noise": "bernoulli", "strength": (0.0, 25.0)}, "in 0 to 1, the share of the pixels that are lost"),
        ({"noise": "text", "strength": (0.0, 0.9)}, "in 0 to 0.6, the share of the pixels that text covers"),
        ({"shots": 1}, "shots = 1: a pair needs 2 shots or more of a scene"),
        ({"shots": -2}, "shots = -2"),
        ({"target": "mean"}, "shots = 0: a pair needs 2 shots"),
        ({"final_gamma": 3.0}, "final_gamma = 3.0"),
        ({"epsilon": 0.0}, "ϵ is above 0"),
        ({"beta2": 1.0}, "beta2 = 1.0"),
        ({"late": 0.0}, "late = 0.0"),
    ],
)
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation(kind):
    """Each image has noise of its own number, of its kind and strength, and the output is rounded to 8 bits."""
    images = photos(3, size=(33, 47))
    model = UNet(small()).eval()
    model.denoise = lambda noisy: noisy
    found = noise2noise.evaluate(model, images, kind, MIDDLE[kind], indices=[1, 2])
    for number, value in zip((1, 2), found, strict=True):
        clean = batches.to_float(images[number])[None]
        noisy, _ = corruptions.corrupt(clean, kind, MIDDLE[kind], rng.generator(0, number, 0, "test noise"))
        rounded = (noisy.clamp(0, 1) * 255).round() / 255
        assert value == pytest.approx(-10 * math.log10((rounded - clean).square().mean().item()), abs=1e-4)
    assert found == noise2noise.evaluate(model, images, kind, MIDDLE[kind])[1:]


def test_the_paper_schedule():
    plan = Settings()
    rates = [training.learning_rate(plan, step) for step in range(0, 300_000, 10_000)]
    assert (plan.batch_size, plan.patch_size, plan.beta2, plan.steps) == (4, 256, 0.99, 300_000)
    assert rates[:21] == [3e-4] * 21, "constant for 70 %"
    for step in (240_000, 255_000, 299_999):
        t = (step - 210_000) / 90_000
        assert training.learning_rate(plan, step) == pytest.approx(3e-4 * (0.5 + 0.5 * math.cos(math.pi * t)) ** 2, rel=1e-9)


def test_recipes_of_the_paper():
    strengths = {"gaussian": (0, 50), "poisson": (0.001, 50), "bernoulli": (0, 0.95), "text": (0, 0.5), "impulses": (0, 0.95)}
    losses = {"gaussian": "l2", "poisson": "l2", "bernoulli": "l2", "text": "l1", "impulses": "l0"}
    for kind in KINDS:
        plan = recipes.find(f"n2n_{kind}", "paper")[1].settings
        assert (plan.noise, plan.strength, plan.loss, plan.target, plan.shots) == (kind, strengths[kind], losses[kind], "noisy", 0)
        assert (plan.depth, plan.width, plan.channels) == (5, 48, 3)
    for kind in ("gaussian", "poisson"):
        for preset in ("quick", "paper"):
            noisy, clean = (recipes.find(name, preset)[1] for name in (f"n2n_{kind}", f"n2n_{kind}_clean"))
            assert vars(clean.settings) == {**vars(noisy.settings), "target": "clean"}, "an equal budget"
            assert list(clean.tests) == list(noisy.tests)
