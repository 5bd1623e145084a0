"""Errors of the state folder, its disk and its backups."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError


class StateFolderError(ClaraedgeError):
    """The state folder cannot be used: another user owns it, it is read-only, or it is no folder.

    To do: check the owner, the mode and the disk of the state folder.
    """

    name = "state-folder"
    code = -0x5202
    status = "FAILED_PRECONDITION"
    exit_code = 73


class NewerStateError(StateFolderError):
    """The state was written by a newer version of claraedge.

    To do: install the newer version again, or restore an older copy of the state (docs/state.md).
    """

    name = "newer-state"
    code = -0x5203


class DamagedStateError(StateFolderError):
    """The database of the state is damaged or lost. The daemon ends, and writes nothing more to it.

    To do: stop the daemon, check the disk, and run `claraedge repair state` (docs/state.md).
    """

    name = "damaged-state"
    code = -0x5206


class BrokenDiskError(StateFolderError):
    """The disk of the state cannot be read or written. The daemon ends.

    To do: check that disk (`dmesg` shows its errors), mount it for writing, and start the daemon.
    """

    name = "broken-disk"
    code = -0x5207


class BackupError(ClaraedgeError):
    """A backup cannot be made or restored: its file is damaged or not a backup, or the file or the
    state that it would create exists already.

    To do: do what the message says; nothing was changed.
    """

    name = "backup"
    code = -0x520A
    status = "FAILED_PRECONDITION"
    exit_code = 65  # EX_DATAERR


class StorageFullError(ClaraedgeError):
    """The disk is full. Work waits; it does not fail.

    To do: free space on the disk that the message names; work continues by itself.
    """

    name = "storage-full"
    code = -0x5204
    status = "RESOURCE_EXHAUSTED"
    http_status = 507
