"""Generates the JSON schema (draft 2020-12) of the definition language from its declarations. Pure.

A schema applies to one file, and to texts as YAML reads them. The loader refuses all that the
schema refuses, and finds more (edges of the graph, imports, types of both ends). Where YAML turns a
text into a number (`name: 7`), or a placeholder is possible, the schema is as lenient as the
loader.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import msgspec

from claraedge.pipelines.fastio import PRIMITIVES
from claraedge.pipelines.syntax.grammar import (
    FIRST_PORT,
    PLACEHOLDER,
    OperatorDocument,
    OperatorEntry,
    PipelineDocument,
    ServiceDocument,
    properties,
)

Schema: TypeAlias = dict[str, Any]

_DOCUMENTS = (PipelineDocument, OperatorDocument, ServiceDocument)
_TITLE = "Definition of a Clara pipeline, or of one of its operators or services"
_DESCRIPTION = (
    "The language of api-versions 0.3.0 to 0.7.0, as claraedge reads it. A property that the"
    " language does not have is no error, as it is none to claraedge, which warns of it: editors"
    " of the Visual Studio Code family show the same warning by `deprecationMessage`."
)
#: Validators accept it; editors show a warning.
_UNKNOWN: Schema = {
    "deprecated": True,
    "deprecationMessage": "The language has no such property; it has no effect.",
}
_SCALAR = ["string", "number", "boolean", "null"]
#: Types as which YAML may read a text.
_TEXT = ["string", "number", "boolean"]
_WHOLE_NUMBER = r"^-?(?:0|[1-9][0-9]{0,11})$"
_FILLED: Schema = {"type": "string", "pattern": PLACEHOLDER}
_TYPES = ("stream", "array", "string", *PRIMITIVES)
_REF = "#/$defs/"


def schema() -> Schema:
    """Returns the schema of all kinds of files of a definition, which are distinguished by
    properties.
    """
    _, parts = msgspec.json.schema_components(_DOCUMENTS, ref_template=_REF + "{name}")
    definitions = {name: _object(part) for name, part in sorted(parts.items())}
    own: Schema = {"required": ["name", "container"]}
    deployed: Schema = {"required": ["name", "deployment"], "properties": {"container": False}}
    for name, written in (("OperatorEntry", own), ("ServiceEntry", {"oneOf": [own, deployed]})):
        definitions[name] |= {"if": {"required": ["import"]}, "else": written}
    for name in ("ServiceEntry", "ServiceDocument"):
        definitions[name]["allOf"] = [{"if": {"required": ["container"]}, "then": _high_ports()}]
    for name in ("InputEntry", "OutputEntry"):
        definitions[name] |= _typed()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _TITLE,
        "description": _DESCRIPTION,
        "type": "object",
        **_kind(),
        "$defs": definitions,
    }


def text() -> str:
    """Returns the schema as the text that is shipped."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _kind() -> Schema:
    """Chooses the kind of a file by its properties; a file with too few properties is a
    pipeline.
    """
    of_pipeline = set(properties(PipelineDocument)) - set(properties(OperatorDocument))
    of_service = set(properties(ServiceDocument)) - set(properties(OperatorDocument))
    of_operator = set(properties(OperatorEntry)) - set(properties(PipelineDocument))
    pipeline: Schema = {"$ref": f"{_REF}PipelineDocument"}
    return {
        "if": _any_of(of_pipeline),
        "then": pipeline,
        "else": {
            "if": _any_of(of_service),
            "then": {"$ref": f"{_REF}ServiceDocument"},
            "else": {
                "if": _any_of(of_operator),
                "then": {"$ref": f"{_REF}OperatorDocument"},
                "else": pipeline,
            },
        },
    }


def _high_ports() -> Schema:
    """Returns the rule of the ports of a service with a container."""
    connection = {"properties": {"port": {"minimum": FIRST_PORT}}}
    http = {"http": {"items": connection}}
    return {"properties": {"connections": {"properties": http}}}


def _any_of(names: set[str]) -> Schema:
    return {"anyOf": [{"required": [name]} for name in sorted(names)]}


def _typed() -> Schema:
    """Returns the rules of types: a folder has a path, an array declares its elements."""
    in_memory = [t for t in _TYPES if t != "stream"]
    return {
        "allOf": [
            {
                "if": {"properties": {"type": {"enum": ["stream"]}}},
                "then": {"required": ["path"]},
            },
            {
                "if": {"properties": {"type": {"enum": in_memory}}, "required": ["type"]},
                "then": {"required": ["name"], "properties": {"path": False}},
            },
            {
                "if": {"properties": {"type": {"enum": ["array"]}}, "required": ["type"]},
                "then": {"required": ["element-type", "shape"]},
            },
        ]
    }


def _object(part: Schema) -> Schema:
    required = part["required"]
    found: Schema = {k: v for k, v in part.items() if k not in ("title", "required")}
    # After the colon of an optional property, the value may be missing, which is null.
    found["type"] = ["object", "null"]
    found["properties"] = {
        name: _property(name, value, name in required or name == "container")
        for name, value in part["properties"].items()
    }
    found["additionalProperties"] = _UNKNOWN
    if required:
        found["required"] = required
    return found


def _property(name: str, value: Schema, required: bool) -> Schema:
    """Returns the schema of a property. `required`: only the declared type is allowed."""
    if name == "import":
        return {"anyOf": [{"type": "string"}, value | {"type": "object"}]}
    if name == "type":
        # The loader ignores case; only texts without capitals can be compared with the list.
        lenient = {"type": "string", "pattern": f"[A-Z]|{PLACEHOLDER}"}
        said = {"description": value["description"]}
        return said | {"anyOf": [{"enum": list(_TYPES)}, lenient]}
    if name == "description":
        return {"description": value["description"], "type": _SCALAR}
    return _value(value, required)


def _value(value: Schema, required: bool) -> Schema:
    if "$ref" in value:
        return value | {"type": "object"} if required else value
    said = {"description": value["description"]} if "description" in value else {}
    if "anyOf" in value:
        return said | _alternatives(value["anyOf"])
    if "enum" in value:
        return said | {"anyOf": [{"enum": value["enum"]}, _FILLED]}
    if value["type"] == "array":
        kind = "array" if required else ["array", "null"]
        return value | {"type": kind, "items": _value(value["items"], True)}
    if value["type"] == "object":  # names chosen by the definition, as in `variables`
        inner = _value(value["additionalProperties"], False)
        return value | {"type": ["object", "null"], "additionalProperties": inner}
    if value["type"] == "string" and not value.get("pattern", "").startswith("^/"):
        return value | {"type": _TEXT}
    return value


def _alternatives(values: list[Schema]) -> Schema:
    if len(values) == len(msgspec.json.schema(str | int | float | bool | None)["anyOf"]):
        return {"type": _SCALAR}
    numbers = [v for v in values if v.get("type") == "integer"]
    if not numbers:
        return {"anyOf": [_value(v, True) for v in values]}
    (number,) = numbers
    # The loader accepts digits in quotes as a number.
    digits = {"type": "string", "pattern": f"{_WHOLE_NUMBER}|{PLACEHOLDER}"}
    said = {"description": number["description"]} if "description" in number else {}
    plain = {k: v for k, v in number.items() if k != "description"}
    return said | {"anyOf": [plain, digits]}
