"""Reads exit codes from conmon's files: one named by its container, written by an atomic rename.

Podman's own answer comes from the same file, some milliseconds and some CPU time later. Its cleanup
removes the file within a tenth of a second, so this is a shortcut and not a record: where there is
no file, Podman is asked.

Only success is taken from it. A container that failed may have run out of memory, with any exit
code: the kernel may kill a child, and the first process reports that in its own way. conmon records
that in a separate file before it writes the exit code, and Podman reads both.

Source: conmon 2.1 (check_cgroup2_oom) and libpod 4.3 (handleExitFile); times measured.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

#: Pauses in seconds before each try: conmon writes the file about when the process ends.
_PAUSES = (0.0, 0.001, 0.002, 0.004, 0.008)


class ExitFiles:
    """Reads the exit files of this user's Podman; another Podman's containers have none here."""

    def __init__(self) -> None:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        self._folder = Path(runtime, "libpod/tmp/exits") if runtime else None

    def code(self, container: str) -> int | None:
        """Returns 0; None where there is no file, or where only Podman knows how the container
        ended.
        """
        return 0 if self._written(container) == b"0" else None

    async def code_soon(self, container: str) -> int | None:
        """Returns the same for a container whose process has ended; waits some milliseconds for the
        file.
        """
        for pause in _PAUSES:
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
