"""The files of a definition: finds its root, and the file that an `import` names. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from claraedge.pipelines.model import DefinitionFile
from claraedge.pipelines.syntax.nodes import Node, ObjectNode, ScalarNode, kind
from claraedge.pipelines.syntax.problems import Report, listed, shown
from claraedge.pipelines.syntax.reader import DefinitionBudget, read

_BEGIN = "begin the file with `api-version: 0.4.0`, `name: NAME` and `operators:`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One parsed file."""

    key: str
    """Equal for every spelling of its path."""
    path: str
    """The path as it was sent."""
    root: ObjectNode
    nodes: int
    """Number of nodes that each import of it uses of the budget."""
    characters: int
    """Number of characters that each import of it uses of the budget."""


class Documents:
    """Parses each file that is needed, once.

    Source: Clara 0.8.1, Pipelines Create: paths are only names, compared without case; an import's
    path is relative to the importing file. Slashes and backslashes are equivalent.
    """

    def __init__(self, files: Sequence[DefinitionFile], report: Report) -> None:
        self.budget = DefinitionBudget()
        self._report = report
        self._sent = files
        self._files: dict[str, DefinitionFile] = {}
        self._by_last: dict[str, list[str]] = {}
        for file in files:
            key = _key(file.path)
            if self._files.setdefault(key, file) is file:
                self._by_last.setdefault(_last(key), []).append(key)
        self._read: dict[str, Document | None] = {}
        self._used: set[str] = set()
        self._first = _key(files[0].path)

    def root(self) -> Document | None:
        """Returns the pipeline's own file: the first one, or the only other one with `operators`
        where the first has none.
        """
        root = self._root()
        self._used.add(root.key if root is not None else self._first)
        return root

    def _root(self) -> Document | None:
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
        """Returns the file that an import's `path` names; None where it is wrong, which is
        reported.
        """
        if path.unresolved:
            # Without the file there is no operator, and all references to it would be reported as
            # wrong.
            self._report.error(
                "unresolved-import",
                path,
                f"the path {shown(path.text)} holds a placeholder without a value, and files are"
                " imported when the pipeline is created",
                "give the parameter a default, or write the path itself",
            )
            return None
        if path.text.startswith(("/", "\\")):
            self._report.error(
                "rooted-import",
                path,
                f"the path {shown(path.text)} begins at a root, which a definition has none of",
                "write it relative to this file",
            )
            return None
        key = _key(path.text, importing=_key(path.file))
        if key not in self._files:
            key = self._by_last_name(key, path)
        if not key:
            return None
        self._used.add(key)
        return self._document(key)

    def unused(self) -> Iterator[DefinitionFile]:
        """Returns the files that nothing imported."""
        used = {id(self._files[key]) for key in self._used}
        return (file for file in self._sent if id(file) not in used)

    def _by_last_name(self, key: str, path: ScalarNode) -> str:
        """Finds a file by the last part of its path, for clients that sent their files without
        folders.
        """
        same = self._by_last.get(_last(key), [])
        if len(same) == 1:
            found = self._files[same[0]].path
            self._report.warning(
                "import-by-last-name",
                path,
                f"there is no file {shown(path.text)} next to {shown(path.file)};"
                f" {shown(found)} is used",
                "send the files with their folders, or name the one that is meant",
            )
            return same[0]
        self._report.error(
            "unknown-file",
            path,
            f"the definition holds no file {shown(path.text)}, seen from {shown(path.file)}",
            self._report.speller.fix(
                path.text,
                (file.path for file in self._files.values() if file.path != path.file),
                "add it to the definition, which holds "
                + listed(file.path for file in self._files.values()),
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
        nodes, characters = self.budget.nodes, self.budget.characters
        root = read(file.content, file.path, self._report, self.budget)
        if root is None:
            return None
        if not isinstance(root, ObjectNode):
            self._report.error("wrong-type", root, f"the document is {kind(root)}", _BEGIN)
            return None
        return Document(
            key=key,
            path=file.path,
            root=root,
            nodes=nodes - self.budget.nodes,
            characters=characters - self.budget.characters,
        )


def import_paths(root: Node) -> Iterator[ScalarNode]:
    """Yields the paths that a document imports, at any place. Used to collect files."""
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


def _key(path: str, importing: str = "") -> str:
    """Normalises a path for comparison: folded, with `.` and `..` resolved."""
    parts = importing.split("/")[:-1]
    for part in path.replace("\\", "/").casefold().split("/"):
        if part == ".." and parts and parts[-1] not in ("", ".."):
            parts.pop()
        elif part == ".." and parts == [""]:
            continue  # the parent of the root is the root
        elif part != "." and (part or not parts):
            parts.append(part)
    return "/".join(parts)


def _last(key: str) -> str:
    return key.rpartition("/")[2]
