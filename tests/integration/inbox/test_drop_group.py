"""Who drops files may do that and nothing else: finding 15 of the review of b474c6d.

The machine is the user namespace of the test's user, whose root makes the accounts and the folders
of the package there; the daemon's user is 1, the group of those who drop 2.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.appliance.state import user_name
from tests.integration.inbox.test_other_users import unshare
from tests.rig.inbox import inbox_rig, make_config, other_file_system

pytestmark = pytest.mark.podman

UNITS = Path(__file__).resolve().parents[3] / "systemd"
#: Users of the daemon's group, of the group that drops, and of neither.
API, DROPPER, STRANGER = ("5", "1"), ("6", "2"), ("7", "3")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """A root with the folders of the package, which others can reach."""
    root = other_file_system(tmp_path)
    root.chmod(0o755)
    for name in ("etc", "var/lib", "run", "usr/lib/tmpfiles.d"):
        (root / name).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nclaraedge:x:1:1::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nclaraedge:x:1:\nclaraedge-drop:x:2:claraedge\n")
    text = (UNITS / "claraedge.tmpfiles").read_text()
    # Names in an ACL are those of this machine, whatever the root has.
    text = text.replace("group:claraedge-drop:", "group:2:").replace("group:claraedge:", "group:1:")
    (root / "usr/lib/tmpfiles.d/claraedge.conf").write_text(text)
    unshare("systemd-tmpfiles", f"--root={root}", "--create", "claraedge.conf")
    yield root
    unshare("chown", "-R", "0:0", str(root))
    unshare("chmod", "-R", "u+rwX", str(root))
    shutil.rmtree(root)


def may(who: tuple[str, str], *command: str) -> bool:
    """Whether a command works for a user in one group."""
    user, group = who
    return (
        subprocess.run(
            ["podman", "unshare", "setpriv", f"--reuid={user}", f"--regid={group}",
             "--clear-groups", "--inh-caps=-all", *command],
            capture_output=True, check=False, timeout=60, cwd="/",
        ).returncode == 0
    )  # fmt: skip


def daemon(*command: str) -> bool:
    """The same for the daemon: user 1 in group 1, and in that of those who drop."""
    return (
        subprocess.run(
            ["podman", "unshare", "setpriv", "--reuid=1", "--regid=1", "--groups=1,2",
             "--inh-caps=-all", *command],
            capture_output=True, check=False, timeout=60, cwd="/",
        ).returncode == 0
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="no systemd-tmpfiles")
def test_droppers_reach_the_inbox_and_neither_the_state_nor_the_socket(machine: Path) -> None:
    state, inbox = machine / "var/lib/claraedge", machine / "var/lib/claraedge/inbox"
    runtime = machine / "run/claraedge"
    runtime.mkdir(mode=0o750)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(runtime / "claraedge.sock"))
        server.listen()
        (runtime / "claraedge.sock").chmod(0o660)
        unshare("chown", "-R", "1:1", str(runtime))
        reach = ("test", "-w", str(runtime / "claraedge.sock"))  # what connect(2) asks for
        assert may(API, *reach)
        assert not may(DROPPER, *reach)
    assert daemon("mkdir", "-m", "3775", str(inbox / "ct"))
    for who, name in ((API, "api"), (DROPPER, "dropped")):
        # The strictest umask that a file transfer has, and a folder that nobody else may write to.
        assert may(
            who, "sh", "-c", f"umask 022; mkdir {inbox}/ct/{name}; echo > {inbox}/ct/{name}/f"
        )
        assert daemon("cat", str(inbox / f"ct/{name}/f"))
        assert daemon("rm", str(inbox / f"ct/{name}/f"))
        assert daemon("mv", str(inbox / f"ct/{name}"), str(inbox / f"taken-{name}"))
    assert not may(STRANGER, "touch", str(inbox / "ct/none"))
    assert not may(DROPPER, "ls", str(state))
    assert not may(DROPPER, "touch", str(state / "none"))
    assert daemon("touch", str(inbox / "ct/ours"))
    assert not may(DROPPER, "rm", "-f", str(inbox / "ct/ours"))


def test_a_folder_is_made_for_the_group_that_is_configured(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    text = (
        "from pathlib import Path; from claraedge.inbox.triggers.drop_folders import make;"
        f" make(Path({str(folder)!r}), 'daemon')"
    )
    for _ in range(2):  # a group that is configured later is given as well
        subprocess.run(["podman", "unshare", sys.executable, "-c", text], check=True, timeout=60)
        shown = subprocess.run(
            ["podman", "unshare", "stat", "-c", "%g %a", str(folder)],
            capture_output=True, text=True, check=True, timeout=60, cwd="/",
        ).stdout.split()  # fmt: skip
        assert shown == ["1", "3775"]
        unshare("chgrp", "0", str(folder))
        unshare("chmod", "3775", str(folder))


@pytest.mark.parametrize(
    ("group", "text"),
    [("daemon", "of which {user} is no member"), ("no-such-group", "which is not there")],
)
async def test_a_group_that_cannot_be_set_is_reported(
    tmp_path: Path, group: str, text: str
) -> None:
    config = make_config(tmp_path / "state", group=group)
    async with inbox_rig(config) as rig:
        (warning,) = rig.inbox.warnings()
        assert text.format(user=user_name(os.geteuid())) in warning
        assert config.inbox_dir.stat().st_mode & 0o7777 == 0o3775
