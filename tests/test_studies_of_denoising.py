"""Studies that chapters 9 and 14 read: what they train and tune, what they write down, and that the recorded ones are theirs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

import blur
import non_local_means
import told
from course_lib import corruptions, data, project, recipes, results, rng
from course_lib.data import Dataset
from course_lib.denoising import baselines


def recorded(name):
    """A study of the repository; the chapter says what to run where it is not."""
    return project.study(name) or pytest.skip(f"{name} was not run")


def test_a_study_that_is_not_there_is_named_with_its_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "data" / "studies").mkdir(parents=True)
    (tmp_path / "data" / "SHA256SUMS").touch()
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    assert project.study("told") is None
    assert capsys.readouterr().out == "not run: python tools/told.py --record data/studies/told.json\n"
    (tmp_path / "data" / "studies" / "told.json").write_text('{"σ": 1}', encoding="utf-8")
    assert project.study("told") == {"σ": 1} and not capsys.readouterr().out


# --- told, and told nothing -----------------------------------------------------------------------------------------------


def test_a_small_study_is_written(monkeypatch, tmp_path, capsys):
    rows = [("ffdnet", True, 4), ("fdncnn", False, 1)]
    monkeypatch.setattr(told, "LEVELS", (25,))
    monkeypatch.setattr(told, "tasks", lambda steps: rows if steps == 4 else [])
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    file = tmp_path / "study.json"
    told.main(["--seeds", "2", "--steps", "4", "--record", str(file)])
    written = json.loads(file.read_text(encoding="utf-8"))
    assert {"data", "device", "precision", "versions", "commit"} <= set(written)
    assert [(row["recipe"], row["told"], row["steps"]) for row in written["rows"]] == rows
    figures = [run["psnr_25"] for row in written["rows"] for run in row["runs"].values()]
    assert len(figures) == len(set(figures)) == 4 and all(5 < value < 40 for value in figures)
    assert "seed 1, fdncnn, told nothing, 1 steps: " in capsys.readouterr().out


def test_a_quarter_of_the_steps_costs_as_many_multiplications():
    """But for first and last layer."""
    plans = [replace(recipes.find(name, "quick")[1].settings, channels=1) for name in ("ffdnet", "fdncnn")]
    half, full = (sum(p.numel() for p in recipes.RECIPES[name].network(plan).parameters() if p.dim() == 4)
                  for name, plan in zip(("ffdnet", "fdncnn"), plans, strict=True))  # fmt: skip
    assert full / (half / 4) == pytest.approx(told.COST, rel=0.05)


def test_what_was_measured_is_what_the_script_measures():
    rows = recorded("told")["rows"]
    assert [(row["recipe"], row["told"], row["steps"]) for row in rows] == told.tasks(recipes.find("ffdnet", "quick")[1].settings.steps)
    assert all(len(row["runs"]) == told.SEEDS for row in rows)
    assert all(set(run) == {f"psnr_{level}" for level in told.LEVELS} for row in rows for run in row["runs"].values())


# --- non-local means ------------------------------------------------------------------------------------------------------


def test_the_best_on_the_training_images_is_tested(monkeypatch, tmp_path, capsys):
    photos = data.load("photos", "test")
    small = [image[:, 100:164, 100:164] for image in photos.images]
    monkeypatch.setattr(data, "load", lambda name: Dataset(name, small, "a test", photos.names))
    monkeypatch.setattr(non_local_means, "EVERY", 2)
    monkeypatch.setattr(non_local_means, "FACTORS", (0.2, 0.7))
    file = tmp_path / "study.json"
    non_local_means.main(["--levels", "25", "--record", str(file)])
    written = json.loads(file.read_text(encoding="utf-8"))
    [row] = written["rows"]
    assert {"tuned on", "versions", "commit"} <= set(written) and row["sigma_255"] == 25
    assert row["factor"] == 0.7, "the other one leaves nearly all of the noise"
    expected = non_local_means.mean_psnr(
        lambda noisy, sigma: baselines.non_local_means(noisy, sigma, factor=0.7, patch_size=row["patch_size"]), small, 25
    )
    assert row["psnr"] == {"bsd68": round(expected, 4), "set12": round(expected, 4)}
    assert "σ = 25, factor 0.7, patches of " in capsys.readouterr().out


def test_non_local_means_was_measured_at_every_level():
    rows = recorded("non_local_means")["rows"]
    assert [row["sigma_255"] for row in rows] == list(non_local_means.LEVELS)
    assert all(row["factor"] in non_local_means.FACTORS and row["patch_size"] in non_local_means.PATCH_SIZES for row in rows)
    low, *_, high = non_local_means.FACTORS
    assert all(low < row["factor"] < high for row in rows), "not at the rim of what was tried"


# --- a blur ---------------------------------------------------------------------------------------------------------------


def test_the_best_blur_of_the_training_images_is_tested(monkeypatch, tmp_path, capsys):
    """Flat images, for which much blur is best, to choose by, and fine texture, for which little is, to test on."""
    texture = [torch.randint(256, (3, 40, 48), generator=rng.generator(0, i, 0, "texture"), dtype=torch.uint8) for i in range(2)]
    images = {"cbsd432": [torch.full((3, 40, 40), gray, dtype=torch.uint8) for gray in (100, 0, 150)], "cbsd68": texture}
    monkeypatch.setattr(data, "load", lambda name: Dataset(name, images[name], "a test", tuple(map(str, range(len(images[name]))))))
    monkeypatch.setattr(blur, "EVERY", 2)
    monkeypatch.setattr(blur, "WIDTHS", (0.3, 2.0))
    file = tmp_path / "study.json"
    blur.main(["--record", str(file)])
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["noise"] == {"sigma_255": 25.0, "length": 1.0} and written["width"] == 2.0, "the best one of the flat images"
    expected = []
    for index, image in enumerate(texture):
        clean = image[None] / 255
        noisy = corruptions.correlated(clean, 25 / 255, 1.0, rng.generator(0, index, 0, "test noise"))
        smooth = gaussian_filter(noisy[0].numpy(), (0, 2, 2), mode="mirror", radius=8)
        rounded = np.round(255 * np.clip(smooth, 0, 1)) / 255
        expected.append(peak_signal_noise_ratio(clean[0].numpy(), rounded, data_range=1))
    assert written["psnr"] == pytest.approx(np.mean(expected), abs=1e-3) and written["psnr"] < written["noisy"]
    assert "blur of 2.0 pixels" in capsys.readouterr().out


def test_the_blur_that_was_measured_is_not_at_the_rim_of_what_was_tried():
    found = recorded("blur")
    low, *_, high = blur.WIDTHS
    assert low < found["width"] < high and found["noisy"] < found["psnr"]
    trained = results.read(blur.RECIPE, blur.PRESET)["settings"]
    assert found["noise"] == {name: trained[name] for name in found["noise"]}, "the noise of the networks beside it"
