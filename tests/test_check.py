"""``make check`` runs the tests of what changed, and not those of what did not."""

import subprocess

import pytest

import check


def test_a_test_is_chosen_by_what_it_imports_itself():
    chosen = check.tests_of(["course_lib/denoising/erf.py"])
    assert "tests/test_erf.py" in chosen and "tests/test_docstrings.py" in chosen
    assert not {"tests/test_metrics.py", "tests/test_metric_learning.py", "tests/test_chapters.py"} & set(chosen)
    assert check.tests_of(["tests/test_muon.py"]) == ["tests/test_muon.py", "tests/test_project.py"], "itself"
    assert "tests/test_training.py" in check.tests_of(["tests/helpers_training.py"]), "a helper changes all that use it"
    assert "tests/test_staleness.py" in check.tests_of(["tools/staleness.py"])
    assert "tests/test_training.py" in check.tests_of(["course_lib/training.py"])
    assert check.tests_of(["README.md"]) == ["tests/test_project.py"] and check.tests_of([]) == []


def test_every_module_has_a_test_that_imports_it():
    """Else a change of it would be checked by ``make test`` alone."""
    tests = sorted((check.ROOT / "tests").glob("test_*.py"))
    used = set().union(*(check.used_by(test) for test in tests))
    library = [path for path in (check.ROOT / "course_lib").rglob("*.py") if path.name != "__init__.py"]
    modules = {path.relative_to(check.ROOT).as_posix() for path in library}
    assert sorted(modules - used) == []


def test_pages_are_those_with_outputs():
    assert check.pages(["book/08_dncnn.md", "book/08_dncnn.ipynb", "book/intro.md", "README.md"]) == ["08_dncnn"]


def test_what_differs(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "course_lib").mkdir()
    one, two = tmp_path / "course_lib" / "one.py", tmp_path / "course_lib" / "two.py"
    one.write_text('"""One."""\n\nA = 1\n')
    two.write_text('"""Two."""\n\nB = 2\n')
    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "first")
    git("checkout", "-b", "work")
    one.write_text('"""Reworded."""\n\nA = 1  # and a comment\n')
    two.write_text('"""Two."""\n\nB = 3\n')
    (tmp_path / "new.md").write_text("new")
    monkeypatch.setattr(check, "ROOT", tmp_path)
    assert check.changed("main") == ["course_lib/two.py", "new.md"]
    git("commit", "-am", "second")
    one.unlink()
    assert check.changed("main") == ["course_lib/one.py", "course_lib/two.py", "new.md"]
    with pytest.raises(SystemExit, match="make check BASE=NAME"):
        check.changed("nowhere")
