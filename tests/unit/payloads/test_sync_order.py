"""Each file and folder of an upload is durable before the row that names it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from claraedge.clock import SystemClock
from claraedge.fs import files, syncing
from claraedge.ids import new_id
from claraedge.payloads import records
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.store.database import Database, Transaction

MIB = 1 << 20
#: What a stream brings: chunks of several files, some of which continue later.
CHUNKS = [
    *[("large", b"l" * MIB)] * 5,
    ("folder/small", b"s"),
    ("empty", b""),
    *[("large", b"l" * 70_000)] * 70,
    ("folder/small", b"s" * 300_000),
]
SIZES = {"large": 5 * MIB + 70 * 70_000, "folder/small": 300_001, "empty": 0}


def content(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode)


class Durable:
    """What a power cut at this moment would leave: of each inode, what its last fsync saw."""

    def __init__(self, state: Path) -> None:
        self.named: list[str] = []
        """The files whose rows were written."""
        self._state = state
        self._contents: dict[int, tuple[int, int, int]] = {}
        self._names: dict[int, frozenset[str]] = {}

    def synced(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._names[status.st_ino] = frozenset(os.listdir(descriptor))
        else:
            self._contents[status.st_ino] = content(status)

    def check(self, path: Path) -> None:
        """Fails unless this file or folder, and its name, would be there as they are now."""
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            assert self._contents.get(status.st_ino) == content(status), f"{path} is not synced"
        while path != self._state:
            names = self._names.get(path.parent.lstat().st_ino, frozenset())
            assert path.name in names, f"the name of {path} is not synced"
            path = path.parent


@pytest.fixture
def durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Durable:
    """Notes each fsync, and checks all that a row names before the row is written."""
    state = Durable(tmp_path)
    fsync, add, put_files = os.fsync, records.add, records.put_files

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        state.synced(descriptor)

    def checked_add(tx: Transaction, payload: str, *rest: Any) -> None:
        state.check(tmp_path / "payloads" / payload / "blobs")
        add(tx, payload, *rest)

    def checked_put(tx: Transaction, payload: str, found: Iterable[PayloadFile]) -> list[bytes]:
        made = list(found)
        for file in made:
            state.check(tmp_path / "payloads" / payload / os.fsdecode(file.blob))
            state.named.append(file.name)
        return put_files(tx, payload, made)

    monkeypatch.setattr(syncing.os, "fsync", noting)
    monkeypatch.setattr(records, "add", checked_add)
    monkeypatch.setattr(records, "put_files", checked_put)
    return state


async def uploaded(state: Path) -> dict[str, int]:
    """Creates a payload and uploads files; returns their sizes."""
    async with Database(state / "claraedge.db") as database:
        payloads = Payloads(database, PayloadTree(state), SystemClock(), new_id)
        await payloads.prepare()
        payload = await payloads.create({})
        async with await payloads.upload(payload.id) as upload:
            for name, data in CHUNKS:
                await upload.write(name, 0o600, data)
            await upload.commit()
        return {file.name: file.size for file in (await payloads.get(payload.id)).files}


async def test_all_is_synced_before_the_rows_that_name_it(durable: Durable, tmp_path: Path) -> None:
    assert await uploaded(tmp_path) == SIZES
    assert set(durable.named) == set(SIZES)


@pytest.mark.parametrize(
    ("omitted", "why"),
    [
        ("sync_file", "is not synced"),
        ("sync_folder", "the name of .* is not synced"),
        ("sync_folders", "the name of .* is not synced"),
    ],
)
async def test_an_fsync_that_is_left_out_is_noticed(
    durable: Durable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, omitted: str, why: str
) -> None:
    monkeypatch.setattr(files, omitted, lambda _: None)
    with pytest.raises(AssertionError, match=why):
        await uploaded(tmp_path)
    assert durable.named == []
