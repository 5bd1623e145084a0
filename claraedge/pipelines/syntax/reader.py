"""A strict YAML reader that turns text into nodes with line and column. Pure.

It uses the parser's events, not its graph of nodes: events arrive one at a time, so that excessive
depth and size are refused before they cost anything, and aliases are counted as if written out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import yaml

from claraedge.pipelines.syntax.nodes import ListNode, Node, ObjectNode, ScalarNode
from claraedge.pipelines.syntax.problems import At, Report, shown

MAX_BYTES = 1 << 20
"""Limit in bytes for one file."""
MAX_DEPTH = 64
"""Limit for nested lists and objects, with aliases written out."""
MAX_NODES = 100_000
"""Limit for the scalars, lists and objects of one file, with aliases written out."""
MAX_SET_NODES = 200_000
"""Limit for all files of a definition, each counted for every import of it."""
MAX_CHARACTERS = 4 << 20
"""Limit for the characters in all scalars of one file, with aliases written out."""
MAX_SET_CHARACTERS = 16 << 20
"""Limit for all files of a definition, each counted for every import of it."""

# libyaml produces the same events and marks as the Python parser, about thirty times as fast.
Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAGS = {
    yaml.ScalarEvent: (None, "!", "tag:yaml.org,2002:str"),
    yaml.SequenceStartEvent: (None, "!", "tag:yaml.org,2002:seq"),
    yaml.MappingStartEvent: (None, "!", "tag:yaml.org,2002:map"),
}


class _RefusedError(Exception):
    """The rest of the file cannot be read; the problem is in the report."""


class _Sized(NamedTuple):
    """A node, and its cost when written out."""

    node: Node
    nodes: int
    characters: int
    height: int


@dataclass(slots=True)
class _Open:
    """A list or object whose end has not been read yet."""

    at: At
    anchor: str | None
    is_list: bool
    items: list[Node] = field(default_factory=list)
    entries: list[tuple[ScalarNode, Node]] = field(default_factory=list)
    keys: dict[str, At] = field(default_factory=dict)
    key: ScalarNode | None = None
    skip: bool = False
    """Whether the key is a duplicate: its value is read and dropped (the problem is reported)."""
    nodes: int = 1
    characters: int = 0
    height: int = 1


class DefinitionBudget:
    """The limits that all files of a definition share."""

    def __init__(self) -> None:
        self.nodes = MAX_SET_NODES
        self.characters = MAX_SET_CHARACTERS

    def spend(self, nodes: int, characters: int) -> bool:
        """Subtracts this much from the budget. Returns False where it is exceeded."""
        self.nodes -= nodes
        self.characters -= characters
        return self.nodes >= 0 and self.characters >= 0


def read(
    text: str, file: str, report: Report, budget: DefinitionBudget | None = None
) -> Node | None:
    """Parses the single document of a file; returns None where it cannot be read, which is
    reported.

    `file` is its name in problems. `budget` is shared by the files of a definition.

    Reading continues after duplicate keys, which are reported, so the result is valid only if the
    report has no errors. Never raises, whatever the text.
    """
    try:
        text = _checked(text, file, report)
        return _Builder(file, report, budget or DefinitionBudget()).document(text)
    except yaml.MarkedYAMLError as error:
        _report_syntax(text, file, error, report)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # escapes in the Python parser
        report.error("yaml-syntax", At(file), f"this is not YAML: {error}", "write valid YAML")
    except _RefusedError:
        pass
    return None


def _checked(text: str, file: str, report: Report) -> str:
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        report.error(
            "file-too-large",
            At(file),
            f"the file is larger than {MAX_BYTES >> 20} MiB",
            "a definition holds text for operators only; put data into the image or the payload",
        )
        raise _RefusedError
    if bad := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        report.error(
            "unprintable-character",
            At(file, line, column),
            f"the character U+{ord(bad.group()):04X} may not stand in YAML",
            "remove it; is this file a text file in UTF-8?",
        )
        raise _RefusedError
    return text


def _report_syntax(text: str, file: str, error: yaml.MarkedYAMLError, report: Report) -> None:
    mark = error.problem_mark or error.context_mark
    at = At(file, mark.line + 1, mark.column + 1) if mark else At(file)
    lines = text.split("\n")
    line = lines[at.line - 1] if at.line <= len(lines) else ""
    problem = f"{error.context}: {error.problem}" if error.context else f"{error.problem}"
    if "\t" in line[: at.column]:
        report.error(
            "yaml-tab", at, "a tab stands where YAML asks for blanks", "indent with blanks only"
        )
        return
    fix = "check the indentation, colons, brackets and quotes here and on the line above"
    if "${{" in line:
        fix = 'inside [ ] and { } a placeholder needs quotes: "${{ NAME }}"'
    elif "mapping values are not allowed" in problem:
        fix = "put a text that contains `: ` in quotes, or correct the indentation"
    elif "cannot start any token" in problem:
        fix = "put a text that begins with this character in quotes"
    report.error("yaml-syntax", at, f"this is not YAML: {problem}", fix)


class _Builder:
    """Builds nodes from events."""

    def __init__(self, file: str, report: Report, budget: DefinitionBudget) -> None:
        self._file = file
        self._report = report
        self._budget = budget
        self._open: list[_Open] = []
        self._anchors: dict[str, _Sized] = {}
        self._root: Node | None = None
        self._documents = 0
        self._nodes = 0
        self._characters = 0

    def document(self, text: str) -> Node:
        for event in yaml.parse(text, Loader=Loader):
            mark = event.start_mark
            at = At(self._file, mark.line + 1, mark.column + 1) if mark else At(self._file)
            match event:
                case yaml.DocumentStartEvent():
                    self._documents += 1
                    if self._documents > 1:
                        self._refuse(
                            "several-documents",
                            at,
                            "the file holds more than one document",
                            "keep one pipeline a file; remove this `---` and what follows",
                        )
                case yaml.ScalarEvent():
                    self._check_tag(event, at)
                    self._scalar(event, at)
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    self._check_tag(event, at)
                    self._start(at, event.anchor, isinstance(event, yaml.SequenceStartEvent))
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    self._end()
                case yaml.AliasEvent():
                    self._alias(event.anchor, at)
                case _:
                    pass
        if self._root is None:
            self._refuse(
                "empty-document",
                At(self._file),
                "the file holds no document",
                "begin with `api-version: 0.4.0`, `name:` and `operators:`",
            )
        return self._root

    def _scalar(self, event: yaml.ScalarEvent, at: At) -> None:
        plain = event.implicit[0] and event.tag is None  # style: None or "", by parser
        text: str = event.value
        if any("\ud800" <= c <= "\udfff" for c in text):
            self._refuse(
                "unprintable-character",
                at,
                "the escape stands for half a character",
                "write the character itself",
            )
        node = ScalarNode(file=self._file, line=at.line, column=at.column, text=text, plain=plain)
        self._add(_Sized(node, 1, len(text), 0), event.anchor, at)

    def _start(self, at: At, anchor: str | None, is_list: bool) -> None:
        if len(self._open) == MAX_DEPTH:
            self._too_deep(at)
        self._require_key(at, "an object" if not is_list else "a list")
        self._open.append(_Open(at=at, anchor=anchor, is_list=is_list))

    def _end(self) -> None:
        done = self._open.pop()
        node: Node
        if done.is_list:
            node = ListNode(**done.at._asdict(), items=tuple(done.items))
        else:
            node = ObjectNode(**done.at._asdict(), entries=tuple(done.entries))
        self._count(1, 0, done.at)
        self._place(_Sized(node, done.nodes, done.characters, done.height), done.anchor)

    def _alias(self, anchor: str | None, at: At) -> None:
        anchor = anchor or ""
        sized = self._anchors.get(anchor)
        if sized is None:
            self._refuse(
                "unknown-alias",
                at,
                f"{shown('*' + anchor)} stands for nothing that was written before it",
                f"write {shown('&' + anchor)} at the part that it repeats, or put the text in"
                " quotes if it is no alias",
            )
        if len(self._open) + sized.height > MAX_DEPTH:
            self._too_deep(at)
        self._add(sized, None, at)

    def _add(self, sized: _Sized, anchor: str | None, at: At) -> None:
        """Counts a complete node, and adds it to its parent."""
        self._count(sized.nodes, sized.characters, at)
        self._place(sized, anchor)

    def _place(self, sized: _Sized, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = sized
        if not self._open:
            self._root = sized.node
            return
        parent = self._open[-1]
        parent.nodes += sized.nodes
        parent.characters += sized.characters
        parent.height = max(parent.height, sized.height + 1)
        if parent.is_list:
            parent.items.append(sized.node)
        elif parent.key is None:
            self._key(parent, sized.node)
        else:
            if not parent.skip:
                parent.entries.append((parent.key, sized.node))
            parent.key = None

    def _key(self, parent: _Open, node: Node) -> None:
        if not isinstance(node, ScalarNode):
            self._require_key(At(node.file, node.line, node.column), "a list or an object")
            return
        if node.plain and node.text == "<<":
            self._refuse(
                "merge-key",
                At(node.file, node.line, node.column),
                "`<<` (merge) is not part of the definition language",
                "write the properties out",
            )
        first = parent.keys.get(node.text)
        parent.key = node
        parent.skip = first is not None
        parent.keys.setdefault(node.text, At(node.file, node.line, node.column))
        if first is not None:
            self._report.error(
                "duplicate-key",
                node,
                f"{shown(node.text)} stands twice in the same object, first on line {first.line}",
                "keep one of them",
            )

    def _require_key(self, at: At, what: str) -> None:
        """Refuses a list or object where the name of a property is expected."""
        if self._open and not self._open[-1].is_list and self._open[-1].key is None:
            self._refuse(
                "key-not-text",
                at,
                f"{what} stands where the name of a property is due",
                "write `name: value`; a text that begins with a bracket needs quotes",
            )

    def _check_tag(
        self, event: yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent, at: At
    ) -> None:
        if event.tag not in _TAGS[type(event)]:
            self._refuse(
                "custom-tag",
                at,
                f"the tag {shown(str(event.tag))} is not part of the definition language",
                "remove it, or put a text that begins with `!` in quotes",
            )

    def _count(self, nodes: int, characters: int, at: At) -> None:
        self._nodes += nodes
        self._characters += characters
        if not self._budget.spend(nodes, characters):
            self._refuse(
                "too-many-values",
                at,
                f"the files of the definition hold more than {MAX_SET_NODES} values or"
                f" {MAX_SET_CHARACTERS >> 20} MiB of text together",
                "leave out what the pipeline does not need",
            )
        if self._nodes > MAX_NODES or self._characters > MAX_CHARACTERS:
            self._refuse(
                "too-many-values",
                at,
                f"the file holds more than {MAX_NODES} values or {MAX_CHARACTERS >> 20} MiB of text"
                " once its aliases are written out",
                "remove the aliases (`*name`) that repeat large parts",
            )

    def _too_deep(self, at: At) -> NoReturn:
        self._refuse(
            "too-deep",
            at,
            f"more than {MAX_DEPTH} lists and objects stand inside each other",
            "the definition language needs fewer than ten; close the brackets",
        )

    def _refuse(self, code: str, at: At, message: str, fix: str) -> NoReturn:
        self._report.error(code, at, message, fix)
        raise _RefusedError
