"""The disk of an inbox goes while an item of it is copied, and comes back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.config import Config
from claraedge.fs.mounts import Mount
from claraedge.inbox.intake import claim, intake
from claraedge.inbox.model import ItemState
from tests.rig.inbox import KilledError, drop, inbox_rig, make_config, other_file_system, tree_of
from tests.unit.inbox.test_kills import Fuse


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Path]:
    root = other_file_system(tmp_path)
    yield root
    shutil.rmtree(root)


async def live_until_it_is_hidden(config: Config) -> None:
    async with inbox_rig(config, hook=Fuse("claim: before copy")) as rig:
        await rig.register("ct")
        await rig.delivered()


@pytest.mark.parametrize("grouping", ["entry", "quiet"])
async def test_what_is_hidden_on_a_missing_disk_is_waited_for(
    tmp_path: Path, share: Path, monkeypatch: pytest.MonkeyPatch, grouping: str
) -> None:
    monkeypatch.setattr(intake, "_FIRST_RETRY", 0.1)
    inbox, disk = share / "inbox", share / "disk"
    trigger = {"folder": str(inbox), "pipeline": "ct", "grouping": grouping}
    if grouping == "quiet":
        trigger |= {"quiet_seconds": 0.1}  # type: ignore[dict-item]
    config = make_config(tmp_path, settle=0.05, trigger=[trigger])
    drop(inbox / "scan.dcm", b"scan")
    with pytest.raises(KilledError):
        await live_until_it_is_hidden(config)
    assert [path.name[:11] for path in inbox.iterdir()] == [".claraedge-"]
    inbox.rename(disk)
    inbox.mkdir()  # the mount point
    below = Mount(id=1, point=b"/", fstype="ext4", source="/dev/root")
    monkeypatch.setattr(claim, "mount_of", lambda _: below)
    async with inbox_rig(config) as rig:
        (item,) = await rig.until(lambda items: items and items[0].state is ItemState.PARKED)
        assert "is not mounted" in item.reason
        assert item.remedy == "sudo mount /dev/shm"
        inbox.rmdir()
        (item,) = await rig.until(lambda items: items and items[0].state is ItemState.PARKED)
        disk.rename(inbox)
        monkeypatch.undo()
        rig.inbox.poke()
        (item,) = await rig.delivered()
        assert item.state is ItemState.DELIVERED
        (job,) = await rig.jobs()
        assert rig.input_of(job) == {"scan.dcm": b"scan"}
    assert list(tree_of(inbox)) == []


async def test_what_was_taken_from_a_disk_that_is_there_is_not_waited_for(
    tmp_path: Path, share: Path
) -> None:
    inbox = share / "inbox"
    config = make_config(tmp_path, settle=0.05, trigger=[{"folder": str(inbox), "pipeline": "ct"}])
    drop(inbox / "scan.dcm", b"scan")
    with pytest.raises(KilledError):
        await live_until_it_is_hidden(config)
    (hidden,) = inbox.iterdir()
    hidden.unlink()
    drop(inbox / "scan.dcm", b"another")
    async with inbox_rig(config) as rig:
        await rig.delivered()
        (job,) = await rig.jobs()
        assert rig.input_of(job) == {"scan.dcm": b"another"}
