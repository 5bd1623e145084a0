"""What people with models do: they send folders and archives by the command line's client."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from claraedge.client import connect, models
from claraedge.errors import InvalidModelError


@dataclass(frozen=True, slots=True)
class Site:
    """A repository, and a folder to work in."""

    state: Path
    work: Path

    def send(self, path: Path | bytes) -> Sequence[str]:
        """Sends a model; what the answer says besides its id."""
        if isinstance(path, bytes):
            (self.work / "sent.zip").write_bytes(path)
            path = self.work / "sent.zip"
        with connect(f"unix:{self.state}/s.sock") as connection:
            return models.upload(connection, path, "UNKNOWN", lambda _: None)[1]

    def refused(self, path: Path | bytes) -> str:
        """Sends what is refused; returns why, after nothing was stored of it."""
        with pytest.raises(InvalidModelError) as raised:
            self.send(path)
        assert self.stored() == {}
        assert not list((self.state / "models/staging").iterdir())
        return "\n".join(raised.value.messages)

    def stored(self) -> dict[str, bytes]:
        """Every file of every model, by its name below the repository's own folders."""
        root = self.state / "models"
        return {
            "/".join(p.relative_to(root).parts[2:]): p.read_bytes()
            for p in root.glob("*/[0-9]*/**/*")
            if p.is_file()
        }

    def lung(self, top: Path | None = None) -> Path:
        """The folder of a model that is whole."""
        folder = (top or self.work) / "lung"
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text('name: "lung"\nplatform: "onnxruntime_onnx"\n')
        (folder / "1/model.onnx").write_bytes(b"not a real network\n" * 100)
        return folder


def program(*names: str) -> str:
    """The first of these programs; else the test is skipped."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip(f"{' or '.join(names)} is not here: build/provision --contract installs it")


def run(*command: str | Path, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=60)
