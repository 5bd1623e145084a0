"""Reports failures of the state itself as the error that the platform defines for the call."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from claraedge.errors import ClaraedgeError, StateFolderError, StorageFullError


@contextmanager
def reported_as(kind: type[ClaraedgeError], what: str) -> Iterator[None]:
    """Raises `kind` where the disk is full or the state cannot be used, with reason and remedy.

    `what`: the beginning of the message. Other errors are not changed.
    """
    try:
        yield
    except (StateFolderError, StorageFullError) as error:
        raise kind(f"{what}: {error}") from error
    except sqlite3.Error as error:
        raise kind(
            f"{what}: {error}; the disk of the state may be damaged: see `journalctl -u claraedge`"
            " and `sudo dmesg`"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise kind(
            f"{what}: the disk of the state is full; free some space there and try again"
        ) from error
