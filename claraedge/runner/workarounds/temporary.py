"""Temporary folders for Podman's processes: one for each, removed when the process has ended.

A Podman that is killed leaves the file that it was writing, which may be an image of some
gigabytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from claraedge import spawn
from claraedge.blocking import in_thread, wait_out
from claraedge.fs.removal import remove

_log = logging.getLogger(__name__)

_PREFIX = "claraedge-podman-"
#: Podman's default, and its replacement.
_PLACES = ("/var/tmp", "/tmp")  # noqa: S108 a new folder is created in it, with a random name
_TIMEOUT = 20.0  # seconds
_NONE = 1  # exit code of the search where no folder is writable


@asynccontextmanager
async def folder(parent: Path) -> AsyncIterator[Path]:
    """Creates a folder in `parent` (created if missing), locks it while it is in use, then removes
    it.

    Also removes folders of processes that were killed. Raises OSError.
    """
    await in_thread(_remove_stale, parent)
    made, lock = await in_thread(_make, parent)
    try:
        yield made
    finally:
        await wait_out(asyncio.ensure_future(in_thread(_remove, made, lock)))


async def place() -> Path:
    """Returns where Podman's service can write temporary files: TMPDIR, /var/tmp or /tmp.

    Where it cannot, Podman 4.3 reads no image, and its error reads like a damaged image
    (containers/podman#25810: a TMPDIR that does not exist). Podman sees the mounts of the time when
    this user first ran it, so a folder that exists for us may be missing for Podman: it has to be
    asked.
    """
    if not os.environ.get("TMPDIR") and os.access(_PLACES[0], os.W_OK | os.X_OK):
        return Path(_PLACES[0])
    places = (*filter(None, [os.environ.get("TMPDIR")]), *_PLACES)
    search = 'for f; do [ -d "$f" ] && [ -w "$f" ] && printf %s "$f" && exit; done; exit 1'
    command = ["podman", "unshare", "sh", "-c", search, "sh", *places]
    try:
        code, found = await spawn.run(command, timeout=_TIMEOUT)
    except TimeoutError:
        code, found = -1, f"no answer within {_TIMEOUT:g} s"
    if found not in places:
        why = (
            f"it can write to none of {', '.join(places)}; let one be writable for this user, or"
            " name another one in TMPDIR"
        )
        _log.warning(
            "Podman may read no image, for want of a folder for temporary files: %s",
            why if code == _NONE and not found else found.strip(),
        )
        return Path(places[0])
    if found != places[0]:
        _log.warning("Podman cannot write temporary files to %s; it uses %s", places[0], found)
    return Path(found)


def _make(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _lock(folder)
        if lock is not None and folder.exists():
            return folder, lock
        if lock is not None:  # another daemon considered it stale meanwhile
            os.close(lock)


def _remove_stale(parent: Path) -> None:
    """Creates the parent folder, and removes temporary folders that no process locks: theirs was
    killed.
    """
    parent.mkdir(mode=0o700, exist_ok=True)
    for stale in parent.glob(f"{_PREFIX}*"):
        lock = _lock(stale)
        if lock is not None:
            _remove(stale, lock)


def _remove(folder: Path, lock: int) -> None:
    with contextlib.suppress(OSError):
        remove(folder)
    os.close(lock)


def _lock(folder: Path) -> int | None:
    """Returns a descriptor that keeps the folder locked; None where another process does, or it is
    gone.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
