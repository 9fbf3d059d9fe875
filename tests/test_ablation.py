"""The study of the preset ``laptop``: what is changed, and what is written down."""

import json
from dataclasses import replace

import pytest
import torch

import ablation
from course_lib import data, recipes


@pytest.fixture
def small(monkeypatch):
    """The recipe with a network that takes no time, on drawn images."""
    found = recipes.RECIPES["dncnn_s"]
    settings = replace(found.presets["laptop"].settings, depth=4, width=16, precision="32-true", log_every=5)
    presets = {**found.presets, "laptop": replace(found.presets["laptop"], settings=settings)}
    monkeypatch.setitem(recipes.RECIPES, "dncnn_s", replace(found, presets=presets))
    images = torch.randint(0, 256, (3, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(data, "load", lambda name: data.Dataset(name, images, "drawn", tuple("abc")))


def test_all_runs_see_as_many_pixels():
    made = ablation.plans(680)
    assert made["the preset"].steps == 680 and made["8 patches, twice the steps"].steps == 1360
    seen = [plan.steps * ablation.pixels(plan) for plan in made.values()]
    assert max(seen) < 1.03 * min(seen)
    whole = recipes.find("dncnn_s", "laptop")[1].settings
    for name, plan in made.items():  # 1 / (1 − ema) steps count in the average: the same share of all
        share = 0.0 if name == "no averaging" else 1 / (1 - whole.ema) / whole.steps
        assert (1 / (1 - plan.ema) / plan.steps if plan.ema else 0.0) == pytest.approx(share, rel=0.05)
    assert all(plan != made["the preset"] for name, plan in made.items() if name != "the preset")


def test_runs_are_measured_and_written(small, tmp_path, capsys):
    file = tmp_path / "study.json"
    ablation.main(["--steps", "6", "--seeds", "2", "--only", "the preset", "AdamW", "--record", str(file)])
    written = json.loads(file.read_text(encoding="utf-8"))
    assert [row["change"] for row in written["rows"]] == ["the preset", "AdamW"] and written["steps"] == 6
    first, second = (row["runs"] for row in written["rows"])
    assert set(first) == {"seed 0", "seed 1"} and first["seed 0"]["set12"] != first["seed 1"]["set12"] and first != second
    assert "AdamW: " in capsys.readouterr().out and {"device", "precision", "versions", "commit"} <= set(written)


def test_a_change_that_there_is_not_is_named(small):
    with pytest.raises(ValueError, match="there is no change Adam: choose from the preset; AdamW;"):
        ablation.main(["--only", "Adam"])
