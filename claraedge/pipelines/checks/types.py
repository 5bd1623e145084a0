"""Checks the types of inputs and outputs: `type`, `element-type`, `shape`, and that ends match.
Pure.

Source: Clara 0.8.1, operators from api-version 0.5.0 on. A primitive is an array with one element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from claraedge.pipelines.checks.fields import Fields
from claraedge.pipelines.fastio import DYNAMIC, PRIMITIVES
from claraedge.pipelines.syntax.nodes import Node, ScalarNode
from claraedge.pipelines.syntax.problems import Location, Report, shown, where

_WORDS = ("stream", "array", "string")
_MOST_DIMENSIONS = 16
_MOST_ELEMENTS = 1 << 40
_LENGTH = "a length is a whole number from 1 on, or -1 where only the run decides"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryType:
    """The type of one entry; `model.Entry` explains the fields of the same names."""

    type: str | None = None
    element_type: str | None = None
    shape: tuple[int, ...] | None = None
    at: Location
    """The place where the type is written."""
    element_at: Location | None = None
    """The place of `element_type`; None: it is not written."""
    shape_at: Location | None = None
    known: bool = True
    """False where the type is wrong or contains a placeholder, so that it is not compared."""

    @property
    def in_memory(self) -> bool:
        """Whether this is a value in shared memory, and not a folder of files."""
        return self.type not in (None, "stream")


def read_type(fields: Fields, typed: bool, report: Report) -> EntryType:
    """Reads the type of an entry. `typed`: whether its api-version requires one."""
    kind = fields.scalar("type")
    if kind is None:
        if not fields.has("type"):
            _untyped(fields, typed, report)
        return EntryType(at=fields.node, known=not fields.has("type"))
    if kind.unresolved:
        return EntryType(at=kind, known=False)
    word = kind.text.casefold()
    if word == "stream":
        return _stream(fields, kind, typed, report)
    if word == "array":
        return _array(fields, kind, report)
    if word == "string" or word in PRIMITIVES:
        for name in ("path", "element-type", "shape"):
            _refuse(fields, name, kind, report)
        return EntryType(type=PRIMITIVES.get(word, word), at=kind)
    report.error(
        "unknown-type",
        kind,
        f"{shown(kind.text)} is no type of an input or output",
        report.speller.fix(kind.text, [*_WORDS, *PRIMITIVES], "use `stream` for a folder of files"),
    )
    return EntryType(at=kind, known=False)


def check_agreement(reader: EntryType, writer: EntryType, report: Report) -> None:
    """Reports different types at the two ends of a connection, as far as both ends declare one."""
    if not reader.known or not writer.known or reader.type is None or writer.type is None:
        _check_medium(reader, writer, report)
        return
    ours, theirs = _whole(reader), _whole(writer)
    if ours[0] != theirs[0]:
        _differs("type", ours[0], theirs[0], reader, writer, report)
    elif ours[1] is not None and theirs[1] is not None and _folded(ours[1]) != _folded(theirs[1]):
        _differs("element-type", ours[1], theirs[1], reader, writer, report)
    elif not _same_shape(ours[2], theirs[2]):
        _differs("shape", str(list(ours[2])), str(list(theirs[2])), reader, writer, report)


def _check_medium(reader: EntryType, writer: EntryType, report: Report) -> None:
    """Reports an untyped end, which is a folder of files, connected to a value in memory."""
    if reader.known and writer.known and reader.in_memory != writer.in_memory:
        words = [t.type or "stream" for t in (reader, writer)]
        _differs("type", words[0], words[1], reader, writer, report)


def _untyped(fields: Fields, typed: bool, report: Report) -> None:
    for name in ("element-type", "shape"):
        if fields.has(name):
            report.error(
                "missing-property",
                fields.key(name),
                f"`{name}` stands without `type`",
                "add `type: stream` for a folder of files, or remove it",
            )
    if typed:
        report.error(
            "missing-property",
            fields.node,
            "from api-version 0.5.0 on inputs and outputs have a `type`",
            "add `type: stream` and `element-type:` for a folder of files, or use api-version"
            " 0.4.0",
        )


def _stream(fields: Fields, kind: ScalarNode, typed: bool, report: Report) -> EntryType:
    label = fields.scalar("element-type")
    if label is None and not fields.has("element-type") and typed:
        report.warning(
            "missing-element-type",
            kind,
            "a stream says what it holds by `element-type`",
            "add `element-type:` with a word of your own, the same at both ends",
        )
    if fields.get("shape") is not None:
        report.error(
            "shape-of-stream",
            fields.key("shape"),
            "a stream has no `shape`",
            "remove `shape`; it belongs to `type: array`",
        )
    unknown = label is not None and label.unresolved
    return EntryType(
        type="stream",
        element_type=None if label is None else label.text,
        at=kind,
        element_at=label,
        known=not unknown,
    )


def _array(fields: Fields, kind: ScalarNode, report: Report) -> EntryType:
    _refuse(fields, "path", kind, report)
    element = fields.scalar(
        "element-type", required="add `element-type:` with a primitive, as `float32`"
    )
    primitive = None
    if element is not None and not element.unresolved:
        primitive = PRIMITIVES.get(element.text.casefold())
        if primitive is None:
            report.error(
                "unknown-element-type",
                element,
                f"{shown(element.text)} is no primitive, which the elements of an array are",
                report.speller.fix(
                    element.text, PRIMITIVES, "use one such as `uint8` or `float32`"
                ),
            )
    shape = _shape(fields, report)
    if primitive is None or shape is None:
        return EntryType(type="array", at=kind, known=False)
    return EntryType(
        type="array",
        element_type=primitive,
        shape=shape,
        at=kind,
        element_at=element,
        shape_at=fields.get("shape"),
    )


def _shape(fields: Fields, report: Report) -> tuple[int, ...] | None:
    nodes = fields.items("shape", "`shape: [512, 512]`")
    value = fields.get("shape")
    if value is None or not nodes:
        if value is None or not isinstance(value, ScalarNode):
            report.error(
                "missing-property",
                fields.key("shape"),
                "an array has a `shape` of at least one length",
                "add `shape:`, as `[512, 512]`",
            )
        return None
    if len(nodes) > _MOST_DIMENSIONS:
        report.error(
            "out-of-bounds",
            value,
            f"`shape` has {len(nodes)} lengths",
            f"use {_MOST_DIMENSIONS} at most",
        )
        return None
    lengths = [_length(node, report) for node in nodes]
    if None in lengths:
        return None
    shape = tuple(length for length in lengths if length is not None)
    if math.prod(abs(length) for length in shape) > _MOST_ELEMENTS:
        report.error(
            "out-of-bounds",
            value,
            "`shape` has more elements than any device holds",
            f"use at most {_MOST_ELEMENTS} elements",
        )
        return None
    return shape


def _length(node: Node, report: Report) -> int | None:
    if isinstance(node, ScalarNode) and node.unresolved:
        return None
    text = node.text if isinstance(node, ScalarNode) else ""
    if text == str(DYNAMIC) or (text.isascii() and text.isdigit() and len(text) < 14):
        length = int(text)
        if length:
            return length
    report.error(
        "invalid-shape",
        node,
        f"{shown(text)} is no length" if text else "this is no length",
        _LENGTH,
    )
    return None


def _refuse(fields: Fields, name: str, kind: ScalarNode, report: Report) -> None:
    """Reports a property that this type must not have."""
    if fields.has(name):
        report.error(
            f"{name}-of-value",
            fields.key(name),
            f"{shown(kind.text)} is a value in shared memory and has no `{name}`",
            f"remove `{name}`, or use `type: stream` for a folder of files"
            if name == "path"
            else f"remove `{name}`; it belongs to `type: array`",
        )


def _whole(of: EntryType) -> tuple[str, str | None, tuple[int, ...]]:
    """Returns (type, element type, shape), with a primitive as an array with one element."""
    if of.type in PRIMITIVES:
        return "array", of.type, (1,)
    return of.type or "stream", of.element_type, of.shape or ()


def _same_shape(ours: Sequence[int], theirs: Sequence[int]) -> bool:
    return len(ours) == len(theirs) and all(
        a == b or DYNAMIC in (a, b) for a, b in zip(ours, theirs, strict=True)
    )


def _folded(text: str) -> str:
    return text.casefold()


def _differs(
    what: str, ours: str, theirs: str, reader: EntryType, writer: EntryType, report: Report
) -> None:
    at, other = (
        {"element-type": end.element_at, "shape": end.shape_at}.get(what) or end.at
        for end in (reader, writer)
    )
    report.error(
        f"{what}-differs",
        at,
        f"the {what} of this input is {shown(ours)}, and that of the output it reads"
        f" ({where(other, at)}) is {shown(theirs)}",
        f"write the same `{what}` at both ends",
    )
