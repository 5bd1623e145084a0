"""`claraedge.v1.Bags`, over the socket; tests/unit/bags has what happens to a recording."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from claraedge.api.packages.bags import bag_job_definition
from claraedge.packages.bag_jobs import (
    BagCompression,
    BagJobDefinition,
    BagUpload,
    RecordOptions,
)
from claraedge.wire.claraedge.v1 import bags_pb2 as wire
from claraedge.wire.claraedge.v1 import bags_pb2_grpc
from tests.unit.api.conftest import Daemon

JOB, BAG = "bagjob-" + "a" * 24, "bag-" + "a" * 24


def stub(daemon: Daemon) -> Any:
    return bags_pb2_grpc.BagsStub(daemon.channel)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda s: s.GetJob(wire.GetBagJobRequest(job=JOB)), "bag-job-not-found"),
        (lambda s: s.GetJob(wire.GetBagJobRequest()), "bag-job-not-found"),
        (lambda s: s.StopJob(wire.StopBagJobRequest(job="bagjob-\0")), "bag-job-not-found"),
        (lambda s: s.UpdateJob(wire.UpdateBagJobRequest(job=JOB)), "bag-job-not-found"),
        (lambda s: s.ListJobs(wire.ListBagJobsRequest(deployment="x")), "deployment-not-found"),
        (lambda s: s.StartJob(wire.StartBagJobRequest(deployment="x")), "deployment-not-found"),
        (lambda s: s.StartJob(wire.StartBagJobRequest()), "deployment-not-found"),
        (lambda s: s.List(wire.ListBagsRequest(job=JOB)), "bag-job-not-found"),
        (lambda s: s.List(wire.ListBagsRequest(deployment="x")), "deployment-not-found"),
        (lambda s: s.Get(wire.GetBagRequest(bag=BAG)), "bag-not-found"),
        (lambda s: s.Delete(wire.DeleteBagRequest(bag="bag-b")), "bag-not-found"),
    ],
)
async def test_what_does_not_exist_is_not_found(
    daemon: Daemon, call: Callable[[Any], Awaitable[Any]], name: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(stub(daemon))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    assert dict(error.value.trailing_metadata() or ())["claraedge-error"] == name
    assert error.value.details()


async def test_lists_are_empty_at_first(daemon: Daemon) -> None:
    assert not (await stub(daemon).ListJobs(wire.ListBagJobsRequest())).jobs
    assert not (await stub(daemon).List(wire.ListBagsRequest(statuses=[3, 4]))).bags


def test_each_option_of_a_definition_arrives() -> None:
    message = wire.BagJobDefinition(
        name="drive",
        record=wire.RecordOptions(
            all_topics=True,
            topics=["/a"],
            include=["/b.*"],
            exclude="/c",
            exclude_topics=["/d"],
            node="/n",
            max_messages=1,
            compression=wire.BAG_COMPRESSION_BZ2,
            split_size=2,
            split_minutes=3,
            max_splits=4,
            chunk_size=5,
        ),
        upload=wire.BAG_UPLOAD_ON_DEMAND,
        executable="run",
    )
    assert len(message.record.ListFields()) == len(wire.RecordOptions.DESCRIPTOR.fields)
    assert bag_job_definition(message) == BagJobDefinition(
        name="drive",
        record=RecordOptions(
            all_topics=True,
            topics=("/a",),
            include=("/b.*",),
            exclude="/c",
            exclude_topics=("/d",),
            node="/n",
            max_messages=1,
            compression=BagCompression.BZ2,
            split_size=2,
            split_minutes=3,
            max_splits=4,
            chunk_size=5,
        ),
        upload=BagUpload.ON_DEMAND,
        executable="run",
    )
