"""The daemon's log: one event, one line, with its fields.

On a terminal a readable line; under systemd the same with journald's priority prefix; else JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from claraedge.clock import rfc3339

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

#: syslog priorities, as sd-daemon(3) has them.
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What a call gave as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _KNOWN}


class TextFormatter(logging.Formatter):
    """`12:00:00 INFO    job queued  job=... priority=NORMAL`, local time."""

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
    """One JSON object a line; `time` is RFC 3339, UTC."""

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
    """Sends all logs to stderr. `form`: auto, text, json or journal."""
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
    # These tell of every request at INFO.
    for chatty in ("urllib3", "podman", "asyncio", "watchdog"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _shown(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not any(c.isspace() or c in '"=' for c in text)
    return text if text and plain else json.dumps(text)


def _one_line(text: str) -> str:
    """A message may name a file, and whoever dropped that chose its characters."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
