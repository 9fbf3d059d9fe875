"""BF-CNN against its paper: nothing is added anywhere, it scales with its input, and its filters can be read."""

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from course_lib import metrics, noise, training
from course_lib.denoising import bfcnn, dncnn


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(cls=bfcnn.BFCNN, **settings):
    return cls(bfcnn.Settings(**{"depth": 5, "width": 8, **settings}))


def randomised(model):
    """Statistics and factors as after a training."""
    generator = seeded(1)
    for layer in model.layers:
        if isinstance(layer, bfcnn.BiasFreeNorm):
            layer.running_var.uniform_(0.3, 2, generator=generator)
            nn.init.normal_(layer.weight, 0.9, 0.4, generator=generator)
    return model.eval()


def test_parameters_of_the_paper():
    model = bfcnn.BFCNN(bfcnn.Settings())
    assert sum(p.numel() for p in model.parameters() if p.dim() == 4) == 664_704
    assert sum(p.numel() for p in model.parameters()) == 665_856
    assert sum(p.numel() for p in bfcnn.folded(model).parameters()) == 664_704
    assert not [name for name, _ in model.named_parameters() if "bias" in name]


def test_normalisation_by_numpy():
    """Training: the deviation about the mean, ε outside of the root; evaluation: the running variance. Nothing is subtracted."""
    norm = bfcnn.BiasFreeNorm(3)
    nn.init.normal_(norm.weight, generator=seeded())
    x = torch.randn(4, 3, 5, 6, generator=seeded(1)) * 2 + 1
    variance = x.numpy().transpose(1, 0, 2, 3).reshape(3, -1).var(axis=1)
    gamma = norm.weight.detach().numpy()
    expected = x.numpy() * (gamma / (np.sqrt(variance) + 1e-5))[:, None, None]
    assert np.allclose(norm.train()(x).detach().numpy(), expected, atol=1e-5)
    assert np.allclose(norm.running_var.numpy(), 0.9 + 0.1 * variance, atol=1e-5)
    expected = x.numpy() * (gamma / (np.sqrt(norm.running_var.numpy()) + 1e-5))[:, None, None]
    before = norm.running_var.clone()
    assert np.allclose(norm.eval()(x).detach().numpy(), expected, atol=1e-5)
    assert torch.equal(norm.running_var, before)


@pytest.mark.parametrize("alpha", [0.5, 2.0, 10.0])
def test_homogeneous_in_evaluation_mode(alpha):
    noisy = torch.rand(1, 1, 24, 24, generator=seeded())
    assert bfcnn.homogeneity_gap(randomised(network()), noisy, alpha) < 1e-4
    biased = network(dncnn.DnCNN, batch_norm=False).eval()
    for layer in biased.layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.bias, 0, 0.1, generator=seeded())
    assert bfcnn.homogeneity_gap(biased, noisy, alpha) > 1e-2


def test_not_homogeneous_in_training_mode_nor_for_negative_factors():
    model, noisy = network(), torch.rand(2, 1, 24, 24, generator=seeded())
    with torch.no_grad():
        residual, doubled = model.train()(noisy), model(2 * noisy)
    assert (doubled - 2 * residual).abs().max() > 0.1 * residual.abs().max(), "the batch's deviation scales with the input"
    model = randomised(network())
    assert (model.denoise(-noisy) + model.denoise(noisy)).abs().max() > 1e-2


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_factors_that_are_not_positive(alpha):
    with pytest.raises(ValueError, match="above 0"):
        bfcnn.homogeneity_gap(network().eval(), torch.rand(1, 1, 8, 8), alpha)


def test_a_filter_makes_its_pixel():
    """The Jacobian's row times the image is the result, and lies inside the receptive field."""
    model = randomised(network()).double()
    noisy = torch.rand(1, 1, 21, 23, generator=seeded(), dtype=torch.float64)
    for row, column in ((10, 11), (0, 0), (20, 5)):
        averaged = (bfcnn.filter_at(model, noisy, row, column) * noisy[0, 0]).sum().item()
        assert averaged == pytest.approx(model.denoise(noisy)[0, 0, row, column].item(), abs=1e-5)  # forward rounds to float32
    reached = bfcnn.filter_at(model, noisy, 10, 11).nonzero()
    assert (reached.min(0).values.tolist(), reached.max(0).values.tolist()) == ([5, 6], [15, 16])


@pytest.mark.parametrize(
    ("shape", "pixel"), [((2, 1, 8, 8), (0, 0)), ((1, 3, 8, 8), (0, 0)), ((1, 1, 8, 8), (8, 0)), ((1, 1, 8, 8), (0, -1))]
)
def test_filters_that_cannot_be(shape, pixel):
    with pytest.raises(ValueError, match="one gray image"):
        bfcnn.filter_at(network().eval(), torch.rand(shape), *pixel)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_folding_changes_no_output(channels, batch_norm):
    model = randomised(network(channels=channels, batch_norm=batch_norm))
    noisy = torch.rand(2, channels, 11, 14, generator=seeded())
    expected = model.denoise(noisy)
    assert (bfcnn.folded(model).denoise(noisy) - expected).abs().max() < 1e-5 * max(1, expected.abs().max())


def test_evaluate_clamps_and_does_not_round():
    model = network(zero_last=True).eval()  # returns its input
    images = [torch.randint(256, (1, 20, 22), generator=seeded(s)).to(torch.uint8) for s in range(2)]
    for index, (image, value) in enumerate(zip(images, bfcnn.evaluate(model, images, 30), strict=True)):
        clean = image[None].float() / 255
        noisy = noise.test_noise(clean, 30 / 255, index)
        assert value == pytest.approx(metrics.psnr(noisy, clean, protocol="clamped").item(), abs=1e-4)


def test_training_and_one_graph():
    plan = bfcnn.Settings(depth=3, width=4, patch_size=12, batch_size=4, steps=3, scales=(1.0,), precision="32-true")
    images = torch.randint(256, (2, 1, 30, 30), generator=seeded()).to(torch.uint8)
    model = bfcnn.BFCNN(plan)
    before = model.layers[0].weight.clone()
    training.fit(model, bfcnn.prepare(images, plan), bfcnn, plan, progress=False)
    assert not torch.equal(model.layers[0].weight, before) and not model.training
    counter = CompileCounter()
    compiled = torch.compile(model.train(), backend=counter, fullgraph=True, dynamic=False)
    noisy = torch.rand(2, 1, 12, 12)
    dncnn.loss(compiled(noisy), torch.zeros_like(noisy)).backward()
    assert counter.frame_count == 1


def test_denoising_in_training_mode_is_refused():
    with pytest.raises(RuntimeError, match=r"eval\(\)"):
        network().train().denoise(torch.rand(1, 1, 8, 8))
