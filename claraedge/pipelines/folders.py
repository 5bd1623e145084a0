"""Inputs and outputs of one operator, and the container paths where they are mounted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from claraedge.pipelines.fields import Fields
from claraedge.pipelines.nodes import Node, ObjectNode, ScalarNode
from claraedge.pipelines.problems import Report, shown

_TYPED = ("type", "element-type", "shape")
_INPUT = ("path", "from", "name", *_TYPED)
_OUTPUT = ("path", "name", *_TYPED)
_SHARED_MEMORY = frozenset(
    ["array", "string", "primitive"]
    + [short + bits for short in "ui" for bits in ("8", "16", "32", "64")]
    + [long + bits for long in ("uint", "int") for bits in ("8", "16", "32", "64")]
    + [f + bits for f in ("f", "float") for bits in ("16", "32", "64")]
)
_RESERVED = ("/proc", "/sys", "/dev")
"""The kernel's: a mount there, or below, breaks the container."""
_OF_THE_IMAGE = frozenset(
    ["/bin", "/etc", "/lib", "/lib32", "/lib64", "/run", "/sbin", "/usr", "/usr/bin", "/usr/lib"]
)
"""A mount exactly there hides what the container needs to start; below them it is fine."""
_LONGEST_PATH = 1024
_LONGEST_PART = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """One entry of `input` or `output`, checked on its own."""

    node: ObjectNode
    path: str | None
    """None where it is wrong or rests on an unresolved placeholder."""
    path_at: Node
    name: ScalarNode | None
    source: ScalarNode | None = None
    """`from`."""
    element: ScalarNode | None = None
    """`element-type` of a stream."""

    @property
    def written(self) -> str:
        """The path; as it stands in the text where it could not be checked."""
        if self.path is None and isinstance(self.path_at, ScalarNode):
            return self.path_at.text
        return self.path or ""


def read_inputs(operator: Fields, typed: bool, report: Report) -> tuple[Folder, ...]:
    """Entries of `input:`. `typed`: the api-version asks for types."""
    example = "`- path: /input` and, for another operator's output, `from: NAME`"
    return tuple(
        _read(node, "an input", _INPUT, typed, report)
        for node in operator.objects("input", example)
    )


def read_outputs(operator: Fields, typed: bool, report: Report) -> tuple[Folder, ...]:
    """Entries of `output:`; each is named unless it is the only one."""
    nodes = operator.objects("output", "`- path: /output`")
    outputs = tuple(_read(n, "an output", _OUTPUT, typed, report) for n in nodes)
    seen: dict[str, ScalarNode] = {}
    for node, output in zip(nodes, outputs, strict=True):
        if output.name is not None:
            first = seen.setdefault(output.name.text.casefold(), output.name)
            if first is not output.name:
                report.error(
                    "duplicate-output",
                    output.name,
                    f"two outputs are named {shown(output.name.text)} (names are compared without"
                    f" case), the first on line {first.line}",
                    "give each output of the operator its own name",
                )
        elif node.get("name") is None and len(outputs) > 1:
            report.error(
                "unnamed-output",
                node,
                "the operator has several outputs, and this one has no name",
                "add `name:`; only a single output may go without",
            )
        elif node.get("name") is None and typed:
            report.warning(
                "unnamed-output",
                node,
                "from api-version 0.5.0 on every output has a name",
                "add `name:`",
            )
    return outputs


def check_paths(folders: Sequence[Folder], report: Report) -> None:
    """Refuses two folders of one operator at the same place, or one inside the other."""
    placed = sorted(
        (f for f in folders if f.path is not None),
        key=lambda f: (f"{f.path}/", f.path_at.line, f.path_at.column),
    )
    # Sorted with a closing slash, a folder stands before all that lies below it; `outer` holds the
    # folders that are still open at this point.
    outer: list[Folder] = []
    for folder in placed:
        while outer and not f"{folder.path}/".startswith(f"{outer[-1].path}/"):
            outer.pop()
        if outer:
            above = outer[-1]
            later, other = sorted(
                (folder, above), key=lambda f: (f.path_at.line, f.path_at.column), reverse=True
            )
            same = folder.path == above.path
            report.error(
                "duplicate-path" if same else "nested-path",
                later.path_at,
                f"{shown(later.path or '')} is also mounted on line {other.path_at.line}"
                if same
                else f"{shown(later.path or '')} and {shown(other.path or '')} (line"
                f" {other.path_at.line}) lie inside each other",
                "give each input and output of the operator a folder of its own",
            )
        outer.append(folder)


def _read(
    node: ObjectNode, where: str, known: Sequence[str], typed: bool, report: Report
) -> Folder:
    fields = Fields(node, where, known, report)
    shared = _check_type(fields, typed, report)
    path_node = fields.scalar(
        "path", required="" if shared else "add `path:` with a folder of the container, as `/input`"
    )
    element = fields.scalar("element-type") if fields.has("type") else None
    return Folder(
        node=node,
        path=_container_path(path_node, report) if path_node is not None else None,
        path_at=path_node or node,
        name=fields.name("name", where),
        source=fields.scalar("from") if "from" in known else None,
        element=element,
    )


def _check_type(fields: Fields, typed: bool, report: Report) -> bool:
    """Checks `type`, `element-type`, `shape`; True where the entry is in shared memory."""
    kind = fields.scalar("type")
    if kind is None:
        if fields.has("type"):
            return False
        for name in ("element-type", "shape"):
            if fields.has(name):
                report.error(
                    "missing-property",
                    fields.key(name),
                    f"`{name}` stands without `type`",
                    "add `type: stream` for a folder of files, or remove it",
                )
        if typed:
            report.warning(
                "untyped",
                fields.node,
                "from api-version 0.5.0 on inputs and outputs have a type; this is taken as a"
                " folder of files",
                "add `type: stream` and `element-type:`",
            )
        return False
    if kind.unresolved:
        return False
    if kind.text.casefold() == "stream":
        if fields.get("shape") is not None:
            report.error(
                "shape-of-stream",
                fields.key("shape"),
                "a stream has no `shape`",
                "remove `shape`; it belongs to `type: array`",
            )
        return False
    if kind.text.casefold() in _SHARED_MEMORY:
        report.error(
            "not-supported",
            kind,
            f"{shown(kind.text)} is kept in shared memory, which is not supported yet by this"
            " version of claraedge",
            "pass it as files: `type: stream` with a `path`",
        )
        return True
    report.error(
        "unknown-type",
        kind,
        f"{shown(kind.text)} is no type of an input or output",
        report.speller.fix(
            kind.text, ["stream", *sorted(_SHARED_MEMORY)], "use `stream` for a folder of files"
        ),
    )
    return False


def _container_path(node: ScalarNode, report: Report) -> str | None:
    """The path without doubled or trailing slashes, or None."""
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
