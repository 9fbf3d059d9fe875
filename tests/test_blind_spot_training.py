"""Training blind-spot networks: the loss on all pixels, the identity that it rests on, the posterior at the test, and wrong input."""

import math

import numpy as np
import pytest
import torch

from course_lib import batches, data, noise, recipes, rng, training
from course_lib.self_supervised_denoising import blind_spot_training, posterior, single_shots
from course_lib.self_supervised_denoising.blind_spot_training import BlindSpotDenoiser, Settings

SIGMA = 25 / 255
SMALL = {
    "half-plane": {"architecture": "half-plane", "depth": 2, "width": 4},
    "dilated": {"architecture": "dilated", "depth": 1, "width": 6},
}
EVERY = [(kind, told) for kind in SMALL for told in (True, False)]


def small(kind="dilated", **changes):
    plan = {"patch_size": 16, "steps": 5, "batch_size": 4, "warmup_steps": 0, "precision": "32-true"}
    return Settings(**{**SMALL[kind], **plan, **changes})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def photos(count=2, channels=1, size=(40, 56)):
    coarse = torch.rand(count, channels, size[0] // 8, size[1] // 8, generator=seeded())
    return list((torch.nn.functional.interpolate(coarse, size=size, mode="bilinear") * 255).to(torch.uint8))


def moved(network, seed=3):
    """As after a training: no bias is zero."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(seed)))
    return network.eval()


# --- loss and batches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "told"), EVERY)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_loss_is_over_all_pixels(kind, told, channels):
    plan = small(kind, posterior=told, channels=channels)
    pool = blind_spot_training.prepare(photos(channels=channels), plan)
    made = blind_spot_training.batch(pool, rng.Draws(0, 2), plan)
    assert made.noisy.shape == (4, channels, 16, 16)
    network = moved(BlindSpotDenoiser(plan, seed=0))
    loss, values = blind_spot_training.step(network, made, plan)
    said = network(made.noisy)
    assert said.shape[1] == (posterior.outputs(channels) if told else channels)
    total = 0.0
    for place in np.ndindex(4, channels, 16, 16):
        total += (said[place].item() - made.noisy[place].item()) ** 2
    error = total / made.noisy.numel()
    expected = posterior.loss(said, made.noisy, SIGMA).item() if told else error  # which has a loop of its own in test_posterior
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert values["psnr"].item() == pytest.approx(-10 * math.log10(error), abs=1e-3) and not values["psnr"].requires_grad


@pytest.mark.parametrize("kind", SMALL)
def test_the_identity_of_the_loss(kind):
    """E‖f(z) − z‖² = E‖f(z) − y‖² + σ², for any weights: f was fitted to nothing."""
    network = moved(BlindSpotDenoiser(small(kind, posterior=False), seed=1))
    clean = photos(1, size=(256, 256))[0][None].double() / 255
    noisy = noise.gaussian(clean, SIGMA, seeded(4), clip=False)
    estimate = network.double().blind(noisy)
    to_noisy, to_clean = ((estimate - other).square().mean().item() for other in (noisy, clean))
    assert to_noisy == pytest.approx(to_clean + (noisy - clean).square().mean().item(), rel=0.03)


@pytest.mark.parametrize("told", [True, False])
def test_training_removes_noise(told):
    """On a constant image: the estimate beats the noisy image by far, and the loss stays above the variance of the noise."""
    plan = small(posterior=told, steps=150, batch_size=8, learning_rate=1e-2, patch_size=24, schedule="cosine")
    flat = torch.full((1, 64, 64), 100, dtype=torch.uint8)
    network = BlindSpotDenoiser(plan, seed=0)
    history = training.fit(network, blind_spot_training.prepare([flat], plan), blind_spot_training, plan, progress=False)
    [reached] = blind_spot_training.evaluate(network, [flat], 25.0)
    assert reached > 20 * math.log10(255 / 25) + 5
    assert history.values["psnr"][-1] < 20 * math.log10(255 / 25) + 0.3, "the noise of a pixel cannot be told from its surroundings"


@pytest.mark.parametrize(("kind", "told"), EVERY)
def test_compile(kind, told):
    network, noisy = moved(BlindSpotDenoiser(small(kind, posterior=told))), torch.rand(1, 1, 16, 16, generator=seeded())
    assert torch.allclose(torch.compile(network, fullgraph=True, backend="eager")(noisy), network(noisy))


# --- the stored noise -----------------------------------------------------------------------------------------------------


def test_stored_noise_of_the_test():
    images = photos(2, size=(24, 24))
    plan = small(tested=True)
    pool = blind_spot_training.prepare(images, plan, seed=7)
    for number, image in enumerate(images):
        expected = noise.test_noise(batches.to_float(image)[None], SIGMA, number)
        assert torch.equal(pool.pixels[576 * number : 576 * (number + 1)].view(24, 24), expected[0, 0])
    other = single_shots.prepare(images, small(), seed=0)
    assert not torch.equal(other.pixels, pool.pixels), "a training that is tested on other images has noise of its own"


# --- at the test ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "told"), EVERY)
@pytest.mark.parametrize("size", [(17, 22), (16, 16), (5, 40)])
def test_any_size(kind, told, size):
    network = moved(BlindSpotDenoiser(small(kind, posterior=told, channels=3)))
    noisy = torch.rand(2, 3, *size, generator=seeded())
    blind, restored = network.blind(noisy), network.denoise(noisy, SIGMA)
    assert blind.shape == restored.shape == noisy.shape and restored.dtype == noisy.dtype
    assert torch.equal(blind, restored) is not told


def test_the_posterior_brings_the_centre_back():
    """What is told decides: near black noise the pixel counts, with strong noise the surroundings do."""
    network = moved(BlindSpotDenoiser(small()))
    noisy = torch.rand(1, 1, 16, 16, generator=seeded())
    told = network(noisy)
    variance = told[:, 1:].square()
    for sigma in (0.05, 0.5):
        expected = (noisy * variance + told[:, :1] * sigma**2) / (variance + sigma**2)
        assert torch.allclose(network.denoise(noisy, sigma), expected, atol=1e-6)
    assert torch.equal(network.denoise(noisy, 0.0), noisy), "an image without noise comes back as it is"


def test_evaluation_with_and_without_the_centre(monkeypatch):
    image = photos(1, size=(24, 32))
    network = moved(BlindSpotDenoiser(small("half-plane")))
    seen = {}

    def psnr(restore, images, sigma, **options):
        seen[options["protocol"]] = (restore, sigma, options["indices"])
        return [1.0]

    monkeypatch.setattr(blind_spot_training, "psnr_per_image", psnr)
    blind_spot_training.evaluate(network, image, 25.0, indices=[0])
    blind_spot_training.evaluate(network, image, 25.0, centre=False, protocol="clamped")
    assert seen["raw"] == (network.denoise, SIGMA, [0]) and seen["clamped"] == (network.blind, SIGMA, None)


# --- wrong input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "u-net"}, 'architecture = "u-net", but it must be one of half-plane, dilated'),
        ({"architecture": "half-plane", "depth": 3, "patch_size": 20}, "depth = 3, patch_size = 20: depth ≥ 1, and a patch of a multiple"),
        ({"sigma_255": 0.0}, "sigma_255 = 0.0: the posterior weighs the pixel by its noise"),
        ({"sigma_255": 300.0}, "sigma_255 = 300.0: σ in 0 to 255"),
        ({"tested": True, "scales": (1.0, 0.5)}, "tested = True with scales"),
    ],
)
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_clipped_and_8_bit_images_are_taken_with_a_warning():
    noisy = noise.gaussian(photos(1)[0][None].float() / 255, 0.3, seeded(), clip=True)[0]
    with pytest.warns(UserWarning, match="look clipped at black"):
        blind_spot_training.prepare_noisy([noisy], small())
    with pytest.warns(UserWarning, match="are 8-bit, so that they were rounded and clipped"):
        blind_spot_training.prepare_noisy(photos(1), small())


def test_a_posterior_that_is_not_told_the_noise():
    network = BlindSpotDenoiser(small()).eval()
    with pytest.raises(ValueError, match=r"sigma is missing: .* blind\(\) gives the estimate without it"):
        network.denoise(torch.rand(1, 1, 16, 16))
    with pytest.raises(ValueError, match="0–255 scale"):
        network.denoise(torch.rand(1, 1, 16, 16), 25.0)
    with pytest.raises(ValueError, match="1 channels, but this network was made for 3"):
        BlindSpotDenoiser(small(channels=3)).eval().denoise(torch.rand(1, 1, 16, 16), 0.1)


# --- recipes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["half_plane", "half_plane_mean", "dilated", "dilated_mean"])
def test_recipes_of_both_architectures_with_and_without_posterior(recipe):
    found = recipes.RECIPES[recipe]
    for preset in found.presets.values():
        plan = preset.settings
        assert plan.posterior is not recipe.endswith("_mean") and plan.architecture.startswith(recipe[:4]) and plan.sigma_255 == 25
        assert plan.steps > 100 and set(next(iter(preset.tests.values())).metrics) >= {"psnr_25"}
        assert ("blind_25" in preset.tests["photos"].metrics) is plan.posterior
    assert found.presets["paper"].data(0).words == "bsd400" and "bsd68" in found.presets["paper"].tests


def test_every_masker_has_a_recipe():
    maskers = {recipes.RECIPES[name].presets["paper"].settings.masker for name in recipes.RECIPES if name.startswith("n2v")
               if name not in ("n2v_single",) and hasattr(recipes.RECIPES[name].presets["paper"].settings, "masker")}  # fmt: skip
    assert maskers == {"neighbour", "neighbour or centre", "mean", "median", "random value"}


def test_n2v_on_one_image_trains_on_what_it_restores(monkeypatch):
    images = torch.stack(photos(3, size=(72, 80)))
    monkeypatch.setattr(data, "load", lambda name, split=None: data.Dataset(name, images, "drawn", tuple("abc")))
    found, preset = recipes.find("n2v_single", "paper")
    assert found.seeds > 1 and not found.ships
    for seed, letter in ((0, "a"), (2, "c"), (4, "b")):
        split = preset.data(seed)
        train, test = split.train(), split.test("set12")
        assert train.names == test.names == (letter,) and torch.equal(train.images, test.images) and len(test) == 1
        pool = found.method.prepare(train, preset.settings, seed)
        expected = noise.test_noise(batches.to_float(test.images[0])[None], SIGMA, 0)
        assert torch.equal(pool.pixels.view(72, 80), expected[0, 0]), "the noise is that of the test"
    with pytest.raises(ValueError, match='one image of "set12", which alone it restores, and on no other data such as "photos"'):
        preset.data(0).test("photos")
