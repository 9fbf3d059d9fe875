"""What changed against ``main``, checked in minutes: ``make check``. Everything is checked by ``make test``.

Style, the tests that import a changed module themselves (not those that only reach it by way of others), and the soundness of
the pages whose text or outputs changed. A module in which only comments or docstrings changed counts as unchanged. Pages whose
stored outputs have become stale are named; running them takes longer, and is ``make execute``.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import staleness

ROOT = Path(__file__).resolve().parents[1]
WORKERS = min(4, os.cpu_count() or 1)  # processes of one thread each, as in tests/run.py
ALWAYS = {"course_lib": ("test_docstrings", "test_project"), "": ("test_project",)}
"""Tests of all files below a folder, by their own rules."""


def git(*arguments: str) -> str:
    """What git answers; ``SystemExit`` with its message where it fails."""
    answer = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {answer.stderr.strip()} (make check compares with a branch: make check BASE=NAME)")
    return answer.stdout


def changed(base: str) -> list[str]:
    """Paths that differ from where this branch left ``base``, those that git does not know yet included; deleted ones too."""
    start = git("merge-base", "HEAD", base).strip()
    names = git("diff", "--name-only", "-z", start) + git("ls-files", "--others", "--exclude-standard", "-z")
    return sorted({name for name in names.split("\0") if name and differs(start, name)})


def differs(start: str, name: str) -> bool:
    """Does more than comments and docstrings of a file differ from those it had at a commit?"""
    if not name.startswith("course_lib/") or not name.endswith(".py") or not (ROOT / name).is_file():
        return True
    before = subprocess.run(["git", "show", f"{start}:{name}"], cwd=ROOT, capture_output=True, text=True)
    return bool(before.returncode) or staleness.code_of(before.stdout) != staleness.code_of((ROOT / name).read_text(encoding="utf-8"))


@cache
def used_by(test: Path) -> frozenset[str]:
    """Paths that a test file depends on directly: itself, the modules of the library it imports, the tools and helpers."""
    code = test.read_text(encoding="utf-8")
    # "from course_lib.data import X" imports the packages above as well, which does not make it a test of these
    modules = staleness.imported(code, "")
    leaves = {module for module in modules if not any(other.startswith(f"{module}.") for other in modules) and module}
    # a module stands for what it imports of its own package: data for its loaders, a method for what its room has in common
    leaves |= {inner for module in leaves for inner in staleness.imports_of(module) if beside(module, inner)}
    found = {staleness.file_of(module).relative_to(ROOT).as_posix() for module in leaves}
    names = {alias.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom) and node.module}
    others = [*(ROOT / "tools").glob("*.py"), *(ROOT / "tests").glob("*.py")]
    started = {path.stem for path in others if path.stem.startswith("helpers") and path.name in code}  # as a process of its own
    scripts = {path.relative_to(ROOT).as_posix() for path in others if path.stem in names | started}
    return frozenset({test.relative_to(ROOT).as_posix(), *found, *scripts})


def beside(module: str, other: str) -> bool:
    """Is a module in the package that another is, or is in?"""
    package = module if staleness.file_of(module).name == "__init__.py" else module.rpartition(".")[0]
    return bool(package) and other.startswith(f"{package}.")


def tests_of(paths: list[str]) -> list[str]:
    """The test files to run for changed paths, those of browser, site and chapters aside."""
    apart = ("test_browser", "test_site", "test_chapters")
    tests = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if not path.name.startswith(apart)]
    chosen = {path.relative_to(ROOT).as_posix() for path in tests if used_by(path) & set(paths)}
    rules = {name for folder, names in ALWAYS.items() if any(path.startswith(folder) for path in paths) for name in names}
    return sorted(chosen | {f"tests/{name}.py" for name in rules})


def pages(paths: list[str]) -> list[str]:
    """Names of the pages with outputs whose text or outputs changed."""
    names = {Path(path).stem for path in paths if path.startswith("book/") and path.endswith((".md", ".ipynb"))}
    return sorted(name for name in names if (ROOT / "book" / f"{name}.ipynb").is_file())


def stale() -> list[str]:
    """Pages whose stored outputs are older than the code they use."""
    import nbformat

    stored = {path.stem: nbformat.read(path, as_version=4) for path in sorted((ROOT / "book").glob("*.ipynb"))}
    return [name for name, made in stored.items() if made.metadata.get("course", {}).get("library") != staleness.stamp(made)]


def main(base: str) -> int:
    """Run the checks, print what they are, and return 0 if all hold."""
    began = time.monotonic()
    paths = changed(base)
    tests, changed_pages, old = tests_of(paths), pages(paths), stale()
    print(f"{len(paths)} files differ from {base}: {len(tests)} test files, {len(changed_pages)} pages")
    python = [sys.executable, "-m"]
    commands = [[*python, "ruff", "check", "."]]
    if tests:
        commands.append([*python, "pytest", "-q", "-n", str(WORKERS), "--dist", "loadfile", *tests])
    if changed_pages:
        sound = f"({' or '.join(changed_pages)}) and not without_training"
        commands.append([*python, "pytest", "-q", "tests/test_chapters.py", "-k", sound])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    failed = sum(subprocess.run(command, cwd=ROOT, env=environment).returncode != 0 for command in commands)
    if old:
        print(f"stale: {', '.join(old)} (make execute CHAPTER={old[0]}, before make test)")
    minutes = (time.monotonic() - began) / 60
    print(f"{failed} of {len(commands)} checks failed" if failed else f"all {len(commands)} checks passed", f"in {minutes:.1f} min")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(os.environ.get("BASE") or "main"))
