"""Where the project's files are, and which version of its code this is."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent


def home() -> Path:
    """The folder that holds ``data/weights``, ``data/results`` and ``data/SHA256SUMS``.

    ``COURSE_HOME`` where it is set, else the repository around an editable install.

    Raises:
        FileNotFoundError: if that folder holds no ``data/SHA256SUMS``.
    """
    chosen = os.environ.get("COURSE_HOME")
    folder = Path(chosen).expanduser() if chosen else PACKAGE.parent
    if (folder / "data" / "SHA256SUMS").is_file():
        return folder
    if chosen:
        raise FileNotFoundError(f"COURSE_HOME is {chosen}, but there is no data/SHA256SUMS in that folder.")
    raise FileNotFoundError(
        "the course's data/ folder was not found: it lies beside course_lib in the repository. Work in a clone of it "
        "(pip install -e .), or set COURSE_HOME to the folder that contains data/SHA256SUMS."
    )


def data_root() -> Path:
    """The folder with the data sets: ``COURSE_DATA`` where it is set, else ``data/downloads`` of the repository."""
    chosen = os.environ.get("COURSE_DATA")
    return Path(chosen).expanduser() if chosen else home() / "data" / "downloads"


def study(name: str) -> dict[str, Any] | None:
    """What ``tools/NAME.py`` measured, ``data/studies/NAME.json``; where it has not been run, None, and a line says how to."""
    file = home() / "data" / "studies" / f"{name}.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    print(f"not run: python tools/{name}.py --record data/studies/{name}.json")
    return None


def source_hash(files: Iterable[Path] | None = None) -> str:
    """First 16 hex digits of the SHA-256 of library source files: all of ``course_lib``, or those given.

    The names and contents of the files enter in sorted order, so that the same sources give the same hash anywhere.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py") if files is None else files):
        digest.update(path.resolve().relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def commit() -> str:
    """The commit checked out around this package, ``-dirty`` if files differ from it; ``unknown`` without git."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=PACKAGE, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.stdout.strip()


@cache
def loaded_commit() -> str:
    """:func:`commit` when this process first asked: that of the code it runs, also where others are checked out meanwhile."""
    return commit()


def restoring(file: Path) -> str:
    """What to do about a file of the project that is missing or damaged: a command that works, where git knows the file."""
    folder = file.resolve().parent
    try:
        git = ["git", "-C", str(folder), "ls-files", "--error-unmatch", file.name]
        subprocess.run(git, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "restore it from where it came from, or make it again (git does not have it)"
    return f"restore it by `git -C {shlex.quote(str(folder))} checkout HEAD -- {shlex.quote(file.name)}`"


def preset() -> str:
    """``COURSE_PRESET``, ``"quick"`` where it is not set: which setting of a recipe the chapters train.

    Raises:
        ValueError: if it is neither quick nor paper.
    """
    chosen = os.environ.get("COURSE_PRESET") or "quick"
    if chosen not in ("quick", "paper"):
        raise ValueError(f'COURSE_PRESET = "{chosen}", but it must be quick or paper.')
    return chosen


def seed() -> int:
    """``COURSE_SEED``, 0 where it is not set: the seed of the chapters' trainings.

    Raises:
        ValueError: if it is not an integer.
    """
    text = os.environ.get("COURSE_SEED") or "0"
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'COURSE_SEED = "{text}", but it must be an integer.') from None
