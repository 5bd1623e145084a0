"""Docstrings say which errors of ours a function raises, and which unit a float has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from claraedge import errors

PACKAGE = Path(__file__).resolve().parents[3] / "claraedge"
ERRORS = frozenset(name for name in vars(errors) if name.endswith("Error"))
UNIT = re.compile(
    r"(?<![a-z])(seconds?|minutes?|hours?|days?|percent|bytes?|MiB|MB|fraction|ratio|cores?|watts?)"
    r"(?![a-z])",
    re.IGNORECASE,
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_Tree = tuple[str, ast.Module]


def trees() -> list[_Tree]:
    return [
        (str(path.relative_to(PACKAGE)), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(PACKAGE.rglob("*.py"))
        if "_pb2" not in path.name
    ]


def named(node: ast.AST | None) -> str:
    """Returns the last part of the name in an expression such as `errors.JobStateError(...)`."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def raised(function: _Function) -> set[str]:
    """Returns the errors of ours that the body itself raises; functions inside it do not count."""
    found: set[str] = set()
    nodes: list[ast.AST] = [*function.body]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Raise):
            found.add(named(node.exc))
        if not isinstance(node, _INNER):
            nodes += ast.iter_child_nodes(node)
    return found & ERRORS


def promised(found: list[_Tree]) -> set[str]:
    """Returns the methods of protocols whose docstring says what they raise."""
    return {
        method.name
        for _, tree in found
        for kind in ast.walk(tree)
        if isinstance(kind, ast.ClassDef) and "Protocol" in map(named, kind.bases)
        for method in kind.body
        if isinstance(method, _Function) and "aises" in (ast.get_docstring(method) or "")
    }


def functions(node: ast.AST, kind: ast.ClassDef | None = None) -> Iterator[tuple[_Function, str]]:
    """Yields the public functions and methods, each with its docstring.

    The docstring of a constructor includes that of its class. Commands of the command line are
    left out: their docstring is the help for users.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from functions(child, child)
        elif isinstance(child, _Function):
            enters = kind is not None and child.name in ("__init__", "__enter__", "__aenter__")
            command = any(named(one) == "command" for one in child.decorator_list)
            if enters or not (command or child.name.startswith("_")):
                above = kind if kind is not None and enters else child
                yield child, f"{ast.get_docstring(child) or ''} {ast.get_docstring(above) or ''}"


def silent(found: list[_Tree]) -> list[str]:
    """Lists functions that raise an error of ours, and whose docstring does not name it.

    A method without a docstring does what the docstring of its protocol says.
    """
    of_protocols = promised(found)
    return [
        f"{path}:{function.lineno}: {function.name} raises {error}"
        for path, tree in found
        for function, text in functions(tree)
        if text.strip() or function.name not in of_protocols
        for error in sorted(raised(function))
        if error not in text
    ]


def unitless(found: list[_Tree]) -> list[str]:
    """Lists attributes with numbers whose docstring, class and name do not say the unit."""
    return [
        f"{path}:{field.lineno}: {kind.name}.{field.target.id} has no unit"
        for path, tree in found
        for kind in ast.walk(tree)
        if isinstance(kind, ast.ClassDef)
        for field, below in zip(kind.body, [*kind.body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if any(named(part) == "float" for part in ast.walk(field.annotation))
        if not UNIT.search(" ".join((said(below), field.target.id, ast.get_docstring(kind) or "")))
    ]


def said(below: ast.stmt | None) -> str:
    """Returns the docstring of an attribute: the text that follows it, if any."""
    if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
        return str(below.value.value)
    return ""


def test_the_check_finds_what_is_not_said() -> None:
    source = '''
class Runs(Protocol):
    def stop(self) -> None:
        """Stops it. Raises ContainerError if that fails."""

class Jobs(Runs):
    wait: float
    """How long to wait."""
    pause: float
    """Seconds between two tries."""

    def start(self) -> None:
        """Starts a job."""
        if self.wait:
            raise JobStateError("no")

    def begin(self) -> None:
        """Begins. Raises JobStateError if it was started."""
        raise JobStateError("no")

    def stop(self) -> None:
        raise ContainerError("no")

    def end(self) -> None:
        raise errors.ContainerError("no")

    def _of(self) -> None:
        raise ContainerError("no")
'''
    found = [("jobs.py", ast.parse(source))]
    assert silent(found) == [
        "jobs.py:12: start raises JobStateError",
        "jobs.py:24: end raises ContainerError",
    ]
    assert unitless(found) == ["jobs.py:7: Jobs.wait has no unit"]


def test_docstrings_say_which_errors_are_raised() -> None:
    assert silent(trees()) == []


def test_docstrings_say_the_unit_of_floats() -> None:
    assert unitless(trees()) == []
