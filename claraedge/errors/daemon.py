"""Errors of the daemon as a whole."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError


class ConfigurationError(ClaraedgeError):
    """The configuration has mistakes; each has a message.

    To do: correct the settings that the messages name, and start the daemon again.
    """

    name = "configuration"
    code = -0x5200
    status = "FAILED_PRECONDITION"
    exit_code = 78  # EX_CONFIG: systemd must not restart on it


class AlreadyRunningError(ClaraedgeError):
    """Another program uses a folder or an address that this daemon needs.

    To do: stop that program, or give this daemon a folder or an address of its own.
    """

    name = "already-running"
    code = -0x5201
    status = "FAILED_PRECONDITION"
    exit_code = 75


class SetAsideError(ClaraedgeError):
    """The daemon ended twice while it worked on this, so it no longer works on it. Other work
    continues.

    To do: find the cause in the journal (`journalctl -u claraedge`), and report it; then run the
    command that the message names, so that the daemon tries again.
    """

    name = "set-aside"
    code = -0x5208
    status = "FAILED_PRECONDITION"


class NotSetAsideError(ClaraedgeError):
    """Nothing of this name is set aside.

    To do: run `claraedge status`, which names everything that is set aside.
    """

    name = "not-set-aside"
    code = -0x5209
    status = "NOT_FOUND"


class UnavailableError(ClaraedgeError):
    """The daemon does not answer, or is stopping.

    To do: start the daemon (`systemctl start claraedge`, `claraedge serve`), and try again.
    """

    name = "unavailable"
    code = -0x5205
    status = "UNAVAILABLE"
    exit_code = 69
