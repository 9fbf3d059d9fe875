"""Claims judged assert by assert: which of them hold in a run, though an earlier one of their cell has failed."""

from __future__ import annotations

import ast
import json

BEFORE = '''
class _Judge:
    """A context of one assert, which notes whether it fails and goes on."""
    found = {}
    def __init__(self, cell, text):
        self.key = (cell, text)
        self.found.setdefault(self.key, False)
    def __enter__(self):
        return self
    def __exit__(self, kind, error, trace):
        failed = kind is not None and issubclass(kind, AssertionError)
        self.found[self.key] |= failed
        return failed
'''
"""Code for the kernel to run first."""

AFTER = "import json; print(json.dumps([[*key, failed] for key, failed in _Judge.found.items()]))"
"""The last cell: prints, for every assert that was reached, its cell, its text, and whether it failed at least once."""


class _Judged(ast.NodeTransformer):
    def __init__(self, cell: str):
        self.cell = cell
        self.texts: list[str] = []

    def visit_Assert(self, node: ast.Assert) -> ast.With:
        text = ast.unparse(node.test)
        self.texts.append(text)
        made = ast.parse(f"with _Judge({self.cell!r}, {text!r}):\n    pass").body[0]
        made.body = [node]
        return made


def judged(source: str, cell: str) -> tuple[str, list[str]]:
    """The source of a cell with each of its asserts in a judge, and the texts of what they assert."""
    judge = _Judged(cell)
    tree = ast.fix_missing_locations(judge.visit(ast.parse(source)))
    return ast.unparse(tree), judge.texts


def verdicts(output: str) -> dict[tuple[str, str], bool]:
    """(cell, text of an assert) -> it failed, from what ``AFTER`` printed."""
    return {(cell, text): failed for cell, text, failed in json.loads(output)}
