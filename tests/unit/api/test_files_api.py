"""Parts of files, folders, and uploads that are continued: by gRPC, with a whole daemon."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from claraedge.config import DiskSettings
from claraedge.payloads import resumable
from claraedge.wire.claraedge.v1 import files_pb2 as wire
from claraedge.wire.nvidia.clara.platform import payloads_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import HEADER, Daemon, an_id, contents, daemon_in, messages

UNKNOWN = "0" * 31 + "1"
MIB = 1 << 20


async def reusable(daemon: Daemon, *files: tuple[str, bytes]) -> str:
    made = await daemon.payloads.Create(payloads_pb2.PayloadsCreateRequest(header=HEADER))
    if files:
        await daemon.upload(made.payload_id.value, *files)
    return str(made.payload_id.value)


async def stat(daemon: Daemon, payload: str, name: str) -> wire.FileInfo:
    info = await daemon.files.Stat(wire.StatFileRequest(payload_id=payload, name=name))
    assert isinstance(info, wire.FileInfo)
    return info


async def read(daemon: Daemon, payload: str, name: str, **more: Any) -> bytes:
    request = wire.ReadFileRequest(payload_id=payload, name=name, **more)
    found = await messages(daemon.files.Read(request))
    assert found[0].file.name == name
    assert all(len(one.data) <= 256 * 1024 for one in found)
    assert not any(one.HasField("file") for one in found[1:])
    return b"".join(one.data for one in found)


async def write(daemon: Daemon, *parts: bytes, finish: bool = True, **head: Any) -> Any:
    requests = [wire.WriteFileRequest(data=part) for part in parts or (b"",)]
    requests[0].MergeFrom(wire.WriteFileRequest(**head))
    requests[-1].finish = finish
    return await daemon.files.Write(iter(requests))


async def start(daemon: Daemon, payload: str, name: str, **more: Any) -> str:
    request = wire.StartUploadRequest(payload_id=payload, name=name, **more)
    return str((await daemon.files.StartUpload(request)).id)


async def upload_of(daemon: Daemon, upload: str) -> wire.Upload:
    found = await daemon.files.GetUpload(wire.GetUploadRequest(upload_id=upload))
    assert isinstance(found, wire.Upload)
    return found


async def refused(call: Any, name: str) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailer = dict(caught.value.trailing_metadata() or ())
    assert trailer.get("claraedge-error") == name, caught.value
    return caught.value.details() or ""


def kept(daemon: Daemon) -> list[Path]:
    """What unfinished uploads have on the disk."""
    return list((daemon.config.state_dir / "resumable").iterdir())


# --- reading -----------------------------------------------------------------------------------


async def test_a_file_is_described_and_read_in_parts(daemon: Daemon) -> None:
    content = os.urandom(700_000)
    payload = await reusable(daemon, ("a/b.bin", content))
    info = await stat(daemon, payload, "a/b.bin")
    assert (info.name, info.size, info.mode, info.folder) == ("a/b.bin", 700_000, 0o644, False)
    assert len(info.etag) == 32
    assert info.HasField("modified")
    assert await read(daemon, payload, "a/b.bin") == content
    assert await read(daemon, payload, "a/b.bin", offset=699_999) == content[-1:]
    assert await read(daemon, payload, "a/b.bin", offset=10, limit=300_000) == content[10:300_010]
    assert await read(daemon, payload, "a/b.bin", offset=5, limit=10**12) == content[5:]
    assert await read(daemon, payload, "a/b.bin", offset=700_000) == b""
    assert await read(daemon, payload, "a/b.bin", if_etag=info.etag, limit=1) == content[:1]


async def test_reads_that_are_refused(daemon: Daemon) -> None:
    payload = await reusable(daemon, ("a/b", b"123"))

    def reading(name: str = "a/b", **more: Any) -> Any:
        return read(daemon, payload, name, **more)

    assert "begin at 3" in await refused(reading(offset=4), "file-range")
    await refused(reading(offset=-1), "invalid-request")
    await refused(reading(limit=-1), "invalid-request")
    await refused(reading(if_etag="0" * 32), "file-changed")
    await refused(reading("a"), "file-not-found")
    await refused(reading("../a"), "invalid-file-name")
    for name, error in (
        ("x", "file-not-found"),
        ("a/b/", "file-not-found"),
        ("..", "invalid-file-name"),
    ):
        await refused(stat(daemon, payload, name), error)
    await refused(stat(daemon, UNKNOWN, "a"), "payload-not-found")
    await refused(stat(daemon, UNKNOWN, ""), "payload-not-found")
    await refused(stat(daemon, "x", "a"), "invalid-payload-id")
    await refused(daemon.files.Stat(wire.StatFileRequest(name="a")), "invalid-payload-id")


async def test_the_etag_changes_with_the_content_and_a_restart_keeps_it(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        payload = await reusable(daemon, ("a", b"same"), ("b", b"same"))
        first = (await stat(daemon, payload, "a")).etag
        assert (await stat(daemon, payload, "b")).etag != first
        await daemon.upload(payload, ("a", b"same"))
        second = (await stat(daemon, payload, "a")).etag
        assert second != first
    async with daemon_in(folder) as daemon:
        assert (await stat(daemon, payload, "a")).etag == second


async def test_a_folder_lists_what_lies_in_it(daemon: Daemon) -> None:
    names = ["a/1", "a/b/2", "a/b/3", "a/b-", "a/b.x", "a/c/d/4", "a0", "b", "ä/ö"]
    payload = await reusable(daemon, *[(name, name.encode()) for name in names])

    async def inside(folder: str, *, recursive: bool = False) -> list[str]:
        request = wire.ListFilesRequest(payload_id=payload, folder=folder, recursive=recursive)
        found = await messages(daemon.files.List(request))
        return [f"{one.name}{'/' if one.folder else ''}" for part in found for one in part.files]

    assert await inside("") == ["a/", "a0", "b", "ä/"]
    assert await inside("a") == ["a/1", "a/b-", "a/b.x", "a/b/", "a/c/"]
    assert await inside("a/") == await inside("/a") == await inside("a")
    assert await inside("a/c") == ["a/c/d/"]
    assert await inside("a", recursive=True) == [
        "a/1",
        "a/b-",
        "a/b.x",
        "a/b/2",
        "a/b/3",
        "a/c/d/4",
    ]
    assert await inside("", recursive=True) == sorted(names, key=str.encode)
    assert await inside("nothing") == []
    for name in ("a", "a/", "a/b", "", "/", "ä"):
        assert (await stat(daemon, payload, name)).folder
    await refused(inside(".."), "invalid-file-name")
    await refused(
        messages(daemon.files.List(wire.ListFilesRequest(payload_id=UNKNOWN))), "payload-not-found"
    )


async def test_a_list_of_several_pages_has_every_entry_once(daemon: Daemon) -> None:
    names = [f"f/{number:04}/x" for number in range(1200)] + ["f/z"]
    payload = await reusable(daemon, *[(name, b"") for name in names])
    request = wire.ListFilesRequest(payload_id=payload, folder="f")
    found = [one.name for part in await messages(daemon.files.List(request)) for one in part.files]
    assert found == [f"f/{number:04}" for number in range(1200)] + ["f/z"]


# --- whole files -------------------------------------------------------------------------------


async def test_a_file_is_written_at_once_and_answers_its_etag(daemon: Daemon) -> None:
    payload = await reusable(daemon)
    answer = await write(daemon, b"12", b"34", payload_id=payload, name="/a/b", mode=0o600)
    assert (answer.offset, answer.file.name, answer.file.mode) == (4, "a/b", 0o600)
    assert answer.file.etag == (await stat(daemon, payload, "a/b")).etag
    assert not answer.replaced
    assert await read(daemon, payload, "a/b") == b"1234"
    await write(daemon, payload_id=payload, name="empty")
    assert await read(daemon, payload, "empty") == b""


async def test_a_file_of_a_jobs_payload_is_an_input(daemon: Daemon) -> None:
    payload = (await daemon.create(await daemon.register(chain("one")))).payload_id.value
    for name in ("a", "input/b"):
        await write(daemon, b"1", payload_id=payload, name=name)
    assert await read(daemon, payload, "input/a") == await read(daemon, payload, "input/b") == b"1"


async def test_whole_files_that_are_refused_store_nothing(daemon: Daemon) -> None:
    payload = await reusable(daemon, ("old", b"old"))
    good = {"payload_id": payload, "name": "new"}
    await refused(write(daemon, b"1", b"2", finish=False, **good), "invalid-request")
    await refused(write(daemon, b"1", **good, offset=1), "invalid-request")
    await refused(write(daemon, b"1", payload_id=payload, name="a/"), "invalid-file-name")
    await refused(write(daemon, b"1", payload_id=payload, name="old/x"), "file-collision")
    await refused(write(daemon, b"1", name="new"), "invalid-payload-id")
    await refused(write(daemon, b"1", payload_id=UNKNOWN, name="new"), "payload-not-found")
    await refused(daemon.files.Write(iter([])), "invalid-request")
    late = [wire.WriteFileRequest(**good, finish=True), wire.WriteFileRequest(data=b"1")]
    await refused(daemon.files.Write(iter(late)), "invalid-request")
    wrong = wire.Checksum(algorithm="sha256", digest=hashlib.sha256(b"2").digest())
    await refused(write(daemon, b"1", **good, checksum=wrong), "upload-checksum")
    for algorithm, digest in (("sha256", b"1"), ("crc32", b"1234"), ("", b"")):
        checksum = wire.Checksum(algorithm=algorithm, digest=digest)
        await refused(write(daemon, b"1", **good, checksum=checksum), "invalid-request")
    names = [one.file.name for one in await daemon.listing(payload)]
    assert names == ["/old"]
    assert list((daemon.config.state_dir / "uploads").iterdir()) == []


async def test_conditions_are_compared_when_the_file_is_replaced(daemon: Daemon) -> None:
    payload = await reusable(daemon)
    place = {"payload_id": payload, "name": "a"}
    await refused(write(daemon, b"1", **place, if_etag="*"), "file-changed")
    first = (await write(daemon, b"1", **place, if_absent=True)).file.etag
    await refused(write(daemon, b"2", **place, if_absent=True), "file-changed")
    second = (await write(daemon, b"2", **place, if_etag=first)).file.etag
    await refused(write(daemon, b"3", **place, if_etag=first), "file-changed")
    assert await read(daemon, payload, "a") == b"2"
    await write(daemon, b"3", **place, if_etag="*")
    assert (await stat(daemon, payload, "a")).etag != second


async def test_of_many_writers_that_expect_no_file_one_succeeds(daemon: Daemon) -> None:
    payload = await reusable(daemon)

    async def one(number: int) -> int:
        try:
            await write(daemon, b"%d" % number, payload_id=payload, name="a", if_absent=True)
        except grpc.aio.AioRpcError:
            return -1
        return number

    results = await asyncio.gather(*map(one, range(8)))
    (winner,) = [number for number in results if number >= 0]
    assert await read(daemon, payload, "a") == b"%d" % winner


# --- uploads that are continued ----------------------------------------------------------------


async def test_an_upload_in_several_calls(daemon: Daemon) -> None:
    payload = await reusable(daemon, ("a", b"old"))
    upload = await start(daemon, payload, "a", size=10, note="hello", mode=0o400)
    found = await upload_of(daemon, upload)
    assert (found.offset, found.size, found.note, found.name) == (0, 10, "hello", "a")
    assert found.payload_id == payload
    assert found.HasField("expires")
    answer = await write(daemon, b"012", b"34", upload_id=upload, finish=False)
    assert (answer.offset, answer.HasField("file")) == (5, False)
    assert await read(daemon, payload, "a") == b"old"
    listed = await messages(daemon.files.ListUploads(wire.ListUploadsRequest(payload_id=payload)))
    assert [(one.id, one.offset) for one in listed] == [(upload, 5)]
    answer = await write(daemon, b"56789", upload_id=upload, offset=5)
    assert (answer.offset, answer.file.size, answer.file.mode) == (10, 10, 0o400)
    assert answer.replaced
    assert await read(daemon, payload, "a") == b"0123456789"
    assert kept(daemon) == []
    assert (await upload_of(daemon, upload)).finished
    assert await messages(daemon.files.ListUploads(wire.ListUploadsRequest())) == []


async def test_a_wrong_offset_says_the_right_one(daemon: Daemon) -> None:
    payload = await reusable(daemon)
    upload = await start(daemon, payload, "a", size=3)
    await write(daemon, b"01", upload_id=upload, finish=False)
    for offset in (0, 1, 3, -1):
        text = await refused(write(daemon, b"2", upload_id=upload, offset=offset), "upload-offset")
        assert "continue at 2" in text
    await refused(write(daemon, b"23", upload_id=upload, offset=2), "upload-size")
    await refused(write(daemon, upload_id=upload, offset=2), "upload-size")
    assert (await upload_of(daemon, upload)).offset == 2
    await write(daemon, b"2", upload_id=upload, offset=2)
    assert await read(daemon, payload, "a") == b"012"


async def test_uploads_that_are_refused(daemon: Daemon) -> None:
    payload = await reusable(daemon)
    for error, request in (
        ("invalid-payload-id", {"name": "a"}),
        ("payload-not-found", {"payload_id": UNKNOWN, "name": "a"}),
        ("invalid-file-name", {"payload_id": payload, "name": "a/../b"}),
        ("invalid-request", {"payload_id": payload, "name": "a", "size": -1}),
        ("invalid-request", {"payload_id": payload, "name": "a", "note": "x" * 4097}),
    ):
        await refused(daemon.files.StartUpload(wire.StartUploadRequest(**request)), error)
    for upload, error in ((UNKNOWN, "upload-not-found"), ("x", "invalid-request")):
        await refused(upload_of(daemon, upload), error)
        await refused(write(daemon, b"1", upload_id=upload), error)
        cancel = wire.CancelUploadRequest(upload_id=upload)
        await refused(daemon.files.CancelUpload(cancel), error)
    assert kept(daemon) == []


async def test_only_so_many_uploads_are_unfinished(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "MOST", 2)
    payload = await reusable(daemon)
    first, _ = [await start(daemon, payload, name) for name in "ab"]
    await refused(start(daemon, payload, "c"), "too-many-uploads")
    await daemon.files.CancelUpload(wire.CancelUploadRequest(upload_id=first))
    await start(daemon, payload, "c")


async def test_bytes_without_their_checksum_are_dropped(daemon: Daemon) -> None:
    payload = await reusable(daemon)
    upload = await start(daemon, payload, "a")

    def checksum(data: bytes) -> wire.Checksum:
        return wire.Checksum(algorithm="sha1", digest=hashlib.sha1(data).digest())

    head = {"upload_id": upload, "finish": False}
    await write(daemon, b"01", **head, checksum=checksum(b"01"))
    await refused(
        write(daemon, b"2x", **head, offset=2, checksum=checksum(b"23")), "upload-checksum"
    )
    assert (await upload_of(daemon, upload)).offset == 2
    await write(daemon, b"2", b"3", **head, offset=2, checksum=checksum(b"23"))
    await write(daemon, upload_id=upload, offset=4, checksum=checksum(b""))
    assert await read(daemon, payload, "a") == b"0123"


async def half(daemon: Daemon, upload: str, content: bytes, offset: int = 0, **head: Any) -> Any:
    """An open call that has sent these bytes, and neither ends nor finishes."""
    call = daemon.files.Write()
    for at in range(0, len(content), 256 * 1024):
        part = wire.WriteFileRequest(data=content[at : at + 256 * 1024])
        if not at:
            part.MergeFrom(wire.WriteFileRequest(upload_id=upload, offset=offset, **head))
        await call.write(part)

    async def arrived() -> bool:
        return (await upload_of(daemon, upload)).offset == offset + len(content)

    if not head:
        await eventually(arrived, "all of it has arrived")
    return call


async def test_a_client_that_goes_in_the_middle_continues(daemon: Daemon) -> None:
    content = os.urandom(3 * MIB)
    payload = await reusable(daemon)
    upload = await start(daemon, payload, "a", size=len(content))
    call = await half(daemon, upload, content[:-1000])
    call.cancel()
    offset = (await upload_of(daemon, upload)).offset
    answer = await write(daemon, content[offset:], upload_id=upload, offset=offset)
    assert answer.file.size == len(content)
    assert await read(daemon, payload, "a") == content


async def test_a_later_call_ends_the_one_before(daemon: Daemon) -> None:
    content = os.urandom(MIB)
    payload = await reusable(daemon)
    upload = await start(daemon, payload, "a", size=len(content) + 2)
    before = await half(daemon, upload, content)
    answer = await write(daemon, b"12", upload_id=upload, offset=len(content))
    assert answer.file.size == len(content) + 2
    await refused(before, "upload-offset")
    assert await read(daemon, payload, "a") == content + b"12"


async def test_a_daemon_that_ends_in_the_middle_continues(folder: Path) -> None:
    content = os.urandom(3 * MIB)
    async with daemon_in(folder) as daemon:
        payload = await reusable(daemon)
        upload = await start(daemon, payload, "a", size=len(content), note="n")
        await half(daemon, upload, content[: 2 * MIB + 5])
    async with daemon_in(folder) as daemon:
        found = await upload_of(daemon, upload)
        assert (found.offset, found.size, found.note) == (2 * MIB + 5, len(content), "n")
        await write(daemon, content[2 * MIB + 5 :], upload_id=upload, offset=2 * MIB + 5)
        assert await read(daemon, payload, "a") == content
    async with daemon_in(folder) as daemon:
        assert kept(daemon) == []
        await refused(upload_of(daemon, upload), "upload-not-found")


async def test_after_another_boot_only_what_was_synced_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claraedge.payloads import payloads, resuming

    monkeypatch.setattr(resuming, "_SYNCED", 2 * MIB)
    content = os.urandom(5 * MIB)
    async with daemon_in(folder) as daemon:
        payload = await reusable(daemon)
        upload = await start(daemon, payload, "a")
        await write(daemon, *[content[at : at + MIB] for at in range(0, 3 * MIB, MIB)],
                    upload_id=upload, finish=False)  # fmt: skip
        assert (await upload_of(daemon, upload)).offset == 3 * MIB
    monkeypatch.setattr(payloads, "boot_id", lambda: "another")
    async with daemon_in(folder) as daemon:
        offset = (await upload_of(daemon, upload)).offset
        assert MIB <= offset <= 2 * MIB, "what a power cut may have damaged is dropped"
        await write(
            daemon, content[offset : 4 * MIB], upload_id=upload, offset=offset, finish=False
        )
    async with daemon_in(folder) as daemon:
        assert (await upload_of(daemon, upload)).offset == 4 * MIB
        await write(daemon, content[4 * MIB :], upload_id=upload, offset=4 * MIB)
        assert await read(daemon, payload, "a") == content


async def test_bytes_that_were_not_compared_do_not_survive_a_kill(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        payload = await reusable(daemon)
        upload = await start(daemon, payload, "a")
        await write(daemon, b"01", upload_id=upload, finish=False)
    # As a kill leaves it: the mark, and bytes after it.
    left = folder / "state" / "resumable" / upload
    (left / "unchecked-2").touch()
    with (left / "0").open("ab") as file:
        file.write(b"xxx")
    async with daemon_in(folder) as daemon:
        assert (await upload_of(daemon, upload)).offset == 2
        await write(daemon, b"2", upload_id=upload, offset=2)
        assert await read(daemon, payload, "a") == b"012"


async def test_a_client_that_goes_before_the_checksum_leaves_the_offset(daemon: Daemon) -> None:
    payload = await reusable(daemon)
    upload = await start(daemon, payload, "a")
    checksum = wire.Checksum(algorithm="sha256", digest=hashlib.sha256(b"other").digest())
    call = await half(daemon, upload, b"x" * 3 * MIB, checksum=checksum)
    data = daemon.config.state_dir / "resumable" / upload / "0"
    await eventually(lambda: data.stat().st_size > MIB, "some of it is written")
    call.cancel()
    await eventually(lambda: data.stat().st_size == 0, "it is dropped")
    assert (await upload_of(daemon, upload)).offset == 0
    await write(daemon, b"1", upload_id=upload)


async def test_an_upload_whose_end_was_recorded_before_a_kill_is_finished(folder: Path) -> None:
    """The content is linked as a blob that a row names; only the upload's removal is missing."""
    async with daemon_in(folder) as daemon:
        payload = await reusable(daemon)
        upload = await start(daemon, payload, "a")
        await write(daemon, b"0123", upload_id=upload, finish=False)
        left = folder / "state" / "resumable" / upload
        saved = (left / "upload.json").read_bytes()
        await write(daemon, upload_id=upload, offset=4)
    (blob,) = (folder / "state" / "payloads" / payload / "blobs").iterdir()
    left.mkdir()
    (left / "upload.json").write_bytes(saved)
    (left / "0").hardlink_to(blob)
    async with daemon_in(folder) as daemon:
        found = await upload_of(daemon, upload)
        assert (found.finished, found.offset) == (True, 4)
        assert kept(daemon) == []
        assert await read(daemon, payload, "a") == b"0123"
        await refused(write(daemon, b"x", upload_id=upload, offset=4), "upload-not-found")


async def test_a_folder_whose_start_was_not_answered_is_removed(folder: Path) -> None:
    async with daemon_in(folder):
        pass
    left = folder / "state" / "resumable"
    (left / "empty").mkdir()
    (left / "torn").mkdir()
    (left / "torn" / "upload.json").write_bytes(b'{"payload":')
    (left / "torn" / "0").touch()
    async with daemon_in(folder) as daemon:
        assert kept(daemon) == []


async def test_an_upload_into_a_payload_whose_job_started_ends(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    payload = made.payload_id.value
    await daemon.upload(payload, ("x", b"1"))
    first = await start(daemon, payload, "late")
    second = await start(daemon, payload, "later")
    call = await half(daemon, second, b"1" * MIB)
    await daemon.start(made.job_id.value)
    await refused(write(daemon, b"1", upload_id=first), "payload-state")
    await refused(upload_of(daemon, first), "upload-not-found")
    await call.write(wire.WriteFileRequest(finish=True))
    await call.done_writing()
    await refused(call, "payload-state")
    await refused(start(daemon, payload, "last"), "payload-state")
    assert kept(daemon) == []
    await daemon.end(made.job_id.value)


async def test_an_upload_into_a_payload_that_is_deleted_ends(daemon: Daemon) -> None:
    payload = await reusable(daemon)
    upload = await start(daemon, payload, "a")
    request = payloads_pb2.PayloadsDeleteRequest(header=HEADER, payload_id=an_id(payload))
    assert (await daemon.payloads.Delete(request)).header.code == 0
    await refused(upload_of(daemon, upload), "upload-not-found")
    assert kept(daemon) == []


async def test_a_finish_that_collides_keeps_the_upload(daemon: Daemon) -> None:
    payload = await reusable(daemon, ("a", b"1"))
    upload = await start(daemon, payload, "a/b", mode=0o400)
    await refused(write(daemon, b"12", upload_id=upload), "file-collision")
    assert (await upload_of(daemon, upload)).offset == 2
    remove = payloads_pb2.PayloadsRemoveRequest(payload_id=an_id(payload), name="a")
    assert (await daemon.payloads.Remove(remove)).header.code == 0
    blobs = daemon.config.state_dir / "payloads" / payload / "blobs"
    assert list(blobs.iterdir()) == []
    await write(daemon, b"3", upload_id=upload, offset=2)
    assert contents(await daemon.download(payload, "a/b")) == b"123"


async def test_a_cancelled_upload_ends_its_call(daemon: Daemon) -> None:
    payload = await reusable(daemon)
    upload = await start(daemon, payload, "a")
    call = await half(daemon, upload, b"1" * MIB)
    await daemon.files.CancelUpload(wire.CancelUploadRequest(upload_id=upload))
    await refused(call, "upload-offset")
    await refused(upload_of(daemon, upload), "upload-not-found")
    assert kept(daemon) == []


class Moved:
    """Clocks that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from claraedge.clock import SystemClock

        self.by = 0.0
        now, elapsed = SystemClock.now, SystemClock.elapsed
        monkeypatch.setattr(SystemClock, "now", lambda clock: now(clock) + self.by)
        monkeypatch.setattr(SystemClock, "elapsed", lambda clock: elapsed(clock) + self.by)


async def test_an_upload_without_activity_ends_after_a_day(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Moved(monkeypatch)
    payload = await reusable(daemon)
    first, second = [await start(daemon, payload, name) for name in "ab"]
    moved.by = resumable.LIFE - 3600
    await write(daemon, b"1", upload_id=second, finish=False)
    assert len(await messages(daemon.files.ListUploads(wire.ListUploadsRequest()))) == 2
    moved.by = resumable.LIFE + 60
    listed = await messages(daemon.files.ListUploads(wire.ListUploadsRequest()))
    assert [one.id for one in listed] == [second]
    await refused(write(daemon, b"1", upload_id=first), "upload-not-found")
    assert [path.name for path in kept(daemon)] == [second]


async def test_a_low_disk_stops_uploads_and_keeps_what_arrived(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why: list[str] = []
    from claraedge.payloads import payloads

    made = payloads.ResumableUploads

    def blocked(*arguments: Any) -> Any:
        database, tree, clock, new_id, _, *rest = arguments
        return made(database, tree, clock, new_id, lambda: why[0] if why else None, *rest)

    monkeypatch.setattr(payloads, "ResumableUploads", blocked)
    async with daemon_in(folder, disk=DiskSettings(soft_mb=2, hard_mb=1)) as daemon:
        payload = await reusable(daemon)
        upload = await start(daemon, payload, "a", size=4)
        call = await half(daemon, upload, b"01")
        why.append("the disk is low")
        await call.write(wire.WriteFileRequest(data=b"2"))
        assert "the disk is low" in await refused(call, "storage-full")
        await refused(start(daemon, payload, "b"), "storage-full")
        await refused(write(daemon, b"2", upload_id=upload, offset=2), "storage-full")
        why.clear()
        await write(daemon, b"23", upload_id=upload, offset=2)
        assert await read(daemon, payload, "a") == b"0123"


async def test_uploads_side_by_side_do_not_mix(daemon: Daemon) -> None:
    payload = await reusable(daemon)

    async def one(number: int) -> None:
        content = bytes([number]) * (MIB + number)
        upload = await start(daemon, payload, f"{number}", size=len(content))
        for at in range(0, len(content), 200_000):
            part = content[at : at + 200_000]
            end = at + len(part) == len(content)
            await write(daemon, part, upload_id=upload, offset=at, finish=end)
        assert await read(daemon, payload, f"{number}") == content

    await asyncio.gather(*map(one, range(12)))
