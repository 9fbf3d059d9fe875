"""Shipped weights come back as they were saved, and a file that is not theirs is refused before it touches a network."""

import hashlib
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

import course_lib
from course_lib import batches, data, noise, results, runs, weights
from course_lib.denoising import dncnn, evaluation

ROOT = Path(course_lib.__file__).resolve().parents[1]
RECORDED = [tuple(file.stem.split(".")) for file in sorted((ROOT / "data" / "results").glob("*.json"))]

SETTINGS = dncnn.Settings(depth=4, width=6)
OTHERS = {
    "deeper": dncnn.Settings(depth=5, width=6),
    "wider": dncnn.Settings(depth=4, width=7),
    "colour": dncnn.Settings(depth=4, width=6, channels=3),
    "folded": dncnn.Settings(depth=4, width=6, batch_norm=False),
}


def network(settings=SETTINGS, seed=0):
    """In training mode, with statistics that differ from those of a new network."""
    model = dncnn.DnCNN(settings, seed=seed)
    draws = torch.Generator().manual_seed(seed)
    for layer in model.layers:
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(generator=draws)
            layer.num_batches_tracked += 82_801 + seed  # more than half precision can hold
    return model.train()


def tensors(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def record(digest: str | None, preset="paper") -> None:
    named = {} if digest is None else {"weights": {"sha256": digest}}
    about = {"recipe": "toy", "preset": preset, "data": {}, "needs": {}}
    results.write({**dict.fromkeys(results.REQUIRED, ""), "about": about, "metrics": {}, "per_image": {}, "measured": [],
                   "settings": asdict(SETTINGS), "seconds": 1.0, "steps": 1, "short": False, **named})  # fmt: skip


@pytest.fixture
def shipped(home):
    """The weights file of a recorded run."""
    record(weights.save(network(), weights.path("toy")))
    return weights.path("toy")


# --- saving and loading ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [True, False])
def test_round_trip(home, half):
    model, other = network(), network(seed=1)
    before = tensors(model)
    record(weights.save(model, weights.path("toy"), half=half))
    assert equal(tensors(model), before) and model.training, "saving changes nothing"

    assert weights.load(other, "toy") is None
    expected = {n: t.half().float() if half and t.is_floating_point() else t for n, t in before.items()}
    assert equal(tensors(other), expected)
    assert not other.training, "loaded for use, not for training"


def test_half_precision_is_in_the_file(home):
    weights.save(network(), home / "half")
    weights.save(network(), home / "single", half=False)
    saved = (home / "single").stat().st_size - (home / "half").stat().st_size
    floats = sum(t.numel() for t in network().state_dict().values() if t.is_floating_point())
    assert saved == pytest.approx(2 * floats, abs=200)  # the headers differ a little in length


def test_the_hash_is_that_of_the_file(home):
    digest = weights.save(network(), weights.path("toy"))
    assert weights.path("toy") == home / "data" / "weights" / "toy.safetensors"
    assert hashlib.sha256(weights.path("toy").read_bytes()).hexdigest() == digest
    assert weights.save(network(), home / "again") == digest, "the same network gives the same file"


def test_interrupted_saving_leaves_the_old_file(shipped, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        weights.save(network(seed=1), shipped)
    weights.load(network(), "toy")


# --- what is refused ------------------------------------------------------------------------------------------------------


def alter(content: bytes) -> bytes:
    """One bit of the last tensor changed."""
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGED = {"altered": alter, "truncated": lambda content: content[:-100], "empty": lambda content: b""}


def refused(message: str, model=None) -> None:
    model = model or network(seed=1)
    before = tensors(model)
    with pytest.raises(weights.WeightsError, match=message):
        weights.load(model, "toy")
    assert equal(tensors(model), before) and model.training, "a refused file leaves the network as it was"


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file(shipped, damage):
    shipped.write_bytes(damage(shipped.read_bytes()))
    refused(r"toy\.safetensors is truncated, altered or of another run: its SHA-256 is [0-9a-f]{16}…")


def test_a_good_file_of_another_run(shipped):
    weights.save(network(seed=2), shipped)
    refused("of another run")


def test_a_missing_file(shipped):
    shipped.unlink()
    refused(r"toy\.safetensors cannot be read")


@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS)
def test_another_architecture(shipped, settings):
    refused(r"toy\.safetensors is not of this DnCNN: \d+ tensors differ", network(settings))


def test_a_network_with_one_more_layer(shipped):
    model = network(seed=1)
    model.layers.append(torch.nn.Conv2d(1, 1, 1, bias=False))
    refused(r"1 tensors differ in name or shape, the first is layers\.9\.weight", model.train())


def test_a_run_that_shipped_nothing(home):
    record(None)
    refused("names no weights")


def test_a_run_that_is_not_recorded(shipped):
    with pytest.raises(results.RecordError, match=r"recorded presets of it: paper"):
        weights.load(network(), "toy", "quick")


def test_each_preset_has_a_file_of_its_own(shipped):
    assert weights.path("toy", "quick") == shipped.with_name("toy.quick.safetensors")
    record(weights.save(network(seed=2), weights.path("toy", "quick"), half=False), preset="quick")
    model = network(seed=1)
    weights.load(model, "toy", "paper")
    first = tensors(model)
    weights.load(model, "toy", "quick")
    assert equal(tensors(model), tensors(network(seed=2))) and not equal(first, tensors(model))
    record("0" * 64, preset="quick")
    with pytest.raises(weights.WeightsError, match="the record has 0000000000000000…"):
        weights.load(model, "toy", "quick")


# --- the networks of the repository ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("recipe", "preset"), RECORDED)
def test_shipped_network_denoises_photos(recipe, preset, monkeypatch):
    """At its own σ, or at 25 for blind ones, more than 5 dB above the noisy held-out photos; batch normalisation is folded in.

    Where it was trained on cameras, they are taken by one, and 4 dB are asked for.
    """
    monkeypatch.delenv("COURSE_HOME", raising=False)
    if "weights" not in results.read(recipe, preset):
        pytest.skip("several trainings, which ship no weights")
    settings = results.read(recipe, preset)["settings"]
    model = runs.shipped(recipe, preset)
    assert not model.training
    if not hasattr(model, "denoise"):
        pytest.skip("a classifier, of which the next test is")
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.modules())
    held_out = data.load("photos", "test", color=model.channels == 3)
    crops = [batches.center(image, 128) for image in held_out.images]
    if "sigma_255" in settings:
        low, high = settings["sigma_255"] if isinstance(settings["sigma_255"], list) else [settings["sigma_255"]] * 2
        # without a clean image, in a minute, a little less
        sigma, least = noise.from_255(high if low == high else 25), 4 if recipe.startswith("n2v") else 5
        values = [
            evaluation.psnr_per_image(denoiser, crops, sigma, protocol="clamped")
            for denoiser in (lambda noisy, sigma: noisy, model.denoise)
        ]
    else:
        least = 4
        values = [evaluation.psnr_of_camera(restorer, crops, 0.08, 0.03) for restorer in (lambda noisy: noisy, model.denoise)]
    before, after = (sum(row) / len(row) for row in values)
    assert after - before > least


@pytest.mark.parametrize(("recipe", "preset"), RECORDED)
def test_shipped_classifier_has_its_recorded_accuracy(recipe, preset, monkeypatch):
    """On embedded images: of its first seed, whose weights are shipped."""
    monkeypatch.delenv("COURSE_HOME", raising=False)
    record = results.read(recipe, preset)
    embedded = [name for name in record["metrics"] if name in data.EMBEDDED and "accuracy" in record["metrics"][name]]
    if "weights" not in record or not embedded:
        pytest.skip("no classifier of embedded images that is shipped")
    for name in embedded:
        figures = runs.evaluate(recipe, preset, runs.shipped(recipe, preset), only=name)[name]["accuracy"]
        [expected] = list(record["per_seed"][name]["accuracy"].values())[:1]
        assert abs(sum(figures.values()) / len(figures) - expected) < 0.2
