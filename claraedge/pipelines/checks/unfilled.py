"""Reports placeholders without a value at places that a pipeline cannot represent. Pure.

A pipeline keeps an open placeholder where it has a text (`command`, `path`, `image`); a number, a
type or an edge of the graph cannot contain one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from claraedge.pipelines.checks.imports import Imports
from claraedge.pipelines.model import DefinitionFile
from claraedge.pipelines.syntax.documents import Documents
from claraedge.pipelines.syntax.nodes import ListNode, Node, ObjectNode, ScalarNode
from claraedge.pipelines.syntax.parameters import Argument, Resolver, declare
from claraedge.pipelines.syntax.problems import At, Problem, Report, shown

_NO_TEXT = frozenset(
    [
        *("from", "order", "type", "element-type", "shape", "port"),
        *("cpu", "memory", "gpu", "gpu-memory"),
        *("timeout", "attempts", "backoff", "except", "network"),
    ]
)
_TEXTS = frozenset(["command", "variables", "description"])
"""Properties whose contents are texts, whatever their names."""


def unfilled(files: Sequence[DefinitionFile], arguments: Mapping[str, str]) -> tuple[Problem, ...]:
    """Returns an error for each; `files` are a definition that loads without errors."""
    nothing, report = Report(), Report()
    documents = Documents(files, nothing)
    root = documents.root()
    if root is None:
        return ()
    resolver = Resolver(nothing, final=False, job=None)
    imports = Imports(documents, resolver, nothing)
    given = {k: Argument(text=v, at=At(root.path)) for k, v in arguments.items()}
    parameters = declare(root.root.get("parameters"), given, nothing)
    operators = root.root.get("operators")
    if operators is None:
        return ()
    for entry in resolver.resolve(operators, parameters).children():
        whole = imports.operator(entry) if isinstance(entry, ObjectNode) else None
        if whole is None:
            continue
        for name, found in _open(_with_services(whole.node, imports), ""):
            report.error(
                "unresolved-placeholder",
                found,
                f"`{name}` is {shown(found.text)}, which has no value, and nothing else can stand"
                " there",
                "give the parameter a default, or a value",
            )
    return report.problems()


def _with_services(operator: ObjectNode, imports: Imports) -> ObjectNode:
    written = operator.get("services")
    if not isinstance(written, ListNode):
        return operator
    services = [imports.service(s) for s in written.items if isinstance(s, ObjectNode)]
    items = tuple(s.node for s in services if s is not None)
    return replace(
        operator,
        entries=tuple(
            (k, replace(written, items=items) if k.text == "services" else v)
            for k, v in operator.entries
        ),
    )


def _open(node: Node, name: str) -> Iterator[tuple[str, ScalarNode]]:
    """Yields the nearest property and the text of each such placeholder. `name`: the property of
    `node`.
    """
    match node:
        case ScalarNode():
            if node.unresolved and name in _NO_TEXT:
                yield name, node
        case ListNode():
            for item in node.items:
                yield from _open(item, name)
        case ObjectNode():
            for key, value in node.entries:
                if key.text not in _TEXTS:
                    yield from _open(value, key.text)
