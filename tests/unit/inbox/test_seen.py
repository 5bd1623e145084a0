"""Ids and order of what was seen outlive a restart; the book is an aid that harms nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claraedge.errors import StorageFullError
from claraedge.inbox import records
from claraedge.inbox.candidates.first_seen import FirstSeen
from claraedge.inbox.model import Item, ItemState
from claraedge.inbox.records import Seen
from claraedge.store.database import Database
from tests.rig.inbox import drop, inbox_rig, make_config, tree_of
from tests.rig.waiting import eventually

FOLDER = Path("/in/ct")


def entry(number: int, name: bytes = b"") -> Seen:
    return Seen(
        id=f"{number:032x}", folder=FOLDER, name=name or b"%d\xff" % number, first_seen=number
    )


async def rows(database: Database) -> list[str]:
    return sorted(e.id[-1] for e in await database.read(records.seen))


async def test_what_was_written_is_recalled_once(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        book = FirstSeen(database)
        await book.load()
        assert book.recall(FOLDER, b"1\xff") is None
        book.note(entry(1))
        book.note(entry(2))
        await book.write()
        after = FirstSeen(database)
        await after.load()
        assert after.recall(FOLDER, b"1\xff") == entry(1)
        assert after.recall(FOLDER, b"1\xff") is None
        assert after.recall(Path("/in/mr"), b"2\xff") is None
        assert after.recall(FOLDER, b"2\xff") == entry(2)


async def test_what_went_meanwhile_is_forgotten(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        book = FirstSeen(database)
        for number in (1, 2, 3):
            book.note(entry(number))
        book.forget(entry(3).id)  # never written
        await book.write()
        assert await rows(database) == ["1", "2"]
        after = FirstSeen(database)
        await after.load()
        after.present(FOLDER, {b"2\xff"})
        assert after.recall(FOLDER, b"1\xff") is None
        assert after.recall(FOLDER, b"2\xff") == entry(2)
        await after.write()
        assert await rows(database) == ["2"]
        after.forget(entry(2).id)
        await after.write()
        assert await rows(database) == []


async def test_what_is_claimed_while_it_is_written_leaves_no_row(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        book = FirstSeen(database)
        book.note(entry(1))
        writing = asyncio.create_task(book.write())
        await asyncio.sleep(0)  # it has handed its work over
        book.claimed(entry(1).id)
        await writing
        await book.write()
        assert await rows(database) == []


@pytest.mark.parametrize(
    "error", [StorageFullError("full"), sqlite3.OperationalError("disk I/O error")]
)
async def test_a_full_disk_harms_nothing(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(tmp_path / "db") as database:
        book = FirstSeen(database)

        async def full(_: Callable[..., Any]) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(database, "write", full)
            await book.load()
            book.note(entry(1))
            book.forget(entry(9).id)
            await book.write()
        book.note(entry(2))
        await book.write()
        assert await rows(database) == ["2"]


async def test_ids_and_order_outlive_a_restart(tmp_path: Path) -> None:
    """The folder lists neither in the order of arrival nor in that of names."""
    names = ["m.dcm", "a.dcm", "z.dcm"]
    config = make_config(tmp_path, settle=60, rescan=0.1)
    before: list[Item] = []
    async with inbox_rig(config) as rig:
        await rig.register("ct")
        for count, name in enumerate(names, 1):
            drop(tmp_path / "inbox/ct" / name, name.encode())
            before = await rig.until(lambda items, n=count: len(items) == n)  # type: ignore[misc]
        await _until_written(rig.database, 3)
    (tmp_path / "inbox/ct/a.dcm").unlink()
    drop(tmp_path / "inbox/ct/0.dcm", b"new")
    async with inbox_rig(make_config(tmp_path, settle=0.1)) as rig:
        await rig.delivered(3)
        jobs = await rig.jobs()
        items = {item.name: item for item in await rig.inbox.items()}
        assert await rig.database.read(records.seen) == []
    known = {item.name: item for item in before}
    assert [job.name for job in jobs] == ["m.dcm", "z.dcm", "0.dcm"]
    for name in ("m.dcm", "z.dcm"):
        assert items[name].id == known[name].id
        assert items[name].first_seen == known[name].first_seen
    assert items["0.dcm"].id not in {item.id for item in before}


async def _until_written(database: Database, count: int) -> None:
    async def written() -> bool:
        return len(await database.read(records.seen)) >= count

    await eventually(written, f"{count} entries are written")


async def test_an_entry_never_gets_the_id_of_an_item(tmp_path: Path) -> None:
    """As a stop leaves it between a claim and a write that had begun before it."""
    async with inbox_rig(make_config(tmp_path)) as rig:
        await rig.register("ct")
        path = drop(tmp_path / "inbox/ct/scan.dcm", b"one")
        (item,) = await rig.delivered()
        stale = Seen(id=item.id, folder=path.parent, name=b"scan.dcm", first_seen=1.0)
        await rig.database.write(lambda tx: records.see(tx, stale))
    drop(path, b"two")
    async with inbox_rig(make_config(tmp_path)) as rig:
        items = await rig.delivered(2)
        assert len({item.id for item in items}) == 2
        assert [item.state for item in items] == [ItemState.DELIVERED] * 2
        assert await rig.database.read(records.seen) == []
    assert sorted(tree_of(tmp_path / "originals").values()) == [b"one", b"two"]
