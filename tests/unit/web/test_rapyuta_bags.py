"""ROS bags in the form of the SDK: requests, objects, and the signed paths of bags."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.decoding import decode_json
from claraedge.errors import BagNotFoundError, DeploymentNotFoundError, InvalidRequestError
from claraedge.web.http.failures import HttpError, refused
from claraedge.web.rapyuta import tickets
from claraedge.web.rapyuta.bags import BagRoutes
from claraedge.web.rapyuta.tickets import Tickets
from claraedge.web.rapyuta.values.bags import (
    PatchBody,
    StartBody,
    bag_object,
    definition,
    job_object,
    start_request,
    update_request,
)
from claraedge.wire.claraedge.v1 import bags_pb2 as wire
from claraedge.wire.claraedge.v1 import deployments_pb2

DEPLOYMENT = "dep-" + "a" * 24
BAG = "bag-" + "a" * 24
OTHER = "bag-" + "b" * 24
DEVICE = deployments_pb2.Device(id="device", project="project")


class FakeRequest:
    def __init__(self, host: str | None, *, caller: str = "", scheme: str = "http") -> None:
        self.headers = {} if host is None else {"host": host}
        self.caller = caller
        self.scheme = scheme


def url(made: Tickets, host: str | None, **more: str) -> str:
    return made.url(BAG, "a.bag", FakeRequest(host, **more))  # type: ignore[arg-type]


def test_the_url_is_at_the_host_of_the_request() -> None:
    made = Tickets("/run/claraedge/http.sock")
    unix = "http+unix://%2Frun%2Fclaraedge%2Fhttp.sock/rosbag-blobs/"
    assert url(made, "localhost").startswith(unix)
    assert url(made, None).startswith(unix)
    assert url(made, "box.example").startswith("http://box.example/rosbag-blobs/")
    tls = url(made, "127.0.0.1:30032", caller="127.0.0.1", scheme="https")
    assert tls.startswith(f"https://127.0.0.1:30032/rosbag-blobs/{BAG}/content/")
    assert tls.endswith("/a.bag")
    with pytest.raises(HttpError, match="no Host"):
        url(made, None, caller="127.0.0.1")


def test_a_ticket_is_for_one_bag_one_start_and_some_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Tickets("/s")
    ticket = url(made, "localhost").split("/")[-2]
    made.check(BAG, ticket)
    for bag, shown in (
        (OTHER, ticket),
        (BAG, ticket[:-1] + ("0" if ticket[-1] != "0" else "1")),
        (BAG, f"9{ticket}"),
        (BAG, ""),
        (BAG, "1-" + "é" * 64),
    ):
        with pytest.raises(HttpError, match="ask for another") as refused:
            made.check(bag, shown)
        assert refused.value.status == 403
    with pytest.raises(HttpError, match="since its start"):
        Tickets("/s").check(BAG, ticket)
    now = tickets.time.monotonic()
    monkeypatch.setattr(tickets.time, "monotonic", lambda: now + 601)
    with pytest.raises(HttpError, match="older than 600 s"):
        made.check(BAG, ticket)


def test_a_job_of_the_sdk_becomes_a_request_and_comes_back() -> None:
    record = {
        "topics": ["/a"],
        "topicIncludeRegex": ["/c.*"],
        "compression": "BZ2",
        "maxSplitSize": 3,
        "maxSplits": 2,
    }
    body = StartBody(
        name="drive",
        record_options=record,
        upload_options={"uploadType": "OnDemand", "maxUploadRate": 5, "purgeAfter": True},
        override_options={"excludeTopics": ["/b"]},
        component_instance_id="inst-x",
        deployment_id=DEPLOYMENT,
    )
    request = start_request(body, DEPLOYMENT)
    assert (request.deployment, request.component) == (DEPLOYMENT, "inst-x")
    job = wire.BagJob(
        id="j", definition=request.job, status=wire.BAG_JOB_STATUS_RUNNING, reason="why"
    )
    found: Any = job_object(job, DEVICE)
    assert found["status"] == "Running"
    assert found["errorMessage"] == "why"
    shown = found["recordOptions"]
    assert {name: shown[name] for name in record} == record
    assert shown["maxMessageCount"] is None
    assert found["overrideOptions"]["excludeTopics"] == ["/b"]
    assert found["uploadOptions"]["uploadType"] == "OnDemand"
    with pytest.raises(HttpError, match="the same id in both"):
        start_request(body, "dep-" + "b" * 24)


def test_a_patch_asks_for_bags() -> None:
    text = b'{"componentInstanceID":"i","uploadOptions":{"uploadType":"Continuous","onDemandOpts":{"timeRange":{"from":1,"to":99999999999999999999999}}}}'  # noqa: E501
    request = update_request(decode_json(text, PatchBody), "j")
    assert request.upload == wire.BAG_UPLOAD_CONTINUOUS
    assert (request.range.start, request.range.end) == (1, 2**62)
    nothing = update_request(decode_json(b'{"uploadOptions":{}}', PatchBody), "j")
    assert nothing.upload == wire.BAG_UPLOAD_UNKNOWN
    assert not nothing.HasField("range")


def test_a_bag_has_its_times_where_it_is_whole() -> None:
    bag = wire.Bag(id=BAG, name="a.bag", status=wire.BAG_STATUS_UPLOADED, size=5, messages=3)
    bag.started.FromSeconds(10)
    bag.ended.FromSeconds(14)
    found: Any = bag_object(bag, None, DEVICE)
    assert found["info"]["duration"] == 4
    assert found["info"]["messageCount"] == 3
    assert found["errorMessage"] is None
    partial = wire.Bag(id=BAG, status=wire.BAG_STATUS_ERROR, reason="run rosbag reindex")
    broken: Any = bag_object(partial, None, DEVICE)
    assert (broken["info"], broken["status"]) == (None, "Error")
    assert "reindex" in broken["errorMessage"]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(_VALUES, _VALUES)
def test_any_definition_is_a_message_or_is_refused(value: Any, record: Any) -> None:
    for given_ in (value, {"name": "j", "recordOptions": record}):
        failure = _failure(given_)
        assert failure is None or (failure.status == 400 and "jobs[0]" in str(failure))


def _failure(value: Any) -> HttpError | None:
    try:
        definition(value, "jobs[0]")
    except HttpError as failure:
        return failure
    return None


def _id(kind: str, letter: str) -> str:
    return f"{kind}-{letter * 24}"


class ManyBags:
    """The service of a device with more bags than one answer holds, and the conversation with it.

    Two deployments have two jobs each, and each job two bags.
    """

    def __init__(self, query: list[tuple[str, str]]) -> None:
        self.query = query
        self.path = "/rosbag-blobs"
        self.calls: list[str] = []
        self.answers: list[Any] = []
        self.jobs = [
            wire.BagJob(
                id=_id("bagjob", letter),
                deployment_id=_id("dep", "ab"[number // 2]),
                instance_id=f"inst-{letter}",
            )
            for number, letter in enumerate("abcd")
        ]
        self.bags_ = [
            wire.Bag(id=_id("bag", letter), job_id=self.jobs[number // 2].id, status=status)
            for number, letter in enumerate("abcdefgh")
            for status in [(wire.BAG_STATUS_UPLOADED, wire.BAG_STATUS_ERROR)[number % 2]]
        ]

    def for_request(self, _request: object, _reply: object) -> ManyBags:
        return self

    async def device(self) -> deployments_pb2.Device:
        return DEVICE

    async def answer(self, value: Any) -> None:
        self.answers.append(value)

    async def bags(self, method: str, message: Any, kind: type) -> Any:
        self.calls.append(method)
        if method in ("GetJob", "Get"):
            wanted = message.job if method == "GetJob" else message.bag
            for one in [*self.jobs, *self.bags_]:
                if one.id == wanted:
                    return one
            raise refused(BagNotFoundError(f"no {wanted}; list them"))
        deployments = {job.deployment_id for job in self.jobs}
        if message.deployment and message.deployment not in deployments:
            raise refused(DeploymentNotFoundError(f"no {message.deployment}; list them"))
        jobs = {
            job.id
            for job in self.jobs
            if message.deployment in ("", job.deployment_id)
            and (method == "ListJobs" or message.job in ("", job.id))
        }
        if len(jobs) == len(self.jobs):
            raise refused(InvalidRequestError("the bags are too large; select those of one job"))
        if method == "ListJobs":
            return kind(jobs=[job for job in self.jobs if job.id in jobs])
        statuses = message.statuses or [wire.BAG_STATUS_UPLOADED, wire.BAG_STATUS_ERROR]
        return kind(bags=[b for b in self.bags_ if b.job_id in jobs and b.status in statuses])


async def _listed(*query: tuple[str, str]) -> list[str]:
    """Returns the last letters of the bags that a query lists."""
    service = ManyBags(list(query))
    routes = BagRoutes(service, asyncio.Semaphore(), Tickets("/s"))  # type: ignore[arg-type]
    await routes._bags(service, service)  # type: ignore[arg-type]
    (answer,) = service.answers
    assert all(one["job"]["deploymentID"] for one in answer)
    return [one["guid"][-1] for one in answer]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ([("jobID", "bagjob-a")], "ab"),
        ([("jobID", "bagjob-c"), ("jobID", "bagjob-a"), ("jobID", "bagjob-c")], "efab"),
        ([("jobID", "bagjob-a"), ("jobID", "bagjob-x"), ("jobID", "")], "ab"),
        ([("jobID", "bagjob-a"), ("status", "Error")], "b"),
        ([("jobID", "bagjob-a"), ("deploymentID", "dep-b")], ""),
        ([("deploymentID", "dep-b")], "efgh"),
        ([("deploymentID", "dep-a"), ("componentInstanceID", "inst-b")], "cd"),
        ([("deploymentID", "dep-a"), ("guid", "bag-d")], "d"),
        ([("deploymentID", "dep-x"), ("deploymentID", "a name")], ""),
        ([("guid", "bag-h"), ("guid", "bag-x"), ("guid", "bag-a")], "ha"),
        ([("guid", "bag-h"), ("status", "Uploaded")], ""),
    ],
)
async def test_some_of_many_bags_are_listed(query: list[tuple[str, str]], found: str) -> None:
    whole = []
    for name, text in query:
        kind, dash, letter = text.partition("-")
        whole.append((name, _id(kind, letter) if dash and kind != "inst" else text))
    assert "".join(await _listed(*whole)) == found


async def test_all_of_too_many_bags_are_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(HttpError, match="one job"):
        await _listed()
    monkeypatch.setattr("claraedge.web.rapyuta.bags._LARGEST", 100)
    with pytest.raises(HttpError, match="name fewer jobs") as refusal:
        await _listed(*(("jobID", _id("bagjob", letter)) for letter in "abc"))
    assert refusal.value.status == 400
