"""The least that a gRPC server does with a stream: `echo_server.py SOCKET`.

`/echo/Sink` reads messages and drops them; `/echo/Source` sends as many MiB as its request says. No
protobuf, no disk: what a transfer of the daemon is to be compared with.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

CHUNK = bytes(1024 * 1024)


async def sink(requests: AsyncIterator[bytes], context: Any) -> bytes:
    size = 0
    async for request in requests:
        size += len(request)
    return str(size).encode()


async def source(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for _ in range(int(request)):
        yield CHUNK


async def main(socket: str) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 4 * 1024 * 1024)])
    methods = {
        "Sink": grpc.stream_unary_rpc_method_handler(sink),
        "Source": grpc.unary_stream_rpc_method_handler(source),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo", methods)])
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
