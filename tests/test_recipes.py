"""Every recipe runs, from its presets to the record of its run, and the modules of the library keep to their floors."""

import ast
import graphlib
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import course_lib
from course_lib import checkpoints, data, recipes, results, rng, weights
from course_lib.denoising import dncnn

PACKAGE = Path(course_lib.__file__).resolve().parent
PRESETS = [(name, preset) for name, recipe in recipes.RECIPES.items() for preset in recipe.presets]
TINY = {"depth": "2", "width": "4", "steps": "3", "batch_size": "2"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder for records and weights of its own, and two small images in place of every data set."""
    (tmp_path / "data").mkdir()
    shutil.copy(PACKAGE.parent / "data" / "SHA256SUMS", tmp_path / "data")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    monkeypatch.setattr(data, "load", two_images)
    return tmp_path


def two_images(name, split=None, *, color=False):
    channels = 3 if color or name.startswith("cbsd") else 1
    draws = torch.Generator().manual_seed(len(name))
    images = torch.randint(0, 256, (2, channels, 112, 104), dtype=torch.uint8, generator=draws)
    return data.Dataset(name, images, f"drawn for {name}, {split}", ("one", "two"))


def trained(recipe, preset, home):
    file = home / f"{recipe}.{preset}.ckpt"
    return recipes.train(recipe, preset, changes=TINY, checkpoint=file), file


# --- names and settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "preset", "message"),
    [
        ("dncn_s", "quick", r'unknown recipe "dncn_s" \(did you mean dncnn_s\?\); there are dncnn_s, dncnn_b, cdncnn_b'),
        ("xyz", "quick", r'unknown recipe "xyz"; there are dncnn_s'),
        ("dncnn_b", "papr", r'unknown preset "papr" \(did you mean paper\?\); dncnn_b has quick, paper\.'),
    ],
)
def test_unknown_names(recipe, preset, message):
    with pytest.raises(ValueError, match=message):
        recipes.find(recipe, preset)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("depth", "8", 8), ("learning_rate", "1e-2", 0.01), ("weight_decay", "1", 1.0), ("sigma_255", "0,55", (0.0, 55.0)),
     ("scales", "1", (1.0,)), ("batch_norm", "false", False), ("zero_last", "Yes", True), ("compile", "0", False),
     ("schedule", "cosine", "cosine"), ("precision", "bf16-mixed", "bf16-mixed")],
)  # fmt: skip
def test_override(name, text, value):
    settings = dncnn.Settings()
    changed = recipes.override(settings, {name: text, "steps": "7"})
    assert getattr(changed, name) == value and type(getattr(changed, name)) is type(value)
    assert changed == replace(settings, steps=7, **{name: value}) and settings == dncnn.Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [("depth", "deep"), ("depth", "8.5"), ("depth", ""), ("learning_rate", "fast"), ("sigma_255", "0;55"),
     ("sigma_255", "0,"), ("batch_norm", "perhaps"), ("compile", "2")],
)  # fmt: skip
def test_a_value_of_a_wrong_type(name, text):
    with pytest.raises(ValueError, match=f'^{name} = "{text}" is not understood: now it is '):
        recipes.override(dncnn.Settings(), {name: text})


@pytest.mark.parametrize(
    ("name", "text"),
    [("depth", "1"), ("steps", "-1"), ("sigma_255", "55,0"), ("sigma_255", "25"), ("schedule", "linear"),
     ("optimizer", "lion"), ("precision", "16")],
)  # fmt: skip
def test_a_value_that_makes_no_sense(name, text):
    with pytest.raises(ValueError, match=f"{name} = "):
        recipes.override(dncnn.Settings(), {name: text})


def test_an_unknown_setting():
    with pytest.raises(ValueError, match=r'unknown setting "dept" \(did you mean depth\?\); the settings are steps, batch_'):
        recipes.override(dncnn.Settings(), {"dept": "8"})


def test_metric_names():
    assert recipes.metric_name(25.0, (25.0,)) == "psnr"
    assert [recipes.metric_name(s, (15.0, 7.5)) for s in (15.0, 7.5)] == ["psnr_15", "psnr_7.5"]


# --- what is in the dictionary --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "depth", "patch_size", "sigma_255", "channels", "parameters"),
    [("dncnn_s", 17, 40, (25, 25), 1, 555_137), ("dncnn_b", 20, 50, (0, 55), 1, 665_921),
     ("cdncnn_b", 20, 50, (0, 55), 3, 668_227)],
)  # fmt: skip
def test_paper_presets_are_as_published(recipe, depth, patch_size, sigma_255, channels, parameters):
    found, chosen = recipes.find(recipe, "paper")
    plan = chosen.settings
    assert (plan.depth, plan.width, plan.batch_norm) == (depth, 64, True)
    assert (plan.patch_size, plan.sigma_255, plan.channels, plan.batch_size) == (patch_size, sigma_255, channels, 128)
    assert plan.steps >= 50 * 1600, "50 epochs of at least 128 × 1,600 patches"
    shipped = found.to_ship(found.network(plan))
    assert sum(p.numel() for p in shipped.parameters()) == parameters
    same = found.network(replace(plan, **found.shipped_settings)).state_dict()
    assert {n: t.shape for n, t in shipped.state_dict().items()} == {n: t.shape for n, t in same.items()}


@pytest.mark.parametrize(
    ("recipe", "name", "values"),
    [("dncnn_s", "bsd68", {"psnr": 29.23}), ("dncnn_s", "set12", {"psnr": 30.436}),
     ("dncnn_b", "bsd68", {"psnr_15": 31.61, "psnr_25": 29.16, "psnr_50": 26.23}),
     ("dncnn_b", "set12", {"psnr_15": 32.680, "psnr_25": 30.362, "psnr_50": 27.206}),
     ("cdncnn_b", "cbsd68", {"psnr_15": 33.89, "psnr_25": 31.23, "psnr_35": 29.58, "psnr_50": 27.92})],
)  # fmt: skip
def test_published_figures(recipe, name, values):
    found, chosen = recipes.find(recipe, "paper")
    assert found.paper[name] == {metric: {"value": v, "protocol": "quantised"} for metric, v in values.items()}
    assert name in dict(chosen.test)


@pytest.mark.parametrize(("recipe", "preset"), PRESETS)
def test_preset_builds_network_and_batch(home, recipe, preset):
    found, chosen = recipes.find(recipe, preset)
    plan = replace(chosen.settings, batch_size=2)
    images = found.load(*chosen.train)
    assert images.images.shape[1] == plan.channels, "the data set has as many channels as the network"
    pool = found.method.prepare(images.images, plan)
    noisy, clean = found.method.batch(pool, 0, rng.generator(0, 0, 0, "batch"), plan)
    assert noisy.shape == clean.shape == (2, plan.channels, plan.patch_size, plan.patch_size)
    loss, values = found.method.step(found.network(plan, seed=0), (noisy, clean))
    assert loss.isfinite() and loss.requires_grad and not values["psnr"].requires_grad
    for name, split in (chosen.train, *chosen.test):
        assert name in data.LOADERS and (split in ("train", "test")) == (name in data.SPLIT)


# --- from training to the shipped network ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("recipe", "preset"), PRESETS)
def test_end_to_end(home, recipe, preset):
    (model, settings, history, images), file = trained(recipe, preset, home)
    assert (settings.depth, settings.steps, history.steps[-1]) == (2, 3, 3) and not history.interrupted
    assert images.name == recipes.find(recipe, preset)[1].train[0]

    again, content = recipes.from_checkpoint(recipe, preset, file)
    assert content["step"] == 3 and not again.training
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in model.cpu().state_dict().items())

    written = recipes.record(recipe, preset, file, note="a test")
    assert results.read(recipe, preset) == json.loads(json.dumps(written))
    found, chosen = recipes.find(recipe, preset)
    figures = recipes.evaluate(recipe, preset, recipes.shipped(recipe, preset))
    assert list(figures) == [name for name, _ in chosen.test] == list(written["metrics"]) == list(written["data"]["test"])
    for name, metrics in figures.items():
        assert list(metrics) == [recipes.metric_name(s, found.sigmas_255) for s in found.sigmas_255]
        for metric, values in metrics.items():
            assert list(values) == ["one", "two"]
            assert written["per_image"][name][metric] == pytest.approx(values, abs=1e-4)
            assert written["metrics"][name][metric] == pytest.approx(sum(values.values()) / 2, abs=1e-4)
    shipped = weights.path(recipe, preset)
    assert written["weights"]["sha256"] == hashlib.sha256(shipped.read_bytes()).hexdigest()
    assert written["weights"]["file"] == shipped.name
    assert written["short"] is True and written["note"] == "a test"
    assert written["paper"] == (found.paper if preset == "paper" else {})


def test_record_in_another_folder(home):
    file = trained("dncnn_s", "quick", home)[1]
    recipes.record("dncnn_s", "quick", file, folder=home / "other")
    there = {p.relative_to(home / "other").as_posix() for p in (home / "other").rglob("*.*")}
    assert there == {"weights/dncnn_s.quick.safetensors", "results/dncnn_s.quick.json"}
    assert not results.path("dncnn_s", "quick").exists() and not weights.path("dncnn_s", "quick").exists()


def test_a_run_with_the_whole_budget_is_not_short(home, monkeypatch):
    found, chosen = recipes.find("dncnn_s", "quick")
    tiny = recipes.override(chosen.settings, TINY)
    monkeypatch.setitem(recipes.RECIPES, "dncnn_s", replace(found, presets={"quick": replace(chosen, settings=tiny)}))
    file = trained("dncnn_s", "quick", home)[1]
    assert recipes.record("dncnn_s", "quick", file)["short"] is False


def test_single_precision_where_half_moves_a_figure(home, monkeypatch):
    file = trained("dncnn_s", "quick", home)[1]
    exact, halved = ({"photos": {"psnr": {"one": v}}} for v in (30.0, 30.011))
    given = iter([exact, halved])
    monkeypatch.setattr(recipes, "evaluate", lambda *arguments: next(given))
    written = recipes.record("dncnn_s", "quick", file)
    assert written["metrics"] == {"photos": {"psnr": 30.0}} and not written["weights"]["half_precision"]
    expected = dncnn.folded(recipes.from_checkpoint("dncnn_s", "quick", file)[0]).state_dict()
    assert all(torch.equal(t, expected[n]) for n, t in recipes.shipped("dncnn_s", "quick").state_dict().items())


def test_an_unfinished_checkpoint_is_not_recorded(home, monkeypatch):
    draw = dncnn.batch

    def stop(pool, step, *rest):
        if step == 2:
            raise MemoryError
        return draw(pool, step, *rest)

    file, changes = home / "a.ckpt", {**TINY, "save_every": "1"}
    with monkeypatch.context() as patched:
        patched.setattr(dncnn, "batch", stop)
        with pytest.raises(MemoryError):
            recipes.train("dncnn_s", "quick", changes=changes, checkpoint=file)
    with pytest.raises(checkpoints.CheckpointError, match=r"is at step 2 of 3: finish the run with --resume"):
        recipes.record("dncnn_s", "quick", file)
    assert not results.path("dncnn_s", "quick").exists() and not weights.path("dncnn_s", "quick").exists()
    recipes.train("dncnn_s", "quick", changes=changes, checkpoint=file, resume=True)
    assert recipes.record("dncnn_s", "quick", file)["steps"] == 3


def test_a_checkpoint_of_another_method(home):
    file = trained("dncnn_s", "quick", home)[1]
    content = torch.load(file, weights_only=True)
    del content["settings"]["depth"]
    torch.save(content, file)
    with pytest.raises(checkpoints.CheckpointError, match="settings of another method: {'depth'}"):
        recipes.from_checkpoint("dncnn_s", "quick", file)


def test_recording_one_preset_leaves_the_other(home):
    for preset, seed in (("paper", 0), ("quick", 1)):
        recipes.train("dncnn_s", preset, changes=TINY, seed=seed, checkpoint=home / preset)
        recipes.record("dncnn_s", preset, home / preset)
    a, b = (recipes.shipped("dncnn_s", preset).state_dict() for preset in ("paper", "quick"))
    assert not any(torch.equal(t, b[name]) for name, t in a.items() if name.endswith("weight"))


def test_evaluate_on_one_data_set(home):
    gray, colour = (dncnn.DnCNN(dncnn.Settings(depth=2, width=4, channels=channels)) for channels in (1, 3))
    assert list(recipes.evaluate("dncnn_s", "paper", gray, only="set12")) == ["set12"]
    assert list(recipes.evaluate("cdncnn_b", "paper", colour, only="photos")["photos"]) == [
        "psnr_15", "psnr_25", "psnr_35", "psnr_50"]  # fmt: skip


# --- the house ------------------------------------------------------------------------------------------------------------

MODULES = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
    if file.parent != PACKAGE or file.stem != "__init__"
}
ROOF = {"recipes", "cli", "bench"}
GROUND = [name for name, file in MODULES.items() if file.parent == PACKAGE and name not in ROOF]
ROOMS = [name for name, file in MODULES.items() if file.parent != PACKAGE]


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
