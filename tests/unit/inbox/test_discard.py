"""A person removes a failed item for good: whole, once, and never what still has work to do."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from claraedge.delivery import expiry
from claraedge.errors import (
    ItemNotFoundError,
    ItemNotRemovedError,
    ItemRetryError,
    RemovalPendingError,
)
from claraedge.failpoints import hooked
from claraedge.fs.removal import remove
from claraedge.inbox.model import Item, ItemState
from claraedge.jobs.model import JobStatus
from tests.failpoints.delivery import DISCARD
from tests.rig.inbox import InboxRig, KilledError, drop, ended, inbox_rig, make_config
from tests.rig.queries import query
from tests.unit.delivery.test_expiry import keeper_of

#: Makes an item of this name that fails.
Made = Callable[..., Awaitable[Item]]


async def of_item(rig: InboxRig, name: str = "link") -> Item:
    """Returns an item that never became a job."""
    await _register(rig)
    folder = rig.config.inbox_dir / "ct" / name
    folder.mkdir(parents=True)
    (folder / "image").write_bytes(b"1")
    (folder / "inside").symlink_to("/etc/passwd")
    return await _failed(rig, name)


async def of_job(rig: InboxRig, name: str = "scan.dcm") -> Item:
    """Returns an item whose job failed."""
    await _register(rig)
    rig.engine.status = JobStatus.FAULTED
    drop(rig.config.inbox_dir / "ct" / name, b"content")
    return await _failed(rig, name)


async def _register(rig: InboxRig) -> None:
    if not await rig.database.read(lambda tx: tx.rows("pipelines", after=0)):
        await rig.register("ct")


async def _failed(rig: InboxRig, name: str) -> Item:
    def found(items: list[Item]) -> list[Item]:
        return [one for one in items if one.name == name and one.state is ItemState.FAILED]

    (item,) = found(await rig.until(found))
    return item


def is_folder(*path: str | Path | None) -> bool:
    return Path(*map(str, path)).is_dir()


def left(state: Path) -> list[Path]:
    """All that is left of failures, also what is hidden."""
    return list((state / "failed").glob("*/*"))


BOTH = pytest.mark.parametrize("made", [of_item, of_job])


@BOTH
async def test_the_failure_goes_with_its_original_and_a_second_call_says_so(
    tmp_path: Path, made: Made
) -> None:
    async with inbox_rig(make_config(tmp_path)) as rig:
        failed = await made(rig)
        other = await of_item(rig, "other")
        gone = await rig.inbox.discard(failed.id)
        assert (gone.state, gone.removed is not None) == (ItemState.FAILED, True)
        assert left(tmp_path) == [Path(other.result_path or "")]
        assert await rig.inbox.discard(failed.id) == gone
        assert (await rig.inbox.counts())[ItemState.FAILED] == 1
        assert query(rig.database, "SELECT count FROM kept_totals WHERE kind = 'failure'") == [(1,)]
        with pytest.raises(ItemRetryError, match="was removed on"):
            await rig.inbox.retry(failed.id)


async def test_no_other_state_is_removed(tmp_path: Path) -> None:
    async with inbox_rig(make_config(tmp_path)) as rig:
        with pytest.raises(ItemNotFoundError):
            await rig.inbox.discard("0" * 32)
        drop(tmp_path / "inbox/ct/scan.dcm", b"content")
        (parked,) = await rig.until(
            lambda items: [one for one in items if one.state is ItemState.PARKED]
        )
        with pytest.raises(ItemNotRemovedError, match="is parked, not failed: it waits"):
            await rig.inbox.discard(parked.id)
        await rig.register("ct")
        (done,) = await rig.delivered()
        with pytest.raises(ItemNotRemovedError, match=r"outbox\.keep_days"):
            await rig.inbox.discard(done.id)
        assert is_folder(done.result_path)


async def test_a_job_that_runs_is_to_be_cancelled(tmp_path: Path) -> None:
    async with inbox_rig(make_config(tmp_path)) as rig:
        failed = await of_job(rig)
        await rig.database.write(
            lambda tx: tx._connection.execute("UPDATE inbox_items SET state = 'submitted'")
        )
        with pytest.raises(ItemNotRemovedError, match=f"claraedge cancel job {failed.job}"):
            await rig.inbox.discard(failed.id)


@pytest.mark.parametrize("at", DISCARD)
@BOTH
async def test_a_kill_leaves_it_whole_or_it_goes_also_without_a_trusted_clock(
    tmp_path: Path, made: Made, at: str
) -> None:
    def kill(name: str) -> None:
        if name == at:
            raise KilledError(name)

    async with inbox_rig(make_config(tmp_path)) as rig:
        failed = await made(rig)
        with hooked(kill), pytest.raises(KilledError):
            await rig.inbox.discard(failed.id)
    async with inbox_rig(make_config(tmp_path)) as rig:
        keeper = await keeper_of(rig)
        keeper.clock.wall = 1000.0
        assert not (await keeper.trust.check()).steady
        await keeper.expiry.remove_due()
        assert left(tmp_path) == []
        assert (await rig.inbox.item(failed.id)).removed is not None
        assert await rig.inbox.discard(failed.id) == await rig.inbox.item(failed.id)


@BOTH
@pytest.mark.parametrize("first", ["retry", "discard"])
async def test_of_a_retry_and_a_removal_at_once_one_wins(
    tmp_path: Path, made: Made, first: str
) -> None:
    """The second call has read the item, and waits, while the first one acts."""
    async with inbox_rig(make_config(tmp_path)) as rig:
        failed = await made(rig)
        at = {"retry": "retry: before commit", "discard": "discard: recorded"}[first]
        then = rig.inbox._discards.discard if first == "retry" else rig.inbox.retry
        late: list[asyncio.Future[object]] = []

        def meanwhile(name: str) -> None:
            if name == at:
                work = then(failed) if first == "retry" else then(failed.id)  # type: ignore[arg-type]
                late.append(asyncio.ensure_future(work))

        with hooked(meanwhile):
            await getattr(rig.inbox, first)(failed.id)
        refusal = ItemNotRemovedError if first == "retry" else ItemRetryError
        with pytest.raises(refusal, match=r"tried again at the same time|removed"):
            await late[0]
        if first == "retry":
            items = await rig.until(lambda items: len(ended(items)) == 2)
            assert [one.removed for one in items] == [None, None]
        else:
            assert (await rig.inbox.item(failed.id)).removed is not None
            assert left(tmp_path) == []
        # What a retry left of a failure may go as well.
        assert (await rig.inbox.discard(failed.id)).removed is not None
        assert len(await rig.inbox.items()) == (2 if first == "retry" else 1)


async def test_what_somebody_put_in_its_place_stays(tmp_path: Path) -> None:
    async with inbox_rig(make_config(tmp_path)) as rig:
        failed = await of_item(rig)
        path = Path(failed.result_path or "")
        shutil.move(path, tmp_path / "taken")
        drop(path / "notes.txt", b"mine")
        with pytest.raises(ItemNotRemovedError, match="not what was put there any more"):
            await rig.inbox.discard(failed.id)
        assert (path / "notes.txt").read_bytes() == b"mine"
        assert (await rig.inbox.item(failed.id)).removed is None
        shutil.rmtree(path)
        assert (await rig.inbox.discard(failed.id)).removed is not None
    assert (tmp_path / "taken/reason.json").is_file()


async def test_a_disk_that_is_not_there_removes_nothing_and_says_so(tmp_path: Path) -> None:
    async with inbox_rig(make_config(tmp_path)) as rig:
        failed = await of_item(rig)
        root = tmp_path / "failed"
        root.rename(tmp_path / "unmounted")
        with pytest.raises(ItemNotRemovedError, match="is gone; mount it again"):
            await rig.inbox.discard(failed.id)
        (tmp_path / "unmounted").rename(root)
        await (await keeper_of(rig)).expiry.remove_due()
        assert is_folder(failed.result_path, "original")
        assert (await rig.inbox.discard(failed.id)).removed is not None


@pytest.mark.parametrize("begun", [False, True])
async def test_what_cannot_be_removed_is_said_and_stays_whole_or_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    def refusing(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    async with inbox_rig(make_config(tmp_path)) as rig:
        failed = await of_item(rig)
        path = Path(failed.result_path or "")
        if begun:
            monkeypatch.setattr(expiry, "remove", refusing)
            with pytest.raises(RemovalPendingError, match="Permission denied"):
                await rig.inbox.discard(failed.id)
            assert not is_folder(path)
            with pytest.raises(ItemRetryError, match="is being removed"):
                await rig.inbox.retry(failed.id)
            monkeypatch.setattr(expiry, "remove", remove)
        else:
            monkeypatch.setattr(expiry, "_is_what_was_put", lambda one, _: refusing(one.path))
            with pytest.raises(
                ItemNotRemovedError, match=r"nothing was removed.*Permission denied"
            ):
                await rig.inbox.discard(failed.id)
            assert is_folder(path, "original")
            monkeypatch.undo()
        assert (await rig.inbox.discard(failed.id)).removed is not None
        assert left(tmp_path) == []


async def test_a_slow_disk_is_said_and_the_removal_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "_PATIENCE", 0.0)
    async with inbox_rig(make_config(tmp_path)) as rig:
        failed = await of_item(rig)
        with pytest.raises(RemovalPendingError, match="continues by itself"):
            await rig.inbox.discard(failed.id)

        def gone(items: list[Item]) -> bool:
            return items[0].removed is not None

        await rig.until(gone)
        assert left(tmp_path) == []
