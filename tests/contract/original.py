"""The original client as the tests see it: its methods, called in a process of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Made by build/lib/contract.
PYTHON = ROOT / ".cache" / "contract-venv" / "bin" / "python"


class OriginalError(Exception):
    """What the client raised. `status`: of gRPC, where that is what it raised."""

    def __init__(self, kind: str, text: str, status: str | None) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text, self.status = kind, text, status


class Service:
    """One client class; every attribute is a method of it."""

    def __init__(self, original: Original, name: str) -> None:
        self._original, self._name = original, name

    def __getattr__(self, method: str) -> Any:
        def call(*, max_items: int | None = None, **arguments: Any) -> Any:
            return self._original.ask(f"{self._name}.{method}", arguments, max_items)

        return call


class Original:
    """The clients of one target, in one process; a context manager."""

    def __init__(self, target: str, log: Path) -> None:
        self.log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [PYTHON, Path(__file__).with_name("driver.py"), target],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "TZ": "UTC"},
            )
        self.clara = Service(self, "clara")
        self.jobs = Service(self, "jobs")
        self.models = Service(self, "models")
        self.payloads = Service(self, "payloads")
        self.pipelines = Service(self, "pipelines")

    def ask(self, call: str, arguments: dict[str, Any], max_items: int | None = None) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"call": call, "arguments": arguments, "max_items": max_items}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the client's process has ended: {self.log.read_text(errors='replace')}"
        answer = json.loads(line)
        if "error" in answer:
            raise OriginalError(**answer["error"])
        return answer["result"]

    def close(self) -> None:
        self._process.communicate(timeout=20)
        assert self._process.returncode == 0, self.log.read_text(errors="replace")
