"""Run the chapters and store their outputs: ``python tools/execute.py [--seeds] [CHAPTER ...]``.

Each ``book/NN_name.md`` becomes ``book/NN_name.ipynb``, executed from top to bottom in a fresh kernel, on embedded data only
(``COURSE_DATA`` is unset). The site is built from these stored outputs. ``--seeds`` runs each chapter with seeds 0 to 4, and once
with twice the steps, and stores nothing: its claims must hold in every run.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import sys
import time
from pathlib import Path

import staleness

BOOK = Path(__file__).resolve().parents[1] / "book"
TIMEOUT = 600  # seconds for one cell: machines differ
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
"""As JupyterLab writes it: with another one a notebook would count as modified as soon as it is opened."""
VIEW = "application/vnd.jupyter.widget-view+json"
TWICE = """
import dataclasses
from course_lib import training

_fit = training.fit
def _twice(model, data, method, plan, **options):
    return _fit(model, data, method, dataclasses.replace(plan, steps=2 * plan.steps), **options)
training.fit = _twice
"""


def chapters() -> list[Path]:
    """The MyST sources of all pages that are notebooks, in order."""
    return [path for path in sorted(BOOK.glob("*.md")) if "jupytext:" in path.read_text(encoding="utf-8")[:400]]


def notebook(source: Path):
    """A MyST chapter as a notebook without outputs, its cells with names that depend on the text only."""
    import jupytext

    made = jupytext.read(source)
    for number, cell in enumerate(made.cells):
        cell["id"] = hashlib.sha256(f"{number}/{cell.source}".encode()).hexdigest()[:12]
    made.metadata["kernelspec"] = dict(KERNELSPEC)
    return made


def precision() -> str:
    """In what chapters are run here, unless ``COURSE_PRECISION`` says otherwise: what a short probe finds faster differs from day to day.

    Processors without AVX-512 compute bfloat16 by routines that take some thirty times as long.
    """
    import torch

    return "bf16-mixed" if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else "32-true"


def run(made, *, seed: int = 0, preset: str = "quick", before: str = ""):
    """Execute a notebook in place, on embedded data; ``before`` is code for the kernel to run first.

    Raises:
        nbclient.exceptions.CellExecutionError: where a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    environment = {k: v for k, v in os.environ.items() if k != "COURSE_DATA"}
    environment |= {"COURSE_SEED": str(seed), "COURSE_PRESET": preset, "MPLBACKEND": "agg"}
    environment.setdefault("COURSE_PRECISION", precision())
    if before:
        made.cells.insert(0, nbformat.v4.new_code_cell(before))
    client = NotebookClient(made, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(BOOK)}})
    os.environ.pop("COURSE_DATA", None)  # the kernel inherits this process's environment
    os.environ.update(environment)
    client.execute()
    return made


def stored(made, seconds: float):
    """The executed notebook as it is committed: no widget, which is nothing without its kernel, and no times of the clock."""
    made.metadata.pop("widgets", None)
    for cell in made.cells:
        cell.metadata.pop("execution", None)
        if cell.metadata.get("jupyter", {}).get("outputs_hidden"):
            cell.metadata["collapsed"] = True  # JupyterLab writes both
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if VIEW not in output.get("data", {})]
        if "readme" in cell.metadata.get("tags", []):  # the picture of the README is one of a chapter
            picture = re.search(r"data:image/webp;base64,([^\"]+)", cell.outputs[-1]["data"]["text/html"])[1]
            (BOOK / "_static" / "readme.webp").write_bytes(base64.b64decode(picture))
        if any(output.get("name") == "stderr" or output.output_type == "error" for output in cell.get("outputs", [])):
            raise RuntimeError(f"a cell wrote to stderr, which a chapter must not:\n{cell.source}\n{cell.outputs}")
    made.metadata.get("jupytext", {}).pop("text_representation", None)  # that of the .md, which JupyterLab leaves out of the .ipynb
    made.metadata["course"] = {"library": staleness.stamp(made), "seconds": round(seconds)}
    return made


def faults(source: Path, *, seed: int = 0, twice: bool = False) -> list[str]:
    """What fails in a run of a chapter, one line a cell: its first line and the error. All cells are run."""
    made = notebook(source)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.metadata.setdefault("tags", []).append("raises-exception")
    run(made, seed=seed, before=TWICE if twice else "")
    return [
        f"{cell.source.strip().splitlines()[0]} …: {output.ename}: {output.evalue}"
        for cell in made.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("chapters", nargs="*", help="such as 08_dncnn; all of them if none is named")
    options.add_argument("--seeds", action="store_true", help="run with seeds 0 to 4, and with twice the steps, and store nothing")
    chosen = options.parse_args()
    import nbformat

    sources = [path for path in chapters() if not chosen.chapters or path.stem in chosen.chapters]
    if not sources:
        print(f"no such chapter; there are {', '.join(path.stem for path in chapters())}", file=sys.stderr)
        return 1
    failed = 0
    for source in sources:
        for seed in (*range(5), None) if chosen.seeds else (0,):
            began = time.perf_counter()
            words = "twice the steps" if seed is None else f"seed {seed}"
            if chosen.seeds:
                found = faults(source, seed=seed or 0, twice=seed is None)
            else:
                made, found = run(notebook(source), seed=seed), []
            seconds = time.perf_counter() - began
            print(f"{source.stem}, {words}: {seconds:.0f} s", *found, sep="\n  ", flush=True)
            failed += bool(found)
            if not chosen.seeds:
                nbformat.write(stored(made, seconds), source.with_suffix(".ipynb"))
    if failed:
        print(f"{failed} of the runs failed", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
