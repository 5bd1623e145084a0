"""JSON for people: ids and times as strings, without the headers of Clara.

It is the canonical JSON of proto3 (protobuf.dev/programming-guides/json) with these differences:

- `Identifier` is its string, and Clara's `Timestamp` a time by RFC 3339;
- fields that exist for older clients only (`deprecated`) are left out, and so are headers; what the
  header of an answer says to people is its field `warnings`;
- answers contain fields that have their default value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeAlias

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from claraedge.web.rpc.methods import descriptor
from claraedge.wire.nvidia.clara.platform import common_pb2

_Converter: TypeAlias = Callable[[Any], Any]
_IDENTIFIER = common_pb2.Identifier.DESCRIPTOR.full_name
_TIMESTAMP = common_pb2.Timestamp.DESCRIPTOR.full_name
_HEADERS = {
    header.DESCRIPTOR.full_name for header in (common_pb2.RequestHeader, common_pb2.ResponseHeader)
}
#: Messages whose canonical JSON is no object with their fields.
_OWN_JSON = "google.protobuf."
_WARNINGS = "warnings"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def is_shown(field: FieldDescriptor) -> bool:
    """Returns whether readable JSON has the field."""
    kind = field.message_type
    return not (field.GetOptions().deprecated or (kind and kind.full_name in _HEADERS))


def is_text(field: FieldDescriptor) -> bool:
    """Returns whether a value of the field is one string, number or truth value."""
    kind = field.message_type
    return kind is None or kind.full_name in (_IDENTIFIER, _TIMESTAMP)


def printed(message: Message) -> dict[str, Any]:
    """Returns a message as readable JSON."""
    value = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    found = _printed(value, descriptor(type(message)))
    warnings = value.get("header", {}).get("messages")
    return {**found, _WARNINGS: warnings} if warnings else found


def canonical(value: Any, kind: Descriptor) -> Any:
    """Returns the canonical JSON of readable JSON. Raises ValueError."""
    if not isinstance(value, dict):
        return value  # the conversion to protobuf refuses it
    found: dict[str, Any] = {}
    for name, content in value.items():
        field = field_of(kind, name)
        if field.json_name in found:
            raise ValueError(f'"{field.json_name}" occurs twice')
        found[field.json_name] = _converted(content, field, _canonical_value)
    return found


def field_of(kind: Descriptor, name: str) -> FieldDescriptor:
    """Returns a field by its name in JSON, or in the proto. Raises ValueError."""
    field = _fields(kind).get(name)
    if field is None:
        raise ValueError(f'{kind.name} has no field "{name}"')
    return field


@cache
def _fields(kind: Descriptor) -> Mapping[str, FieldDescriptor]:
    shown = [field for field in kind.fields if is_shown(field)]
    return {field.name: field for field in shown} | {field.json_name: field for field in shown}


def _printed(value: dict[str, Any], kind: Descriptor) -> dict[str, Any]:
    fields = _fields(kind)
    return {
        name: _converted(content, fields[name], _printed_value)
        for name, content in value.items()
        if name in fields
    }


def _converted(
    content: Any, field: FieldDescriptor, convert: Callable[[Any, Descriptor], Any]
) -> Any:
    """Converts the value of a field, or each value of a list or map."""
    kind = field.message_type
    if kind is None or content is None:
        return content
    if kind.GetOptions().map_entry:
        values = kind.fields_by_name["value"]
        if not isinstance(content, dict):
            return content
        return {key: _converted(one, values, convert) for key, one in content.items()}
    if field.is_repeated and isinstance(content, list):
        return [convert(one, kind) for one in content]
    return convert(content, kind)


def _printed_value(content: Any, kind: Descriptor) -> Any:
    if kind.full_name == _IDENTIFIER:
        return content["value"]
    if kind.full_name == _TIMESTAMP:
        return _time(int(content["value"]))
    return content if kind.full_name.startswith(_OWN_JSON) else _printed(content, kind)


def _canonical_value(content: Any, kind: Descriptor) -> Any:
    if kind.full_name == _IDENTIFIER:
        if not isinstance(content, str):
            raise ValueError("an id has to be a string")
        return {"value": content}
    if kind.full_name == _TIMESTAMP:
        return {"value": _seconds(content)}
    return content if kind.full_name.startswith(_OWN_JSON) else canonical(content, kind)


def _time(seconds: int) -> str:
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return "9999-12-31T23:59:59Z"


def _seconds(text: Any) -> int:
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // _SECOND
    except (TypeError, ValueError):
        raise ValueError(
            f"{str(text)[:40]!r} is no time by RFC 3339, such as 2026-11-30T12:00:00Z or"
            " 2026-11-30T14:00:00+02:00; write + as %2B in a query"
        ) from None
