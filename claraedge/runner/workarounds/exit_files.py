"""Exit codes as conmon leaves them: a file named by its container, in place by one rename.

Podman's own answer comes from the same file, some milliseconds and a busy core later. Its cleanup
takes the file away within a tenth of a second, so this is a short way and no record: where there is
no file, Podman is asked.

It is taken for success alone. What failed may have run out of memory, with any exit code: the
kernel may kill a child, and the first process tells of it in its own way. conmon notes that in a
file of its own before it writes the exit code, and Podman reads both.

Source: conmon 2.1 (check_cgroup2_oom) and libpod 4.3 (handleExitFile); times measured.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

#: Seconds: conmon writes the file about as soon as the process is seen to be gone.
_LOOKS = (0.0, 0.001, 0.002, 0.004, 0.008)


class ExitFiles:
    """Reads the files of this user's Podman; what another one runs has none here."""

    def __init__(self) -> None:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        self._folder = Path(runtime, "libpod/tmp/exits") if runtime else None

    def code(self, container: str) -> int | None:
        """0; None where there is no file, or where Podman knows more about the end."""
        return 0 if self._written(container) == b"0" else None

    async def code_soon(self, container: str) -> int | None:
        """The same for a container whose process is gone."""
        for pause in _LOOKS:
            await asyncio.sleep(pause)
            if self._written(container) is not None:
                break
        return self.code(container)

    def _written(self, container: str) -> bytes | None:
        if self._folder is None:
            return None
        try:
            return (self._folder / container).read_bytes()
        except OSError:
            return None
