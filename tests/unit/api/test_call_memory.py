"""Open calls share one budget of memory: who finds it used up is refused, the others continue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from claraedge.api.transport import server
from claraedge.memory import Budget
from claraedge.wire.claraedge.v1 import events_pb2
from claraedge.wire.claraedge.v1.events_pb2_grpc import EventsStub
from claraedge.wire.nvidia.clara.platform import models_pb2, payloads_pb2, pipelines_pb2
from claraedge.wire.nvidia.clara.platform.models_pb2_grpc import ModelsStub
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub
from claraedge.wire.nvidia.clara.platform.pipelines_pb2_grpc import PipelinesStub
from tests.unit.api.conftest import Daemon, an_id, daemon_in

TOTAL = 500_000
FILES = 10_000


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> Budget:
    """The budget of a daemon that starts now."""
    small = Budget(TOTAL)
    monkeypatch.setattr(server, "Budget", lambda: small)
    return small


def uploads(payload: str) -> Any:
    for number in range(FILES):
        yield payloads_pb2.PayloadsUploadRequest(
            payload_id=an_id(payload),
            details=payloads_pb2.PayloadFileDetails(name=f"study/image-{number}.dcm"),
        )


def definitions() -> Any:
    for number in range(FILES):
        file = pipelines_pb2.PipelineDefinitionFile(path=f"{number}.yaml", content="#" * 100)
        yield pipelines_pb2.PipelinesCreateRequest(definition=file)


def metadata() -> Any:
    for number in range(FILES):
        yield models_pb2.ModelsUploadModelRequest(
            details=models_pb2.ModelDetails(metadata={f"key-{number}": "value"})
        )


def ids() -> Any:
    for number in range(FILES):
        yield models_pb2.ModelsUpdateCatalogRequest(
            catalog_id=an_id("0" * 32), model_ids=[an_id(f"{number:032x}")]
        )


def follows() -> Any:
    jobs = [f"{number:032x}" for number in range(FILES)]
    yield events_pb2.WatchRequest(follow=events_pb2.Follow(job_ids=jobs))


async def refused(daemon: Daemon, stub: Any, method: str, requests: Any) -> grpc.RpcError:
    """How a call ends. By the client with threads: that of asyncio makes INTERNAL of a refusal that
    a write of its own meets.
    """

    def call() -> None:
        with grpc.insecure_channel(f"unix:{daemon.config.socket}") as channel:
            answer = getattr(stub(channel), method)(requests)
            if method == "Watch":
                next(answer)

    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(call)
    return caught.value


async def test_whatever_a_stream_keeps_is_bounded(folder: Path, budget: Budget) -> None:
    async with daemon_in(folder) as daemon:
        payload = (await daemon.payloads.Create(payloads_pb2.PayloadsCreateRequest())).payload_id
        for stub, method, requests in (
            (PayloadsStub, "Upload", uploads(payload.value)),
            (PipelinesStub, "Create", definitions()),
            (ModelsStub, "UploadModel", metadata()),
            (ModelsStub, "UpdateCatalog", ids()),
            (EventsStub, "Watch", follows()),
        ):
            error: Any = await refused(daemon, stub, method, requests)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error
            assert ("claraedge-error", "stream-memory") in tuple(error.trailing_metadata()), error
            assert f"of the {TOTAL} bytes" in error.details()
        assert (await daemon.upload(payload.value, ("a", b"1"))).header.code == 0
        assert await names(daemon, payload.value) == ["/a"]
        assert budget.used == 0


async def names(daemon: Daemon, payload: str) -> list[str]:
    return [message.file.name for message in await daemon.listing(payload)]


async def test_who_keeps_little_works_while_another_keeps_all(folder: Path, budget: Budget) -> None:
    async with daemon_in(folder) as daemon:
        payload = (await daemon.payloads.Create(payloads_pb2.PayloadsCreateRequest())).payload_id
        first, *_ = uploads(payload.value)

        async def slowly() -> AsyncIterator[payloads_pb2.PayloadsUploadRequest]:
            yield first
            await refused(daemon, PayloadsStub, "Upload", uploads(payload.value))
            yield payloads_pb2.PayloadsUploadRequest(data=b"more")

        reply = await daemon.payloads.Upload(slowly())
        assert (reply.header.code, reply.details.size) == (0, 4)
        assert budget.used == 0
