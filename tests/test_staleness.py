"""Stored outputs are stale when code changes that the chapter uses, and at nothing else."""

import ast
import shutil
from types import SimpleNamespace

import pytest

import staleness

CODE = '''
"""The module."""

import math  # a comment


def area(r):
    """Its docstring, with "quotes" and an umlaut: Fläche."""
    # another comment
    text = "# no comment"  # größer
    return math.pi * r**2, text
'''
SAME = '''"""Another one."""
import math
def area(r):
    """Reworded,
    over two lines."""
    text = "# no comment"

    return math.pi * r**2, text
'''


def notebook(*cells):
    return SimpleNamespace(cells=[SimpleNamespace(cell_type="code", source=cell) for cell in cells])


def used(*cells):
    return {path.relative_to(staleness.PACKAGE).as_posix() for path in staleness.library_used(notebook(*cells))}


def test_comments_docstrings_and_empty_lines_do_not_count():
    assert staleness.code_of(CODE) == staleness.code_of(SAME)
    assert '"# no comment"' in staleness.code_of(CODE) and "größer" not in staleness.code_of(CODE)


@pytest.mark.parametrize("old, new", [("r**2", "r**3"), ('"# no comment"', '"# a comment"'), ("area(r)", "area(r, *, x=1)")])
def test_code_does_count(old, new):
    assert old in CODE and staleness.code_of(CODE) != staleness.code_of(CODE.replace(old, new))


def test_what_is_left_of_every_file_is_the_same_program():
    """But for docstrings, those of names included; one that is all there is of a body leaves three dots."""

    def program(text):
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Expr(ast.Constant(...))]
            if isinstance(node, ast.Module | ast.ClassDef):
                node.body = [part for part in node.body if not staleness.alone(part)]
        return ast.dump(tree)

    for path in staleness.PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        left = staleness.code_of(text)
        assert program(left) == program(text), path


def test_a_string_that_documents_a_name_does_not_count():
    text = 'A = 1\n"""{}"""\n\n\nclass B:\n    c: int = 2\n    """{}"""\n'
    one, other = text.format("a", "b"), text.format("longer", "of\n\ntwo lines")
    assert staleness.code_of(one) == staleness.code_of(other) == "A = 1\nclass B:\n    c: int = 2"


def test_the_closure_of_an_import():
    assert used("from course_lib import rng") == {"__init__.py", "rng.py"}
    found = used("import torch", "%matplotlib inline\nfrom course_lib.denoising import dncnn\n!ls")
    assert {"denoising/dncnn.py", "denoising/common.py", "training.py", "batches.py", "rng.py"} <= found
    assert not {"denoising/nn3d.py", "metric_learning/triplet.py", "cli.py", "runs.py"} & found


def test_the_roof_leads_only_into_rooms_that_a_chapter_uses():
    found = used("from course_lib import recipes, runs\nfrom course_lib.metric_learning import triplet")
    assert {"runs.py", "results.py", "metric_learning/siamese.py"} <= found
    assert not any(name.startswith("denoising/") for name in found)


def test_a_page_about_everything_uses_everything():
    found = used("from course_lib import recipes, reproduction")
    assert {"denoising/ffdnet.py", "metric_learning/triplet.py"} <= found


def test_a_lazy_import_counts():
    """Such as those of the command line, which are made when a command is called."""
    assert staleness.imported("def called():\n    from course_lib import results\n", "") == {"", "results"}


def test_the_stamp_changes_with_a_file_that_is_used(monkeypatch, tmp_path):
    shutil.copytree(staleness.PACKAGE, tmp_path / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    chapter = notebook("from course_lib.denoising import dncnn")
    before = staleness.stamp(chapter)
    monkeypatch.setattr(staleness, "PACKAGE", tmp_path / "course_lib")
    assert staleness.stamp(chapter) == before
    for name, stale in (("denoising/nn3d.py", False), ("denoising/common.py", True)):
        file = tmp_path / "course_lib" / name
        file.write_text(file.read_text(encoding="utf-8") + "\nADDED = 1\n", encoding="utf-8")
        assert (staleness.stamp(chapter) != before) is stale
