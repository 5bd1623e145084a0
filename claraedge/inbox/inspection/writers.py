"""Checks whether a program has a file open for writing, where the system can answer that.

A read lease, fcntl(2) F_SETLEASE, is granted only for a file that nobody can write through any
descriptor or mapping, whatever its name, in whatever process. It is taken and returned at once. A
program that opens the file for writing in between waits for that time, some microseconds; with
O_NONBLOCK (as Samba with kernel oplocks) its open fails, and it has to try again.

For this check the file is opened for reading, which inotify reports as `Heard.OPENED` and
`Heard.CLOSED_UNWRITTEN`. So it comes last, for files that are settled by all other signs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from typing import TypeAlias

from claraedge.fs.mounts import mount_of_open

#: Defined in <fcntl.h>, but not in Python's fcntl.
_F_SETSIG = 10
#: Signal sent to us when a program opens the file during the lease. The default is SIGIO, which
#: ends a process; this one is ignored by default, and so is not even delivered.
_BROKEN = signal.SIGURG

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


#: Device number -> whether all writers of that file system go through this kernel.
Devices: TypeAlias = dict[int, bool]


def has_writer(name: bytes, folder: int, devices: Devices | None = None) -> bool | None:
    """Whether a regular file, by its name in an open folder, is open for writing. Blocking.

    None where that is unknown: the file is another user's and we lack CAP_LEASE, others may write
    it without this kernel (`sends_events`), its file system has no leases, it cannot be read, or it
    is no regular file. `devices`: a cache for several files that are checked at about the same
    time. Raises FileNotFoundError.
    """
    local = {} if devices is None else devices
    try:
        descriptor = os.open(name, _OPEN, dir_fd=folder)
    except BlockingIOError:
        return True  # a program has a write lease on it, as Samba requests for its clients
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
        return True  # the kernel revoked the lease: a writer waited for fs.lease-break-time
    return False
