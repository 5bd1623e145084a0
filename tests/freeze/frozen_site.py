"""A daemon that runs from a frozen form, and what the tests ask of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig.waiting import until

DIST = Path(__file__).resolve().parents[2] / "dist"
FORMS = {"file": DIST / "claraedge", "folder": DIST / "claraedge-dir" / "claraedge"}

#: For a configuration without limits of its own: tests may run on a disk that is rather full.
ANY_DISK = "[disk]\nsoft_mb = 2\nhard_mb = 1\n"


@dataclass
class Site:
    """One state folder, and the daemons that run on it one after the other."""

    program: Path
    folder: Path
    runtime: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "TMPDIR": str(self.temporary),  # where the one-file form unpacks
            "CLARAEDGE_HOST": f"unix:{self.runtime}/claraedge.sock",
        }
        config = self.folder / "claraedge.toml"
        if config.exists():
            own["CLARAEDGE_CONFIG"] = str(config)
        return os.environ | own

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def configure(self, settings: str) -> None:
        """Writes the configuration: these sections, and `[disk]` where they have none."""
        more = "" if "[disk]" in settings else ANY_DISK
        (self.folder / "claraedge.toml").write_text(f"{settings}\n{more}")

    def start(self) -> subprocess.Popen[bytes]:
        """A daemon that serves."""
        process = self.launch()
        until("the daemon serves", self.serves)
        return process

    def launch(self) -> subprocess.Popen[bytes]:
        """A daemon that will serve."""
        if not (self.folder / "claraedge.toml").exists():
            self.configure("")
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.program,
                    "serve",
                    f"--state-dir={self.state}",
                    f"--runtime-dir={self.runtime}",
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        return self.process

    def serves(self) -> bool:
        assert self.process is not None
        log = self.folder / "daemon.log"
        assert self.process.poll() is None, log.read_text(errors="replace")
        return self.call("status").returncode == 0

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def call(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def say(self, *arguments: str | Path) -> str:
        ended = self.call(*arguments)
        assert ended.returncode == 0, f"{arguments}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def ask(self, *arguments: str | Path) -> Any:
        return json.loads(self.say(*arguments, "--output", "json"))
