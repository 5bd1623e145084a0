"""Long lists of files: a page at a time, and never a part of an upload."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claraedge.clock import SystemClock
from claraedge.errors import PayloadNotFoundError, PayloadStateError, StreamMemoryError
from claraedge.ids import new_id
from claraedge.memory import Budget
from claraedge.payloads import records
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.store import pages
from claraedge.store.database import Database, Transaction

NAMES = sorted(["a", "a/b".replace("/", "-"), "B", "\N{SNOWMAN}", "z", "é", "folder/x", "folder-y"])


@pytest.fixture
async def payloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Payloads]:
    monkeypatch.setattr(pages, "_ROWS", 3)
    async with Database(tmp_path / "claraedge.db") as database:
        payloads = Payloads(database, PayloadTree(tmp_path), SystemClock(), new_id)
        await payloads.prepare()
        yield payloads


async def put(payloads: Payloads, payload: str, *names: str) -> None:
    async with await payloads.upload(payload) as upload:
        for name in names:
            await upload.write(name, 0, b"1")
        await upload.commit()


async def filled(payloads: Payloads) -> str:
    payload = (await payloads.create({})).id
    await put(payloads, payload, *NAMES)
    return payload


async def test_all_files_come_once_by_the_bytes_of_their_names(payloads: Payloads) -> None:
    payload = await filled(payloads)
    found = [file.name async for file in payloads.files(payload)]
    assert found == sorted(NAMES, key=str.encode)
    assert found == [file.name for file in (await payloads.get(payload)).files]
    empty = (await payloads.create({})).id
    assert [file async for file in payloads.files(empty)] == []
    with pytest.raises(PayloadNotFoundError):
        await anext(payloads.files("0" * 32))


@pytest.mark.parametrize("change", ["upload", "remove"])
async def test_a_list_never_shows_a_part_of_a_change(payloads: Payloads, change: str) -> None:
    payload = await filled(payloads)
    other = await filled(payloads)
    files = payloads.files(payload)
    await anext(files)
    await put(payloads, other, "0", "zz")
    if change == "upload":
        await put(payloads, payload, "0", "zz")
    else:
        await payloads.remove_file(payload, "z")
    with pytest.raises(PayloadStateError, match=f"{payload} change while they are listed"):
        [file async for file in files]
    assert len([file async for file in payloads.files(payload)]) >= len(NAMES) - 1


async def test_a_change_that_is_being_recorded_ends_a_list_as_well(
    payloads: Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = await filled(payloads)
    recorded, gate = threading.Event(), threading.Event()
    put_files = records.put_files

    def slowly(tx: Transaction, *given: object) -> list[bytes]:
        replaced = put_files(tx, *given)  # type: ignore[arg-type]
        recorded.set()
        gate.wait(20)
        return replaced

    files = payloads.files(payload)
    monkeypatch.setattr(records, "put_files", slowly)
    upload = asyncio.create_task(put(payloads, payload, "0", "zz"))
    await asyncio.to_thread(recorded.wait, 20)
    await anext(files)  # its first page is of before the change
    with pytest.raises(PayloadStateError):
        [file async for file in files]
    gate.set()
    await upload
    assert len([file async for file in payloads.files(payload)]) == len(NAMES) + 2


async def test_a_payload_that_is_deleted_meanwhile_is_no_short_list(payloads: Payloads) -> None:
    payload = await filled(payloads)
    files = payloads.files(payload)
    await anext(files)
    await payloads.delete(payload)
    with pytest.raises(PayloadNotFoundError):
        [file async for file in files]


async def test_a_page_counts_while_its_reader_is_slow(payloads: Payloads) -> None:
    payload = await filled(payloads)
    budget = Budget(3000)
    with budget.share():
        files = payloads.files(payload)
        await anext(files)
        one_page = budget.used
        assert 3 * 400 < one_page < 3 * 500
        second = payloads.files(payload)
        await anext(second)
        with pytest.raises(StreamMemoryError):
            await anext(payloads.files(payload))
        for one in (files, second):
            await one.aclose()
        assert budget.used == 0
        assert len([file async for file in payloads.files(payload)]) == len(NAMES)
        assert budget.used == 0
