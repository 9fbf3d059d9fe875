"""DnCNN against its paper: network, loss, batches, receptive field, folding, evaluation, and one full graph."""

import copy
import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_denoising import randomised
from skimage.metrics import peak_signal_noise_ratio
from torch import nn
from torch._dynamo.testing import CompileCounter

from course_lib import rng, weights
from course_lib.batches import ImagePool
from course_lib.denoising import bfcnn, dncnn

REPOSITORY = Path(dncnn.__file__).parent.parent.parent


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(*shapes, seed=0):
    generator = seeded(seed)
    return [torch.randint(256, shape, generator=generator).to(torch.uint8) for shape in shapes]


def network(seed=0, **settings):
    return dncnn.DnCNN(dncnn.Settings(**settings), seed=seed)


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


# --- network --------------------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_paper():
    s = dncnn.Settings()
    assert (s.depth, s.width, s.channels, s.batch_norm, s.zero_last) == (17, 64, 1, True, False)
    assert (s.patch_size, s.batch_size, s.scales, s.sigma_255) == (40, 128, (1.0, 0.9, 0.8, 0.7), (25.0, 25.0))
    assert (s.optimizer, s.learning_rate, s.final_learning_rate, s.schedule, s.drop_at) == ("adam", 1e-3, 1e-4, "drop", (0.6,))


@pytest.mark.parametrize(
    ("settings", "trained", "folded"),
    [
        ({}, 556_097, 555_137),
        ({"batch_norm": False}, 555_137, 555_137),
        ({"depth": 20}, 667_073, 665_921),
        ({"depth": 20, "channels": 3}, 669_379, 668_227),
    ],
    ids=["S", "S without BN", "B", "B colour"],
)
def test_number_of_parameters(settings, trained, folded):
    model = network(**settings)
    assert size(model) == trained
    assert size(dncnn.folded(model)) == folded


@pytest.mark.parametrize("depth", [2, 3, 17])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_layers(depth, channels, batch_norm):
    layers = list(network(depth=depth, width=8, channels=channels, batch_norm=batch_norm).layers)
    middle = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] if batch_norm else [nn.Conv2d, nn.ReLU]
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.ReLU, *middle * (depth - 2), nn.Conv2d]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == depth
    for i, layer in enumerate(convolutions):
        assert layer.in_channels == (channels if i == 0 else 8)
        assert layer.out_channels == (channels if i == depth - 1 else 8)
        assert (layer.kernel_size, layer.padding, layer.stride, layer.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        assert layer.padding_mode == "zeros" and layer.groups == 1
        in_the_middle = 0 < i < depth - 1
        assert (layer.bias is None) == (batch_norm and in_the_middle)
    assert all(layer.affine and layer.track_running_stats for layer in layers if isinstance(layer, nn.BatchNorm2d))


@pytest.mark.parametrize("channels", [1, 3])
def test_initial_weights(channels):
    """Normal with variance 2 / (9 · inputs), biases 0; within 5 standard errors."""
    for layer in network(depth=4, channels=channels).layers:
        if isinstance(layer, nn.Conv2d):
            n, sigma = layer.weight.numel(), math.sqrt(2 / (9 * layer.in_channels))
            weights = layer.weight.detach().double()
            assert abs(weights.std().item() / sigma - 1) < 5 / math.sqrt(2 * n)
            assert abs(weights.mean().item()) < 5 * sigma / math.sqrt(n)
            assert weights.abs().max() > 2 * sigma  # not uniform, which ends at 1.73 σ
            assert layer.bias is None or torch.equal(layer.bias, torch.zeros_like(layer.bias))


@pytest.mark.parametrize("cls", [dncnn.DnCNN, bfcnn.BFCNN])
def test_a_centred_start_is_orthogonal_and_sees_one_pixel_only(cls):
    model = cls(dncnn.Settings(depth=4, width=8, centred=True, batch_norm=False)).eval()
    for layer in model.layers:
        if isinstance(layer, nn.Conv2d):
            middle = layer.weight.detach()[:, :, 1, 1].numpy()
            assert np.abs(np.linalg.svd(middle, compute_uv=False) - 2**0.5).max() < 1e-5
            assert layer.weight.count_nonzero() == layer.weight[:, :, 1, 1].count_nonzero() and layer.weight.requires_grad
    noisy = torch.rand(1, 1, 9, 9, generator=seeded()).requires_grad_()
    model(noisy)[0, 0, 4, 4].backward()
    assert noisy.grad.nonzero().tolist() == [[0, 0, 4, 4]]


def test_initial_weights_depend_on_the_seed_only():
    torch.manual_seed(1)
    first = network(depth=3, width=8).state_dict()
    torch.manual_seed(2)
    again, other = network(depth=3, width=8).state_dict(), network(seed=1, depth=3, width=8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])
    assert not torch.equal(first["layers.2.weight"], other["layers.2.weight"])


@pytest.mark.parametrize("channels", [1, 3])
def test_forward_is_the_residual_and_denoise_subtracts_it(channels):
    model = randomised(network(depth=4, width=8, channels=channels)).eval()
    noisy = torch.rand(2, channels, 12, 13, generator=seeded())
    with torch.no_grad():
        residual = model(noisy)
        by_layers = noisy
        for layer in copy.deepcopy(model).layers:
            by_layers = layer(by_layers)
    assert residual.shape == noisy.shape and residual.dtype == torch.float32
    assert torch.allclose(residual, by_layers, atol=1e-6)
    assert residual.std() > 0.1
    denoised = model.denoise(noisy)
    assert torch.equal(denoised, noisy - residual)
    assert torch.equal(model.denoise(noisy, 0.3), denoised)  # σ is taken, and not used


def test_learned_noise_is_taken_away():
    """A network that knows the noise gives the clean image: the sign of the subtraction."""
    clean, eta = torch.rand(1, 1, 9, 9, generator=seeded()), 0.1 * torch.randn(1, 1, 9, 9, generator=seeded(1))
    model = network(depth=2, width=2, batch_norm=False).eval()
    model.layers = nn.Module()  # replaced by what a perfect network would do
    model.layers.forward = lambda noisy: noisy - clean
    assert torch.allclose(model.denoise(clean + eta), clean, atol=1e-6)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_zero_last_is_the_identity(channels, batch_norm):
    noisy = torch.randn(2, channels, 9, 14, generator=seeded())
    settings = {"depth": 5, "width": 8, "channels": channels, "batch_norm": batch_norm}
    for training in (True, False):
        with torch.no_grad():
            assert not network(zero_last=True, **settings).train(training)(noisy).any()
            assert network(**settings).train(training)(noisy).any()
    assert torch.equal(network(zero_last=True, **settings).eval().denoise(noisy), noisy)


def test_zero_last_learns_nevertheless():
    """The other layers start at random, so that the last one receives a gradient."""
    model = network(depth=4, width=8, zero_last=True)
    noisy = torch.rand(2, 1, 9, 9, generator=seeded())
    dncnn.loss(model(noisy), torch.ones_like(noisy)).backward()
    assert model.layers[-1].weight.grad.abs().max() > 0.01


def test_output_is_float32_under_autocast():
    model = network(depth=3, width=8).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert model.layers(torch.rand(1, 1, 8, 8)).dtype == torch.bfloat16
        assert model(torch.rand(1, 1, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize("height_width", [(1, 1), (1, 17), (31, 1), (7, 13), (33, 48)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_height_and_width(height_width, channels):
    model = network(depth=4, width=4, channels=channels).eval()
    denoised = model.denoise(torch.rand(1, channels, *height_width, generator=seeded()))
    assert denoised.shape == (1, channels, *height_width) and denoised.isfinite().all()


# --- loss -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (2, 3, 3, 3), (1, 1, 1, 1)], ids=str)
def test_loss_is_equation_1(shape):
    """1/(2N) Σ_i ‖R(z_i) − (z_i − y_i)‖_F², by loops in float64."""
    residual, noisy, clean = (torch.randn(shape, generator=seeded(i), dtype=torch.float64) for i in range(3))
    total = 0.0
    for i in range(shape[0]):
        norm = 0.0
        for c in range(shape[1]):
            for y in range(shape[2]):
                for x in range(shape[3]):
                    norm += (residual[i, c, y, x] - (noisy[i, c, y, x] - clean[i, c, y, x])).item() ** 2
        total += norm
    found = dncnn.loss(residual, noisy - clean)
    assert found.shape == () and found.dtype == torch.float64
    assert found.item() == pytest.approx(total / (2 * shape[0]), rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_loss_is_800_times_the_mean_squared_error_of_gray_patches_of_40(batch_size):
    a, b = (torch.randn(batch_size, 1, 40, 40, generator=seeded(i), dtype=torch.float64) for i in range(2))
    assert dncnn.loss(a, b).item() == pytest.approx(800 * ((a - b) ** 2).mean().item(), rel=1e-12)


def test_step_is_loss_and_psnr_of_the_batch():
    model = randomised(network(depth=4, width=8))
    clean = torch.rand(3, 1, 10, 10, generator=seeded())
    noisy = clean + 0.1 * torch.randn(3, 1, 10, 10, generator=seeded(1))
    reference = copy.deepcopy(model)
    loss, values = dncnn.step(model, (noisy, clean), dncnn.Settings())
    denoised = noisy - reference(noisy)
    assert set(values) == {"psnr"} and not values["psnr"].requires_grad
    assert loss.item() == pytest.approx(((denoised - clean) ** 2).double().sum().item() / 6, rel=1e-5)
    assert values["psnr"].item() == pytest.approx(-10 * math.log10(((denoised - clean) ** 2).mean().item()), abs=1e-4)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_step_waits_for_no_value():
    """On the device "meta", where tensors have a shape but no values, ``.item()`` or a mask as an index would raise."""
    model = network(depth=4, width=8).to("meta")
    noisy, clean = torch.rand(2, 2, 1, 12, 12, device="meta")
    loss, values = dncnn.step(model, (noisy, clean), dncnn.Settings())
    loss.backward()
    assert loss.device.type == values["psnr"].device.type == "meta" and loss.shape == values["psnr"].shape == ()


def test_training_lowers_the_loss():
    """Some steps on one batch: the gradient points the right way."""
    model = network(depth=4, width=16)
    settings = dncnn.Settings(depth=4, width=16, patch_size=16, batch_size=8, scales=(1.0,))
    batch = dncnn.batch(dncnn.prepare(images((1, 40, 40)), settings), rng.Draws(), settings)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        loss, _ = dncnn.step(model, batch, settings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


# --- receptive field ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "width"), [(2, 32), (4, 32), (17, 64)])
def test_receptive_field(depth, width):
    """A change of one pixel reaches exactly the outputs within ``depth``: a square of 2·depth + 1, no pixel outside it."""
    model = network(depth=depth, width=width).double().eval()
    side, middle = 2 * (depth + 2) + 1, depth + 2
    image = torch.rand(1, 1, side, side, generator=seeded(), dtype=torch.float64)
    changed = image.clone()
    changed[0, 0, middle, middle] += 1000
    with torch.no_grad():  # the layers themselves: forward rounds to float32
        change = (model.layers(changed) - model.layers(image)).abs()[0, 0]
    reached = change > 1e-11 * change.max()  # a convolution may add in another order where the input has other values
    rows, columns = reached.any(1).nonzero().flatten(), reached.any(0).nonzero().flatten()
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (2, side - 3, 2, side - 3)
    assert reached[middle - depth, middle] and reached[middle, middle + depth]  # distance depth
    assert not reached[middle - depth - 1].any() and not reached[:, middle + depth + 1].any()  # distance depth + 1
    assert dncnn.receptive_field(depth) == rows[-1] - rows[0] + 1 == columns[-1] - columns[0] + 1


@pytest.mark.parametrize(("depth", "side"), [(17, 35), (20, 41)])
def test_receptive_field_of_the_paper(depth, side):
    assert dncnn.receptive_field(depth) == side


def test_batch_statistics_reach_everywhere_in_training():
    """Why the receptive field is a property of the network in evaluation mode."""
    model = network(depth=4, width=16).train()
    image = torch.rand(1, 1, 31, 31, generator=seeded())
    changed = image.clone()
    changed[0, 0, 0, 0] += 10
    with torch.no_grad():
        assert (model(changed) != model(image))[0, 0, 20:, 20:].any()


# --- folding --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("depth", "width"), [(2, 8), (3, 8), (6, 16), (17, 16)])
def test_folding_changes_no_output(depth, width, channels, batch_norm):
    model = randomised(network(depth=depth, width=width, channels=channels, batch_norm=batch_norm)).eval()
    noisy = torch.rand(2, channels, 20, 23, generator=seeded())
    folded = dncnn.folded(model)
    with torch.no_grad():
        expected, found = model(noisy), folded(noisy)
    scale = max(1.0, expected.abs().max().item())
    assert expected.std() > 0.01
    assert (found - expected).abs().max() < 1e-5 * scale
    assert not folded.training and not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.layers)
    assert isinstance(folded, dncnn.DnCNN) and folded.channels == channels
    assert all(layer.bias is not None for layer in folded.layers if isinstance(layer, nn.Conv2d))
    assert (folded.denoise(noisy) - model.denoise(noisy)).abs().max() < 1e-5 * scale


def test_a_network_without_its_statistics_differs():
    """That the test above can fail: each of the four tensors of a batch normalisation matters."""
    model = randomised(network(depth=4, width=8)).eval()
    noisy = torch.rand(1, 1, 16, 16, generator=seeded())
    expected = dncnn.folded(model).denoise(noisy)
    for name, neutral in (("running_mean", 0.0), ("running_var", 1.0), ("weight", 1.0), ("bias", 0.0)):
        other = copy.deepcopy(model)
        getattr(other.layers[3], name).data.fill_(neutral)
        assert (dncnn.folded(other).denoise(noisy) - expected).abs().max() > 1e-3, name


@pytest.mark.parametrize("training", [True, False])
def test_folding_leaves_the_network_as_it_is(training):
    model = randomised(network(depth=4, width=8)).train(training)
    before = copy.deepcopy(model.state_dict())
    folded = dncnn.folded(model)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.fill_(7)
    assert model.training == training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


# --- one full graph -------------------------------------------------------------------------------------------------------


@pytest.fixture
def counter():
    torch._dynamo.reset()
    yield CompileCounter()
    torch._dynamo.reset()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_network_is_one_graph(counter, training, batch_norm):
    model = randomised(network(depth=4, width=8, batch_norm=batch_norm)).train(training)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend=counter)
    noisy = torch.rand(2, 1, 12, 12, generator=seeded())
    for _ in range(3):
        assert torch.allclose(compiled(noisy), model(noisy), atol=1e-6)
    assert counter.frame_count == 1  # neither a graph break nor another graph in later calls
    assert counter.op_count >= len(model.layers)


def test_training_step_is_one_graph(counter):
    """Loss, reported values, gradients and batch statistics are those of the step that is not compiled."""
    model = randomised(network(depth=4, width=8))
    other = copy.deepcopy(model)
    compiled = torch.compile(dncnn.step, fullgraph=True, backend=counter)
    for i in range(2):
        clean = torch.rand(2, 1, 12, 12, generator=seeded(i))
        batch = (clean + 0.1 * torch.randn(2, 1, 12, 12, generator=seeded(i + 10)), clean)
        loss, values = compiled(model, batch, dncnn.Settings())
        expected_loss, expected_values = dncnn.step(other, batch, dncnn.Settings())
        assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-6)
        assert values.keys() == expected_values.keys()
        assert values["psnr"].item() == pytest.approx(expected_values["psnr"].item(), abs=1e-5)
        loss.backward()
        expected_loss.backward()
    assert counter.frame_count == 1 and counter.op_count > len(model.layers)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-4)
    for a, b in zip(model.buffers(), other.buffers(), strict=True):
        assert torch.allclose(a, b)


# "eager" is the backend by name, in place of the one that counts
@pytest.mark.parametrize("channels", [1, 3])
def test_compiled_by_the_eager_backend(channels):
    torch._dynamo.reset()
    model = randomised(network(depth=3, width=8, channels=channels)).eval()
    noisy, clean = (torch.rand(2, channels, 9, 11, generator=seeded(i)) for i in range(2))
    found = torch.compile(model, fullgraph=True, backend="eager")(noisy)
    assert torch.allclose(found, model(noisy), atol=1e-6)
    loss, _ = torch.compile(dncnn.step, fullgraph=True, backend="eager")(model, (noisy, clean), dncnn.Settings())
    assert loss.item() == pytest.approx(dncnn.step(model, (noisy, clean), dncnn.Settings())[0].item(), rel=1e-6)
    torch._dynamo.reset()


# --- batches --------------------------------------------------------------------------------------------------------------


def made(count=64, size=40, channels=1, sigma_255=(25.0, 25.0), seed=0, dark=False, **settings):
    chosen = dncnn.Settings(
        patch_size=size, batch_size=count, channels=channels, sigma_255=sigma_255, scales=(1.0, 0.9), **settings
    )
    pictures = images((channels, 70, 60), (channels, 64, 80))
    if dark:
        pictures = [picture // 64 for picture in pictures]
    return dncnn.batch(dncnn.prepare(pictures, chosen), rng.Draws(seed), chosen)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "size"), [(3, 40), (5, 50), (1, 7)])
def test_shape_of_a_batch(count, size, channels):
    noisy, clean = made(count, size, channels)
    for patches in (noisy, clean):
        assert patches.shape == (count, channels, size, size) and patches.dtype == torch.float32
    assert clean.min() >= 0 and clean.max() <= 1
    assert ((clean * 255) - (clean * 255).round()).abs().max() < 1e-4


def test_patches_come_from_all_scales():
    settings = dncnn.Settings(scales=(1.0, 0.9, 0.8, 0.7))
    pool = dncnn.prepare(images((1, 180, 180)), settings)
    assert isinstance(pool, ImagePool) and pool.patch_size == 40
    assert pool.positions == sum((side - 39) ** 2 for side in (180, 162, 144, 126))


@pytest.mark.parametrize(("channels", "given"), [(1, 3), (3, 1)])
def test_training_images_of_other_channels(channels, given):
    with pytest.raises(ValueError, match=f"channels = {channels}, but the training images have {given}"):
        dncnn.prepare(images((given, 60, 60)), dncnn.Settings(channels=channels, scales=(1.0,)))


@pytest.mark.parametrize("sigma_255", [15.0, 25.0, 50.0])
def test_noise_of_one_sigma(sigma_255):
    """In the batch and in every patch, within 5 standard errors."""
    noisy, clean = made(sigma_255=(sigma_255, sigma_255))
    difference, sigma = (noisy - clean).double(), sigma_255 / 255
    assert abs(difference.mean().item()) < 5 * sigma / math.sqrt(difference.numel())
    assert abs(difference.std().item() / sigma - 1) < 5 / math.sqrt(2 * difference.numel())
    assert (difference.std(dim=(1, 2, 3)) / sigma - 1).abs().max() < 5 / math.sqrt(2 * 1600)


def test_noise_is_not_clipped():
    """On nearly black patches half of the values are below 0, with the full strength."""
    noisy, clean = made(dark=True)
    assert clean.max() <= 3 / 255
    assert 0.3 < (noisy < 0).float().mean() < 0.5
    assert abs((noisy - clean).std().item() / (25 / 255) - 1) < 5 / math.sqrt(2 * noisy.numel())


def test_noise_of_a_range_of_sigma():
    """Blind: a σ for each patch, uniform in [0, 55]. Measured in patches of 50×50 it has a relative error of 1.4 %."""
    noisy, clean = made(400, 50, sigma_255=(0.0, 55.0))
    found = ((noisy - clean).double().std(dim=(1, 2, 3)) * 255).sort().values
    assert found[-1] <= 55 * (1 + 5 / math.sqrt(2 * 2500))
    assert found[0] < 2 and found[-1] > 53
    place = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    assert (found / 55 - place).abs().max() < 1.95 / math.sqrt(400) + 0.01  # Kolmogorov–Smirnov at 0.1 %
    noisy, clean = made(200, 50, sigma_255=(30.0, 40.0))
    found = (noisy - clean).double().std(dim=(1, 2, 3)) * 255
    assert 30 * 0.93 <= found.min() < 31.5 and 38.5 < found.max() <= 40 * 1.07


def test_batches_are_a_function_of_the_generator():
    first, again, other = made(seed=3), made(seed=3), made(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])
    assert not torch.equal(first[0] - first[1], other[0] - other[1])
    assert not torch.equal(first[0][0] - first[1][0], first[0][1] - first[1][1])  # no two patches share their noise


# --- evaluation -----------------------------------------------------------------------------------------------------------


def naive_evaluation(model, pictures, sigma_255, seed=0):
    """Image by image in the order of the paper, with scikit-image's PSNR of 8-bit images."""
    values = []
    for index, picture in enumerate(pictures):
        clean = picture.numpy().astype(np.float32) / 255
        epsilon = torch.randn((1, *clean.shape), generator=rng.generator(seed, index, 0, "test noise")).numpy()[0]
        noisy = torch.from_numpy(clean + np.float32(sigma_255 / 255) * epsilon)[None]
        with torch.no_grad():
            denoised = (noisy - model(noisy))[0].numpy()
        eight_bit = np.rint(np.clip(denoised, 0, 1) * 255).astype(np.uint8)
        values.append(peak_signal_noise_ratio(picture.numpy(), eight_bit, data_range=255))
    return values


def trained_a_little(**settings):
    """A network whose output is neither its input nor far from an image."""
    model = randomised(network(**settings)).eval()
    with torch.no_grad():
        model.layers[-1].weight.mul_(0.05)
        model.layers[-1].bias.mul_(0.05)
    return model


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_evaluation_against_a_loop_over_images(channels, batch_norm):
    model = trained_a_little(depth=4, width=8, channels=channels, batch_norm=batch_norm)
    pictures = images((channels, 31, 47), (channels, 47, 31), (channels, 24, 24), (channels, 1, 9))
    for sigma_255, seed in ((25, 0), (50, 3)):
        found = dncnn.evaluate(model, pictures, sigma_255, seed=seed)
        expected = naive_evaluation(model, pictures, sigma_255, seed)
        assert isinstance(found, list) and len(found) == 4 and all(isinstance(value, float) for value in found)
        assert found == pytest.approx(expected, abs=2e-3)
        assert max(expected) - min(expected) > 0.01  # a mixed-up order would be seen


def test_evaluation_of_the_identity_gives_the_psnr_of_the_noise():
    """On a gray image that no noise leaves [0, 1] in; quantisation adds 1/12 of a squared level."""
    model = network(depth=3, width=4, zero_last=True).eval()
    picture = torch.full((1, 400, 400), 128, dtype=torch.uint8)
    expected = 10 * math.log10(255**2 / (15**2 + 1 / 12))
    tolerance = 5 * 10 / math.log(10) * math.sqrt(2 / 160_000)  # 5 standard errors of so many pixels
    assert dncnn.evaluate(model, [picture], 15) == pytest.approx([expected], abs=tolerance)


def test_evaluation_clamps_and_rounds():
    """What leaves [0, 1] or stays within half a level of the truth costs nothing."""
    model = network(depth=2, width=2, batch_norm=False, zero_last=True).eval()
    white = torch.full((1, 16, 16), 255, dtype=torch.uint8)
    with torch.no_grad():
        model.layers[-1].bias.fill_(-0.4)  # the residual: 0.4 is added
    assert dncnn.evaluate(model, [white], 0) == [math.inf]
    gray = torch.full((1, 16, 16), 100, dtype=torch.uint8)
    with torch.no_grad():
        model.layers[-1].bias.fill_(-0.45 / 255)
    assert dncnn.evaluate(model, [gray], 0) == [math.inf]


def test_evaluation_has_noise_of_its_own_for_each_image_and_seed():
    model = trained_a_little(depth=3, width=8)
    picture = images((1, 32, 32))[0]
    first = dncnn.evaluate(model, [picture, picture], 25)
    assert first == dncnn.evaluate(model, [picture, picture], 25)
    assert first[0] != first[1]
    assert dncnn.evaluate(model, [picture], 25) == first[:1]
    assert dncnn.evaluate(model, [picture], 25, seed=1)[0] not in first


def test_evaluation_leaves_the_network_as_it_is():
    model = trained_a_little(depth=3, width=8)
    before = copy.deepcopy(model.state_dict())
    dncnn.evaluate(model, images((1, 16, 16)), 25)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


# --- errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_denoising_integer_images(dtype):
    with pytest.raises(TypeError, match=str(dtype)):
        network(depth=2, width=2).denoise(torch.ones(1, 1, 8, 8, dtype=dtype))


@pytest.mark.parametrize(("channels", "given", "kind"), [(1, 3, "gray"), (3, 1, "colour"), (1, 2, "gray")])
def test_denoising_images_of_other_channels(channels, given, kind):
    with pytest.raises(ValueError, match=f"{given} channels, but this network was made for {channels} .{kind}"):
        network(depth=2, width=2, channels=channels).denoise(torch.rand(1, given, 8, 8))


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (1, 1, 1, 8, 8)], ids=str)
def test_denoising_images_of_a_wrong_number_of_dimensions(shape):
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        network(depth=2, width=2).denoise(torch.rand(shape))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_denoising_keeps_the_type_of_the_images(dtype):
    """The network computes in float32; what is subtracted takes the type of the wider of the two."""
    model = randomised(network(depth=3, width=4)).eval()
    noisy = torch.rand(1, 1, 9, 9, generator=seeded()).to(dtype)
    denoised = model.denoise(noisy)
    assert denoised.dtype == torch.promote_types(dtype, torch.float32)
    assert torch.allclose(denoised.float(), model.denoise(noisy.float()), atol=1e-6)


def test_denoising_in_training_mode_is_refused():
    """Batch normalisation would take the statistics of the test image, and change its own."""
    model = network(depth=3, width=4).train()
    before = model.layers[3].running_mean.clone()
    with pytest.raises(RuntimeError, match=r"call its eval\(\) before denoise"):
        model.denoise(torch.rand(1, 1, 8, 8))
    assert torch.equal(model.layers[3].running_mean, before)
    network(depth=3, width=4, batch_norm=False).train().denoise(torch.rand(1, 1, 8, 8))  # where there is none it is harmless


@pytest.mark.parametrize("shape", [(1, 1, 0, 8), (0, 1, 8, 8)], ids=str)
def test_denoising_nothing(shape):
    with pytest.raises(ValueError, match="no pixel"):
        network(depth=2, width=2).denoise(torch.rand(shape))


def test_evaluating_float_images():
    with pytest.raises(TypeError, match="uint8"):
        dncnn.evaluate(network(depth=2, width=2), [torch.rand(1, 8, 8)], 25)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"sigma_255": (-1, 5)}, "between 0 and 255"),
        ({"sigma_255": (30.0, 10.0)}, "lowest and a highest"),
        ({"sigma_255": (0, 256)}, "between 0 and 255"),
        ({"sigma_255": (25.0,)}, "lowest and a highest"),
        ({"sigma_255": (5.0, 25.0, 55.0)}, "lowest and a highest"),
        ({"sigma_255": (math.nan, 25.0)}, "sigma_255"),
        ({"sigma_255": (0.0, math.nan)}, "sigma_255"),
        ({"scales": ()}, "scales"),
        ({"scales": (1.0, 0.0)}, "positive"),
        ({"scales": (1.0, -0.5)}, "positive"),
        ({"depth": 1}, "depth = 1"),
        ({"depth": -3}, "depth ≥ 2"),
        ({"width": 0}, "width ≥ 1"),
        ({"channels": 2}, "channels = 2"),
        ({"channels": 0}, "1 .gray. or 3"),
        ({"steps": -1}, "steps = -1"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"log_every": 0}, "log_every = 0"),
        ({"save_every": 0}, "save_every = 0"),
        ({"warmup_steps": -1}, "warmup_steps = -1"),
        ({"optimizer": "adagrad"}, "adam, sgd"),
        ({"schedule": "linear"}, "cosine, exponential, drop"),
        ({"precision": "16"}, "32-true"),
        ({"schedule": "exponential", "final_learning_rate": 0.0}, "final_learning_rate > 0"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(setting, message):
    with pytest.raises(ValueError, match=message):
        dncnn.Settings(**setting)


def test_limits_of_the_settings_are_allowed():
    dncnn.Settings(depth=2, width=1, channels=3, sigma_255=(0, 255), steps=0, batch_size=1)
    dncnn.Settings(sigma_255=(0.0, 0.0))


@pytest.mark.parametrize("name", ["Depth", "layers", "sigma", "lr", "patchsize"])
def test_unknown_setting(name):
    with pytest.raises(TypeError, match=name):
        dncnn.Settings(**{name: 5})


def test_settings_have_names_and_do_not_change():
    with pytest.raises(TypeError):
        dncnn.Settings(17)
    with pytest.raises(dataclasses.FrozenInstanceError):
        dncnn.Settings().depth = 20
    assert dataclasses.replace(dncnn.Settings(), depth=20).depth == 20
    with pytest.raises(ValueError, match="depth = 1"):
        dataclasses.replace(dncnn.Settings(), depth=1)


@pytest.mark.parametrize("sigma_255", [25, 25.0, None])
def test_one_number_in_place_of_a_range_is_explained(sigma_255):
    with pytest.raises(ValueError, match=f"sigma_255 = {sigma_255}"):
        dncnn.Settings(sigma_255=sigma_255)


# --- published weights ----------------------------------------------------------------------------------------------------


def published(layout, depth=5, width=6, channels=1):
    """A network in the layout in which others publish DnCNN, with its state dict: (module, state, eps)."""
    generator = seeded(1)

    def conv(inputs, outputs, bias):
        layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        with torch.no_grad():
            layer.weight.normal_(0, 0.3, generator=generator)
            if bias:
                layer.bias.normal_(0, 0.1, generator=generator)
        return layer

    bias, eps, prefix = {
        "authors, folded": (True, 1e-4, "model."),
        "authors, unfolded": (True, 1e-4, "model."),
        "port": (False, 1e-5, "module.dncnn."),
        "bare": (False, 1e-5, ""),
    }[layout]
    layers = [conv(channels, width, bias), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [conv(width, width, bias), *([] if layout == "authors, folded" else [nn.BatchNorm2d(width, eps=eps)]), nn.ReLU()]
    stack = nn.Sequential(*layers, conv(width, channels, bias))
    for layer in stack:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3, generator=generator)
            layer.running_var.uniform_(1e-4, 2, generator=generator)  # so small that eps counts
            nn.init.normal_(layer.weight, 0.9, 0.5, generator=generator)
            nn.init.normal_(layer.bias, 0, 0.2, generator=generator)
    return stack.eval(), {prefix + name: tensor for name, tensor in stack.state_dict().items()}, eps


LAYOUTS = ["authors, folded", "authors, unfolded", "port", "bare"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_weights(layout, channels):
    stack, state, eps = published(layout, channels=channels)
    found = dncnn.from_published(state, eps=eps)
    noisy = torch.rand(2, channels, 13, 14, generator=seeded())
    with torch.no_grad():
        expected = stack(noisy)
        assert (found(noisy) - expected).abs().max() < 1e-5 * max(1, expected.abs().max())
    assert not found.training and found.channels == channels


def test_published_weights_of_more_than_ten_layers_are_in_the_order_of_their_numbers():
    """As text, "model.10" comes before "model.2"."""
    stack, state, eps = published("authors, folded", depth=12)
    shuffled = dict(sorted(state.items(), reverse=True))
    noisy = torch.rand(1, 1, 30, 30, generator=seeded())
    with torch.no_grad():
        expected = stack(noisy)
        assert (dncnn.from_published(shuffled, eps=eps)(noisy) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_eps_counts():
    stack, state, eps = published("port")
    noisy = torch.rand(1, 1, 9, 9, generator=seeded())
    with torch.no_grad():
        assert (dncnn.from_published(state, eps=1e-2)(noisy) - stack(noisy)).abs().max() > 1e-3


def changed(state, **changes):
    return {**state, **changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"state_dict": s}, '"state_dict" is no tensor of a numbered layer'),
        (lambda s: {"epoch": 3, **s}, '"epoch" is no tensor'),
        (lambda s: {}, "are not those of a DnCNN"),
        (lambda s: {n: t for n, t in s.items() if ".2." not in n}, "neither a convolution nor"),
        (lambda s: {n: t for n, t in s.items() if n != "module.dncnn.3.running_var"}, "layer 3, with"),
        (lambda s: {n: t for n, t in s.items() if ".0." not in n}, "are not those of a DnCNN"),
        (lambda s: changed(s, **{"module.dncnn.0.weight": torch.rand(6, 1, 5, 5)}), "5, 5"),
    ],
)
def test_weights_that_are_not_a_dncnn(change, message):
    state = published("port")[1]
    with pytest.raises(weights.WeightsError, match=message):
        dncnn.from_published(change(state))


# --- import ---------------------------------------------------------------------------------------------------------------

HEAVY = ("lightning_fabric", "torchvision", "matplotlib", "skimage", "sklearn", "IPython", "mlxtend", "torch._dynamo")


def test_importing_costs_little_more_than_torch():
    """In a process of its own: no heavy package comes along, nothing is printed, no random number is drawn."""
    code = f"""
import json, sys, time
import torch
state, there = torch.get_rng_state(), set(sys.modules)
began = time.process_time()  # of the processor: other work on the machine does not lengthen it
import course_lib.denoising.dncnn
seconds = time.process_time() - began
new = sorted(set({HEAVY!r}) & (set(sys.modules) - there))
print(json.dumps([seconds, new, torch.equal(state, torch.get_rng_state()), sorted(set({HEAVY!r}) & there)]))
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert told.returncode == 0, told.stderr
    seconds, new, untouched, before = json.loads(told.stdout)  # fails where the import printed something
    assert new == []
    assert set(before) <= {"torch._dynamo"}  # what torch itself imported is not ours, but must not hide ours
    assert seconds < 0.9  # three times the goal
    assert untouched
