"""The files of a definition: which is its root, and which one an `import` names. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from claraedge.pipelines.model import DefinitionFile
from claraedge.pipelines.nodes import Node, ObjectNode, ScalarNode, kind
from claraedge.pipelines.problems import Report, shown
from claraedge.pipelines.reader import Budget, read

_BEGIN = "begin the file with `api-version: 0.4.0`, `name: NAME` and `operators:`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file, read."""

    key: str
    """The same for every spelling of its path."""
    path: str
    """As it was sent."""
    root: ObjectNode
    nodes: int
    """What it counts against the budget, each time that it is imported."""


class Documents:
    """Reads each file that is needed, once.

    Source: Clara 0.8.1, Pipelines Create: paths are only names, compared without case; an import's
    path is relative to the file that imports. Both kinds of slash are read as one.
    """

    def __init__(self, files: Sequence[DefinitionFile], report: Report) -> None:
        self.budget = Budget()
        self._report = report
        self._sent = files
        self._files: dict[str, DefinitionFile] = {}
        for file in files:
            self._files.setdefault(_key(file.path), file)
        self._read: dict[str, Document | None] = {}
        self._first = _key(files[0].path)

    def root(self) -> Document | None:
        """The pipeline's own file: the first, or the one that has `operators` where it has none."""
        first = self._document(self._first)
        if first is None or first.root.get("operators") is not None:
            return first
        others = [
            document
            for key in self._files
            if key != self._first
            and (document := self._document(key)) is not None
            and document.root.get("operators") is not None
        ]
        return others[0] if len(others) == 1 else first

    def imported(self, path: ScalarNode) -> Document | None:
        """The file that an import's `path` names; None where that is wrong, which is reported."""
        if path.unresolved:
            return None
        if path.text.startswith(("/", "\\")):
            self._report.error(
                "rooted-import",
                path,
                f"the path {shown(path.text)} begins at a root, which a definition has none of",
                "write it relative to this file",
            )
            return None
        key = _key(path.text, beside=_key(path.file))
        if key not in self._files:
            key = self._by_last_name(key, path)
        return self._document(key) if key else None

    def unused(self) -> Iterator[DefinitionFile]:
        """Files that nothing needed."""
        used = {id(self._files[key]) for key in self._read}
        return (file for file in self._sent if id(file) not in used)

    def _by_last_name(self, key: str, path: ScalarNode) -> str:
        """Where a client sent its files without their folders, the last name says which."""
        last = key.rpartition("/")[2]
        same = [known for known in self._files if known.rpartition("/")[2] == last]
        if len(same) == 1:
            found = self._files[same[0]].path
            self._report.warning(
                "import-by-last-name",
                path,
                f"there is no file {shown(path.text)} beside {shown(path.file)};"
                f" {shown(found)} is taken",
                "send the files with their folders, or name the one that is meant",
            )
            return same[0]
        names = [file.path for file in self._files.values()]
        self._report.error(
            "unknown-file",
            path,
            f"the definition holds no file {shown(path.text)}, seen from {shown(path.file)}",
            self._report.speller.fix(
                path.text, names, f"add it to the definition, which holds {_listed(names)}"
            ),
        )
        return ""

    def _document(self, key: str) -> Document | None:
        if key not in self._read:
            self._read[key] = self._read_file(key)
        return self._read[key]

    def _read_file(self, key: str) -> Document | None:
        file = self._files[key]
        self._report.opens(file.path)
        before = self.budget.nodes
        root = read(file.content, file.path, self._report, self.budget)
        if root is None:
            return None
        if not isinstance(root, ObjectNode):
            self._report.error("wrong-type", root, f"the document is {kind(root)}", _BEGIN)
            return None
        return Document(key=key, path=file.path, root=root, nodes=before - self.budget.nodes)


def import_paths(root: Node) -> Iterator[ScalarNode]:
    """What the imports of a document name, wherever they stand. For collecting files."""
    for entries in (_items(root, "operators"), [root]):
        for entry in entries:
            for each in (entry, *_items(entry, "services")):
                value = each.get("import") if isinstance(each, ObjectNode) else None
                path = value.get("path") if isinstance(value, ObjectNode) else value
                if isinstance(path, ScalarNode):
                    yield path


def _items(node: Node, name: str) -> Sequence[Node]:
    value = node.get(name) if isinstance(node, ObjectNode) else None
    return () if value is None else tuple(value.children())


def _key(path: str, beside: str = "") -> str:
    """The path as names are compared: folded, with `.` and `..` worked out."""
    parts = beside.split("/")[:-1]
    for part in path.replace("\\", "/").casefold().split("/"):
        if part == ".." and parts and parts[-1] not in ("", ".."):
            parts.pop()
        elif part == ".." and parts == [""]:
            continue  # above the root of an absolute path is the root
        elif part != "." and (part or not parts):
            parts.append(part)
    return "/".join(parts)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(map(shown, names[:10])) + more
