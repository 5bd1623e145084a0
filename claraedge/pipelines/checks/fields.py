"""Reads the properties of one object of a definition, and checks their types."""

from __future__ import annotations

import re
from collections.abc import Mapping

from claraedge.pipelines.syntax.grammar import Object, bounds, properties
from claraedge.pipelines.syntax.names import is_name
from claraedge.pipelines.syntax.nodes import ListNode, Node, ObjectNode, ScalarNode, kind
from claraedge.pipelines.syntax.problems import Report, shown

_INTEGER = re.compile(r"0|[1-9][0-9]{0,11}")


class Fields:
    """Reads properties; one of the wrong form is reported and treated as absent."""

    def __init__(self, node: ObjectNode, where: str, kind: type[Object], report: Report) -> None:
        """`where` names the object in messages, such as "an operator". `kind` declares its
        properties.
        """
        known = properties(kind)
        self.node = node
        self.kind = kind
        self._where = where
        self._report = report
        self._entries: Mapping[str, tuple[ScalarNode, Node]] = {
            key.text: (key, value) for key, value in node.entries
        }
        for name, (key, _) in self._entries.items():
            if name not in known:
                report.warning(
                    "unknown-property",
                    key,
                    f"{where} has no property {shown(name)}; it has no effect",
                    report.speller.fix(name, known, f"use one of: {', '.join(known)}"),
                )

    def key(self, name: str) -> ScalarNode | ObjectNode:
        """Returns the key of a property, or the object itself where it is missing, as a place for
        messages.
        """
        entry = self._entries.get(name)
        return entry[0] if entry else self.node

    def get(self, name: str) -> Node | None:
        """Returns the value of a property; None also where nothing is written after the colon."""
        entry = self._entries.get(name)
        if entry is None or (isinstance(entry[1], ScalarNode) and entry[1].null):
            return None
        return entry[1]

    def has(self, name: str) -> bool:
        """Whether the property is written, even without a value."""
        return name in self._entries

    def scalar(self, name: str, *, required: str = "") -> ScalarNode | None:
        """Returns a single value; None where there is none. `required`: the fix to report where the
        property is missing.
        """
        entry = self._entries.get(name)
        if entry is None:
            if required:
                self._report.error(
                    "missing-property", self.node, f"{self._where} lacks `{name}`", required
                )
            return None
        key, value = entry
        if not isinstance(value, ScalarNode):
            self._wrong_type(name, value, "write a single value")
            return None
        if value.null or not value.text:
            self._report.error(
                "empty-value",
                key,
                f"nothing is written after `{name}`",
                required or f"write a value, or remove the line `{name}:`",
            )
            return None
        return value

    def name(self, name: str, what: str, *, required: str = "") -> ScalarNode | None:
        """Returns a single value that is a valid name of the language; None where there is none."""
        value = self.scalar(name, required=required)
        if value is None or value.unresolved or is_name(value.text):
            return value
        self._report.error(
            "invalid-name",
            value,
            f"{shown(value.text)} is no name for {what}",
            "use 1 to 255 of the characters A-Z, a-z, 0-9, `-` and `_`",
        )
        return None

    def items(self, name: str, example: str) -> tuple[Node, ...]:
        """Returns the entries of a list; a value of another type is reported."""
        value = self.get(name)
        if value is None:
            return ()
        if isinstance(value, ListNode):
            return value.items
        self._wrong_type(name, value, f"write a list: {example}")
        return ()

    def objects(self, name: str, example: str) -> tuple[ObjectNode, ...]:
        """Returns a list of objects; other entries are reported and skipped."""
        found = []
        for item in self.items(name, example):
            if isinstance(item, ObjectNode):
                found.append(item)
            else:
                self._report.error(
                    "wrong-type",
                    item,
                    f"an entry of `{name}` is {kind(item)}",
                    f"write an object: {example}",
                )
        return tuple(found)

    def object(self, name: str, example: str) -> ObjectNode | None:
        """Returns an object; None where there is none. Another type is reported."""
        value = self.get(name)
        if value is None or isinstance(value, ObjectNode):
            return value
        self._wrong_type(name, value, f"write an object: {example}")
        return None

    def text(self, name: str) -> str:
        """Returns a text for people, which has no other effect; empty where there is none."""
        value = self.get(name)
        if value is None or isinstance(value, ScalarNode):
            return value.text if value is not None else ""
        self._wrong_type(name, value, "write a text")
        return ""

    def texts(self, name: str, example: str) -> tuple[ScalarNode, ...]:
        """Returns a list of single values; other entries are reported and skipped."""
        found = []
        for item in self.items(name, example):
            if not isinstance(item, ScalarNode):
                self._report.error(
                    "wrong-type",
                    item,
                    f"an entry of `{name}` is {kind(item)}",
                    f"write single values: {example}",
                )
            elif item.null or not item.text:
                self._report.error(
                    "empty-value",
                    item,
                    f"an entry of `{name}` is empty",
                    "write a value, or remove the line",
                )
            else:
                found.append(item)
        return tuple(found)

    def integer(self, name: str, unit: str, *, least: int | None = None) -> int | None:
        """Returns a whole number within the bounds that its property declares; None: unknown or
        wrong. `least`: a larger lower bound.
        """
        node = self.scalar(name)
        if node is None or node.unresolved:
            return None
        smallest, largest = bounds(self.kind, name)
        smallest = smallest if least is None else least
        right = f"write a whole number of {unit} from {smallest} to {largest}"
        if _INTEGER.fullmatch(node.text) is None:
            self._report.error(
                "not-an-integer",
                node,
                f"`{name}` is {shown(node.text)}",
                f"{right}, without a unit",
            )
            return None
        number = int(node.text)
        if not smallest <= number <= largest:
            self._report.error("out-of-bounds", node, f"`{name}` asks for {number} {unit}", right)
            return None
        return number

    def _wrong_type(self, name: str, value: Node, fix: str) -> None:
        self._report.error("wrong-type", value, f"`{name}` is {kind(value)}", fix)
