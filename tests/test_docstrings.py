"""Every public name says what it is, in which shapes, and which errors it raises itself."""

import ast
import re

import pytest

from course_lib.project import home

FILES = sorted((home() / "course_lib").rglob("*.py"))
SHAPE = re.compile(r"\(([\w·² −+*./]+,)+[^)]*\)|scalar|[Ss]hape")  # such as (B, C, H, W) or (N,)
AS_THERE = re.compile(r"[Ee]rrors? (as|see)|[Ee]rrors as|and errors")  # the errors stand where the docstring leads


def public(tree: ast.Module):
    """(name, node) of every public function, class and method."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from ((f"{node.name}.{name}", inner) for name, inner in public(node))


def raised(node: ast.AST, caught: bool = False):
    """Names of the errors that a function raises itself, without those that it catches again, and without inner functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.Raise) and child.exc is not None and not caught:
            called = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name[:1].isupper():
                yield name
        if isinstance(child, ast.Try):
            for part in child.body:
                yield from raised(ast.Module([part], []), caught or bool(child.handlers))
            for part in (*child.handlers, *child.orelse, *child.finalbody):
                yield from raised(ast.Module([part], []), caught)
        else:
            yield from raised(child, caught)


def faults(source: str) -> list[str]:
    """What the docstrings of a module do not say."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    for name, node in public(tree):
        text = ast.get_docstring(node) or ""
        if not text:
            found.append(f"{name} has no docstring")
        elif isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            types = " ".join(ast.unparse(kind) for kind in [*(a.annotation for a in arguments), node.returns] if kind)
            if re.search(r"\b(Tensor|ndarray)\b", types) and not SHAPE.search(text):
                found.append(f"{name} does not say which shapes its tensors have")
            if not AS_THERE.search(text):
                found += [f"{name} does not say that it raises {error}" for error in sorted(set(raised(node))) if error not in text]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(home() / "course_lib")))
def test_public_docstrings(file):
    assert not faults(file.read_text(encoding="utf-8"))


def test_what_is_a_fault():
    source = '''"""M."""
class C:
    """C."""
    def method(self, x: Tensor):
        """Does it."""
def f(x):
    """Raises nothing."""
    if x:
        raise ValueError("x")
    try:
        raise KeyError
    except KeyError as error:
        raise OSError from error
def g(x: Tensor) -> Tensor:
    """``(B,)`` gives ``(B, C)``."""
def _h(): ...
def bare(): ...
'''
    assert faults(source) == [
        "C.method does not say which shapes its tensors have",
        "f does not say that it raises OSError",
        "f does not say that it raises ValueError",
        "bare has no docstring",
    ]
    assert faults("") == ["the module has no docstring"]
