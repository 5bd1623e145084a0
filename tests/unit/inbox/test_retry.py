"""A failed item is tried again by one call; nothing is lost, whatever lies in its way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.config import Config
from claraedge.errors import ItemNotFoundError, ItemRetryError
from claraedge.failpoints import hooked
from claraedge.inbox.model import Item, ItemState
from claraedge.jobs.model import JobStatus
from tests.rig.inbox import InboxRig, drop, ended, inbox_rig, make_config, tree_of


def is_link(*path: str) -> bool:
    return Path(*path).is_symlink()


async def test_an_item_whose_job_failed_is_put_back_and_runs_again(tmp_path: Path) -> None:
    async with inbox_rig(make_config(tmp_path)) as rig:
        await rig.register("ct")
        rig.engine.status = JobStatus.FAULTED
        drop(tmp_path / "inbox/ct/scan.dcm", b"content")
        (failed,) = await rig.delivered()
        assert failed.state is ItemState.FAILED
        rig.engine.status = JobStatus.HEALTHY
        again = await rig.inbox.retry(failed.id)
        assert again.state is ItemState.FAILED
        assert again.reason.startswith("tried again; before: ")
        items = await rig.until(lambda items: len(ended(items)) == 2)
        assert [item.state for item in items] == [ItemState.FAILED, ItemState.DELIVERED]
        with pytest.raises(ItemRetryError, match=r"not in .* any more"):
            await rig.inbox.retry(failed.id)
        with pytest.raises(ItemRetryError, match="drop it again"):
            await rig.inbox.retry(items[1].id)
    assert list(tree_of(tmp_path / "originals").values()) == [b"content"]


async def test_nothing_is_moved_where_its_place_is_taken(tmp_path: Path) -> None:
    async with inbox_rig(make_config(tmp_path)) as rig:
        await rig.register("ct")
        (tmp_path / "inbox/ct").mkdir()
        (tmp_path / "inbox/ct/link").symlink_to("/etc/passwd")
        (failed,) = await rig.delivered()
        assert failed.result_path is not None
        (tmp_path / "inbox/ct/link").mkdir()  # an empty folder waits there
        with pytest.raises(ItemRetryError, match="is there already"):
            await rig.inbox.retry(failed.id)
    assert is_link(failed.result_path, "original/link")


async def test_a_parked_item_is_inspected_now(tmp_path: Path) -> None:
    async with inbox_rig(make_config(tmp_path)) as rig:
        drop(tmp_path / "inbox/ct/scan.dcm")
        (item,) = await rig.until(lambda items: items)
        assert (await rig.inbox.retry(item.id)).id == item.id
        with pytest.raises(ItemNotFoundError, match="claraedge list inbox"):
            await rig.inbox.retry("0" * 32)


async def failed_one(rig: InboxRig, state: Path) -> Item:
    await rig.register("ct")
    rig.engine.status = JobStatus.FAULTED
    drop(state / "inbox/in/scan.dcm", b"content")
    (failed,) = await rig.delivered()
    rig.engine.status = JobStatus.HEALTHY
    return failed


def config(state: Path) -> Config:
    return make_config(state, trigger=[{"folder": "in", "pipeline": "ct"}])


async def test_what_comes_while_it_is_put_back_is_not_written_over(tmp_path: Path) -> None:
    async with inbox_rig(config(tmp_path)) as rig:
        failed = await failed_one(rig, tmp_path)

        def meanwhile(name: str) -> None:
            if name == "retry: copied":
                drop(tmp_path / "inbox/in/scan.dcm", b"another")

        with hooked(meanwhile), pytest.raises(ItemRetryError, match="is there already"):
            await rig.inbox.retry(failed.id)
        items = await rig.until(lambda items: len(ended(items)) == 2)
        assert items[1].state is ItemState.DELIVERED
        assert tree_of(Path(failed.result_path or "", "original")) == {"scan.dcm": b"content"}
        await rig.inbox.retry(failed.id)
        await rig.delivered(3)
    assert sorted(tree_of(tmp_path / "originals").values()) == [b"another", b"content"]


async def test_two_calls_put_it_back_once(tmp_path: Path) -> None:
    async with inbox_rig(config(tmp_path)) as rig:
        failed = await failed_one(rig, tmp_path)
        done = await asyncio.gather(
            rig.inbox.retry(failed.id), rig.inbox.retry(failed.id), return_exceptions=True
        )
        assert {type(one) for one in done} == {Item, ItemRetryError}
        await rig.delivered(2)
        assert len(await rig.jobs()) == 2


async def test_an_original_that_was_removed_for_its_age_says_so(tmp_path: Path) -> None:
    async with inbox_rig(config(tmp_path)) as rig:
        failed = await failed_one(rig, tmp_path)
        await rig.database.write(
            lambda tx: tx.run(
                "result_of_item_removed", owner=failed.job, path=failed.result_path, now=86400.0
            )
        )
        with pytest.raises(ItemRetryError, match=r"was removed on 19\d\d-.*failed_keep_days"):
            await rig.inbox.retry(failed.id)
        assert (await rig.inbox.item(failed.id)).removed == 86400.0
        counts = await rig.database.read(lambda tx: tx.row("status_counts"))
        assert counts is not None
        assert counts["failed"] == 0


async def test_it_is_not_put_where_no_trigger_would_take_it(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    trigger = [{"folder": str(folder), "pipeline": "ct"}]
    async with inbox_rig(make_config(tmp_path / "state", trigger=trigger)) as rig:
        await rig.register("ct")
        rig.engine.status = JobStatus.FAULTED
        drop(folder / "scan.dcm", b"content")
        (failed,) = await rig.delivered()
    async with inbox_rig(make_config(tmp_path / "state")) as rig:
        with pytest.raises(ItemRetryError, match="no trigger reads files from"):
            await rig.inbox.retry(failed.id)
    assert list(folder.iterdir()) == []
