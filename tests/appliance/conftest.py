"""One machine for all tests of a file: installed as docs/installation.md says."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance.booted import MADE, QEMU, ROOT, Machine, machine
from tests.appliance.service import IMAGE, MEMBER, STRANGER, Service, blocks
from tests.rig.operators import busybox_image


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with users, and with the project's files at /mnt."""
    assert QEMU is not None, "qemu-system-x86_64 is not installed: build/machine installs it"
    assert (MADE / "disk.img").exists(), "there is no disk to boot: build/machine makes it"
    folder = tmp_path_factory.mktemp("machine")
    content = folder / "content"
    shutil.copytree(ROOT / "systemd", content / "systemd")
    program = ROOT / "dist" / "claraedge-dir"
    shutil.copytree(program, content / "dist" / program.name, symlinks=True)
    busybox_image(content / "busybox.tar", IMAGE)
    with machine(folder, content) as made:
        made.check(f"useradd --create-home {MEMBER} && useradd --create-home {STRANGER}")
        yield made
        seconds = ", ".join(f"{boot:.0f}" for boot in made.boots)
        sys.stderr.write(f"\nboots: {seconds} s\n")


@pytest.fixture(scope="module")
def service(booted: Machine) -> Service:
    """The service of the system, installed by the commands of docs/installation.md."""
    (installing,) = blocks("A service of the system")
    packages, _, rest = installing.partition("\n")
    assert packages.startswith("apt-get install ")
    booted.check(f"dpkg --verify {packages.removeprefix('apt-get install ')}")  # all are there
    made = Service(machine=booted)
    installed = booted.run(f"set -e; SUDO_USER={MEMBER}; cd /mnt\n{rest}")
    assert installed.code == 0, f"{installed.output}\n{made.journal()}"
    made.prepare()
    return made


@pytest.fixture(scope="module")
def own_service(booted: Machine) -> Service:
    """The same for a service of a user's own."""
    (installing,), (own,) = (
        blocks("A service of the system"),
        blocks("A service of your own account"),
    )
    (program,) = (line for line in installing.splitlines() if line.startswith("cp "))
    booted.check(f"cd /mnt && {program}")
    # What a login would start.
    (linger,) = (line for line in own.splitlines() if line.startswith("sudo "))
    booted.check(f"USER={MEMBER}; {linger.removeprefix('sudo ')}")
    own = own.replace(linger, "")
    runtime = f"/run/user/$(id -u {MEMBER})"
    booted.until("a bus", lambda: booted.run(f"test -S {runtime}/bus").code == 0)
    booted.check(f"cat >/tmp/own <<'END'\nset -e; cd /mnt\n{own}END")
    home = Path("/home", MEMBER)
    booted.check(
        f"exec runuser -u {MEMBER} -- env HOME={home} XDG_RUNTIME_DIR={runtime}"
        f" DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus bash /tmp/own"
    )
    made = Service(machine=booted, own=True, state=home / ".local/state/claraedge")
    made.prepare()
    return made
