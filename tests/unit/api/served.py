"""GPU services on a real socket, over figures that a test sets."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from claraedge.api.clara import ClaraServicer
from claraedge.api.monitor import MonitorServicer
from claraedge.api.transport.calls import CallLimits
from claraedge.api.transport.server import Server
from claraedge.errors import ClaraedgeError
from claraedge.gpu.sampler import Sampler
from claraedge.gpu.telemetry import GpuReading
from claraedge.store.database import Database
from claraedge.wire.nvidia.clara.platform import clara_pb2
from claraedge.wire.nvidia.clara.platform.node_monitor import metrics_pb2

NOON = 1767268800.0  # 2026-01-01T12:00:00Z
YEAR_ONE = 62135596800


class Noon:
    """A clock that stands still."""

    def now(self) -> float:
        return NOON

    def elapsed(self) -> float:
        return 0.0


@dataclass
class Gpus:
    """Telemetry that returns the given readings, and counts who asks."""

    readings: Sequence[GpuReading] = ()
    reads: int = 0
    closes: int = 0
    hangs: threading.Event | None = None
    """Where set: a reading ends only when the event does."""

    def read(self) -> Sequence[GpuReading]:
        self.reads += 1
        if self.hangs is not None:
            self.hangs.wait(20)
        return self.readings

    def close(self) -> None:
        self.closes += 1


@dataclass(kw_only=True)
class Services:
    """What the long-running services of pipelines are to `Stop`."""

    running: int = 0
    stopped: list[int] = field(default_factory=list)
    trouble: ClaraedgeError | None = None

    async def stop(self) -> int:
        if self.trouble is not None:
            raise self.trouble
        count, self.running = self.running, 0
        self.stopped.append(count)
        return count


@dataclass(frozen=True, kw_only=True)
class Served:
    channel: grpc.aio.Channel
    gpus: Gpus
    services: Services
    sampler: Sampler
    folder: Path
    """Contains the database, and stands for /proc."""

    def process(self, pid: int, container: str) -> None:
        """Makes a process of a container."""
        (self.folder / str(pid)).mkdir()
        (self.folder / str(pid) / "cgroup").write_text(f"0::/libpod-{container}.scope\n")

    def running(self, container: str, job: str, name: str) -> None:
        """Notes an operator that runs."""
        other = sqlite3.connect(self.folder / "state.db")
        with other:
            other.execute(
                "INSERT INTO operators (job, position, name, status, container, created)"
                " VALUES (?, 0, ?, 2, ?, 0)",
                (job, name, container),
            )
        other.close()


def service(module: object, name: str) -> ServiceDescriptor:
    return module.DESCRIPTOR.services_by_name[name]  # type: ignore[attr-defined]


@asynccontextmanager
async def served(
    folder: Path, gpus: Gpus, *, interval: float = 0.2, patience: float = 10.0
) -> AsyncIterator[Served]:
    services = Services()
    database = Database(folder / "state.db")
    socket = folder / "s"
    async with (
        database,
        Sampler(
            gpus, database, Noon(), interval=interval, patience=patience, proc=folder
        ) as sampler,
        Server(
            socket,
            [
                (service(clara_pb2, "Clara"), ClaraServicer(sampler, "edge-1", services.stop)),
                (service(metrics_pb2, "Monitor"), MonitorServicer(sampler)),
            ],
            CallLimits(unary=10, idle=10),
        ),
        grpc.aio.insecure_channel(f"unix:{socket}") as channel,
    ):
        yield Served(
            channel=channel,
            gpus=gpus,
            services=services,
            sampler=sampler,
            folder=folder,
        )
