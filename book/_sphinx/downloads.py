"""For the notebooks that leave the repository: a first cell that gets the package, or says what to install.

The site offers each chapter for download, and a reader may open it anywhere, in Colab for instance. Where ``course_lib`` is missing
the first cell of such a notebook installs it from the repository that ``repository.url`` of ``_config.yml`` names; where none is
named it says what is missing. The notebooks of the repository have no such cell: they lie beside the package.

Colab opens notebooks from GitHub only, and a notebook without that cell would fail there. So it is given those of a branch of their own,
which ``make notebooks`` writes: the edition without solutions, which needs no extension to read well.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ID = "course-lib-or-how-to-get-it"
BRANCH = "notebooks"  # of the repository, for Colab
INSTALL = '''\
# The package behind the book: where it is missing this cell fetches it (some minutes, with PyTorch). Where it is there nothing happens.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("course_lib") is None:
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", {url!r}, "course"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--editable", "course"], check=True)
    sys.path.insert(0, "course")  # an editable install is found by kernels that start after it
'''
MESSAGE = '''\
# The package behind the book: where it is missing this cell says what to install. Where it is there nothing happens.
import importlib.util

if importlib.util.find_spec("course_lib") is None:
    raise ModuleNotFoundError(
        "This notebook needs the package course_lib, which comes with the book's repository. Get the repository, run "
        "`make install` in it, and choose its .venv as the kernel; or run `pip install --editable FOLDER` with the repository's folder."
    )
'''


def repository(config: Path = ROOT / "_config.yml") -> str:
    """``repository.url`` of a configuration, or an empty text where it is not set.

    Raises:
        ValueError: for a file that is no YAML, or has something else there.
    """
    import yaml

    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8"))
        url = (found.get("repository") or {}).get("url") or ""
        url.encode()  # a text
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError) as wrong:
        raise ValueError(f"{config} is to be YAML with an entry repository that has the entry url below it: {wrong}") from wrong
    return url


def colab(url: str, name: str) -> str:
    """The address at which Colab opens a notebook of the branch; empty where the repository is not on GitHub, or none is named."""
    found = re.fullmatch(r"https://github\.com/(?P<which>[\w.-]+/[\w.-]+?)(\.git)?/?", url)
    return f"https://colab.research.google.com/github/{found['which']}/blob/{BRANCH}/{name}.ipynb" if found else ""


def first_cell(url: str) -> dict:
    """The code cell that gets the package from a repository, or says what to install where ``url`` is empty.

    Raises:
        ValueError: if ``url`` is no address of a repository.
    """
    if url and not re.fullmatch(r"https://[\w.-]+(/[\w.~-]+)+/?", url):
        raise ValueError(f"repository.url is {url!r}: give the address that `git clone` takes, as https://github.com/OWNER/NAME")
    code = INSTALL.format(url=url) if url else MESSAGE
    return {
        "cell_type": "code", "execution_count": None, "id": ID, "outputs": [], "source": code.splitlines(keepends=True),
        "metadata": {"tags": ["hide-input"], "jupyter": {"source_hidden": True}},
    }  # fmt: skip


def ready(notebook: dict, url: str) -> dict:
    """A copy of a notebook that begins with the cell, once."""
    others = [cell for cell in notebook["cells"] if cell.get("id") != ID]
    return {**notebook, "cells": [first_cell(url), *others]}


def text(notebook: dict) -> str:
    """A notebook as Jupyter writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def save(path: Path, notebook: dict) -> None:
    """Write a notebook, as Jupyter does."""
    path.write_text(text(notebook), encoding="utf-8")


def write(folder: Path, url: str) -> int:
    """Put the cell into every notebook of a folder; returns how many there are."""
    found = sorted(folder.glob("*.ipynb"))
    for path in found:
        save(path, ready(json.loads(path.read_text(encoding="utf-8")), url))
    return len(found)


def write_all(app, exception):
    """The copies that the site offers for download, once they are written."""
    if not exception and app.builder.name == "html":
        write(Path(app.outdir) / "_sources", repository())


def setup(app):
    app.connect("build-finished", write_all)
    return {"parallel_read_safe": True}
