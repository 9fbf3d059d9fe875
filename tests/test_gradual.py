"""Gradual denoising: the network of the paper layer by layer, its invariants, and the paper's protocol."""

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.testing import CompileCounter

from course_lib import metrics, noise, rng
from course_lib.denoising import gradual
from course_lib.settings import override

TINY = gradual.Settings(depth=4, width=6, patch_size=16, batch_size=3, steps=3)


def network(**changes):
    return gradual.GradualDenoiser(override(TINY, {k: str(v) for k, v in changes.items()})).eval()


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def bytes_of(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# --- the network ----------------------------------------------------------------------------------------------------------


def test_parameters_and_view_are_the_papers():
    model = gradual.GradualDenoiser(gradual.Settings()).eval()
    assert sum(p.numel() for p in model.parameters()) == 655_544
    image = drawn(1, 1, 51, 51).requires_grad_()
    model(image)[0, 0, 25, 25].backward()
    seen = image.grad[0, 0].abs().sum(0).nonzero()
    assert int(seen.max() - seen.min()) + 1 == 41


def test_the_layers_one_by_one():
    model, noisy = network(), drawn(2, 1, 12, 13)
    carried, total, images = noisy - 0.5, noisy.clone(), [noisy]
    for number, layer in enumerate(model.layers):
        features = F.conv2d(carried, layer.weight, layer.bias, padding=1)
        total = total + features[:, :1] / 10  # before any rectifier
        images.append(total)
        carried = features[:, 1:] if number == 2 else features[:, 1:].clamp(min=0)
    with torch.no_grad():
        assert torch.allclose(model(noisy), total, atol=1e-6)
    assert torch.equal(model.denoise(noisy), model(noisy).detach())
    steps = model.gradually(noisy)
    assert steps.shape == (5, 2, 1, 12, 13) and torch.allclose(steps, torch.stack(images), atol=1e-6)


def test_without_weights_and_biases_it_is_the_identity():
    model, noisy = network(), drawn(1, 1, 9, 9)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(model.denoise(noisy), noisy)


def test_initial_weights_are_functions_of_the_seed():
    a, b, c = (gradual.GradualDenoiser(TINY, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.layers[0].weight, c.layers[0].weight)
    assert all(layer.bias.eq(0.01).all() for layer in a.layers)


def test_a_centred_start_sees_one_pixel_only():
    model = network(centred=True)
    for layer in model.layers:
        values = torch.linalg.svdvals(layer.weight.detach()[:, :, 1, 1])
        assert torch.allclose(values, torch.tensor(2.0).sqrt(), atol=1e-5) and layer.bias.eq(0.01).all()
    noisy = drawn(1, 1, 9, 9).requires_grad_()
    model(noisy)[0, 0, 4, 4].backward()
    assert noisy.grad.nonzero().tolist() == [[0, 0, 4, 4]]


def test_output_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert network()(drawn(1, 1, 8, 8)).dtype == torch.float32


def test_one_graph():
    model, counter = network(), CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=False)
    noisy = drawn(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(compiled(noisy), model(noisy))
        compiled(noisy)
    assert counter.frame_count == 1


# --- noise and training ---------------------------------------------------------------------------------------------------


def test_poisson_noise_has_the_mean_and_variance_of_counts():
    clean = torch.full((2, 1, 200, 200), 0.4)
    clean[0, 0, 0, 0], clean[1, 0, 0, 0] = 0.8, 0.5  # the brightest pixel of each image
    noisy = noise.poisson(clean, 8, rng.generator(0, 0, 0, "test"))
    for image, brightest in zip(noisy, (0.8, 0.5), strict=True):
        counts = image * 8 / brightest
        assert torch.allclose(counts, counts.round(), atol=1e-4)
        expected = 0.4 * 8 / brightest
        assert counts.mean().item() == pytest.approx(expected, rel=0.02) == pytest.approx(counts.var().item(), rel=0.05)
    again = noise.poisson(clean, 8, rng.generator(0, 0, 0, "test"))
    assert torch.equal(noisy, again) and not noise.poisson(torch.zeros(1, 1, 3, 3), 1, rng.generator(0, 0, 0, "test")).any()


@pytest.mark.parametrize(("peak", "image", "error", "message"), [
    (0, torch.rand(1, 1, 4, 4), ValueError, "peak = 0"), (-1, torch.rand(1, 1, 4, 4), ValueError, "peak = -1"),
    (float("nan"), torch.rand(1, 1, 4, 4), ValueError, "peak = nan"), (8, -torch.rand(1, 1, 4, 4), ValueError, "negative intensities"),
    (8, torch.zeros(1, 1, 4, 4, dtype=torch.uint8), TypeError, "torch.uint8"), (8, torch.rand(4, 4), ValueError, r"image\[None, None\]"),
])  # fmt: skip
def test_poisson_noise_that_makes_no_sense(peak, image, error, message):
    with pytest.raises(error, match=message):
        noise.poisson(image, peak, rng.generator(0, 0, 0, "test"))


@pytest.mark.parametrize("peak", [0.0, 4.0])
def test_a_step_by_hand(peak):
    settings = override(TINY, {"peak": str(peak)})
    pool = gradual.prepare([bytes_of(1, 20, 24), bytes_of(1, 30, 17, seed=1)], settings)
    noisy, clean = gradual.batch(pool, rng.Draws(), settings)
    assert noisy.shape == clean.shape == (3, 1, 16, 16)
    again = gradual.batch(pool, rng.Draws(), settings)
    assert torch.equal(noisy, again[0]) and torch.equal(clean, again[1])
    model = network()
    found, values = gradual.step(model, (noisy, clean), settings)
    error = (model(noisy) - clean).double()
    assert found.item() == pytest.approx(sum((e**2).sum().item() for e in error) / 6, rel=1e-5) and found.requires_grad
    assert values["psnr"].item() == pytest.approx(-10 * torch.log10(error.square().mean()).item(), abs=1e-4)
    if not peak:
        assert (noisy - clean).std().item() == pytest.approx(25 / 255, rel=0.1)


# --- the protocol ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{"sigma_255": 25.0}, {"peak": 4.0}])
def test_evaluation_by_hand(kind):
    model, images = network(), [bytes_of(1, 30, 34), bytes_of(1, 28, 26, seed=1)]
    values = gradual.evaluate(model, images, border=6, seed=3, **kind)
    for index, (image, value) in enumerate(zip(images, values, strict=True)):
        clean, draws = image[None] / 255, rng.generator(3, index, 0, "test noise")
        noisy = noise.poisson(clean, 4, draws) if "peak" in kind else clean + 25 / 255 * torch.randn(clean.shape, generator=draws)
        wide = F.pad(noisy, (6, 6, 6, 6), mode="reflect")
        denoised = model.denoise(wide)[..., 6:-6, 6:-6]
        expected = metrics.psnr(denoised[..., 6:-6, 6:-6], clean[..., 6:-6, 6:-6], protocol="raw").item()
        assert value == pytest.approx(expected, abs=1e-3)
    assert gradual.evaluate(model, images, border=6, seed=3, indices=[1], **kind) == values[1:]
    assert len(gradual.evaluate(model, images, border=0, **kind)) == 2


@pytest.mark.parametrize(("options", "message"), [
    ({}, "give one of them"), ({"sigma_255": 25.0, "peak": 4.0}, "give one of them"), ({"sigma_255": 25.0, "border": 15}, "is all border"),
])  # fmt: skip
def test_evaluations_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        gradual.evaluate(network(), [bytes_of(1, 30, 34)], **options)


@pytest.mark.parametrize("change", [{"width": 1}, {"peak": -1.0}, {"depth": 1}])
def test_settings_that_make_no_sense(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        gradual.Settings(**change)


@pytest.mark.parametrize(("noisy", "error", "message"), [
    (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), TypeError, "torch.uint8"), (torch.rand(1, 3, 8, 8), ValueError, "3 channels"),
])  # fmt: skip
def test_wrong_input(noisy, error, message):
    for method in (network().denoise, network().gradually):
        with pytest.raises(error, match=message):
            method(noisy)
