"""Sets the encoding of this process to UTF-8, independent of its locale.

Names of files are bytes, and users who dropped them had their own locale, not that of the service.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from claraedge import texts


def ensure_utf8() -> None:
    """Makes the interpreter use UTF-8 for names, arguments and text. Call it first.

    If the locale made the interpreter choose another encoding, the program executes itself again in
    the interpreter's UTF-8 mode, with the same arguments, byte by byte. The frozen forms always
    start in that mode.
    """
    if sys.getfilesystemencoding() != "utf-8":
        program, *arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]
        os.execv(sys.executable, [program, b"-X", b"utf8", *arguments])  # noqa: S606
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if it is closed, as by `>&-`
            stream.reconfigure(encoding="utf-8", errors=texts.ESCAPES)
