"""The least that a server of transfers does: `python -m tests.bench.bare_server SOCKET`.

It serves `Upload` and `Download` of the platform's Payloads by the same messages as the daemon, on
a server of `grpc.aio` with its own default options, and without limits. It discards what comes;
`Download` sends the file of the path that its request has for a name, by plain reads.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from claraedge.wire.nvidia.clara.platform import payloads_pb2 as wire
from claraedge.wire.nvidia.clara.platform import payloads_pb2_grpc

#: Bytes in one message of a download, as many as the daemon sends.
CHUNK = 256 * 1024


class Bare(payloads_pb2_grpc.PayloadsServicer):
    async def Upload(  # noqa: N802 - a name of the wire
        self, requests: AsyncIterator[wire.PayloadsUploadRequest], context: Any
    ) -> wire.PayloadsUploadResponse:
        size = 0
        async for request in requests:
            size += len(request.data)
        return wire.PayloadsUploadResponse(details=wire.PayloadFileDetails(size=size))

    async def Download(  # noqa: N802 - as above
        self, request: wire.PayloadsDownloadRequest, context: Any
    ) -> AsyncIterator[wire.PayloadsDownloadResponse]:
        with Path(request.name).open("rb", buffering=0) as file:  # noqa: ASYNC230 - it is bare
            while data := file.read(CHUNK):
                yield wire.PayloadsDownloadResponse(data=data)


async def serve(socket: str) -> None:
    server = grpc.aio.server()
    payloads_pb2_grpc.add_PayloadsServicer_to_server(Bare(), server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
