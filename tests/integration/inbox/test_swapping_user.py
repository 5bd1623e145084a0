"""Another user swaps every folder that he may write, while files are dropped, jobs delivered and
failures tried again: nothing behind his links is read, written or removed, and nothing is doubled.

The campaign (CLARAEDGE_CAMPAIGN=1) makes 2,000 drops. TESTS_SEED has one run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import random
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from claraedge.config import Config
from claraedge.errors import ClaraedgeError
from claraedge.inbox.model import Item, ItemState
from claraedge.jobs.model import JobStatus
from tests import campaign
from tests.integration.inbox.test_other_users import unshare
from tests.rig.inbox import InboxRig, drop, inbox_rig, make_config, other_file_system

pytestmark = [pytest.mark.podman, pytest.mark.timeout(3600 if campaign.CAMPAIGN else 180)]

DROPS = 2000 if campaign.CAMPAIGN else 60
SEED = os.environ.get("TESTS_SEED", "") or str(random.SystemRandom().randrange(1 << 32))
SCRIPT = Path(__file__).with_name("swapping_user.py")
SECRET = b"what nobody but its owner may see"
_EVENTS = struct.Struct("iIII")
#: Opened, read, written, made, moved, removed, other mode.
_ALL = 0x00000FFF
#: Of a folder, that it was opened, listed and closed: no byte of what is in it.
_FOLDER, _LISTED = 0x40000000, 0x00000031
_NONBLOCK = os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A folder that is its owner's alone, with what is in it, and everything that happens to it."""

    root: Path
    events: int
    before: dict[str, tuple[int, int, bytes]]

    def happened(self) -> list[tuple[int, str]]:
        """Masks and names, as inotify(7) reports them."""
        found = []
        while True:
            try:
                data = os.read(self.events, 1 << 16)
            except BlockingIOError:
                return found
            while data:
                _, mask, _, size = _EVENTS.unpack_from(data)
                name = data[_EVENTS.size : _EVENTS.size + size].rstrip(b"\0")
                if not (mask & _FOLDER and mask & _LISTED):
                    found.append((mask, os.fsdecode(name)))
                data = data[_EVENTS.size + size :]


def closed(root: Path) -> Closed:
    """One with files of the names that a link would lead the daemon to."""
    numbered = [
        f"{place}{who}-{n}"
        for n in range(60)
        for who in ("his", "drop")
        for place in ("", "original/")
    ]
    for name in ("containers.conf", "ct/result.json", "sub/deep/file", "a/f", *numbered):
        drop(root / name, SECRET).chmod(0o600)
    root.chmod(0o700)
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.inotify_init1(_NONBLOCK)
    assert events >= 0
    before = recorded(root)
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        assert libc.inotify_add_watch(events, os.fsencode(folder), _ALL) >= 0
    return Closed(root=root, events=events, before=before)


def recorded(root: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted([root, *root.rglob("*")])
    }


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A place that others can reach."""
    folder = other_file_system(tmp_path)
    folder.chmod(0o755)
    yield folder
    unshare("chown", "-hR", "0:0", str(folder))
    unshare("chmod", "-R", "u+rwX", str(folder))
    shutil.rmtree(folder)


def open_folders(home: Path, tmp_path: Path, *, sticky: bool, apart: bool) -> Config:
    """All of them are open to the group; without the sticky bit it swaps also the daemon's own."""
    state = (tmp_path if apart else home) / "state"
    state.mkdir(mode=0o755)
    folders = {name: home / name for name in ("inbox", "outbox", "failed", "originals")}
    for path in folders.values():
        path.mkdir()
        path.chmod(0o3770 if sticky else 0o2770)
    inbox = folders.pop("inbox")
    config = make_config(
        state, inbox=inbox, path=folders["outbox"], failed=folders["failed"],
        originals=folders["originals"],
    )  # fmt: skip
    drop(inbox / "ct/.x", b"").unlink()
    (inbox / "ct").chmod(0o3775 if sticky else 0o2775)
    return config


async def swapping(config: Config, targets: list[str]) -> asyncio.subprocess.Process:
    inbox = config.inbox_dir
    given = {
        "folders": [str(inbox / "ct"), str(inbox / "mine"), str(inbox / "mine-too")],
        "tops": [str(config.outbox_dir), str(config.failed_dir), str(config.originals_dir)],
        "targets": targets,
    }
    return await asyncio.create_subprocess_exec(
        "podman", "unshare", "setpriv", "--reuid=6", "--regid=0", "--clear-groups",
        "--inh-caps=-all", "/usr/bin/python3", "-c", SCRIPT.read_text(), SEED, json.dumps(given),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/",
    )  # fmt: skip


def put(place: Path, content: bytes, *, inside: bool) -> None:
    """As somebody drops who follows no link himself: he is the daemon's own user here."""
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        at = Path(f"/proc/self/fd/{folder}", f".{place.name}.tmp")
        if inside:
            at.mkdir()
        (at / "file" if inside else at).write_bytes(content)
        at.rename(at.with_name(place.name))
    finally:
        os.close(folder)


async def work(rig: InboxRig, chance: random.Random) -> None:
    """Drops, ends of jobs good and bad, and failures that are tried again."""
    folders = [rig.config.inbox_dir / name for name in ("ct", "mine", "mine-too")]
    for number in range(DROPS):
        rig.engine.status = chance.choice((JobStatus.HEALTHY, JobStatus.HEALTHY, JobStatus.FAULTED))
        place = chance.choice(folders) / f"drop-{number}"
        with contextlib.suppress(OSError):
            put(place, b"drop %d" % number, inside=chance.random() < 0.3)
        if number % 5 == 0:
            items = await rig.inbox.items(ItemState.FAILED)
            for item in chance.sample(list(items), min(2, len(items))):
                with contextlib.suppress(ClaraedgeError, OSError):
                    await rig.inbox.retry(item.id)
        await asyncio.sleep(chance.random() * 0.05)


def unsettled(items: list[Item]) -> list[Item]:
    """Those that are neither at their end nor say why they are not."""
    done = (ItemState.DELIVERED, ItemState.FAILED, ItemState.IGNORED)
    return [item for item in items if item.state not in done and not item.reason]


@pytest.mark.parametrize(
    ("sticky", "apart"), [(True, False), (False, False), (False, True)],
    ids=["sticky", "shared", "another file system"],
)  # fmt: skip
async def test_no_link_of_another_user_is_followed(
    home: Path, tmp_path: Path, sticky: bool, apart: bool
) -> None:
    print("TESTS_SEED", SEED)
    chance = random.Random(SEED)
    config = open_folders(home, tmp_path, sticky=sticky, apart=apart)
    kept = [closed(home / "closed"), closed(config.state_dir / "closed")]
    targets = [
        *(str(one.root) for one in kept), *(str(one.root / "sub") for one in kept),
        str(config.state_dir), str(config.state_dir / "spool"), str(config.state_dir / "payloads"),
        "/", "..",
    ]  # fmt: skip
    async with inbox_rig(config) as rig:
        for name in ("ct", "mine", "mine-too"):
            await rig.register(name)
        swapper = await swapping(config, targets)
        try:
            await asyncio.wait_for(work(rig, chance), 3000)
        finally:
            output, _ = await asyncio.wait_for(swapper.communicate(b"."), 60)
        print("he did", output.decode())
        assert swapper.returncode == 0
        rig.inbox.poke()
        items = await rig.until(lambda items: not unsettled(items))
        jobs = await rig.jobs()
    for one in kept:
        assert one.happened() == []
        os.close(one.events)
        assert recorded(one.root) == one.before
    names = {item.raw_name for item in items}
    assert not any(name.startswith((b"claraedge.db", b"containers", b"sub")) for name in names)
    owners = Counter(item.job for item in items if item.job)
    assert set(owners.values()) <= {1}
    assert {job.id for job in jobs} == set(owners)
    for root in (config.outbox_dir, config.failed_dir, config.originals_dir, config.state_dir):
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink() and "closed" not in path.parts:
                try:
                    assert SECRET not in path.read_bytes(), path
                except PermissionError:
                    continue  # his
    assert sum(item.state is ItemState.DELIVERED for item in items) >= DROPS // 10
