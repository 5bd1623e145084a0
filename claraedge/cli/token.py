"""`claraedge token`: prints the token that callers over TCP show, or replaces it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from claraedge.errors import StateFolderError

#: Where the configuration and the state of the system's daemon are, as its unit says.
_SYSTEM = {"CONFIGURATION_DIRECTORY": "/etc/claraedge", "STATE_DIRECTORY": "/var/lib/claraedge"}
_NAMED = ("CLARAEDGE_CONFIG", "CLARAEDGE_STATE_DIR", "STATE_DIRECTORY")


@click.command()
@click.option("--new", is_flag=True, help="Replace the token. The old one is refused from then on.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The daemon's configuration.  [CLARAEDGE_CONFIG]",
)
@click.option("--state-dir", metavar="FOLDER", help="The state folder.  [CLARAEDGE_STATE_DIR]")
def token(new: bool, config: Path | None, state_dir: str | None) -> None:
    """Print the token for callers over TCP: HTTP, and gRPC of other machines.

    The daemon makes the token when it first needs one. Its user, and members of its group, may read
    it; its user alone may replace it. A new token applies at once, without a restart. Without an
    option: that of the user's own daemon, otherwise that of the system's.
    """
    from claraedge.access import token as tokens

    folder = _state(config, state_dir)
    path = tokens.path_in(folder)
    try:
        found = None if new else tokens.read(path)
        if found is None:
            _check_owner(folder, new=new)
            found = tokens.renew(path)
    except PermissionError as error:
        raise StateFolderError(
            f"{path} is not open to this user; run the command as the user of the daemon (`sudo -u"
            " claraedge`), or join its group: `sudo usermod --append --groups claraedge"
            ' "$USER"`, then log in again'
        ) from error
    except FileNotFoundError as error:
        raise StateFolderError(
            f"there is no state folder {folder}; start the daemon or, if it has another one"
            " (`claraedge status` prints it), name that by --state-dir or CLARAEDGE_STATE_DIR"
        ) from error
    click.echo(found)


def _state(config: Path | None, state_dir: str | None) -> Path:
    from claraedge.config import load_config

    flags = {} if state_dir is None else {"state_dir": str(Path(state_dir).absolute())}
    found = load_config(config, os.environ, flags).state_dir
    named = flags or config or any(name in os.environ for name in _NAMED)
    if named or os.path.lexists(found):
        return found
    return load_config(None, {**os.environ, **_SYSTEM}, {}).state_dir


def _check_owner(folder: Path, *, new: bool) -> None:
    """A file of another user in the state could not be replaced by the daemon."""
    if folder.stat().st_uid == os.geteuid():
        return
    what = "replaced" if new else "made"
    raise StateFolderError(
        f"the token in {folder} can be {what} by the user of the daemon alone: sudo -u claraedge"
        f" claraedge token{' --new' if new else ''} --state-dir {folder}"
    )
