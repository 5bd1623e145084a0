"""The lock of a daemon: one holder, also where there is no room to write down which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from claraedge.appliance.lock import FileLock
from claraedge.errors import AlreadyRunningError

#: A limit on the size of files stands for a full disk: every write is refused.
_LOCKS_IT_WITHOUT_ROOM = """
import pathlib, resource, sys
from claraedge.appliance.lock import FileLock
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
FileLock(pathlib.Path(sys.argv[1])).acquire()
print("locked", flush=True)
sys.stdin.read()
"""


def test_the_second_one_gets_the_pid_of_the_owner(tmp_path: Path) -> None:
    first = FileLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(AlreadyRunningError, match=r"locked by process \d+"):
        FileLock(tmp_path / "lock").acquire()
    first.release()
    FileLock(tmp_path / "lock").acquire()


def test_it_works_where_nothing_can_be_written_to_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", _LOCKS_IT_WITHOUT_ROOM, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(AlreadyRunningError, match="locked by process"):
            FileLock(path).acquire()
        holder.stdin.close()
        assert holder.wait(timeout=10) == 0
    FileLock(path).acquire()
