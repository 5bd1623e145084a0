"""Every method of gRPC over HTTP: routes, messages, failures, streams, deadlines."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import h11
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format

from claraedge.web.rpc.methods import methods_of
from claraedge.wire.nvidia.clara.platform import clara_pb2, jobs_pb2, payloads_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.web.conftest import Client, Daemon

CLARA = "/nvidia.clara.platform.Clara"
JOBS = "/nvidia.clara.platform.Jobs"
PAYLOADS = "/nvidia.clara.platform.Payloads"
PIPELINES = "/nvidia.clara.platform.Pipelines"
EVENTS = "/claraedge.v1.Events"
SERVICES = [
    *(
        f"nvidia.clara.platform.{one}"
        for one in ("Clara", "Jobs", "Models", "Payloads", "Pipelines")
    ),
    *(
        f"claraedge.v1.{one}"
        for one in (
            "Appliance",
            "Deployments",
            "Devices",
            "Drops",
            "Images",
            "Inbox",
            "Logs",
            "Packages",
            "PipelineFiles",
            "Queue",
            "Search",
        )
    ),
]
NOBODY = "0123456789abcdef0123456789abcdef"


def envelope(value: Any, flags: int = 0) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return bytes([flags]) + len(data).to_bytes(4, "big") + data


async def test_version_over_json_is_the_message_of_grpc(daemon: Daemon, http: Client) -> None:
    answer = await http.post(f"{CLARA}/Version")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    reply = await daemon.clara.Version(clara_pb2.ClaraVersionRequest())
    assert json_format.ParseDict(answer.json, clara_pb2.ClaraVersionResponse()) == reply


async def test_protobuf_is_answered_with_protobuf(daemon: Daemon, http: Client) -> None:
    answer = await http.post(f"{CLARA}/Version", b"", Content_Type="application/proto")
    assert answer.headers["content-type"] == "application/proto"
    reply = await daemon.clara.Version(clara_pb2.ClaraVersionRequest())
    assert clara_pb2.ClaraVersionResponse.FromString(answer.body) == reply


async def test_every_method_that_is_served_has_a_route(daemon: Daemon, http: Client) -> None:
    """What reflection lists, which is what the gRPC server has, is what HTTP has."""
    ask = [{"listServices": ""}]
    request = "".join(json.dumps(one) + "\n" for one in ask).encode()
    answer = await http.post(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request,
        Content_Type="application/x-ndjson",
    )
    (listed,) = answer.lines
    names = {one["name"] for one in listed["listServicesResponse"]["service"]}
    assert len(names) > 12
    pool = descriptor_pool.Default()
    for path in methods_of(pool.FindServiceByName(name) for name in names):
        answer = await http.ask("GET", path)
        assert (answer.status, answer.headers["allow"]) == (405, "POST"), path


async def test_a_method_that_is_added_is_served_without_an_edit() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="more.proto", package="more", syntax="proto3")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="Added")
    service.method.add(name="Do", input_type=".more.Nothing", output_type=".more.Nothing")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    methods = methods_of([pool.FindServiceByName("more.Added")])
    assert list(methods) == ["/more.Added/Do"]
    assert not methods["/more.Added/Do"].streaming


async def test_a_failure_in_a_clara_header_has_a_status_a_name_and_the_answer(
    daemon: Daemon, http: Client
) -> None:
    answer = await http.post(f"{JOBS}/Status", {"jobId": {"value": NOBODY}})
    request = jobs_pb2.JobsStatusRequest()
    request.job_id.value = NOBODY
    reply = await daemon.jobs.Status(request)
    assert (answer.status, answer.headers["claraedge-error"]) == (404, "job-not-found")
    body = answer.json
    assert body["code"] == "not_found"
    assert NOBODY in body["message"]
    (detail,) = body["details"]
    assert detail["type"] == "nvidia.clara.platform.JobsStatusResponse"
    value = base64.b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4))
    assert jobs_pb2.JobsStatusResponse.FromString(value) == reply
    assert detail["debug"] == json_format.MessageToDict(reply)


BAD = [
    pytest.param("POST", "/nothing", {}, b"{}", 404, "not-supported", id="unknown path"),
    pytest.param("POST", f"{CLARA}/No", {}, b"{}", 404, "not-supported", id="unknown method"),
    pytest.param("GET", f"{CLARA}/Version", {}, b"", 405, "invalid-request", id="GET"),
    pytest.param("OPTIONS", f"{CLARA}/Version", {}, b"", 405, "invalid-request", id="OPTIONS"),
    pytest.param(
        "POST", f"{CLARA}/Version", {"Content_Type": "text/plain"}, b"{}", 415, "invalid-request",
        id="content type",
    ),
    pytest.param(
        "POST", f"{JOBS}/List", {"Content_Type": "text/plain"}, b"{}", 415, "invalid-request",
        id="content type of a stream",
    ),
    pytest.param(
        "POST", f"{CLARA}/Version", {"Content_Encoding": "br"}, b"{}", 415, "not-supported",
        id="content encoding",
    ),
    pytest.param(
        "POST", f"{CLARA}/Version", {"Content_Encoding": "gzip"}, b"{}", 400, "invalid-request",
        id="no gzip",
    ),
    pytest.param(
        "POST", f"{CLARA}/Version", {"Content_Encoding": "gzip"},
        gzip.compress(b" " * (7 << 20)), 413, "message-size", id="a gzip bomb",
    ),
    pytest.param(
        "POST", f"{CLARA}/Version", {"Connect_Protocol_Version": "2"}, b"{}", 400,
        "invalid-request", id="protocol version",
    ),
    pytest.param(
        "POST", f"{CLARA}/Version", {"Connect_Timeout_Ms": "soon"}, b"{}", 400, "invalid-request",
        id="Connect-Timeout-Ms",
    ),
    pytest.param(
        "POST", f"{CLARA}/Version", {"Grpc_Timeout": "1 S"}, b"{}", 400, "invalid-request",
        id="Grpc-Timeout",
    ),
    pytest.param("POST", f"{CLARA}/Version", {}, b"{", 400, "undecodable-request", id="no JSON"),
    pytest.param("POST", f"{CLARA}/Version", {}, b"[]", 400, "undecodable-request", id="array"),
    pytest.param("POST", f"{CLARA}/Version", {}, b"\xff", 400, "undecodable-request", id="UTF-8"),
    pytest.param(
        "POST", f"{CLARA}/Version", {}, b"[" * 100_000, 400, "undecodable-request", id="depth"
    ),
    pytest.param(
        "POST", f"{JOBS}/Status", {}, b'{"jobId":{"value":"\\ud800"}}', 400, "undecodable-request",
        id="half a character",
    ),
    pytest.param(
        "POST", f"{JOBS}/Status", {}, b'{"\\ud800":1}', 400, "undecodable-request",
        id="half a character in a name",
    ),
    pytest.param(
        "POST", f"{JOBS}/Status", {}, b'{"jobId":"\\ud800"}', 400, "undecodable-request",
        id="half a character for a message",
    ),
    pytest.param(
        "POST", f"{JOBS}/AddMetadata", {}, b'{"metadata":"\\ud800"}', 400, "undecodable-request",
        id="half a character for a map",
    ),
    pytest.param(
        "POST", f"{JOBS}/Status", {}, b'{"jobId":{"value":"' + b"a" * (5 << 20) + b'"}}', 413,
        "message-size", id="more protobuf than gRPC sends",
    ),
    pytest.param(
        "POST", f"{JOBS}/Status", {}, b'{"jobId":{"value":7}}', 400, "undecodable-request",
        id="wrong type",
    ),
    pytest.param(
        "POST", f"{JOBS}/Status", {}, b'{"jobId":{"value":"a"},"jobId":{"value":"b"}}', 400,
        "undecodable-request", id="a key twice",
    ),
    pytest.param(
        "POST", f"{CLARA}/Version", {"Content_Type": "application/proto"}, b"\xff\xff", 400,
        "undecodable-request", id="no protobuf",
    ),
    pytest.param(
        "POST", f"{CLARA}/Version", {}, b" " * (7 << 20), 413, "message-size", id="too large"
    ),
    pytest.param(
        "POST", f"{JOBS}/List", {}, b" " * (7 << 20), 413, "message-size", id="too large a line"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "headers", "body", "status", "name"), BAD)
async def test_a_bad_request_is_refused_with_its_reason(
    http: Client, method: str, path: str, headers: dict[str, str], body: bytes, status: int,
    name: str,
) -> None:  # fmt: skip
    answer = await http.ask(method, path, body, **{"Content_Type": "application/json"} | headers)
    assert (answer.status, answer.headers["claraedge-error"]) == (status, name), answer.body
    assert set(answer.json) == {"code", "message"}
    assert len(answer.json["message"]) > 20
    if status == 405:
        assert answer.headers["allow"] == "POST"


async def test_an_unknown_field_is_named(http: Client) -> None:
    answer = await http.post(f"{JOBS}/Status", {"job": {"value": NOBODY}})
    assert answer.status == 400
    assert '"job"' in answer.json["message"]


async def test_a_header_that_is_sent_twice_is_refused(http: Client) -> None:
    async with http.connected() as connection:
        lines = [("Host", "localhost"), ("Content-Type", "application/json")]
        lines += [("Content-Type", "application/proto"), ("Content-Length", "2")]
        await connection.send(
            h11.Request(method="POST", target=f"{CLARA}/Version", headers=lines),
            h11.Data(data=b"{}"),
            h11.EndOfMessage(),
        )
        answer = await connection.answer()
    assert answer.status == 400
    assert "content-type" in answer.json["message"]


async def test_gzip_is_read(http: Client) -> None:
    answer = await http.post(f"{CLARA}/Version", gzip.compress(b"{}"), Content_Encoding="gzip")
    assert answer.status == 200


async def test_a_stream_of_answers_as_lines_and_as_envelopes(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("copy"))
    jobs = {(await daemon.create(pipeline)).job_id.value for _ in range(3)}
    lines = await http.post(f"{JOBS}/List", b"{\n}")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert {line["jobDetails"]["jobId"]["value"] for line in lines.lines} == jobs
    same = await http.post(f"{JOBS}/List", b"{}\n", Content_Type="application/x-ndjson")
    assert same.lines == lines.lines
    framed = await http.post(f"{JOBS}/List", envelope({}), Content_Type="application/connect+json")
    assert framed.headers["content-type"] == "application/connect+json"
    assert framed.envelopes == [*((0, line) for line in lines.lines), (2, {})]


async def test_a_stream_that_fails_at_once_has_a_status_or_an_error_at_its_end(
    http: Client,
) -> None:
    request = {"payloadId": {"value": NOBODY}}
    lines = await http.post(f"{PAYLOADS}/Details", request)
    assert (lines.status, lines.headers["claraedge-error"]) == (404, "payload-not-found")
    framed = await http.post(
        f"{PAYLOADS}/Details", envelope(request), Content_Type="application/connect+json"
    )
    assert framed.status == 200  # as the Connect protocol has it
    ((flags, end),) = framed.envelopes
    assert (flags, end["error"]["code"]) == (2, "not_found")


async def test_an_upload_as_lines_is_stored_and_read_back(daemon: Daemon, http: Client) -> None:
    made = await daemon.create(await daemon.register(chain("copy")))
    parts = [
        {
            "payloadId": {"value": made.payload_id.value},
            "details": {"name": "a.txt", "size": "6"},
            "data": base64.b64encode(data).decode(),
        }
        for data in (b"abc", b"def")
    ]
    body = b"".join(json.dumps(part).encode() + b"\n" for part in parts)
    answer = await http.post(f"{PAYLOADS}/Upload", body, Content_Type="application/x-ndjson")
    assert answer.status == 200, answer.body
    request = {"payloadId": {"value": made.payload_id.value}, "name": "/input/a.txt"}
    read = await http.post(f"{PAYLOADS}/Download", request)
    assert read.status == 200, read.body
    assert b"".join(base64.b64decode(line.get("data", "")) for line in read.lines) == b"abcdef"


async def test_an_upload_of_one_message_may_be_json(daemon: Daemon, http: Client) -> None:
    made = await daemon.create(await daemon.register(chain("copy")))
    part = {
        "payloadId": {"value": made.payload_id.value},
        "details": {"name": "a.txt", "size": "3"},
        "data": base64.b64encode(b"abc").decode(),
    }
    answer = await http.post(f"{PAYLOADS}/Upload", json.dumps(part, indent=1).encode())
    assert answer.status == 200, answer.body
    assert len(answer.lines) == 1
    two = await http.post(f"{PAYLOADS}/Upload", f"{json.dumps(part)}\n{json.dumps(part)}".encode())
    assert two.status == 400
    assert await listing(daemon, made.payload_id.value) == ["/input/a.txt"]


async def listing(daemon: Daemon, payload: str) -> list[str]:
    return [reply.file.name for reply in await daemon.listing(payload) if reply.HasField("file")]


async def test_an_upload_whose_client_goes_or_errs_midway_stores_nothing(
    daemon: Daemon, http: Client
) -> None:
    made = await daemon.create(await daemon.register(chain("copy")))
    request = payloads_pb2.PayloadsUploadRequest(data=b"abc")
    request.payload_id.value = made.payload_id.value
    request.details.name, request.details.size = "a.txt", 3
    part = json.dumps(json_format.MessageToDict(request)).encode()
    uploads = daemon.config.state_dir / "uploads"

    async def begun() -> bool:
        return bool(await asyncio.to_thread(lambda: list(uploads.iterdir())))

    async def over() -> bool:
        return not await begun()

    async with http.connected() as connection:
        await connection.ask("POST", f"{PAYLOADS}/Upload", Content_Type="application/x-ndjson")
        await connection.send(h11.Data(data=part + b"\n"))
        await eventually(begun, "the upload has begun")
    await eventually(over, "the upload has ended with its client")
    lines = await http.post(
        f"{PAYLOADS}/Upload", part + b"\n{not JSON}\n", Content_Type="application/x-ndjson"
    )
    assert (lines.status, lines.headers["claraedge-error"]) == (400, "undecodable-request")
    half = await http.post(
        f"{PAYLOADS}/Upload",
        envelope(part) + envelope(part)[:-3],
        Content_Type="application/connect+json",
    )
    assert half.envelopes[-1][1]["error"]["code"] == "invalid_argument"
    await eventually(over, "the uploads have ended")
    assert await listing(daemon, made.payload_id.value) == []


async def test_many_large_uploads_at_once_are_all_stored(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("copy"))

    async def upload() -> int:
        made = await daemon.create(pipeline)
        request = payloads_pb2.PayloadsUploadRequest(data=bytes(1 << 20))
        request.payload_id.value = made.payload_id.value
        request.details.name = "large"
        part = envelope(request.SerializeToString())
        answer = await http.post(
            f"{PAYLOADS}/Upload", part * 3, Content_Type="application/connect+proto"
        )
        return answer.body[0]  # the flags of the first envelope: an answer, or the end

    assert set(await asyncio.gather(*(upload() for _ in range(40)))) == {0}


@pytest.mark.parametrize("timeout", ["99999999H", "3000000H", "99999999M", "1H"])
async def test_the_longest_deadlines_are_none(http: Client, timeout: str) -> None:
    assert (await http.post(f"{CLARA}/Version", Grpc_Timeout=timeout)).status == 200


async def test_one_message_is_all_that_a_method_without_a_request_stream_accepts(
    http: Client,
) -> None:
    answer = await http.post(f"{JOBS}/List", b"{}\n{}\n", Content_Type="application/x-ndjson")
    assert (answer.status, answer.headers["claraedge-error"]) == (400, "invalid-request")


async def test_events_arrive_while_they_happen_and_end_with_their_client(
    daemon: Daemon, http: Client
) -> None:
    pipeline = await daemon.register(chain("copy"))
    async with http.connected() as connection:
        await connection.ask("POST", f"{EVENTS}/Watch", Content_Type="application/x-ndjson")
        await connection.send(h11.Data(data=b'{"follow":{"allJobs":true}}\n'))
        head = await connection.event()
        assert head.status_code == 200
        seen = bytearray()
        made = await daemon.create(pipeline)
        while made.job_id.value.encode() not in seen:
            seen += (await connection.event()).data


@pytest.mark.parametrize("header", [{"Connect_Timeout_Ms": "1000"}, {"Grpc_Timeout": "1S"}])
@pytest.mark.parametrize("form", ["application/x-ndjson", "application/connect+json"])
async def test_a_deadline_ends_a_stream(http: Client, header: dict[str, str], form: str) -> None:
    body = b'{"follow":{}}'
    content = envelope(body) if "connect" in form else body + b"\n"
    async with http.connected() as connection:
        await connection.ask("POST", f"{EVENTS}/Watch", content, Content_Type=form, **header)
        head = await connection.event()
        seen = bytearray()
        whole = False
        try:
            while isinstance(event := await connection.event(), h11.Data):
                seen += event.data
            whole = True
        except h11.RemoteProtocolError:  # lines have no end that says whether they are all
            assert "ndjson" in form
    assert head.status_code == 200 or (head.status_code == 504 and whole)
    assert b'"deadline_exceeded"' in seen


@pytest.mark.parametrize("form", ["application/json", "application/connect+json"])
async def test_no_deadline_is_taken_for_a_fault_of_the_daemon(http: Client, form: str) -> None:
    """Whatever the call does when its deadline passes, the answer says so."""
    stream = "connect" in form
    path = f"{PAYLOADS}/Upload" if stream else f"{CLARA}/Version"
    body = envelope({}) if stream else b"{}"

    async def ask(timeout: int) -> str:
        answer = await http.post(path, body, Content_Type=form, Connect_Timeout_Ms=str(timeout))
        if stream:
            error = answer.envelopes[-1][1].get("error", {"code": "ok"})
            return str(error["code"])
        return str(answer.json.get("code", "ok"))

    seen: set[str] = set()
    for _ in range(4):
        seen |= set(await asyncio.gather(*(ask(timeout) for timeout in range(20))))
    assert seen <= {"ok", "deadline_exceeded", "invalid_argument", "not_found"}
    assert "deadline_exceeded" in seen


async def test_a_stream_needs_http_1_1(http: Client) -> None:
    async with http.connected() as connection:
        connection.writer.write(
            b"POST " + f"{JOBS}/List".encode() + b" HTTP/1.0\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )
        answer = await connection.reader.read()
    assert answer.startswith(b"HTTP/1.1 505 ")


async def test_compressed_envelopes_are_read(http: Client) -> None:
    answer = await http.post(
        f"{JOBS}/List",
        envelope(gzip.compress(b"{}"), flags=1),
        Content_Type="application/connect+json",
        Connect_Content_Encoding="gzip",
    )
    assert answer.envelopes[-1] == (2, {})


@pytest.mark.parametrize(
    "header",
    [
        {"Connect_Content_Encoding": "br"},
        {"Connect_Timeout_Ms": "soon"},
        {"Connect_Protocol_Version": "2"},
    ],
)
async def test_a_stream_of_connect_has_its_errors_at_its_end(
    http: Client, header: dict[str, str]
) -> None:
    answer = await http.post(
        f"{JOBS}/List", envelope({}), Content_Type="application/connect+json", **header
    )
    assert answer.status == 200
    ((flags, end),) = answer.envelopes
    assert (flags, end["error"]["code"]) in [(2, "invalid_argument"), (2, "unimplemented")]


async def test_a_deadline_ends_a_request_whose_body_does_not_come(http: Client) -> None:
    async with http.connected() as connection:
        await connection.ask(
            "POST", f"{CLARA}/Version", Content_Type="application/json", Connect_Timeout_Ms="100"
        )
        answer = await connection.answer()
    assert (answer.status, answer.json["code"]) == (504, "deadline_exceeded")


async def test_many_streams_do_not_keep_others_waiting(daemon: Daemon, http: Client) -> None:
    """More than one connection of gRPC carries."""
    async with asyncio.timeout(60):
        watches = []
        try:
            for _ in range(300):
                context = http.connected()
                connection = await context.__aenter__()
                watches.append(context)
                await connection.ask(
                    "POST", f"{EVENTS}/Watch", b'{"follow":{}}\n',
                    Content_Type="application/x-ndjson",
                )  # fmt: skip
                assert (await connection.event()).status_code == 200
            assert (await http.post(f"{CLARA}/Version")).status == 200
        finally:
            for context in watches:
                await context.__aexit__(None, None, None)


async def test_each_unary_method_answers_alike_over_json_and_protobuf(
    daemon: Daemon, http: Client
) -> None:
    """An empty request suffices to compare answers and failures; none of these changes anything."""
    pool = descriptor_pool.Default()
    unary = [
        m for m in methods_of(map(pool.FindServiceByName, SERVICES)).values() if not m.streaming
    ]
    assert len(unary) > 20
    for method in unary:
        name = method.path.rpartition("/")[2]
        if name.startswith("Create") or name in ("Stop", "TryAgain"):  # an empty request does it
            continue
        call = daemon.channel.unary_unary(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )
        with_json = await http.post(method.path)
        with_proto = await http.post(method.path, b"", Content_Type="application/proto")
        assert with_json.status == with_proto.status, method.path
        try:
            reply = await call(method.request())
        except Exception as error:  # noqa: BLE001
            code = error.code().name.lower()  # type: ignore[attr-defined]
            assert with_json.json["code"] == code, method.path
            continue
        if with_json.status == 200:
            value = json_format.ParseDict(with_json.json, method.response())
            same = method.response.FromString(with_proto.body)
            assert type(reply) is type(value) is type(same)
            if not method.path.endswith(("/Status", "/Utilization")):  # times differ
                assert value == same == reply, method.path
        else:
            assert reply.header.code < 0
            assert "details" in with_json.json
