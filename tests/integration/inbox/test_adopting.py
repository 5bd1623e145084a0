"""`claraedge adopt` gives the daemon what was dropped, and nothing that a dropper leads it to.

Finding 7 of the review of b474c6d. The user namespace of the test's user plays the machine: its
root is the daemon's user and runs the command, 1 is who drops, 2 is somebody else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.fs.adopting import Thing
from claraedge.inbox.model import Item
from tests.integration.inbox.test_other_users import adopt, unshare
from tests.rig.inbox import drop, inbox_rig, make_config

pytestmark = pytest.mark.podman


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    unshare("chown", "-R", "0:0", str(tmp_path))
    unshare("chmod", "-R", "u+rwX", str(tmp_path))


def thing_of(path: Path, *, alone: bool = False) -> Thing:
    status = path.lstat()
    return Thing(path=os.fsencode(path), device=status.st_dev, inode=status.st_ino, alone=alone)


def owner(path: Path) -> str:
    """As the namespace numbers its users."""
    return subprocess.run(
        ["podman", "unshare", "stat", "-c", "%u %a", str(path)],
        capture_output=True, text=True, check=True, timeout=60, cwd="/",
    ).stdout.strip()  # fmt: skip


async def parked(state: Path, entry: Path) -> Item:
    """The item of an entry that is another user's, and closed."""
    drop(entry / "scan.dcm")
    unshare("chown", "-R", "1:1", str(entry))
    unshare("chmod", "700", str(entry))
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        (item,) = await rig.until(lambda items: items and items[0].thing is not None)
    assert item.remedy == f"sudo claraedge adopt {item.id}"  # the whole command, for any name
    return item


async def test_a_folder_that_is_swapped_for_a_link_is_not_followed(state: Path) -> None:
    ct, elsewhere = state / "inbox/ct", state.parent / "etc"
    item = await parked(state, ct / "victim")
    drop(elsewhere / "victim/secret")
    unshare("chown", "-R", "2:2", str(elsewhere))
    unshare("mv", str(ct), str(ct.with_name(".x")))
    unshare("ln", "-s", str(elsewhere), str(ct))
    assert "is not what claraedge found there any more" in adopt(item.thing)
    unshare("rm", str(ct))
    unshare("mv", str(elsewhere), str(ct))  # no link, and another folder of that name
    assert "is not what claraedge found there any more" in adopt(item.thing)
    assert owner(ct / "victim") == "2 755"
    assert owner(ct / "victim/secret") == "2 644"


async def test_an_item_of_any_name_is_given(state: Path) -> None:
    entry = state / "inbox/ct" / os.fsdecode(b"it's a\xff\n$(scan)")
    item = await parked(state, entry)
    assert adopt(item.thing) == ""
    assert entry.stat().st_uid == os.geteuid()


def test_only_the_bytes_of_files_and_folders_change_hands(state: Path) -> None:
    study = state / "study"
    program = drop(study / "a/b/program")
    (study / "link").symlink_to("/etc/passwd")
    os.mkfifo(study / "pipe")
    unshare("chown", "-hR", "1:1", str(study))
    unshare("chmod", "7777", str(program))
    unshare("chmod", "2777", str(study / "a"))
    assert adopt(thing_of(study)) == ""
    assert owner(program) == "0 755"  # as no program that runs as us, nor one that others change
    assert owner(study / "a") == "0 755"
    assert owner(study / "link").startswith("1 ")
    assert owner(study / "pipe").startswith("1 ")


def test_files_of_others_are_refused_before_anything_is_changed(state: Path) -> None:
    ours, hidden = drop(state / "study/a/file"), drop(state / "closed/file")
    unshare("chown", "-R", "1:1", str(state / "study"))
    unshare("chown", "2:2", str(hidden))
    unshare("ln", str(hidden), str(ours.with_name("link")))
    assert "has 2 names" in adopt(thing_of(state / "study"))
    unshare("rm", str(ours.with_name("link")))
    unshare("mv", str(hidden), str(ours.with_name("moved")))
    assert "belongs to the user 2" in adopt(thing_of(state / "study"))
    assert owner(state / "study") == "1 755"
    assert owner(ours) == "1 644"
    assert owner(ours.with_name("moved")) == "2 644"


def test_nothing_is_given_outside_of_folders_of_the_daemon(state: Path) -> None:
    file = drop(state / "other/file")
    thing = thing_of(file)
    everywhere = f"from claraedge.fs.adopting import Thing, adopt; adopt({thing!r}, 4)"
    done = subprocess.run(
        ["podman", "unshare", sys.executable, "-c", everywhere],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "lies in no folder of the user 4" in done.stderr
    assert owner(file) == "0 644"


def test_a_folder_that_others_drop_into_stays_open_to_them(state: Path) -> None:
    file = drop(state / "inbox/ct/file")
    unshare("chown", "-R", "1:1", str(file.parent))
    unshare("chmod", "755", str(file.parent))
    assert adopt(thing_of(file.parent, alone=True)) == ""
    assert owner(file.parent) == "0 3775"
    assert owner(file) == "1 644"


#: Exchanges the item and a link to somebody else's folder, as fast as it can, while it is adopted.
SWAPS = """
import ctypes, os, sys, threading
from claraedge.errors import AdoptionError
from claraedge.fs.adopting import Thing, adopt
item, link, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
status = os.lstat(item)
thing = Thing(path=os.fsencode(item), device=status.st_dev, inode=status.st_ino)
libc, ended, swaps = ctypes.CDLL(None, use_errno=True), threading.Event(), 0
names = (os.fsencode(item), os.fsencode(link))
def swap():
    global swaps
    while not ended.is_set():
        assert libc.renameat2(-100, names[0], -100, names[1], 2) == 0
        swaps += 1
thread = threading.Thread(target=swap)
thread.start()
given = refused = 0
for _ in range(times):
    try:
        adopt(thing, 0)
    except (AdoptionError, OSError):
        refused += 1
    else:
        given += 1
ended.set()
thread.join()
print(given, refused, swaps)
"""


def test_no_swap_leads_it_to_the_files_of_somebody_else(state: Path) -> None:
    item, link = state / "inbox/ct/study", state / "inbox/ct/link"
    drop(item / "a/file")
    drop(state / "closed/a/file")
    link.symlink_to(state / "closed")
    unshare("chown", "-R", "1:1", str(item))
    unshare("chown", "-R", "2:2", str(state / "closed"))
    done = subprocess.run(
        ["podman", "unshare", sys.executable, "-c", SWAPS, str(item), str(link), "300"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    given, refused, swaps = map(int, done.stdout.split())
    assert given, done.stdout
    assert refused, done.stdout
    assert swaps > refused, done.stdout
    for path in ("closed", "closed/a", "closed/a/file"):
        assert owner(state / path).startswith("2 ")
