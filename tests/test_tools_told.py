"""A tool that cannot do what it is asked for says so in one line, and leaves what was there."""

import errno
import re
import sys

import pytest

from course_lib.project import home

sys.path.insert(0, str(home() / "tools"))
import bench  # noqa: E402
import command  # noqa: E402
import pages  # noqa: E402
import student  # noqa: E402
from student import downloads  # noqa: E402


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Another folder than the repository's, with a file in it."""
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TOLD = [  # (tool, arguments, exit code, words)
    ("student", ["--folder", "file"], 1, "file: Not a directory: name another place"),
    ("student", ["--folder", "file/x"], 1, "Not a directory|File exists"),
    ("figures", ["--folder", "file"], 1, "file: File exists: name another place"),
    ("slides", ["--folder", "file", "08_dncnn"], 1, "file: File exists: name another place"),
    ("slides", ["99_nothing"], 1, "no page '99_nothing'; there are 00_start_here"),
    ("scoreboard", ["--seeds", "0"], 2, "argument --seeds: '0', but a whole number of at least 1 is expected"),
    ("scoreboard", ["--steps", "-3"], 2, "argument --steps: '-3'|expected one argument"),
    ("scoreboard", ["--record", "file/x"], 1, "file/x could not be written"),
    ("ablation", ["--steps", "0"], 2, "argument --steps: '0'"),
    ("ablation", ["--only", "nothing"], 1, "there is no change nothing: choose from the preset; AdamW"),
]


@pytest.mark.parametrize(("tool", "arguments", "code", "words"), TOLD, ids=[f"{tool} {' '.join(rest)}" for tool, rest, _, _ in TOLD])
def test_one_line_and_nothing_lost(place, monkeypatch, capsys, tool, arguments, code, words):
    module = __import__(tool)
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", *arguments])
    try:
        ended = command.run(module.main)
    except SystemExit as usage:
        ended = usage.code
    assert ended == code
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(words, told), told
    assert [path.name for path in place.iterdir()] == ["file"] and (place / "file").read_text(encoding="utf-8") == "mine"


def test_interrupted_and_not_foreseen(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert command.run(interrupted) == 130 and capsys.readouterr().err.endswith(": interrupted\n")
    with pytest.raises(ZeroDivisionError):
        command.run(lambda: 1 // 0)


def test_a_full_disk_leaves_the_older_edition(place, monkeypatch):
    (place / "edition").mkdir()
    (place / "edition" / "README.md").write_text("older", encoding="utf-8")

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device", "packed.zip")

    monkeypatch.setattr(student.zipfile, "ZipFile", full)
    with pytest.raises(OSError) as found:
        student.write(place / "edition", "")
    assert command.foreseen(found.value) == "packed.zip: disk full: name another place"
    assert (place / "edition" / "README.md").read_text(encoding="utf-8") == "older"
    assert sorted(path.name for path in place.iterdir()) == ["edition", "file"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"parts": ["nothing"]}, "there is no part nothing to measure"), ({"seconds": 0.0}, "seconds = 0, but it must be above 0"),
     ({"seconds": float("nan")}, "seconds = nan"), ({"goal": float("nan")}, "time-to = nan"), ({"goal": -3.0}, "time-to = -3")],
)  # fmt: skip
def test_bench_looks_at_everything_first(monkeypatch, arguments, words):
    def too_early(*given):
        raise AssertionError("measured before it was checked")

    monkeypatch.setattr(bench.devices, "precision", too_early)
    with pytest.raises(ValueError, match=words):
        bench.main(**{"seconds": 1.0, **arguments})


@pytest.mark.parametrize("content", ["", "[]", '{"cells": []}', '{"cells": 5, "metadata": {}}', '{"cells": [1], "metadata": {}}'])
def test_a_damaged_notebook_is_named(tmp_path, content):
    (tmp_path / "a.ipynb").write_text(content, encoding="utf-8")
    with pytest.raises(pages.PageError, match=r"a\.ipynb is no notebook .*restore it"):
        pages.read("a", tmp_path)


@pytest.mark.parametrize("content", ["repository: nonsense", "repository: {url: 5}", "a: [", ""])
def test_a_damaged_configuration_is_named(tmp_path, content):
    (tmp_path / "_config.yml").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"_config\.yml is to be YAML with an entry repository"):
        downloads.repository(tmp_path / "_config.yml")
