"""The encoding of this process: UTF-8, whatever its locale says.

Names of files are bytes, and those who dropped them had their own locale, not that of the service.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from claraedge import texts


def ensure_utf8() -> None:
    """Makes the interpreter take names, arguments and text for UTF-8. To be called first.

    Where the locale made it choose another encoding, the program starts again in the interpreter's
    UTF-8 mode, with the same arguments, byte by byte. The frozen forms are made to start in it.
    """
    if sys.getfilesystemencoding() != "utf-8":
        program, *arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]
        os.execv(sys.executable, [program, b"-X", b"utf8", *arguments])  # noqa: S606
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed, as by `>&-`
            stream.reconfigure(encoding="utf-8", errors=texts.ESCAPES)
