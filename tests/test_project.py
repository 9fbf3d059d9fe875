"""The repository itself: one set of requirements, no data that are not ours, working links, sizes."""

from __future__ import annotations

import hashlib
import inspect
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from course_lib import data, project, training

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tracked() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))


def test_environment_is_that_of_pyproject():
    python, pip, entry = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert python == f"python{PYPROJECT['requires-python']}" and pip == "pip"
    assert entry == {"pip": ["--constraint constraints.txt", f"--editable .[{','.join(PYPROJECT['optional-dependencies'])}]"]}


def test_every_folder_of_the_library_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert listed == sorted(".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "course_lib").rglob("__init__.py"))


def test_every_requirement_is_pinned_within_its_bounds():
    wanted = [Requirement(r) for r in PYPROJECT["dependencies"]]
    wanted += [Requirement(r) for extra in PYPROJECT["optional-dependencies"].values() for r in extra]
    for requirement in wanted:
        pin = pins().get(requirement.name.lower())
        assert pin is not None and requirement.specifier.contains(pin), requirement


def test_installed_versions_are_the_pinned_ones():
    for package in ("torch", "torchvision", "lightning-fabric", "jupyter-book", "numpy", "scikit-image"):
        assert version(package).split("+")[0] == pins()[package]


def test_no_image_of_a_data_set_is_in_the_repository():
    known = set(data.manifest().values())
    copies = [path for path in tracked() if hashlib.sha256(path.read_bytes()).hexdigest() in known]
    assert copies == []


def test_sizes():
    sizes = {path: path.stat().st_size for path in tracked()}
    assert sum(sizes.values()) < 56e6
    assert max(sizes.values()) < 9.5e6


def test_files_of_a_method_and_the_loop_stay_readable():
    package = ROOT / "course_lib"
    for path in [*package.glob("*/*.py"), package / "training.py"]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= (220 if path.name == "training.py" else 300), path
    whole = inspect.getsource(training.fit).splitlines()
    assert len(whole) <= 90, "the loop is read from top to bottom"


def test_links_between_our_files_lead_somewhere():
    for path in (p for p in tracked() if p.suffix == ".md"):
        prose = re.sub(r"^```\{code-cell\}.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)#:\s]+)\)", prose):
            found = path.parent / target
            assert any(p.exists() for p in (found, found.with_name(found.name + ".md"), found.with_name(found.name + ".ipynb"))), (
                path,
                target,
            )


def test_readme_names_every_chapter_and_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make book" in text and "make test" in text
    for chapter in (ROOT / "book").glob("[0-9]*.md"):
        assert f"(book/{chapter.name})" in text


def test_a_preset_that_there_is_not(monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", "papper")
    with pytest.raises(ValueError, match='COURSE_PRESET = "papper", but it must be quick or paper'):
        project.preset()


def test_a_home_that_is_none_is_not_passed_over(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="COURSE_HOME is .* no data/SHA256SUMS"):
        project.home()


def test_the_tracked_tree_stays_small():
    """At most 56 MB: everybody who clones the course takes all of it."""
    repository = project.PACKAGE.parent
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [repository / name for name in listed.stdout.split("\0") if name]
    assert files and sum(file.stat().st_size for file in files if file.is_file()) <= 56_000_000
