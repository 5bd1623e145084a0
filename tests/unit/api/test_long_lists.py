"""Lists of many rows: all of them, in order, and in memory no more than a page."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest

from claraedge.store import pages
from claraedge.wire.nvidia.clara.platform import jobs_pb2, models_pb2, pipelines_pb2
from claraedge.wire.nvidia.clara.platform.models_pb2_grpc import ModelsStub
from tests.unit.api.conftest import Daemon, an_id, messages

TEXT = """
api-version: 0.4.0
name: {}
operators:
- name: only
  container: {{image: copy, tag: '1'}}
  input: [{{path: /in}}]
  output: [{{path: /out}}]
"""
#: Metadata of a job: more than a page of a list has room for.
LARGE = {f"key-{number}": "x" * 256 for number in range(1000)}


async def test_a_list_that_its_client_reads_slowly_keeps_a_page_of_jobs(daemon: Daemon) -> None:
    """4.6 MiB of memory for each job with the metadata that it may have, and all jobs at once."""
    pipeline = await daemon.register(TEXT.format("p"))
    made = [(await daemon.create(pipeline, metadata=LARGE)).job_id.value for _ in range(40)]
    tracemalloc.start()
    try:
        calls = [aiter(daemon.jobs.List(jobs_pb2.JobsListRequest())) for _ in range(8)]
        firsts = [await anext(call) for call in calls]
        gc.collect()
        alive, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {first.job_details.job_id.value for first in firsts} == {made[0]}
    size = firsts[0].ByteSize()
    assert alive <= 2 * len(calls) * size, "a job a page, and the next one"
    another = await daemon.create(pipeline)  # neither reads nor writes wait for the lists
    assert (await daemon.status(another.job_id.value)).header.code == 0
    for call in calls:
        rest = [message.job_details.job_id.value async for message in call]
        assert rest[: len(made) - 1] == made[1:]
        assert rest[len(made) - 1 :] in ([], [another.job_id.value])


@pytest.mark.parametrize("rows", [1, 2, 500])
async def test_every_list_has_all_in_the_order_of_their_making(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(pages, "_ROWS", rows)
    models: Any = ModelsStub(daemon.channel)  # type: ignore[no-untyped-call]
    pipelines = [await daemon.register(TEXT.format(f"p{number}")) for number in range(5)]
    jobs = [(await daemon.create(pipelines[0])).job_id.value for _ in range(5)]
    catalogs = [
        (await models.CreateCatalog(models_pb2.ModelsCreateCatalogRequest())).catalog_id.value
        for _ in range(5)
    ]
    listed = await messages(daemon.pipelines.List(pipelines_pb2.PipelinesListRequest()))
    assert [message.details.pipeline_id.value for message in listed] == pipelines
    listed = await messages(models.ListCatalogs(models_pb2.ModelsListCatalogsRequest()))
    assert [message.catalogs[0].catalog_id.value for message in listed] == catalogs
    listed = await messages(daemon.jobs.List(jobs_pb2.JobsListRequest()))
    assert [message.job_details.job_id.value for message in listed] == jobs

    await asyncio.gather(*(daemon.start(job) for job in jobs[1:3]))
    for job in jobs[1:3]:
        await daemon.end(job)
    listed = await messages(daemon.jobs.List(jobs_pb2.JobsListRequest()))
    assert [message.job_details.job_id.value for message in listed] == [jobs[0], *jobs[3:]]
    stopped = jobs_pb2.JobsListRequest.JobFilter(has_state=[jobs_pb2.JOB_STATE_STOPPED])
    listed = await messages(daemon.jobs.List(jobs_pb2.JobsListRequest(filter=stopped)))
    assert [message.job_details.job_id.value for message in listed] == jobs[1:3]
    of_none = jobs_pb2.JobsListRequest.JobFilter(pipeline_id=[an_id(pipelines[4])])
    (only,) = await messages(daemon.jobs.List(jobs_pb2.JobsListRequest(filter=of_none)))
    assert (only.header.code, only.HasField("job_details")) == (0, False)
