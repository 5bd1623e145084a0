"""Uploads by tus 1.0 (tus.io/protocols/resumable-upload), in the order of its text."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import h11
import pytest

import claraedge.daemon.disks as daemon_disks
from claraedge.appliance import disk_guard
from claraedge.config import DiskSettings
from claraedge.payloads import resumable
from claraedge.runner.protocol import Space
from claraedge.wire.claraedge.v1 import files_pb2
from claraedge.wire.nvidia.clara.platform import payloads_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import HEADER
from tests.unit.web.conftest import Answer, Client, Daemon, daemon_in

NOBODY = "0123456789abcdef0123456789abcdef"
MIB = 1 << 20
VERSION = {"Tus_Resumable": "1.0.0"}
BYTES = "application/offset+octet-stream"


async def reusable(daemon: Daemon) -> str:
    """Returns the path of a new payload."""
    made = await daemon.payloads.Create(payloads_pb2.PayloadsCreateRequest(header=HEADER))
    return f"/v1/payloads/{made.payload_id.value}"


def metadata(**values: str) -> str:
    pairs = [f"{key} {base64.b64encode(v.encode()).decode()}" for key, v in values.items()]
    return ",".join(pairs)


class Tus:
    """A client of the protocol."""

    def __init__(self, http: Client, payload: str) -> None:
        self.http = http
        self.payload = payload

    async def create(self, size: int, name: str = "a", body: bytes = b"", **more: str) -> Answer:
        headers = {
            **VERSION,
            "Upload_Length": str(size),
            "Upload_Metadata": metadata(filename=name),
        }
        if body:
            headers["Content_Type"] = BYTES
        return await self.http.ask("POST", f"{self.payload}/uploads", body, **{**headers, **more})

    async def start(self, size: int, name: str = "a", **more: str) -> str:
        answer = await self.create(size, name, **more)
        assert answer.status == 201, answer
        return answer.headers["location"]

    async def patch(self, upload: str, offset: int, body: bytes, **more: str) -> Answer:
        headers = {**VERSION, "Upload_Offset": str(offset), "Content_Type": BYTES, **more}
        answer = await self.http.ask("PATCH", upload, body, **headers)
        assert answer.headers["tus-resumable"] == "1.0.0"
        return answer

    async def offset(self, upload: str) -> int:
        answer = await self.http.ask("HEAD", upload, **VERSION)
        assert answer.status == 200, answer
        assert answer.headers["cache-control"] == "no-store"
        return int(answer.headers["upload-offset"])

    async def content(self, name: str = "a") -> bytes:
        answer = await self.http.ask("GET", f"{self.payload}/files/{name}")
        assert answer.status == 200, answer
        return answer.body


@pytest.fixture
async def tus(daemon: Daemon, http: Client) -> Tus:
    return Tus(http, await reusable(daemon))


async def test_what_the_server_can_do(tus: Tus) -> None:
    for path in (f"{tus.payload}/uploads", f"{tus.payload}/uploads/{NOBODY}"):
        answer = await tus.http.ask("OPTIONS", path)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["tus-version"] == "1.0.0"
        extensions = answer.headers["tus-extension"].split(",")
        assert {"creation", "checksum", "expiration", "termination"} <= set(extensions)
        assert answer.headers["tus-checksum-algorithm"].split(",")[0] == "sha1"


async def test_an_upload_in_parts(tus: Tus) -> None:
    answer = await tus.create(11, "b/a")
    assert (answer.status, answer.headers["tus-resumable"]) == (201, "1.0.0")
    assert answer.headers["upload-expires"].endswith(" GMT")
    upload = answer.headers["location"]
    first = await tus.patch(upload, 0, b"hello ")
    assert (first.status, first.headers["upload-offset"]) == (204, "6")
    assert first.headers["upload-expires"].endswith(" GMT")
    assert "content-length" not in first.headers
    head = await tus.http.ask("HEAD", upload, **VERSION)
    assert head.headers["upload-offset"] == "6"
    assert head.headers["upload-length"] == "11"
    assert head.headers["upload-metadata"] == metadata(filename="b/a")
    assert (await tus.http.ask("GET", f"{tus.payload}/files/b/a")).status == 404
    last = await tus.patch(upload, 6, b"world")
    assert (last.status, last.headers["upload-offset"]) == (204, "11")
    assert last.headers["content-location"] == f"{tus.payload}/files/b/a"
    assert await tus.content("b/a") == b"hello world"
    assert await tus.offset(upload) == 11, "a client that lost the answer sees the end"


async def test_an_empty_file_exists_once_it_is_created(tus: Tus) -> None:
    assert (await tus.create(0, "empty")).status == 201
    assert await tus.content("empty") == b""


async def test_bytes_that_come_with_the_creation(tus: Tus) -> None:
    answer = await tus.create(4, "a", b"01")
    assert (answer.status, answer.headers["upload-offset"]) == (201, "2")
    await tus.patch(answer.headers["location"], 2, b"23")
    assert await tus.content() == b"0123"
    whole = await tus.create(2, "b", b"01")
    assert (whole.status, whole.headers["upload-offset"]) == (201, "2")
    assert await tus.content("b") == b"01"


async def test_a_client_that_cannot_send_patch(tus: Tus) -> None:
    upload = await tus.start(2)
    headers = {**VERSION, "X_HTTP_Method_Override": "PATCH"}
    more = {"Upload_Offset": "0", "Content_Type": BYTES}
    answer = await tus.http.ask("POST", upload, b"12", **headers, **more)
    assert (answer.status, answer.headers["upload-offset"]) == (204, "2")
    assert await tus.content() == b"12"
    assert (await tus.http.ask("POST", upload, b"12", **VERSION)).status == 405


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"filename": "a.txt", "filetype": "text/plain"}, "a.txt"),
        ({"relativePath": "null", "name": "b", "filename": "a"}, "a"),
        ({"relativePath": "dir/a", "filename": "a"}, "dir/a"),
        ({"name": "ä ö"}, "%C3%A4%20%C3%B6"),
        ({"filename": "/abs"}, "abs"),
    ],
)
async def test_names(tus: Tus, values: dict[str, str], name: str) -> None:
    await tus.start(0, Upload_Metadata=metadata(**values) + ",is_confidential")
    assert await tus.content(name) == b""


async def test_creations_that_are_refused(daemon: Daemon, tus: Tus) -> None:
    for headers, status in (
        ({"Upload_Length": "-1"}, 400),
        ({"Upload_Length": "x"}, 400),
        ({"Upload_Length": "9" * 30}, 413),
        ({"Upload_Length": "9" * 18}, 201),
        ({"Upload_Metadata": ""}, 400),
        ({"Upload_Metadata": "filename ???"}, 400),
        ({"Upload_Metadata": metadata(filename="../a")}, 400),
        ({"Upload_Metadata": metadata(filename="a", more="x" * 4096)}, 400),
        ({"Tus_Resumable": "0.2.2"}, 412),
        ({"Content_Type": BYTES, "Upload_Checksum": "sha1 ???"}, 400),
    ):
        answer = await tus.create(5, **headers)
        assert answer.status == status, (headers, answer)
        assert answer.headers["tus-resumable"] == "1.0.0"
        if status == 412:
            assert answer.headers["tus-version"] == "1.0.0"
    path = f"{tus.payload}/uploads"
    assert len((await tus.http.ask("GET", path)).json) == 1, "the one that was answered with 201"
    assert (await tus.http.ask("POST", path, Upload_Length="1")).status == 412
    assert (await tus.http.ask("POST", path, **VERSION)).status == 400
    nobody = Tus(tus.http, f"/v1/payloads/{NOBODY}")
    assert (await nobody.create(1)).status == 404


async def test_bytes_that_are_refused(daemon: Daemon, tus: Tus) -> None:
    upload = await tus.start(4)
    await tus.patch(upload, 0, b"01")
    for offset in (0, 1, 3, 99, 2**70):
        answer = await tus.patch(upload, offset, b"x")
        assert (answer.status, answer.headers["claraedge-error"]) == (409, "upload-offset"), answer
        assert "continue at 2" in answer.json["message"]
    too_many = await tus.patch(upload, 2, b"234")
    assert (too_many.status, too_many.headers["claraedge-error"]) == (413, "upload-size")
    assert (await tus.patch(upload, 2, b"2", Content_Type="text/plain")).status == 415
    assert (await tus.patch(upload, 2, b"2", Tus_Resumable="2.0.0")).status == 412
    assert (await tus.patch(upload, 2, b"2", Upload_Offset="x")).status == 400
    no_offset = await tus.http.ask("PATCH", upload, b"2", **VERSION, Content_Type=BYTES)
    assert no_offset.status == 400
    other = await reusable(daemon)
    id_ = upload.rpartition("/")[2]
    for path in (f"{tus.payload}/uploads/{NOBODY}", f"{other}/uploads/{id_}"):
        assert (await tus.patch(path, 0, b"2")).status == 404
        head = await tus.http.ask("HEAD", path, **VERSION)
        assert (head.status, "upload-offset" in head.headers) == (404, False)
        assert (await tus.http.ask("DELETE", path, **VERSION)).status == 404
    assert await tus.offset(upload) == 2
    await tus.patch(upload, 2, b"23")
    assert await tus.content() == b"0123"


async def test_large_bodies_that_are_refused_say_why(tus: Tus) -> None:
    """The daemon refuses while they are being sent."""
    for _ in range(5):
        upload = await tus.start(4 * MIB)
        answer = await tus.patch(upload, 5, b"x" * (4 * MIB - 5))
        assert (answer.status, answer.headers["claraedge-error"]) == (409, "upload-offset")
        put = await tus.http.ask("PUT", f"{tus.payload}/files/a%00b", b"x" * 4 * MIB)
        assert (put.status, put.headers["claraedge-error"]) == (400, "invalid-file-name")


async def test_checksums(tus: Tus) -> None:
    def checksum(data: bytes, algorithm: str = "sha1") -> str:
        digest = hashlib.new(algorithm, data).digest()
        return f"{algorithm} {base64.b64encode(digest).decode()}"

    upload = await tus.start(6)
    wrong = await tus.patch(upload, 0, b"0x", Upload_Checksum=checksum(b"01"))
    assert (wrong.status, wrong.headers["claraedge-error"]) == (460, "upload-checksum")
    assert await tus.offset(upload) == 0
    right = await tus.patch(upload, 0, b"01", Upload_Checksum=checksum(b"01"))
    assert (right.status, right.headers["upload-offset"]) == (204, "2")
    assert (await tus.patch(upload, 2, b"2", Upload_Checksum="crc32 AAAA")).status == 400
    assert (await tus.patch(upload, 2, b"2", Upload_Checksum="sha1 ?")).status == 400
    last = await tus.patch(upload, 2, b"2345", Upload_Checksum=checksum(b"2345", "sha256"))
    assert last.status == 204
    assert await tus.content() == b"012345"


async def test_an_upload_is_ended(daemon: Daemon, tus: Tus) -> None:
    upload = await tus.start(4)
    await tus.patch(upload, 0, b"01")
    assert (await tus.http.ask("DELETE", upload)).status == 412
    answer = await tus.http.ask("DELETE", upload, **VERSION)
    assert (answer.status, answer.headers["tus-resumable"]) == (204, "1.0.0")
    assert (await tus.http.ask("HEAD", upload, **VERSION)).status == 404
    assert (await tus.patch(upload, 2, b"23")).status == 404
    assert list((daemon.config.state_dir / "resumable").iterdir()) == []


async def test_an_upload_expires(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await tus.start(4)
    monkeypatch.setattr(resumable, "LIFE", 0.0)
    await tus.start(4, "b")
    assert (await tus.patch(upload, 0, b"0123")).status == 404


async def test_an_upload_that_was_started_by_grpc(daemon: Daemon, tus: Tus) -> None:
    place = {"payload_id": tus.payload.rpartition("/")[2], "name": "a"}
    for more, status in (
        ({"size": 2, "note": "漢\r\nSet-Cookie: x"}, 204),
        ({"note": "filename YQ=="}, 400),
    ):
        request = files_pb2.StartUploadRequest(**place, **more)
        upload = f"{tus.payload}/uploads/{(await daemon.files.StartUpload(request)).id}"
        head = await tus.http.ask("HEAD", upload, **VERSION)
        assert (head.status, "set-cookie" in head.headers) == (200, False)
        assert ("upload-length" in head.headers) == ("size" in more)
        assert (await tus.patch(upload, 0, b"12")).status == status


async def test_readable_paths_show_uploads(tus: Tus) -> None:
    upload = await tus.start(4)
    await tus.patch(upload, 0, b"01")
    (found,) = (await tus.http.ask("GET", f"{tus.payload}/uploads")).json
    assert (found["offset"], found["size"], found["name"]) == ("2", "4", "a")
    one = await tus.http.ask("GET", f"/v1/uploads/{found['id']}")
    assert one.json == found
    assert (await tus.http.ask("DELETE", f"/v1/uploads/{found['id']}")).status in (200, 204)
    assert (await tus.http.ask("GET", "/v1/uploads")).json == []


# --- what goes wrong on the way ----------------------------------------------------------------


async def cut(tus: Tus, upload: str, size: int, content: bytes, at: int) -> None:
    """A request of `size` bytes whose connection ends after these."""
    headers = {"Host": "localhost", "Tus-Resumable": "1.0.0", "Upload-Offset": str(at),
               "Content-Type": BYTES, "Content-Length": str(size)}  # fmt: skip
    async with tus.http.connected() as connection:
        request = h11.Request(method="PATCH", target=upload, headers=list(headers.items()))
        await connection.send(request, h11.Data(data=content))

        async def arrived() -> bool:
            return await tus.offset(upload) == at + len(content)

        await eventually(arrived, "it has arrived")


async def test_a_client_that_goes_in_the_middle_continues(tus: Tus) -> None:
    content = os.urandom(5 * MIB)
    upload = await tus.start(len(content))
    await cut(tus, upload, len(content), content[: 2 * MIB], 0)
    offset = await tus.offset(upload)
    assert MIB < offset <= 2 * MIB
    answer = await tus.patch(upload, offset, content[offset:])
    assert answer.status == 204
    assert await tus.content() == content


async def test_a_daemon_that_ends_in_the_middle_continues(folder: Path) -> None:
    content = os.urandom(5 * MIB)
    async with daemon_in(folder) as daemon:
        tus = Tus(Client(daemon.config.http_socket), await reusable(daemon))
        upload = await tus.start(len(content))
        sending = asyncio.create_task(cut(tus, upload, len(content), content[: 2 * MIB], 0))
        await sending
    async with daemon_in(folder) as daemon:
        tus = Tus(Client(daemon.config.http_socket), tus.payload)
        offset = await tus.offset(upload)
        assert MIB < offset <= 2 * MIB
        await tus.patch(upload, offset, content[offset:])
        found = await tus.content()
        assert hashlib.sha256(found).digest() == hashlib.sha256(content).digest()


async def test_a_client_that_goes_before_the_checksum_is_compared(tus: Tus) -> None:
    upload = await tus.start(4 * MIB)
    digest = base64.b64encode(hashlib.sha1(b"x").digest()).decode()
    headers = {"Host": "localhost", "Tus-Resumable": "1.0.0", "Upload-Offset": "0",
               "Content-Type": BYTES, "Content-Length": str(4 * MIB),
               "Upload-Checksum": f"sha1 {digest}"}  # fmt: skip
    async with tus.http.connected() as connection:
        request = h11.Request(method="PATCH", target=upload, headers=list(headers.items()))
        await connection.send(request, h11.Data(data=b"x" * 3 * MIB))
    assert await tus.offset(upload) == 0
    assert (await tus.patch(upload, 0, b"y" * 4 * MIB)).status == 204
    assert await tus.content() == b"y" * 4 * MIB


async def test_a_connection_that_is_lost_without_notice_does_not_block_the_next(tus: Tus) -> None:
    content = os.urandom(3 * MIB)
    upload = await tus.start(len(content))
    headers = {"Host": "localhost", "Tus-Resumable": "1.0.0", "Upload-Offset": "0",
               "Content-Type": BYTES, "Content-Length": str(len(content))}  # fmt: skip
    async with tus.http.connected() as lost:
        request = h11.Request(method="PATCH", target=upload, headers=list(headers.items()))
        await lost.send(request, h11.Data(data=content[:MIB]))

        async def arrived() -> bool:
            return await tus.offset(upload) == MIB

        await eventually(arrived, "it has arrived")
        answer = await tus.patch(upload, MIB, content[MIB:])
        assert answer.status == 204
        head = await lost.event()
        assert head.status_code in (409, 503)
    assert await tus.content() == content


async def test_a_payload_whose_job_started(daemon: Daemon, http: Client) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    tus = Tus(http, f"/v1/payloads/{made.payload_id.value}")
    whole = await tus.create(2, "x", b"12")
    assert whole.headers["content-location"] == f"{tus.payload}/files/input/x"
    upload = await tus.start(2, "late")
    await daemon.start(made.job_id.value)
    answer = await tus.patch(upload, 0, b"12")
    assert (answer.status, answer.headers["claraedge-error"]) == (400, "payload-state")
    assert (await tus.http.ask("HEAD", upload, **VERSION)).status == 404
    assert (await tus.create(2, "later")).status == 400
    await daemon.end(made.job_id.value)


async def test_many_uploads_at_once(tus: Tus) -> None:
    async def one(number: int) -> Any:
        content = os.urandom(MIB + number)
        upload = await tus.start(len(content), f"{number}")
        for at in range(0, len(content), 300_000):
            answer = await tus.patch(upload, at, content[at : at + 300_000])
            assert answer.status == 204
        assert await tus.content(f"{number}") == content

    await asyncio.gather(*map(one, range(10)))


async def test_a_low_disk_refuses_and_keeps_what_arrived(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ample() -> tuple[int, int]:
        return 50 << 30, 100 << 30

    monkeypatch.setattr(disk_guard, "_PAUSE", 0.01)
    monkeypatch.setattr(disk_guard, "_PAUSE_LOW", 0.01)
    monkeypatch.setattr(daemon_disks, "measured", lambda _: ample)
    async with daemon_in(folder, disk=DiskSettings()) as daemon:
        tus = Tus(Client(daemon.config.http_socket), await reusable(daemon))
        upload = await tus.start(4)
        await tus.patch(upload, 0, b"01")

        async def refuses(low: bool) -> None:
            daemon.runner.space = Space(free=(9 if low else 50) << 30, total=100 << 30)

            async def is_so() -> bool:
                found = await tus.http.ask("PUT", f"{tus.payload}/files/probe", b"1")
                return (found.status == 507) == low

            await eventually(is_so, f"the disk is low: {low}")

        await refuses(low=True)
        for answer in (await tus.patch(upload, 2, b"23"), await tus.create(4, "b")):
            assert (answer.status, answer.headers["claraedge-error"]) == (507, "storage-full")
        assert await tus.offset(upload) == 2
        await refuses(low=False)
        await tus.patch(upload, 2, b"23")
        assert await tus.content() == b"0123"
        assert list((folder / "state" / "uploads").iterdir()) == []
