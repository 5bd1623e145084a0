"""Finds the files that a definition imports, to collect them before it is loaded. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import NamedTuple

from claraedge.pipelines.syntax.documents import import_paths
from claraedge.pipelines.syntax.nodes import Node, ObjectNode, ScalarNode
from claraedge.pipelines.syntax.parameters import Argument, Resolver, declare
from claraedge.pipelines.syntax.problems import At, Report

MAX_FILES = 1000
"""Limit for the files of one definition."""
MAX_BYTES = 16 << 20
"""Limit in bytes for all files of one definition; a daemon accepts no more."""


class Import(NamedTuple):
    """The place where a file imports another one."""

    path: str
    """The path as written, with forward slashes; relative to the file."""
    file: str
    line: int
    column: int


def imports_of(node: Node, file: str, variables: Mapping[str, str]) -> tuple[Import, ...]:
    """Returns the imports that can be followed; the loader reports problems of others."""
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


def resolve_import(file: str, path: str) -> str:
    """Returns the path to which an import in `file` leads.

    The path is computed from its text, as by the loader, regardless of symbolic links.
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
