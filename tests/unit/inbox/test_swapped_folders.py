"""Who may write to the inbox swaps a folder of it for a link: nothing behind it is read or written.

Findings 2 and 3 of the review of b474c6d. Mode 2775 stands for what another user could do in a
folder without the sticky bit; with it, only a link of ours or of root's is followed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claraedge.errors import ItemRetryError
from claraedge.jobs.model import JobStatus
from tests.rig.inbox import drop, inbox_rig, make_config
from tests.rig.waiting import eventually


def swap(folder: Path, to: Path) -> None:
    folder.parent.chmod(0o2775)
    folder.rename(folder.with_name(".x"))
    folder.symlink_to(to)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("grouping", ["entry", "file"])
async def test_nothing_is_taken_through_a_link_in_place_of_a_trigger(
    tmp_path: Path, grouping: str
) -> None:
    secret = tmp_path / "closed"
    secret.mkdir(mode=0o700)
    (secret / "secret.txt").write_text("secret")
    trigger = {"pipeline": "ct", "folder": "scans", "grouping": grouping}
    config = make_config(tmp_path / "state", trigger=[trigger])
    scans = config.inbox_dir / "scans"
    async with inbox_rig(config) as rig:
        await rig.register("ct")
        drop(scans / "first.dcm", b"1")
        await eventually(
            lambda: len(list(config.outbox_dir.glob("ct/*/result.json"))) == 1,
            "the first is delivered",
        )
        swap(scans, secret)
        rig.inbox.poke()
        await eventually(
            lambda: any("is a link" in text for text in rig.inbox.warnings()), "there is a warning"
        )
        assert [item.name for item in await rig.inbox.items()] == ["first.dcm"]
        scans.unlink()
        scans.with_name(".x").rename(scans)
        drop(scans / "second.dcm", b"2")
        await eventually(
            lambda: len(list(config.outbox_dir.glob("ct/*/result.json"))) == 2, "both are delivered"
        )
        assert not [text for text in rig.inbox.warnings() if "is a link" in text]
    assert (secret / "secret.txt").read_text() == "secret"
    assert names(secret) == {"secret.txt"}


async def test_a_retry_puts_nothing_behind_a_link(tmp_path: Path) -> None:
    secret = tmp_path / "config"
    secret.mkdir(mode=0o700)
    config = make_config(tmp_path / "state")
    ct = config.inbox_dir / "ct"
    async with inbox_rig(config, status=JobStatus.FAULTED) as rig:
        await rig.register("ct")
        drop(ct / "containers.conf", b"[engine]")
        (item,) = await rig.delivered()
        swap(ct, secret)
        with pytest.raises(ItemRetryError, match="is a link that another user may have put there"):
            await rig.inbox.retry(item.id)
        assert names(secret) == set()
        ct.unlink()
        ct.with_name(".x").rename(ct)
        await rig.inbox.retry(item.id)
        await eventually(
            lambda: len(list(config.failed_dir.glob("ct/*/reason.json"))) >= 1, "one has failed"
        )
    assert names(secret) == set()


async def test_a_retry_moves_nothing_from_behind_a_link(tmp_path: Path) -> None:
    """Who may write to the folder of failures, as docs/results.md lets groups, leads it nowhere."""
    secret = tmp_path / "config"
    drop(secret / "containers.conf", b"secret")
    secret.chmod(0o700)
    config = make_config(tmp_path / "state")
    ct = config.inbox_dir / "ct"
    async with inbox_rig(config, status=JobStatus.FAULTED) as rig:
        await rig.register("ct")
        drop(ct / "containers.conf", b"his")
        (item,) = await rig.delivered()
        original = Path(str(item.result_path)) / "original"
        swap(original, secret)
        with pytest.raises(ItemRetryError, match="is a link that another user may have put there"):
            await rig.inbox.retry(item.id)
        assert names(secret) == {"containers.conf"}
        assert not (ct / "containers.conf").exists()
        original.unlink()
        original.with_name(".x").rename(original)
        await rig.inbox.retry(item.id)
        await eventually(
            lambda: len(list(config.failed_dir.glob("ct/*/reason.json"))) == 2, "both have failed"
        )
    assert (secret / "containers.conf").read_bytes() == b"secret"


async def test_a_pipe_in_place_of_a_result_keeps_nothing_waiting(tmp_path: Path) -> None:
    config = make_config(tmp_path / "state")
    reached: list[Path] = []

    def hook(name: str) -> None:
        """Another user's folder of the name that a delivery is about to have."""
        if name == "publish: built" and not reached:
            (building,) = config.outbox_dir.glob(".tmp-*")
            taken = config.outbox_dir / "ct" / f"scan.dcm-{building.name[5:13]}"
            taken.mkdir()
            os.mkfifo(taken / "result.json")
            drop(taken / "other", b"his")
            reached.append(taken)

    async with inbox_rig(config, hook=hook) as rig:
        await rig.register("ct")
        drop(config.inbox_dir / "ct/scan.dcm", b"1")
        (item,) = await rig.delivered()
    (taken,) = reached
    assert Path(str(item.result_path)) != taken
    assert (taken / "other").read_bytes() == b"his"
