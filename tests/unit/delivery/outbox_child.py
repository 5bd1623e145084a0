"""An outbox on a disk of its own, in a name space where this process may mount.

    unshare -Urm python -m tests.unit.delivery.outbox_child SCENARIO STATE

Exits 0 where all was as it should be.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from claraedge.inbox.model import Item, ItemState
from tests.rig.inbox import InboxRig, drop, ended, inbox_rig, make_config, tree_of

MIB = 1 << 20


def mount(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def waits(rig: InboxRig, name: str, why: str) -> None:
    def said(items: list[Item]) -> bool:
        return any(item.name == name and why in item.reason for item in items)

    await rig.until(said)


async def full(state: Path) -> None:
    """A result that does not fit waits, delays no other, leaves no part, continues by itself."""
    outbox = state / "outbox"
    mount(outbox, 8 * MIB)
    ballast = drop(outbox / "ballast", bytes(7 * MIB))
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        drop(state / "inbox/ct/big.dcm", bytes(MIB))
        await waits(rig, "big.dcm", f"the disk of {outbox} is full; free some space there")
        assert list(outbox.glob(".tmp-*")) == []
        drop(state / "inbox/ct/small.dcm", b"small")
        items = await rig.delivered()
        assert [item.name for item in ended(items)] == ["small.dcm"]
        assert list(outbox.glob(".tmp-*")) == []
        ballast.unlink()
        await rig.delivered(2)
    assert len(list(outbox.glob("ct/big.dcm-*/result.json"))) == 1


async def full_originals(state: Path) -> None:
    """The same of originals: no part of one stays, and the original is where it was."""
    originals = state / "originals"
    mount(originals, 2 * MIB)
    ballast = drop(originals / "ballast", bytes(2 * MIB - 65536))
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        drop(state / "inbox/ct/big.dcm", bytes(MIB))
        await waits(rig, "big.dcm", "is full; free some space there")
        assert [path for path in originals.rglob("*") if path.is_file()] == [ballast]
        ballast.unlink()
        await rig.delivered()
    assert list(tree_of(originals).values()) == [bytes(MIB)]


async def unmounted(state: Path) -> None:
    """Nothing is written below a disk that went, neither while it runs nor after a restart."""
    outbox = state / "outbox"
    mount(outbox, 8 * MIB)
    config = make_config(state)
    async with inbox_rig(config) as rig:
        await rig.register("ct")
        drop(state / "inbox/ct/one.dcm", b"one")
        await rig.delivered()
        unmount(outbox)
        drop(state / "inbox/ct/two.dcm", b"two")
        await waits(rig, "two.dcm", f"is not mounted; mount it again: mount '{outbox}'")
        (warning,) = rig.delivery.warnings()
        assert "is not mounted" in warning
    async with inbox_rig(config) as rig:
        await waits(rig, "two.dcm", "is not mounted")
        assert list(outbox.iterdir()) == []
        mount(outbox, 8 * MIB)
        await rig.delivered(2)
        assert rig.delivery.warnings() == []
    assert len(list(outbox.glob("ct/two.dcm-*"))) == 1
    unmount(outbox)
    without = make_config(state, wait_for_mounts=False)
    async with inbox_rig(
        without
    ) as rig:  # an administrator says that it is to lie here from now on
        drop(state / "inbox/ct/three.dcm", b"three")
        await rig.delivered(3)
    async with inbox_rig(config) as rig:
        drop(state / "inbox/ct/four.dcm", b"four")
        await rig.delivered(4)
    assert len(list(outbox.glob("ct/*"))) == 2


async def unmounted_at_start(state: Path) -> None:
    """Folders below a mount point that is empty are not made on the disk under it."""
    disk = state / "disk"
    mount(disk, 8 * MIB)
    config = make_config(state, path=disk / "out", originals=disk / "originals")
    async with inbox_rig(config) as rig:
        await rig.register("ct")
        drop(state / "inbox/ct/one.dcm", b"one")
        await rig.delivered()
    unmount(disk)
    async with inbox_rig(config) as rig:
        drop(state / "inbox/ct/two.dcm", b"two")
        (item,) = [
            i for i in await rig.until(lambda items: items[-1].reason) if i.name == "two.dcm"
        ]
        assert item.state is ItemState.SUBMITTED
        assert list(disk.iterdir()) == []


SCENARIOS = (full, full_originals, unmounted, unmounted_at_start)

if __name__ == "__main__":
    (scenario,) = (one for one in SCENARIOS if one.__name__ == sys.argv[1])
    asyncio.run(scenario(Path(sys.argv[2])))
