"""The study of SLKD's weights: what is trained, and what is written down."""

import json

import slkd_weights
from course_lib import project


def test_a_small_study_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(slkd_weights, "WEIGHTS", ((0.0, 0.0, 0.0), (0.5, 0.1, 0.1)))
    monkeypatch.setattr(slkd_weights, "get_args", lambda task: ("motion",))
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    file = tmp_path / "study.json"
    slkd_weights.main(["--seeds", "2", "--steps", "2", "--record", str(file)])
    written = json.loads(file.read_text(encoding="utf-8"))
    alone, taught = written["tasks"]["motion"]["students"]
    assert alone["weights"] == [0, 0, 0] and set(alone["psnr"]) == {"seed 0", "seed 1"}
    assert alone["psnr"]["seed 0"] != alone["psnr"]["seed 1"] and alone["psnr"] != taught["psnr"]
    assert "motion, 0.5 0.1 0.1: " in capsys.readouterr().out and {"device", "precision", "versions", "commit"} <= set(written)


def test_what_was_measured_is_of_the_weights_that_the_script_has():
    measured = json.loads((project.home() / "data" / "studies" / "slkd_weights.json").read_text(encoding="utf-8"))
    for found in measured["tasks"].values():
        assert set(map(tuple, (row["weights"] for row in found["students"]))) >= set(slkd_weights.WEIGHTS)
