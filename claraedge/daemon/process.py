"""The process of the daemon: configuration, termination signals, exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from claraedge.config import Config, load_config
from claraedge.config.origins import Origins, origins
from claraedge.daemon import journal
from claraedge.daemon.serving import serve
from claraedge.errors import ClaraedgeError

_log = logging.getLogger(__name__)

#: Open files; the units of systemd allow as many.
_FILES = 65_536

_DIED = "a part of the daemon died of a bug; please report it"


def main(config_path: Path | None, overrides: Mapping[str, str]) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code of the process."""
    try:
        config = load_config(config_path, os.environ, overrides)
        journal.configure(config.log.level, config.log.format)
        allow_open_files()
        return asyncio.run(_main(config, origins(config_path, os.environ, overrides)))
    except ClaraedgeError as error:
        for message in error.messages:
            sys.stderr.write(f"claraedge: {message}\n")
        return error.exit_code


def allow_open_files() -> None:
    """Raises the limit of open files to `_FILES`, or as far as the system allows it.

    A shell allows 1,024 (for `select`, which nothing here uses), and so many connections alone are
    served on each address.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _has_terminal() -> bool:
    """Returns whether the process has a terminal, so that SIGHUP means that it was closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _on_hangup() -> None:
    """Ignores SIGHUP with a warning. Other daemons reload on it.

    By default the signal kills the process, and systemd counts that as a regular stop.
    """
    _log.warning("SIGHUP does nothing: to have the configuration read again, restart the daemon")


async def _main(config: Config, made_from: Origins | None = None) -> int:
    """Runs the daemon in a task that a signal cancels; its contexts then stop the parts in order.

    Returns the exit code of the process.
    """
    daemon = asyncio.create_task(serve(config, origins=made_from), name="daemon")
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        daemon.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        loop.add_signal_handler(signal.SIGHUP, on_signal if _has_terminal() else _on_hangup)
    try:
        await daemon
        _log.error("the daemon ended by itself")
    except asyncio.CancelledError:
        if stop.is_set():
            _log.info("stopped")
            return 0
        # The failure of a part may also cancel the task: without a signal that is a bug.
        _log.exception(_DIED)
    except BaseExceptionGroup:
        # systemd starts a new daemon, which recovers; to continue in part could lose work.
        _log.exception(_DIED)
    return 1
