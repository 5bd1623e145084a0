"""The kernel drops events or refuses watches, for real: nothing that is dropped is lost by that."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

from claraedge.inbox.inspection.settling import Heard
from claraedge.inbox.model import ItemState
from claraedge.inbox.triggers.triggers import Trigger, Triggers
from claraedge.inbox.watching.folders import FolderListing, Folders
from claraedge.inbox.watching.watch import Signal, Watcher
from tests.rig.inbox import InboxRig, drop, ended, inbox_rig, make_config
from tests.rig.waiting import eventually

#: No rescan comes to help within a test.
NEVER = 3600.0


@contextmanager
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody reads the kernel's queue meanwhile, so that it fills, and overflows."""
    reads, goes_on = InotifyFD.read_events, threading.Event()

    def read(self: InotifyFD, **options: int) -> list[InotifyEvent]:
        goes_on.wait()
        return reads(self, **options)

    with monkeypatch.context() as patched:
        patched.setattr(InotifyFD, "read_events", read)
        try:
            yield
        finally:
            goes_on.set()


def overflow(folder: Path) -> None:
    """Twice the events that the kernel keeps, since one read may still take some; ignored names."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    noise = folder / ".noise"
    for _ in range(most):  # opened, closed
        os.close(os.open(noise, os.O_WRONLY | os.O_CREAT, 0o600))
    noise.unlink()


def logged(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if text in r.getMessage()]


async def heard_of(rig: InboxRig) -> None:
    """Waits until the inbox was scanned after an overflow, and receives events again."""
    watcher = rig.watcher
    observer = watcher._observer
    await eventually(lambda: watcher._observer not in (None, observer), "there is a new observer")
    await eventually(lambda: watcher._watched and not watcher._outdated, "the inbox is scanned")


async def test_an_overflow_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = tmp_path / "inbox/ct"
    with caplog.at_level(logging.WARNING):
        async with inbox_rig(make_config(tmp_path, rescan=NEVER)) as rig:
            await rig.register("ct")
            drop(inbox / "first.dcm")
            await rig.delivered(1)
            slow = (inbox / "slow.dcm").open("wb")
            slow.write(b"begun, ")
            slow.flush()
            await rig.until(lambda items: any("for writing" in item.reason for item in items))
            with deaf(monkeypatch):
                await asyncio.to_thread(overflow, inbox)
                slow.write(b"ended")
                slow.close()  # is never heard
                for number in range(100):
                    drop(inbox / f"{number}.dcm")
                for number in range(5):
                    drop(inbox / f"study {number}/series/1.dcm")
                (inbox / "99.dcm").unlink()
            began = time.monotonic()
            items = await rig.delivered(1 + 1 + 99 + 5)
            seconds = time.monotonic() - began
            assert {item.state for item in items} == {ItemState.DELIVERED}
            assert len(items) == len({item.name for item in items}) == 106
            assert len(await rig.jobs()) == 106
            # And it hears again: there is no rescan to see these.
            drop(inbox / "after.dcm")
            drop(inbox / "study 5/series/1.dcm")
            await rig.delivered(108)
    results = [p for p in (tmp_path / "outbox/ct").rglob("slow.dcm") if p.is_file()]
    assert {p.read_bytes() for p in results} == {b"begun, ended"}
    assert len(logged(caplog, "file system events were lost")) == 1
    print(f"106 items, {seconds:.2f} s after the overflow")


async def test_a_writer_that_is_busy_through_an_overflow_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = tmp_path / "inbox/ct"
    async with inbox_rig(make_config(tmp_path, rescan=NEVER, settle=0.3)) as rig:
        await rig.register("ct")
        drop(inbox / "first.dcm")
        await rig.delivered(1)
        with (inbox / "slow.dcm").open("wb") as slow:
            with deaf(monkeypatch):
                await asyncio.to_thread(overflow, inbox)
                slow.write(b"x" * 1000)
                slow.flush()
            await heard_of(rig)
            drop(inbox / "other.dcm")
            await rig.delivered(2)
            assert (inbox / "slow.dcm").exists()
            slow.write(b"y" * 1000)
        items = await rig.delivered(3)
    assert {(i.name, i.size) for i in items} >= {("slow.dcm", 2000)}


async def test_overflow_after_overflow_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = tmp_path / "inbox/ct"
    with caplog.at_level(logging.WARNING):
        async with inbox_rig(make_config(tmp_path, rescan=NEVER)) as rig:
            await rig.register("ct")
            drop(inbox / "first.dcm")
            await rig.delivered(1)
            for number in range(3):
                with deaf(monkeypatch):
                    await asyncio.to_thread(overflow, inbox)
                    drop(inbox / f"{number}.dcm")
                await rig.delivered(2 + number)
    assert len(logged(caplog, "file system events were lost")) == 3


# --- watches refused --------------------------------------------------------------------------


def limit(count: int) -> None:
    """For this user namespace."""
    Path("/proc/sys/user/max_inotify_watches").write_text(f"{count}\n")


class Ears:
    """A watcher alone."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.lost = 0
        self.watcher = Watcher(self.signals.extend, self.lose)

    def lose(self) -> None:
        self.lost += 1

    async def until_heard(self, path: Path, heard: Heard) -> None:
        await eventually(
            lambda: Signal(path=bytes(path), heard=heard) in self.signals, f"{heard} of {path}"
        )


async def some_folders_get_no_watch(state: Path) -> None:
    """The limit is reached in a dropped folder, and by a trigger that comes later."""
    inbox = state / "inbox"
    limit(8)
    async with inbox_rig(make_config(state, rescan=0.5)) as rig:
        await rig.register("ct")
        for number in range(30):
            drop(inbox / f"ct/study/{number}/scan.dcm", b"%d" % number)
        items = await rig.delivered(1)
        assert items[0].size == sum(len(str(n)) for n in range(30))
        await rig.register("mr")
        for number in range(12):
            (inbox / f"mr/empty {number}").mkdir(parents=True)
        drop(inbox / "mr/scan.dcm")
        drop(inbox / "ct/scan.dcm")
        await rig.until(lambda items: len(ended(items)) == 3)
        assert rig.watcher.partial
        limit(100_000)
        await eventually(lambda: not rig.watcher.partial, "all folders are watched")
        drop(inbox / "mr/later.dcm")
        await rig.delivered(4)
        assert {i.state for i in ended(list(await rig.inbox.items()))} == {ItemState.DELIVERED}


async def no_folder_gets_a_watch(state: Path) -> None:
    limit(0)
    async with inbox_rig(make_config(state, rescan=0.2)) as rig:
        await rig.register("ct")
        drop(state / "inbox/ct/a.dcm")
        drop(state / "inbox/ct/study/series/b.dcm")
        await rig.delivered(2)
        assert rig.watcher.partial
        limit(100)
        await eventually(lambda: not rig.watcher.partial, "all folders are watched")
        drop(state / "inbox/ct/c.dcm")
        await rig.delivered(3)


async def what_is_freed_or_raised_is_used(state: Path) -> None:
    """The watcher alone: what it could not watch is heard once the limit is raised."""
    ears, inner = Ears(), state / "in/0/1/2/3/4/5"
    inner.mkdir(parents=True)
    limit(3)
    assert await ears.watcher.watch([state / "in"])
    assert ears.watcher.partial
    assert not await ears.watcher.watch([state / "in"])
    drop(inner / "a.dcm")
    limit(100)
    assert await ears.watcher.watch([state / "in"])
    assert not ears.watcher.partial
    drop(inner / "b.dcm")
    await ears.until_heard(inner / "b.dcm", Heard.CLOSED)
    assert ears.lost == 1
    assert not [s for s in ears.signals if s.path == bytes(inner / "a.dcm")]
    await ears.watcher.stop()


_CHILD = """
import asyncio, logging, sys
from pathlib import Path
from tests.unit.inbox import test_events_lost
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
asyncio.run(getattr(test_events_lost, sys.argv[1])(Path(sys.argv[2])))
print("all is well")
"""


def in_user_namespace(name: str, state: Path) -> list[str]:
    """The lines that a scenario logs in a user namespace, where the limit is its own."""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", _CHILD, name, str(state)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if "unshare: " in done.stderr or not Path("/proc/sys/user/max_inotify_watches").exists():
        pytest.skip("no user namespaces here")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "all is well"
    return lines[:-1]


def test_where_the_limit_leaves_folders_unwatched_nothing_is_lost(tmp_path: Path) -> None:
    lines = in_user_namespace("some_folders_get_no_watch", tmp_path)
    refused = [line for line in lines if "max_user_watches" in line]
    assert 1 <= len(refused) <= 2  # once for each time that the limit was reached
    assert all("cannot be watched" in line and "rescan" in line for line in refused)


def test_where_nothing_can_be_watched_nothing_is_lost(tmp_path: Path) -> None:
    lines = in_user_namespace("no_folder_gets_a_watch", tmp_path)
    (refused,) = [line for line in lines if "max_user_watches" in line]
    assert str(tmp_path / "inbox") in refused
    assert "rescan" in refused


def test_a_raised_limit_is_used_without_a_restart(tmp_path: Path) -> None:
    (line,) = in_user_namespace("what_is_freed_or_raised_is_used", tmp_path)
    assert "max_user_watches" in line


# --- the watcher itself -----------------------------------------------------------------------


async def test_what_was_read_before_a_loss_is_not_heard_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a file that was opened then, and closed in what was lost, is never taken."""
    ears = Ears()
    await ears.watcher.watch([tmp_path])
    drop(tmp_path / "known.dcm")
    await ears.until_heard(tmp_path / "known.dcm", Heard.CLOSED)
    with deaf(monkeypatch), (tmp_path / "open.dcm").open("wb"):
        await asyncio.to_thread(overflow, tmp_path)
    await eventually(lambda: ears.lost, "an overflow is heard")
    heard = len(ears.signals)
    await asyncio.sleep(0.7)  # longer than watchdog keeps any
    assert len(ears.signals) == heard
    assert await ears.watcher.watch([tmp_path])
    drop(tmp_path / "after.dcm")
    await ears.until_heard(tmp_path / "after.dcm", Heard.CLOSED)
    assert ears.lost == 1
    await ears.watcher.stop()


async def test_a_thread_of_watchdogs_that_died_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ears = Ears()
    await ears.watcher.watch([tmp_path])
    observer = ears.watcher._observer
    assert observer is not None

    def die(self: InotifyFD, event: InotifyEvent) -> None:
        raise KeyError(event)

    with monkeypatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patched.setattr(threading, "excepthook", lambda _: None)
        patched.setattr(InotifyFD, "handle_event", die)
        drop(tmp_path / "a.dcm")
        await eventually(lambda: not observer.hears(), "the observer hears nothing")
    assert await ears.watcher.watch([tmp_path])
    await asyncio.sleep(0)
    assert ears.lost == 1
    drop(tmp_path / "b.dcm")
    await ears.until_heard(tmp_path / "b.dcm", Heard.CLOSED)
    await ears.watcher.stop()


def watches() -> int:
    """How many this process has."""
    count = 0
    for path in Path("/proc/self/fdinfo").iterdir():
        try:
            count += path.read_text().count("inotify wd:")
        except FileNotFoundError:
            continue
    return count


async def test_folders_that_were_moved_out_keep_no_watch(tmp_path: Path) -> None:
    ears, inbox, before = Ears(), tmp_path / "in", watches()
    inbox.mkdir()
    await ears.watcher.watch([inbox])
    for number in range(10):
        drop(inbox / "study/a/b/1.dcm")
        await ears.until_heard(inbox / "study/a/b", Heard.MOVED_IN)
        (inbox / "study").rename(tmp_path / f"taken {number}")
        ears.signals.clear()
    drop(inbox / "study/a/b/1.dcm")  # the last of that name stays, and is heard
    (inbox / "study").rename(inbox / "renamed")
    await eventually(lambda: watches() - before == 4, "four folders are watched")
    await asyncio.sleep(0.7)
    assert watches() - before == 4
    drop(inbox / "renamed/a/b/2.dcm")
    await ears.until_heard(inbox / "renamed/a/b/2.dcm", Heard.CLOSED)
    ears.signals.clear()
    drop(tmp_path / "taken 3/a/b/3.dcm")
    drop(inbox / "last.dcm")
    await ears.until_heard(inbox / "last.dcm", Heard.CLOSED)
    assert not [s for s in ears.signals if b"3.dcm" in s.path]
    assert ears.lost == 0
    await ears.watcher.stop()
    assert watches() == before


async def test_a_folder_that_may_not_be_read_is_watched_once_it_may(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root")
    ears, inbox = Ears(), tmp_path / "in"
    inbox.mkdir(mode=0o300)
    assert not await ears.watcher.watch([inbox])
    assert ears.watcher.partial
    inbox.chmod(0o700)
    assert await ears.watcher.watch([inbox])
    assert not ears.watcher.partial
    drop(inbox / "a.dcm")
    await ears.until_heard(inbox / "a.dcm", Heard.CLOSED)
    await ears.watcher.stop()


async def test_what_is_not_heard_of_yet_belongs_to_its_group_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = {"folder": "in", "pipeline": "ct", "grouping": "quiet", "quiet_seconds": 0.5}
    config = make_config(tmp_path, rescan=NEVER, trigger=[trigger])
    inbox, full = tmp_path / "inbox/in", [config.inbox.max_queued]
    async with inbox_rig(config, queued=lambda: full[0]) as rig:
        await rig.register("ct")
        await eventually(lambda: rig.watcher._watched, "the inbox is watched")
        drop(inbox / "0.dcm")
        await rig.until(lambda items: any("the queue is full" in item.reason for item in items))
        with deaf(monkeypatch):
            drop(tmp_path / "1.dcm").rename(inbox / "1.dcm")  # a call to read was under way
            await rig.until(lambda items: len(items) == 2)
            for number in range(2, 6):
                drop(inbox / f"{number}.dcm")
            full[0] = 0
            await rig.delivered(1)
        (job,) = await rig.jobs()
        assert len(rig.input_of(job)) == 6


async def test_what_is_heard_of_during_a_listing_is_not_gone_for_lack_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, lists = tmp_path / "inbox/ct", Folders.entries
    async with inbox_rig(make_config(tmp_path, rescan=NEVER)) as rig:
        await rig.register("ct")
        drop(inbox / "first.dcm")
        await rig.delivered(1)

        async def late(self: Folders, trigger: Trigger, layout: Triggers) -> FolderListing | None:
            found = await lists(self, trigger, layout)
            if trigger.folder == inbox:
                monkeypatch.undo()
                drop(inbox / "second.dcm")
                await rig.until(lambda items: any(item.name == "second.dcm" for item in items))
            return found

        monkeypatch.setattr(Folders, "entries", late)
        rig.inbox.poke()
        await rig.delivered(2)
