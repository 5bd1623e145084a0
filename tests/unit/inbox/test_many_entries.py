"""A folder with more entries than are watched at once (`[inbox] max_entries`)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.inbox.model import Item, ItemState
from tests.rig.inbox import drop, inbox_rig, make_config

MOST = 10


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path


def parked(item: Item) -> bool:
    return item.state is ItemState.PARKED


async def test_each_of_more_entries_than_are_watched_becomes_one_job(state: Path) -> None:
    names = [f"{n:03}.dcm" for n in range(3 * MOST)]
    for name in names:
        drop(state / "inbox/ct" / name)
    async with inbox_rig(make_config(state, max_entries=MOST)) as rig:
        await rig.register("ct")
        seen = await rig.until(lambda items: len(items) >= MOST)
        assert len([i for i in seen if i.state in (ItemState.SEEN, ItemState.SETTLING)]) <= MOST
        items = await rig.delivered(len(names))
        assert sorted(i.name for i in items) == names
        assert len(await rig.jobs()) == len(names)
        await rig.until(lambda _: not rig.inbox.warnings())


async def test_what_is_not_watched_yet_is_reported(state: Path) -> None:
    for n in range(3 * MOST):
        drop(state / f"inbox/ct/{n:03}.dcm")
    async with inbox_rig(make_config(state, max_entries=MOST), queued=lambda: 10**6) as rig:
        await rig.register("ct")
        items = await rig.until(lambda found: found and all(map(parked, found)))
        assert [i.name for i in items] == [f"{n:03}.dcm" for n in range(MOST)]
        assert rig.inbox.warnings() == [
            f"{state}/inbox/ct has more than the {MOST} entries that are watched at once"
            f" (inbox.max_entries), by {2 * MOST}: these are seen as the others leave it"
        ]
        drop(state / "inbox/ct/000-later.dcm")
        await asyncio.sleep(0)
        await rig.until(lambda _: f"by {2 * MOST + 1}:" in rig.inbox.warnings()[0])
        assert len(await rig.inbox.items()) == MOST


async def test_those_that_were_watched_before_a_restart_are_watched_after_it(state: Path) -> None:
    config = make_config(state, max_entries=MOST)
    for n in range(MOST):
        drop(state / f"inbox/ct/9{n:02}.dcm")
    async with inbox_rig(config, queued=lambda: 10**6) as rig:
        await rig.register("ct")
        before = await rig.until(lambda items: len(items) == MOST)
        await rig.until(lambda items: all(map(parked, items)))
    for n in range(MOST):
        drop(state / f"inbox/ct/0{n:02}.dcm")
    async with inbox_rig(config, queued=lambda: 10**6) as rig:
        after = await rig.until(lambda items: len(items) == MOST)
        assert [i.id for i in after] == [i.id for i in before]


async def test_groups_wait_until_all_entries_of_their_folder_are_watched(state: Path) -> None:
    (state / "inbox/ct").mkdir(parents=True)
    trigger = {"folder": "ct", "pipeline": "ct", "grouping": "quiet", "quiet_seconds": 0.3}
    for n in range(MOST + 2):
        drop(state / f"inbox/ct/{n:03}.dcm")
    async with inbox_rig(make_config(state, max_entries=MOST, trigger=[trigger])) as rig:
        await rig.register("ct")
        items = await rig.until(
            lambda items: all("max_entries" in i.reason for i in items) and items
        )
        assert len(items) == MOST == rig.inbox.parked()
        assert all(map(parked, items))
        assert "raise max_entries, or move some out of the folder" in rig.inbox.warnings()[0]
        assert await rig.jobs() == []
        for n in (3, MOST + 1):
            (state / f"inbox/ct/{n:03}.dcm").unlink()
        (item,) = await rig.delivered()
        (job,) = await rig.jobs()
        assert len(rig.input_of(job)) == MOST
        assert item.state is ItemState.DELIVERED
        assert rig.inbox.warnings() == []
