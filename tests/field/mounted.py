"""Shares for tests: `tests/field/share.py`, mounted by the user of the tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rig.waiting import until

_SERVER = Path(__file__).with_name("share.py")
_PYTHON = "/usr/bin/python3"  # Debian's python3-fusepy is its


@dataclass
class Share:
    """A mounted share."""

    path: Path
    backing: Path
    """What lies on it, by its true names."""
    rules_file: Path

    def rule(self, **rules: object) -> None:
        """Changes what it does from now on."""
        _write(self.rules_file, rules)


@contextlib.contextmanager
def share(folder: Path, name: str, **rules: object) -> Iterator[Share]:
    """A share below `folder`, mounted until the context ends."""
    if shutil.which("fusermount3") is None or not os.access("/dev/fuse", os.W_OK):
        pytest.fail("FUSE is missing: build/provision --contract installs it")
    here = Share(
        path=folder / name, backing=folder / f"{name}.backing", rules_file=folder / f"{name}.json"
    )
    here.path.mkdir()
    here.backing.mkdir()
    _write(here.rules_file, rules)
    server = subprocess.Popen(
        [_PYTHON, _SERVER, here.backing, here.path, here.rules_file],
        cwd="/",
        start_new_session=True,
    )
    try:
        until(
            f"{name} is mounted", lambda: server.poll() is None and os.path.ismount(here.path), 20
        )
        yield here
    finally:
        subprocess.run(["fusermount3", "-u", "-z", here.path], check=False, capture_output=True)
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def _write(path: Path, rules: dict[str, object]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(rules), encoding="utf-8")
    new.replace(path)


def of_another_owner(**more: object) -> dict[str, object]:
    """Everything belongs to root, and our group may write: CIFS without `uid=`."""
    return {"uid": 0, "gid": os.getegid(), **more}
