"""Recipes of classifying noisy images: the paper's settings and figures, and from a training to its record."""

import json
from dataclasses import replace

import pytest
import torch

from course_lib import data, project, recipes, recording, reported, results, rng, runs, weights
from course_lib.recipes.noisy_classification import JOINT, RECIPES

SMALL = {"blocks": "1", "width": "4", "steps": "2", "batch_size": "8", "precision": "32-true"}
OF_TABLES = [name for name in RECIPES if not name.startswith("imagenet") and name not in JOINT]
PRESETS = [(name, preset) for name in OF_TABLES for preset in RECIPES[name].presets]


@pytest.fixture
def drawn(home, monkeypatch):
    """Random pictures in the shape of every data set."""

    def load(name, split=None):
        shape = (1, 28, 28) if name in ("mnist", "digits") else (3, 32, 32)
        images = torch.randint(256, (120, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(len(split)))
        names, labels = tuple(map(str, range(120))), torch.arange(120) % 10
        return data.Dataset(name, images, f"drawn for {name}, {split}", names, labels, tuple("0123456789"))

    monkeypatch.setattr(data, "load", load)
    return home


@pytest.mark.parametrize(
    ("recipe", "layers", "steps", "drops", "flip", "centred"),
    [
        ("mnist_noise_pivot", 20, 9_000, (4_000, 6_000, 8_000), False, "none"),
        ("cifar_noise_pivot", 20, 94_000, (48_000, 72_000), True, "pixel"),
        ("cifar110_lowres_pivot", 110, 94_000, (48_000, 72_000), True, "pixel"),
    ],
)
def test_the_settings_of_the_paper(recipe, layers, steps, drops, flip, centred):
    plan = recipes.find(recipe, "paper")[1].settings
    assert (plan.layers, plan.steps, plan.batch_size, plan.copies) == (layers, steps, 128, 64)
    assert (plan.optimizer, plan.momentum, plan.weight_decay, plan.learning_rate) == ("sgd", 0.9, 1e-4, 0.1)
    assert [round(drop * steps) for drop in plan.drop_at] == list(drops)
    assert plan.final_learning_rate == pytest.approx(0.1 / 10 ** len(drops))
    assert (plan.weight_perturbed, plan.weight_pivot, plan.max_sigma, plan.factors) == (0.3, 1e-4, 0.15, (2, 4))
    assert (plan.flip, plan.centred, plan.padding) == (flip, centred, 4 if flip else 0)


def test_the_settings_of_the_paper_for_imagenet():
    clean, tuned = (recipes.find(f"imagenet_{name}", "paper")[1] for name in ("clean", "pivot"))
    assert (clean.settings.steps, clean.settings.size, clean.settings.classes, clean.settings.centred) == (1_100_000, 244, 1000, "channel")
    assert [round(drop * 1.1e6) for drop in clean.settings.drop_at] == [500_000, 800_000, 1_000_000]
    assert (tuned.settings.steps, tuned.settings.batch_size, tuned.settings.copies) == (400_000, 64, 32)
    assert tuned.settings.learning_rate == tuned.settings.final_learning_rate == 1e-5
    assert tuned.needs["start"].recipe == "imagenet_clean" and tuned.settings.perturbation == "regions"


@pytest.mark.parametrize(
    ("recipe", "name", "values"),
    [
        ("mnist_clean", "mnist", {"accuracy": 99.6, "accuracy_38.25": 40.9, "accuracy_x4nearest": 50.4, "accuracy_x4bicubic": 57.5}),
        ("cifar_clean", "cifar10", {"accuracy": 91.6, "accuracy_12.75": 62.4, "accuracy_38.25": 16.6, "accuracy_x4nearest": 19.2,
                                    "accuracy_x4bicubic": 19.9}),
        ("cifar_noise_only", "cifar10", {"accuracy": 89.8, "accuracy_12.75": 88.9, "accuracy_38.25": 82.0}),
        ("cifar_noise_pivot", "cifar10", {"accuracy": 90.8, "accuracy_12.75": 89.6, "accuracy_38.25": 81.7}),
        ("mnist_noise_both", "mnist", {"accuracy": 99.6, "accuracy_38.25": 99.4}),
        ("cifar_lowres_only", "cifar10", {"accuracy_x4nearest": 75.9, "accuracy_x4bicubic": 72.9}),  # 85.9 or 86.9: not legible
        ("cifar110_lowres_pivot", "cifar10", {"accuracy": 93.3, "accuracy_x4nearest": 78.1, "accuracy_x4bicubic": 77.4}),
        ("imagenet_pivot", "imagenet", {"accuracy": 67.4, "accuracy_x4region": 62.1, "accuracy_x4nearest": 49.0}),
    ],
)  # fmt: skip
def test_published_figures(recipe, name, values):
    found = RECIPES[recipe]
    assert {metric: figure["value"] for metric, figure in found.paper[name].items()} == values
    assert set(values) <= set(found.presets["paper"].tests[name].metrics)


def test_every_row_of_the_three_tables_is_a_recipe():
    assert len(OF_TABLES) == 3 + 6 + 6 + 3 and all(RECIPES[name].seeds == 3 for name in (*OF_TABLES, *JOINT))
    assert {metric for recipe in RECIPES.values() for preset in recipe.presets.values() for test in preset.tests.values()
            for metric in test.metrics if not reported.named(metric).words} == set()  # fmt: skip


@pytest.mark.parametrize(("recipe", "preset"), PRESETS)
def test_preset_builds_network_and_batch(drawn, recipe, preset):
    found, chosen = recipes.find(recipe, preset)
    plan = replace(chosen.settings, batch_size=8, blocks=1)
    images = chosen.data(0).train()
    pool = found.method.prepare(images, plan)
    batch = found.method.batch(pool, rng.Draws(), plan)
    loss, values = found.method.step(found.network(plan, seed=0), batch, plan)
    assert loss.isfinite() and loss.requires_grad and not any(value.requires_grad for value in values.values())
    assert {*chosen.data(0).words.split(", "), *chosen.tests} <= set(data.LOADERS)
    assert images.source.endswith("train") and chosen.data(0).test(next(iter(chosen.tests))).source.endswith("test")


def test_chapter_15_says_how_short_the_runs_on_mnist_are():
    found = [results.read(name, "paper") for name, preset in results.recorded() if name.startswith("mnist_") and preset == "paper"]
    [steps] = {record["settings"]["steps"] for record in found}
    text = (project.home() / "book" / "15_pixel_regularisation.md").read_text(encoding="utf-8")
    assert f"on MNIST {steps:,} of {RECIPES['mnist_clean'].presets['paper'].settings.steps:,}." in text


def test_from_training_to_record(drawn):
    files = runs.train_seeds("cifar_noise_pivot", "quick", (0, 1), changes=SMALL, folder=drawn)
    written = recording.record("cifar_noise_pivot", "quick", files, note="a test")
    assert results.read("cifar_noise_pivot", "quick") == json.loads(json.dumps(written))
    measured = written["per_seed"]["digits_on_photos"]
    assert list(measured) == list(recipes.find("cifar_noise_pivot", "quick")[1].tests["digits_on_photos"].metrics)
    assert all(set(values) == {"seed 0", "seed 1"} for values in measured.values()) and weights.path("cifar_noise_pivot", "quick").is_file()
    shipped = runs.shipped("cifar_noise_pivot", "quick")
    again = runs.evaluate("cifar_noise_pivot", "quick", shipped)["digits_on_photos"]["accuracy_76.5"]
    assert sum(again.values()) / 120 == pytest.approx(measured["accuracy_76.5"]["seed 0"], abs=1e-4)
    assert 0.3 < shipped.mean.mean() < 0.7, "the mean of the training images is shipped with the weights"


def test_joint_training_goes_on_from_a_denoiser_and_through_a_classifier(drawn):
    changes, made = {"blocks": "1", "width": "4", "steps": "2", "batch_size": "8", "precision": "32-true"}, {}
    for recipe in ("cifar_clean", "joint_image", "joint_label", "joint_retrained"):
        small = changes if recipe == "cifar_clean" else {**changes, "denoiser_width": "4"}
        files = runs.train_seeds(recipe, "quick", (0, 1), changes=small, folder=drawn)
        written = recording.record(recipe, "quick", files, note="a test")
        made[recipe], _ = runs.from_checkpoint(recipe, "quick", files[0])
    assert set(written["about"]["needs"]) == {"denoiser"}
    by_label = results.read("joint_label", "quick")
    assert set(by_label["about"]["needs"]) == {"classifier", "start"}
    assert list(by_label["metrics"]["digits_on_photos"])[::6] == ["accuracy_12.75", "psnr_12.75"]
    image, label, anew = runs.shipped("joint_image", "quick"), made["joint_label"], made["joint_retrained"]
    clean = runs.shipped("cifar_clean", "quick").state_dict()
    assert all(torch.equal(tensor, clean[name]) for name, tensor in image.classifier.network.state_dict().items())
    kept = image.denoiser.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in anew.denoiser.network.state_dict().items())
    assert not torch.equal(label.denoiser.state_dict()["last.weight"], kept["last.weight"])


@pytest.mark.parametrize("recipe", JOINT)
def test_the_weights_of_the_joint_loss(recipe):
    quick, paper = (RECIPES[recipe].presets[name].settings for name in ("quick", "paper"))
    assert (quick.weight_label, quick.weight_image, quick.trained, quick.target) == (
        paper.weight_label, paper.weight_image, paper.trained, paper.target)  # fmt: skip
    assert (paper.denoiser_width, paper.sigma, paper.layers) == (64, 0.15, 20)


@pytest.mark.parametrize("preset", ["quick", "paper", "jpeg"])
def test_each_weight_of_the_image_has_the_same_start_and_the_same_budget(preset):
    """Only what the loss weighs differs along the curve; the control goes on as long, without the label."""
    sweep = ("joint_image_longer", "joint_1000", "joint_100", "joint_10", "joint_1", "joint_label")
    found = [RECIPES[recipe].presets[preset] for recipe in sweep]
    weights_of = [(chosen.settings.weight_label, chosen.settings.weight_image) for chosen in found]
    assert weights_of == [(0.0, 1.0), (1.0, 1000.0), (1.0, 100.0), (1.0, 10.0), (1.0, 1.0), (1.0, 0.0)]
    assert len({replace(chosen.settings, weight_label=1.0, weight_image=1.0) for chosen in found}) == 1
    assert {chosen.needs["start"].recipe for chosen in found} == {"joint_image"}
    assert "start" not in RECIPES["joint_image"].presets[preset].needs
    pair = [RECIPES[recipe].presets[preset] for recipe in ("joint_ffdnet_longer", "joint_ffdnet_100")]
    assert len({replace(chosen.settings, weight_label=1.0, weight_image=1.0) for chosen in pair}) == 1
    assert {chosen.needs["start"].recipe for chosen in pair} == {"joint_ffdnet"}


def test_names_of_figures():
    assert reported.named("accuracy_38.25").words == "classified correctly, with noise of σ = 38.25"
    assert reported.named("accuracy_x4bicubic").words == "classified correctly, at 1/4 of the resolution, enlarged by bicubic interpolation"
    assert reported.named("accuracy_x4region").words.endswith("at 1/4 of the resolution around a region of interest")


def test_where_a_network_without_noise_fails_is_no_aim():
    for name in ("mnist_clean", "cifar_clean", "cifar110_clean"):
        [figures] = recipes.named(name).paper.values()
        assert set(recipes.named(name).fails) == set(figures) - {"accuracy"} != set()
    assert not recipes.named("mnist_noise_only").fails and not recipes.named("cifar_lowres_pivot").fails
