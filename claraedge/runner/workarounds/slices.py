"""Puts containers into slices of the user's systemd, to find out whom the kernel killed.

The kernel counts out-of-memory kills in the cgroup of the container, which disappears with its last
process: nobody can be sure to read it in time, and conmon (2.1.6, in Debian 12) does not where
systemd manages the cgroups. The kernel counts them in the parent cgroups as well, and a slice
stays. So each container is put into a slice that no other container uses at that time. A label
records which one, and the number of kills counted in it before.

There are as many slices as containers at once, and they are reused: creating one needs some
milliseconds, and leaves a unit in the user's systemd that somebody would have to stop.

Source: Linux, admin-guide/cgroup-v2, memory.events; systemd.slice(5); measured with systemd 252.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from dataclasses import dataclass
from pathlib import Path

#: A container that exceeds its memory limit is killed as a whole: the other processes might not
#: notice the loss of one, and the operator would report success.
KILL_ALL = {"memory.oom.group": "1"}
#: The signal with which systemd ends a container in a shutdown. By default it sends TERM to each of
#: the processes, some of which end and some do not, and waits 90 s. The operator runs again after
#: the start.
ENDED_AT_ONCE = {"org.systemd.property.KillSignal": str(int(signal.SIGKILL))}

_PARENT = "claraedge.slice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A systemd slice for a container, and the label that records it."""

    name: str
    label: str
    """The value of LABEL_SLICE."""


class Slices:
    """Assigns each container a slice of its own, below the systemd manager of this
    process's user.
    """

    def __init__(self, manager: Path | None = None) -> None:
        """`manager`: the cgroup folder of the user's manager, where that is not the usual one."""
        user = os.getuid()
        self._manager = manager or Path(
            f"/sys/fs/cgroup/user.slice/user-{user}.slice/user@{user}.service"
        )
        self._taken: dict[str, str] = {}

    @property
    def usable(self) -> bool:
        """Whether this user has a systemd manager, as far as can be seen."""
        return self._manager.is_dir()

    def take(self, holder: str) -> Slice:
        """Assigns a free slice to `holder` until `free`; the same holder gets the same
        slice again.
        """
        name = self._taken.get(holder) or next(
            name
            for name in (f"claraedge-{n}.slice" for n in itertools.count())
            if name not in self._taken.values() and not self._occupied(name)
        )
        self._taken[holder] = name
        return Slice(name=name, label=f"{name} {self._kills(name)}")

    def hand_over(self, holder: str, heir: str) -> None:
        """Transfers the slice of `holder` to `heir`."""
        if holder in self._taken:
            self._taken[heir] = self._taken.pop(holder)

    def free(self, holder: str) -> None:
        """Releases the slice of `holder`; nothing happens where it had none."""
        self._taken.pop(holder, None)

    def killed(self, label: str) -> bool:
        """Whether the kernel killed a process in a container with this label. False also where the
        label is empty or the machine was restarted since.
        """
        name, _, before = label.partition(" ")
        return before.isdecimal() and self._kills(name) > int(before)

    def _occupied(self, name: str) -> bool:
        """Whether containers of an earlier daemon run in the slice."""
        with contextlib.suppress(OSError):
            return any(entry.is_dir() for entry in os.scandir(self._folder(name)))
        return False

    def _kills(self, name: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            for line in (self._folder(name) / "memory.events").read_text("ascii").splitlines():
                event, _, count = line.partition(" ")
                if event == "oom_kill":
                    return int(count)
        return 0

    def _folder(self, name: str) -> Path:
        return self._manager / _PARENT / Path(name).name
