"""Files over HTTP: parts, conditions, folders, hostile names, and clients that go."""

from __future__ import annotations

import asyncio
import io
import os
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h11
import pytest

from claraedge.config import ApiSettings
from claraedge.web.files import reading
from claraedge.wire.nvidia.clara.platform import payloads_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import HEADER
from tests.unit.web.conftest import Client, Daemon, daemon_in

NOBODY = "0123456789abcdef0123456789abcdef"
MIB = 1 << 20


async def reusable(daemon: Daemon, *files: tuple[str, bytes]) -> str:
    """Returns the path of the files of a new payload."""
    made = await daemon.payloads.Create(payloads_pb2.PayloadsCreateRequest(header=HEADER))
    if files:
        await daemon.upload(made.payload_id.value, *files)
    return f"/v1/payloads/{made.payload_id.value}/files"


def left(daemon: Daemon) -> list[Path]:
    return [
        path
        for folder in ("uploads", "resumable")
        for path in (daemon.config.state_dir / folder).iterdir()
    ]


# --- GET ---------------------------------------------------------------------------------------


async def test_a_file_is_sent_whole_and_in_parts(daemon: Daemon, http: Client) -> None:
    content = os.urandom(700_000)
    files = await reusable(daemon, ("a/b.bin", content))
    whole = await http.ask("GET", f"{files}/a/b.bin")
    assert (whole.status, whole.body) == (200, content)
    assert whole.headers["content-length"] == "700000"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-disposition"] == 'attachment; filename="b.bin"'
    assert whole.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["cross-origin-resource-policy"] == "same-origin"
    assert "last-modified" in whole.headers
    etag = whole.headers["etag"]

    part = await http.ask("GET", f"{files}/a/b.bin", Range="bytes=100-300099")
    assert (part.status, part.body) == (206, content[100:300_100])
    assert part.headers["content-range"] == "bytes 100-300099/700000"
    rest = await http.ask("GET", f"{files}/a/b.bin", Range="bytes=699990-", If_Range=etag)
    assert (rest.status, rest.body) == (206, content[-10:])
    other = await http.ask("GET", f"{files}/a/b.bin", Range="bytes=5-", If_Range='"other"')
    assert (other.status, other.body) == (200, content)
    several = await http.ask("GET", f"{files}/a/b.bin", Range="bytes=0-1,4-5")
    assert (several.status, several.body) == (200, content)

    same = await http.ask("GET", f"{files}/a/b.bin", If_None_Match=etag)
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", etag)
    assert "content-length" not in same.headers

    head = await http.ask("HEAD", f"{files}/a/b.bin", Range="bytes=5-")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == "700000"
    assert head.headers["etag"] == etag


async def test_requests_for_files_that_are_refused(daemon: Daemon, http: Client) -> None:
    files = await reusable(daemon, ("a/b", b"123"), ("empty", b""))
    for path, status, error in (
        (f"{files}/x", 404, "file-not-found"),
        (f"{files}/a/b/", 404, "file-not-found"),
        (f"{files}/a/%2e%2e/b", 400, "invalid-file-name"),
        (f"{files}/%FF", 400, "invalid-request"),
        (f"{files}/a%00b", 400, "invalid-file-name"),
        (f"/v1/payloads/{NOBODY}/files/a", 404, "payload-not-found"),
        ("/v1/payloads/x/files/a", 400, "invalid-payload-id"),
        (f"{files}/a/b?zip", 400, "invalid-request"),
        (f"{files}/a/b?recursive", 400, "invalid-request"),
        (f"{files}/a/b?other=1", 400, "invalid-request"),
    ):
        answer = await http.ask("GET", path)
        assert (answer.status, answer.headers["claraedge-error"]) == (status, error), path
        assert answer.json["message"]
    late = await http.ask("GET", f"{files}/a/b", Range="bytes=3-")
    assert (late.status, late.headers["claraedge-error"]) == (416, "file-range")
    assert late.headers["content-range"] == "bytes */3"
    assert (await http.ask("GET", f"{files}/empty", Range="bytes=0-")).status == 416
    assert (await http.ask("GET", f"{files}/empty")).body == b""
    other = await http.ask("GET", f"{files}/a/b", If_Match='"other"')
    assert (other.status, other.headers["claraedge-error"]) == (412, "file-changed")
    assert (await http.ask("GET", f"{files}/a/b", b"body")).status == 400
    assert (await http.ask("PATCH", f"{files}/a/b")).status == 405


HOSTILE = [
    'x"; filename="y.html',
    "a\r\nSet-Cookie: x=1",
    "<script>alert(1)</script>.svg",
    "gpj\u202eexe.png",
    "%2e%2e%2f",
    "..\\..\\windows",
    "ä ö/漢 字.txt",
    "a?b#c&d=e:f",
    "n" * 255,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_names(daemon: Daemon, http: Client, name: str) -> None:
    files = await reusable(daemon)
    path = f"{files}/{quote(name)}"
    put = await http.ask("PUT", path, b"1")
    assert (put.status, put.json["name"], put.headers["location"]) == (201, name, path)
    got = await http.ask("GET", path)
    assert (got.status, got.body) == (200, b"1")
    assert "set-cookie" not in got.headers
    assert got.headers["content-security-policy"].startswith("sandbox")
    assert got.headers["content-disposition"].isascii()
    saved = await http.ask("GET", f"{path}?download")
    assert saved.headers["content-disposition"].startswith("attachment; ")
    archive = await http.ask("GET", f"{files}/?zip")
    with zipfile.ZipFile(io.BytesIO(archive.body)) as found:
        (entry,) = found.infolist()
        assert "\\" not in entry.orig_filename
        assert entry.orig_filename.isprintable() or "\u202e" in entry.orig_filename


async def test_a_file_that_is_replaced_between_two_calls_is_sent_as_one(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = await reusable(daemon, ("a", b"old"))
    stat, times = reading.Calls.one, 0

    async def replacing(calls: Any, name: str, *arguments: Any) -> Any:
        nonlocal times
        found = await stat(calls, name, *arguments)
        times += 1
        if times == 1:
            assert (await http.ask("PUT", f"{files}/a", b"newer")).status == 200
        return found

    monkeypatch.setattr(reading.Calls, "one", replacing)
    answer = await http.ask("GET", f"{files}/a")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"newer", "5")
    assert times == 2


async def test_a_read_that_fails_midway_is_no_whole_file(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claraedge.api import contents

    files = await reusable(daemon, ("a", b"x" * MIB), ("b", b"y" * MIB))
    read, reads = contents._read, 0

    def breaks(*arguments: Any) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 3:
            raise OSError(5, "Input/output error")
        return read(*arguments)

    monkeypatch.setattr(contents, "_read_cached", lambda *_: b"")
    monkeypatch.setattr(contents, "_read", breaks)
    for path in (f"{files}/a", f"{files}/?zip"):
        reads = 0
        with pytest.raises(h11.RemoteProtocolError):
            await http.ask("GET", path)


async def test_a_reader_that_stalls_is_ended_and_holds_little(folder: Path) -> None:
    async with daemon_in(folder, api=ApiSettings(idle_seconds=1)) as daemon:
        http = Client(daemon.config.http_socket)
        files = await reusable(daemon)
        await http.ask("PUT", f"{files}/a", os.urandom(20 * MIB))
        async with http.connected() as connection:
            connection.reader._limit = 1  # type: ignore[attr-defined]
            await connection.ask("GET", f"{files}/a", b"")
            blob = next((daemon.config.state_dir / "payloads").rglob("blobs/*"))

            def is_open() -> bool:
                found = []
                for entry in Path("/proc/self/fd").iterdir():
                    try:
                        found.append(entry.readlink())
                    except FileNotFoundError:
                        continue
                return blob in found

            await eventually(is_open, "it is being read")
            await eventually(lambda: not is_open(), "it is ended")
        assert (await http.ask("HEAD", f"{files}/a")).status == 200


# --- folders -----------------------------------------------------------------------------------


async def test_a_folder_is_a_list(daemon: Daemon, http: Client) -> None:
    files = await reusable(daemon, ("a/1", b"1"), ("a/b/2", b"22"), ("c", b""))
    answer = await http.ask("GET", f"{files}/a")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert [(one["name"], one["folder"]) for one in answer.json] == [("a/1", False), ("a/b", True)]
    assert answer.json[0]["etag"]
    deep = await http.ask("GET", f"{files}/a/?recursive")
    assert [one["name"] for one in deep.json] == ["a/1", "a/b/2"]
    root = await http.ask("GET", f"{files}/")
    assert [one["name"] for one in root.json] == ["a", "c"]
    empty = await http.ask("GET", f"{await reusable(daemon)}/")
    assert empty.json == []
    assert (await http.ask("GET", f"/v1/payloads/{NOBODY}/files/")).status == 404
    assert (await http.ask("GET", f"{files}/nothing/")).status == 404


async def test_a_folder_as_zip(daemon: Daemon, http: Client) -> None:
    names = ["r/a.bin", "r/b/c.txt", "r/b/empty", "other"]
    contents = {name: os.urandom(300_000 * (not name.endswith("y"))) for name in names}
    files = await reusable(daemon, *contents.items())
    answer = await http.ask("GET", f"{files}/r?zip")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.headers["content-disposition"] == 'attachment; filename="r.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.bin", "b/c.txt", "b/empty"]
        assert archive.read("a.bin") == contents["r/a.bin"]
    assert (await http.ask("GET", f"{files}/r?zip")).body == answer.body
    head = await http.ask("HEAD", f"{files}/r?zip")
    assert (head.status, head.body) == (200, b"")
    payload = files.split("/")[3]
    whole = await http.ask("GET", f"{files}/?zip")
    assert whole.headers["content-disposition"] == f'attachment; filename="{payload}.zip"'
    with zipfile.ZipFile(io.BytesIO(whole.body)) as archive:
        assert archive.namelist() == ["other", *names[:3]]
    empty = await http.ask("GET", f"{await reusable(daemon)}/?zip")
    with zipfile.ZipFile(io.BytesIO(empty.body)) as archive:
        assert archive.namelist() == []


async def test_a_zip_of_many_files_has_each_once(daemon: Daemon, http: Client) -> None:
    names = [f"f/{number:04}" for number in range(1100)]
    files = await reusable(daemon, *[(name, name.encode()) for name in names])
    answer = await http.ask("GET", f"{files}/f?zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == [f"{number:04}" for number in range(1100)]
        assert archive.read("1099") == b"f/1099"


# --- PUT ---------------------------------------------------------------------------------------


async def test_a_file_is_stored_and_replaced(daemon: Daemon, http: Client) -> None:
    files = await reusable(daemon)
    first = await http.ask("PUT", f"{files}/a/b.txt", b"one")
    assert (first.status, first.json["size"], first.json["name"]) == (201, "3", "a/b.txt")
    assert first.headers["etag"] == f'"{first.json["etag"]}"'
    second = await http.ask("PUT", f"{files}/a/b.txt", b"two!")
    assert (second.status, second.headers["etag"] != first.headers["etag"]) == (200, True)
    assert (await http.ask("GET", f"{files}/a/b.txt")).body == b"two!"
    assert (await http.ask("PUT", f"{files}/empty", b"")).status == 201
    assert (await http.ask("DELETE", f"{files}/a/b.txt")).status in (200, 204)
    assert (await http.ask("GET", f"{files}/a/b.txt")).status == 404


async def test_a_body_without_a_length(daemon: Daemon, http: Client) -> None:
    files = await reusable(daemon)
    content = os.urandom(3 * MIB)
    async with http.connected() as connection:
        await connection.ask("PUT", f"{files}/a", None, Expect="100-continue")
        assert isinstance(await connection.event(), h11.InformationalResponse)
        for at in range(0, len(content), 50_000):
            await connection.send(h11.Data(data=content[at : at + 50_000]))
        await connection.send(h11.EndOfMessage())
        assert (await connection.answer()).status == 201
    assert (await http.ask("GET", f"{files}/a")).body == content
    assert left(daemon) == []


async def test_conditions_of_a_put(daemon: Daemon, http: Client) -> None:
    files = await reusable(daemon)
    path = f"{files}/a"
    assert (await http.ask("PUT", path, b"1", If_Match="*")).status == 412
    first = await http.ask("PUT", path, b"1", If_None_Match="*")
    assert first.status == 201
    refused = await http.ask("PUT", path, b"2", If_None_Match="*")
    assert (refused.status, refused.headers["claraedge-error"]) == (412, "file-changed")
    second = await http.ask("PUT", path, b"2", If_Match=first.headers["etag"])
    assert second.status == 200
    assert (await http.ask("PUT", path, b"3", If_Match=first.headers["etag"])).status == 412
    assert (await http.ask("GET", path)).body == b"2"
    for condition in ({"If_None_Match": '"x"'}, {"If_Match": 'W/"x"'}, {"If_Match": '"x", "y"'}):
        assert (await http.ask("PUT", path, b"4", **condition)).status == 400
    async with http.connected() as connection:  # a client that waits does not send in vain
        await connection.ask("PUT", path, None, Expect="100-continue", If_None_Match="*")
        assert (await connection.event()).status_code == 412


async def test_puts_that_are_refused_store_nothing(daemon: Daemon, http: Client) -> None:
    files = await reusable(daemon, ("old", b"old"))
    for path, headers, status in (
        (f"{files}/a/%2e%2e/b", {}, 400),
        (f"{files}/a%00b", {}, 400),
        (f"{files}/old/x", {}, 409),
        (f"{files}/a?x=1", {}, 400),
        (f"{files}/a", {"Content_Encoding": "gzip"}, 415),
        (f"{files}/a", {"Content_Range": "bytes 0-1/2"}, 400),
        (f"{files}/a", {"Content_Type": "multipart/form-data; boundary=x"}, 415),
        (f"/v1/payloads/{NOBODY}/files/a", {}, 404),
        (f"/v1/payloads/{NOBODY}/files/a", {"Expect": "100-continue"}, 404),
        (f"{files}/a", {"Host": "example.org"}, 421),
        (f"{files}/a", {"Origin": "https://example.org"}, 403),
    ):
        async with http.connected() as connection:
            await connection.ask("PUT", path, b"12", **headers)
            event = await connection.event()
            while isinstance(event, h11.InformationalResponse):
                event = await connection.event()
            assert event.status_code == status, (path, headers)
    found = await http.ask("GET", f"{files}/")
    assert [one["name"] for one in found.json] == ["old"]
    assert left(daemon) == []


async def test_a_put_into_a_payload_whose_job_started(daemon: Daemon, http: Client) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    files = f"/v1/payloads/{made.payload_id.value}/files"
    put = await http.ask("PUT", f"{files}/a", b"1")
    assert (put.status, put.json["name"]) == (201, "input/a")
    assert (await http.ask("GET", put.headers["location"])).body == b"1"
    await daemon.start(made.job_id.value)
    late = await http.ask("PUT", f"{files}/b", b"1")
    assert (late.status, late.headers["claraedge-error"]) == (400, "payload-state")
    await daemon.end(made.job_id.value)


async def test_a_client_that_goes_in_the_middle_of_a_put(daemon: Daemon, http: Client) -> None:
    files = await reusable(daemon, ("a", b"old"))
    for length in (None, 10 * MIB):
        async with http.connected() as connection:
            if length is None:
                await connection.ask("PUT", f"{files}/a")
            else:
                head = h11.Request(
                    method="PUT",
                    target=f"{files}/a",
                    headers=[("Host", "localhost"), ("Content-Length", str(length))],
                )
                await connection.send(head)
            await connection.send(h11.Data(data=b"x" * MIB))
            await eventually(lambda: bool(left(daemon)), "the upload has begun")
        await eventually(lambda: not left(daemon), "the upload is removed")
    assert (await http.ask("GET", f"{files}/a")).body == b"old"


async def test_puts_side_by_side_do_not_mix(daemon: Daemon, http: Client) -> None:
    files = await reusable(daemon)

    async def one(number: int) -> None:
        content = bytes([number]) * (2 * MIB + number)
        assert (await http.ask("PUT", f"{files}/{number}", content)).status == 201
        assert (await http.ask("GET", f"{files}/{number}")).body == content

    await asyncio.gather(*map(one, range(10)))


async def test_an_archive_of_more_files_than_are_listed_at_once_has_them_all(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_AT_ONCE", 2)
    payload = (await http.post("/v1/payloads")).json["payloadId"]
    names = [f"{number:04}" for number in range(1100)]  # a message has 500 at most
    await daemon.upload(payload, *((name, name.encode()) for name in names))
    answer = await http.ask("GET", f"/v1/payloads/{payload}/files/?zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == names
        assert archive.read("1099") == b"1099"
