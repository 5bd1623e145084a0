"""What can be asked over HTTP, as values: one operation for each method and path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from claraedge.web.openapi.schemas import Schema, Schemas
from claraedge.web.rpc.methods import Method, descriptor

JSON, _PROTO, LINES = "application/json", "application/proto", "application/x-ndjson"
BINARY: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
_STREAM = " In `application/x-ndjson` each line is a message."


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationParameter:
    """A variable of the path, or a field of the query."""

    name: str
    schema: Schema
    place: str
    """`path`, `query` or `header`."""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of HTTP at one path."""

    verb: str
    """`POST`"""
    template: str
    """As in `Route`: `/v1/jobs/{job_id}:start`."""
    name: str
    """Unique among all operations: the name of the function in generated clients."""
    tag: str
    """The group that it belongs to: a service, or a word."""
    tag_text: str = ""
    """What is said about the group."""
    text: str
    """What it does; the first sentence is its summary."""
    parameters: Sequence[OperationParameter] = ()
    request: Mapping[str, Schema] = field(default_factory=dict)
    """The schema of the body, by content types; empty: there is none."""
    needs_body: bool = True
    needs_token: bool = True
    """Whether callers over TCP need the token."""
    answer: Mapping[str, Schema] | None
    """The schema of the answer with status 200, by content types; None: it has another status."""
    also: Mapping[int, str] = field(default_factory=dict)
    """Other statuses of success, with what they mean."""


def of_methods(
    methods: Iterable[Method], schemas: Schemas, comments: Mapping[str, str]
) -> Iterator[Operation]:
    """Yields the operations of the Connect protocol: `POST /package.Service/Method`."""
    for method in methods:
        full_name = method.path.removeprefix("/").replace("/", ".")
        service, _, name = full_name.rpartition(".")
        text = comments.get(full_name, "")
        request = schemas.of(descriptor(method.request), strict=True)
        answer = schemas.of(descriptor(method.response), strict=False)
        yield Operation(
            verb="POST",
            template=method.path,
            name=f"rpc_{service.rpartition('.')[2]}_{name}",
            tag=service,
            tag_text=comments.get(service, ""),
            text=(text + _STREAM).strip() if method.streaming else text,
            request=_requests(method, request),
            answer=_answers(method, answer),
        )


def _requests(method: Method, schema: Schema) -> Mapping[str, Schema]:
    return {JSON: schema, LINES: schema} if method.streaming else {JSON: schema, _PROTO: BINARY}


def _answers(method: Method, schema: Schema) -> Mapping[str, Schema]:
    return {LINES: schema} if method.streaming else {JSON: schema, _PROTO: BINARY}


def _status(word: str) -> Schema:
    return {
        "type": "object",
        "properties": {"status": {"const": word}},
        "required": ["status"],
    }


#: The pages that belong to no method.
PAGES: Sequence[Operation] = (
    Operation(
        verb="GET",
        template="/health/live",
        name="health_live",
        needs_token=False,
        tag="device",
        text="Answers while the daemon lives.",
        answer={JSON: _status("live")},
    ),
    Operation(
        verb="GET",
        template="/health/ready",
        name="health_ready",
        needs_token=False,
        tag="device",
        text="Answers with status 200 while the daemon serves, and else with 503.",
        answer={JSON: _status("ready")},
    ),
    Operation(
        verb="GET",
        template="/metrics",
        name="metrics",
        tag="device",
        text="Metrics for Prometheus, also as OpenMetrics for clients that accept it.",
        answer={
            "text/plain": {"type": "string"},
            "application/openmetrics-text": {"type": "string"},
        },
    ),
    Operation(
        verb="GET",
        template="/openapi.json",
        name="openapi",
        tag="device",
        text="This document.",
        answer={JSON: {"type": "object"}},
    ),
    Operation(
        verb="GET",
        template="/api",
        name="api_page",
        tag="device",
        text="This document as a page for people.",
        answer={"text/html": {"type": "string"}},
    ),
)
