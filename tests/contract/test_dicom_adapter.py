"""The calls of the original DICOM adapter (0.8.1), each sent twice, as after a lost answer.

The adapter makes a job, adds the DICOM tags as metadata, uploads the instances over four streams
and starts the job. Every call is made again where its answer was lost, and the whole of it up to
three times, minutes apart; a second Create leaves a job behind that nobody starts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest

from claraedge.wire.nvidia.clara.platform import (
    common_pb2,
    jobs_pb2,
    jobs_pb2_grpc,
    payloads_pb2,
    payloads_pb2_grpc,
    pipelines_pb2,
    pipelines_pb2_grpc,
)
from tests.contract.conftest import GpuSite
from tests.integration.daemon.conftest import IMAGE
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.podman, pytest.mark.timeout(120)]

UNSTARTED_AFTER = 6.0
SETTINGS = f"[jobs]\nunstarted_after_hours = {UNSTARTED_AFTER / 3600}\n"

#: Fails if it runs twice on one input, or without all of it.
DEFINITION = f"""\
api-version: 0.4.0
name: sort
operators:
- name: sort
  container:
    image: {IMAGE}
    tag: "1"
    command: [sh, -c, "cd /in && test $(ls | wc -l) = 4 && sha256sum *.dcm >/out/sums && echo ran"]
  input: [{{path: /in}}]
  output: [{{path: /out}}]
"""
CHUNK = 1024 * 1024

HEADER = common_pb2.RequestHeader(
    api_version=common_pb2.Version(minor=6), user_agent="Nvidia.Clara.Platform"
)


class Adapter:
    """The adapter's side: its calls by the wire's own messages."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.jobs: Any = jobs_pb2_grpc.JobsStub(channel)
        self.payloads: Any = payloads_pb2_grpc.PayloadsStub(channel)
        self.pipelines: Any = pipelines_pb2_grpc.PipelinesStub(channel)

    async def register(self) -> common_pb2.Identifier:
        definition = pipelines_pb2.PipelineDefinitionFile(path="sort.yaml", content=DEFINITION)
        made = await self.pipelines.Create(
            iter([pipelines_pb2.PipelinesCreateRequest(header=HEADER, definition=definition)])
        )
        return accepted(made).pipeline_id

    async def create(self, pipeline: common_pb2.Identifier) -> jobs_pb2.JobsCreateResponse:
        return accepted(
            await self.jobs.Create(
                jobs_pb2.JobsCreateRequest(
                    header=HEADER,
                    pipeline_id=pipeline,
                    name="mybrain-20260101120000",
                    priority=jobs_pb2.JOB_PRIORITY_NORMAL,
                    metadata={"Source": "PACS1 (AE Title Job Processor)"},
                )
            )
        )

    async def upload(
        self, payload: common_pb2.Identifier, name: str, content: bytes
    ) -> payloads_pb2.PayloadsUploadResponse:
        def parts() -> Iterator[payloads_pb2.PayloadsUploadRequest]:
            for at in range(0, len(content), CHUNK):
                part = content[at : at + CHUNK]
                details = payloads_pb2.PayloadFileDetails(name=name, size=len(part))
                yield payloads_pb2.PayloadsUploadRequest(
                    header=HEADER, payload_id=payload, details=details, data=part
                )

        return accepted(await self.payloads.Upload(parts()))

    async def status(self, job: common_pb2.Identifier) -> jobs_pb2.JobsStatusResponse:
        return accepted(
            await self.jobs.Status(jobs_pb2.JobsStatusRequest(header=HEADER, job_id=job))
        )

    async def listed(self, pipeline: common_pb2.Identifier) -> dict[str, tuple[int, int]]:
        """State and status of every job of the pipeline, by its id."""
        wanted = jobs_pb2.JobsListRequest.JobFilter(pipeline_id=[pipeline])
        call = self.jobs.List(jobs_pb2.JobsListRequest(header=HEADER, filter=wanted))
        return {
            answer.job_details.job_id.value: (answer.job_details.state, answer.job_details.status)
            async for answer in call
            if answer.job_details.job_id.value
        }


def accepted(answer: Any) -> Any:
    assert answer.header.code >= 0, list(answer.header.messages)
    return answer


async def twice(call: Callable[[], Any]) -> Any:
    first = accepted(await call())
    second = accepted(await call())
    assert second == first, "the answer to the repeated call is another one"
    return second


@pytest.fixture
async def adapter(site: GpuSite) -> AsyncIterator[Adapter]:
    async with grpc.aio.insecure_channel(site.targets["tcp"]) as channel:
        yield Adapter(channel)


async def test_the_flow_with_every_call_twice_makes_one_healthy_job(adapter: Adapter) -> None:
    pipeline = await adapter.register()
    lost = await adapter.create(pipeline)
    made = await adapter.create(pipeline)
    assert lost.job_id.value != made.job_id.value
    assert len(await adapter.listed(pipeline)) == 2
    job, payload = made.job_id, made.payload_id

    tags = {"Instances": "4", "00100010": "Ü" * 256, "0020000D": "1.2.840.1", "0020000E-0": "1.2"}
    metadata = jobs_pb2.JobsAddMetadataRequest(job_id=job, metadata=tags)
    added = await twice(lambda: adapter.jobs.AddMetadata(metadata))
    assert dict(added.metadata) == tags | {"Source": "PACS1 (AE Title Job Processor)"}

    files = {f"1.2.840.{n}.dcm": os.urandom(3 * CHUNK + n) for n in range(4)}

    async def send(name: str, content: bytes) -> None:
        stored = await twice(lambda: adapter.upload(payload, name, content))
        assert stored.details.size == len(content)

    await asyncio.gather(*(send(*file) for file in files.items()))

    start = jobs_pb2.JobsStartRequest(header=HEADER, job_id=job)
    for _ in range(2):
        started = accepted(await adapter.jobs.Start(start))
        assert started.status == jobs_pb2.JOB_STATUS_HEALTHY

    async def stopped() -> bool:
        return (await adapter.status(job)).state == jobs_pb2.JOB_STATE_STOPPED

    await eventually(stopped, "the job has stopped")
    await asyncio.sleep(2)  # the adapter's own pause before it sends a call again
    again = accepted(await adapter.jobs.Start(start))
    assert (again.state, again.status) == (
        jobs_pb2.JOB_STATE_STOPPED, jobs_pb2.JOB_STATUS_HEALTHY,
    )  # fmt: skip

    status = await twice(lambda: adapter.status(job))
    assert (status.status, list(status.messages)) == (jobs_pb2.JOB_STATUS_HEALTHY, [])
    logs = [
        line
        async for answer in adapter.jobs.ReadLogs(
            jobs_pb2.JobsReadLogsRequest(header=HEADER, job_id=job, operator_name="sort")
        )
        for line in answer.logs
    ]
    assert logs == ["ran\n"], "it ran once"
    for name, content in files.items():
        assert await download(adapter, payload, f"/input/{name}") == content

    async def alone() -> bool:
        return set(await adapter.listed(pipeline)) == {job.value}

    await eventually(alone, "the unstarted job is removed", UNSTARTED_AFTER + 30)
    assert await adapter.listed(pipeline) == {
        job.value: (jobs_pb2.JOB_STATE_STOPPED, jobs_pb2.JOB_STATUS_HEALTHY)
    }
    gone = await adapter.jobs.Status(jobs_pb2.JobsStatusRequest(header=HEADER, job_id=lost.job_id))
    assert gone.header.code < 0
    assert await payload_code(adapter, lost.payload_id) < 0
    assert await payload_code(adapter, payload) == 0


async def download(adapter: Adapter, payload: common_pb2.Identifier, name: str) -> bytes:
    request = payloads_pb2.PayloadsDownloadRequest(header=HEADER, payload_id=payload, name=name)
    parts = [accepted(part).data async for part in adapter.payloads.Download(request)]
    return b"".join(parts)


async def payload_code(adapter: Adapter, payload: common_pb2.Identifier) -> int:
    request = payloads_pb2.PayloadsDetailsRequest(header=HEADER, payload_id=payload)
    codes = [answer.header.code async for answer in adapter.payloads.Details(request)]
    return int(codes[0])
