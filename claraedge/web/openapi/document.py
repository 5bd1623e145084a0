"""Writes the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from claraedge import __version__
from claraedge.errors import HTTP_STATUS
from claraedge.web.http.failures import connect_code
from claraedge.web.openapi.comments import comments, descriptor_set
from claraedge.web.openapi.files import of_files
from claraedge.web.openapi.operations import PAGES, Operation, of_methods
from claraedge.web.openapi.readable import of_rules, readable_schemas
from claraedge.web.openapi.schemas import Schema, Schemas
from claraedge.web.rpc.methods import Method, methods_of
from claraedge.web.v1.rules import rules_of

_FAILURE, _TOKEN = "Failure", "token"
_ABOUT = """\
The HTTP front of claraedge, which runs pipelines of containers on one device.

`/v1/...` are readable paths: ids and times are strings, and lists have several forms, by `Accept`.

`POST /package.Service/Method` calls a gRPC method by the protocol of Connect (connectrpc.com), with
the JSON of proto3: names in lowerCamelCase, 64-bit numbers as strings, bytes in base64. Fields with
their default value are left out of answers; an unknown field of a request is refused. Of streams,
this document has the form as lines of JSON; clients of Connect also use its envelopes
(`application/connect+json`), which OpenAPI cannot describe.

The header `Connect-Timeout-Ms` sets a deadline in milliseconds for any call. After it the call is
ended on the device too, and the status is 504.

A failure never has the status 200, except in the last envelope of a stream of Connect. Its body has
a code, a message that says what happened and what to do, and perhaps details; the header
`Claraedge-Error` has the name of the error, which never changes."""
_SENTENCE = re.compile(r"(.+?[.:;])(\s|$)", re.S)
_SUMMARY = 120


def document(methods: Mapping[str, Method]) -> dict[str, Any]:
    """Returns the description of `methods` and of all pages."""
    texts = comments(descriptor_set())
    readable, canonical = readable_schemas(texts), Schemas(texts)
    operations = [
        *of_rules(rules_of(methods), readable, texts),
        *of_files(methods),
        *PAGES,
        *of_methods([methods[path] for path in sorted(methods)], canonical, texts),
    ]
    schemas = readable.components | canonical.components
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "claraedge",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{_TOKEN: []}, {}],
        "tags": _tags(operations),
        "paths": _paths(operations),
        "components": {
            "schemas": {_FAILURE: _failure(), **dict(sorted(schemas.items()))},
            "responses": {_FAILURE: _failure_response()},
            "securitySchemes": {
                _TOKEN: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": (
                        "Needed over TCP, unless each client has a certificate; `claraedge token`"
                        " prints it."
                    ),
                }
            },
        },
    }


def all_methods() -> Mapping[str, Method]:
    """Returns the methods that a daemon serves, as the protos have them; no daemon is needed."""
    pool = DescriptorPool()
    files = descriptor_set().file
    for file in files:  # each after those that it imports
        pool.Add(file)
    services = [
        pool.FindServiceByName(f"{file.package}.{service.name}")
        for file in files
        for service in file.service
    ]
    return methods_of([*services, *_standard()])


def _standard() -> Iterator[ServiceDescriptor]:
    yield health_pb2.DESCRIPTOR.services_by_name["Health"]
    yield reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


def summary(text: str) -> str:
    """Returns the first sentence of a text, in one line."""
    first = _SENTENCE.match(text)
    line = " ".join((first[1] if first else text).split()).rstrip(".:;")
    return line if len(line) <= _SUMMARY else f"{line[: _SUMMARY - 1]}…"


def path_of(template: str) -> str:
    """Returns the path of a template as OpenAPI writes it: `{name=**}` is `{name}`."""
    return re.sub(r"\{([\w.]+)=[^}]*\}", r"{\1}", template)


def _tags(operations: Iterable[Operation]) -> Sequence[Schema]:
    texts = {operation.tag: operation.tag_text for operation in operations}
    return [
        {"name": name, **({"description": text} if text else {})} for name, text in texts.items()
    ]


def _paths(operations: Iterable[Operation]) -> dict[str, Schema]:
    paths: dict[str, Schema] = {}
    for operation in operations:
        item = paths.setdefault(path_of(operation.template), {})
        item[operation.verb.lower()] = _operation(operation)
    return paths


def _operation(operation: Operation) -> Schema:
    parameters: list[Schema] = [
        {
            "name": one.name,
            "in": one.place,
            "schema": one.schema,
            **({"required": True} if one.place == "path" else {}),
            **({"description": one.description} if one.description else {}),
        }
        for one in operation.parameters
    ]
    found: Schema = {"operationId": operation.name, "tags": [operation.tag]}
    if operation.text:
        found |= {"summary": summary(operation.text), "description": operation.text}
    if parameters:
        found["parameters"] = parameters
    if not operation.needs_token:
        found["security"] = []
    if operation.request:
        found["requestBody"] = {
            "required": operation.needs_body,
            "content": _content(operation.request),
        }
    answers: Schema = {}
    if operation.answer is not None:
        answers["200"] = {"description": "The answer.", "content": _content(operation.answer)}
    answers |= {str(status): {"description": text} for status, text in operation.also.items()}
    found["responses"] = {**answers, "default": {"$ref": f"#/components/responses/{_FAILURE}"}}
    return found


def _content(schemas: Mapping[str, Schema]) -> Schema:
    return {kind: {"schema": schema} for kind, schema in schemas.items()}


def _failure() -> Schema:
    codes = sorted(connect_code(code) for code in HTTP_STATUS)
    return {
        "type": "object",
        "description": "Why a request has failed.",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "string", "enum": codes},
            "message": {"type": "string", "description": "What happened, and what to do."},
            "details": {
                "type": "array",
                "description": "The answer of a service that reports failures in its header.",
                "items": {
                    "type": "object",
                    "required": ["type", "value"],
                    "properties": {
                        "type": {"type": "string", "description": "The name of the message."},
                        "value": {"type": "string", "contentEncoding": "base64"},
                        "debug": {"type": "object", "description": "The message as JSON."},
                    },
                },
            },
        },
    }


def _failure_response() -> Schema:
    statuses: dict[int, list[str]] = {}
    for code, status in HTTP_STATUS.items():
        statuses.setdefault(status, []).append(f"`{connect_code(code)}`")
    lines = [f"- {status}: {', '.join(codes)}" for status, codes in sorted(statuses.items())]
    return {
        "description": (
            "The request has failed. The status is that of the code:\n\n"
            + "\n".join(lines)
            + "\n\nor one that says more about the request itself: 401, 403, 404, 405, 406, 412,"
            " 413, 415, 416, 421, 460, 503, 505, 507."
        ),
        "headers": {
            "Claraedge-Error": {
                "description": "The name of the error, which never changes.",
                "schema": {"type": "string"},
            }
        },
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_FAILURE}"}}},
    }
