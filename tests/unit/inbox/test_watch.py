"""What the kernel reports reaches the loop; a scan finds what it does not report."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from watchdog.observers.inotify import InotifyObserver
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, Mask

from claraedge.inbox.inspection.settling import Heard
from claraedge.inbox.model import ItemState
from claraedge.inbox.watching.watch import Signal, Watcher
from tests.rig.inbox import drop, inbox_rig, make_config
from tests.rig.waiting import eventually


class Ears:
    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.lost = 0
        self.watcher = Watcher(self.hear, self.lose)

    def hear(self, batch: Sequence[Signal]) -> None:
        self.signals += batch

    def lose(self) -> None:
        self.lost += 1

    def of(self, path: Path) -> list[Heard]:
        return [s.heard for s in self.signals if s.path == bytes(path)]

    async def until(self, condition: Callable[[], object]) -> None:
        await eventually(condition, f"the condition for {self.signals}")


async def test_a_write_is_heard_from_open_to_close(tmp_path: Path) -> None:
    ears = Ears()
    assert await ears.watcher.watch([tmp_path])
    drop(tmp_path / "a.dcm")
    await ears.until(lambda: Heard.CLOSED in ears.of(tmp_path / "a.dcm"))
    await ears.watcher.stop()
    assert ears.of(tmp_path / "a.dcm") == [
        Heard.CREATED, Heard.OPENED, Heard.MODIFIED, Heard.CLOSED,
    ]  # fmt: skip


async def test_renames_report_where_they_came_from(tmp_path: Path) -> None:
    ears = Ears()
    folder = tmp_path / "in"
    folder.mkdir()
    drop(folder / "a.dcm.part")
    drop(tmp_path / "b.dcm")
    await ears.watcher.watch([folder])
    (folder / "a.dcm.part").rename(folder / "a.dcm")
    (tmp_path / "b.dcm").rename(folder / "b.dcm")
    await ears.until(lambda: ears.of(folder / "b.dcm"))
    await ears.watcher.stop()
    assert ears.of(folder / "a.dcm") == [Heard.MOVED_FROM_TEMPORARY]
    assert ears.of(folder / "b.dcm") == [Heard.MOVED_IN]


async def test_a_folder_that_was_replaced_is_watched_again(tmp_path: Path) -> None:
    ears = Ears()
    folder = tmp_path / "in"
    folder.mkdir()
    assert await ears.watcher.watch([folder])
    assert not await ears.watcher.watch([folder])
    folder.rename(tmp_path / "moved")
    assert not await ears.watcher.watch([folder])
    folder.mkdir()
    assert await ears.watcher.watch([folder])
    drop(folder / "a.dcm")
    await ears.until(lambda: ears.of(folder / "a.dcm"))
    await ears.watcher.stop()


def overflow(watcher: Watcher) -> None:
    """What the kernel sends when it dropped events, through watchdog's own code."""
    observer = watcher._observer
    assert observer is not None
    event = InotifyEvent(-1, Mask(InotifyConstants.IN_Q_OVERFLOW), 0, b"")  # type: ignore[arg-type]
    observer._inotify_fd.handle_event(event)


async def test_an_overflow_is_reported(tmp_path: Path) -> None:
    ears = Ears()
    await ears.watcher.watch([tmp_path])
    overflow(ears.watcher)
    await ears.until(lambda: ears.lost)
    await ears.watcher.stop()


async def test_an_overflow_makes_the_inbox_scan_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path, rescan=3600)
    async with inbox_rig(config, run=False) as rig:
        await rig.register("ct")
    drop(tmp_path / "inbox/ct/there-at-start.dcm")
    monkeypatch.setattr(Watcher, "_receive", lambda *_: None)  # every event is lost
    async with inbox_rig(config) as rig:
        await rig.delivered(1)
        drop(tmp_path / "inbox/ct/scan.dcm")
        await asyncio.sleep(0.8)
        assert len(await rig.inbox.items()) == 1
        overflow(rig.watcher)
        await rig.delivered(2)


@pytest.mark.parametrize(
    ("code", "limit"), [(errno.ENOSPC, "max_user_watches"), (errno.EMFILE, "max_user_instances")]
)
async def test_without_watches_the_rescan_still_sees(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    limit: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, "limit reached")

    monkeypatch.setattr(InotifyObserver, "schedule", refuse)
    with caplog.at_level(logging.WARNING):
        async with inbox_rig(make_config(tmp_path, rescan=0.1)) as rig:
            await rig.register("ct")
            drop(tmp_path / "inbox/ct/scan.dcm")
            (item,) = await rig.delivered()
    assert item.state is ItemState.DELIVERED
    logged = [r.getMessage() for r in caplog.records if limit in r.getMessage()]
    assert len(logged) == 1
