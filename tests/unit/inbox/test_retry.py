"""A failed item is tried again by one call; nothing is lost, whatever lies in its way."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.errors import ItemNotFoundError, ItemRetryError
from claraedge.inbox.model import ItemState
from claraedge.jobs.model import JobStatus
from tests.inbox_bench import bench, drop, ended, make_config, tree_of


def is_link(*path: str) -> bool:
    return Path(*path).is_symlink()


async def test_an_item_whose_job_failed_is_put_back_and_runs_again(tmp_path: Path) -> None:
    async with bench(make_config(tmp_path)) as b:
        await b.register("ct")
        b.engine.status = JobStatus.FAULTED
        drop(tmp_path / "inbox/ct/scan.dcm", b"content")
        (failed,) = await b.delivered()
        assert failed.state is ItemState.FAILED
        b.engine.status = JobStatus.HEALTHY
        again = await b.inbox.retry(failed.id)
        assert again.state is ItemState.FAILED
        assert again.reason.startswith("tried again; before: ")
        items = await b.until(lambda items: len(ended(items)) == 2)
        assert [item.state for item in items] == [ItemState.FAILED, ItemState.DELIVERED]
        with pytest.raises(ItemRetryError, match=r"not in .* any more"):
            await b.inbox.retry(failed.id)
        with pytest.raises(ItemRetryError, match="drop it again"):
            await b.inbox.retry(items[1].id)
    assert list(tree_of(tmp_path / "originals").values()) == [b"content"]


async def test_nothing_is_moved_where_its_place_is_taken(tmp_path: Path) -> None:
    async with bench(make_config(tmp_path)) as b:
        await b.register("ct")
        (tmp_path / "inbox/ct").mkdir()
        (tmp_path / "inbox/ct/link").symlink_to("/etc/passwd")
        (failed,) = await b.delivered()
        assert failed.result_path is not None
        (tmp_path / "inbox/ct/link").mkdir()  # an empty folder waits there
        with pytest.raises(ItemRetryError, match="is there already"):
            await b.inbox.retry(failed.id)
    assert is_link(failed.result_path, "original/link")


async def test_a_parked_item_is_looked_at_now(tmp_path: Path) -> None:
    async with bench(make_config(tmp_path)) as b:
        drop(tmp_path / "inbox/ct/scan.dcm")
        (item,) = await b.until(lambda items: items)
        assert (await b.inbox.retry(item.id)).id == item.id
        with pytest.raises(ItemNotFoundError, match="claraedge list inbox"):
            await b.inbox.retry("0" * 32)
