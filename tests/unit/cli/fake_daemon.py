"""A daemon's face without a daemon: fake services behind a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf.timestamp_pb2 import Timestamp as UnixTimestamp

from claraedge.formats.filenames import TABLE
from claraedge.wire.claraedge.v1 import (
    appliance_pb2,
    appliance_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    logs_pb2,
    logs_pb2_grpc,
    pipeline_files_pb2,
    pipeline_files_pb2_grpc,
)
from claraedge.wire.nvidia.clara.platform import (
    clara_pb2,
    clara_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    payloads_pb2,
    payloads_pb2_grpc,
    pipelines_pb2,
    pipelines_pb2_grpc,
)
from claraedge.wire.nvidia.clara.platform.common_pb2 import (
    Identifier,
    ResponseHeader,
    Timestamp,
    Version,
)

YEAR_ONE = 62135596800
NOON = 1767268800  # 2026-01-01T12:00:00Z

PIPELINE_A = "aa11" + "0" * 28
PIPELINE_A_NEWER = "aa22" + "0" * 28
PIPELINE_B = "bb33" + "0" * 28
JOB_1 = "c1" + "0" * 30
JOB_2 = "c2" + "0" * 30
PAYLOAD_1 = "d1" + "0" * 30
PAYLOAD_2 = "d2" + "0" * 30
REUSABLE = "e1" + "0" * 30


def stamp(unix: int) -> Timestamp:
    return Timestamp(value=unix + YEAR_ONE)


def refusal(code: int, *messages: str) -> ResponseHeader:
    return ResponseHeader(code=code, messages=messages)


@dataclass
class Fakes:
    """What the platform's services were asked, and what they have to answer."""

    asked: list[object] = field(default_factory=list)
    header: ResponseHeader = field(default_factory=ResponseHeader)
    """Of the methods that a test makes fail."""
    upload_header: ResponseHeader = field(default_factory=ResponseHeader)
    statuses: list[jobs_pb2.JobsStatusResponse] = field(default_factory=list)
    """Successive answers of Jobs.Status for JOB_1; the last one stays."""
    waits: list[appliance_pb2.Wait] = field(default_factory=list)
    """What JOB_1 waits for."""
    explains: bool = True
    """False: a daemon of before that call."""
    pipeline_files: list[pipeline_files_pb2.PipelineFile] | None = None
    """What lies in pipelines.d; None: a platform that has no such folder."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Of PAYLOAD_1."""
    dropped_again: int = 0
    """So many more items, all failed, are called again.dcm."""
    uploaded: dict[str, bytes] = field(default_factory=dict)
    upload_breaks: bool = False
    """The test is about an upload that the client must break off."""
    upload_broken: threading.Event = field(default_factory=threading.Event)

    def clara_version(self, request):
        self.asked.append(request)
        return clara_pb2.ClaraVersionResponse(version=Version(minor=8, patch=1))

    def jobs_create(self, request):
        self.asked.append(request)
        return jobs_pb2.JobsCreateResponse(
            header=self.header,
            job_id=Identifier(value=JOB_1),
            payload_id=Identifier(value=PAYLOAD_1),
        )

    def jobs_start(self, request):
        self.asked.append(request)
        return jobs_pb2.JobsStartResponse(header=self.header, state=1, status=1, priority=2)

    def jobs_cancel(self, request):
        self.asked.append(request)
        return jobs_pb2.JobsCancelResponse(job_id=request.job_id, job_state=3, job_status=3)

    def jobs_status(self, request):
        self.asked.append(request)
        if request.job_id.value != JOB_1:
            text = f"no job has the id {request.job_id.value}"
            return jobs_pb2.JobsStatusResponse(header=refusal(-0x2001, text))
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def jobs_list(self, request):
        self.asked.append(request)
        for job, payload, name, state in (
            (JOB_1, PAYLOAD_1, "first", 3),
            (JOB_2, PAYLOAD_2, "second", 2),
        ):
            yield jobs_pb2.JobsListResponse(
                job_details=jobs_pb2.JobsListResponse.JobDetails(
                    job_id=Identifier(value=job),
                    payload_id=Identifier(value=payload),
                    pipeline_id=Identifier(value=PIPELINE_B),
                    job_name=name,
                    state=state,
                    status=1,
                    priority=2,
                    created=stamp(NOON),
                    metadata={"Source": "test"},
                )
            )

    def jobs_read_logs(self, request):
        self.asked.append(request)
        if request.operator_name != "convert":
            yield jobs_pb2.JobsReadLogsResponse(header=refusal(-0x2102, "no such operator"))
            return
        yield jobs_pb2.JobsReadLogsResponse(logs=["one\n", "two\n"])
        yield jobs_pb2.JobsReadLogsResponse(logs=["last"])

    def pipelines_create(self, requests):
        files: dict[str, str] = {}
        for request in requests:
            path = request.definition.path
            files[path] = files.get(path, "") + request.definition.content
        self.asked.append(files)
        return pipelines_pb2.PipelinesCreateResponse(
            header=self.header, pipeline_id=Identifier(value=PIPELINE_A)
        )

    def pipelines_list(self, request):
        self.asked.append(request)
        for id_, name in ((PIPELINE_A, "ct"), (PIPELINE_B, "Report"), (PIPELINE_A_NEWER, "CT")):
            yield pipelines_pb2.PipelinesListResponse(
                details=pipelines_pb2.PipelinesListResponse.PipelineDetails(
                    pipeline_id=Identifier(value=id_), name=name
                )
            )

    def pipelines_details(self, request):
        self.asked.append(request)
        node = pipelines_pb2.PipelinesDetailsResponse.PipelineDagNode
        end = node(name="report")
        yield pipelines_pb2.PipelinesDetailsResponse(
            pipeline_id=request.pipeline_id,
            name="ct",
            definition=pipelines_pb2.PipelineDefinitionFile(
                path="ct.yaml",
                content="api-version: 0.4.0\nname: ct\ncolour: red\noperators:\n"
                "- {name: report, container: {image: report}}\n",
            ),
            dag=[node(name="image", next=[end]), node(name="tags", next=[end])],
        )

    def payloads_details(self, request):
        self.asked.append(request)
        for name, content in self.files.items():
            yield payloads_pb2.PayloadsDetailsResponse(
                payload_id=request.payload_id,
                file=payloads_pb2.PayloadFileDetails(name=name, size=len(content), mode=0o644),
            )
        if not self.files:
            yield payloads_pb2.PayloadsDetailsResponse(payload_id=request.payload_id)

    def payloads_download(self, request):
        self.asked.append(request)
        content = self.files[request.name]
        for start in range(0, max(len(content), 1), 1000):
            yield payloads_pb2.PayloadsDownloadResponse(data=content[start : start + 1000])

    def payloads_upload(self, requests, context):
        broken = threading.Event()
        context.add_callback(broken.set)  # the call has ended; before our answer: by the client
        taken: dict[str, bytes] = {}
        try:
            for request in requests:
                assert request.ByteSize() < 3.9 * 2**20
                name = request.details.name
                taken[name] = taken.get(name, b"") + request.data
                self.asked.append((request.payload_id.value, name, request.details.mode))
        except grpc.RpcError:
            self.upload_broken.set()
            raise
        # grpc often shows a call that the client has cancelled as a stream that has ended.
        if self.upload_breaks and broken.wait(30):
            self.upload_broken.set()
        elif self.upload_header.code >= 0:
            self.uploaded.update(taken)
        return payloads_pb2.PayloadsUploadResponse(header=self.upload_header)


class Clara(clara_pb2_grpc.ClaraServicer):
    def __init__(self, fakes: Fakes) -> None:
        self.Version = lambda request, context: fakes.clara_version(request)


class Jobs(jobs_pb2_grpc.JobsServicer):
    def __init__(self, fakes: Fakes) -> None:
        self.Create = lambda request, context: fakes.jobs_create(request)
        self.Start = lambda request, context: fakes.jobs_start(request)
        self.Cancel = lambda request, context: fakes.jobs_cancel(request)
        self.Status = lambda request, context: fakes.jobs_status(request)
        self.List = lambda request, context: fakes.jobs_list(request)
        self.ReadLogs = lambda request, context: fakes.jobs_read_logs(request)


class Pipelines(pipelines_pb2_grpc.PipelinesServicer):
    def __init__(self, fakes: Fakes) -> None:
        self.Create = lambda requests, context: fakes.pipelines_create(requests)
        self.List = lambda request, context: fakes.pipelines_list(request)
        self.Details = lambda request, context: fakes.pipelines_details(request)


class Payloads(payloads_pb2_grpc.PayloadsServicer):
    def __init__(self, fakes: Fakes) -> None:
        self.Details = lambda request, context: fakes.payloads_details(request)
        self.Download = lambda request, context: fakes.payloads_download(request)
        self.Upload = lambda requests, context: fakes.payloads_upload(requests, context)


IMAGE = appliance_pb2.Image(
    id="f" * 64,
    names=["localhost/dcmtk:1"],
    size=3 * 2**20,
    created=UnixTimestamp(seconds=NOON),
)


class Images(appliance_pb2_grpc.ImagesServicer):
    def __init__(self) -> None:
        self.loaded = b""
        self.removed: list[str] = []
        self.warnings: list[str] = []

    def Load(self, request_iterator, context):  # noqa: N802
        self.loaded = b"".join(request.data for request in request_iterator)
        if not self.loaded.startswith(b"tar"):
            context.set_trailing_metadata((("claraedge-error", "invalid-image"),))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the archive holds no image")
        return appliance_pb2.LoadResponse(images=[IMAGE])

    def List(self, request, context):  # noqa: N802
        return appliance_pb2.ListImagesResponse(images=[IMAGE], warnings=self.warnings)

    def Remove(self, request, context):  # noqa: N802
        self.removed.append(request.reference)
        return IMAGE


class Inbox(appliance_pb2_grpc.InboxServicer):
    def __init__(self, fakes: Fakes) -> None:
        self.fakes = fakes

    def List(self, request, context):  # noqa: N802
        items = [
            appliance_pb2.Item(
                id="1" * 32, name="a.dcm", folder="/inbox/ct", pipeline="ct", job_id=JOB_1,
                state=appliance_pb2.ITEM_STATE_DELIVERED, result_path="/outbox/ct/a.dcm-c1000000",
                first_seen=UnixTimestamp(seconds=NOON, nanos=250_000_000),
                removed=UnixTimestamp(seconds=NOON), original_path="/originals/ct/a.dcm-c1000000",
                members=["1.dcm"], members_left_out=2,
            ),
            appliance_pb2.Item(
                id="2" * 32, name="b.dcm", folder="/inbox/x", pipeline="x",
                state=appliance_pb2.ITEM_STATE_PARKED, reason="no such pipeline",
                remedy="claraedge create pipeline -p x.yaml",
            ),
        ]  # fmt: skip
        items += [
            appliance_pb2.Item(
                id=f"{number:032x}", name="again.dcm", folder="/inbox/ct", pipeline="ct",
                state=appliance_pb2.ITEM_STATE_FAILED,
            )
            for number in range(self.fakes.dropped_again)
        ]  # fmt: skip
        for item in items:
            if request.state in (0, item.state):
                yield appliance_pb2.ListItemsResponse(items=[item])

    def Get(self, request, context):  # noqa: N802
        for reply in self.List(appliance_pb2.ListItemsRequest(), context):
            if reply.items[0].id == request.id:
                return reply.items[0]
        return context.abort(grpc.StatusCode.NOT_FOUND, f"there is no item {request.id}")

    def Retry(self, request, context):  # noqa: N802
        item = self.Get(request, context)
        if item.state == appliance_pb2.ITEM_STATE_DELIVERED:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "there is nothing to try again")
        return item

    def Discard(self, request, context):  # noqa: N802
        item = self.Get(request, context)
        if item.state != appliance_pb2.ITEM_STATE_FAILED:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it did not fail")
        return item


class Queue(appliance_pb2_grpc.QueueServicer):
    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes

    def Explain(self, request, context):  # noqa: N802
        assert request.job_id == JOB_1
        return appliance_pb2.ExplainResponse(waits=self._fakes.waits)


class Logs(logs_pb2_grpc.LogsServicer):
    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes

    def ReadLog(self, request, context):  # noqa: N802
        self._fakes.asked.append(request)
        yield logs_pb2.ReadLogResponse(attempt=1, lines=["one\n", "half"])
        yield logs_pb2.ReadLogResponse(attempt=2, lines=["two\n"])


class PipelineFiles(pipeline_files_pb2_grpc.PipelineFilesServicer):
    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes

    def List(self, request, context):  # noqa: N802
        if self._fakes.pipeline_files is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such call")
        if not self._fakes.pipeline_files:
            yield pipeline_files_pb2.ListPipelineFilesResponse()
        for file in self._fakes.pipeline_files:
            yield pipeline_files_pb2.ListPipelineFilesResponse(file=file)


class Appliance(appliance_pb2_grpc.ApplianceServicer):
    def Names(self, request, context):  # noqa: N802
        patterns = [
            appliance_pb2.NamePattern(
                kind=f"NAME_KIND_{row.kind.name}",
                program=row.program,
                pattern=row.pattern,
                source=row.source,
                expression=row.expression,
            )
            for row in TABLE
        ]
        return appliance_pb2.NamesResponse(patterns=patterns)

    def Settings(self, request, context):  # noqa: N802
        file = appliance_pb2.SETTING_ORIGIN_FILE
        return appliance_pb2.SettingsResponse(
            file="/etc/c.toml",
            settings=[
                appliance_pb2.Setting(
                    name="state_dir", value='"/state"', origin=file, place="/etc/c.toml", line=3
                ),
                appliance_pb2.Setting(
                    section="log",
                    name="level",
                    value='"info"',
                    is_default=True,
                    origin=appliance_pb2.SETTING_ORIGIN_DEFAULT,
                    meaning="Least severe level.",
                ),
                appliance_pb2.Setting(
                    section="deployments",
                    name="variables",
                    secret=True,
                    origin=appliance_pb2.SETTING_ORIGIN_OPTION,
                ),
            ],
        )

    def Status(self, request, context):  # noqa: N802
        return appliance_pb2.StatusResponse(
            version="0.1.0",
            instance="box",
            started=UnixTimestamp(seconds=NOON),
            inbox_dir="/state/inbox",
            images_dir="/state/images.d",
            jobs_pending=2,
            jobs_running=1,
            warnings=["the disk is nearly full"],
            disks=[
                appliance_pb2.Disk(
                    name="the state folder /state",
                    free=3 << 30,
                    total=20 << 30,
                    soft_limit=4 << 30,
                    hard_limit=1 << 30,
                )
            ],
            removed=appliance_pb2.Removed(
                payloads=3, logs=2, jobs=1, size=5 << 20, last=UnixTimestamp(seconds=NOON)
            ),
        )


class Events(events_pb2_grpc.EventsServicer):
    """Says all the time that something changed: each query then gets the next of the statuses."""

    def Watch(self, requests, context):  # noqa: N802
        next(requests)
        yield events_pb2.WatchResponse(reset=events_pb2.Reset())
        yield events_pb2.WatchResponse(caught_up=events_pb2.CaughtUp())
        while context.is_active():
            time.sleep(0.01)
            yield events_pb2.WatchResponse(event=events_pb2.Event())


@dataclass
class Daemon:
    fakes: Fakes
    images: Images
    socket: Path
    stop: Callable[[], None]

    @property
    def asked(self) -> list[object]:
        return self.fakes.asked


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


def serve(target: str, fakes: Fakes, images: Images) -> grpc.Server:
    """A started server; the caller stops it."""
    server = grpc.server(ThreadPoolExecutor(4))
    clara_pb2_grpc.add_ClaraServicer_to_server(Clara(fakes), server)
    jobs_pb2_grpc.add_JobsServicer_to_server(Jobs(fakes), server)
    pipelines_pb2_grpc.add_PipelinesServicer_to_server(Pipelines(fakes), server)
    pipeline_files_pb2_grpc.add_PipelineFilesServicer_to_server(PipelineFiles(fakes), server)
    payloads_pb2_grpc.add_PayloadsServicer_to_server(Payloads(fakes), server)
    appliance_pb2_grpc.add_ImagesServicer_to_server(images, server)
    appliance_pb2_grpc.add_InboxServicer_to_server(Inbox(fakes), server)
    appliance_pb2_grpc.add_ApplianceServicer_to_server(Appliance(), server)
    if fakes.explains:
        appliance_pb2_grpc.add_QueueServicer_to_server(Queue(fakes), server)
    logs_pb2_grpc.add_LogsServicer_to_server(Logs(fakes), server)
    events_pb2_grpc.add_EventsServicer_to_server(Events(), server)
    server.add_insecure_port(target)
    server.start()
    return server
