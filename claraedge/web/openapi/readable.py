"""The operations of the readable paths, `/v1/...`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from claraedge import paging
from claraedge.web.openapi.operations import BINARY, JSON, LINES, Operation, OperationParameter
from claraedge.web.openapi.schemas import WELL_KNOWN, Schema, Schemas
from claraedge.web.rpc.methods import descriptor
from claraedge.web.v1.readable import is_shown, is_text
from claraedge.web.v1.rules import Rule, fields_on
from claraedge.wire.claraedge.v1 import events_pb2
from claraedge.wire.nvidia.clara.platform import common_pb2

_TEXT: Schema = {"type": "string"}
_OWN: Mapping[str, Schema] = {
    **WELL_KNOWN,
    common_pb2.Identifier.DESCRIPTOR.full_name: _TEXT,
    common_pb2.Timestamp.DESCRIPTOR.full_name: {"type": "string", "format": "date-time"},
}
_WARNINGS: Schema = {
    "type": "array",
    "items": _TEXT,
    "description": "What the answer says to people.",
}
_HEADER = common_pb2.ResponseHeader.DESCRIPTOR.full_name
_PAGE = (
    OperationParameter(
        name="pageSize",
        place="query",
        schema={"type": "integer", "minimum": 1, "maximum": paging.LARGEST},
        description="Ends the list after so many elements; the header Link has the next page.",
    ),
    OperationParameter(
        name="pageToken",
        place="query",
        schema=_TEXT,
        description="Begins after an element, as the header Link of the page before has it.",
    ),
)
_EVENTS = (
    OperationParameter(
        name="after",
        place="query",
        schema=_TEXT,
        description="The id of the last event that the client has (EPOCH-NUMBER).",
    ),
    OperationParameter(
        name="Last-Event-ID",
        place="header",
        schema=_TEXT,
        description="As `after`; browsers send it when they connect again.",
    ),
)


_WATCH = (
    "Changes as they happen: all of them, or those that the query selects. First comes the present"
    " state, then each change once. A server-sent event has the id of its position; a client that"
    " lost its connection gets what followed that."
)


def readable_schemas(comments: Mapping[str, str]) -> Schemas:
    """Returns schemas with the names of messages without their package."""
    owners: dict[str, str] = {}

    def name(kind: Descriptor | EnumDescriptor) -> str:
        short = kind.full_name.removeprefix(f"{kind.file.package}.")
        is_first = owners.setdefault(short, kind.full_name) == kind.full_name
        return short if is_first else f"{kind.full_name}.readable"

    return Schemas(comments, name=name, own=_OWN, is_shown=is_shown, more=_warnings)


def _warnings(kind: Descriptor) -> Mapping[str, Schema]:
    """Returns the field that has what the header of an answer says to people."""
    has_header = any(
        field.message_type is not None and field.message_type.full_name == _HEADER
        for field in kind.fields
    )
    text = "What the answer says to people."
    return (
        {"warnings": {"type": "array", "items": _TEXT, "description": text}} if has_header else {}
    )


def of_rules(
    rules: Iterable[Rule], schemas: Schemas, comments: Mapping[str, str]
) -> Iterator[Operation]:
    """Yields the operation of each rule."""
    names: set[str] = set()
    for rule in rules:
        method_name = rule.method.path.removeprefix("/").replace("/", ".")
        service, _, method = method_name.rpartition(".")
        tag = service.rpartition(".")[2]
        name = f"{tag}_{method}"
        if name in names:  # another path of the method
            name += "_" + rule.template.replace(":", "/").rpartition("/")[2].strip("{}")
        names.add(name)
        yield Operation(
            verb=rule.verb,
            template=rule.template,
            name=name,
            tag=tag,
            tag_text=comments.get(service, ""),
            text=_WATCH if _is_watch(rule) else comments.get(method_name, ""),
            parameters=[*_path(rule, schemas), *_query(rule, schemas)],
            request=_body(rule, schemas),
            needs_body=not rule.has_json_body,
            answer=_answer(rule, schemas),
        )


def _path(rule: Rule, schemas: Schemas) -> Iterator[OperationParameter]:
    for name in rule.variables:
        field = fields_on(descriptor(rule.method.request), name)[-1]
        yield _parameter(name, field, schemas, "path")


def _query(rule: Rule, schemas: Schemas) -> Iterator[OperationParameter]:
    if rule.has_json_body:
        return
    if _is_watch(rule):
        yield from _fields(events_pb2.Follow.DESCRIPTOR, schemas, ("after",), prefix="")
        yield from _EVENTS
        return
    without = {*rule.variables, rule.body}
    yield from _fields(descriptor(rule.method.request), schemas, without, prefix="")
    if rule.has_pages:
        yield from _PAGE


def _fields(
    kind: Descriptor, schemas: Schemas, without: Iterable[str], *, prefix: str, depth: int = 3
) -> Iterator[OperationParameter]:
    """Yields the fields that a query can have; those of a message have its name before theirs.

    Keys of maps are left out: they have no fixed names.
    """
    for field in kind.fields:
        name, path = f"{prefix}{field.json_name}", f"{prefix}{field.name}"
        if path in without or not is_shown(field):
            continue
        if is_text(field):
            yield _parameter(name, field, schemas, "query")
            continue
        inner = field.message_type
        if inner is not None and depth and not (field.is_repeated or inner.full_name in _OWN):
            yield from _fields(inner, schemas, without, prefix=f"{name}.", depth=depth - 1)


def _parameter(
    name: str, field: FieldDescriptor, schemas: Schemas, place: str
) -> OperationParameter:
    schema = schemas.field(field, strict=True)
    text = schema.pop("description", "")
    return OperationParameter(name=name, place=place, schema=schema, description=text)


def _body(rule: Rule, schemas: Schemas) -> Mapping[str, Schema]:
    kind = descriptor(rule.method.request)
    if rule.has_json_body:
        variables = list(rule.variables)
        message = (
            schemas.object(kind, strict=True, without=variables)
            if variables
            else schemas.of(kind, strict=True)
        )
        if not rule.method.client_streaming:
            return {JSON: message}
        return {JSON: {"oneOf": [message, {"type": "array", "items": message}]}, LINES: message}
    if not rule.body:
        return {}
    is_string = fields_on(kind, rule.body)[-1].type == FieldDescriptor.TYPE_STRING
    return {**({"text/plain": _TEXT} if is_string else {}), "application/octet-stream": BINARY}


def _answer(rule: Rule, schemas: Schemas) -> Mapping[str, Schema]:
    if rule.is_raw:
        return {"application/octet-stream": BINARY}
    if rule.varying is not None:  # a stream that is sent as one object
        kind = descriptor(rule.method.response)
        return {JSON: schemas.object(kind, strict=False, without=[rule.varying.name])}
    element = _element(rule, schemas)
    if not rule.method.server_streaming:
        return {JSON: element}
    forms: Sequence[str] = [LINES, "text/event-stream"]
    if rule.response is not None and rule.response.type == FieldDescriptor.TYPE_STRING:
        forms = [*forms, "text/plain"]
    if _is_watch(rule):
        return dict.fromkeys(forms, element)
    return {JSON: {"type": "array", "items": element}, **dict.fromkeys(forms, element)}


def _is_watch(rule: Rule) -> bool:
    return rule.method.client_streaming and rule.method.server_streaming


def _element(rule: Rule, schemas: Schemas) -> Schema:
    """Returns the schema of an answer, or of an element of a stream of them."""
    if rule.response is None:
        return schemas.of(descriptor(rule.method.response), strict=False)
    schema = schemas.field(rule.response, strict=False)
    if rule.method.server_streaming and rule.response.is_repeated:
        items: Schema = schema["items"]
        return items
    return schema
