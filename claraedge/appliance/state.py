"""Creates and checks the state folder, and refuses it with a reason if it cannot be used."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
from collections.abc import Callable
from pathlib import Path

from claraedge.errors import StateFolderError
from claraedge.fs import files, mounts
from claraedge.fs.mounts import Mount

#: Network file systems. SQLite's write-ahead log needs memory that all its processes share, which
#: is impossible across machines. Source: sqlite.org/wal.html.
_NETWORK = frozenset(
    ("afs", "ceph", "cifs", "coda", "davfs", "ncpfs", "nfs", "nfs4", "smb3", "smbfs")
)


def prepare_state(
    path: Path, *, mount_of: Callable[[Path], Mount | None] = mounts.mount_of
) -> None:
    """Creates the state folder (mode 0750) or checks that it is ours.

    Raises StateFolderError if it cannot be made or written, belongs to another user, or lies on a
    share.
    """
    other = "choose another state folder (CLARAEDGE_STATE_DIR)"
    try:
        files.make_folders(path, 0o750)
        owner = path.stat().st_uid
    except (FileExistsError, NotADirectoryError) as error:
        raise StateFolderError(f"{path} is not a folder; move it elsewhere, or {other}") from error
    except PermissionError as error:
        raise StateFolderError(
            f"the state folder {path} cannot be made by user {user_name(os.geteuid())};"
            f" make it and give it to this user, or {other}"
        ) from error
    except OSError as error:
        raise StateFolderError(
            f"the state folder {path} cannot be used: {error.strerror}; correct that, or {other}"
        ) from error
    if owner != os.geteuid():
        raise StateFolderError(
            f"the state folder {path} belongs to user {user_name(owner)}, and this is"
            f" {user_name(os.geteuid())}; run claraedge as {user_name(owner)}, or {other}"
        )
    if (broken := broken_disk(path)) is not None:
        raise StateFolderError(f"{broken}; or {other}")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StateFolderError(
            f"the state folder {path} is not writable; `chmod u+rwx {path}`, or {other}"
        )
    mount = None
    with contextlib.suppress(OSError):  # only the mount is unknown: the folder was checked above
        mount = mount_of(path)
    if mount is not None and mount.fstype in _NETWORK:
        raise StateFolderError(
            f"the state folder {path} lies on a share ({mount.fstype}, {mount.source}), where the"
            " database would be damaged; choose one on a disk of this machine"
            " (CLARAEDGE_STATE_DIR). The inbox and the outbox may be on shares"
        )


def broken_disk(path: Path) -> str | None:
    """Returns why the disk of a folder cannot be written at all, and what to do; None otherwise.

    A full disk also returns None. The kernel remounts a failed disk read-only
    (`errors=remount-ro`), while open files seem to work as before. The test therefore creates a
    file without a name (O_TMPFILE).
    """
    try:
        os.close(os.open(path, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EIO):
            return None
        return (
            f"the disk of the state folder {path} cannot be written ({error.strerror}): `sudo"
            " dmesg` says why; check that disk, mount it for writing, and start claraedge again"
        )
    return None


def user_name(uid: int) -> str:
    """Returns the name of a user, or the uid as text if the user has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
