"""The limit of open files, of a process that is started in a shell."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHILD = """
import resource, sys
from claraedge.daemon.process import allow_open_files
soft, hard = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
allow_open_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "after"),
    [(256, 4096, "4096 4096"), (4096, 4096, "4096 4096"), (1024, 4000, "4000 4000")],
)
def test_as_many_files_are_allowed_as_the_system_permits(soft: int, hard: int, after: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(soft), str(hard)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert ended.stdout.strip() == after
