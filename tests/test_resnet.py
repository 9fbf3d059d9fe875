"""The residual networks: their sizes, their shortcuts, and what they take over from the data."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import training
from course_lib.data import Dataset
from course_lib.noisy_classification import pixel_regularisation, resnet
from course_lib.noisy_classification.resnet import Block, ClassifierSettings, ResNet, ResNet18

SMALL = ClassifierSettings(blocks=1, width=4, size=8, batch_size=4)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=12, channels=3, size=8):
    images = torch.randint(256, (count, channels, size, size), dtype=torch.uint8, generator=seeded())
    return Dataset("drawn", images, "drawn", tuple(map(str, range(count))), torch.arange(count) % 3, tuple("abc"))


@pytest.mark.parametrize(
    ("blocks", "channels", "layers", "parameters"),
    [(3, 3, 20, 269_722), (18, 3, 110, 1_727_962), (3, 1, 20, 269_722 - 288), (1, 3, 8, 75_290)],
)
def test_sizes(blocks, channels, layers, parameters):
    settings = ClassifierSettings(blocks=blocks, channels=channels)
    model = ResNet(settings)
    assert settings.layers == layers and sum(p.numel() for p in model.parameters()) == parameters
    with_weights = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(with_weights) == layers, "shortcuts have none"


def test_resnet_18_is_that_of_the_paper():
    model = ResNet18(ClassifierSettings(size=64, classes=1000))
    assert sum(p.numel() for p in model.parameters()) == 11_689_512
    assert model.eval()(torch.rand(2, 3, 64, 64)).shape == (2, 1000)


@pytest.mark.parametrize(("inputs", "channels", "stride"), [(4, 4, 1), (4, 8, 2)])
def test_a_block_without_convolutions_is_its_shortcut(inputs, channels, stride):
    """Every second pixel, filled up with zeros: option A."""
    block = Block(inputs, channels, stride).eval()
    nn.init.zeros_(block.norm2.weight)
    x = torch.rand(2, inputs, 6, 6, generator=seeded())
    made = block(x)
    for y in range(made.shape[2]):
        for z in range(made.shape[3]):
            assert torch.equal(made[:, :inputs, y, z], x[:, :, stride * y, stride * z])
    assert made.shape == (2, channels, 6 // stride, 6 // stride) and not made[:, inputs:].any()


def test_a_network_against_its_layers_one_after_another():
    model = ResNet(SMALL, seed=1).eval()
    nn.init.uniform_(model.mean, generator=seeded())
    x = torch.rand(2, 3, 8, 8, generator=seeded())
    conv, norm, _ = model.stem
    z = F.relu(F.batch_norm(F.conv2d(x - model.mean, conv.weight, padding=1), norm.running_mean, norm.running_var, norm.weight, norm.bias))
    for stage in model.stages:
        for block in stage:
            a = F.conv2d(z, block.conv1.weight, stride=block.stride, padding=1)
            a = F.relu(F.batch_norm(a, block.norm1.running_mean, block.norm1.running_var, block.norm1.weight, block.norm1.bias))
            a = F.conv2d(a, block.conv2.weight, padding=1)
            a = F.batch_norm(a, block.norm2.running_mean, block.norm2.running_var, block.norm2.weight, block.norm2.bias)
            kept = z[:, :, :: block.stride, :: block.stride]
            z = F.relu(a + torch.cat([kept, torch.zeros(2, a.shape[1] - kept.shape[1], *a.shape[2:])], 1))
    assert torch.allclose(model(x), F.linear(z.mean((2, 3)), model.head.weight, model.head.bias), atol=1e-6)


def test_initial_weights_are_a_function_of_the_seed():
    a, b, c = (ResNet(SMALL, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for name in a) and not torch.equal(a["head.weight"], c["head.weight"])


def test_it_compiles_in_one_graph():
    model = torch.compile(ResNet(SMALL), fullgraph=True, backend="eager")
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("centred", ["pixel", "channel", "none"])
def test_a_training_gives_the_network_the_mean_of_its_images(centred):
    shown = pictures()
    plan = pixel_regularisation.Settings(blocks=1, width=4, size=8, batch_size=4, steps=2, classes=3, centred=centred, precision="32-true")
    model = ResNet(plan)
    pool = pixel_regularisation.prepare(shown, plan)
    training.fit(model, pool, pixel_regularisation, plan, progress=False)
    mean = torch.zeros(3, 8, 8, dtype=torch.float64)
    for image in shown.images:
        mean += image / 255 / len(shown)
    if centred == "channel":
        mean = mean.mean(dim=(1, 2), keepdim=True).expand(3, 8, 8)
    assert torch.allclose(model.mean.double(), torch.zeros_like(mean) if centred == "none" else mean, atol=1e-6)


def test_a_resumed_training_keeps_the_mean(tmp_path):
    plan = pixel_regularisation.Settings(blocks=1, width=4, size=8, batch_size=4, steps=4, classes=3, save_every=2, precision="32-true")
    whole, again, pool = ResNet(plan), ResNet(plan), pixel_regularisation.prepare(pictures(), plan)
    training.fit(whole, pool, pixel_regularisation, plan, progress=False)
    draw = pixel_regularisation.batch

    class Stopping:
        before_training, step = pixel_regularisation.before_training, pixel_regularisation.step

        @staticmethod
        def batch(pool, draws, settings):
            if draws.step == 3:
                raise MemoryError
            return draw(pool, draws, settings)

    file = tmp_path / "a.ckpt"
    with pytest.raises(MemoryError):
        training.fit(again, pool, Stopping, plan, checkpoint=file, progress=False)
    resumed = ResNet(plan, seed=5)
    training.fit(resumed, pool, pixel_regularisation, plan, checkpoint=file, resume=True, progress=False)
    assert all(torch.equal(t, resumed.state_dict()[name]) for name, t in whole.state_dict().items())


def test_logits_come_in_parts():
    model = ResNet(SMALL).eval()
    images = torch.rand(5, 3, 8, 8, generator=seeded())
    assert torch.allclose(resnet.logits(model, images, at_once=2), model(images), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(SMALL, blocks=0), "blocks = 0, but it must be at least 1"),
        (lambda: replace(SMALL, classes=1), "classes = 1, but it must be at least 2"),
        (lambda: replace(SMALL, centred="all"), 'centred = "all", but it must be one of pixel, channel, none'),
        (lambda: resnet.prepare(pictures(channels=1), SMALL), r"images are \(1, 8, 8\), but channels = 3, size = 8"),
        (lambda: resnet.prepare(pictures(), replace(SMALL, classes=2)), "labels are 0 to 2, but there are classes = 2"),
        (lambda: resnet.prepare(replace(pictures(), labels=None), SMALL), "drawn has no labels"),
        (lambda: resnet.logits(ResNet(SMALL), 255 * torch.rand(2, 3, 8, 8)), "0–255 scale"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
