"""What `course bench` measures is what it says; how long anything takes is no matter of a test."""

import json
import math
import signal
import statistics
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import bench
import peers
import plain_loop
from course_lib import cli, data, devices, project, recipes, training
from course_lib.denoising import dncnn
from course_lib.pretext import contrastive, rotation
from course_lib.self_supervised_denoising import noise2void
from course_lib.self_supervised_denoising.noise2noise import UNet

TINY = dncnn.Settings(depth=3, width=8, batch_size=4, steps=3, patch_size=20, scales=(1.0,), precision="32-true")


def images(count=3, side=48):
    draws = torch.Generator().manual_seed(0)
    small = torch.rand(count, 1, side // 4, side // 4, generator=draws)
    return (torch.nn.functional.interpolate(small, scale_factor=4, mode="bilinear") * 255).to(torch.uint8)


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "32-true")


@pytest.mark.parametrize("settings", [TINY, dncnn.Settings(depth=6, width=32, batch_size=2, patch_size=24)])
def test_operations_against_a_counter(settings):
    """PyTorch counts the same, but for the gradient of the input, which nobody needs."""
    model = dncnn.DnCNN(settings)
    noisy = torch.rand(settings.batch_size, 1, settings.patch_size, settings.patch_size)
    with FlopCounterMode(display=False) as counter:
        dncnn.loss(model(noisy), torch.zeros_like(noisy)).backward()
    first = 2 * 9 * settings.width * noisy.numel()
    assert bench.operations(settings) == counter.get_total_flops() + first


def test_turns_alternate_and_the_median_counts():
    calls, times = [], {"a": iter([99, 1, 2, 300, 3, 2]), "b": iter([99, 5, 5, 5, 7, 7])}

    def timed(name):
        def function():
            calls.append(name)
            return next(times[name])

        return function

    assert bench.in_turns(timed("a"), timed("b")) == [2, 5]
    assert calls == ["a", "b"] * 6


def test_the_matrix_product_rate_is_that_of_a_product():
    assert 1e8 < bench.matrix_product_rate("32-true", size=256) < 1e15


def test_the_bare_loop_trains_on_the_batches_of_fit(monkeypatch):
    """Otherwise their times could not be compared."""
    drawn, original = [], dncnn.batch

    def watched(*arguments):
        made = original(*arguments)
        drawn.append(made[0])
        return made

    monkeypatch.setattr(dncnn, "batch", watched)
    pool = dncnn.prepare(images(), TINY)
    assert bench.bare_loop(TINY, pool, precision="32-true", channels_last=True) > 0
    bare = drawn[:]
    drawn.clear()
    training.fit(dncnn.DnCNN(TINY), pool, dncnn, TINY, progress=False)
    assert len(bare) == TINY.steps == len(drawn)
    assert all(torch.equal(a, b) for a, b in zip(bare, drawn, strict=True))


def test_the_plain_loop_minimises_the_loss_of_the_paper():
    model = dncnn.DnCNN(replace(TINY, batch_norm=False), seed=1)
    seconds, losses = plain_loop.train(model, images(), patch_size=20, sigma=0.1, batch_size=8, steps=40, learning_rate=5e-3, workers=0)
    assert seconds > 0 and len(losses) == 40
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_the_plain_loop_draws_noisy_patches_of_the_images():
    patches = plain_loop.Patches(images(), 20, 0.1, 500)
    assert len(patches) == 500
    noisy, clean = (torch.stack(column) for column in zip(*(patches[i] for i in range(500)), strict=True))
    assert noisy.shape == clean.shape == (500, 1, 20, 20) and noisy.dtype == clean.dtype == torch.float32
    assert (noisy - clean).std().item() == pytest.approx(0.1, rel=0.02) and abs((noisy - clean).mean()) < 0.002
    assert clean.min() >= 0 and clean.max() <= 1 and len({patch.numpy().tobytes() for patch in clean}) > 450


def test_the_plain_loop_is_found_and_run():
    assert bench.plain_loop(TINY, images()) > 0


MASKED = noise2void.Settings(depth=1, width=6, patch_size=16, steps=3, batch_size=4, mask_ratio=1 / 16, precision="32-true")


def test_the_plain_loop_of_noise2void_has_its_masks_and_its_loss():
    noisy = [torch.rand(1, 40, 48, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    patches = plain_loop.MaskedPatches(noisy, 16, 4, 2, 300)
    hidden, mask, target = (torch.stack(column) for column in zip(*(patches[i] for i in range(300)), strict=True))
    assert hidden.shape == mask.shape == target.shape == (300, 1, 16, 16)
    boxes = torch.nn.functional.avg_pool2d(mask, 4, divisor_override=1)
    assert (boxes == 1).all() and torch.equal(hidden[mask == 0], target[mask == 0])
    same = (hidden == target)[mask == 1].float().mean().item()
    assert same == pytest.approx(1 / 25, abs=0.02), "the pixel itself may be drawn; more often where the border cuts"
    model = UNet(MASKED)
    seconds, losses = plain_loop.train_masked(
        model, [torch.full((1, 32, 32), 0.9)], patch_size=16, side=4, radius=2, batch_size=4, steps=60, learning_rate=1e-2, workers=0
    )
    assert seconds > 0 and losses[-1] < 0.2 * losses[0]
    assert bench.plain_loop_masked(MASKED, noisy) > 0


def test_masks_are_timed_both_ways():
    patches = torch.rand(2, 1, 16, 16)
    assert bench.seconds_of_masks(patches, MASKED) > 0 and bench.seconds_of_masks_by_loop(patches, MASKED) > 0


def test_memory_and_time_of_a_fresh_process():
    seconds, memory = bench.in_a_fresh_process(bench.inference, "DnCNN-S", 64, "32-true")
    assert 0 < seconds < 60 and 1e6 < memory < 2e9


def test_memory_grows_with_the_image():
    small, large = (bench.in_a_fresh_process(bench.inference, "DnCNN-S", side, "32-true")[1] for side in (64, 512))
    assert large > small + 64 * (512**2 - 64**2)  # one layer of 64 channels, in one byte each, at the very least
    told = bench.in_a_fresh_process(bench.inference, "FFDNet", 512, "32-true")[1]
    assert told < 0.8 * large  # its layers are a quarter of that size; what the kernels need besides varies from run to run


def test_time_to_a_goal_doubles_the_steps_until_it_is_reached(monkeypatch):
    tried = []

    def fit(model, pool, method, plan, progress):
        tried.append(plan.steps)
        return training.History(seconds=plan.steps / 100, interrupted=plan.steps == stop_at, signal=signal.SIGTERM)

    stop_at = None

    monkeypatch.setattr(data, "load", lambda name: data.Dataset(name, images(3, 96), "drawn", tuple("abc")))
    monkeypatch.setattr(bench.training, "fit", fit)
    monkeypatch.setattr(dncnn, "evaluate", lambda model, held_out, sigma_255: [20 + math.log2(tried[-1] / 100)] * 3)
    assert bench.time_to(22.5) == (8.0, 800, 23.0)
    assert tried == [100, 200, 400, 800]
    with pytest.raises(RuntimeError, match="12800 steps do not reach 40"):
        bench.time_to(40)
    stop_at = 400
    with pytest.raises(KeyboardInterrupt, match="interrupted by SIGTERM"):
        bench.time_to(40)  # a time of fewer steps is no time


def test_the_command_prints_and_records(monkeypatch, tmp_path, capsys):
    rows = [bench.Row("something", 12.3456, "ms"), bench.Row("another", 0.5, "%")]
    monkeypatch.setattr(bench, "measurements", lambda seconds, parts: iter(rows))
    monkeypatch.setattr(bench, "time_to", lambda goal: (7.0, 400, goal + 0.1))
    monkeypatch.setattr(data, "load", lambda name: None)
    file = tmp_path / "bench" / "here.json"
    assert cli.main(["bench", "--seconds", "1", "--time-to", "28.5", "--record", str(file)]) == 0
    out = capsys.readouterr().out
    assert "something: 12.3 ms" in out and "time to 28.5 dB on Set12: 7 s (400 steps, 28.60 dB)" in out
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["rows"][:2] == [{"what": "something", "value": 12.3456, "unit": "ms"}, {"what": "another", "value": 0.5, "unit": "%"}]
    assert len(written["rows"]) == 3 and {"device", "precision", "versions", "commit"} <= set(written)


def test_one_part_is_measured_alone(monkeypatch, capsys):
    monkeypatch.setattr(bench, "import_seconds", lambda: 0.25)
    assert cli.main(["bench", "--only", "import"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["import course_lib.denoising.dncnn, beyond import torch: 0.25 s"]
    assert cli.main(["bench", "--only", "speed"]) == 1
    assert "there is no part speed to measure: choose from training, masking" in capsys.readouterr().err


def test_without_the_repository_the_command_says_where_it_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(project, "PACKAGE", tmp_path / "site-packages" / "course_lib")
    assert cli.main(["bench"]) == 1
    assert "course bench is a tool of the repository" in capsys.readouterr().err


def small_classifier():
    """The recipe that is measured, with a network that takes no time."""
    found = recipes.RECIPES["cifar_noise_pivot"]
    settings = replace(found.presets["paper"].settings, blocks=1, width=4, batch_size=8, learning_rate=0.01)
    return replace(found, presets={"paper": replace(found.presets["paper"], settings=settings)})


def test_the_plain_loop_of_a_classifier_draws_pairs_and_learns_from_them(capsys):
    found = data.load("digits_on_photos", "train")
    pairs = plain_loop.Pairs(found.images, found.labels, 0.15, 300)
    clean, noisy = (torch.stack(column) for column in list(zip(*(pairs[i] for i in range(300)), strict=True))[:2])
    spread = (noisy - clean).std(dim=(1, 2, 3))
    assert clean.shape == noisy.shape == (300, 3, 32, 32) and noisy.min() >= 0 and noisy.max() <= 1
    assert spread.max() < 0.16 and spread.min() < 0.01, "σ is drawn for each image"
    settings = small_classifier().presets["paper"].settings
    network = bench.resnet.ResNet(settings, seed=0)
    seconds, losses = plain_loop.train_classifier(
        network, found.images[::400], found.labels[::400], max_sigma=0.0, batch_size=16, steps=120, learning_rate=0.02, workers=0
    )
    # the order of such a loop is nobody's seed: over twelve runs the ratio of the medians was 0.42 to 0.64
    assert seconds > 0 and len(losses) == 120 and statistics.median(losses[-20:]) < 0.8 * statistics.median(losses[:10])


def test_the_classifier_is_measured_beside_the_plain_loop(monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "cifar_noise_pivot", small_classifier())
    monkeypatch.setattr(bench, "ROUNDS", 1)
    rows = list(bench.classifying(0.01))
    assert [row.unit for row in rows] == ["images/s", "times as long as fit"] and all(row.value > 0 for row in rows)


@pytest.mark.slow
def test_every_measurement_can_be_made(monkeypatch):
    """With settings that take no time; what is measured for the table is measured here, but smaller."""
    presets = {name: replace(recipes.RECIPES["dncnn_s"].presets[name], settings=TINY) for name in ("quick", "paper")}
    monkeypatch.setitem(recipes.RECIPES, "dncnn_s", replace(recipes.RECIPES["dncnn_s"], presets=presets))
    monkeypatch.setitem(recipes.RECIPES, "cifar_noise_pivot", small_classifier())
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "SIZES", (32, 64))
    rows = list(bench.measurements(0.01))
    assert all(math.isfinite(row.value) and row.value >= 0 for row in rows)
    ways = len({devices.precision("auto"), "32-true"})
    assert len({row.what for row in rows}) == len(rows) == 1 + 2 * 6 + 2 + 2 * 2 + ways + 1 + 4 + 1 + 1 + 2 + 1 + 1 + 2


def test_other_packages_are_measured_where_they_are_installed(monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(peers, "installed", lambda package: False)
    assert not list(bench.contrastive_rows(0.01))
    monkeypatch.setattr(peers, "installed", lambda package: True)
    monkeypatch.setattr(peers, "lightly_loss", lambda temperature: partial(contrastive.nt_xent, temperature=temperature))
    monkeypatch.setattr(peers, "lightly", lambda settings, images: 1000.0 * settings.steps)
    loss, simclr = bench.contrastive_rows(0.01)
    assert "NT-Xent" in loss.what and 0.1 < loss.value < 10, "a loss beside itself"
    assert "SimCLR" in simclr.what and simclr.value > 100


def test_operations_of_a_network():
    assert peers.operations(torch.nn.Conv2d(1, 4, 3, padding=1), 10) == 2 * 9 * 4 * 100


@pytest.mark.parametrize("package", ["lightly", "careamics"])
def test_other_packages_train(package):
    pytest.importorskip(package, reason=f"{package} is not installed")
    if package == "lightly":
        settings = contrastive.Settings(width=16, blocks=2, batch_size=4, steps=2)
        assert peers.lightly(settings, torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8), workers=0) > 0
    else:
        settings = noise2void.Settings(channels=1, depth=1, width=8, patch_size=16, batch_size=2, steps=2, mask_ratio=1 / 16)
        assert peers.careamics(settings, [torch.rand(1, 64, 64) for _ in range(3)], workers=0) > 0


def test_the_losses_that_are_compared_are_the_same():
    """A faster loss would mean nothing if it were another one."""
    points = torch.nn.functional.normalize(torch.randn(256, 128, generator=torch.Generator().manual_seed(0)))
    for ours, theirs in bench.mining().values():
        a, b = points.clone().requires_grad_(), points.clone().requires_grad_()
        first, second = ours(a), theirs(b)
        first.backward()
        second.backward()
        assert first.item() == pytest.approx(second.item(), rel=1e-5) and first > 0.1
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


def test_the_plain_loop_of_rotations_has_the_same_task():
    photos = torch.randint(0, 256, (5, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    views, labels = plain_loop.Rotations(photos, 5)[3]
    assert labels.tolist() == [0, 1, 2, 3] and views.shape == (4, 3, 12, 12)
    for quarters in range(4):
        assert torch.equal(views[quarters], torch.rot90(views[0], quarters, (-2, -1)))
    settings = rotation.Settings(width=4, blocks=2)
    model = rotation.network(settings)
    before = model.head[-1].weight.clone()
    assert plain_loop.train_rotations(model, photos, batch_size=2, steps=3, learning_rate=0.1, workers=0) > 0
    assert not torch.equal(model.head[-1].weight, before)


def test_a_gallery_is_asked():
    assert 0 < bench.gallery_seconds(templates=50, dimension=4) < 1


def test_what_is_missing_is_said_before_the_measurements(monkeypatch, tmp_path, capsys):
    def too_early(seconds, parts):
        raise AssertionError("measured before the images were looked for")

    def missing(name):
        raise data.DataError(f"{name} is missing")

    monkeypatch.setattr(bench, "measurements", too_early)
    monkeypatch.setattr(data, "load", missing)
    assert cli.main(["bench", "--time-to", "28.5", "--record", str(tmp_path / "a.json")]) == 1
    assert "bsd400 is missing" in capsys.readouterr().err


def test_measurements_before_an_early_end_are_kept_beside_the_record(monkeypatch, tmp_path, capsys):
    def ended(seconds, parts):
        yield bench.Row("something", 12.3456, "ms")
        raise KeyboardInterrupt

    file = tmp_path / "a.json"
    file.write_text("{}", encoding="utf-8")
    monkeypatch.setattr(bench, "measurements", ended)
    assert cli.main(["bench", "--record", str(file)]) == 130
    assert file.read_text(encoding="utf-8") == "{}", "the record that was there is as it was"
    [row] = json.loads((tmp_path / "a.json.part").read_text(encoding="utf-8"))["rows"]
    assert row["value"] == 12.3456 and "a.json.part" in capsys.readouterr().out
