"""`nvidia.clara.platform.Payloads` on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from claraedge.wire.nvidia.clara.platform import payloads_pb2 as wire
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE, eventually
from tests.unit.api.conftest import HEADER, Daemon, an_id, contents

UNKNOWN = "0" * 31 + "1"


async def job_payload(daemon: Daemon) -> tuple[str, str]:
    """A job that is not started, and its payload."""
    made = await daemon.create(await daemon.register(chain("one")))
    return made.job_id.value, made.payload_id.value


async def reusable(daemon: Daemon, **metadata: str) -> str:
    reply = await daemon.payloads.Create(
        wire.PayloadsCreateRequest(header=HEADER, metadata=metadata)
    )
    assert (reply.header.code, reply.type) == (0, wire.PAYLOAD_TYPE_REUSABLE)
    return str(reply.payload_id.value)


async def names(daemon: Daemon, payload: str) -> list[str]:
    return [r.file.name for r in await daemon.listing(payload) if r.HasField("file")]


def left(daemon: Daemon) -> list[Path]:
    """What uploads left in the folder that they go through."""
    return list((daemon.config.state_dir / "uploads").iterdir())


def blobs(daemon: Daemon, payload: str) -> int:
    return len(list((daemon.config.state_dir / "payloads" / payload / "blobs").iterdir()))


async def test_a_file_comes_back_as_it_was_sent(daemon: Daemon) -> None:
    _, payload = await job_payload(daemon)
    data = bytes(range(256)) * 12_000  # several messages, and no multiple of one
    step = 65536
    chunks = [("./ct/image.mhd", data[at : at + step]) for at in range(0, len(data), step)]
    sent = await daemon.upload(payload, *chunks)
    assert sent.header.code == 0
    assert (sent.details.name, sent.details.size, sent.details.mode) == (
        "/input/ct/image.mhd",
        len(data),
        0o644,
    )
    for name in ("/input/ct/image.mhd", "./input/ct/image.mhd", "input//ct/image.mhd"):
        replies = await daemon.download(payload, name)
        assert contents(replies) == data
    assert len(replies) > 1
    assert max(r.ByteSize() for r in replies) < 3_900_000
    assert replies[0].header.code == 0
    assert {(r.details.name, r.details.size) for r in replies} == {
        ("/input/ct/image.mhd", len(data))
    }


async def test_details_are_one_message_a_file_by_name_bytes(daemon: Daemon) -> None:
    job, payload = await job_payload(daemon)
    for name in ("b", "ä", "B", "a/z", "a-b"):
        await daemon.upload(payload, (name, name.encode()))
    replies = await daemon.listing(payload)
    assert [r.file.name for r in replies] == [
        "/input/B",
        "/input/a-b",
        "/input/a/z",
        "/input/b",
        "/input/ä",
    ]
    assert [r.file.size for r in replies] == [1, 3, 3, 1, 2]
    first = replies[0]
    assert (first.header.code, first.payload_id.value, first.job_id.value, first.type) == (
        0,
        payload,
        job,
        wire.PAYLOAD_TYPE_PIPELINE,
    )


async def test_an_empty_payload_has_one_message_without_a_file(daemon: Daemon) -> None:
    payload = await reusable(daemon, Kind="atlas")
    (reply,) = await daemon.listing(payload)
    assert (reply.header.code, reply.payload_id.value) == (0, payload)
    assert (reply.type, reply.job_id.value) == (wire.PAYLOAD_TYPE_REUSABLE, "")
    assert dict(reply.metadata) == {"Kind": "atlas"}
    assert not reply.HasField("file")


async def test_metadata_come_with_the_first_file(daemon: Daemon) -> None:
    payload = await reusable(daemon, Kind="atlas")
    await daemon.upload(payload, ("a", b"1"), ("b", b"2"))
    replies = await daemon.listing(payload)
    assert [r.file.name for r in replies] == ["/a", "/b"]
    assert dict(replies[0].metadata) == {"Kind": "atlas"}


async def test_files_of_one_stream_may_be_interleaved_and_appear_together(daemon: Daemon) -> None:
    _, payload = await job_payload(daemon)
    reply = await daemon.upload(
        payload, ("a", b"1"), ("b", b"x"), ("./a", b"2"), ("b", b"y"), ("c", b""), ("a", b"3")
    )
    assert (reply.header.code, reply.details.name, reply.details.size) == (0, "/input/a", 3)
    got = {n: contents(await daemon.download(payload, n)) for n in await names(daemon, payload)}
    assert got == {"/input/a": b"123", "/input/b": b"xy", "/input/c": b""}


async def test_a_name_that_comes_again_is_replaced(daemon: Daemon) -> None:
    _, payload = await job_payload(daemon)
    await daemon.upload(payload, ("a", b"a longer content"))
    await daemon.upload(payload, ("/a", b"new"))
    assert contents(await daemon.download(payload, "input/a")) == b"new"
    assert (await daemon.listing(payload))[0].file.size == 3
    assert blobs(daemon, payload) == 1


async def test_a_client_may_send_header_and_id_once_and_the_name_only_where_it_changes(
    daemon: Daemon,
) -> None:
    _, payload = await job_payload(daemon)
    details = wire.PayloadFileDetails
    requests = [
        wire.PayloadsUploadRequest(
            header=HEADER,
            payload_id=an_id(payload),
            details=details(name="a", size=999_999),
            data=b"1",
        ),
        wire.PayloadsUploadRequest(data=b"2"),
        wire.PayloadsUploadRequest(details=details(name="b"), data=b"3"),
        wire.PayloadsUploadRequest(data=b"4"),
    ]
    reply = await daemon.payloads.Upload(iter(requests))
    assert (reply.header.code, reply.details.name, reply.details.size) == (0, "/input/b", 2)
    assert contents(await daemon.download(payload, "/input/a")) == b"12"


async def test_more_files_than_a_process_may_open_fit_into_one_stream(daemon: Daemon) -> None:
    _, payload = await job_payload(daemon)
    count = 1500  # the usual limit is 1024
    reply = await daemon.upload(payload, *[(f"slices/{n:04}", b"%d" % n) for n in range(count)])
    assert reply.header.code == 0, reply.header.messages
    assert len(await names(daemon, payload)) == count
    assert contents(await daemon.download(payload, "/input/slices/0007")) == b"7"


async def test_an_empty_file_is_one_message_and_comes_back_as_one(daemon: Daemon) -> None:
    _, payload = await job_payload(daemon)
    sent = await daemon.upload(payload, ("empty", b""))
    assert (sent.header.code, sent.details.size) == (0, 0)
    (reply,) = await daemon.download(payload, "/input/empty")
    assert (reply.header.code, reply.details.name, reply.data) == (0, "/input/empty", b"")


async def test_an_upload_without_a_message_says_what_to_do(daemon: Daemon) -> None:
    reply = await daemon.payloads.Upload(iter([]))
    assert reply.header.code == -0x5001
    assert "one message with its name" in reply.header.messages[0]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (0, 0o644),
        (0o600, 0o600),
        (0o755, 0o755),
        (0o4777, 0o777),
        (0o100640, 0o640),
        (0o020, 0o420),
    ],
)
async def test_mode_bits(daemon: Daemon, sent: int, kept: int) -> None:
    _, payload = await job_payload(daemon)
    reply = await daemon.upload(payload, ("x", b"1"), mode=sent)
    assert reply.details.mode == kept
    assert (await daemon.listing(payload))[0].file.mode == kept
    (got,) = await daemon.download(payload, "input/x")
    assert (got.details.mode, got.data) == (kept, b"1")


async def test_uploads_to_a_reusable_payload_are_relative_to_its_root(daemon: Daemon) -> None:
    payload = await reusable(daemon)
    await daemon.upload(payload, ("input/atlas.nii", b"1"))
    assert await names(daemon, payload) == ["/input/atlas.nii"]


@pytest.mark.parametrize(
    ("stored", "wanted", "found"),
    [
        (["Image.DCM"], "image.dcm", "Image.DCM"),
        (["image.dcm", "Image.DCM"], "Image.DCM", "Image.DCM"),
        (["image.dcm", "Image.DCM"], "IMAGE.dcm", -0x3102),
        (["image.dcm"], "other.dcm", -0x3101),
        (["image.dcm"], "../image.dcm", -0x3100),
        (["image.dcm"], "", -0x3100),
        (["a/image.dcm"], "a", -0x3101),
        (["a/image.dcm"], "a/", -0x3100),
    ],
)
async def test_which_file_a_name_means(
    daemon: Daemon, stored: list[str], wanted: str, found: str | int
) -> None:
    payload = await reusable(daemon)
    for name in stored:
        await daemon.upload(payload, (name, name.encode()))
    replies = await daemon.download(payload, wanted)
    if isinstance(found, str):
        assert contents(replies) == found.encode()
        assert replies[0].details.name == f"/{found}"
    else:
        (reply,) = replies
        assert reply.header.code == found
        assert reply.header.messages[0]
        assert (reply.data, reply.HasField("details")) == (b"", False)


@pytest.mark.parametrize(
    ("name", "code"),
    [("", -0x3100), ("..", -0x3100), ("a/../b", -0x3100), ("a/", -0x3100), ("a\0b", -0x3100)],
)
async def test_names_that_no_file_may_have(daemon: Daemon, name: str, code: int) -> None:
    _, payload = await job_payload(daemon)
    reply = await daemon.upload(payload, ("good", b"1"), (name, b"2"), ("good", b"3"))
    if name:
        assert reply.header.code == code
        assert await names(daemon, payload) == []
    else:  # no name: the file before continues
        assert contents(await daemon.download(payload, "input/good")) == b"123"
    assert left(daemon) == []


@pytest.mark.parametrize(
    ("name", "says"), [("a/b", "'input/a' is a file there"), ("c", "'input/c/d' in it")]
)
async def test_a_name_is_no_file_and_folder_at_once(daemon: Daemon, name: str, says: str) -> None:
    _, payload = await job_payload(daemon)
    await daemon.upload(payload, ("a", b"1"), ("c/d", b"2"))
    reply = await daemon.upload(payload, ("new", b"3"), (name, b"4"))
    assert reply.header.code == -0x3104
    assert says in reply.header.messages[0]
    assert await names(daemon, payload) == ["/input/a", "/input/c/d"]
    assert (left(daemon), blobs(daemon, payload)) == ([], 2)


async def test_a_stream_that_breaks_changes_nothing(daemon: Daemon) -> None:
    _, payload = await job_payload(daemon)
    await daemon.upload(payload, ("a", b"old"))
    sent = asyncio.Event()

    async def requests() -> AsyncIterator[wire.PayloadsUploadRequest]:
        for _ in range(3):
            yield wire.PayloadsUploadRequest(
                header=HEADER,
                payload_id=an_id(payload),
                details=wire.PayloadFileDetails(name="a"),
                data=b"n" * 1_100_000,
            )
        sent.set()
        await asyncio.sleep(DEADLINE)

    call = daemon.payloads.Upload(requests())
    waiting = asyncio.ensure_future(call)
    async with asyncio.timeout(DEADLINE):
        await sent.wait()
    await eventually(
        lambda: any(list(folder.iterdir()) for folder in left(daemon)), "some is on the disk"
    )
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await eventually(lambda: not left(daemon), "nothing is left")
    assert contents(await daemon.download(payload, "input/a")) == b"old"
    assert blobs(daemon, payload) == 1


async def test_a_stream_for_two_payloads_is_refused(daemon: Daemon) -> None:
    first, second = await reusable(daemon), await reusable(daemon)
    requests = [
        wire.PayloadsUploadRequest(
            payload_id=an_id(payload), details=wire.PayloadFileDetails(name="a"), data=b"1"
        )
        for payload in (first, second)
    ]
    reply = await daemon.payloads.Upload(iter(requests))
    assert reply.header.code == -0x5001
    assert "a stream for each" in reply.header.messages[0]
    assert await names(daemon, first) == []


async def test_a_started_job_accepts_no_more_files(daemon: Daemon) -> None:
    daemon.runner.block("one")
    job, payload = await job_payload(daemon)
    await daemon.upload(payload, ("a", b"1"))
    await daemon.start(job)
    reply = await daemon.upload(payload, ("a", b"2"))
    assert reply.header.code == -0x3103
    assert job in reply.header.messages[0]
    assert contents(await daemon.download(payload, "input/a")) == b"1"


async def test_an_upload_that_is_open_at_the_start_is_refused_at_its_end(daemon: Daemon) -> None:
    daemon.runner.block("one")
    job, payload = await job_payload(daemon)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def requests() -> AsyncIterator[wire.PayloadsUploadRequest]:
        yield wire.PayloadsUploadRequest(
            payload_id=an_id(payload), details=wire.PayloadFileDetails(name="late"), data=b"1"
        )
        begun.set()
        await go_on.wait()

    call = asyncio.ensure_future(daemon.payloads.Upload(requests()))
    async with asyncio.timeout(DEADLINE):
        await begun.wait()
    await eventually(lambda: left(daemon), "some is on the disk")
    await daemon.start(job)
    go_on.set()
    reply: Any = await call
    assert reply.header.code == -0x3103
    assert (left(daemon), blobs(daemon, payload)) == ([], 0)


async def test_a_download_keeps_to_the_file_that_it_began_with(daemon: Daemon) -> None:
    payload = await reusable(daemon)
    old = b"o" * 9_000_000
    await daemon.upload(payload, *[("a", old[:3_000_000])] * 3)
    request = wire.PayloadsDownloadRequest(payload_id=an_id(payload), name="a")
    call = daemon.payloads.Download(request)
    replies = aiter(call)
    data = (await anext(replies)).data
    await daemon.upload(payload, ("a", b"new"))
    data += b"".join([reply.data async for reply in replies])
    assert data == old
    assert contents(await daemon.download(payload, "a")) == b"new"


async def test_a_download_that_breaks_half_way_does_not_seem_whole(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claraedge.api import contents as reading

    payload = await reusable(daemon)
    await daemon.upload(payload, *[("a", b"o" * 1_500_000)] * 2)
    read = reading._read
    reads = 0

    def breaks(*arguments: Any) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 2:
            raise OSError(5, "Input/output error")
        return read(*arguments)

    monkeypatch.setattr(reading, "_read_cached", lambda *_: b"")
    monkeypatch.setattr(reading, "_read", breaks)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await daemon.download(payload, "a")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "a disk of the daemon fails" in (caught.value.details() or "")
    assert "Input/output error" in (caught.value.details() or "")


@pytest.mark.parametrize(("payload", "code"), [("", -0x3000), ("x", -0x3000), (UNKNOWN, -0x3001)])
async def test_ids_that_name_no_payload(daemon: Daemon, payload: str, code: int) -> None:
    replies = [
        *await daemon.listing(payload),
        *await daemon.download(payload, "a"),
        await daemon.upload(payload, ("a", b"1")),
    ]
    assert [r.header.code for r in replies] == [code] * 3
    assert all(r.header.messages for r in replies)
    assert left(daemon) == []


async def test_metadata_of_a_new_payload_keep_the_rules(daemon: Daemon) -> None:
    reply = await daemon.payloads.Create(
        wire.PayloadsCreateRequest(header=HEADER, metadata={"a": "1", "A": "1"})
    )
    assert reply.header.code == -0x5003
    assert not reply.HasField("payload_id")


async def test_results_are_listed_next_to_the_inputs(daemon: Daemon) -> None:
    ended = await daemon.run(await daemon.register(chain("one", "two")), x=b"data")
    payload = ended.payload_id.value
    assert await names(daemon, payload) == ["/input/x", "/operators/one/x", "/operators/two/x"]
    assert contents(await daemon.download(payload, "./operators/two/x")) == b"data"


async def test_no_call_leaves_a_descriptor_open(daemon: Daemon) -> None:
    payload = await reusable(daemon)

    def opened() -> int:
        return sum("payloads" in str(p) or "uploads" in str(p) for p in descriptors())

    def descriptors() -> list[Path]:
        links = []
        for entry in Path("/proc/self/fd").iterdir():
            try:
                links.append(entry.readlink())
            except FileNotFoundError:
                continue
        return links

    await daemon.upload(payload, *[("a", b"o" * 3_000_000)] * 3)
    for _ in range(3):
        call = daemon.payloads.Download(
            wire.PayloadsDownloadRequest(payload_id=an_id(payload), name="a")
        )
        await call.read()
        call.cancel()
    await daemon.upload(payload, ("b", b"1"), ("..", b"2"))
    await eventually(lambda: not opened(), "no file is open")
