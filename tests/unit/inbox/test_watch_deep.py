"""Deep folders are heard of as others are: nothing in the watch calls itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from claraedge.fs.removal import remove
from claraedge.inbox.inspection.settling import Heard
from claraedge.inbox.watching.watch import Signal, Watcher
from tests.rig.deep import chain
from tests.rig.waiting import eventually


async def test_deep_folders_that_are_made_moved_in_and_about_do_not_end_the_watch(
    tmp_path: Path,
) -> None:
    inbox, outside = tmp_path / "inbox", tmp_path / "outside"
    inbox.mkdir()
    outside.mkdir()
    chain(inbox / "there", "d", 1100)
    chain(outside / "moved", "d", 1100)
    heard: list[Signal] = []
    lost: list[None] = []

    def hear(batch: Sequence[Signal]) -> None:
        heard.extend(batch)

    async def until(path: Path, what: Heard) -> None:
        await eventually(
            lambda: any(s.path == bytes(path) and s.heard is what for s in heard),
            f"{what} of {path}",
        )

    watcher = Watcher(hear, lambda: lost.append(None))
    try:
        assert await watcher.watch([inbox])
        (outside / "moved").rename(inbox / "moved")
        await until(inbox / "moved", Heard.MOVED_IN)
        (inbox / "moved").rename(inbox / "again")
        await until(inbox / "again", Heard.MOVED_IN)
        chain(inbox / "made", "d", 300)
        await until(inbox / "made", Heard.MOVED_IN)
        (inbox / "again" / "d" / "new.dcm").write_text("1")
        await until(inbox / "again" / "d" / "new.dcm", Heard.CLOSED)
        (inbox / "last.dcm").write_text("1")
        await until(inbox / "last.dcm", Heard.CLOSED)
        assert not await watcher.watch([inbox]), "it is the first observer still"
        assert lost == []
    finally:
        await watcher.stop()
        for deep in (inbox, outside):  # deeper than what pytest removes
            remove(deep)
