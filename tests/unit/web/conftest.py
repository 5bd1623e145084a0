"""A whole daemon with the in-memory runner, and an HTTP client of its socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11
import pytest
from google.protobuf import json_format

from claraedge.errors import RouteNotFoundError
from claraedge.web.rpc.methods import methods_of
from claraedge.wire.claraedge.v1 import appliance_pb2
from claraedge.wire.nvidia.clara.platform import (
    clara_pb2,
    jobs_pb2,
    payloads_pb2,
    pipelines_pb2,
)
from tests.unit.api.conftest import Daemon, daemon_in, folder

__all__ = ["Daemon", "daemon_in", "folder"]


_FILES = (appliance_pb2, clara_pb2, jobs_pb2, payloads_pb2, pipelines_pb2)
_METHODS = methods_of(
    service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def envelopes(self) -> list[tuple[int, Any]]:
        found, rest = [], self.body
        while rest:
            length = int.from_bytes(rest[1:5], "big")
            found.append((rest[0], json.loads(rest[5 : 5 + length])))
            rest = rest[5 + length :]
        return found


class Connection:
    """One connection, whose parts a test can send and read one by one."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self.reader, self.writer = reader, writer
        self.http = h11.Connection(h11.CLIENT)

    async def send(self, *events: Any) -> None:
        for event in events:
            self.writer.write(self.http.send(event) or b"")
        await self.writer.drain()

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> None:
        """Sends the head of a request, and a whole body; without one, chunks are to follow."""
        lines = {"Host": "localhost", **{k.replace("_", "-"): v for k, v in headers.items()}}
        lines |= (
            {"Transfer-Encoding": "chunked"} if body is None else {"Content-Length": str(len(body))}
        )
        await self.send(h11.Request(method=method, target=path, headers=list(lines.items())))
        if body is not None:
            await self.send(h11.Data(data=body), h11.EndOfMessage())

    async def event(self) -> Any:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.reader.read(65536))
        return event

    async def answer(self) -> Answer:
        head = await self.event()
        body = bytearray()
        while isinstance(event := await self.event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return Answer(status=head.status_code, headers=headers, body=bytes(body))


class Client:
    """Requests to a daemon's HTTP socket, each on a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        async with self.connected() as connection:
            await connection.ask(method, path, body, **headers)
            return await connection.answer()

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Calls a method with JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        return await self.ask(
            "POST", path, content, **{"Content_Type": "application/json"} | headers
        )

    async def converted(self, path: str, request: Any, *, form: str, streams: bool) -> bytes:
        """The body of an answer of Connect in a form, `json` or `proto`."""
        method = _METHODS[path]
        message = json_format.ParseDict(request, method.request())
        content = (
            message.SerializeToString()
            if form == "proto"
            else json_format.MessageToJson(message).encode()
        )
        if streams:
            content = b"\0" + len(content).to_bytes(4, "big") + content
        kind = f"application/{'connect+' if streams else ''}{form}"
        answer = await self.ask("POST", path, content, Content_Type=kind)
        assert answer.status == 200, answer.body
        return answer.body


@asynccontextmanager
async def no_routes(route: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """What opens connections to static routes, where there are none."""
    raise RouteNotFoundError(f"no route has the prefix {route}; create it")
    yield  # what makes this a context


@pytest.fixture
async def daemon(folder: Path) -> AsyncIterator[Daemon]:
    async with daemon_in(folder) as daemon:
        yield daemon


@pytest.fixture
def http(daemon: Daemon) -> Client:
    return Client(daemon.config.http_socket)
