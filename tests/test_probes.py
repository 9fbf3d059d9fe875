"""Probes: their heads, what they leave alone, and the weighted nearest neighbours against a loop."""

import json
import math
from dataclasses import replace

import pytest
import torch
from test_chapters import SABOTAGE
from torch import nn

from course_lib import checkpoints, data, probes, recipes, recording, results, rng, runs, training, weights
from course_lib.data import Dataset
from course_lib.denoising import dncnn
from course_lib.frozen import Frozen
from course_lib.labelled import crops, flips
from course_lib.recipes import base
from course_lib.recipes import probes as presets
from course_lib.settings import stored

TINY = {"channels": 1, "size": 12, "classes": 4, "steps": 30, "batch_size": 20, "learning_rate": 0.05, "final_learning_rate": 1e-3}


def trunk() -> nn.Sequential:
    """Features (6, 6, 6) of images (1, 12, 12), with statistics that training would change."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2))


def stripes(count=80) -> Dataset:
    """Four kinds of stripes on noise, which a linear head can tell apart from their features."""
    draws = torch.Generator().manual_seed(2)
    labels = torch.arange(count) % 4
    rows, columns = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    kinds = torch.stack([rows % 2, columns % 2, (rows + columns) % 2, rows // 6]) * 150
    images = kinds[labels] + torch.randint(0, 60, (count, 12, 12), generator=draws)
    return Dataset("stripes", images[:, None].to(torch.uint8), "drawn", tuple(map(str, range(count))), labels, tuple("abcd"))


@pytest.mark.parametrize("head", ["linear", "nonlinear", "conv"])
@pytest.mark.parametrize("fine_tuned", [False, True])
def test_a_probe_learns_and_changes_the_trunk_only_where_it_is_asked_to(head, fine_tuned):
    plan = {**TINY, "steps": 120, "learning_rate": 0.02, "drop_at": (0.4, 0.8, 0.9), "padding": 0, "flip": False}
    settings = probes.Settings(**plan, head=head, fine_tuned=fine_tuned)
    below = trunk()
    before = {name: value.clone() for name, value in below.state_dict().items()}
    model = probes.Probe(settings, Frozen(below))
    data = stripes()
    chance = sum(probes.evaluate(model.eval(), data.images, data.labels)) / len(data)
    training.fit(model, probes.prepare(data, settings), probes, settings, progress=False)
    assert sum(probes.evaluate(model, data.images, data.labels)) / len(data) > max(80, chance)
    assert all(torch.equal(value, before[name]) for name, value in below.state_dict().items()), "another's network is never changed"
    owned = {name for name in model.state_dict() if name.startswith("trunk.")}
    assert bool(owned) == fine_tuned
    if fine_tuned:
        assert not torch.equal(model.trunk[0].weight, before["0.weight"])
        assert all(p.requires_grad for p in model.parameters()) and not any(p.requires_grad for p in below.parameters())


def test_heads_have_the_sizes_of_the_paper():
    def count(head, features, **changes):
        made = probes.head(probes.Settings(steps=1, batch_size=2, head=head, **changes), features, torch.Generator().manual_seed(0))
        return sum(p.numel() for p in made.parameters())

    features = (192, 8, 8)
    assert count("linear", features) == 192 * 64 * 10 + 10
    assert count("nonlinear", features) == 192 * 64 * 200 + 200 * 200 + 4 * 200 + 200 * 10 + 10
    assert count("conv", features) == 192 * 192 * 9 + 2 * 192 * 192 + 6 * 192 + 192 * 10 + 10
    assert count("nonlinear", (50,), classes=1000) == 50 * 2048 + 2048 * 2048 + 4 * 2048 + 2048 * 1000 + 1000
    made = probes.head(probes.Settings(steps=1, batch_size=1, head="conv"), features, torch.Generator().manual_seed(0))
    for layer, fan_out in ((made[0], 9 * 192), (made[3], 192), (made[-1], 10)):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)


def test_the_rate_falls_by_five_three_times():
    settings = probes.Settings(steps=100, batch_size=128)
    rates = [training.learning_rate(settings, epoch) for epoch in (0, 19, 20, 39, 40, 44, 45, 99)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])


def test_a_batch_is_cropped_and_mirrored_from_streams_of_its_own():
    settings = probes.Settings(**TINY)
    pool = probes.prepare(stripes(), settings)
    images, labels = probes.batch(pool, rng.Draws(3, 5), settings)
    plain, expected = pool.epoch(rng.Draws(3, 5), 20)
    draws = rng.Draws(3, 5)
    assert torch.equal(images, flips(crops(plain, 4, draws("crops")), draws("flips"))) and torch.equal(labels, expected)
    bare = probes.batch(pool, rng.Draws(3, 5), probes.Settings(**TINY, padding=0, flip=False))[0]
    assert torch.equal(bare, plain)


def test_one_graph():
    model = probes.Probe(probes.Settings(**TINY, head="conv"), Frozen(trunk())).eval()
    images = torch.rand(3, 1, 12, 12)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(images), model(images))


def test_calibration_gives_the_statistics_of_the_images():
    network, data = trunk(), stripes()
    assert probes.calibrated(network, data.images, at_once=20) is network and not network.training
    values = torch.stack([network[0](part / 255) for part in data.images.split(20)])
    torch.testing.assert_close(network[1].running_mean, values.mean((1, 3, 4)).mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(network[1].running_var, values.transpose(1, 2).flatten(2).var(2).mean(0), rtol=1e-4, atol=1e-6)
    assert network[1].momentum == 0.1
    whole = probes.outputs(network, data.images, at_once=7)
    torch.testing.assert_close(whole, probes.outputs(network, data.images))


def test_neighbours_against_a_loop():
    draws = torch.Generator().manual_seed(4)
    features = torch.randn(30, 5, generator=draws, dtype=torch.float64)
    queries = torch.randn(7, 5, generator=draws, dtype=torch.float64)
    labels = torch.randint(0, 3, (30,), generator=draws)
    for k, temperature in ((1, 0.07), (4, 0.5), (30, 0.07), (200, 2.0)):
        found = probes.neighbours(features, labels, queries, classes=3, k=k, temperature=temperature)
        for query, scores in zip(queries.tolist(), found.tolist(), strict=True):
            similar = []
            for feature, label in zip(features.tolist(), labels.tolist(), strict=True):
                dot = sum(a * b for a, b in zip(feature, query, strict=True))
                similar.append((dot / (math.hypot(*feature) * math.hypot(*query)), label))
            votes = [0.0] * 3
            for cosine, label in sorted(similar, reverse=True)[:k]:
                votes[label] += math.exp(cosine / temperature)
            assert scores == pytest.approx([vote / sum(votes) for vote in votes])


def test_neighbours_are_those_of_scikit_learn():
    from sklearn.neighbors import KNeighborsClassifier

    draws = torch.Generator().manual_seed(5)
    features, labels = torch.randn(60, 2, 3, 3, generator=draws), torch.randint(0, 4, (60,), generator=draws)
    queries = torch.randn(20, 2, 3, 3, generator=draws)
    peer = KNeighborsClassifier(9, metric="cosine", weights=lambda distance: torch.tensor((1 - distance) / 0.2).exp().numpy())
    expected = peer.fit(features.flatten(1), labels).predict_proba(queries.flatten(1))
    found = probes.neighbours(features, labels, queries, classes=4, k=9, temperature=0.2)
    torch.testing.assert_close(found.double(), torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: probes.Settings(**{**TINY, "head": "deep"}), 'head = "deep", but it must be one of linear, nonlinear, conv'),
        (lambda: probes.Settings(**{**TINY, "classes": 1}), "classes = 1, .*at least 2"),
        (lambda: probes.Settings(**{**TINY, "padding": -1}), "padding = -1"),
        (lambda: probes.Probe(probes.Settings(**{**TINY, "channels": 3}), Frozen(trunk())), "does not take images of 3 × 12 × 12"),
        (lambda: probes.Probe(probes.Settings(**TINY, head="conv"), Frozen(nn.Sequential(trunk(), nn.Flatten()))), "features are"),
        (lambda: probes.prepare(stripes(), probes.Settings(**{**TINY, "size": 28})), r"are \(1, 12, 12\), but channels = 1, size = 28"),
        (lambda: probes.prepare(stripes(), probes.Settings(**{**TINY, "classes": 3})), "labels are 0 to 3, but there are classes = 3"),
        (lambda: probes.neighbours(torch.ones(3, 2), torch.ones(3).long(), torch.ones(1, 2), classes=2, k=0), "k = 0"),
        (lambda: probes.neighbours(torch.ones(3, 2), torch.ones(3).long(), torch.ones(1, 3), classes=2), r"\(3, 2\), .* do not fit"),
    ],
)  # fmt: skip
def test_wrong_input(made, message):
    with pytest.raises(ValueError, match=message):
        made()




# --- as a recipe ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def probe(home, monkeypatch):
    """A folder for records, with the shipped weights of a small DnCNN, and a recipe that probes its first layer."""
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    monkeypatch.setattr(data, "load", lambda name, split=None, **_: stripes())
    small = {"depth": "4", "width": "6", "patch_size": "8", "batch_size": "2", "steps": "1", "scales": "1.0"}
    runs.train("dncnn_s", "quick", changes=small, checkpoint=home / "trunk.ckpt")
    recording.record("dncnn_s", "quick", home / "trunk.ckpt")
    split = base.Split("stripes", stripes, lambda name: stripes(40))
    settings = probes.Settings(**TINY, head="conv", padding=1, flip=False, precision="32-true", save_every=10)
    source = base.Source(recipe="dncnn_s", preset="quick", part="layers.0")
    made = presets.preset(settings, source, lambda seed: split, ["stripes"])
    recipe = base.Recipe(title="a probe", method=probes, network=probes.Probe, presets={"quick": made}, seeds=2, ships=False)
    monkeypatch.setitem(recipes.RECIPES, "probe", recipe)
    return home


def test_a_probe_is_trained_and_recorded_like_any_other(probe):
    files = runs.train_seeds("probe", "quick", (0, 1), folder=probe)
    written = recording.record("probe", "quick", files)
    digest = results.read("dncnn_s", "quick")["weights"]["sha256"]
    assert written["about"]["needs"] == {"trunk": {"recipe": "dncnn_s", "preset": "quick", "part": "layers.0", "sha256": digest}}
    values = written["per_seed"]["stripes"]["accuracy"]
    assert list(values) == ["seed 0", "seed 1"] and min(values.values()) > 50
    assert results.read("probe", "quick") == json.loads(json.dumps(written)) and "weights" not in written
    model, content = runs.from_checkpoint("probe", "quick", files[1])
    assert not any(name.startswith("trunk") for name in content["model"])
    again = runs.evaluate("probe", "quick", model, seed=1)["stripes"]["accuracy"]
    assert sum(again.values()) / 40 == pytest.approx(values["seed 1"], abs=1e-3)


def test_a_probe_resumes_bit_for_bit(probe, monkeypatch):
    whole = runs.train("probe", "quick", checkpoint=probe / "whole.ckpt")[0]
    draw = probes.batch

    def stop(pool, draws, settings):
        if draws.step == 17:
            raise RuntimeError("the power is cut")
        return draw(pool, draws, settings)

    with monkeypatch.context() as patched:
        patched.setattr(probes, "batch", stop)
        with pytest.raises(RuntimeError, match="power"):
            runs.train("probe", "quick", checkpoint=probe / "cut.ckpt")
    assert checkpoints.open_file(probe / "cut.ckpt")["step"] == 10
    resumed = runs.train("probe", "quick", checkpoint=probe / "cut.ckpt", resume=True)[0]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_other_weights_of_the_trunk_are_noticed(probe):
    runs.train("probe", "quick", checkpoint=probe / "p.ckpt")
    settings = results.read("dncnn_s", "quick")["settings"]
    other = dncnn.DnCNN(replace(dncnn.Settings(), depth=4, width=6, batch_norm=False), seed=9)
    assert settings["width"] == 6
    digest = weights.save(other, weights.path("dncnn_s", "quick"), half=False)
    record = results.read("dncnn_s", "quick")
    results.write({**record, "weights": {**record["weights"], "sha256": digest}})
    with pytest.raises(checkpoints.CheckpointError, match="other weights of dncnn_s than are shipped now"):
        runs.from_checkpoint("probe", "quick", probe / "p.ckpt")
    with pytest.raises(checkpoints.CheckpointError, match="trunk"):
        runs.train("probe", "quick", checkpoint=probe / "p.ckpt", resume=True)


def test_sabotage_trains_the_probe_on_an_untrained_trunk(probe, monkeypatch):
    for module, name in ((training, "fit"), (weights, "load")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back at the end of the test
    exec(SABOTAGE, {})
    model, *_ = runs.train("probe", "quick")
    plan = stored(dncnn.Settings, results.read("dncnn_s", "quick")["settings"])
    untrained = dncnn.DnCNN(replace(plan, batch_norm=False), seed=0).layers[0]
    pairs = zip(model.trunk.network.parameters(), untrained.parameters(), strict=True)
    assert all(torch.equal(a.cpu(), b) for a, b in pairs)
    images = stripes(40)
    assert sum(probes.evaluate(model, images.images, images.labels)) / 40 > 50, "the probe learnt"
    settings = dncnn.Settings(depth=3, width=4, patch_size=8, batch_size=2, steps=4, scales=(1.0,))
    nothing = dncnn.DnCNN(settings, seed=0)
    before = [p.clone() for p in nothing.parameters()]
    training.fit(nothing, dncnn.prepare(images, settings), dncnn, settings, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, nothing.parameters(), strict=True))


def test_calibration_with_one_image_left_and_after_a_failure():
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 2))
    images = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8)
    probes.calibrated(network, images, at_once=2)
    assert not network.training and network[1].momentum == 0.1 and network[1].running_mean.isfinite().all()
    with pytest.raises(RuntimeError):
        probes.calibrated(network, torch.zeros(4, 1, 5, 5, dtype=torch.uint8))
    assert not network.training and network[1].momentum == 0.1
    for count, at_once, message in ((1, 2, "there are 1 images"), (0, 2, "there are 0 images"), (4, 0, "at_once = 0")):
        with pytest.raises(ValueError, match=message):
            probes.calibrated(network, images[:count], at_once=at_once)
