"""FFDNet against its paper: sub-images, map, loss, constraint, sizes, locality, folding, published weights, one full graph."""

import numpy as np
import pytest
import torch
from helpers_denoising import randomised
from torch import nn
from torch._dynamo.testing import CompileCounter

from course_lib import noise, rng, weights
from course_lib.denoising import common, evaluation, ffdnet


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0, **settings):
    return ffdnet.FFDNet(ffdnet.Settings(**{"depth": 4, "width": 8, **settings}), seed=seed)


def trained(model):
    """In evaluation mode, as after a training."""
    return randomised(model).eval()


def images(count=3, channels=1, side=60):
    draws = torch.randint(256, (count, channels, side, side), generator=seeded())
    return draws.to(torch.uint8)


# --- network --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "parameters"), [({}, 485_316), ({"depth": 12, "width": 96, "channels": 3}, 852_108)])
def test_parameters_of_the_paper(settings, parameters):
    model = ffdnet.FFDNet(ffdnet.Settings(**settings))
    assert sum(p.numel() for p in ffdnet.folded(model).parameters()) == parameters
    plain = ffdnet.FFDNet(ffdnet.Settings(**settings, batch_norm=False))
    assert sum(p.numel() for p in plain.parameters()) == parameters
    norms = [layer for layer in model.layers if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == settings.get("depth", 15) - 2


@pytest.mark.parametrize("channels", [1, 3])
def test_sub_images_by_loops(channels):
    """What enters the first layer: the four interleaved sub-images of each channel in the documented order, then the map."""
    model = network(channels=channels, depth=2).eval()
    seen = []
    model.layers[0].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    noisy = torch.rand(2, channels, 6, 8, generator=seeded())
    level_map = torch.rand(2, 1, 3, 4, generator=seeded(1))
    model(noisy, level_map)
    expected = torch.empty(2, 4 * channels + 1, 3, 4)
    for c in range(channels):
        for dy in range(2):
            for dx in range(2):
                for y in range(3):
                    for x in range(4):
                        expected[:, 4 * c + 2 * dy + dx, y, x] = noisy[:, c, 2 * y + dy, 2 * x + dx]
    expected[:, -1] = level_map[:, 0]
    assert torch.equal(seen[0], expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_sub_images_are_put_together_where_they_came_from(channels):
    """A network whose layers return their input, without the map, is the identity: shuffle undoes unshuffle."""
    model = network(channels=channels)
    model.layers = nn.Identity()
    noisy = torch.rand(1, channels, 8, 10, generator=seeded())
    cut = lambda stacked: stacked[:, :-1]  # noqa: E731
    model.layers.forward = cut
    assert torch.equal(model(noisy, torch.zeros(1, 1, 4, 5)), noisy)


def test_initial_kernels_are_orthogonal():
    for batch_norm, value in ((True, 1.0), (False, 2**0.5)):
        for layer in network(batch_norm=batch_norm).layers:
            if isinstance(layer, nn.Conv2d):
                singular = np.linalg.svd(layer.weight.detach().flatten(1).numpy(), compute_uv=False)
                assert np.abs(singular - value).max() < 1e-5


def test_a_centred_start_is_orthogonal_and_leaves_every_pixel_where_it_is():
    for batch_norm, value in ((True, 1.0), (False, 2**0.5)):
        for layer in network(batch_norm=batch_norm, centred=True).layers:
            if isinstance(layer, nn.Conv2d):
                middle = layer.weight.detach()[:, :, 1, 1].numpy()
                assert np.abs(np.linalg.svd(middle, compute_uv=False) - value).max() < 1e-5
                assert layer.weight.count_nonzero() == layer.weight[:, :, 1, 1].count_nonzero() and layer.weight.requires_grad
    noisy = torch.rand(1, 1, 12, 12, generator=seeded()).requires_grad_()
    network(batch_norm=False, centred=True)(noisy, torch.full((1, 1, 6, 6), 0.1))[0, 0, 4, 4].backward()
    outside = noisy.grad.clone()
    outside[..., 4:6, 4:6] = 0  # the 2×2 block of that pixel
    assert not outside.any() and noisy.grad.any()


def test_initial_weights_are_functions_of_the_seed():
    a, b, c = network(seed=1), network(seed=1), network(seed=2)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.layers[0].weight, c.layers[0].weight)


def test_output_is_float32_under_autocast():
    model = network().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert model(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 4, 4)).dtype == torch.float32


def test_one_graph():
    model, counter = network().eval(), CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=False)
    noisy, level_map = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 4, 4)
    with torch.no_grad():
        assert torch.equal(compiled(noisy, level_map), model(noisy, level_map))
        compiled(noisy, level_map)
    assert counter.frame_count == 1


# --- denoising ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("height_width", [(1, 1), (1, 8), (7, 12), (12, 7), (9, 9)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size(channels, height_width):
    model = trained(network(channels=channels))
    noisy = torch.rand(2, channels, *height_width, generator=seeded())
    denoised = model.denoise(noisy, 0.1)
    assert denoised.shape == noisy.shape and denoised.isfinite().all()


def test_odd_sides_are_continued_by_their_last_pixels():
    model = trained(network())
    noisy = torch.rand(1, 1, 7, 9, generator=seeded())
    larger = torch.cat([noisy, noisy[:, :, -1:]], dim=2)
    larger = torch.cat([larger, larger[..., -1:]], dim=3)
    assert torch.allclose(model.denoise(noisy, 0.1), model.denoise(larger, 0.1)[..., :7, :9], atol=1e-6)


def test_forms_of_sigma():
    """A float, a number for each image and a map mean the same where they say the same."""
    model = trained(network())
    noisy = torch.rand(2, 1, 8, 10, generator=seeded())
    by_float = model.denoise(noisy, 0.1)
    for same in (torch.tensor(0.1), torch.tensor([0.1, 0.1]), torch.full((2, 1, 8, 10), 0.1), torch.full((1, 1, 8, 10), 0.1)):
        assert torch.allclose(model.denoise(noisy, same), by_float, atol=1e-6)
    differing = model.denoise(noisy, torch.tensor([0.1, 0.2]))
    assert torch.allclose(differing[0], by_float[0], atol=1e-6) and not torch.allclose(differing[1], by_float[1], atol=1e-4)


def test_a_map_enters_at_half_resolution_as_the_mean_of_four_pixels():
    model = trained(network())
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    sigma = torch.rand(1, 1, 5, 6, generator=seeded())
    model.denoise(torch.rand(1, 1, 5, 6), sigma)
    padded = np.concatenate([sigma[0, 0].numpy(), sigma[0, 0, -1:].numpy()])
    expected = [[padded[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() for x in range(3)] for y in range(3)]
    assert np.allclose(seen[0][0, 0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("depth", [2, 4])
def test_the_map_acts_within_the_receptive_field(depth):
    """Another σ on the right half changes the right half, and on the left no more than the field reaches."""
    model = trained(network(depth=depth, batch_norm=False)).double()
    noisy = torch.rand(1, 1, 8, 64, generator=seeded(), dtype=torch.float64)
    sigma = torch.full_like(noisy, 0.1)
    other = sigma.clone()
    other[..., 32:] = 0.2
    with torch.no_grad():
        change = (model.layers(inputs(noisy, sigma)) - model.layers(inputs(noisy, other))).abs().amax((0, 1, 2))
    reached = (change > 1e-12).nonzero().flatten()
    assert reached[0] == 16 - depth and reached[-1] == 31  # in sub-images, of half the width
    assert ffdnet.receptive_field(depth) == 2 * (2 * depth + 1)


def inputs(noisy, sigma):
    return torch.cat([nn.functional.pixel_unshuffle(noisy, 2), nn.functional.avg_pool2d(sigma, 2)], dim=1)


@pytest.mark.parametrize(("depth", "side"), [(15, 62), (12, 50)])
def test_receptive_fields_of_the_paper(depth, side):
    assert ffdnet.receptive_field(depth) == side


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (-0.1, "negative"),
        (25, "0–255 scale"),
        (torch.full((1, 1, 8, 8), -0.1), "negative"),
        (torch.full((1, 1, 4, 4), 0.1), "does not fit"),
        (torch.full((3,), 0.1), "does not fit"),
        (torch.full((2, 3, 8, 8), 0.1), "does not fit"),
    ],
    ids=["negative", "wrong scale", "negative map", "map of half the size", "too many", "map of three channels"],
)
def test_sigma_that_makes_no_sense(sigma, message):
    with pytest.raises(ValueError, match=message):
        network().eval().denoise(torch.rand(2, 1, 8, 8), sigma)


def test_images_that_make_no_sense():
    model = network().eval()
    with pytest.raises(TypeError, match="uint8"):
        model.denoise(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), 0.1)
    with pytest.raises(ValueError, match="3 channels, but this network was made for 1"):
        model.denoise(torch.rand(1, 3, 8, 8), 0.1)
    with pytest.raises(RuntimeError, match=r"eval\(\)"):
        network().train().denoise(torch.rand(1, 1, 8, 8), 0.1)


# --- training -------------------------------------------------------------------------------------------------------------

TINY = ffdnet.Settings(depth=4, width=8, patch_size=20, batch_size=5, scales=(1.0,), steps=3)


def made(step=0, settings=TINY):
    return ffdnet.batch(ffdnet.prepare(images(), settings), rng.Draws(step=step), settings)


def test_loss_by_loops():
    denoised, clean = torch.rand(3, 2, 4, 5, generator=seeded()), torch.rand(3, 2, 4, 5, generator=seeded(1))
    total = 0.0
    for i in range(3):
        for c in range(2):
            for y in range(4):
                for x in range(5):
                    total += (denoised[i, c, y, x].item() - clean[i, c, y, x].item()) ** 2
    assert common.image_loss(denoised, clean).item() == pytest.approx(total / (2 * 3), rel=1e-6)


def test_batch():
    noisy, level_map, clean = made()
    assert noisy.shape == clean.shape == (5, 1, 20, 20) and level_map.shape == (5, 1, 10, 10)
    sigma = level_map[:, 0, 0, 0]
    assert torch.equal(level_map, sigma.view(5, 1, 1, 1).expand_as(level_map)), "uniform maps"
    assert len(sigma.unique()) == 5 and sigma.min() >= 0 and sigma.max() <= 75 / 255
    measured = (noisy - clean).flatten(1).std(dim=1)
    assert torch.allclose(measured, sigma, rtol=0.2, atol=0.003), "the map tells the truth"
    again, other = made(), made(step=1)
    assert torch.equal(again[0], noisy) and not torch.equal(other[0], noisy)


def test_step_learns_the_clean_image():
    model = network().train()
    batch = made()
    loss, values = ffdnet.step(model, batch, TINY)
    assert loss.requires_grad and not values["psnr"].requires_grad
    with torch.no_grad():
        denoised = model.train()(batch[0], batch[1])
    assert values["psnr"].item() == pytest.approx(-10 * np.log10(((denoised - batch[2]) ** 2).mean().item()), abs=0.05)


def test_constraint_against_numpy():
    kernel = torch.randn(6, 3, 3, 3, generator=seeded()) * 0.3
    matrix = kernel.reshape(6, 27).double().numpy()
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = np.concatenate([[0.5, 0.89999], s[2:4] * 0 + 1.05, [1.100004], [3.0]])
    given = torch.from_numpy((u * s) @ v).float().view(6, 3, 3, 3)
    expected = np.array([0.51, 0.9, 1.05, 1.05, 1.1, 2.99])
    ffdnet.constrain(given, by=0.01)
    found = np.linalg.svd(given.reshape(6, 27).double().numpy(), compute_uv=False)
    assert np.abs(np.sort(found) - expected).max() < 1e-5
    assert np.abs(given.reshape(6, 27).double().numpy() - (u * expected) @ v).max() < 1e-5, "directions are kept"


def test_each_kernel_is_constrained_once_in_a_hundred_updates(monkeypatch):
    model, calls = network(), []
    kernels = [layer.weight for layer in model.layers if isinstance(layer, nn.Conv2d)]
    monkeypatch.setattr(ffdnet, "constrain", lambda kernel: calls.append(next(i for i, k in enumerate(kernels) if k is kernel)))
    for step in range(200):
        ffdnet.before_step(model, step, TINY)
    assert calls == [0, 1, 2, 3] * 2
    for step in range(200):
        ffdnet.before_step(model, step, ffdnet.Settings(**{**vars(TINY), "orthogonal": False}))
    assert len(calls) == 8


def test_settings_that_make_no_sense():
    for setting, message in (
        ({"patch_size": 41}, "even number"),
        ({"patch_size": 0}, "even number"),
        ({"depth": 1}, "depth ≥ 2"),
        ({"channels": 2}, "1 .gray. or 3"),
        ({"sigma_255": (75.0, 0.0)}, "lowest and a highest"),
        ({"scales": ()}, "scales"),
    ):
        with pytest.raises(ValueError, match=message):
            ffdnet.Settings(**setting)


def test_images_of_other_channels():
    with pytest.raises(ValueError, match="channels = 1, but the training images have 3"):
        ffdnet.prepare(images(channels=3), TINY)


# --- evaluation, folding, published weights ------------------------------------------------------------------------------


def test_evaluate_tells_the_right_sigma():
    model = trained(network())
    held_out = list(images(2, side=21))
    expected = evaluation.psnr_per_image(model.denoise, held_out, noise.from_255(30), protocol="quantised")
    assert ffdnet.evaluate(model, held_out, 30) == pytest.approx(expected, abs=1e-3)
    assert ffdnet.evaluate(model, held_out, 30, indices=[1]) == pytest.approx(expected[1:], abs=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_folding_changes_no_output(channels):
    model = trained(network(channels=channels, depth=6))
    noisy = torch.rand(2, channels, 12, 14, generator=seeded())
    expected = model.denoise(noisy, 0.1)
    assert (ffdnet.folded(model).denoise(noisy, 0.1) - expected).abs().max() < 1e-5 * max(1, expected.abs().max())


@pytest.mark.parametrize("channels", [1, 3])
def test_published_weights(channels):
    """In the authors' layout: ``model.0.weight`` …, Conv + ReLU, biases everywhere, made up here."""
    generator, width = seeded(), 6
    layers = [nn.Conv2d(4 * channels + 1, width, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    stack = nn.Sequential(*layers, nn.Conv2d(width, 4 * channels, 3, padding=1))
    for p in stack.parameters():
        nn.init.normal_(p, 0, 0.2, generator=generator)
    model = ffdnet.from_published({f"model.{name}": tensor for name, tensor in stack.state_dict().items()})
    noisy, sigma = torch.rand(2, channels, 8, 8, generator=generator), 0.15
    sub_images = nn.functional.pixel_unshuffle(noisy, 2)
    with torch.no_grad():
        out = stack(torch.cat([sub_images, torch.full((2, 1, 4, 4), sigma)], dim=1))
    assert torch.allclose(model.denoise(noisy, sigma), nn.functional.pixel_shuffle(out, 2), atol=1e-5)


def test_weights_that_are_not_an_ffdnet():
    from course_lib.denoising import dncnn

    with pytest.raises(weights.WeightsError, match="not those of an FFDNet"):
        ffdnet.from_published(dncnn.DnCNN(dncnn.Settings(depth=3, width=4, batch_norm=False)).state_dict())
    with pytest.raises(weights.WeightsError, match="not those of an FFDNet"):
        ffdnet.from_published({})
    with pytest.raises(weights.WeightsError, match="not those of a DnCNN"):
        dncnn.from_published(network(batch_norm=False).state_dict())
