"""What is done with a network after its pretext task: attention maps, probes of few labels, neighbours; and the recipes."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from course_lib import cli, data, few_labels, probes, recipes, recording, results, rng, runs, training
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.data.own import held_out
from course_lib.frozen import Frozen
from course_lib.pretext import alexnet, attention, downstream, nin, rotation
from course_lib.recipes import few_labels as of_few_labels
from course_lib.recipes import pretext

TINY = {"width": "4", "blocks": "2", "batch_size": "8", "steps": "3", "precision": "32-true"}


def rand(*shape, dtype=torch.float32, seed=1):
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def stripes(count=40, *, side=32) -> Dataset:
    """Four classes of stripes, each brighter above, so that the class and what is up can both be told."""
    labels = torch.arange(count) % 4
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    kinds = torch.stack([rows % 4, columns % 4, (rows + columns) % 4, rows % 8 // 2]) * 25
    grain = torch.randint(0, 60, (count, 3, side, side), generator=torch.Generator().manual_seed(count))
    images = (kinds[labels][:, None] + grain + 100 - 3 * rows).clamp(0, 255).to(torch.uint8)
    return Dataset("stripes", images, "drawn", tuple(map(str, range(count))), labels, tuple("abcd"))


# --- attention ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1, 2, 4])
def test_energy_against_a_loop(power):
    features = rand(2, 3, 4, 5, dtype=torch.float64) - 0.5
    found = attention.energy(features, power)
    for b in range(2):
        for h in range(4):
            for w in range(5):
                expected = sum(abs(features[b, c, h, w].item()) ** power for c in range(3))
                assert found[b, h, w].item() == pytest.approx(expected, abs=1e-12)


def test_maps_to_look_at():
    maps = torch.stack([torch.arange(16.0).view(4, 4), torch.full((4, 4), 3.0)])
    found = attention.shown(maps, 8)
    assert found.shape == (2, 1, 8, 8) and found[0].min() == 0 and found[0].max() == 1 and not found[1].any()


def test_a_map_turns_with_the_image_where_the_network_does():
    images = rand(3, 3, 10, 10)
    pixelwise, mean = nn.Conv2d(3, 5, 1), nn.AvgPool2d(3, 1)
    for network in (pixelwise, mean):
        torch.testing.assert_close(attention.equivariance(network, images), torch.ones(3, 3), atol=1e-5, rtol=0)
    sobel = nn.Conv2d(3, 1, 3, bias=False)
    with torch.no_grad():
        sobel.weight[:] = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    found = attention.equivariance(sobel, images)
    assert found[:, 1] == pytest.approx([1, 1, 1], abs=1e-5), "the size of a slope is the same in the image upside down"
    assert found[:, (0, 2)].abs().max() < 0.7, "of columns, and of rows in the turned image"
    x, a = images[:1], lambda one: attention.energy(sobel(one), 1.0)[0].detach().numpy()
    expected = np.corrcoef(a(x).ravel(), np.rot90(a(torch.rot90(x, 1, (-2, -1))), -1).ravel())[0, 1]
    assert found[0, 0].item() == pytest.approx(expected, abs=1e-5)
    assert not attention.equivariance(lambda one: torch.ones(len(one), 1, 4, 4), images).any(), "a constant map says nothing"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: attention.energy(rand(3, 4, 4)), ValueError, r"\(B, C, H, W\) is expected"),
        (lambda: attention.energy(rand(1, 3, 4, 4), 0), ValueError, "power = 0, but it must be above 0"),
        (lambda: attention.energy(rand(1, 3, 4, 4).log().mul(math.inf)), ValueError, "NaN or infinite"),
        (lambda: attention.shown(rand(2, 1, 4, 4), 8), ValueError, r"\(B, H, W\)"),
        (lambda: attention.shown(rand(2, 4, 4), 0), ValueError, "side = 0"),
        (lambda: attention.equivariance(nn.Identity(), rand(1, 3, 8, 6)), ValueError, "only square ones"),
        (lambda: attention.equivariance(nn.Identity(), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), TypeError, "floating point"),
        (lambda: attention.equivariance(nn.Flatten(), rand(1, 3, 8, 8)), ValueError, r"features: the shape"),
    ],
)
def test_wrong_input_of_attention(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- few labels -----------------------------------------------------------------------------------------------------------


def test_draws_are_balanced_nested_and_named():
    labels = torch.arange(60) % 3
    few, more = few_labels.draw(labels, 2, seed=1, number=4), few_labels.draw(labels, 5, seed=1, number=4)
    assert labels[few].tolist() == [0, 0, 1, 1, 2, 2] and len(set(more.tolist())) == 15
    assert set(few.tolist()) <= set(more.tolist()), "with more labels the same draw has those of fewer"
    assert torch.equal(few, few_labels.draw(labels, 2, seed=1, number=4))
    assert not torch.equal(few, few_labels.draw(labels, 2, seed=1, number=5))
    assert not torch.equal(few, few_labels.draw(labels, 2, seed=2, number=4))


def test_features_are_averaged_over_parts():
    features = rand(2, 3, 8, 8, dtype=torch.float64)
    found = few_labels.pooled(features, 2).view(2, 3, 2, 2)
    for i in range(2):
        for j in range(2):
            part = features[:, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
            torch.testing.assert_close(found[:, :, i, j], part.mean((2, 3)))


def test_a_probe_sees_the_labels_of_its_draw_only():
    labels, centres = torch.arange(200) % 4, 4 * torch.eye(4)
    known, queries = centres[labels] + rand(200, 4), centres[labels] + rand(200, 4, seed=2)
    probe = few_labels.Probe(known, labels, queries, labels)
    found = probe.accuracies(5, draws=3, seed=1)
    assert found.shape == (3,) and found.min() > 95
    assert probe.accuracy(5, seed=1, number=2) == found[2]
    from sklearn.linear_model import RidgeClassifier

    wide, others = torch.randn(40, 90, generator=torch.Generator().manual_seed(0)), rand(30, 90, seed=3)
    classes = torch.arange(40) % 4
    two = probe.answers((labels < 2).nonzero().flatten())
    assert set(two.tolist()) == {0, 1} and torch.equal(two[labels < 2], labels[labels < 2]), "classes without a label are never an answer"
    for chosen, message in (([200], "chosen has 200 in it, but there are 200"), ([], "chosen is empty: at least one image needs a label")):
        with pytest.raises(ValueError, match=message):
            probe.answers(torch.tensor(chosen))
    short = few_labels.Probe(wide, classes, others, torch.arange(30) % 4)
    chosen = few_labels.draw(classes, 3).numpy()
    theirs = RidgeClassifier(alpha=90 * few_labels.REGULARISATION).fit(short.known.numpy()[chosen], classes.numpy()[chosen])
    assert short.accuracy(3) == pytest.approx(100 * (theirs.predict(short.queries.numpy()) == short.truth.numpy()).mean())
    hidden = labels.clone()
    hidden[~torch.isin(torch.arange(200), few_labels.draw(labels, 5, seed=1))] = 0  # another draw would notice
    chosen = few_labels.draw(labels, 5, seed=1)
    one = few_labels.Probe(known, labels, queries, labels)
    one.labels = hidden
    assert torch.equal(hidden[chosen], labels[chosen])
    maps = few_labels.Probe(rand(8, 2, 8, 8), torch.arange(8) % 2, rand(4, 2, 8, 8), torch.arange(4) % 2)
    assert maps.known.shape == (8, 32), "maps are averaged"
    constant = few_labels.Probe(torch.ones(8, 2), torch.arange(8) % 2, torch.ones(4, 2), torch.arange(4) % 2)
    assert constant.accuracy(2) == 50, "a feature that is constant is no division by zero"


def test_paired_differences():
    mean, half = few_labels.paired([3, 5, 7], [2, 3, 4])
    assert mean == 2 and half == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)  # t of 2 degrees of freedom, standard deviation 1
    for ours, rivals in (([1, 2], [1]), ([1], [1]), ([1, 2], [1, math.nan])):
        with pytest.raises(ValueError, match="the same draws|at least two|not finite"):
            few_labels.paired(ours, rivals)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: few_labels.draw(torch.tensor([0, 0, 1]), 2), "per_class = 2, but there is a class with 1 images"),
        (lambda: few_labels.draw(torch.zeros(0, dtype=torch.long), 1), "a class with 0 images"),
        (lambda: few_labels.draw(torch.zeros(4, 2, dtype=torch.long), 1), r"\(N,\) is expected"),
        (lambda: few_labels.Probe(rand(4, 3), torch.zeros(3).long(), rand(4, 3), torch.zeros(4).long()), "4 features, but 3 labels"),
        (lambda: few_labels.Probe(rand(4, 3), torch.zeros(4).long(), rand(4, 2), torch.zeros(4).long()), "do not fit"),
        (lambda: few_labels.pooled(rand(4, 3)), r"\(N, C, H, W\)"),
    ],
)
def test_wrong_input_of_few_labels(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- downstream -----------------------------------------------------------------------------------------------------------


def small_nin(seed=0):
    return nin.NIN(rotation.Settings(width=4, blocks=2, initial_gamma="ones"), classes=4, seed=seed).eval()


def test_neighbours_are_those_of_the_training_images():
    network, train, test = small_nin(), stripes(40), stripes(12)
    found = downstream.by_neighbours(network, test.images, test.labels, known=lambda: train, block=2)
    maps = [few_labels.pooled(nin.trunk(network, 2)(to_float(one.images)).detach()) for one in (train, test)]
    scores = probes.neighbours(maps[0], train.labels, maps[1], classes=4)
    assert found == [100.0 * (row.argmax() == label).item() for row, label in zip(scores, test.labels, strict=True)]
    assert downstream.by_neighbours(network, test.images, test.labels, known=lambda: train, block=2, indices=[5, 2]) == [found[5], found[2]]
    both = downstream.features(network, test.images, [1, 2], at_once=5)
    torch.testing.assert_close(both[2], maps[1])
    assert both[1].shape == (12, 2 * 16)
    with pytest.raises(ValueError, match="12 images, but 3 labels"):
        downstream.by_neighbours(network, test.images, test.labels[:3], known=lambda: train, block=2)
    with pytest.raises(ValueError, match="block"):
        downstream.features(network, test.images, [1, 3])


def test_a_probe_is_of_the_block_that_it_names():
    network = small_nin()
    settings = downstream.ProbeSettings(steps=1, batch_size=4, block=1, head="conv", classes=4)
    probe = downstream.probe(settings, trunk=Frozen(network)).eval()
    assert probe.head[0].in_channels == 2
    images = rand(2, 3, 32, 32)
    assert torch.equal(probe.trunk(images), nin.trunk(network, 1)(images))
    with pytest.raises(ValueError, match="block"):
        downstream.probe(replace(settings, block=3), trunk=Frozen(network))


# --- recipes --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(home, monkeypatch):
    monkeypatch.setattr(data, "load", lambda name, split=None, **_: replace(stripes(40 if split == "train" else 12), name=name))
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    return home


def test_paper_presets_are_as_published():
    plan = recipes.find("rotnet", "paper")[1].settings
    assert (plan.blocks, plan.width, plan.batch_size, plan.weight_decay, plan.initial_gamma) == (4, 192, 128, 5e-4, "uniform")
    assert plan.nesterov and plan.momentum == 0.9 and plan.flip and plan.padding == 4 and plan.steps == 200 * 50_000 // 128
    epoch = plan.steps / 200
    rates = [training.learning_rate(plan, round(epoch * at)) for at in (0, 59, 61, 119, 121, 159, 161, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])
    assert recipes.find("nin_supervised", "paper")[1].settings.blocks == 3
    for recipe, (blocks, head, tuned, value, drops) in {
        "rotnet_block1": (1, "nonlinear", False, 85.07, (20, 40, 45)), "rotnet_block2": (2, "nonlinear", False, 89.06, (20, 40, 45)),
        "rotnet_block3": (3, "nonlinear", False, 86.21, (20, 40, 45)), "rotnet_block4": (4, "nonlinear", False, 61.73, (20, 40, 45)),
        "rotnet_conv": (2, "conv", False, 91.16, (35, 70, 85)), "rotnet_conv_tuned": (2, "conv", True, 92.17, (35, 70, 85)),
        "rotnet_nonlinear_tuned": (2, "nonlinear", True, 91.73, (20, 40, 45)), "random_conv": (2, "conv", False, 72.50, (35, 70, 85)),
        "rotnet_8_block2": (2, "nonlinear", False, 88.51, (20, 40, 45)),
        "rotnet_0_180_block2": (2, "nonlinear", False, 87.46, (20, 40, 45)),
        "rotnet_90_270_block2": (2, "nonlinear", False, 85.52, (20, 40, 45)),
    }.items():  # fmt: skip
        found, chosen = recipes.find(recipe, "paper")
        plan = chosen.settings
        assert (plan.block, plan.head, plan.fine_tuned) == (blocks, head, tuned) and plan.drop_at == tuple(d / 100 for d in drops)
        assert found.paper["cifar10"]["accuracy"]["value"] == value and plan.steps == 100 * 50_000 // 128
    assert recipes.RECIPES["nin_supervised"].paper["cifar10"]["accuracy"]["value"] == 92.80


@pytest.mark.parametrize("recipe", [*pretext.RECIPES, *of_few_labels.RECIPES])
def test_data_and_needs_of_every_preset(recipe):
    for name, chosen in recipes.RECIPES[recipe].presets.items():
        assert set(chosen.tests) <= set(data.LOADERS) and chosen.data(0).words in data.LOADERS
        for source in chosen.needs.values():
            assert source.preset == name and recipes.RECIPES[source.recipe].ships


@pytest.mark.parametrize("recipe", ["rotnet", "rotnet_8", "nin_supervised", "nin_random"])
def test_networks_are_trained_and_recorded(home, recipe):
    model, plan, *_ = runs.train(recipe, "quick", changes=TINY, checkpoint=home / "a.ckpt")
    written = recording.record(recipe, "quick", home / "a.ckpt")
    figures = written["metrics"]["digits_on_photos"]
    own = {"rotnet": ["rotation"], "rotnet_8": ["rotation"], "nin_supervised": ["accuracy"], "nin_random": []}[recipe]
    assert [name for name in figures if not name.startswith("knn")] == own
    assert [name for name in figures if name.startswith("knn")] == ["knn_block1", "knn_block2"]
    assert all(0 <= value <= 100 for value in figures.values())
    untrained = recipes.RECIPES[recipe].network(plan, seed=0)
    same = [torch.equal(a.cpu(), b) for a, b in zip(model.parameters(), untrained.parameters(), strict=True)]
    assert all(same) if recipe == "nin_random" else not any(same[::3])
    mean = model.blocks[0][1].running_mean.cpu()
    assert not torch.equal(mean, torch.zeros_like(mean)), "the statistics are those of the images, even where nothing is learnt"


def test_a_probe_of_the_shipped_network(home):
    runs.train("rotnet", "quick", changes=TINY, checkpoint=home / "trunk.ckpt")
    recording.record("rotnet", "quick", home / "trunk.ckpt")
    changes = {"steps": "3", "batch_size": "8", "precision": "32-true"}
    model, *_ = runs.train("rotnet_conv", "quick", changes=changes, checkpoint=home / "p.ckpt")
    written = recording.record("rotnet_conv", "quick", home / "p.ckpt")
    assert written["about"]["needs"]["trunk"]["recipe"] == "rotnet" and 0 <= written["metrics"]["digits_on_photos"]["accuracy"] <= 100
    shipped = runs.shipped("rotnet", "quick")
    assert torch.equal(model.trunk.network[1][0].weight, shipped.blocks[0][0].weight)


def test_a_network_that_is_needed_and_missing_is_named_before_any_image_is_loaded(home, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("images were loaded"))
    with pytest.raises(results.RecordError, match="weights of nin_random, .* run `course train nin_random --preset quick --record` first"):
        runs.train("random_conv", "quick")


def test_where_two_curves_cross():
    counts = (10, 100, 1000)
    assert few_labels.crossing(counts, [50, 60, 70], [40, 60, 80]) == pytest.approx(100), "level at 100, and behind after it"
    assert few_labels.crossing(counts, [50, 60, 70], [40, 50, 80]) == pytest.approx(10**2.5), "half-way on a logarithmic axis"
    assert few_labels.crossing(counts, [50, 60, 70], [60, 50, 80]) == pytest.approx(10**2.5), "the last one counts"
    assert few_labels.crossing(counts, [50, 60, 70], [60, 70, 80]) == 10
    assert few_labels.crossing(counts, [50, 60, 70], [40, 70, 70]) is None and few_labels.crossing([7], [1], [0]) is None
    dense = np.logspace(1, 3, 100_001)
    ours, rivals = (np.interp(np.log(dense), np.log(counts), values) for values in ([64, 71, 90], [33, 69, 95]))
    assert few_labels.crossing(counts, [64, 71, 90], [33, 69, 95]) == pytest.approx(dense[(ours >= rivals).nonzero()[0].max()], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], []), r"counts = \(\): give one or more rising numbers"),
        (([10, 10], [1, 2], [1, 2]), r"counts = \(10, 10\): give one or more rising"),
        (([0, 10], [1, 2], [1, 2]), "rising numbers of labels a class, from 1"),
        (([1, 10], [1, 2], [1]), "there are 2 counts, but 2 and 1 accuracies"),
    ],
)
def test_curves_that_cannot_cross(arguments, message):
    with pytest.raises(ValueError, match=message):
        few_labels.crossing(*arguments)


def test_few_labels_are_drawn_by_the_seed_and_paired(home, monkeypatch):
    monkeypatch.setattr(data, "load", lambda name, split=None, **_: replace(stripes(120 if split == "train" else 12), name=name))
    both = ("few20_supervised", "few20_rotnet")
    parts = {name: [recipes.find(name, "quick")[1].data(seed).train() for seed in (0, 0, 1)] for name in both}
    for first, again, other in parts.values():
        assert first.labels.bincount().tolist() == [20] * 4 and "20 of each class have a label, draw 0" in first.source
        assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
        assert all(torch.equal(stripes(120).images[int(name)], image) for name, image in zip(first.names, first.images, strict=True))
    assert torch.equal(parts["few20_supervised"][0].images, parts["few20_rotnet"][0].images), "paired"


def test_recipes_of_few_labels():
    figures = {20: (33.66, 64.63), 100: (47.26, 75.28), 400: (74.19, 82.84), 1000: (83.47, 86.43), 5000: (93.07, 91.95)}
    for count, values in figures.items():
        for name, value in zip(("supervised", "rotnet"), values, strict=True):
            found = recipes.RECIPES[f"few{count}_{name}"]
            assert found.paper["cifar10"]["accuracy"]["value"] == value and found.seeds == 5
            assert list(found.presets) == (["quick", "paper", "jpeg"] if count <= 400 else ["paper", "jpeg"]), "as many as there are"
            full = recipes.RECIPES["nin_supervised" if name == "supervised" else "rotnet_conv"].presets["paper"].settings
            assert found.presets["paper"].settings.steps == full.steps, "few labels mean no shorter training"
    budgets = {recipes.budget(recipes.find(f"few20_{name}", "quick")[1].settings) for name in ("supervised", "rotnet", "tuned", "random")}
    assert len(budgets) == 1, "from scratch, too, sees as many images"
    tuned, frozen = (recipes.find(f"few20_{name}", "paper")[1].settings for name in ("tuned", "rotnet"))
    assert tuned == replace(frozen, fine_tuned=True) and tuned.head == "conv"


def test_few_labels_are_recorded_over_seeds(home, monkeypatch):
    monkeypatch.setattr(data, "load", lambda name, split=None, **_: replace(stripes(120 if split == "train" else 12), name=name))
    files = runs.train_seeds("few20_supervised", "quick", (0, 1), changes=TINY, folder=home)
    written = recording.record("few20_supervised", "quick", files)
    assert list(written["per_seed"]["digits_on_photos"]["accuracy"]) == ["seed 0", "seed 1"] and "weights" not in written


# --- a folder of one's own ------------------------------------------------------------------------------------------------


def jpeg(width, height, seed, mode="RGB"):
    channels = {"RGB": 3, "L": 1}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, channels), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).resize((width, height)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def own(tmp_path):
    """A data root with 24 photographs of several sizes in two folders, one of them gray."""
    names = [f"own/{kind}/{i}.jpg" for kind in ("cats", "dogs") for i in range(12)]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jpeg(300 + 8 * i, 280, i, "L" if i == 3 else "RGB"))
    (tmp_path / "own" / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_of_ones_own(own):
    parts = {split: data.load("own", split, root=own) for split in ("train", "test")}
    assert sum(map(len, parts.values())) == 24 and min(map(len, parts.values())) > 0
    assert not set(parts["train"].names) & set(parts["test"].names)
    for split, found in parts.items():
        assert all(held_out(name) == (split == "test") for name in found.names) and f"{split} split" in found.source
        assert found.classes == ("cats", "dogs") and all(image.shape[0] == 3 for image in found.images)
        assert [found.classes[label] for label in found.labels] == [name.split("/")[0] for name in found.names]
    (own / "own" / "one more.JPG").write_bytes(jpeg(40, 40, 1))
    with pytest.warns(UserWarning, match="1 of 25 images of .* lie in no folder, the first is one more.JPG: so none of them has a class"):
        more = data.load("own", "test" if held_out("one more.JPG") else "train", root=own)
    assert "one more.JPG" in more.names and more.labels is None and not more.classes, "not all lie in folders"


def test_hidden_files_are_no_photographs_and_hidden_folders_no_classes(own):
    before = {split: data.load("own", split, root=own) for split in ("train", "test")}
    for name in (".ipynb_checkpoints/0-checkpoint.jpg", "cats/.ipynb_checkpoints/0-checkpoint.jpg", ".thumbnails/1.jpg", "cats/._0.jpg"):
        (own / "own" / name).parent.mkdir(exist_ok=True)
        (own / "own" / name).write_bytes(jpeg(40, 40, 1))
    (own / "own" / "album.jpg").mkdir()
    for split, found in before.items():
        again = data.load("own", split, root=own)
        assert again.names == found.names and again.classes == found.classes


def test_a_folder_without_what_is_needed(own, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(data.DataError, match="has no images: put photographs there"):
        data.load("own", "train", root=empty)
    (empty / "own").mkdir()
    name = next(f"{i}.jpg" for i in range(99) if not held_out(f"{i}.jpg"))
    (empty / "own" / name).write_bytes(jpeg(32, 32, 0))
    with pytest.raises(data.DataError, match="has 1 images, of which none is in the test split: put more there"):
        data.load("own", "test", root=empty)
    (own / "own" / "cats" / "0.jpg").write_bytes(b"no image at all")
    split = "test" if held_out("cats/0.jpg") else "train"
    with pytest.raises(data.DataError, match=r"cats/0\.jpg is no image that Pillow reads"):
        data.load("own", split, root=own)


def test_alexnet_on_a_folder_of_ones_own(own, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_DATA", str(own))
    monkeypatch.chdir(own)
    arguments = ["train", "rotnet_alexnet", "steps=1", "batch_size=2", "angles=0,180", "precision=32-true", "--preset", "paper"]
    assert cli.main(arguments) == 0  # it is measured by the angles that it was trained with, not by the recipe's
    assert "own: " in capsys.readouterr().out


def test_alexnet():
    settings = alexnet.Settings()
    network = alexnet.AlexNet(settings).eval()
    assert sum(p.numel() for p in network.parameters()) == 57_030_724
    features = nin.trunk(network, 5)(rand(1, 3, 224, 224))
    assert features.shape == (1, 256, 13, 13)
    assert nin.first_filters(*network.blocks[0][:2]).shape == (64, 3, 11, 11)
    images = (torch.full((3, 300, 260), 9, dtype=torch.uint8), torch.full((3, 256, 400), 7, dtype=torch.uint8))
    pool = alexnet.prepare(Dataset("two", images, "drawn", ("a", "b")), settings)
    assert pool.images.shape == (2, 3, 256, 256) and set(pool.images.flatten().tolist()) == {7, 9}
    seen, labels = alexnet.batch(pool, rng.Draws(), replace(settings, batch_size=2))
    assert seen.shape == (2, 4, 3, 224, 224) and labels.tolist() == [[0, 1, 2, 3]] * 2
    found = alexnet.evaluate(network, images)
    assert len(found) == 2 and all(value in (0, 25, 50, 75, 100) for value in found)
    assert alexnet.evaluate(network, images, indices=[]) == [] and alexnet.evaluate(network, images, indices=[1]) == found[1:]
    epoch = settings.steps / 50
    rates = [training.learning_rate(settings, round(epoch * at)) for at in (0, 14, 16, 29, 31, 44, 46)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


def test_random_parts_of_images():
    """On a slope from 0 to 1 in each direction the corners of a part say where it lies."""
    at = (torch.arange(64) + 0.5) / 64
    slopes = torch.stack([at[None].expand(64, 64), at[:, None].expand(64, 64)]).expand(500, 2, 64, 64)
    found = alexnet.parts(slopes, 16, torch.Generator().manual_seed(0))
    assert found.shape == (500, 2, 16, 16) and found.min() >= 0 and found.max() <= 1
    width = (found[:, 0, 0, -1] - found[:, 0, 0, 0]) * 16 / 15
    height = (found[:, 1, -1, 0] - found[:, 1, 0, 0]) * 16 / 15
    area, ratio = width * height, width / height
    assert area.min() > 0.05 and area.max() < 1.05 and 0.7 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.42
    assert area.mean().item() == pytest.approx(0.52, abs=0.06)
    again = alexnet.parts(slopes, 16, torch.Generator().manual_seed(0))
    assert torch.equal(found, again)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alexnet.Settings(angles=(0, 45)), "for quarter turns"),
        (lambda: alexnet.Settings(angles=(0, 10)), "10 is none of"),
        (lambda: alexnet.Settings(initial_gamma="two"), 'initial_gamma = "two"'),
        (lambda: alexnet.prepare(Dataset("gray", torch.zeros(2, 1, 300, 300, dtype=torch.uint8), "drawn", ("a", "b")), alexnet.Settings()),
         "an image has 1 channels, but AlexNet takes 3"),
        (lambda: alexnet.prepare(Dataset("none", (), "drawn", ()), alexnet.Settings()), "there are no images"),
        (lambda: alexnet.parts(rand(1, 3, 8, 8), 0, torch.Generator()), "side = 0"),
    ],
)  # fmt: skip
def test_wrong_input_of_alexnet(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_too_few_images_to_standardise_or_to_ask_about():
    label = torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match="there are 1 known images and 2 queries"):  # whose standard deviation is NaN
        few_labels.Probe(torch.rand(1, 3), label, torch.rand(2, 3), label.expand(2))
    with pytest.raises(ValueError, match="there are 2 known images and 0 queries"):
        few_labels.Probe(torch.rand(2, 3), label.expand(2), torch.rand(0, 3), label[:0])


def test_curves_without_a_number_cross_nowhere():
    with pytest.raises(ValueError, match="must be finite"):
        few_labels.crossing([1, 2], [1.0, math.nan], [2.0, 1.0])
    assert few_labels.crossing(torch.tensor([1, 2]).numpy(), [2.0, 1.0], [1.0, 2.0]) > 1
