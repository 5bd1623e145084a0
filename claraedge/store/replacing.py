"""Replaces the whole state by a new one, so that a crash leaves either the old or the new state.

The new state is built in `restoring` of the state, durably. Then `restoring.json` is written: from
then on the new state counts, and whoever opens the state next completes the remaining moves. The
old state is moved to a folder of its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from claraedge import failpoints
from claraedge.decoding import decode_json
from claraedge.errors import StateFolderError
from claraedge.fs import files
from claraedge.fs.removal import remove

BUILDING = "restoring"
MARK = "restoring.json"
DATABASE = "claraedge.db"
#: The parts that are replaced where a new one exists. The database comes last: without it, the
#: daemon refuses to start.
PARTS = ("payloads", "models", "spool", "jobs", "deployments", "pipelines.d", DATABASE)
#: Files next to the old database, which SQLite would use as those of the new one.
_LOGS = (f"{DATABASE}-wal", f"{DATABASE}-shm")


class _Mark(msgspec.Struct, frozen=True):
    aside: str
    """Name of the folder for the old state."""


def occupied(state: Path) -> Sequence[str]:
    """Returns the parts of a state that exist and are not empty."""
    found = []
    for name in (*PARTS, *_LOGS):
        path = state / name
        with contextlib.suppress(FileNotFoundError):
            if any(path.iterdir()) if path.is_dir() else path.stat().st_size:
                found.append(name)
    return found


def begin(state: Path, aside: str) -> None:
    """Records that the new state replaces the old one; `aside`: the folder for the old state."""
    files.replace(state / MARK, msgspec.json.encode(_Mark(aside)))


def settle(state: Path) -> None:
    """Completes a recorded replacement, or removes a new state that was not recorded.

    The caller must have the lock of the state. Raises StateFolderError where the record is damaged.
    """
    building = state / BUILDING
    try:
        mark = decode_json((state / MARK).read_bytes(), _Mark)
    except FileNotFoundError:
        remove(building)
        return
    except msgspec.MsgspecError as error:
        raise StateFolderError(
            f"{state / MARK} is damaged: a restore was interrupted, and the disk has lost what it"
            f" recorded. Remove that file and {building}, and restore the backup again"
        ) from error
    aside = state / mark.aside
    for name in _LOGS:
        if os.path.lexists(state / name):
            _move(state / name, aside)
    for name in PARTS:
        if os.path.lexists(building / name):  # otherwise it was moved before
            if os.path.lexists(state / name):
                _move(state / name, aside)
            failpoints.reach(f"restore: {name} aside")
            (building / name).rename(state / name)
            files.sync_folder(state)
        failpoints.reach(f"restore: {name}")
    (state / MARK).unlink()
    files.sync_folder(state)
    failpoints.reach("restore: replaced")
    remove(building)


def _move(old: Path, aside: Path) -> None:
    files.make_folders(aside)
    old.rename(aside / old.name)
    files.sync_folder(aside)


def refuse_unsettled(state: Path) -> None:
    """Raises StateFolderError where a replacement was recorded and is not completed."""
    if (state / MARK).exists():
        raise StateFolderError(
            f"a restore of {state} was interrupted; start the daemon, or run `claraedge restore`"
            " again, which ends it"
        )
