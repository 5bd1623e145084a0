"""JSON schemas of messages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

Schema: TypeAlias = dict[str, Any]

_FRACTION: Schema = {
    "oneOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]
}
_INTEGER: Schema = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
_NATURAL: Schema = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**32 - 1}
_LARGE: Schema = {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,18}$"}
_LARGE_NATURAL: Schema = {"type": "string", "format": "uint64", "pattern": "^[0-9]{1,19}$"}
_SCALARS: Mapping[int, Schema] = {
    FieldDescriptor.TYPE_DOUBLE: _FRACTION,
    FieldDescriptor.TYPE_FLOAT: _FRACTION,
    FieldDescriptor.TYPE_INT32: _INTEGER,
    FieldDescriptor.TYPE_SINT32: _INTEGER,
    FieldDescriptor.TYPE_SFIXED32: _INTEGER,
    FieldDescriptor.TYPE_UINT32: _NATURAL,
    FieldDescriptor.TYPE_FIXED32: _NATURAL,
    FieldDescriptor.TYPE_INT64: _LARGE,
    FieldDescriptor.TYPE_SINT64: _LARGE,
    FieldDescriptor.TYPE_SFIXED64: _LARGE,
    FieldDescriptor.TYPE_UINT64: _LARGE_NATURAL,
    FieldDescriptor.TYPE_FIXED64: _LARGE_NATURAL,
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
#: Messages whose JSON is no object of their fields.
WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
}


class Schemas:
    """The schemas of the messages that were asked for, and of all that they contain."""

    def __init__(
        self,
        comments: Mapping[str, str],
        *,
        name: Callable[[Descriptor | EnumDescriptor], str] = lambda kind: kind.full_name,
        own: Mapping[str, Schema] = WELL_KNOWN,
        is_shown: Callable[[FieldDescriptor], bool] = lambda _: True,
        more: Callable[[Descriptor], Mapping[str, Schema]] = lambda _: {},
    ) -> None:
        """`name` returns the name of the schema of a message or enum.

        `own`: the schemas of messages by their full names, where their JSON is no object of their
        fields. `is_shown` returns whether objects have a field, and `more` further
        properties of a message.
        """
        self.components: dict[str, Schema] = {}
        self._comments = comments
        self._name = name
        self._own = own
        self._is_shown = is_shown
        self._more = more
        self._strict: set[str] = set()

    def of(self, message: Descriptor, *, strict: bool) -> Schema:
        """Returns the schema of a message.

        `strict`: it belongs to a request, so unknown fields are refused.
        """
        if (own := self._own.get(message.full_name)) is not None:
            return dict(own)
        name = self._name(message)
        if name not in self.components or (strict and name not in self._strict):
            if strict:
                self._strict.add(name)
            self.components[name] = {}  # a message may contain itself
            self.components[name] = self.object(message, strict=strict or name in self._strict)
        return _reference(name)

    def object(self, message: Descriptor, *, strict: bool, without: Collection[str] = ()) -> Schema:
        """Returns the schema of a message as an object. `without`: names of fields to leave out."""
        properties = {
            field.json_name: self.field(field, strict=strict)
            for field in message.fields
            if field.name not in without and self._is_shown(field)
        }
        properties |= self._more(message)
        found: Schema = {"type": "object", **self._described(message.full_name)}
        if properties:
            found["properties"] = properties
        if strict:
            found["additionalProperties"] = False
        return found

    def field(self, field: FieldDescriptor, *, strict: bool) -> Schema:
        """Returns the schema of a field with its comment."""
        described = self._described(field.full_name)
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            values = self._value(kind.fields_by_name["value"], strict)
            return {"type": "object", "additionalProperties": values, **described}
        value = self._value(field, strict)
        if field.is_repeated:
            return {"type": "array", "items": value, **described}
        return {**value, **described}

    def _value(self, field: FieldDescriptor, strict: bool) -> Schema:
        if field.message_type is not None:
            return self.of(field.message_type, strict=strict)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        return dict(_SCALARS[field.type])

    def _enum(self, enum: EnumDescriptor) -> Schema:
        name = self._name(enum)
        values = [value.name for value in enum.values]
        texts = [self._comments.get(f"{enum.full_name}.{value}") for value in values]
        lines = [f"- `{v}`: {' '.join(t.split())}" for v, t in zip(values, texts, strict=True) if t]
        text = self._comments.get(enum.full_name, "")
        about = "\n\n".join(part for part in (text, "\n".join(lines)) if part)
        self.components[name] = {
            "type": "string",
            "enum": values,
            **({"description": about} if about else {}),
        }
        return _reference(name)

    def _described(self, name: str) -> Schema:
        text = self._comments.get(name)
        return {"description": text} if text else {}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
