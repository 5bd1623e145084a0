"""Finds settings of the machine that cause harm later, although the daemon can start."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from claraedge import spawn
from claraedge.appliance.state import broken_disk, user_name
from claraedge.blocking import in_thread
from claraedge.fs import mounts
from claraedge.fs.mounts import Mount

_log = logging.getLogger(__name__)

#: File systems that a restart of the machine empties.
_IN_MEMORY = ("tmpfs", "ramfs")


class Surroundings:
    """Inspects the machine at each call, so that corrected problems are no longer reported."""

    def __init__(
        self,
        state: Path,
        *,
        root: Path = Path("/"),
        uid: int | None = None,
        mount_of: Callable[[Path], Mount | None] = mounts.mount_of,
    ) -> None:
        """`root` is the folder of the system's files, `uid` the daemon's user."""
        self._state = state
        self._root = root
        self._uid = os.geteuid() if uid is None else uid
        self._mount_of = mount_of
        self._reported: set[str] = set()

    async def warnings(self) -> Sequence[str]:
        """Returns the warnings for `claraedge status`; new ones are also logged."""
        found = await in_thread(lambda: list(self._problems()))
        for text in found:
            if text not in self._reported:
                _log.warning(text)
        self._reported = set(found)
        return found

    def _problems(self) -> Iterator[str]:
        if (broken := broken_disk(self._state)) is not None:
            yield broken
        try:
            mount = self._mount_of(self._state)
        except OSError:  # code that writes there reports the error
            mount = None
        if mount is not None:
            yield from _of_state(self._state, mount)
        if self._uid != 0:  # containers of root need neither ranges nor a login
            yield from self._of_ranges()
            yield from self._of_login()

    def _of_ranges(self) -> Iterator[str]:
        user = user_name(self._uid)
        lacking = [name for name in ("subuid", "subgid") if not self._has_range(name, user)]
        helpers = [name for name in ("newuidmap", "newgidmap") if spawn.executable(name) is None]
        harm = "images whose files belong to several users can be neither loaded nor run"
        if helpers:
            yield (
                f"{' and '.join(helpers)} are missing: {harm}; `sudo apt-get install uidmap`, then"
                f" `podman system migrate` as {user}"
            )
        if lacking:
            files = " and ".join(f"/etc/{name}" for name in lacking)
            yield (
                f"the user {user} has no range in {files}: {harm}; `sudo usermod --add-subuids"
                f" 2000000-2065535 --add-subgids 2000000-2065535 {user}` (any free range), then"
                f" `podman system migrate` as {user}"
            )

    def _has_range(self, name: str, user: str) -> bool:
        try:
            switch = (self._root / "etc/nsswitch.conf").read_text(errors="replace")
        except OSError:
            switch = ""
        if re.search(r"^\s*subid\s*:(?!\s*files\s*$)", switch, re.MULTILINE):
            return True  # a directory service has the ranges, and Podman asks it
        try:
            lines = (self._root / "etc" / name).read_text(errors="replace").splitlines()
        except OSError:
            return False
        ranges = [line.split(":") for line in lines]
        return any(len(r) == 3 and r[0] in (user, str(self._uid)) for r in ranges)

    def _of_login(self) -> Iterator[str]:
        if not (self._root / "run/systemd/system").is_dir():  # no systemd ends processes at logout
            return
        user = user_name(self._uid)
        if not (self._root / "var/lib/systemd/linger" / user).exists():
            yield (
                f"the user {user} does not linger: this daemon and its containers end with the"
                f" user's last login, and nothing starts at boot; `sudo loginctl enable-linger"
                f" {user}`"
            )


def _of_state(state: Path, mount: Mount) -> Iterator[str]:
    where = f"the state folder {state} lies"
    other = "choose a folder on a disk of this machine (CLARAEDGE_STATE_DIR)"
    if mount.fstype in _IN_MEMORY:
        yield (
            f"{where} in memory ({mount.fstype}): jobs, results and pipelines are gone when this"
            f" machine restarts; {other}"
        )
    elif not mount.sends_events:
        yield (
            f"{where} on a file system that others may share ({mount.fstype}, {mount.source}): a"
            f" power cut may damage the database there; {other}"
        )
