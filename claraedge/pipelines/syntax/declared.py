"""Lists the parameters of a definition, for a form that asks for their values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from claraedge.pipelines.model import DefinitionFile
from claraedge.pipelines.syntax.documents import Documents
from claraedge.pipelines.syntax.parameters import declare
from claraedge.pipelines.syntax.problems import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredParameter:
    """A parameter, for which the start of a job may give a value."""

    name: str
    default: str | None
    """None: there is none, so that a value has to be given."""


def declared(files: Sequence[DefinitionFile]) -> Sequence[DeclaredParameter]:
    """Returns the parameters of a definition in their order; none where it cannot be read."""
    report = Report()
    root = Documents(files, report).root() if files else None
    if root is None:
        return ()
    found = declare(root.root.get("parameters"), {}, report)
    return [
        DeclaredParameter(name=name, default=found.values.get(folded))
        for folded, name in found.names.items()
    ]
