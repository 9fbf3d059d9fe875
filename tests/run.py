"""Every check of the project, part by part, with the minutes that each took: ``make test``.

``python tests/run.py PART ...`` runs some of the parts only. All parts run, also where one fails; the exit code tells.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
CHAPTERS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "book").glob("*.ipynb"))

# Several processes of one thread each are faster than one of several threads: networks of tests and chapters are small. A file
# stays in one process, and so does a notebook, whose cells need each other.
WORKERS = min(4, os.cpu_count() or 1)
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

# Notebooks run on embedded data, whatever the rest of the tests may use.
EMBEDDED = {"COURSE_DATA": None, "COURSE_PRESET": None, "COURSE_SEED": None, "MPLBACKEND": "agg"}
PYTEST = [sys.executable, "-m", "pytest", "-q", "-rs", "--durations=5"]
TOGETHER = [*PYTEST, "-n", str(WORKERS), "--dist"]
BROWSER = ("widgets", "noise_lab", "webgl", "gallery_lab", "site", "reach", "slides", "pdf", "lab")
PARTS = {
    "style": ([sys.executable, "-m", "ruff", "check", "."], {}),
    "library": (
        [*TOGETHER, "loadfile", "tests", "--ignore-glob=*browser*", "--ignore=tests/test_chapters.py", "--ignore=tests/test_site.py"],
        ONE_THREAD,
    ),
    "chapters run (nbval)": (
        [*TOGETHER, "loadfile", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600", "-p", "no:cacheprovider", *CHAPTERS],
        {**EMBEDDED, **ONE_THREAD},
    ),
    "chapters are sound": ([*TOGETHER, "worksteal", "tests/test_chapters.py"], {**EMBEDDED, **ONE_THREAD}),
    "site builds": ([str(BIN / "jupyter-book"), "build", "book", "-W", "-n", "--keep-going", "--all"], {}),
    "site is sound": ([*PYTEST, "tests/test_site.py"], {}),
    # Much of it waits for the page; more than two browsers would make their tests of how fast something is answer for each other.
    "browser": ([*PYTEST, "-n", "2", "--dist", "loadfile", *(f"tests/test_browser_{name}.py" for name in BROWSER)], EMBEDDED),
}


def run(command: list[str], changes: dict[str, str | None]) -> tuple[int, dict[str, int]]:
    """Run one part, showing its output; returns the exit code, and pytest's counts from its last line."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    for name, value in changes.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    counts: dict[str, int] = {}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if re.search(r"\bin [\d.]+s", line):
                counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)", line)}
    return process.returncode, counts


def main() -> int:
    chosen = sys.argv[1:] or list(PARTS)
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        print(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    lines, total = [], {"passed": 0, "failed": 0, "skipped": 0}
    for name in chosen:
        print(f"\n=== {name} ===", flush=True)
        began = time.perf_counter()
        code, counts = run(*PARTS[name])
        counts = counts or {"failed" if code else "passed": 1}
        if code and not counts.get("failed"):
            counts["failed"] = max(1, counts.get("error", 0))
        for word in total:
            total[word] += counts.get(word, 0)
        lines.append(f"{name:22} {(time.perf_counter() - began) / 60:5.1f} min  {'FAILED' if code else 'ok'}")
    print("\n" + "\n".join(lines))
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
