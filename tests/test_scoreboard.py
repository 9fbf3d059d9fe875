"""The scoreboard of part I: what is trained, and what is written down."""

import json

import scoreboard
from course_lib import project


def test_a_small_scoreboard_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scoreboard, "METHODS", {"SupCon": scoreboard.METHODS["SupCon"]})
    monkeypatch.setattr(scoreboard, "ALSO_MANY", ("SupCon",))
    monkeypatch.setattr(scoreboard, "MANY", 200)
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    file = tmp_path / "study.json"
    scoreboard.main(["--seeds", "2", "--steps", "2", "--record", str(file)])
    written = json.loads(file.read_text(encoding="utf-8"))
    assert {"device", "precision", "versions", "commit"} <= set(written) and written["tested on"] == 100
    assert [(row["method"], row["people"], row["steps"]) for row in written["rows"]] == [
        ("pixels", 0, 0), ("SupCon", 100, 2), ("SupCon", 200, 2)
    ]  # fmt: skip
    for row in written["rows"]:
        for figures in (row["eer"], row["rank1"]):
            assert list(figures) == ["seed 0", "seed 1"] and all(0 < value < 100 for value in figures.values())
        assert row["eer"]["seed 0"] != row["eer"]["seed 1"]
    assert "seed 1, SupCon, 200 people: EER " in capsys.readouterr().out


def test_all_methods_have_the_same_people_and_steps():
    for name in scoreboard.METHODS:
        found = scoreboard.settings(name, 100, 300)
        assert found.steps == 300 and found.batch_size == 64 and getattr(found, "people", 100) == 100
    assert scoreboard.settings("softmax of cosines", 100, 300).margin == 0 < scoreboard.settings("ArcFace", 100, 300).margin


def test_what_was_measured_is_what_the_script_measures():
    file = project.home() / "data" / "studies" / "scoreboard.json"
    if file.is_file():  # the page says what to run where it is not
        rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
        assert [(row["method"], row["people"], row["steps"]) for row in rows] == scoreboard.tasks(scoreboard.STEPS)
        assert all(len(row[name]) == scoreboard.SEEDS for row in rows for name in ("eer", "rank1"))
