"""Checks the inputs and outputs of one operator, and their paths in its container. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from claraedge.pipelines import fastio
from claraedge.pipelines.checks.fields import Fields
from claraedge.pipelines.checks.types import EntryType, read_type
from claraedge.pipelines.syntax.grammar import InputEntry, OutputEntry, TypedEntry
from claraedge.pipelines.syntax.nodes import Node, ObjectNode, ScalarNode
from claraedge.pipelines.syntax.problems import Report, shown, where

_RESERVED = ("/proc", "/sys", "/dev")
"""Folders of the kernel: a mount there, or below, breaks the container."""
_OF_THE_IMAGE = frozenset(
    ["/bin", "/etc", "/lib", "/lib32", "/lib64", "/run", "/sbin", "/usr", "/usr/bin", "/usr/lib"]
)
"""A mount exactly there hides what the container needs to start; mounts below are allowed."""
_LONGEST_PATH = 1024
_LONGEST_PART = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftEntry:
    """An entry of `input` or `output`, checked on its own."""

    node: ObjectNode
    type: EntryType
    path: str | None
    """None where it is wrong, contains an unresolved placeholder, or is a value in memory."""
    path_at: Node
    name: ScalarNode | None
    source: ScalarNode | None = None
    """The value of `from`."""

    @property
    def written(self) -> str:
        """The path, or its text in the definition where it could not be checked."""
        if self.path is None and isinstance(self.path_at, ScalarNode):
            return self.path_at.text
        return self.path or ""


def read_inputs(operator: Fields, typed: bool, report: Report) -> tuple[DraftEntry, ...]:
    """Reads the entries of `input:`. `typed`: whether the api-version requires types."""
    example = "`- path: /input` and, for another operator's output, `from: NAME`"
    inputs = []
    values: set[tuple[str, str]] = set()
    for node in operator.objects("input", example):
        entry = _read(node, "an input", InputEntry, typed, report)
        inputs.append(entry)
        if not entry.type.in_memory:
            continue
        if entry.source is None and node.get("from") is None:
            report.error(
                "value-from-payload",
                entry.type.at,
                f"{shown(entry.type.type or '')} is a value in shared memory, and the job's payload"
                " holds files",
                "add `from:` with the operator that writes it, or read files: `type: stream`",
            )
        elif entry.source is not None and entry.name is not None:
            key = (entry.source.text.casefold(), entry.name.text.casefold())
            if key in values:
                report.error(
                    "duplicate-input",
                    entry.name,
                    f"the operator reads {shown(entry.name.text)} of {shown(entry.source.text)}"
                    " twice",
                    "keep one of them",
                )
            values.add(key)
    return tuple(inputs)


def read_outputs(operator: Fields, typed: bool, report: Report) -> tuple[DraftEntry, ...]:
    """Reads the entries of `output:`; each needs a name unless it is the only one."""
    nodes = operator.objects("output", "`- path: /output`")
    outputs = tuple(_read(n, "an output", OutputEntry, typed, report) for n in nodes)
    seen: dict[str, ScalarNode] = {}
    for node, output in zip(nodes, outputs, strict=True):
        if output.name is not None:
            folded = output.name.text.casefold()
            first = seen.get(folded)  # by an alias, it may be the very same node
            if first is None:
                seen[folded] = output.name
            else:
                report.error(
                    "duplicate-output",
                    output.name,
                    f"two outputs are named {shown(output.name.text)} (names are compared without"
                    f" case), the first on {where(first, output.name)}",
                    "give each output of the operator its own name",
                )
        elif node.get("name") is None and output.type.in_memory:
            pass  # reported with its type
        elif node.get("name") is None and len(outputs) > 1:
            report.error(
                "unnamed-output",
                node,
                "the operator has several outputs, and this one has no name",
                "add `name:`; only a single output may go without",
            )
        elif node.get("name") is None and typed:
            report.error(
                "unnamed-output",
                node,
                "from api-version 0.5.0 on every output has a name",
                "add `name:`",
            )
    return outputs


def check_paths(folders: Sequence[DraftEntry], report: Report) -> None:
    """Reports folders of one operator at the same path, or inside one another."""
    placed = sorted(
        (f for f in folders if f.path is not None),
        key=lambda f: (f"{f.path}/", f.path_at.line, f.path_at.column),
    )
    # Sorted with a trailing slash, a folder comes before all that is below it; `outer` contains the
    # folders that are still open at this point.
    outer: list[DraftEntry] = []
    for folder in placed:
        while outer and not f"{folder.path}/".startswith(f"{outer[-1].path}/"):
            outer.pop()
        if outer:
            above = outer[-1]
            later, other = sorted(
                (folder, above), key=lambda f: (f.path_at.line, f.path_at.column), reverse=True
            )
            same = folder.path == above.path
            there = where(other.path_at, later.path_at)
            report.error(
                "duplicate-path" if same else "nested-path",
                later.path_at,
                f"{shown(later.path or '')} is also mounted on {there}"
                if same
                else f"{shown(later.path or '')} and {shown(other.path or '')} ({there}) lie"
                " inside each other",
                "give each input and output of the operator a folder of its own",
            )
        outer.append(folder)


def _read(
    node: ObjectNode, what: str, kind: type[TypedEntry], typed: bool, report: Report
) -> DraftEntry:
    fields = Fields(node, what, kind, report)
    of = read_type(fields, typed, report)
    if of.in_memory:
        return DraftEntry(
            node=node,
            type=of,
            path=None,
            path_at=node,
            name=fields.name(
                "name", what, required="add `name:`; a value in shared memory is found by it"
            ),
            source=fields.scalar("from") if kind is InputEntry else None,
        )
    unknown = of.type is None and not of.known  # it may be a value in shared memory
    needed = "add `path:` with a folder of the container, as `/input`"
    at = fields.scalar("path", required="" if unknown else needed)
    return DraftEntry(
        node=node,
        type=of,
        path=container_path(at, report) if at is not None else None,
        path_at=at or node,
        name=fields.name("name", what),
        source=fields.scalar("from") if kind is InputEntry else None,
    )


def container_path(node: ScalarNode, report: Report) -> str | None:
    """Returns the path without doubled or trailing slashes; None where it is wrong, which is
    reported.
    """
    if node.unresolved:
        return None
    parts = [p for p in node.text.split("/") if p]
    path = "/" + "/".join(parts)
    problem = None
    if not node.text.startswith("/"):
        fix = f"write {shown(path)}" if parts and parts[0] not in (".", "..") else "begin with `/`"
        problem = ("relative-path", "is not absolute", fix)
    elif "." in parts or ".." in parts:
        problem = ("unsafe-path", "holds `.` or `..`", "write the folder that is meant, in full")
    elif any(not c.isprintable() or c in ":;" for c in path):
        problem = (
            "unsafe-path",
            "holds a character that cannot be passed on in NVIDIA_CLARA_INPUTPATHS",
            "use a path without `:`, `;` and control characters",
        )
    elif len(path) > _LONGEST_PATH or any(len(p.encode()) > _LONGEST_PART for p in parts):
        problem = (
            "unsafe-path",
            "is too long",
            f"at most {_LONGEST_PATH} characters, and {_LONGEST_PART} bytes between two slashes",
        )
    elif f"{path}/".startswith(f"{fastio.FOLDER}/"):
        problem = (
            "reserved-path",
            "is where values in shared memory lie",
            "use a folder of its own, as `/input`",
        )
    elif not parts or path in _OF_THE_IMAGE or f"/{parts[0]}" in _RESERVED:
        problem = (
            "reserved-path",
            "belongs to the container itself, which does not start when a folder lies there",
            "use a folder of its own, as `/input`",
        )
    if problem is None:
        return path
    code, wrong, fix = problem
    report.error(code, node, f"the container path {shown(node.text)} {wrong}", fix)
    return None
