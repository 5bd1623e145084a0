"""A whole daemon on a real socket, with the in-memory runner in place of Podman."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from claraedge.config import ApiSettings, Config, DiskSettings, EngineSettings, InboxSettings
from claraedge.daemon import serve
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import Runner
from claraedge.wire.claraedge.v1 import appliance_pb2_grpc, files_pb2_grpc
from claraedge.wire.nvidia.clara.platform import (
    clara_pb2_grpc,
    common_pb2,
    jobs_pb2,
    jobs_pb2_grpc,
    payloads_pb2,
    payloads_pb2_grpc,
    pipelines_pb2,
    pipelines_pb2_grpc,
)
from tests.rig.device import copy, fail
from tests.rig.waiting import DEADLINE, eventually

HEADER = common_pb2.RequestHeader(
    api_version=common_pb2.Version(minor=6), user_agent="Nvidia.Clara.Platform"
)


def an_id(value: str) -> common_pb2.Identifier:
    return common_pb2.Identifier(value=value)


@dataclass
class Daemon:
    """A served daemon, and how a client speaks to it. The stubs send and return wire messages."""

    config: Config
    channel: grpc.aio.Channel
    runner: MemoryRunner
    ended: asyncio.Task[None]
    clara: Any = field(init=False)
    jobs: Any = field(init=False)
    payloads: Any = field(init=False)
    pipelines: Any = field(init=False)
    images: Any = field(init=False)
    inbox: Any = field(init=False)
    appliance: Any = field(init=False)
    files: Any = field(init=False)

    def __post_init__(self) -> None:
        self.clara = clara_pb2_grpc.ClaraStub(self.channel)
        self.jobs = jobs_pb2_grpc.JobsStub(self.channel)
        self.payloads = payloads_pb2_grpc.PayloadsStub(self.channel)
        self.pipelines = pipelines_pb2_grpc.PipelinesStub(self.channel)
        self.images = appliance_pb2_grpc.ImagesStub(self.channel)
        self.inbox = appliance_pb2_grpc.InboxStub(self.channel)
        self.appliance = appliance_pb2_grpc.ApplianceStub(self.channel)
        self.files = files_pb2_grpc.FilesStub(self.channel)

    async def register(self, text: str) -> str:
        request = pipelines_pb2.PipelinesCreateRequest(
            header=HEADER,
            definition=pipelines_pb2.PipelineDefinitionFile(path="../p.yaml", content=text),
        )
        reply = await self.pipelines.Create(iter([request]))
        assert reply.header.code == 0, reply
        return str(reply.pipeline_id.value)

    async def create(self, pipeline: str, **more: Any) -> jobs_pb2.JobsCreateResponse:
        reply = await self.jobs.Create(
            jobs_pb2.JobsCreateRequest(
                header=HEADER, pipeline_id=an_id(pipeline), name="job", **more
            )
        )
        assert isinstance(reply, jobs_pb2.JobsCreateResponse)
        return reply

    async def upload(
        self, payload: str, *chunks: tuple[str, bytes], mode: int = 0
    ) -> payloads_pb2.PayloadsUploadResponse:
        """As the Python client does: header and details on each chunk, size that of the chunk."""
        reply = await self.payloads.Upload(
            iter(
                [
                    payloads_pb2.PayloadsUploadRequest(
                        header=HEADER,
                        payload_id=an_id(payload),
                        details=payloads_pb2.PayloadFileDetails(
                            mode=mode, name=name, size=len(data)
                        ),
                        data=data,
                    )
                    for name, data in chunks
                ]
            )
        )
        assert isinstance(reply, payloads_pb2.PayloadsUploadResponse)
        return reply

    async def start(self, job: str, **variables: str) -> jobs_pb2.JobsStartResponse:
        values = [
            jobs_pb2.JobsStartRequest.NamedValue(name=name, value=value)
            for name, value in variables.items()
        ]
        reply = await self.jobs.Start(
            jobs_pb2.JobsStartRequest(header=HEADER, job_id=an_id(job), Variables=values)
        )
        assert isinstance(reply, jobs_pb2.JobsStartResponse)
        return reply

    async def status(self, job: str) -> jobs_pb2.JobsStatusResponse:
        reply = await self.jobs.Status(jobs_pb2.JobsStatusRequest(header=HEADER, job_id=an_id(job)))
        assert isinstance(reply, jobs_pb2.JobsStatusResponse)
        return reply

    async def end(self, job: str) -> jobs_pb2.JobsStatusResponse:
        """The status of a job once it has stopped."""

        async def stopped() -> jobs_pb2.JobsStatusResponse | None:
            reply = await self.status(job)
            return reply if reply.state == jobs_pb2.JOB_STATE_STOPPED else None

        return await eventually(stopped, "the job has stopped")

    async def until_runs(self, operator: str) -> None:
        async with asyncio.timeout(DEADLINE):
            await self.runner.running(operator)

    async def run(self, pipeline: str, **files: bytes) -> jobs_pb2.JobsStatusResponse:
        """A job with these files, from its creation to its end."""
        made = await self.create(pipeline)
        await self.upload(made.payload_id.value, *files.items())
        await self.start(made.job_id.value)
        return await self.end(made.job_id.value)

    async def listing(self, payload: str) -> list[payloads_pb2.PayloadsDetailsResponse]:
        request = payloads_pb2.PayloadsDetailsRequest(header=HEADER, payload_id=an_id(payload))
        return await messages(self.payloads.Details(request))

    async def download(
        self, payload: str, name: str
    ) -> list[payloads_pb2.PayloadsDownloadResponse]:
        request = payloads_pb2.PayloadsDownloadRequest(
            header=HEADER, payload_id=an_id(payload), name=name
        )
        return await messages(self.payloads.Download(request))


async def messages(call: Any) -> list[Any]:
    return [message async for message in call]


def contents(replies: Iterable[payloads_pb2.PayloadsDownloadResponse]) -> bytes:
    return b"".join(reply.data for reply in replies)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name: pytest's own may be too long."""
    with tempfile.TemporaryDirectory(prefix="ce-") as name:
        yield Path(name)


@asynccontextmanager
async def daemon_in(
    folder: Path, *, runner: MemoryRunner | None = None, **sections: Any
) -> AsyncIterator[Daemon]:
    """A daemon with its state and socket below `folder`; the exit is a SIGTERM.

    `runner`: that of a daemon before, whose containers are still there.
    """
    config = Config(
        state_dir=folder / "state",
        runtime_dir=folder / "run",
        **{
            "engine": EngineSettings(grace_seconds=0.2, max_operators=4),
            "inbox": InboxSettings(settle_seconds=0.05, rescan_seconds=0.2),
            "api": ApiSettings(),
            "disk": DiskSettings(soft_mb=2, hard_mb=1),  # the tests may run on any disk
            **sections,
        },
    )
    machine = runner or MemoryRunner()
    machine.add_image("copy:1", copy)
    machine.add_image("fail:1", fail)

    @asynccontextmanager
    async def open_runner(_: Config) -> AsyncIterator[Runner]:
        yield machine

    def bound() -> tuple[int, int] | None:
        try:
            status = config.socket.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_ctime_ns

    before = bound()
    service = asyncio.create_task(serve(config, open_runner))
    channel = grpc.aio.insecure_channel(f"unix:{config.socket}")
    try:
        # Wait for the socket before the first call: gRPC tries again only once a second.
        await eventually(lambda: service.done() or bound() not in (None, before), "it serves")
        async with asyncio.timeout(DEADLINE):
            if service.done():
                await service  # raises what kept it from starting
            await channel.channel_ready()
        yield Daemon(config, channel, machine, service)
    finally:
        await channel.close()
        service.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await service


@pytest.fixture
async def daemon(folder: Path) -> AsyncIterator[Daemon]:
    async with daemon_in(folder) as daemon:
        yield daemon
