"""The state folder: made, checked, and refused with a reason where it cannot be used."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from claraedge.errors import StateFolderError


def prepare_state(path: Path) -> None:
    """Makes the state folder (0750) or checks that it is ours. Raises StateFolderError."""
    other = "choose another state folder (CLARAEDGE_STATE_DIR)"
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        owner = path.stat().st_uid
    except (FileExistsError, NotADirectoryError) as error:
        raise StateFolderError(f"{path} is not a folder; move it away, or {other}") from error
    except PermissionError as error:
        raise StateFolderError(
            f"the state folder {path} cannot be made by user {user_name(os.geteuid())};"
            f" make it and give it to this user, or {other}"
        ) from error
    except OSError as error:
        raise StateFolderError(
            f"the state folder {path} cannot be used: {error.strerror}; mend that, or {other}"
        ) from error
    if owner != os.geteuid():
        raise StateFolderError(
            f"the state folder {path} belongs to user {user_name(owner)}, and this is"
            f" {user_name(os.geteuid())}; run claraedge as {user_name(owner)}, or {other}"
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StateFolderError(
            f"the state folder {path} is not writable; `chmod u+rwx {path}`, or {other}"
        )


def user_name(uid: int) -> str:
    """A user's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
