"""Every recipe runs, from its presets to the record of its run, and the modules of the library keep to their floors."""

import ast
import copy
import graphlib
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import course_lib
from course_lib import checkpoints, cli, data, progress, project, recipes, recording, results, rng, runs, weights
from course_lib.denoising import cbdnet, dncnn
from course_lib.recipes import base, denoising, laptop
from course_lib.recipes import metric_learning as of_people
from course_lib.self_supervised_denoising import ap_bsn
from course_lib.settings import override

PACKAGE = Path(course_lib.__file__).resolve().parent
DENOISERS = list(laptop.RECIPES)
PRESETS = [(name, preset) for name in DENOISERS for preset in recipes.RECIPES[name].presets]
# of each method one recipe, from scratch and going on from other weights; with most to measure: that of a paper preset
ONE_OF_EACH = {(recipes.RECIPES[name].method, bool(recipes.RECIPES[name].presets[preset].needs)): (name, preset)
               for name, preset in sorted(PRESETS, key=lambda run: run[1] == "paper") if recipes.RECIPES[name].seeds == 1}  # fmt: skip
OF_PEOPLE = [(name, preset) for name, recipe in of_people.RECIPES.items() for preset in recipe.presets]
TINY = {"depth": "2", "width": "4", "steps": "3", "batch_size": "9"}
TINY_OTHERS = {  # networks that have no depth
    cbdnet: {"width": "4", "estimator_width": "4", "patch_size": "16", "steps": "3", "batch_size": "2"},
    ap_bsn: {"width": "4", "modules": "1", "steps": "3", "batch_size": "2", "passes": "1"},
}


@pytest.fixture
def home(home, monkeypatch):
    """A folder for records and weights of its own, and two small images in place of every data set."""
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    monkeypatch.setattr(data, "load", two_images)
    return home


def two_images(name, split=None, *, color=False):
    channels = 3 if color or name.startswith("cbsd") else 1
    draws = torch.Generator().manual_seed(len(name))
    images = torch.randint(0, 256, (2, channels, 144, 152), dtype=torch.uint8, generator=draws)
    if name == "cc15":
        images = images.expand(2, 3, -1, -1).contiguous()
    truth = images // 2 if name == "cc15" else None
    # who is on the portraits is of no interest to a denoiser
    people = {"labels": torch.arange(2), "classes": ("Ada", "Bob")} if name == "portraits" else {}
    return data.Dataset(name, images, f"drawn for {name}, {split}", ("one", "two"), truth=truth, **people)


def trained(recipe, preset, home):
    for source in recipes.RECIPES[recipe].presets[preset].needs.values():  # weights that are shipped
        recording.record(source.recipe, source.preset, trained(source.recipe, source.preset, home)[1])
    file = home / f"{recipe}.{preset}.ckpt"
    return runs.train(recipe, preset, changes=TINY_OTHERS.get(recipes.RECIPES[recipe].method, TINY), checkpoint=file), file


# --- names and settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "preset", "message"),
    [
        ("dncn_s", "quick", rf'unknown recipe "dncn_s" \(did you mean dncnn_s\?\): `course list` prints all {len(recipes.RECIPES)}'),
        ("xyz", "quick", r'unknown recipe "xyz": `course list` prints all'),
        ("dncnn_b", "papr", r'unknown preset "papr" \(did you mean paper\?\); dncnn_b has quick, paper, laptop\.'),
    ],
)
def test_unknown_names(recipe, preset, message):
    with pytest.raises(ValueError, match=message):
        recipes.find(recipe, preset)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("depth", "8", 8), ("learning_rate", "1e-2", 0.01), ("weight_decay", "1", 1.0), ("sigma_255", "0,55", (0.0, 55.0)),
     ("scales", "1", (1.0,)), ("batch_norm", "false", False), ("zero_last", "Yes", True), ("compile", "0", False),
     ("factors", "3,4", (3, 4)), ("general", "true", True), ("schedule", "cosine", "cosine"), ("precision", "bf16-mixed", "bf16-mixed")],
)  # fmt: skip
def test_override(name, text, value):
    settings = dncnn.Settings()
    changed = override(settings, {name: text, "steps": "7"})
    assert getattr(changed, name) == value and type(getattr(changed, name)) is type(value)
    assert changed == replace(settings, steps=7, **{name: value}) and settings == dncnn.Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [("depth", "deep"), ("depth", "8.5"), ("depth", ""), ("learning_rate", "fast"), ("sigma_255", "0;55"),
     ("sigma_255", "0,"), ("batch_norm", "perhaps"), ("compile", "2")],
)  # fmt: skip
def test_a_value_of_a_wrong_type(name, text):
    with pytest.raises(ValueError, match=f'^{name} = "{text}" is not understood: a value such as '):
        override(dncnn.Settings(), {name: text})


@pytest.mark.parametrize(
    ("name", "text"),
    [("depth", "1"), ("steps", "-1"), ("sigma_255", "55,0"), ("sigma_255", "25"), ("factors", "1,2"),
     ("jpeg_quality", "0,50"), ("schedule", "linear"),
     ("optimizer", "lion"), ("precision", "16")],
)  # fmt: skip
def test_a_value_that_makes_no_sense(name, text):
    with pytest.raises(ValueError, match=f"{name} = "):
        override(dncnn.Settings(), {name: text})


def test_an_unknown_setting():
    with pytest.raises(ValueError, match=r'unknown setting "dept" \(did you mean depth\?\); the settings are steps, batch_'):
        override(dncnn.Settings(), {"dept": "8"})


def test_metric_names():
    assert list(denoising.at_sigmas(25.0)) == ["psnr"]
    assert list(denoising.at_sigmas(15.0, 7.5)) == ["psnr_15", "psnr_7.5"]


def test_general_training_needs_a_patch_for_each_degradation():
    general = recipes.find("dncnn_3", "quick")[1].settings
    with pytest.raises(ValueError, match="batch_size = 8: DnCNN-3 needs 9"):
        override(general, {"batch_size": "8"})
    assert override(general, {"batch_size": "6", "factors": "2,3"}).batch_size == 6


# --- what is in the dictionary --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "depth", "width", "patch_size", "sigma_255", "channels", "parameters"),
    [("dncnn_s", 17, 64, 40, (25, 25), 1, 555_137), ("dncnn_s15", 17, 64, 40, (15, 15), 1, 555_137),
     ("dncnn_s50", 17, 64, 40, (50, 50), 1, 555_137), ("dncnn_b", 20, 64, 50, (0, 55), 1, 665_921),
     ("dncnn_3", 20, 64, 50, (0, 55), 1, 665_921), ("cdncnn_b", 20, 64, 50, (0, 55), 3, 668_227),
     ("dncnn_30", 20, 64, 50, (0, 30), 1, 665_921), ("bfcnn_30", 20, 64, 50, (0, 30), 1, 664_704),
     ("bfcnn", 20, 64, 50, (0, 55), 1, 664_704), ("ffdnet", 15, 64, 70, (0, 75), 1, 485_316),
     ("fdncnn", 20, 64, 70, (0, 75), 1, 666_497), ("cffdnet", 12, 96, 50, (0, 75), 3, 852_108)],
)  # fmt: skip
def test_paper_presets_are_as_published(recipe, depth, width, patch_size, sigma_255, channels, parameters):
    found, chosen = recipes.find(recipe, "paper")
    plan = chosen.settings
    assert (plan.depth, plan.width, getattr(plan, "batch_norm", False)) == (depth, width, recipe != "fdncnn")
    assert (plan.patch_size, plan.sigma_255, plan.channels, plan.batch_size) == (patch_size, sigma_255, channels, 128)
    assert plan.steps >= 50 * 1600, "50 epochs of at least 128 × 1,600 patches"
    shipped = found.folded(found.network(plan))
    assert sum(p.numel() for p in shipped.parameters()) == parameters
    same = found.network(found.folded_settings(plan)).state_dict()
    assert {n: t.shape for n, t in shipped.state_dict().items()} == {n: t.shape for n, t in same.items()}


@pytest.mark.parametrize(
    ("recipe", "name", "values"),
    [("dncnn_s", "bsd68", {"psnr": 29.23}), ("dncnn_s", "set12", {"psnr": 30.436}),
     ("dncnn_s15", "bsd68", {"psnr": 31.73}), ("dncnn_s15", "set12", {"psnr": 32.859}),
     ("dncnn_s50", "bsd68", {"psnr": 26.23}), ("dncnn_s50", "set12", {"psnr": 27.178}),
     ("dncnn_3", "bsd68", {"psnr_15": 31.46, "psnr_25": 29.02, "psnr_50": 26.10}),
     ("dncnn_b", "bsd68", {"psnr_15": 31.61, "psnr_25": 29.16, "psnr_50": 26.23}),
     ("dncnn_b", "set12", {"psnr_15": 32.680, "psnr_25": 30.362, "psnr_50": 27.206}),
     ("cdncnn_b", "cbsd68", {"psnr_15": 33.89, "psnr_25": 31.23, "psnr_35": 29.58, "psnr_50": 27.92}),
     ("ffdnet", "bsd68", {"psnr_15": 31.63, "psnr_25": 29.19, "psnr_35": 27.73, "psnr_50": 26.29, "psnr_75": 24.79,
                          "psnr_30": 28.38, "nn3d_30": 28.37, "nn3d_50": 26.29, "nn3d_75": 24.80}),
     ("ffdnet", "set12", {"psnr_30": 29.63, "psnr_50": 27.33, "psnr_75": 25.51,
                          "nn3d_30": 29.66, "nn3d_50": 27.39, "nn3d_75": 25.61}),
     ("fdncnn", "bsd68", {"psnr_15": 31.69, "psnr_25": 29.22, "psnr_50": 26.27}),
     ("cffdnet", "cbsd68", {"psnr_15": 33.87, "psnr_25": 31.21, "psnr_35": 29.58, "psnr_50": 27.96, "psnr_75": 26.24})],
)  # fmt: skip
def test_published_figures(recipe, name, values):
    found, chosen = recipes.find(recipe, "paper")
    quantised = {metric: figure for metric, figure in found.paper[name].items() if figure["protocol"] == "quantised"}
    assert quantised == {metric: {"value": v, "protocol": "quantised"} for metric, v in values.items()}
    assert set(values) <= set(chosen.tests[name].metrics)


@pytest.mark.parametrize(
    ("recipe", "values"),
    [("dncnn_30", (33.78, 28.37, 18.84, 15.21, 12.91)), ("bfcnn_30", (33.67, 28.25, 26.05, 24.68, 23.26)),
     ("dncnn_b", (33.73, 28.34, 26.22, 22.12, 15.43)), ("bfcnn", (33.72, 28.31, 26.18, 24.88, 23.57))],
)  # fmt: skip
def test_figures_published_with_the_bias_free_networks(recipe, values):
    found, chosen = recipes.find(recipe, "paper")
    given = {m: figure for m, figure in found.paper["bsd68"].items() if m.startswith("clamped")}
    assert list(given) == ["clamped_10", "clamped_30", "clamped_50", "clamped_70", "clamped_100"]
    assert [figure["value"] for figure in given.values()] == list(values)
    assert all(figure["protocol"] == "clamped" for figure in given.values())
    assert given == found.paper["bsd68"] or recipe == "dncnn_b"  # whose own paper has further ones
    assert chosen.settings.sigma_255 == ((0, 30) if recipe.endswith("30") else (0, 55))


def test_published_super_resolution():
    figures = recipes.RECIPES["dncnn_3"].paper["set5"]
    assert {metric: figure["value"] for metric, figure in figures.items()} == {"psnr_x2": 37.58, "psnr_x3": 33.75, "psnr_x4": 31.40}
    assert all("luma, raw" in figure["protocol"] for figure in figures.values())


@pytest.mark.parametrize("recipe", DENOISERS)
def test_every_published_figure_is_measured(recipe):
    found, chosen = recipes.find(recipe, "paper")
    measured = {name: set(test.metrics) for name, test in chosen.tests.items()}
    assert all(set(figures) <= measured[name] for name, figures in found.paper.items())


@pytest.mark.parametrize(("recipe", "preset"), PRESETS)
def test_preset_builds_network_and_batch(home, recipe, preset):
    found, chosen = recipes.find(recipe, preset)
    count = 9 if chosen.settings.patch_size < 100 else 2  # of large patches a few say as much
    plan = replace(chosen.settings, batch_size=count)
    images = chosen.data(0).train()
    channels = found.network(plan).channels
    assert images.images[0].shape[0] == channels, "the data set has as many channels as the network"
    pool = found.method.prepare(images, plan)
    made = found.method.batch(pool, rng.Draws(), plan)
    parts = (made,) if isinstance(made, torch.Tensor) else made  # its own target, or noisy and clean
    images = [part for part in parts if isinstance(part, torch.Tensor) and part.dim() == 4 and part.shape[-1] == plan.patch_size]
    assert {part.shape for part in images} == {(count, channels, plan.patch_size, plan.patch_size)} and len(images) >= min(2, len(parts))
    loss, values = found.method.step(found.network(plan, seed=0), made, plan)
    assert loss.isfinite() and loss.requires_grad and not values["psnr"].requires_grad
    assert {*chosen.data(0).words.split(", "), *chosen.tests} <= set(data.LOADERS)
    for name in chosen.tests:
        assert chosen.data(0).test(name).source == f"drawn for {name}, {'test' if name in data.SPLIT else None}"


def test_training_goes_on_from_shipped_weights(home, monkeypatch):
    monkeypatch.setattr(runs.training, "fit", lambda model, *arguments, **options: None)
    general = copy.deepcopy(runs.train("gradual", "paper", changes=TINY, seed=3)[0])
    monkeypatch.setattr(runs, "shipped", lambda recipe, preset: {("gradual", "paper"): general}[recipe, preset])
    monkeypatch.setattr(runs, "about", lambda *_: {})  # no weights are shipped here
    monkeypatch.setattr(runs, "_require", lambda chosen: None)  # nor recorded
    model = runs.train("gradual_text", "paper", changes=TINY, seed=0)[0]
    assert all(torch.equal(t, general.state_dict()[name]) for name, t in model.state_dict().items())
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(model.parameters(), general.parameters(), strict=True))
    with pytest.raises(ValueError, match="goes on from gradual, so that the network must have its depth and width"):
        runs.train("gradual_text", "paper", changes={**TINY, "width": "5"})


def test_several_data_sets_have_about_equal_parts():
    large, small = two_images("bsd400"), two_images("pages")
    small = replace(small, images=small.images[..., :30, :40])
    both = data.balanced([large, small])
    pixels = [sum(i.numel() for i in both.images if i.shape[-1] == width) for width in (152, 40)]
    assert both.name == "bsd400 + pages" and both.source == "bsd400; pages (18 times)"
    assert pixels[1] / pixels[0] == pytest.approx(1, abs=0.05)
    assert len(both.names) == len(both) == 2 + 36
    with pytest.raises(ValueError, match="no data sets"):
        data.balanced([])


# --- from training to the shipped network ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("recipe", "preset"), ONE_OF_EACH.values())
def test_end_to_end(home, recipe, preset):
    (model, settings, history, images), file = trained(recipe, preset, home)
    assert (settings.width, settings.steps, history.steps[-1]) == (4, 3, 3) and not history.interrupted
    chosen = recipes.find(recipe, preset)[1]
    assert images.name == chosen.data(0).words.replace(", ", " + ")

    again, content = runs.from_checkpoint(recipe, preset, file)
    assert content["step"] == 3 and not again.training
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in model.cpu().state_dict().items())

    written = recording.record(recipe, preset, file, note="a test")
    assert results.read(recipe, preset) == json.loads(json.dumps(written)) == written
    found, chosen = recipes.find(recipe, preset)
    figures = runs.evaluate(recipe, preset, runs.shipped(recipe, preset))
    measured = {name: list(test.metrics) for name, test in chosen.tests.items()}
    assert list(figures) == list(measured) == list(written["metrics"])
    assert {group["data"]: group["metrics"] for group in written["measured"]} == measured
    assert written["about"] == content["about"] == runs.about(recipe, preset, images)
    assert set(written["about"]["needs"]) == set(chosen.needs)
    for name, source in chosen.needs.items():
        digest = hashlib.sha256(weights.path(source.recipe, source.preset).read_bytes()).hexdigest()
        assert written["about"]["needs"][name]["sha256"] == digest
    for name, metrics in figures.items():
        assert list(metrics) == measured[name]
        for metric, values in metrics.items():
            assert list(values) == ["one", "two"]
            assert written["per_image"][name][metric] == pytest.approx(values, abs=1e-4)
            assert written["metrics"][name][metric] == pytest.approx(sum(values.values()) / 2, abs=1e-4)
    shipped = weights.path(recipe, preset)
    assert written["weights"]["sha256"] == hashlib.sha256(shipped.read_bytes()).hexdigest()
    assert written["weights"]["file"] == shipped.name
    assert written["short"] is True and written["note"] == "a test"
    assert written["paper"] == (found.paper if preset == "paper" else {})


def test_a_record_that_replaces_one_does_not_call_its_own_weights_a_change(home, monkeypatch):
    file = trained("dncnn_s", "quick", home)[1]
    shipped = weights.path("dncnn_s", "quick")
    shipped.parent.mkdir(parents=True, exist_ok=True)
    shipped.write_bytes(b"those of the record before")
    monkeypatch.setattr(project, "commit", lambda: shipped.read_bytes()[:9].decode())
    assert recording.record("dncnn_s", "quick", file)["commit"] == "those of "
    assert shipped.read_bytes()[:9] != b"those of "


def test_record_in_another_folder(home):
    file = trained("dncnn_s", "quick", home)[1]
    recording.record("dncnn_s", "quick", file, folder=home / "other")
    there = {p.relative_to(home / "other").as_posix() for p in (home / "other").rglob("*.*")}
    assert there == {"weights/dncnn_s.quick.safetensors", "results/dncnn_s.quick.json"}
    assert not results.path("dncnn_s", "quick").exists() and not weights.path("dncnn_s", "quick").exists()


def test_a_run_with_the_whole_budget_is_not_short(home, monkeypatch):
    found, chosen = recipes.find("dncnn_s", "quick")
    tiny = override(chosen.settings, TINY)
    monkeypatch.setitem(recipes.RECIPES, "dncnn_s", replace(found, presets={"quick": replace(chosen, settings=tiny)}))
    file = trained("dncnn_s", "quick", home)[1]
    assert recording.record("dncnn_s", "quick", file)["short"] is False


def test_single_precision_where_half_moves_a_figure(home, monkeypatch):
    file = trained("dncnn_s", "quick", home)[1]
    exact, halved = ({"photos": {"psnr": {"one": v}}} for v in (30.0, 30.011))
    given = iter([exact, halved])
    monkeypatch.setattr(runs, "evaluate", lambda *arguments, **options: next(given))
    written = recording.record("dncnn_s", "quick", file)
    assert not written["weights"]["half_precision"] and written["weights"]["moved"] == pytest.approx(0.011)
    expected = dncnn.folded(runs.from_checkpoint("dncnn_s", "quick", file)[0]).state_dict()
    assert all(torch.equal(t, expected[n]) for n, t in runs.shipped("dncnn_s", "quick").state_dict().items())


def values(record):
    """Every value of a record behind the names that lead to it, in order."""
    means = [("mean", name, metric, value) for name, metrics in record["metrics"].items() for metric, value in metrics.items()]
    single = [
        (name, metric, image, value)
        for name, metrics in record["per_image"].items()
        for metric, images in metrics.items()
        for image, value in images.items()
    ]
    return sorted(means) + sorted(single)


def test_a_record_is_extended_by_what_it_lacks(home, monkeypatch):
    whole = recording.record("dncnn_b", "paper", trained("dncnn_b", "paper", home)[1])
    with pytest.raises(ValueError, match="has everything that the recipe tests"):
        recording.extend("dncnn_b", "paper")
    found, chosen = recipes.find("dncnn_b", "paper")
    fewer = {name: replace(test, metrics={"psnr_25": test.metrics["psnr_25"]}) for name, test in list(chosen.tests.items())[1:]}
    with monkeypatch.context() as patched:
        patched.setitem(recipes.RECIPES, "dncnn_b", replace(found, presets={"paper": replace(chosen, tests=fewer)}, paper={}))
        small = recording.record("dncnn_b", "paper", home / "dncnn_b.paper.ckpt")
    assert list(small["metrics"]) == ["set12", "photos"] and list(small["metrics"]["set12"]) == ["psnr_25"]
    measured = []
    monkeypatch.setattr(dncnn.metrics, "psnr", lambda *a, _psnr=dncnn.metrics.psnr, **k: measured.append(1) or _psnr(*a, **k))
    extended = recording.extend("dncnn_b", "paper")
    assert len(measured) == 2 * (11 + 5 + 2), "what was there is not measured again"
    for one, other in zip(values(extended), values(whole), strict=True):
        # the weights have been through a file, and groups of similar blocks may change by rounding
        assert one[:-1] == other[:-1] and one[-1] == pytest.approx(other[-1], abs=3e-4)
    assert extended["paper"] == whole["paper"]
    assert extended["about"] == whole["about"] and results.read("dncnn_b") == extended
    groups = [(group["data"], len(group["metrics"])) for group in extended["measured"]]
    added = [(name, len(test.metrics) - (name != "bsd68")) for name, test in chosen.tests.items()]
    assert groups == [("set12", 1), ("photos", 1), *added], "what was added has a group of its own"

    published = base.published({"quantised": {"set12": {"psnr_15": 32.7}}})
    monkeypatch.setitem(recipes.RECIPES, "dncnn_b", replace(found, paper=published))
    corrected = recording.extend("dncnn_b", "paper")
    assert corrected["paper"] == published and values(corrected) == values(extended), "a figure of the paper needs no measurement"


def test_an_unfinished_checkpoint_is_not_recorded(home, monkeypatch):
    draw = dncnn.batch

    def stop(pool, draws, settings):
        if draws.step == 2:
            raise MemoryError
        return draw(pool, draws, settings)

    file, changes = home / "a.ckpt", {**TINY, "save_every": "1"}
    with monkeypatch.context() as patched:
        patched.setattr(dncnn, "batch", stop)
        with pytest.raises(MemoryError):
            runs.train("dncnn_s", "quick", changes=changes, checkpoint=file)
    with pytest.raises(checkpoints.CheckpointError, match=r"is at step 2 of 3: finish the run with --resume"):
        recording.record("dncnn_s", "quick", file)
    assert not results.path("dncnn_s", "quick").exists() and not weights.path("dncnn_s", "quick").exists()
    runs.train("dncnn_s", "quick", changes=changes, checkpoint=file, resume=True)
    assert recording.record("dncnn_s", "quick", file)["steps"] == 3


def test_a_checkpoint_of_another_method(home):
    file = trained("dncnn_s", "quick", home)[1]
    content = torch.load(file, weights_only=True)
    content["settings"]["margin"] = 0.2
    torch.save(content, file)
    message = r"ckpt is of another method than dncnn_s: there is no setting margin among "
    with pytest.raises(checkpoints.CheckpointError, match=message):
        runs.from_checkpoint("dncnn_s", "quick", file)


def test_recording_one_preset_leaves_the_other(home):
    for preset, seed in (("paper", 0), ("quick", 1)):
        runs.train("dncnn_s", preset, changes=TINY, seed=seed, checkpoint=home / preset)
        recording.record("dncnn_s", preset, home / preset)
    a, b = (runs.shipped("dncnn_s", preset).state_dict() for preset in ("paper", "quick"))
    assert not any(torch.equal(t, b[name]) for name, t in a.items() if name.endswith("weight"))


def test_evaluate_on_one_data_set(home):
    gray, colour = (dncnn.DnCNN(dncnn.Settings(depth=2, width=4, channels=channels)) for channels in (1, 3))
    assert list(runs.evaluate("dncnn_s", "paper", gray, only="set12")) == ["set12"]
    assert list(runs.evaluate("cdncnn_b", "paper", colour, only="photos")["photos"]) == [
        "psnr_15", "psnr_25", "psnr_35", "psnr_50", "psnr_camera", "psnr_jpeg", "input_camera", "input_jpeg"]  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "other", "words"),
    [
        ("cifar_clean", "photos", "photos has no images of one size with labels"),
        ("mnist_clean", "digits_on_photos", "cannot be evaluated on digits_on_photos: .*such images as those of digits"),
        ("cifar_clean", "scenes", "scenes has 2 classes, but the network of cifar_clean was made for 10"),
        ("before_after_kept", "digits_on_photos", "digits_on_photos has 10 classes, but the network of before_after_kept was made for"),
        ("before_after", "photos", "photos has no images before and after"),
        ("siamese", "photos", "on no other data such as"),
        ("dncnn_s", "digits_on_photos", "noisy images have 3 channels, but this network was made for 1"),
        ("cbdnet", "digits", "1 channels"),
    ],
)
def test_images_that_a_network_cannot_take(recipe, other, words):
    found, chosen = recipes.find(recipe, "quick")
    with pytest.raises(ValueError, match=words):
        runs.evaluate(recipe, "quick", found.network(chosen.settings).eval(), only=other, count=2)


def test_evaluate_the_smallest_images(home, monkeypatch):
    """Each keeps the noise of its own number, so that the figures are those of evaluating all."""
    sizes = ((60, 50), (40, 40), (40, 41), (30, 60))
    draws = torch.Generator().manual_seed(0)
    images = tuple(torch.randint(0, 256, (1, *size), dtype=torch.uint8, generator=draws) for size in sizes)
    monkeypatch.setattr(data, "load", lambda name, split=None, *, color=False: data.Dataset(name, images, "drawn", tuple("abcd")))
    model = dncnn.DnCNN(dncnn.Settings(depth=2, width=4)).eval()
    few = runs.evaluate("dncnn_3", "quick", model, count=2)["photos"]
    everything = runs.evaluate("dncnn_3", "quick", model)["photos"]
    assert list(few) == list(everything) and list(few["psnr_25"]) == ["b", "c"] and list(everything["psnr_25"]) == list("abcd")
    assert all(values == {n: everything[metric][n] for n in values} for metric, values in few.items())


def test_who_waits_for_an_evaluation_sees_how_far_it_is(home, monkeypatch):
    """A bar for each metric, which ends at its last image; what is measured image by image is the same as in one go."""
    shown = []

    def bar(total, label, unit):
        shown.append((label, total, made := progress.tqdm(total=total, file=io.StringIO())))
        return made

    monkeypatch.setattr(progress, "bar", bar)
    images = data.load("photos", "test").images
    chosen = base.Benchmark(metrics={"mean": lambda model, images, indices: [images[i].float().mean().item() for i in indices]}, parts=3)
    found = chosen.figures(data.load("photos", "test"), torch.nn.Identity())
    assert list(found["mean"].values()) == [image.float().mean().item() for image in images]
    assert [(label, total, made.n) for label, total, made in shown] == [("photos, mean", len(images), len(images))]
    assert all(test.parts > 1 for test in recipes.RECIPES["cbdnet"].presets["paper"].tests.values())


def test_evaluate_on_a_data_set_of_the_preset_takes_its_metrics(home):
    model = dncnn.DnCNN(dncnn.Settings(depth=2, width=4)).eval()
    assert list(runs.evaluate("dncnn_3", "paper", model, only="set5")["set5"]) == [
        *(f"psnr_x{k}" for k in (2, 3, 4)), *(f"input_x{k}" for k in (2, 3, 4))]  # fmt: skip


def test_the_input_is_measured_without_the_network(home):
    silent = dncnn.DnCNN(dncnn.Settings(depth=2, width=4, zero_last=True)).eval()
    other = dncnn.DnCNN(dncnn.Settings(depth=2, width=4)).eval()
    a, b = (runs.evaluate("dncnn_3", "paper", network)["set12"] for network in (silent, other))
    assert a["psnr_q10"] == pytest.approx(a["input_q10"], abs=1e-5) and b["input_q10"] == a["input_q10"] != b["psnr_q10"]


# --- people ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def crowd(home, monkeypatch):
    """Digits and faces that are patterns, so that who they are can be learned, and quickly."""

    def load(name, split=None, *, color=False):
        count, each, size = (40, 7, (112, 92)) if name == "faces" else (10, 20, (28, 28))
        draws = torch.Generator().manual_seed(1)
        patterns = torch.randint(30, 220, (count, 1, *size), generator=draws)
        grain = torch.randint(-30, 31, (count * each, 1, *size), generator=torch.Generator().manual_seed(2 if split == "train" else 3))
        images = (patterns.repeat_interleave(each, 0) + grain).to(torch.uint8)
        names, labels = tuple(f"{split} {i}" for i in range(count * each)), torch.arange(count).repeat_interleave(each)
        return data.Dataset(name, images, f"drawn for {name}, {split}", names, labels, tuple(str(i) for i in range(count)))

    monkeypatch.setattr(data, "load", load)
    return home


SHORT = {"steps": "2", "dimension": "8", "precision": "32-true"}


@pytest.mark.parametrize(("recipe", "preset"), OF_PEOPLE)
def test_people_are_trained_on_or_tested_on(crowd, recipe, preset):
    found, chosen = recipes.find(recipe, preset)
    splits = [chosen.data(seed) for seed in (0, 0, 1)]
    parts = [(split.train(), split.test(next(iter(chosen.tests)))) for split in splits]
    for a, b in zip(parts[0], parts[1], strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels), "a seed decides"
    assert not torch.equal(parts[0][1].images, parts[2][1].images), "another seed, other people"
    train, test = parts[0]
    if preset == "quick":  # every picture is a person: none may be in both
        known = {bytes(image.numpy().tobytes()) for image in train.images}
        assert not any(bytes(image.numpy().tobytes()) in known for image in test.images)
        known = 100 if recipe in ("identification", "arcface") else 200  # a classifier's people
        assert len(train.labels.unique()) == len(train) == known and len(test) == 10 * 100
    else:
        assert not set(train.classes) & set(test.classes)
        assert (len(train.classes), len(test.classes)) == ((30, 10) if preset == "faces" else (7, 3))
    plan = chosen.settings
    assert test.images.shape[1:] == train.images.shape[1:] == (plan.channels, plan.height, plan.width)
    batch = found.method.batch(found.method.prepare(train, plan), rng.Draws(), plan)
    assert len(batch[0]) == plan.batch_size and len(batch[1].unique()) == plan.identities
    loss, values = found.method.step(found.network(plan, seed=0), batch, plan)
    assert loss.isfinite() and loss.requires_grad and not any(v.requires_grad for v in values.values())


@pytest.mark.parametrize("recipe", ["identification", "siamese", "triplet"])
def test_a_record_of_several_seeds(crowd, recipe):
    files = runs.train_seeds(recipe, "digits", (0, 3), changes=SHORT, folder=crowd)
    written = recording.record(recipe, "digits", files, note="a test")
    assert results.read(recipe, "digits") == written and "weights" not in written and "per_image" not in written
    assert written["seed"] == [0, 3] and written["steps"] == 4 and written["short"] and written["paper"] == {}
    assert written["settings"]["steps"] == 2 and [group["data"] for group in written["measured"]] == ["digits"]
    conditions = ("0", "10", "25", "50", "shot")
    names = [f"{figure}_{c}" for c in conditions for figure in ("eer", "auc", "rank1", "rank1of5")]
    rivals = ("pixels_", "angle_") if recipe == "identification" else ()
    expected = names + [prefix + name for prefix in rivals for name in names]
    assert list(written["metrics"]["digits"]) == expected
    for name, values in written["per_seed"]["digits"].items():
        assert list(values) == ["seed 0", "seed 3"] and all(0 <= v <= 100 for v in values.values())
        assert written["metrics"]["digits"][name] == pytest.approx(sum(values.values()) / 2, abs=1e-3)
    model, *_ = runs.train(recipe, "digits", changes=SHORT, seed=3)
    again = runs.evaluate(recipe, "digits", model, seed=3)["digits"]
    assert again["eer_25"]["seed 3"] == pytest.approx(written["per_seed"]["digits"]["eer_25"]["seed 3"], abs=1e-3)


def test_records_of_seeds_that_make_no_sense(crowd):
    for seeds in ((), (3,)):
        with pytest.raises(ValueError, match=r"an interval needs at least two"):
            runs.train_seeds("triplet", "digits", seeds, folder=crowd)
    with pytest.raises(ValueError, match="course train triplet --preset digits --seeds 5"):
        recording.record("triplet", "digits", crowd / "a.ckpt")
    model = runs.train("triplet", "digits", changes=SHORT)[0]
    with pytest.raises(ValueError, match='tests are on people of "digits" that .* no other data such as "set12"'):
        runs.evaluate("triplet", "digits", model, only="set12")
    assert list(runs.evaluate("triplet", "digits", model, only="digits")) == ["digits"]


def test_several_seeds_from_the_command_line(crowd, capsys, monkeypatch):
    """Without --record nothing below data/ is touched."""
    monkeypatch.chdir(crowd)
    settings = [f"{name}={value}" for name, value in SHORT.items()]
    assert cli.main(["train", "triplet", *settings, "--preset", "digits", "--seeds", "2"]) == 0
    told = capsys.readouterr().out
    assert "seed 1, 2 of 2" in told and "digits eer_50: " in told and "95 % interval over 2 seeds" in told
    assert (crowd / "runs" / "results" / "triplet.digits.json").is_file() and results.recorded() == []
    assert cli.main(["train", "triplet", *settings, "--preset", "digits", "--seeds", "2", "--resume", "--record"]) == 0
    assert results.recorded() == [("triplet", "digits")]
    capsys.readouterr()
    for arguments, message in (
        (["train", "triplet", "--record"], "`course train triplet --preset quick --seeds 5 --record`"),
        (["train", "triplet", "--seeds", "1"], "at least two"),
        (["train", "triplet", "--seeds", "2", "--checkpoint", "a.ckpt"], "leave out --checkpoint"),
        (["train", "triplet", "--preset", "digits", "--seeds", "2"], "resume from it if the run was interrupted (--resume), or delete"),
        (["evaluate", "triplet"], "no weights of triplet are shipped"),
    ):
        assert cli.main(arguments) == 1
        assert message in capsys.readouterr().err


# --- the house ------------------------------------------------------------------------------------------------------------

MODULES = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
    if file.parent != PACKAGE or file.stem != "__init__"
}
ROOF = {"recipes", "runs", "recording", "cli", "verify", "reproduction", "reproduce", "jobs"}
ROOF |= {name for name in MODULES if name.startswith("recipes.")}
ON_THE_GROUND = (PACKAGE, PACKAGE / "data", PACKAGE / "widgets")
GROUND = [name for name, file in MODULES.items() if file.parent in ON_THE_GROUND and name not in ROOF]
ROOMS = [name for name, file in MODULES.items() if file.parent not in ON_THE_GROUND and name not in ROOF]


def imports(name: str) -> set[str]:
    """The modules of the library that one imports, anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports are not followed here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    inside = {path.removeprefix("course_lib.") for path in found if path.startswith("course_lib.")}
    return {path for path in inside if path in MODULES} - {name}


@pytest.mark.parametrize("name", GROUND)
def test_the_ground_floor_imports_no_room_and_no_roof(name):
    assert not imports(name) & {*ROOMS, *ROOF}


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_does_not_import_the_roof(name):
    assert not imports(name) & ROOF


def test_the_library_has_no_circles():
    order = tuple(graphlib.TopologicalSorter({name: imports(name) for name in MODULES}).static_order())  # else CycleError
    assert set(order) == set(MODULES) and order.index("training") < order.index("recipes") < order.index("cli")
