"""Uploads and their bytes on the disk: what a crash, a cancel or a full disk leaves."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from claraedge.blocking import CancelFlag, in_thread
from claraedge.errors import PayloadNotFoundError
from claraedge.fs import files
from claraedge.ids import new_id
from claraedge.payloads.model import Payload, PayloadFile
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.tree import ForeignOutputError, PayloadTree, UnusableOutputError
from claraedge.payloads.uploads import Upload
from claraedge.store import disposable
from claraedge.store.database import Database, Transaction
from claraedge.store.unknown import Unknown
from tests.rig.deep import chain
from tests.rig.waiting import eventually

DEADLINE = 20.0


async def put(payloads: Payloads, payload: Payload, **contents: bytes) -> None:
    async with await payloads.upload(payload.id) as upload:
        for name, content in contents.items():
            await upload.write(name, 0, content)
        await upload.commit()


def blobs(payloads: Payloads, payload: Payload) -> set[Path]:
    return set((payloads.tree.folder(payload.id) / "blobs").iterdir())


def in_uploads(payloads: Payloads) -> list[Path]:
    return [path for folder in payloads.tree.uploads.iterdir() for path in folder.iterdir()]


async def test_bytes_are_readable_for_the_users_of_containers(payloads: Payloads) -> None:
    payload = await payloads.create({})
    before = os.umask(0o077)
    try:
        async with await payloads.upload(payload.id) as upload:
            await upload.write("private", 0o600, b"1")
            await upload.commit()
    finally:
        os.umask(before)
    file, path = await payloads.find(payload.id, "private")
    assert file.mode == 0o600  # as reported
    assert path.stat().st_mode & 0o777 == 0o644  # as stored
    assert payloads.tree.folder(payload.id).stat().st_mode & 0o777 == 0o700


async def test_what_is_sent_goes_to_the_disk_on_the_way(payloads: Payloads) -> None:
    payload = await payloads.create({})
    async with await payloads.upload(payload.id) as upload:
        for _ in range(20):
            await upload.write("big", 0, b"x" * 600_000)
        (part,) = in_uploads(payloads)
        await eventually(lambda: part.stat().st_size == 12_000_000, "all of it is on the disk")
        assert (await payloads.get(payload.id)).files == ()


async def test_many_small_files_do_not_stay_in_memory(payloads: Payloads) -> None:
    payload = await payloads.create({})
    async with await payloads.upload(payload.id) as upload:
        for number in range(200):
            await upload.write(f"{number}", 0, b"x" * 100_000)
        assert upload._writer._piece.size <= 1_200_000
        await upload.commit()
    found = await payloads.get(payload.id)
    assert {file.size for file in found.files} == {100_000}
    for name in ("0", "57", "199"):
        _, path = await payloads.find(payload.id, name)
        assert path.read_bytes() == b"x" * 100_000


async def test_an_upload_that_is_left_without_a_commit_leaves_nothing(payloads: Payloads) -> None:
    payload = await payloads.create({})
    async with await payloads.upload(payload.id) as upload:
        await upload.write("a", 0, b"x" * 2_000_000)
    assert list(payloads.tree.uploads.iterdir()) == []
    assert blobs(payloads, payload) == set()


async def test_a_full_disk_leaves_what_was_there(
    payloads: Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = await payloads.create({})
    await put(payloads, payload, a=b"old")
    sync = files.sync_file
    left = 2

    def full(path: Path) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        sync(path)

    monkeypatch.setattr(files, "sync_file", full)
    with pytest.raises(OSError, match="No space left"):
        await put(payloads, payload, a=b"new", b=b"2", c=b"3")
    monkeypatch.undo()
    _, path = await payloads.find(payload.id, "a")
    assert path.read_bytes() == b"old"
    assert blobs(payloads, payload) == {path}
    assert list(payloads.tree.uploads.iterdir()) == []
    await put(payloads, payload, a=b"new")


async def test_a_commit_that_is_being_recorded_is_finished_though_its_caller_disappears(
    payloads: Payloads, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = await payloads.create({})
    await put(payloads, payload, a=b"old")
    stored, go, entered, gate = (threading.Event() for _ in range(4))

    def stores(_: str) -> None:
        stored.set()
        assert go.wait(DEADLINE)

    def holds_the_writer(_: Transaction) -> None:
        entered.set()
        assert gate.wait(DEADLINE)

    upload = await payloads.upload(payload.id)

    async def sending() -> None:
        async with upload:
            await upload.write("a", 0, b"new")
            await upload.commit()

    monkeypatch.setattr(payloads.tree, "sync_blobs", stores)
    call = asyncio.ensure_future(sending())
    assert await in_thread(stored.wait, DEADLINE)
    writing = asyncio.ensure_future(database.write(holds_the_writer))
    assert await in_thread(entered.wait, DEADLINE)
    go.set()
    await eventually(lambda: upload._committing is not None, "the commit has begun")
    call.cancel()
    await asyncio.sleep(0)
    gate.set()
    await writing
    with pytest.raises(asyncio.CancelledError):
        await call
    _, path = await payloads.find(payload.id, "a")
    assert path.read_bytes() == b"new"
    assert blobs(payloads, payload) == {path}
    assert list(payloads.tree.uploads.iterdir()) == []


async def test_a_caller_that_disappears_while_a_chunk_is_written_waits_for_that(
    payloads: Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is removed after the thread that writes into it has ended, not under it."""
    payload = await payloads.create({})
    entered, gate, ended = threading.Event(), threading.Event(), threading.Event()
    write_chunks = files.write_chunks

    def slow(descriptor: int, chunks: Iterable[bytes | bytearray]) -> None:
        entered.set()
        assert gate.wait(DEADLINE)
        write_chunks(descriptor, chunks)
        ended.set()

    monkeypatch.setattr(files, "write_chunks", slow)

    async def upload() -> None:
        async with await payloads.upload(payload.id) as upload:
            await upload.write("a", 0, b"x" * 2_000_000)
            await upload.commit()

    call = asyncio.ensure_future(upload())
    assert await in_thread(entered.wait, DEADLINE)
    call.cancel()
    await asyncio.sleep(0.02)
    assert not call.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()
    assert list(payloads.tree.uploads.iterdir()) == []


async def test_a_start_sweeps_what_a_crash_left(
    payloads: Payloads, database: Database, tmp_path: Path
) -> None:
    payload = await payloads.create({})
    await put(payloads, payload, a=b"1")
    kept = blobs(payloads, payload)
    orphan, upload = payloads.tree.folder(payload.id) / "blobs" / new_id(), new_id()
    orphan.write_bytes(b"given up by a row")
    orphan.with_name(f"{upload}-0").write_bytes(b"adopted, and never named by a row")
    given_up = [f"payloads/{payload.id}/blobs/{name}" for name in (orphan.name, upload)]
    await database.write(lambda tx: disposable.add(tx, given_up))
    (payloads.tree.uploads / "broken").mkdir()
    (payloads.tree.uploads / "broken" / "0").write_bytes(b"half")
    unknown = new_id()
    payloads.tree.make(unknown)
    await payloads.prepare()
    assert blobs(payloads, payload) == kept
    assert list(payloads.tree.uploads.iterdir()) == []
    assert not payloads.tree.folder(unknown).exists()
    assert not (tmp_path / "unknown").exists()
    assert await database.read(lambda tx: disposable.of(tx, "payloads")) == set()
    with pytest.raises(PayloadNotFoundError):
        await payloads.get(unknown)


async def test_what_an_older_database_does_not_know_is_kept(
    payloads: Payloads, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = await payloads.create({})
    newer = new_id()
    payloads.tree.make(newer)
    blob = payloads.tree.folder(newer) / "blobs" / new_id()
    blob.write_bytes(b"of a payload that is newer")
    further = payloads.tree.folder(known.id) / "blobs" / f"{new_id()}-0"
    further.write_bytes(b"of an upload that is newer")
    await payloads.prepare()
    kept = sorted(p.read_bytes() for p in (tmp_path / "unknown").rglob("*") if p.is_file())
    assert kept == [b"of a payload that is newer", b"of an upload that is newer"]
    assert (tmp_path / "unknown" / further.relative_to(tmp_path)).exists()
    assert caplog.text.count("an older one was put back") == 2
    (warning,) = Unknown(tmp_path).warnings()
    assert "2 of payloads" in warning
    further.write_bytes(b"once more")
    await payloads.prepare()
    assert len([p for p in (tmp_path / "unknown").rglob("*") if p.is_file()]) == 3


@pytest.mark.parametrize(
    ("fails", "gone"), [("discard", True), ("adopted", False)], ids=["replaced", "uploaded"]
)
async def test_what_a_crash_of_an_upload_leaves_is_no_unknown_file(
    payloads: Payloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, gone: bool
) -> None:
    class CrashError(BaseException):
        """Nothing handles it."""

    def crash(*_: object) -> None:
        raise CrashError

    payload = await payloads.create({})
    await put(payloads, payload, a=b"old")
    with monkeypatch.context() as patch:
        patch.setattr(payloads.tree, "sync_blobs" if fails == "adopted" else fails, crash)
        patch.setattr(Upload, "_clean", lambda _: asyncio.sleep(0))
        with pytest.raises(CrashError):
            await put(payloads, payload, a=b"new")
    assert len(blobs(payloads, payload)) == 2
    await payloads.prepare()
    (left,) = blobs(payloads, payload)
    assert left.read_bytes() == (b"new" if gone else b"old")
    assert not (tmp_path / "unknown").exists()


async def test_no_record_of_what_was_removed_stays(payloads: Payloads, database: Database) -> None:
    payload = await payloads.create({})
    await put(payloads, payload, a=b"1")
    await put(payloads, payload, a=b"2", b=b"3")
    await payloads.remove_file(payload.id, "a")
    async with await payloads.upload(payload.id) as upload:
        await upload.write("a", 0, b"4")
        await payloads.delete(payload.id)
        with pytest.raises(PayloadNotFoundError):
            await upload.commit()
    assert await database.read(lambda tx: disposable.of(tx, "payloads")) == set()


async def test_a_download_finds_the_new_file_where_one_was_replaced_meanwhile(
    payloads: Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = await payloads.create({})
    await put(payloads, payload, a=b"old")
    find = payloads.find
    calls = 0

    async def overtaken(payload_id: str, name: str) -> tuple[PayloadFile, Path]:
        nonlocal calls
        calls += 1
        found = await find(payload_id, name)
        if calls == 1:
            await put(payloads, payload, a=b"newer")
        return found

    monkeypatch.setattr(payloads, "find", overtaken)
    file, content = await payloads.open(payload.id, "a")
    with content:
        assert (file.size, content.read()) == (5, b"newer")


def test_a_link_in_place_of_a_blob_is_not_followed(tmp_path: Path) -> None:
    from claraedge.payloads.payloads import _open

    (tmp_path / "secret").write_text("1")
    (tmp_path / "blob").symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links"):
        _open(tmp_path / "blob")


class TestTree:
    """The folder that containers read, and what they wrote."""

    @pytest.fixture
    def tree(self, tmp_path: Path) -> PayloadTree:
        tree = PayloadTree(tmp_path)
        tree.prepare(set())
        tree.make("p")
        return tree

    @staticmethod
    def stored(tree: PayloadTree, name: str, content: bytes) -> PayloadFile:
        source = tree.uploads / new_id()
        source.write_bytes(content)
        blob = tree.adopt("p", source, mode=0o600, keep=False)
        return PayloadFile(name=name, size=len(content), mode=0o600, blob=blob)

    def test_the_input_is_made_once_and_for_all_users(self, tree: PayloadTree) -> None:
        inputs = [self.stored(tree, "input/a", b"1"), self.stored(tree, "input/x/y/b", b"2")]
        before = os.umask(0o077)
        try:
            tree.materialise(CancelFlag(), "p", inputs)
        finally:
            os.umask(before)
        view = tree.input("p")
        found = {str(p.relative_to(view)): p.stat().st_mode & 0o777 for p in view.rglob("*")}
        assert found == {"a": 0o644, "x": 0o755, "x/y": 0o755, "x/y/b": 0o644}
        assert view.stat().st_mode & 0o777 == 0o755
        again = view.stat().st_ino
        tree.materialise(CancelFlag(), "p", [])
        assert view.stat().st_ino == again
        assert (view / "a").read_bytes() == b"1"

    def test_an_input_that_a_crash_left_half_made_is_made_again(self, tree: PayloadTree) -> None:
        half = tree.input("p").with_name("input.new")
        half.mkdir()
        (half / "stale").write_text("1")
        tree.materialise(CancelFlag(), "p", [self.stored(tree, "input/a", b"1")])
        assert [p.name for p in tree.input("p").iterdir()] == ["a"]
        assert not half.exists()

    def test_a_job_without_inputs_reads_an_empty_folder(self, tree: PayloadTree) -> None:
        tree.materialise(CancelFlag(), "p", [])
        assert list(tree.input("p").iterdir()) == []

    def test_regular_files_are_listed_and_others_counted(self, tree: PayloadTree) -> None:
        folder = tree.attempt("p", "seg", 1)
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "mask.nii").write_bytes(b"123")
        (folder / "run.sh").write_bytes(b"1")
        (folder / "run.sh").chmod(0o700)
        (folder / "link").symlink_to("run.sh")
        (folder / "out").symlink_to("/etc")
        os.mkfifo(folder / "pipe")
        found, others = tree.collect("p", folder, "operators/seg")
        assert others == 3
        assert [(f.name, f.size, f.mode) for f in found] == [
            ("operators/seg/run.sh", 1, 0o744),
            ("operators/seg/sub/mask.nii", 3, found[1].mode),
        ]
        assert tree.path("p", found[1]).read_bytes() == b"123"

    def test_folders_and_files_that_an_operator_closed_are_opened(self, tree: PayloadTree) -> None:
        folder = tree.attempt("p", "seg", 1)
        inner = folder / "closed" / "more"
        inner.mkdir(parents=True)
        (inner / "a").write_bytes(b"1")
        (inner / "a").chmod(0o000)
        inner.chmod(0o300)
        inner.parent.chmod(0o000)
        found, others = tree.collect("p", folder, "operators/seg")
        assert ([f.name for f in found], others) == (["operators/seg/closed/more/a"], 0)
        assert found[0].mode == 0o444
        assert inner.stat().st_mode & 0o777 == 0o755

    def test_what_belongs_to_others_is_refused_until_it_was_reclaimed(
        self, tree: PayloadTree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tree.attempt("p", "seg", 1)
        folder.mkdir(parents=True)
        (folder / "ours").touch()
        (folder / "theirs").symlink_to("ours")
        monkeypatch.setattr(files, "is_foreign", lambda status: stat.S_ISLNK(status.st_mode))
        with pytest.raises(ForeignOutputError):
            tree.collect("p", folder, "operators/seg")
        found, others = tree.collect("p", folder, "operators/seg", reclaimed=True)
        assert ([file.name for file in found], others) == (["operators/seg/ours"], 1)

    def test_names_that_are_not_utf_8_are_listed_escaped_and_found(self, tree: PayloadTree) -> None:
        folder = tree.attempt("p", "seg", 1)
        folder.mkdir(parents=True)
        raw = os.fsencode(folder) + b"/a\xff.dcm"
        Path(os.fsdecode(raw)).write_bytes(b"1")
        ((file,), _) = tree.collect("p", folder, "operators/seg")
        assert file.name == "operators/seg/a\\xff.dcm"
        file.name.encode("utf-8")  # what the wire needs
        assert file.blob.endswith(b"/a\xff.dcm")
        assert tree.path("p", file).read_bytes() == b"1"

    def test_an_attempt_that_wrote_nothing_lists_nothing(self, tree: PayloadTree) -> None:
        folder = tree.attempt("p", "seg", 1)
        folder.mkdir(parents=True)
        assert tree.collect("p", folder, "operators/seg") == ([], 0)

    @pytest.mark.parametrize(
        ("name", "levels", "why"),
        [
            (b"d", 127, "more than 127 folders"),
            (b"d", 5000, "more than 127 folders"),
            (b"n" * 255, 13, "more than 3072 bytes"),
            (b"n" * 255, 1200, "more than 3072 bytes"),
            (b"\xff" * 200, 5, "more than 3072 bytes"),  # as it would be listed
        ],
    )
    def test_outputs_that_nobody_could_be_given_are_refused_and_removed(
        self, tree: PayloadTree, name: bytes, levels: int, why: str
    ) -> None:
        top = tree.attempt("p", "seg", 1)
        chain(top, os.fsdecode(name), levels)
        with pytest.raises(UnusableOutputError, match=why):
            tree.collect("p", top, "operators/seg")
        tree.remove("p")
        assert list(tree.removed.iterdir()) == list(tree.payloads.iterdir()) == []

    def test_the_deepest_output_is_listed_by_name_bytes(self, tree: PayloadTree) -> None:
        folder = chain(tree.attempt("q", "seg", 1), "d", 0)
        inner = folder / "/".join(["d"] * 125)
        inner.mkdir(parents=True)
        for name in ("b", "B", "ä", "a-b"):
            (inner / name).write_text(name)
        found, _ = tree.collect("q", folder, "operators/seg")
        assert [file.name[-3:].strip("/d") for file in found] == ["B", "a-b", "b", "ä"]

    def test_too_many_entries_are_refused(
        self, tree: PayloadTree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("claraedge.payloads.tree.MAX_ENTRIES", 10)
        folder = tree.attempt("p", "seg", 1)
        folder.mkdir(parents=True)
        for number in range(10):
            (folder / str(number)).touch()
        assert len(tree.collect("p", folder, "operators/seg")[0]) == 10
        (folder / "more").touch()
        with pytest.raises(UnusableOutputError, match="more than 10 files and folders"):
            tree.collect("p", folder, "operators/seg")
