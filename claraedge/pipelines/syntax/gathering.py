"""Which files a definition takes in, so that they can be gathered before it is loaded. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import NamedTuple

from claraedge.pipelines.syntax.documents import import_paths
from claraedge.pipelines.syntax.nodes import Node, ObjectNode, ScalarNode
from claraedge.pipelines.syntax.parameters import Argument, Resolver, declare
from claraedge.pipelines.syntax.problems import At, Report

MAX_FILES = 1000
"""Of one definition."""
MAX_BYTES = 16 << 20
"""Of all files of one definition; a daemon takes no more."""


class Import(NamedTuple):
    """Where a file takes another one in."""

    path: str
    """As written, with forward slashes; relative to the file."""
    file: str
    line: int
    column: int


def imports_of(node: Node, file: str, variables: Mapping[str, str]) -> tuple[Import, ...]:
    """Imports that can be followed; what is wrong with others is the loader's to say."""
    nothing = Report()
    resolver = Resolver(nothing, final=False, job=None)
    arguments = {k: Argument(text=v, at=At(file)) for k, v in variables.items()}
    written = node.get("parameters") if isinstance(node, ObjectNode) else None
    parameters = declare(written, arguments, nothing)
    found = []
    for path in import_paths(node):
        resolved = resolver.resolve(path, parameters)
        assert isinstance(resolved, ScalarNode)
        text = resolved.text.replace("\\", "/")
        if not resolved.unresolved and text and "\0" not in text and not text.startswith("/"):
            found.append(Import(path=text, file=file, line=path.line, column=path.column))
    return tuple(found)


def beside(file: str, path: str) -> str:
    """What a path of an import in a file leads to.

    Worked out by its text, as the loader does, whatever links lie on the way.
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
