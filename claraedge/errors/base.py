"""The base class of all errors."""

from __future__ import annotations

from typing import ClassVar


class ClaraedgeError(Exception):
    """The base class of all errors. If an answer has this error itself, the daemon has a bug.

    To do: report the bug, with what the journal shows (`journalctl -u claraedge`).
    """

    name: ClassVar[str] = "internal"
    code: ClassVar[int] = -0x5000
    status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages: tuple[str, ...] = messages
