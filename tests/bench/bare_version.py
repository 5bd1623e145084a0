"""The least that serves a unary call and waits: `python -m tests.bench.bare_version SOCKET`.

A server of `grpc.aio` with its own default options, which answers `Clara.Version` by the same
message as the daemon.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from claraedge.wire.nvidia.clara.platform import clara_pb2 as wire
from claraedge.wire.nvidia.clara.platform import clara_pb2_grpc, common_pb2
from tests.rig.waiting import until

ROOT = Path(__file__).parents[2]


class Bare(clara_pb2_grpc.ClaraServicer):
    async def Version(  # noqa: N802 the name of the wire
        self, request: wire.ClaraVersionRequest, context: Any
    ) -> wire.ClaraVersionResponse:
        return wire.ClaraVersionResponse(
            header=common_pb2.ResponseHeader(code=0),
            version=common_pb2.Version(major=0, minor=8, patch=1, label="claraedge-0.1.0"),
        )


@dataclass(frozen=True, slots=True)
class Served:
    """A bare server that serves."""

    process: int
    target: str


@contextmanager
def bare_version(folder: Path) -> Iterator[Served]:
    socket = folder / "bare.sock"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare_version", socket], cwd=ROOT
    ) as process:
        try:
            until("the bare server serves", socket.exists)
            yield Served(process.pid, f"unix:{socket}")
        finally:
            process.terminate()


async def serve(socket: str) -> None:
    server = grpc.aio.server()
    clara_pb2_grpc.add_ClaraServicer_to_server(Bare(), server)  # type: ignore[abstract]
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
