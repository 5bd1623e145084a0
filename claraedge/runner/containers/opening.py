"""Tests whether the program of a container may open its device nodes, as its user and from inside.

A device node that exists is not always usable: most belong to root and a group (`video`, `render`),
and a rootless container has none of its user's groups. So the nodes are opened with exactly the
identity that the container's first process has from its initialisation on: its user and groups,
without capabilities. The kernel answers, taking into account access control lists, mount options,
and whether the driver behind a node answers at all.

A small process does this: it enters the container's user namespace (util-linux's nsenter), changes
to the root folder of the container while it still may, and becomes that user (setpriv). Nothing of
the image is run. Measured: 5 ms.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge import spawn
from claraedge.blocking import in_thread
from claraedge.runner.groups import inside

_log = logging.getLogger(__name__)

_SECONDS = 10.0  # for opening all nodes
_ENTER = ("nsenter", "--preserve-credentials", "-U")
#: `$0` is the pid of the container's process; `$@` are setpriv's arguments and the command to run.
_AS_IT = 'cd "/proc/$0/root" && exec setpriv "$@"'
_WITHOUT = ("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")
#: Expects pairs of a mode and a node; prints node and reason for each one that cannot be opened.
_OPEN = """\
while [ $# -gt 0 ]; do
    case $1 in
    r) why=$( { true <"$2"; } 2>&1 ) || printf '%s\\t%s\\n' "$2" "${why##*: }" ;;
    *) why=$( { true <>"$2"; } 2>&1 ) || printf '%s\\t%s\\n' "$2" "${why##*: }" ;;
    esac
    shift 2
done
echo done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """User and groups of a process in the kernel's view, as numbers of this machine."""

    user: int
    group: int
    groups: frozenset[int]
    users_inside: Sequence[tuple[int, int, int]]
    """Ranges of its user namespace: (first id inside, first id on this machine, length)."""
    groups_inside: Sequence[tuple[int, int, int]]

    @property
    def user_inside(self) -> int | None:
        """The id of the user inside the container; None where the namespace does not map it."""
        return inside(self.user, self.users_inside)


def read_identity(process: Path) -> ProcessIdentity:
    """Reads the identity of a process from its folder in /proc. Raises OSError where it
    has ended.
    """
    status = dict(
        line.split(":\t", 1)
        for line in (process / "status").read_text().splitlines()
        if line.startswith(("Uid:", "Gid:", "Groups:"))
    )
    return ProcessIdentity(
        user=int(status["Uid"].split()[1]),
        group=int(status["Gid"].split()[1]),
        groups=frozenset(map(int, status["Groups"].split())),
        users_inside=_mapping(process / "uid_map"),
        groups_inside=_mapping(process / "gid_map"),
    )


def _mapping(path: Path) -> Sequence[tuple[int, int, int]]:
    rows = (line.split() for line in path.read_text().splitlines())
    return [(int(inside), int(outside), int(count)) for inside, outside, count in rows]


async def refused(pid: int, identity: ProcessIdentity, nodes: Collection[str]) -> Mapping[str, str]:
    """Returns the nodes (absolute paths in the container) that the identity cannot open -> reason.

    Raises OSError where the process has ended.
    """
    root = Path(f"/proc/{pid}/root")
    become = _become(identity)
    if become is None:
        return await in_thread(computed, root, identity, nodes)
    modes = await in_thread(_modes, root, nodes)
    asked = [part for node, mode in modes.items() for part in (mode, node.lstrip("/"))]
    try:
        code, text = await spawn.run(
            [
                *(*_ENTER, "-t", str(pid), "sh", "-c", _AS_IT, str(pid)),
                *(*become, *_WITHOUT, "sh", "-c", _OPEN, "sh", *asked),
            ],
            environment={"LC_ALL": "C"},
            timeout=_SECONDS,
        )
    except TimeoutError:
        return dict.fromkeys(nodes, f"its driver does not answer within {_SECONDS:g} s")
    lines = text.splitlines()
    if code != 0 or not lines or lines[-1] != "done":
        _log.warning("devices of a container are not opened, their modes are checked: %s", text)
        return await in_thread(computed, root, identity, nodes)
    found = (line.split("\t", 1) for line in lines if "\t" in line)
    return {f"/{node}": why for node, why in found}


def _become(identity: ProcessIdentity) -> Sequence[str] | None:
    """Returns the arguments with which setpriv assumes that identity. None where there are none:
    the identity has groups that its namespace does not map and that are not this process's own.
    """
    groups = [inside(group, identity.groups_inside) for group in sorted(identity.groups)]
    own = set(os.getgroups()) | {os.getegid()}
    if None not in groups:
        kept = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    elif identity.groups | {identity.group} == own | {identity.group}:
        kept = "--keep-groups"  # Podman was asked to keep the groups it was started with
    else:
        return None
    return (
        f"--reuid={identity.user_inside}",
        f"--regid={inside(identity.group, identity.groups_inside)}",
        kept,
    )


def computed(root: Path, identity: ProcessIdentity, nodes: Collection[str]) -> Mapping[str, str]:
    """Returns the same as `refused`, computed from the modes of the nodes alone."""
    found = {}
    for node in nodes:
        status = (root / node.lstrip("/")).stat(follow_symlinks=False)
        bits = status.st_mode & 0o7
        if status.st_uid == identity.user:
            bits = status.st_mode >> 6 & 0o7
        elif status.st_gid in identity.groups | {identity.group}:
            bits = status.st_mode >> 3 & 0o7
        if (_wanted(status) & ~bits) & 0o6:
            found[node] = os.strerror(errno.EACCES)
    return found


def _modes(root: Path, nodes: Collection[str]) -> Mapping[str, str]:
    return {
        node: "w" if _wanted((root / node.lstrip("/")).lstat()) & 0o2 else "r" for node in nodes
    }


def _wanted(status: os.stat_result) -> int:
    """Returns the access that programs want for a node: read and write where anybody may write it
    at all, otherwise read.
    """
    return 0o6 if stat.S_IMODE(status.st_mode) & 0o222 else 0o4
