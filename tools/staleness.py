"""Which code of the library a chapter's stored outputs depend on, and a hash of it: outputs older than that are stale.

A chapter depends on what it imports and on what that imports. The roof imports every room, since it joins the recipes of
all parts; of these rooms only those count that the chapter has to do with, so that a recipe of another part makes nothing
stale. Comments and docstrings do not count: they change no output, except where a chapter shows a source, and a test
compares those.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "course_lib"
ROOF = ("recipes", "runs", "recording", "verify", "reproduction", "reproduce", "jobs", "cli")


def stamp(made) -> str:
    """First 16 hex digits of a SHA-256 over the names and the code of :func:`library_used`."""
    digest = hashlib.sha256()
    for path in library_used(made):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(code_of(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:16]


def library_used(made) -> list[Path]:
    """The library's files that a notebook's cells import, and what these import, in sorted order."""
    cells = [cell.source for cell in made.cells if cell.cell_type == "code"]
    python = "\n".join(line for source in cells for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
    start = imported(python, "")
    below = closure(start, lambda importer, target: not is_roof(importer))
    rooms = {room for room in map(room_of, below) if room}
    everything = not rooms  # a page about all parts, such as that of the records
    found = closure(start, lambda importer, target: everything or not is_roof(importer) or room_of(target) in {*rooms, ""})
    return sorted(file_of(module) for module in found)


def closure(start: Iterable[str], followed) -> set[str]:
    """All modules that are reached from some by imports of which ``followed(importer, target)`` is true."""
    found, waiting = set(), list(start)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [target for target in imports_of(module) if followed(module, target)]
    return found


def is_roof(module: str) -> bool:
    """Does the module, such as ``"runs"``, know all parts?"""
    return module.split(".")[0] in ROOF


def room_of(module: str) -> str:
    """The room that a module belongs to: ``"denoising"`` for ``"denoising.dncnn"`` and for ``"recipes.denoising"``; else ``""``."""
    room = module.removeprefix("recipes.").split(".")[0]
    return room if room not in ("recipes", "data", "widgets") and (PACKAGE / room).is_dir() else ""


@cache
def imports_of(module: str) -> frozenset[str]:
    """The library's modules that one of them imports, wherever in its file it does."""
    path = file_of(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(imported(path.read_text(encoding="utf-8"), package))


def imported(code: str, package: str) -> set[str]:
    """Names below ``course_lib`` of the modules that code in ``package`` imports, the packages that hold them included."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:  # relative
                parts = package.split(".") if package else []
                base = ".".join(["course_lib", *parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            else:
                base = node.module
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    parts = [name.split(".")[1:] for name in names if name.split(".")[0] == "course_lib"]
    found = {".".join(part[:n]) for part in parts for n in range(len(part) + 1)}
    return {name for name in found if file_of(name).is_file()}


def file_of(module: str) -> Path:
    """The file of a module below ``course_lib``, whose own is the empty name."""
    path = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def alone(statement: ast.stmt) -> bool:
    """Is a statement a string and nothing else?"""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)


def code_of(source: str) -> str:
    """Source without comments, docstrings and empty lines: the same text in every version of Python, unlike a dumped tree."""
    lines = source.splitlines()
    spans = [  # (line, byte, last line, last byte, what stands for it) of what does not count, lines from 0
        (t.start[0] - 1, len(lines[t.start[0] - 1][: t.start[1]].encode()), t.end[0] - 1, len(lines[t.end[0] - 1].encode()), b"")
        for t in tokenize.generate_tokens(io.StringIO(source).readline)
        if t.type == tokenize.COMMENT
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            text = node.body[0]
            body = b"" if len(node.body) > 1 else b"..."
            spans.append((text.lineno - 1, text.col_offset, text.end_lineno - 1, text.end_col_offset, body))
        if isinstance(node, ast.Module | ast.ClassDef):  # strings that document a name
            spans += [(t.lineno - 1, t.col_offset, t.end_lineno - 1, t.end_col_offset, b"") for t in node.body[1:] if alone(t)]
    raw = [line.encode() for line in lines]
    for first, start, last, end, body in sorted(spans, reverse=True):
        raw[first : last + 1] = [raw[first][:start] + body + raw[last][end:]]
    return "\n".join(line.rstrip() for line in (part.decode() for part in raw) if line.strip())
