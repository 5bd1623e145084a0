"""The daemon's log: one line for each event, with its fields.

Lines are readable text on a terminal, the same text with journald's priority prefix under systemd,
and JSON otherwise.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from claraedge.clock import rfc3339

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

#: syslog priorities of the levels; source: sd-daemon(3).
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


def fields(record: logging.LogRecord) -> dict[str, object]:
    """Returns the fields that the logging call passed as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _KNOWN}


class TextFormatter(logging.Formatter):
    """Formats a line such as `12:00:00 INFO    job queued  job=... priority=NORMAL` (local time).

    With `prefix` the line starts with journald's priority instead of the time and the level.
    """

    def __init__(self, *, prefix: bool) -> None:
        super().__init__()
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        text = _one_line(record.getMessage())
        pairs = " ".join(f"{key}={_shown(value)}" for key, value in fields(record).items())
        line = f"{text}  {pairs}" if pairs else text
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        if self._prefix:
            mark = f"<{_PRIORITIES.get(record.levelname, 6)}>"
            return "\n".join(mark + part for part in line.splitlines())
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{stamp} {record.levelname:<7} {line}"


class JsonFormatter(logging.Formatter):
    """Formats one JSON object for each line; `time` is RFC 3339 in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "source": record.name,
            **fields(record),
        }
        if record.exc_info:
            event["trace"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


def configure(level: str, form: str) -> None:
    """Sends all logs to stderr. `form` is auto, text, json or journal."""
    if form == "auto":
        if "JOURNAL_STREAM" in os.environ:
            form = "journal"
        else:
            form = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter() if form == "json" else TextFormatter(prefix=form == "journal")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These libraries log every request at INFO.
    for chatty in ("urllib3", "podman", "asyncio", "watchdog"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _shown(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not any(c.isspace() or c in '"=' for c in text)
    return text if text and plain else json.dumps(text)


def _one_line(text: str) -> str:
    """Escapes unprintable characters: a message may contain a file name chosen by others."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
