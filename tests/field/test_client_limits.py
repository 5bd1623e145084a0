"""What docs/clients.md promises to programs that talk to the socket."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from claraedge import memory, metadata
from claraedge.api import answers, events, translate
from claraedge.api.transport import server
from claraedge.api.transport.calls import CallLimits
from claraedge.api.transport.server import Server
from claraedge.api.transport.slots import BOUNDS, OPENING, CallKind
from claraedge.client import target
from claraedge.config.model import ApiSettings
from claraedge.jobs import records as jobs
from claraedge.payloads import names, resumable
from claraedge.registry import pipelines
from tests.field.case import case
from tests.rig.waiting import eventually

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
_MIB = 1 << 20
_API = ApiSettings()

FIGURES = {
    "keepalive pings of a client": "none",
    "silence of a client, until the daemon asks whether it is there": (
        f"{server.ASKED_AFTER // 1000} s"
    ),
    "time for that answer": f"{server.ANSWERED_WITHIN // 1000} s",
    "connections at a time, of the socket and of each address": f"{server.CONNECTIONS}",
    "time for the handshake of TLS": f"{server.HANDSHAKE // 1000} s",
    "calls at a time on one connection": f"{server.STREAMS}",
    "calls with one request and one answer at a time, all clients together": (
        f"{BOUNDS[CallKind.UNARY]}"
    ),
    "uploads at a time": f"{BOUNDS[CallKind.UPLOAD]}",
    "downloads and lists at a time": f"{BOUNDS[CallKind.DOWNLOAD]}",
    "watches at a time: of events, GPUs and health, and reflection": f"{BOUNDS[CallKind.WATCH]}",
    "memory for what open calls keep, all together: names of uploaded files, definitions, ids,"
    " pages of lists": f"{memory.TOTAL // _MIB} MiB",
    "calls at a time whose first message has not come": f"{OPENING}",
    "length of the socket's path": f"{target._LONGEST_PATH} bytes",
    "a message, either way": f"{server.MESSAGE // _MIB} MiB",
    "file data in one message of the daemon": f"{translate.CHUNK // _MIB} MiB",
    "a definition, all its files together": f"{pipelines.MAX_DEFINITION_BYTES // _MIB} MiB",
    "the text of one error": f"{answers.MAX_TEXT} characters",
    "a file's path in a payload": f"{names.MAX_NAME_BYTES} bytes",
    "each part of that path": f"{names.MAX_PART_BYTES} bytes",
    "its folders and the file": f"{names.MAX_PARTS}",
    "the name of a job": f"{jobs.MAX_NAME} bytes",
    "a key of metadata": f"{metadata.MAX_KEY_BYTES} bytes",
    "a value of metadata": f"{metadata.MAX_VALUE_CHARACTERS} characters",
    "all metadata of one thing": f"{metadata.MAX_TOTAL_BYTES} bytes",
    "unfinished uploads": f"{resumable.MOST}",
    "time without activity of an unfinished upload": f"{resumable.LIFE / 3600:g} h",
    "calls that continue one upload": "1",
    "a call with one request and one answer": f"{_API.unary_seconds:g} s, `[api] unary_seconds`",
    "the first message of any call, and the next one of an upload": (
        f"{_API.idle_seconds:g} s, `[api] idle_seconds`"
    ),
    "the client reading the next message of a stream": (
        f"{_API.idle_seconds:g} s, `[api] idle_seconds`"
    ),
    "events of a watch without an acknowledgement": f"{events.WINDOW}",
    "a watch in which nothing happens, once it has said what it follows": "none",
}


@case(
    11,
    "Somebody writes a client after the documentation of its limits",
    source="grpc/grpc#33661; llm-d/llm-d-kv-cache#359",
    outcome="docs/clients.md has each limit with what the client sees; every figure is that of the"
    " program.",
)
def test_every_figure_of_the_page_is_that_of_the_code() -> None:
    tables = re.findall(r"^\| what \| limit \|(?:.+\n)+", PAGE.read_text("utf-8"), re.MULTILINE)
    rows = re.findall(r"^\| (.+?) \| (.+?) \|", "".join(tables), re.MULTILINE)
    shown = {what: limit for what, limit in rows if what not in ("what", "---")}
    assert shown == FIGURES
    assert f"have {server._STOP_GRACE:g} s to end" in PAGE.read_text("utf-8")


@dataclass
class Line:
    """A connection to a server, with what goes over it counted."""

    target: str
    pings: int = 0
    """Of the client."""
    goaway: bool = False
    """The server said GOAWAY."""


_PING, _GOAWAY, _ACK, _HEAD, _PREFACE = 6, 7, 1, 9, 24


async def _frames(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Callable[[int, int], None]
) -> None:
    """Passes HTTP/2 frames on, RFC 9113: a length of three bytes, a type, flags, a stream."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readexactly(_HEAD)
            body = await reader.readexactly(int.from_bytes(head[:3], "big"))
            seen(head[3], head[4])
            writer.write(head + body)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    """A server of claraedge, and a way to it that counts."""
    inner, outer = tmp_path / "s.sock", tmp_path / "l.sock"
    here = Line(f"unix:{outer}")

    def of_client(kind: int, flags: int) -> None:
        here.pings += kind == _PING and not flags & _ACK

    def of_server(kind: int, flags: int) -> None:
        here.goaway |= kind == _GOAWAY

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server, from_server = None, None
        from_server, to_server = await asyncio.open_unix_connection(inner)
        to_server.write(await reader.readexactly(_PREFACE))
        await asyncio.gather(
            _frames(reader, to_server, of_client), _frames(from_server, writer, of_server)
        )

    async with Server(inner, [], CallLimits(unary=10, idle=10)):
        between = await asyncio.start_unix_server(connect, outer)
        try:
            yield here
        finally:
            between.close()


@case(
    11,
    "A client that asks often whether its connection lives, as with keepalive every 10 seconds",
    source="llm-d/llm-d-kv-cache#359; OpenC3/cosmos#3271; artefactual-labs/a3m#451;"
    " grpc/grpc#33661",
    outcome="It keeps its connection and its calls, however often it asks, with or without a call"
    " under way.",
)
async def test_a_client_with_frequent_keepalive_stays(tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        await asyncio.to_thread(folder.mkdir)
    await asyncio.gather(_asks_often(folders[0], calls=True), _asks_often(folders[1], calls=False))


async def _asks_often(folder: Path, *, calls: bool) -> None:
    """A server that gRPC's defaults govern disconnects its client at the third ping."""
    options = [
        ("grpc.keepalive_time_ms", 1000),  # the least that gRPC accepts
        ("grpc.keepalive_timeout_ms", 5000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with line(folder) as here, grpc.aio.insecure_channel(here.target, options) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        watch = health.Watch(request) if calls else None
        if watch is not None:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        else:
            await health.Check(request)
        before = here.pings
        await eventually(lambda: here.goaway or here.pings >= before + 6, "it pings")
        assert not here.goaway
        assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        assert watch is None or not watch.done()


@case(
    11,
    "A message of more than 4 MiB",
    source="gRPC core, grpc.max_receive_message_length",
    outcome="It is refused with RESOURCE_EXHAUSTED, as docs/clients.md says, and the connection"
    " stays.",
)
async def test_a_message_that_is_too_large_is_refused_alone(tmp_path: Path) -> None:
    options = [("grpc.max_send_message_length", -1)]
    async with line(tmp_path) as here, grpc.aio.insecure_channel(here.target, options) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health.Check(health_pb2.HealthCheckRequest(service="x" * (server.MESSAGE + 1)))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await health.Check(health_pb2.HealthCheckRequest())
        assert not here.goaway
