"""Commands for ROS bags, against a service that answers what a test sets."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from claraedge.wire.claraedge.v1 import bags_pb2 as pb
from claraedge.wire.claraedge.v1 import bags_pb2_grpc

JOB = "bagjob-" + "a" * 24


class BagStand(bags_pb2_grpc.BagsServicer):
    """One job with one bag; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def StartJob(self, request: Any, context: Any) -> pb.BagJob:  # noqa: N802
        return self._job(request, pb.BAG_JOB_STATUS_STARTING)

    def StopJob(self, request: Any, context: Any) -> pb.BagJob:  # noqa: N802
        return self._job(request, pb.BAG_JOB_STATUS_STOPPING)

    def GetJob(self, request: Any, context: Any) -> pb.BagJob:  # noqa: N802
        if not JOB.startswith(request.job):
            context.abort(grpc.StatusCode.NOT_FOUND, "no bag job has this id; list them")
        return self._job(request, pb.BAG_JOB_STATUS_RUNNING)

    def ListJobs(self, request: Any, context: Any) -> pb.ListBagJobsResponse:  # noqa: N802
        return pb.ListBagJobsResponse(jobs=[self._job(request, pb.BAG_JOB_STATUS_RUNNING)])

    def List(self, request: Any, context: Any) -> pb.ListBagsResponse:  # noqa: N802
        self.asked.append(request)
        bag = pb.Bag(
            id="bag-b", job_id=JOB, name="a.bag", status=pb.BAG_STATUS_UPLOADED, size=5, messages=3
        )
        return pb.ListBagsResponse(bags=[bag])

    def _job(self, request: Any, status: pb.BagJobStatus.ValueType) -> pb.BagJob:
        self.asked.append(request)
        return pb.BagJob(
            id=JOB, name="drive", deployment_name="robot", component_name="main", status=status
        )


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Iterator[BagStand]:
    stand, server = BagStand(), grpc.server(ThreadPoolExecutor(2))
    bags_pb2_grpc.add_BagsServicer_to_server(stand, server)
    with tempfile.TemporaryDirectory(prefix="ce-") as folder:
        target = f"unix:{Path(folder, 's')}"
        server.add_insecure_port(target)
        server.start()
        monkeypatch.setenv("CLARAEDGE_HOST", target)
        yield stand
        server.stop(0).wait()


def test_a_recording_is_started_with_topics_or_all(stand: BagStand, claraedge: Any) -> None:
    answer = claraedge(
        "start", "bag-job", "robot", "-n", "drive", "--component", "main", "--topic", "/a",
        "--topic", "/b",
    )  # fmt: skip
    assert (answer.code, answer.out) == (0, f"BAG_JOB_ID: {JOB}\nSTATUS: STARTING\n"), answer.err
    assert claraedge("start", "bag-job", "robot", "-n", "drive").code == 0
    named, all_topics = (request.job.record for request in stand.asked)
    assert (list(named.topics), named.all_topics) == (["/a", "/b"], False)
    assert (list(all_topics.topics), all_topics.all_topics) == ([], True)
    assert stand.asked[0].component == "main"


def test_jobs_are_ended_if_all_ids_are_right(stand: BagStand, claraedge: Any) -> None:
    wrong = claraedge("cancel", "bag-job", "bagjob-a", "bagjob-x")
    assert (wrong.code, wrong.out) == (1, "")
    assert not any(isinstance(asked, pb.StopBagJobRequest) for asked in stand.asked)
    answer = claraedge("cancel", "bag-job", "bagjob-a", JOB)
    assert (answer.code, answer.out) == (0, f"BAG_JOB_ID: {JOB}\nSTATUS: STOPPING\n"), answer.err


def test_jobs_and_bags_are_listed(stand: BagStand, claraedge: Any) -> None:
    jobs = claraedge("list", "bag-jobs", "--deployment", "robot")
    assert jobs.out.split()[-6:] == ["drive", JOB, "robot", "main", "RUNNING", "-"]
    assert stand.asked[-1].deployment == "robot"
    bags = claraedge("list", "bags", "--job", JOB)
    assert bags.out.split()[-6:] == ["a.bag", "bag-b", "UPLOADED", "5", "3", "-"]
    assert stand.asked[-1].job == JOB
    assert claraedge("list", "bags", "-q").out == "bag-b\n"
    (found,) = json.loads(claraedge("list", "bags", "--output", "json").out)["bags"]
    assert (found["messages"], found["started"]) == (3, None)
