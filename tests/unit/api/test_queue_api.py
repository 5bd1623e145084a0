"""`claraedge.v1.Queue`: what jobs wait for, over the socket."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from claraedge.wire.claraedge.v1 import appliance_pb2, appliance_pb2_grpc
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import Daemon


async def explain(daemon: Daemon, job: str) -> list[tuple[str, str, list[str]]]:
    stub: Any = appliance_pb2_grpc.QueueStub(daemon.channel)
    reply = await stub.Explain(appliance_pb2.ExplainRequest(job_id=job))
    return [(wait.operator, wait.text, list(wait.upstream)) for wait in reply.waits]


async def test_a_job_is_explained_from_its_creation_to_its_end(daemon: Daemon) -> None:
    daemon.runner.block("a")
    made = await daemon.create(await daemon.register(chain("a", "b")))
    job, payload = made.job_id.value, made.payload_id.value
    await daemon.upload(payload, ("x", b"1"))
    assert await explain(daemon, job) == [("", f"its start (`claraedge start job {job}`)", [])]
    await daemon.start(job)
    await daemon.until_runs("a")

    async def waits() -> bool:
        return await explain(daemon, job) == [("b", "the operator a", ["a"])]

    await eventually(waits, "b waits for a")
    dashed = f"{job[:8]}-{job[8:12]}-{job[12:16]}-{job[16:20]}-{job[20:]}"
    assert await explain(daemon, dashed.upper()) == await explain(daemon, job)
    daemon.runner.release("a")
    await daemon.end(job)
    assert await explain(daemon, job) == []


@pytest.mark.parametrize(
    ("job", "status", "name"),
    [
        ("", grpc.StatusCode.INVALID_ARGUMENT, "invalid-job-id"),
        ("no id", grpc.StatusCode.INVALID_ARGUMENT, "invalid-job-id"),
        ("0" * 32, grpc.StatusCode.NOT_FOUND, "job-not-found"),
    ],
)
async def test_wrong_ids_have_their_status_and_name(
    daemon: Daemon, job: str, status: grpc.StatusCode, name: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await explain(daemon, job)
    assert refused.value.code() is status
    assert ("claraedge-error", name) in tuple(refused.value.trailing_metadata() or ())
