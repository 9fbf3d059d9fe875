"""RotNet: exact turns, all of them in a batch, the shortcut of those that are not exact, and the network of the paper."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timing import times_as_fast
from torch import nn

from course_lib import rng, training
from course_lib.batches import to_float, to_uint8
from course_lib.data import Dataset
from course_lib.labelled import crops, flips
from course_lib.pretext import nin, rotation, supervised

QUARTERS, EIGHTHS = (0, 90, 180, 270), tuple(range(0, 360, 45))
SMALL = dict(width=4, blocks=2, size=12, padding=0, flip=False, batch_size=6, steps=3, initial_gamma="ones")


def rand(*shape, dtype=torch.float32):
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def drawn(count=10, channels=3, side=12):
    images = torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    return Dataset("drawn", images, "drawn", tuple(map(str, range(count))))


# --- turns ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quarters", [-3, 0, 1, 2, 3, 5])
def test_quarter_turns_are_those_of_numpy_without_a_rounding(quarters):
    images = rand(3, 2, 9, 9, dtype=torch.float64)
    expected = np.rot90(images.numpy(), quarters, axes=(2, 3))
    assert torch.equal(rotation.turned(images, 90 * quarters), torch.from_numpy(expected.copy()))


@pytest.mark.parametrize("degrees", [7.5, 30, 45, 100, 225, 300])
@pytest.mark.parametrize("side", [32, 33])
def test_other_turns_are_those_of_scikit_image(degrees, side):
    from skimage.transform import rotate

    images = rand(2, 1, side, side, dtype=torch.float64)
    found = rotation.turned(images, degrees)
    edge = (side - found.shape[-1]) // 2
    for image, turned in zip(images[:, 0], found[:, 0], strict=True):
        theirs = rotate(image.numpy(), degrees, order=1)[edge : side - edge, edge : side - edge]
        np.testing.assert_allclose(turned.numpy(), theirs, atol=1e-12)


@pytest.mark.parametrize(("side", "degrees", "inner"), [(32, 45, 22), (28, 45, 20), (33, 45, 23), (32, 0, 32), (32, 90, 32), (1, 45, 1)])
def test_the_largest_square_without_a_corner(side, degrees, inner):
    assert rotation.inner_side(side, degrees) == inner
    white = torch.ones(1, 1, side, side, dtype=torch.float64)
    expected = torch.ones(1, 1, inner, inner, dtype=torch.float64)
    assert torch.allclose(rotation.turned(white, degrees), expected), "nothing comes from outside"


@pytest.mark.parametrize("angles", [QUARTERS, (90, 270), EIGHTHS, (45, 0, 315)])
def test_views_against_a_loop(angles):
    images = rand(5, 3, 12, 12)
    seen, labels = rotation.views(images, angles)
    side = rotation.inner_side(12, 45) if any(a % 90 for a in angles) else 12
    assert seen.shape == (5, len(angles), 3, side, side) and labels.shape == (5, len(angles))
    for i, image in enumerate(images):
        for r, angle in enumerate(angles):
            torch.testing.assert_close(seen[i, r], rotation.turned(image[None], angle, side=side)[0], atol=1e-6, rtol=0)
            assert labels[i, r] == r
    exact = [r for r, angle in enumerate(angles) if angle % 90 == 0]
    edge = (12 - side) // 2
    for r in exact:
        expected = np.rot90(images[..., edge : 12 - edge, edge : 12 - edge].numpy(), angles[r] // 90, axes=(2, 3))
        assert torch.equal(seen[:, r], torch.from_numpy(expected.copy()))


def test_views_of_8_bit_images_are_those_of_the_same_numbers():
    images = to_uint8(rand(4, 3, 12, 12))
    for angles in (QUARTERS, EIGHTHS):
        torch.testing.assert_close(rotation.views(images, angles)[0], rotation.views(to_float(images), angles)[0], atol=1e-7, rtol=0)


def test_a_mirrored_image_exchanges_the_labels_of_90_and_270_degrees():
    """flip(rot_r(x)) = rot_−r(flip(x)): a flip after the turn would give two of the four classes wrong labels."""
    images = rand(3, 1, 8, 8)
    plain, mirrored = rotation.views(images, QUARTERS)[0], rotation.views(images.flip(-1), QUARTERS)[0]
    for r in range(4):
        assert torch.equal(plain[:, r].flip(-1), mirrored[:, -r % 4])


def test_views_are_faster_than_a_loop_over_the_images():
    """About ten times on a quiet core; what is asserted holds on a busy one too."""
    pool = np.ascontiguousarray(drawn(128, side=32).images.permute(0, 2, 3, 1).numpy())
    data = drawn(128, side=32)
    settings = rotation.Settings(batch_size=128)
    ready = rotation.prepare(data, settings)

    def ours():
        rotation.batch(ready, rng.Draws(), settings)

    def loop():
        draws, found = np.random.default_rng(0), []
        for image in pool:
            top, left = draws.integers(9, size=2)
            part = np.pad(image, ((4, 4), (4, 4), (0, 0)))[top : top + 32, left : left + 32]
            part = part[:, ::-1] if draws.integers(2) else part
            for r in range(4):
                found.append(torch.from_numpy(np.rot90(part, r).transpose(2, 0, 1).copy()).float().div(255))
        torch.stack(found)

    assert times_as_fast(ours, loop) > 3


# --- the shortcut ---------------------------------------------------------------------------------------------------------


def test_interpolation_leaves_a_trace_on_white_noise_and_quarter_turns_do_not():
    noise = rotation.white_noise(400, 32, channels=1, seed=3)
    images = to_float(noise.images)
    seen, _ = rotation.views(images, EIGHTHS)
    variance = (seen - 0.5).square().mean((0, 2, 3, 4)) / (images - 0.5).square().mean()
    assert variance[::2].tolist() == pytest.approx([1.0] * 4, abs=0.02), "the four exact ones"
    assert variance[1::2].tolist() == pytest.approx([4 / 9] * 4, abs=0.01), "the four interpolated ones"
    turned = seen[:, 1] - 0.5
    beside = (turned[..., 1:] * turned[..., :-1]).mean() / (images - 0.5).square().mean()
    assert beside.item() == pytest.approx(0.12, abs=0.01), "neighbours are correlated"


def test_white_noise_has_a_seed_and_no_content():
    one, again, other = (rotation.white_noise(5, 8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.images, again.images) and not torch.equal(one.images, other.images)
    assert one.images.shape == (5, 3, 8, 8) and one.labels is None and "seed 1" in one.source
    many = rotation.white_noise(50, 32).images.float()
    assert many.mean().item() == pytest.approx(127.5, abs=0.5) and many.std().item() == pytest.approx(32, abs=0.5)


# --- the method -----------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_all_turns():
    logits = rand(8, 4, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3] * 2)
    expected = sum(-math.log(math.exp(logits[i, labels[i]]) / sum(math.exp(v) for v in logits[i])) for i in range(8)) / 8
    assert rotation.loss(logits, labels).item() == pytest.approx(expected, abs=1e-12)


def test_a_batch_holds_all_turns_of_one_crop_of_each_image():
    settings = rotation.Settings(**{**SMALL, "padding": 2, "flip": True})
    pool = rotation.prepare(drawn(), settings)
    seen, labels = rotation.batch(pool, rng.Draws(3, 5), settings)
    draws = rng.Draws(3, 5)
    places = pool.places(rng.Draws(3, 5), 6)
    images = flips(crops(to_float(pool.images[places]), 2, draws("crops")), draws("flips"))
    assert torch.equal(seen, rotation.views(images, QUARTERS)[0]) and labels.tolist() == [[0, 1, 2, 3]] * 6


def test_evaluation_against_a_loop():
    settings = rotation.Settings(**SMALL)
    model, data = rotation.network(settings).eval(), drawn()
    expected = []
    for image in to_float(data.images):
        hits = [model(torch.rot90(image, r, (-2, -1))[None]).argmax().item() == r for r in range(4)]
        expected.append(25.0 * sum(hits))
    assert rotation.evaluate(model, data.images) == pytest.approx(expected)
    assert rotation.evaluate(model, data.images, indices=[3, 1]) == pytest.approx([expected[3], expected[1]])
    assert rotation.evaluate(model, data.images, indices=[]) == []
    for angles in ((90, 270), EIGHTHS):
        plan = rotation.Settings(**SMALL, angles=angles)
        model = rotation.network(plan).eval()
        assert rotation.evaluate(model, data.images) == rotation.evaluate(model, data.images, angles)  # its own


def test_it_learns_what_is_up():
    """Images that are bright above: every turn can be told."""
    slope = torch.linspace(220, 30, 12)[:, None].expand(12, 12)
    noise = torch.randint(-20, 21, (40, 3, 12, 12), generator=torch.Generator().manual_seed(0))
    data = replace(drawn(40), images=(slope + noise).to(torch.uint8))
    settings = rotation.Settings(**{**SMALL, "steps": 60, "batch_size": 10, "schedule": "cosine", "precision": "32-true"})
    model = rotation.network(settings)
    before = np.mean(rotation.evaluate(model.eval(), data.images))
    training.fit(model, rotation.prepare(data, settings), rotation, settings, progress=False)
    assert np.mean(rotation.evaluate(model, data.images)) > 95 > 50 > before


# --- the network ----------------------------------------------------------------------------------------------------------


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_nin_has_the_parameters_of_the_paper():
    network = rotation.network(rotation.Settings())
    assert [count(block) for block in network.blocks] == [61_376, 535_680, 406_656, 406_656]
    assert count(network.head) == 772 and count(network) == 1_411_140
    rival = supervised.network(supervised.Settings())
    assert count(rival) == 1_005_642 and count(nin.trunk(network, 2)) == 597_056
    shapes = [tuple(nin.trunk(network.eval(), block)(rand(1, 3, 32, 32)).shape[1:]) for block in (1, 2, 3, 4)]
    assert shapes == [(96, 16, 16), (192, 8, 8), (192, 8, 8), (192, 8, 8)]
    assert network(rand(2, 3, 22, 22)).shape == (2, 4), "images of any size"
    assert network.blocks[1][-1].count_include_pad and [len(block) for block in network.blocks] == [10, 10, 9, 9]


def test_initial_weights():
    """Uniform on ±1/√fan-in; γ uniform on [0, 1] as in the PyTorch of the paper's time, or 1."""
    network = rotation.network(rotation.Settings())
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
        if isinstance(layer, nn.BatchNorm2d):
            assert 0 <= layer.weight.min() < 0.1 < 0.9 < layer.weight.max() <= 1 and not layer.bias.any()
    ones = rotation.network(rotation.Settings(initial_gamma="ones"))
    assert all((m.weight == 1).all() for m in ones.modules() if isinstance(m, nn.BatchNorm2d))
    first, again, other = (rotation.network(rotation.Settings(**SMALL), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.0.weight"], other["blocks.0.0.weight"])


def test_the_input_is_normalised():
    colour, gray = nin.Normalised(3), nin.Normalised(1)
    mean = torch.tensor(nin.MEAN).view(3, 1, 1) / 255
    assert colour(mean.expand(1, 3, 2, 2)).abs().max() < 1e-6
    assert gray(torch.full((1, 1, 2, 2), sum(nin.MEAN) / 765)).abs().max() < 1e-6
    assert not list(colour.state_dict()), "constants are in no checkpoint"


def test_one_graph():
    network, images = rotation.network(rotation.Settings(**SMALL)).eval(), rand(2, 3, 12, 12)
    torch.testing.assert_close(torch.compile(network, fullgraph=True, backend="eager")(images), network(images))


def test_first_filters_have_the_normalisation_folded_in():
    network = rotation.network(rotation.Settings(width=8, blocks=2))
    network.train()(rand(4, 3, 16, 16))
    network.eval()
    layer, norm = network.blocks[0][:2]
    images, folded = rand(2, 3, 16, 16), nin.first_filters(layer, norm)
    expected = norm(layer(images))
    shift = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(F.conv2d(images, folded, padding=2) + shift[:, None, None], expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="8 filters, but the normalisation 4 channels"):
        nin.first_filters(layer, network.blocks[0][7])


def test_a_trunk_shares_its_weights():
    network = rotation.network(rotation.Settings(**SMALL))
    assert nin.trunk(network, 1)[1][0].weight is network.blocks[0][0].weight
    for block in (0, 3):
        with pytest.raises(ValueError, match="block = . but it must lie in 1 to 2|block"):
            nin.trunk(network, block)


# --- wrong input ----------------------------------------------------------------------------------------------------------

MODEL = rotation.network(rotation.Settings(**SMALL)).eval()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rotation.views(rand(1, 3, 8, 8), (0, 30)), r"angles = \(0, 30\): 30 is none of 0, 45, 90, .*, in degrees"),
        (lambda: rotation.views(rand(1, 3, 8, 8), (0, 360)), "360 is none of 0, 45"),
        (lambda: rotation.views(rand(1, 3, 8, 8), (0, -90)), "-90 is none of"),
        (lambda: rotation.views(rand(1, 3, 8, 8), (0, 0)), "at least two different ones"),
        (lambda: rotation.views(rand(1, 3, 8, 8), (90,)), "at least two different ones"),
        (lambda: rotation.views(rand(1, 3, 8, 8), (0, 22.5)), "an angle = 22.5, but it must be a whole number"),
        (lambda: rotation.views(rand(1, 3, 8, 6), QUARTERS), "only square ones"),
        (lambda: rotation.views(to_uint8(rand(3, 8, 8)), QUARTERS), "only square ones"),
        (lambda: rotation.views(255 * rand(1, 3, 8, 8), QUARTERS), "divide them by 255"),
        (lambda: rotation.turned(rand(1, 3, 8, 6), 90), "only square ones"),
        (lambda: rotation.turned(rand(1, 3, 8, 8), math.nan), "degrees = nan"),
        (lambda: rotation.turned(rand(1, 3, 8, 8), 45, side=8), "side = 8, but it must lie in 1 to "),
        (lambda: rotation.turned(rand(1, 3, 8, 8), 90, side=3), "side = 3 has not the middle of images of 8 pixels: it must be 2 or 4"),
        (lambda: rotation.inner_side(0, 45), "side = 0"),
        (lambda: rotation.Settings(angles=(0, 10)), "10 is none of"),
        (lambda: rotation.Settings(angles=()), "at least two"),
        (lambda: rotation.Settings(initial_gamma="twos"), 'initial_gamma = "twos", but it must be one of uniform, ones'),
        (lambda: rotation.Settings(blocks=1), "blocks = 1, but it must be at least 2"),
        (lambda: rotation.Settings(width=0), "width = 0, but it must be at least 2"),
        (lambda: supervised.Settings(classes=1), "classes = 1, but it must be at least 2"),
        (lambda: rotation.prepare(drawn(channels=1), rotation.Settings(**SMALL)), r"images are \(1, 12, 12\), but channels = 3, size = 12"),
        (lambda: rotation.prepare(drawn(side=16), rotation.Settings(**SMALL)), r"images are \(3, 16, 16\), but channels = 3, size = 12"),
        (lambda: rotation.prepare(replace(drawn(), images=tuple(drawn().images)), rotation.Settings(**SMALL)), "of several sizes"),
        (lambda: rotation.evaluate(MODEL, drawn().images[0]), r"the shape \(3, 12, 12\) was given, but \(N, C, H, W\)"),
        (lambda: rotation.evaluate(MODEL, drawn().images, indices=[10]), "indices has 10 in it, but there are 10"),
        (lambda: rotation.white_noise(0, 8), "count = 0"),
        (lambda: rotation.white_noise(3, 2.5), "size = 2.5, but it must be a whole number"),
    ],
)
def test_wrong_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rotation.turned(to_uint8(rand(1, 3, 8, 8)), 45), "uint8, but must be floating point"),
        (lambda: rotation.turned(rand(1, 3, 8, 8), "90"), "degrees is '90', but a number is expected"),
        (lambda: rotation.views(rand(1, 3, 8, 8).numpy(), QUARTERS), "images are a NumPy array"),
        (lambda: rotation.evaluate(MODEL, rand(2, 3, 12, 12)), "8-bit numbers"),
        (lambda: rotation.prepare(replace(drawn(), images=rand(2, 3, 12, 12)), rotation.Settings(**SMALL)), "8-bit numbers"),
    ],
)
def test_wrong_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_network_of_other_angles_or_channels():
    model = rotation.network(rotation.Settings(width=6)).eval()
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(ValueError, match="but the model tells 4 turns apart"):
        rotation.evaluate(model, images, (0, 180))
    with pytest.raises(ValueError, match="images have 1 channels, but this network was made for 3"):
        rotation.evaluate(model, images[:, :1])
