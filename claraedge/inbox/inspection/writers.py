"""Whether somebody has a file open for writing, where the system tells.

A read lease, fcntl(2) F_SETLEASE, is granted only for a file that nobody can write through any
descriptor or mapping, whatever its name, in whatever process. It is asked for and given back at
once. Who opens the file for writing in between waits for that long, some microseconds; one who may
not wait (O_NONBLOCK, as Samba with kernel oplocks) is told to come again.

To ask, the file is opened for reading: inotify tells of that, `Heard.OPENED` and
`Heard.CLOSED_UNWRITTEN`. So it is asked last, of what has come to rest by all other signs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path
from typing import TypeAlias

from claraedge.fs.mounts import mount_of_open
from claraedge.fs.walking import walk

#: In <fcntl.h>, and not in Python's fcntl.
_F_SETSIG = 10
#: Sent to us when somebody opens the file while we have the lease. Left alone that is SIGIO, which
#: ends a process; this one is ignored by default, and so is not even delivered.
_BROKEN = signal.SIGURG

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


#: By number, whether all who write there pass this kernel.
Devices: TypeAlias = dict[int, bool]


def has_writer(name: bytes, folder: int) -> bool | None:
    """Whether a regular file, by its name in an open folder, is open for writing. Blocking.

    None where the system does not tell: the file is another user's and we lack CAP_LEASE, others
    may write it past this kernel (`sends_events`), its file system has no leases, it cannot be
    read, or is no regular file. Raises FileNotFoundError.
    """
    return _has_writer(name, folder, {})


def first_writer(root: Path, devices: Devices | None = None) -> bytes | None:
    """The path in a tree of the first regular file that is known to have a writer, or None.

    Relative to the tree's root, which is b'' where it is that file itself. `devices`: for several
    trees that are asked of at about the same time. Blocking; raises FileNotFoundError where there
    is no root.
    """
    local = {} if devices is None else devices
    for entry in walk(root):
        if not entry.is_file:
            continue
        try:
            written = _has_writer(entry.name, entry.folder, local)
        except FileNotFoundError:
            if not entry.path:
                raise
            continue
        if written:
            return entry.path
    return None


def _has_writer(name: bytes, folder: int, local: Devices) -> bool | None:
    try:
        descriptor = os.open(name, _OPEN, dir_fd=folder)
    except BlockingIOError:
        return True  # somebody has it for himself: a write lease, as Samba gives to its clients
    except FileNotFoundError:
        raise
    except OSError:
        return None
    try:
        device = os.fstat(descriptor).st_dev
        if device not in local:
            mount = mount_of_open(descriptor)
            local[device] = mount is not None and mount.sends_events
        return _is_written(descriptor) if local[device] else None
    finally:
        os.close(descriptor)


def _is_written(descriptor: int) -> bool | None:
    try:
        fcntl.fcntl(descriptor, _F_SETSIG, _BROKEN)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return True  # the kernel took it back: a writer had waited for fs.lease-break-time
    return False
