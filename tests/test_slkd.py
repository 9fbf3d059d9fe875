"""The small restorer and its two teachers: losses against loops, teachers that nothing changes, tasks, and wrong input."""

import copy
import math

import numpy as np
import pytest
import torch

from course_lib import data, degradations, recipes, recording, results, runs, training
from course_lib.denoising import common
from course_lib.frozen import Frozen
from course_lib.noisy_classification import brisque, restorer, slkd
from course_lib.recipes.restoration import NAMES
from course_lib.rng import Draws

SMALL = dict(channels=1, width=4, blocks=1, patch_size=32, steps=3, batch_size=2)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def perturbed(network, seed=0):
    """The same with random weights where it begins at zero."""
    for number, parameter in enumerate(network.parameters()):
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=seeded(seed + number))
    return network


def student(**changes):
    settings = slkd.Settings(**{**SMALL, **changes})
    teachers = {
        f"{reads}_teacher": Frozen(perturbed(restorer.Restorer(restorer.Settings(**{**SMALL, "width": 6, "reads": reads}))))
        for reads in ("degraded", "clean")
    }
    return slkd.Student(settings, **teachers), settings


# --- losses ---------------------------------------------------------------------------------------------------------------


def test_naturalness_by_definition():
    own = [torch.randn(2, 3, side, side, generator=seeded(side), dtype=torch.float64) for side in (8, 6)]
    target = [torch.randn(2, 3, side, side, generator=seeded(side + 1), dtype=torch.float64) for side in (8, 6)]
    total = 0.0
    for f, t in zip(own, target, strict=True):
        scale = t.std().item()
        f, t = (brisque.mscn(one / scale, 0.01).numpy() for one in (f, t))
        total += np.abs(f - t).mean()
        differences = []
        for b in range(2):
            for c in range(3):
                differences.append(abs(f[b, c].var(ddof=1) - t[b, c].var(ddof=1)))
                for down, right in ((0, 1), (1, 0), (1, 1), (-1, 1)):
                    means = []
                    for one in (f[b, c], t[b, c]):
                        side = len(one)
                        means.append(np.mean([one[y, x] * one[y + down, x + right] for y in range(side) for x in range(side - right)
                                              if 0 <= y + down < side]))  # fmt: skip
                    differences.append(abs(means[0] - means[1]))
        total += np.mean(differences)
    assert abs(slkd.naturalness(tuple(own), tuple(target)).item() - total / 2) < 1e-4  # the loss is in float32
    assert slkd.naturalness(tuple(own), tuple(own)).item() == 0


def test_structure_by_definition():
    own, target = (torch.randn(2, 3, 9, 8, generator=seeded(s), dtype=torch.float64) for s in (0, 1))
    deviations = [
        np.array([one[b, c, y : y + 4, x : x + 4].numpy().std(ddof=1) for b in range(2) for c in range(3) for y in (0, 4) for x in (0, 4)])
        for one in (own, target)
    ]
    expected = np.abs(deviations[0] - deviations[1]).mean() / deviations[1].mean()
    assert abs(slkd.structure((own,), (target,), 4).item() - expected) < 1e-4
    assert slkd.structure((own,), (own,), 4).item() == 0


@pytest.mark.parametrize("loss", [slkd.naturalness, lambda student, teacher: slkd.structure(student, teacher, 4)])
def test_features_that_do_not_fit_are_not_stretched(loss):
    features = torch.rand(2, 3, 16, 16)
    with pytest.raises(ValueError, match=r"student \(2, 3, 16, 16\) and teacher \(2, 1, 16, 16\) differ"):
        loss((features,), (features[:, :1],))
    for other in ((), (features, features)):
        with pytest.raises(ValueError, match=f"there are 1 levels of the student and {len(other)} of the teacher"):
            loss((features,), other)


def test_divergence_by_definition():
    own, target = (torch.rand(2, 3, 4, 5, generator=seeded(s), dtype=torch.float64) for s in (0, 1))
    total = 0.0
    for b in range(2):
        for c in range(3):
            p, q = (np.exp(one[b, c].numpy().ravel() / 0.5) for one in (target, own))
            p, q = p / p.sum(), q / q.sum()
            total += (p * np.log(p / q)).sum()
    assert abs(slkd.divergence(own, target, 0.5).item() - 0.25 * total / 6) < 1e-12


# --- the student ----------------------------------------------------------------------------------------------------------


def test_teachers_are_neither_changed_nor_trained_nor_shipped():
    model, settings = student()
    before = [copy.deepcopy(t.network.state_dict()) for t in (model.degraded_teacher, model.clean_teacher)]
    images = [torch.randint(256, (1, 40, 48), generator=seeded(s), dtype=torch.uint8) for s in range(2)]
    start = copy.deepcopy(model.state_dict())
    training.fit(model, slkd.prepare(images, settings), slkd, settings, progress=False)
    for held, was in zip((model.degraded_teacher, model.clean_teacher), before, strict=True):
        assert all(torch.equal(value, was[name]) for name, value in held.network.state_dict().items())
        assert all(p.grad is None for p in held.network.parameters())
    assert not any("teacher" in name for name in model.state_dict())
    assert not all(torch.equal(value, start[name]) for name, value in model.state_dict().items())
    learnt = {name for name, value in model.named_parameters() if not torch.equal(value, start[name])}
    assert any(name.startswith("to_degraded") for name in learnt) and any(name.startswith("to_clean") for name in learnt)


def test_a_weight_of_zero_leaves_loss_and_teacher_out():
    settings = slkd.Settings(**SMALL, naturalness=0.0, structure=0.0, divergence=0.0)
    alone = slkd.Student(settings)
    assert {name.split(".")[0] for name, _ in alone.named_parameters()} == {"student"}
    pair = slkd.batch(slkd.prepare([torch.zeros(1, 40, 40, dtype=torch.uint8)], settings), Draws(0, 0, 0, "cpu"), settings)
    loss, values = slkd.step(alone, pair, settings)
    assert loss.item() == pytest.approx((pair[0] - pair[1]).abs().mean().item(), rel=1e-5), "a restorer begins as the identity"
    assert set(values) == {"psnr", "naturalness", "structure", "divergence"}
    plain, _ = restorer.step(alone.student, pair, restorer.Settings(**SMALL))
    assert torch.equal(plain, loss), "the student alone is the plain restorer"


def test_a_student_of_its_own_size_and_start_costs_a_fifth_at_most():
    teacher, small = restorer.Restorer(restorer.Settings(steps=1)), restorer.Restorer(slkd.Settings(steps=1))
    count = [sum(p.numel() for p in network.parameters()) for network in (teacher, small)]
    assert count[1] <= 0.2 * count[0] and restorer.flops(small) <= 0.2 * restorer.flops(teacher)


def test_flops_of_a_convolution_are_counted():
    settings = restorer.Settings(**SMALL)
    network = restorer.Restorer(settings)
    by_hand = 0
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            level = {"first": 0, "last": 0}.get(name)
            if level is None:
                part, number = name.split(".")[:2]
                level = {"encoder": int(number), "decoder": 1 - int(number), "down": int(number) + 1, "up": 2 - int(number)}[part]
            by_hand += 2 * layer.weight.numel() * (64 // 2**level) ** 2
    assert restorer.flops(network, 64) == by_hand


def test_compile():
    model, settings = student()
    images = [torch.randint(256, (1, 40, 40), generator=seeded(), dtype=torch.uint8)]
    pair = slkd.batch(slkd.prepare(images, settings), Draws(0, 0, 0, "cpu"), settings)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(*pair).student.image, model(*pair).student.image)


def test_restores_images_of_any_size_and_large_ones_in_tiles():
    network = perturbed(restorer.Restorer(restorer.Settings(**SMALL))).eval()
    image = torch.rand(1, 1, 61, 90, generator=seeded())
    whole = network.restore(image)
    assert whole.shape == image.shape
    tiled = common.in_tiles(lambda part: network.restore(part), image[..., :60, :88], radius=network.radius(), multiple=4, above=1, side=16)
    assert (tiled - network.restore(image[..., :60, :88])).abs().max() < 1e-5


def test_the_radius_is_that_of_the_gradient():
    network = perturbed(restorer.Restorer(restorer.Settings(**SMALL))).double()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.uniform_(layer.weight, 0.01, 0.1, generator=seeded())
            torch.nn.init.constant_(layer.bias, 1.0)
    furthest = 0
    for where in range(76, 80):
        image = torch.zeros(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
        network(image).image[0, 0, where, where].backward()
        rows = image.grad[0, 0].abs().sum(1).nonzero().squeeze(1)
        furthest = max(furthest, where - rows.min().item(), rows.max().item() - where)
    assert network.radius() - 8 <= furthest <= network.radius()


# --- tasks ----------------------------------------------------------------------------------------------------------------


def test_motion_is_an_average_along_a_line():
    kernels = degradations.line_kernels(torch.tensor([5.0, 5.0, 1.0]), torch.tensor([0.0, math.pi / 2, 1.0]), 7)
    flat = torch.zeros(7, 7)
    flat[3, 1:6] = 0.2
    assert torch.allclose(kernels[0], flat, atol=1e-6) and torch.allclose(kernels[1], flat.T, atol=1e-6)
    assert kernels[2, 3, 3] > 0.3 and torch.allclose(kernels.sum((1, 2)), torch.ones(3))


def test_motion_blur_by_a_loop():
    clean = torch.rand(2, 3, 20, 24, generator=seeded(), dtype=torch.float64)
    blurred = degradations.motion_blur(clean, (4.0, 9.0), 0.0, seeded(1))
    draws = seeded(1)
    ways = 4 + 5 * torch.rand(2, generator=draws, dtype=torch.float64)
    angles = math.pi * torch.rand(2, generator=draws, dtype=torch.float64)
    kernels = degradations.line_kernels(ways, angles, 11).numpy()
    for b in range(2):
        padded = np.pad(clean[b].numpy(), ((0, 0), (5, 5), (5, 5)), mode="edge")
        for y, x in ((0, 0), (7, 11), (19, 23)):
            expected = (padded[:, y : y + 11, x : x + 11] * kernels[b]).sum((1, 2))
            assert np.allclose(blurred[b, :, y, x].numpy(), expected)


def test_rain_is_bright_and_the_same_in_all_channels():
    clean = torch.full((2, 3, 64, 64), 0.3)
    wet = degradations.rain(clean, (0.02, 0.02), seeded())
    fallen = wet - clean
    assert fallen.min() >= -1e-6 and torch.allclose(fallen[:, :1].expand_as(fallen), fallen, atol=1e-6)
    expected = 0.02 * 0.7 / 3 * 15  # share of drops, mean brightness of their streaks, mean length
    assert 0.5 * expected < fallen.mean().item() < 1.5 * expected
    assert torch.equal(degradations.rain(clean, (0.0, 0.0), seeded()), clean)
    down, across = ((fallen[..., 1:, :] - fallen[..., :-1, :]).abs().mean(), (fallen[..., 1:] - fallen[..., :-1]).abs().mean())
    assert down < 0.7 * across, "streaks fall"


@pytest.mark.parametrize("task", restorer.TEST)
def test_a_test_image_is_the_same_for_all(task):
    clean = data.load("photos", "test").image("camera")[None, :, :40, :50] / 255
    one, again, other = (restorer.test_image(clean, task, number) for number in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other) and one.shape == clean.shape
    network = restorer.Restorer(restorer.Settings(**{**SMALL, "task": task})).eval()
    images = [torch.randint(256, (1, 30, 33), generator=seeded(s), dtype=torch.uint8) for s in range(3)]
    both = restorer.evaluate(network, images, task)
    assert restorer.evaluate(network, images, task, indices=[2, 0]) == [both[2], both[0]]


@pytest.mark.parametrize("task", restorer.TEST)
def test_a_batch_is_of_its_task(task):
    settings = restorer.Settings(**{**SMALL, "task": task})
    pool = restorer.prepare([torch.randint(256, (1, 40, 40), generator=seeded(), dtype=torch.uint8)], settings)
    degraded, clean = restorer.batch(pool, Draws(0, 0, 0, "cpu"), settings)
    assert degraded.shape == clean.shape == (2, 1, 32, 32) and not torch.equal(degraded, clean)
    again, _ = restorer.batch(pool, Draws(0, 0, 0, "cpu"), settings)
    assert torch.equal(degraded, again)


# --- wrong input ----------------------------------------------------------------------------------------------------------


def of(**changes):
    return restorer.Restorer(restorer.Settings(**{**SMALL, **changes}))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: restorer.Settings(**{**SMALL, "blocks": 0}), "blocks = 0"),
        (lambda: restorer.Settings(**SMALL, task="fog"), "noise, motion, rain"),
        (lambda: restorer.Settings(**{**SMALL, "patch_size": 30}), "multiple of 4"),
        (lambda: slkd.Settings(**SMALL, temperature=0.0), "the temperature is above 0"),
        (lambda: slkd.Settings(**SMALL, naturalness=-1.0), "weights are at least 0"),
        (lambda: slkd.Settings(**SMALL, block=9), "the smallest features are 8"),
        (lambda: slkd.Settings(**SMALL, reads="clean"), "for degraded images"),
        (lambda: slkd.Student(slkd.Settings(**SMALL)), "asks for degraded_teacher"),
        (lambda: slkd.Student(slkd.Settings(**SMALL), degraded_teacher=Frozen(of())), "asks for clean_teacher"),
        (lambda: slkd.Student(slkd.Settings(**SMALL), degraded_teacher=Frozen(of(reads="clean"))), "reads clean images"),
        (lambda: slkd.Student(slkd.Settings(**SMALL), degraded_teacher=Frozen(of(channels=3))), "of 3 channels"),
        (lambda: slkd.Student(slkd.Settings(**SMALL), degraded_teacher=Frozen(torch.nn.Identity())), "a Restorer is expected"),
        (lambda: degradations.motion_blur(torch.rand(1, 1, 9, 9), (0.0, 5.0), 0.0, seeded()), "length"),
        (lambda: degradations.motion_blur(torch.rand(1, 1, 9, 9), (6.0, 5.0), 0.0, seeded()), "the lowest comes first"),
        (lambda: degradations.rain(torch.rand(1, 1, 9, 9), (0.0, 0.5), seeded()), "density"),
        (lambda: restorer.test_image(torch.rand(1, 1, 9, 9), "fog", 0), "noise, motion, rain"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(ValueError) as raised:
        call()
    assert message in str(raised.value)


def test_a_range_that_is_no_pair():
    with pytest.raises(TypeError, match="a pair of the lowest and the highest"):
        degradations.rain(torch.rand(1, 1, 9, 9), 0.1, seeded())


# --- recipes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", NAMES)
def test_teachers_and_students_from_training_to_record(home, monkeypatch, task):
    """A student of two seeds is recorded after both of its teachers, names them by their hashes, and is shipped without them."""
    monkeypatch.setattr(data, "load", lambda name, split=None, **_: data.Dataset(
        name, torch.randint(256, (2, 1, 100, 108), generator=seeded(), dtype=torch.uint8), "drawn", ("one", "two")))  # fmt: skip
    tiny = {"width": "4", "steps": "2", "batch_size": "2", "precision": "32-true"}
    for teacher in (f"restorer_{task}", "restorer_clean"):
        runs.train(teacher, "quick", changes=tiny, checkpoint=home / f"{teacher}.ckpt")
        recording.record(teacher, "quick", home / f"{teacher}.ckpt")
    files = runs.train_seeds(f"slkd_{task}", "quick", range(5), changes=tiny, folder=home)
    written = recording.record(f"slkd_{task}", "quick", files)
    assert set(written["about"]["needs"]) == {"degraded_teacher", "clean_teacher"}
    assert all(len(values) == 5 for values in written["per_seed"]["photos"].values())
    assert set(written["metrics"]["photos"]) == {NAMES[task], NAMES[task].replace("psnr", "input")}
    shipped = runs.shipped(f"slkd_{task}", "quick")
    assert results.read(f"slkd_{task}", "quick")["weights"] and not any("teacher" in name for name in shipped.state_dict())
    image = torch.rand(1, 1, 21, 22, generator=seeded())
    assert shipped.restore(image).shape == image.shape


def test_a_student_alone_needs_no_teacher():
    for task in NAMES:
        for preset in ("quick", "paper"):
            alone, taught = (recipes.find(f"{name}_{task}", preset)[1] for name in ("small", "slkd"))
            assert not alone.needs and set(taught.needs) == {"degraded_teacher", "clean_teacher"}
            assert alone.settings.width == taught.settings.width and alone.settings.steps == taught.settings.steps
