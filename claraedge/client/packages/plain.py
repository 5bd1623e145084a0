"""Converts messages of claraedge's own services to values, field by field."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from claraedge.client.values import unix_moment

V = TypeVar("V")


def value_of(message: Message, kind: type[V]) -> V:
    """Returns the message as a value of a class that has fields of the same names.

    Names of enums lose the prefix of their type; a time that is not set is None.
    """
    return msgspec.convert(_plain(message), kind)


def _plain(message: Message) -> dict[str, Any]:
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return dict(value)
        return [_one(each, field) for each in value]
    if field.has_presence and field.message_type is None and not message.HasField(field.name):
        return None
    return _one(value, field)


def _one(value: Any, field: Any) -> Any:
    if field.enum_type is not None:
        return _name(field.enum_type, value)
    if field.message_type is None:
        return value
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return unix_moment(value)
    return _plain(value)


def _name(kind: EnumDescriptor, number: int) -> str:
    """Returns the name of an enum value; an unknown one (of a newer daemon) as its number."""
    found = kind.values_by_number.get(number)
    prefix = kind.values[0].name.removesuffix("UNKNOWN")
    return str(number) if found is None else found.name.removeprefix(prefix)
