"""Makes the request of a method from the path, the query and the body of an HTTP request."""

from __future__ import annotations

import contextlib
from asyncio import Semaphore
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from claraedge.errors import UndecodableRequestError
from claraedge.web.http.body import MessagePlace
from claraedge.web.http.failures import HttpError, excerpt, invalid, refused
from claraedge.web.http.request import Request
from claraedge.web.rpc.codecs import LIMIT, WRONG, json_value, off_loop, why, written
from claraedge.web.rpc.framing import Lines
from claraedge.web.rpc.methods import descriptor
from claraedge.web.v1.readable import canonical, is_text
from claraedge.web.v1.rules import Rule, fields_on, is_map

M = TypeVar("M", bound=Message)

_JSON, _NDJSON = "application/json", "application/x-ndjson"
#: Bytes of the content of a file in one message.
_CHUNK = 1024 * 1024
#: The most elements of a list in a JSON body.
_LONGEST = 10_000


class RequestReader:
    """Makes the messages of one rule."""

    def __init__(self, rule: Rule, places: Semaphore) -> None:
        """`places`: of requests that keep a large message at the same time; more of them wait."""
        self._rule = rule
        self._places = places
        self._kind = rule.method.request
        self._descriptor = descriptor(rule.method.request)
        is_content = rule.body and not rule.has_json_body
        self._content = fields_on(self._descriptor, rule.body) if is_content else None

    async def all(
        self, request: Request, query: Sequence[tuple[str, str]]
    ) -> AsyncGenerator[bytes, None]:
        """Yields the messages, as protobuf. Raises HttpError, ClientGoneError.

        `query`: the fields of the query that belong to the message.
        """
        fields = self._fields(request.parameters.items(), query)
        if self._rule.has_json_body:
            messages = self._from_json(request, fields)
        elif self._rule.body:
            messages = self._from_content(request, fields)
        else:
            messages = self._from_nothing(request, fields)
        async with aclosing(messages):
            async for message in messages:
                yield message

    # --- fields of the path and the query -----------------------------------------------------

    def _fields(
        self, variables: Iterable[tuple[str, str]], query: Sequence[tuple[str, str]]
    ) -> dict[str, Any]:
        """Returns readable JSON with the fields of the path and the query."""
        found: dict[str, Any] = {}
        if query and self._rule.has_json_body:
            raise invalid(
                f"the query has {excerpt(query[0][0])}; {self._rule.verb} {self._rule.template}"
                " expects all fields in its JSON body"
            )
        try:
            for name, text in [*variables, *query]:
                if fields_on(self._descriptor, name) == self._content:
                    raise ValueError(f'"{name}" is the body of the request')
                _put(found, self._descriptor, name, text)
        except ValueError as error:
            raise invalid(
                f"{self._rule.verb} {self._rule.template} does not support this query: {error}"
            ) from None
        return found

    def _message(self, value: Any, fields: Mapping[str, Any]) -> bytes:
        """Returns a message from readable JSON and the fields of the path."""
        try:
            if not isinstance(value, dict):
                raise ValueError("it is no JSON object")
            whole = canonical(value, self._descriptor)
            for name, content in canonical(fields, self._descriptor).items():
                if whole.setdefault(name, content) != content:
                    raise ValueError(f'"{name}" differs from that of the path; leave it out')
        except WRONG as error:
            raise refused(
                UndecodableRequestError(
                    f"the request is not one of {self._rule.verb} {self._rule.template}:"
                    f" {why(error)}; /openapi.json describes it"
                )
            ) from None
        return written(whole, self._kind)

    # --- bodies -------------------------------------------------------------------------------

    async def _from_nothing(
        self, request: Request, fields: dict[str, Any]
    ) -> AsyncGenerator[bytes, None]:
        with contextlib.closing(MessagePlace(self._places)) as place:
            if await request.body.whole(LIMIT, place):
                raise invalid(f"{request.method} {excerpt(request.path)} has no body; send none")
        yield self._message({}, fields)

    async def _from_json(
        self, request: Request, fields: dict[str, Any]
    ) -> AsyncGenerator[bytes, None]:
        kind = request.headers.content_type
        if kind == _NDJSON and self._rule.method.client_streaming:
            _refuse_encoding(request)
            lines = Lines(LIMIT)
            with contextlib.closing(MessagePlace(self._places)) as place:
                async for part in request.body.parts():
                    for line in lines.feed(part):
                        yield await off_loop(len(line), self._from_line, line, fields)
                    request.body.expect(message=lines.kept > 0)
                    await place.keep(lines.kept)
                for line in lines.finish():
                    yield await off_loop(len(line), self._from_line, line, fields)
            return
        with contextlib.closing(MessagePlace(self._places)) as place:
            _refuse_encoding(request)
            body = await request.body.whole(LIMIT, place)
            if body and kind != _JSON:
                raise _unsupported(
                    f"the Content-Type is {excerpt(kind) or 'missing'}; send {_JSON}", kind=_JSON
                )
            messages = await off_loop(len(body), self._from_text, body, fields)
        for message in messages:
            yield message

    def _from_line(self, line: bytes, fields: Mapping[str, Any]) -> bytes:
        return self._message(json_value(line), fields)

    def _from_text(self, body: bytes, fields: Mapping[str, Any]) -> Sequence[bytes]:
        """Returns the messages of a JSON object, or of a list of them."""
        value = json_value(body)
        if not (isinstance(value, list) and self._rule.method.client_streaming):
            return [self._message(value, fields)]
        if len(value) > _LONGEST:
            raise invalid(
                f"the list has {len(value)} elements; send at most {_LONGEST}, or {_NDJSON}"
            )
        return [self._message(one, fields) for one in value]

    async def _from_content(
        self, request: Request, fields: dict[str, Any]
    ) -> AsyncGenerator[bytes, None]:
        """Yields messages with the body as the content of one of their fields."""
        _refuse_encoding(request)
        if request.headers.content_type == "multipart/form-data":
            raise _unsupported("the body is a form; send the content alone, by `--data-binary`")
        path = self._rule.body
        field = fields_on(self._descriptor, path)[-1]
        if field.type == FieldDescriptor.TYPE_STRING:
            with contextlib.closing(MessagePlace(self._places)) as place:
                body = await request.body.whole(LIMIT, place)
                try:
                    text = body.decode("utf-8-sig")
                except UnicodeDecodeError:
                    raise invalid("the body is not UTF-8; save the text as UTF-8") from None
                _put(fields, self._descriptor, path, text)
                message = await off_loop(len(body), self._message, {}, fields)
            yield message
            return
        first = self._kind.FromString(self._message({}, fields))
        async for part in request.body.parts():
            for start in range(0, max(len(part), 1), _CHUNK):
                setattr(first, path, part[start : start + _CHUNK])
                yield first.SerializeToString()
                first.Clear()


def field_values(kind: type[M], query: Sequence[tuple[str, str]]) -> M:
    """Returns a message with fields of a query. Raises HttpError."""
    found: dict[str, Any] = {}
    try:
        for name, text in query:
            _put(found, descriptor(kind), name, text)
        value = canonical(found, descriptor(kind))
    except ValueError as error:
        raise invalid(f"the query is not valid: {error}") from None
    return kind.FromString(written(value, kind))


def _put(target: dict[str, Any], kind: Descriptor, path: str, text: str) -> None:
    """Sets the field on a path to a value of a query. Raises ValueError."""
    fields = fields_on(kind, path)
    *parents, last = fields
    for field in parents:
        target = target.setdefault(field.json_name, {})
    name = last.json_name
    if is_map(last):
        key = path.split(".", len(fields))[len(fields) :]
        if not key:
            raise ValueError(f'"{path}" is a map; write {path}.KEY=VALUE')
        entries = target.setdefault(name, {})
        if key[0] in entries:
            raise ValueError(f'"{path}" occurs twice')
        entries[key[0]] = text
    elif not is_text(last):
        raise ValueError(f'"{path}" is a message; name one of its fields: {path}.FIELD')
    elif last.is_repeated:
        target.setdefault(name, []).append(_scalar(last, text))
    elif name in target:
        raise ValueError(f'"{path}" occurs twice')
    else:
        target[name] = _scalar(last, text)


def _scalar(field: FieldDescriptor, text: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text not in ("true", "false"):
            raise ValueError(f'"{field.json_name}" has to be true or false')
        return text == "true"
    return text


def _refuse_encoding(request: Request) -> None:
    if request.headers.get("content-encoding") not in (None, "identity"):
        raise _unsupported("the body has a Content-Encoding; send it as it is")


def _unsupported(text: str, kind: str | None = None) -> HttpError:
    headers = {} if kind is None else {"Accept_Post": kind}
    return invalid(text, 415, **headers)
