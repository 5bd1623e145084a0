"""A client that goes, or whose deadline passes, stops the work at once, and nothing is left."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from claraedge.wire.claraedge.v1 import appliance_pb2, events_pb2
from claraedge.wire.claraedge.v1.appliance_pb2_grpc import ImagesStub
from claraedge.wire.claraedge.v1.events_pb2_grpc import EventsStub
from claraedge.wire.nvidia.clara.platform import (
    clara_pb2,
    common_pb2,
    jobs_pb2,
    models_pb2,
    payloads_pb2,
    pipelines_pb2,
)
from claraedge.wire.nvidia.clara.platform.clara_pb2_grpc import ClaraStub
from claraedge.wire.nvidia.clara.platform.jobs_pb2_grpc import JobsStub
from claraedge.wire.nvidia.clara.platform.models_pb2_grpc import ModelsStub
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub
from claraedge.wire.nvidia.clara.platform.pipelines_pb2_grpc import PipelinesStub
from tests.campaign import CAMPAIGN
from tests.rig.waiting import until
from tests.robustness.site import MIB, Site, site

#: Seconds from the client's word to the end of the work; and until nothing of it is left.
AT_ONCE, GONE = 0.1, 1.0
ROUNDS = 9 if CAMPAIGN else 3
GRACE = 1.0
STATE, STATUS = jobs_pb2.JobState, jobs_pb2.JobStatus


@dataclass
class Client:
    """A client of one daemon, and what it has open."""

    site: Site
    channel: grpc.Channel
    ended: threading.Event = field(default_factory=threading.Event)

    def feed(self, messages: Iterable[Any]) -> Iterator[Any]:
        """A stream that stays open after these."""
        yield from messages
        self.ended.wait()

    def payload(self) -> common_pb2.Identifier:
        created = PayloadsStub(self.channel).Create(payloads_pb2.PayloadsCreateRequest())
        assert created.header.code == 0
        return created.payload_id

    def upload(self, payload: common_pb2.Identifier, name: str, size: int) -> None:
        answer = PayloadsStub(self.channel).Upload(
            chunk(payload, name, bytes(MIB)) for _ in range(size // MIB)
        )
        assert answer.header.code == 0

    def files(self, payload: common_pb2.Identifier) -> list[str]:
        request = payloads_pb2.PayloadsDetailsRequest(payload_id=payload)
        return [m.file.name for m in PayloadsStub(self.channel).Details(request) if m.file.name]

    def job(self, image: str) -> common_pb2.Identifier:
        """A job that was started."""
        created = PipelinesStub(self.channel).Create(
            iter([pipelines_pb2.PipelinesCreateRequest(definition=definition(image))])
        )
        assert created.header.code == 0, created.header.messages
        jobs = JobsStub(self.channel)
        request = jobs_pb2.JobsCreateRequest(name="job", pipeline_id=created.pipeline_id)
        job = jobs.Create(request).job_id
        assert jobs.Start(jobs_pb2.JobsStartRequest(job_id=job)).header.code == 0
        return job

    def status(self, job: common_pb2.Identifier) -> jobs_pb2.JobsStatusResponse:
        return JobsStub(self.channel).Status(jobs_pb2.JobsStatusRequest(job_id=job))

    def stopped(self, job: common_pb2.Identifier) -> bool:
        return self.status(job).state == STATE.JOB_STATE_STOPPED


@pytest.fixture(scope="module")
def daemon() -> Iterator[Site]:
    with site(f"[engine]\ngrace_seconds = {GRACE}\n") as served:
        yield served
        served.check_log()


@pytest.fixture
def client(daemon: Site) -> Iterator[Client]:
    with daemon.channel() as channel:
        connected = Client(daemon, channel)
        yield connected
        connected.ended.set()


def definition(image: str) -> pipelines_pb2.PipelineDefinitionFile:
    text = f"""
api-version: 0.4.0
name: {image}
operators:
- name: only
  container: {{image: {image}, tag: '1'}}
  input: [{{path: /in}}]
  output: [{{path: /out}}]
"""
    return pipelines_pb2.PipelineDefinitionFile(path="p.yaml", content=text)


def chunk(payload: common_pb2.Identifier, name: str, data: bytes) -> Any:
    return payloads_pb2.PayloadsUploadRequest(
        payload_id=payload, details=payloads_pb2.PayloadFileDetails(name=name), data=data
    )


def measure(
    client: Client, begin: Callable[[float | None], Any], ready: Callable[[Any], bool]
) -> None:
    """Begins the call, ends it in the middle by a cancel or by its deadline, and times its end."""
    site, figures = client.site, {"cancel": [], "deadline": []}
    for ending, taken in figures.items():
        for _ in range(ROUNDS):
            deadline = 1.0 if ending == "deadline" else None
            from_start = time.monotonic()
            call = begin(deadline)
            until("the call is in its middle", lambda c=call: ready(c))
            until("only that call is open", lambda: site.calls() == 1)
            if deadline is None:
                assert not call.done()
                moment = time.monotonic()
                call.cancel()
            else:
                moment = from_start + deadline
                until("the client gives up", call.done)
            until("the work has ended", lambda: site.calls() == 0, GONE)
            taken.append(max(0.0, time.monotonic() - moment))
            nothing_left(site, moment)
            expected = {"cancel": "CANCELLED", "deadline": "DEADLINE_EXCEEDED"}[ending]
            assert call.code().name == expected
    for ending, taken in figures.items():
        shown = " ".join(f"{seconds * 1000:.0f}" for seconds in sorted(taken))
        print(f"{ending}: {shown} ms")
        assert statistics.median(taken) <= AT_ONCE


def nothing_left(site: Site, moment: float) -> None:
    def clean() -> bool:
        return not site.temporary() and not site.open_files() and site.no_transaction()

    until("nothing of it is left", clean, max(0.01, moment + GONE - time.monotonic()))


# --- payloads ------------------------------------------------------------------------------------


def test_an_upload_of_several_files_in_its_middle(client: Client) -> None:
    payload = client.payload()
    client.upload(payload, "old", MIB)
    sent = [chunk(payload, name, b"x" * MIB) for name in ("old", "a", "b/c") for _ in range(3)]

    def begin(timeout: float | None) -> Any:
        return PayloadsStub(client.channel).Upload.future(client.feed(sent), timeout=timeout)

    def ready(_: Any) -> bool:
        return any(len(list(path.iterdir())) == 3 for path in uploads(client.site))

    measure(client, begin, ready)
    assert client.files(payload) == ["/old"]
    assert client.site.blobs(payload.value) == 1


def test_an_upload_in_the_middle_of_its_commit(client: Client) -> None:
    payload = client.payload()

    def begin(timeout: float | None) -> Any:
        many = (chunk(payload, f"file-{number}", b"x") for number in range(4000))
        return PayloadsStub(client.channel).Upload.future(many, timeout=timeout)

    figures = []
    for _ in range(ROUNDS):
        call = begin(None)
        until("the commit has begun", lambda: client.site.blobs(payload.value) > 20)
        moment = time.monotonic()
        call.cancel()
        until("the work has ended", lambda: client.site.calls() == 0, GONE)
        figures.append(time.monotonic() - moment)
        nothing_left(client.site, moment)
        assert client.site.blobs(payload.value) == 0
        assert client.files(payload) == []
    print("cancel:", " ".join(f"{seconds * 1000:.0f}" for seconds in sorted(figures)), "ms")
    assert statistics.median(figures) <= AT_ONCE


def test_a_download(client: Client) -> None:
    payload = client.payload()
    client.upload(payload, "large", 64 * MIB)
    request = payloads_pb2.PayloadsDownloadRequest(payload_id=payload, name="large")

    def begin(timeout: float | None) -> Any:
        call = PayloadsStub(client.channel).Download(request, timeout=timeout)
        assert next(call).header.code == 0
        return call

    measure(client, begin, lambda _: len(client.site.open_files()) == 1)


# --- jobs ----------------------------------------------------------------------------------------


def test_reading_a_large_log(client: Client) -> None:
    job = client.job("chatty")
    until("the job has ended", lambda: client.stopped(job), 30)
    request = jobs_pb2.JobsReadLogsRequest(job_id=job, operator_name="only")
    whole = sum(len(m.logs) for m in JobsStub(client.channel).ReadLogs(request))
    assert whole >= 400_000

    def begin(timeout: float | None) -> Any:
        call = JobsStub(client.channel).ReadLogs(request, timeout=timeout)
        assert next(call).header.code == 0
        return call

    measure(client, begin, lambda _: len(client.site.open_files()) == 1)


@pytest.mark.parametrize("ending", ["cancel", "deadline"])
def test_the_cancelling_of_a_job_goes_on(client: Client, ending: str) -> None:
    job = client.job("stubborn")
    site = client.site
    until("it runs", lambda: client.status(job).state == STATE.JOB_STATE_RUNNING)
    timeout = 0.4 if ending == "deadline" else None
    moment = time.monotonic() + (timeout or 0)
    request = jobs_pb2.JobsCancelRequest(job_id=job, reason="no more")
    call = JobsStub(client.channel).Cancel.future(request, timeout=timeout)
    until("the daemon works on it", lambda: site.calls() == 1)
    if timeout is None:
        moment = time.monotonic()
        call.cancel()
    until("the call has ended", lambda: site.calls() == 0, GONE)
    taken = time.monotonic() - moment
    print(f"{ending}: {taken * 1000:.0f} ms")
    assert taken <= AT_ONCE
    assert site.probe()["containers"] == 1  # it has its grace
    until("the job has ended", lambda: client.stopped(job), GRACE + 1)
    assert client.status(job).status == STATUS.JOB_STATUS_CANCELED
    until("its container is gone", lambda: site.probe()["containers"] == 0, GONE)
    nothing_left(site, time.monotonic())


# --- pipelines, models, images -------------------------------------------------------------------


def test_creating_a_pipeline(client: Client) -> None:
    listed = pipelines_pb2.PipelinesListRequest()
    before = sum(1 for _ in PipelinesStub(client.channel).List(listed))
    part = pipelines_pb2.PipelinesCreateRequest(definition=definition("hello"))
    asked = 0

    def begin(timeout: float | None) -> Any:
        nonlocal asked
        asked = 0

        def parts() -> Iterator[Any]:
            nonlocal asked
            for _ in range(2):
                yield part
                asked += 1  # for the next one: this one is sent
            client.ended.wait()

        return PipelinesStub(client.channel).Create.future(parts(), timeout=timeout)

    def ready(_: Any) -> bool:
        return asked == 2 and client.site.calls() == 1

    measure(client, begin, ready)
    assert sum(1 for _ in PipelinesStub(client.channel).List(listed)) == before


def test_a_model_on_its_way(client: Client) -> None:
    message = models_pb2.ModelsUploadModelRequest(data=bytes(2 * MIB))

    def begin(timeout: float | None) -> Any:
        stub = ModelsStub(client.channel)
        return stub.UploadModel.future(client.feed([message] * 4), timeout=timeout)

    measure(client, begin, lambda _: bool(client.site.temporary()))
    listed = ModelsStub(client.channel).ListModels(models_pb2.ModelsListModelsRequest())
    assert [model for part in listed for model in part.models] == []


@pytest.mark.parametrize("kind", ["sent", "loaded"])
def test_an_image_while_it_is(client: Client, kind: str) -> None:
    message = appliance_pb2.LoadRequest(data=b"hang" + bytes(2 * MIB))
    site = client.site

    def begin(timeout: float | None) -> Any:
        messages = client.feed([message]) if kind == "sent" else iter([message])
        return ImagesStub(client.channel).Load.future(messages, timeout=timeout)

    def ready(_: Any) -> bool:
        return bool(site.temporary()) and (kind == "sent" or site.probe()["loading"] == 1)

    measure(client, begin, ready)
    assert site.probe()["loading"] == 0


# --- watches -------------------------------------------------------------------------------------


def test_watching_events(client: Client) -> None:
    def begin(timeout: float | None) -> Any:
        follow = events_pb2.WatchRequest(follow=events_pb2.Follow(all_jobs=True, pipelines=True))
        call = EventsStub(client.channel).Watch(client.feed([follow]), timeout=timeout)
        for message in call:
            if message.HasField("caught_up"):
                return call
        raise AssertionError("the watch ended by itself")

    measure(client, begin, lambda _: True)


def test_watching_utilization(client: Client) -> None:
    def begin(timeout: float | None) -> Any:
        request = clara_pb2.ClaraUtilizationRequest(watch=True)
        call = ClaraStub(client.channel).Utilization(request, timeout=timeout)
        assert next(call).header.code == 0
        return call

    measure(client, begin, lambda _: True)


def uploads(site: Site) -> list[Any]:
    return [path for path in (site.state / "uploads").iterdir() if path.is_dir()]
