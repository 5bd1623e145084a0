"""Exit codes as conmon leaves them: a file named by its container, in place by one rename.

Podman's own answer comes from the same file, some milliseconds and a busy core later. Its cleanup
takes the file away within a tenth of a second, so this is a short way and no record: where there is
no file, Podman is asked. Source: conmon 2.1 and libpod 4.3, measured.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

_KILLED = 128 + signal.SIGKILL
#: Seconds: conmon writes the file about as soon as the process is seen to be gone.
_LOOKS = (0.0, 0.001, 0.002, 0.004, 0.008)


class ExitFiles:
    """Reads the files of this user's Podman; what another one runs has none here."""

    def __init__(self) -> None:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        self._folder = Path(runtime, "libpod/tmp/exits") if runtime else None

    def code(self, container: str) -> int | None:
        """The exit code; None where there is no file, or where Podman knows more about the end.

        A container that was killed may have run out of memory, which Podman says.
        """
        if self._folder is None:
            return None
        try:
            text = (self._folder / container).read_bytes()
        except OSError:
            return None
        code = int(text) if text.isdigit() else _KILLED
        return None if code == _KILLED else code

    async def code_soon(self, container: str) -> int | None:
        """The same for a container whose process is gone."""
        for pause in _LOOKS:
            await asyncio.sleep(pause)
            code = self.code(container)
            if code is not None:
                return code
        return None
