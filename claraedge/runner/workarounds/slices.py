"""Slices of the user's systemd around containers: how it is known whom the kernel killed.

The kernel counts who was killed for memory in the control group of the container, which goes with
its last process: nobody can be sure to read it in time, and conmon (2.1.6, in Debian 12) does not
where systemd manages the groups. It counts them in the groups above as well, and a slice stays. So
each container is put into a slice that no other is in at the time. A label says which one, and how
often the kernel had killed in there before.

There are as many slices as containers at once, and they are used again: making one costs some
milliseconds, and leaves a unit with the user's systemd that somebody would have to stop.

Source: Linux, admin-guide/cgroup-v2, memory.events; systemd.slice(5); measured with systemd 252.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from dataclasses import dataclass
from pathlib import Path

#: A container that may not have what it asks for ends as a whole: one of its processes alone could
#: be missed by the others, and the operator would tell of success.
KILL_ALL = {"memory.oom.group": "1"}
#: What systemd does where it ends a container, in a shutdown: by default it sends TERM to each of
#: the processes, of which some end and some do not, and waits 90 s. It runs again after the start.
ENDED_AT_ONCE = {"org.systemd.property.KillSignal": str(int(signal.SIGKILL))}

_PARENT = "claraedge.slice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Where a container is to be."""

    name: str
    label: str
    """The value of LABEL_SLICE."""


class Slices:
    """Gives each container a slice of its own, below the manager of this process's user."""

    def __init__(self, manager: Path | None = None) -> None:
        """`manager`: its control group, where that is not the usual place."""
        user = os.getuid()
        self._manager = manager or Path(
            f"/sys/fs/cgroup/user.slice/user-{user}.slice/user@{user}.service"
        )
        self._taken: dict[str, str] = {}

    @property
    def usable(self) -> bool:
        """Whether this user has a manager, as far as can be seen."""
        return self._manager.is_dir()

    def take(self, holder: str) -> Slice:
        """One that is free, until `free`. The same holder again gets the same."""
        name = self._taken.get(holder) or next(
            name
            for name in (f"claraedge-{n}.slice" for n in itertools.count())
            if name not in self._taken.values() and not self._occupied(name)
        )
        self._taken[holder] = name
        return Slice(name=name, label=f"{name} {self._kills(name)}")

    def hand_over(self, holder: str, heir: str) -> None:
        """What the holder had is the heir's from now on."""
        if holder in self._taken:
            self._taken[heir] = self._taken.pop(holder)

    def free(self, holder: str) -> None:
        """It needs its slice no more; nothing where it had none."""
        self._taken.pop(holder, None)

    def killed(self, label: str) -> bool:
        """Whether the kernel killed in a container with this label. False as well where it is empty
        or the machine was restarted since.
        """
        name, _, before = label.partition(" ")
        return before.isdecimal() and self._kills(name) > int(before)

    def _occupied(self, name: str) -> bool:
        """Whether containers of an earlier daemon run there."""
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
