"""FDnCNN against its description, and against FFDNet, of which it is the control: map, start, field, batch, loss, one full graph."""

from itertools import pairwise

import pytest
import torch
from helpers_denoising import randomised
from torch import nn
from torch._dynamo.testing import CompileCounter

from course_lib import noise, recipes, rng
from course_lib.denoising import common, evaluation, fdncnn, ffdnet

TINY = fdncnn.Settings(depth=4, width=8, patch_size=20, batch_size=5, scales=(1.0,), steps=3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0, **settings):
    return fdncnn.FDnCNN(fdncnn.Settings(**{"depth": 4, "width": 8, **settings}), seed=seed)


def images(count=3, channels=1, side=60):
    return torch.randint(256, (count, channels, side, side), generator=seeded()).to(torch.uint8)


def test_the_network_is_the_authors():
    """20 convolutions with biases, rectifiers between them, and nothing else."""
    layers = list(fdncnn.FDnCNN(fdncnn.Settings()).layers)
    assert sum(p.numel() for layer in layers for p in layer.parameters()) == 666_497
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.ReLU] * 19 + [nn.Conv2d]
    sizes = [(layer.in_channels, layer.out_channels) for layer in layers[::2]]
    assert sizes == list(pairwise([2, *[64] * 19, 1])) and all(layer.bias is not None for layer in layers[::2])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_map_enters_beside_the_image_as_it_is(channels):
    model, seen = randomised(network(channels=channels)), []
    model.layers[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    noisy, level_map = torch.rand(2, channels, 7, 9, generator=seeded()), torch.rand(1, 1, 7, 9, generator=seeded(1))
    denoised = model.denoise(noisy, level_map)
    assert torch.equal(seen[0][:, :channels], noisy) and torch.equal(seen[0][:, channels:], level_map.expand(2, 1, 7, 9))
    with torch.no_grad():
        assert denoised.shape == noisy.shape and torch.equal(denoised, model.layers(seen[0])), "the clean image, not a residual"


def test_forms_of_sigma():
    """A float, a number for each image and a map mean the same where they say the same."""
    model, noisy = randomised(network()), torch.rand(2, 1, 7, 9, generator=seeded())
    expected = model.denoise(noisy, 0.1)
    for sigma in (torch.tensor([0.1, 0.1]), torch.full((1, 1, 7, 9), 0.1), torch.full((2, 1, 7, 9), 0.1)):
        assert torch.equal(model.denoise(noisy, sigma), expected)
    assert not torch.allclose(model.denoise(noisy, 0.2), expected, atol=1e-4)


@pytest.mark.parametrize("depth", [2, 4])
def test_it_sees_half_as_far_as_ffdnet_with_as_many_layers(depth):
    model, noisy = randomised(network(depth=depth)), torch.rand(1, 1, 31, 31, generator=seeded()).requires_grad_()
    model(noisy, torch.full_like(noisy, 0.1))[0, 0, 15, 15].backward()
    rows = noisy.grad[0, 0].abs().sum(1).nonzero()
    assert 2 * int(rows.max() - rows.min() + 1) == 2 * (2 * depth + 1) == ffdnet.receptive_field(depth)


def test_a_centred_start_leaves_every_pixel_where_it_is():
    model, noisy = network(centred=True), torch.rand(1, 1, 9, 9, generator=seeded()).requires_grad_()
    model(noisy, torch.full_like(noisy, 0.1))[0, 0, 4, 4].backward()
    assert noisy.grad.nonzero().tolist() == [[0, 0, 4, 4]]


def test_initial_weights_are_functions_of_the_seed():
    a, b, c = network(seed=1), network(seed=1), network(seed=2)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.layers[0].weight, c.layers[0].weight)


def test_batch_is_that_of_ffdnet_with_a_map_of_the_full_size():
    """The same patches, σ and noise, so that the two can be compared; and the map tells the truth."""
    same = dict(depth=4, width=8, patch_size=20, batch_size=5, scales=(1.0,))
    noisy, level_map, clean = fdncnn.batch(fdncnn.prepare(images(), TINY), rng.Draws(step=2), TINY)
    halves = ffdnet.Settings(**same)
    other, half_map, of_other = ffdnet.batch(ffdnet.prepare(images(), halves), rng.Draws(step=2), halves)
    assert torch.equal(noisy, other) and torch.equal(clean, of_other)
    assert level_map.shape == (5, 1, 20, 20) and torch.equal(level_map[..., ::2, ::2], half_map)
    assert (level_map == level_map[..., :1, :1]).all() and len(level_map.unique()) == 5
    assert torch.allclose((noisy - clean).flatten(1).std(dim=1), level_map[:, 0, 0, 0], rtol=0.2, atol=0.003)


def test_step_learns_the_clean_image():
    model, batch = network(), fdncnn.batch(fdncnn.prepare(images(), TINY), rng.Draws(), TINY)
    loss, values = fdncnn.step(model, batch, TINY)
    expected = sum((d - c) ** 2 for d, c in zip(*(x.flatten().double().tolist() for x in (model(*batch[:2]), batch[2])), strict=True))
    assert loss.item() == pytest.approx(expected / (2 * 5), rel=1e-5) and loss.requires_grad
    assert values["psnr"].item() == pytest.approx(-10 * torch.log10(torch.tensor(expected / batch[2].numel())).item(), abs=1e-3)


@pytest.mark.parametrize(("method", "network"), [(ffdnet, ffdnet.FFDNet), (fdncnn, fdncnn.FDnCNN)])
def test_who_is_told_nothing_learns_from_a_map_of_zeros(method, network):
    settings = method.Settings(depth=3, width=8, patch_size=16, batch_size=2, scales=(1.0,))
    images = torch.randint(256, (3, 1, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    batch, model = method.batch(method.prepare(images, settings), rng.Draws(), settings), network(settings)
    blind = common.told_nothing(method)
    loss, _ = blind.step(model, batch, settings)
    noisy, level_map, clean = batch
    assert loss.item() == method.step(model, (noisy, torch.zeros_like(level_map), clean), settings)[0].item()
    assert loss.item() != method.step(model, batch, settings)[0].item()
    assert hasattr(blind, "before_step") == hasattr(method, "before_step"), "nothing else differs"


def test_evaluate_tells_the_right_sigma():
    model, held_out = randomised(network()), list(images(2, side=21))
    expected = evaluation.psnr_per_image(model.denoise, held_out, noise.from_255(30), protocol="quantised")
    assert fdncnn.evaluate(model, held_out, 30) == pytest.approx(expected, abs=1e-3)
    assert fdncnn.evaluate(model, held_out, 30, indices=[1]) == pytest.approx(expected[1:], abs=1e-3)


def test_one_graph_in_float32():
    model, counter = network().eval(), CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=False)
    noisy, level_map = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(compiled(noisy, level_map), model(noisy, level_map))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model(noisy, level_map).dtype == torch.float32
    assert counter.frame_count == 1


def test_its_quick_training_is_that_of_ffdnet():
    """But for the resolution and what FDnCNN does not have."""
    theirs, own = (vars(recipes.find(name, "quick")[1].settings) for name in ("ffdnet", "fdncnn"))
    assert {name for name in theirs if own.get(name) != theirs[name]} == {"batch_norm", "orthogonal"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"depth": 1}, "depth = 1"), ({"channels": 2}, "channels = 2"), ({"sigma_255": (50.0, 5.0)}, "sigma_255"), ({"scales": ()}, "scales")],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        fdncnn.Settings(**settings)


def test_inputs_that_make_no_sense():
    with pytest.raises(ValueError, match="does not fit"):
        network().denoise(torch.rand(2, 1, 8, 8), torch.full((1, 1, 4, 4), 0.1))
    with pytest.raises(ValueError, match="3 channels, but this network was made for 1"):
        network().denoise(torch.rand(1, 3, 8, 8), 0.1)
    with pytest.raises(ValueError, match="channels = 1, but the training images have 3"):
        fdncnn.prepare(images(channels=3), TINY)
