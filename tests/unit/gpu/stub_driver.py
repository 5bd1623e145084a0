"""An NVIDIA driver that answers what a test wants, read through the real nvidia-ml-py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from claraedge.gpu.telemetry import GpuReading

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

MIB = 1024 * 1024

#: A card as its driver answers it.
CARD = f"""\
init - 0
shutdown - 0
count - 0 1
handle 0 0
name 0 0 NVIDIA RTX A4000
pci 0 0 0 1 0
utilization 0 0 37
memory 0 0 {16000 * MIB} {12000 * MIB} {4000 * MIB}
bar1 0 0 {256 * MIB} {250 * MIB} {6 * MIB}
compute 0 0 4711 4712
graphics 0 0 4712 4713
"""

#: A Jetson Orin: the driver is there, the figures are not.
ORIN = """\
init - 0
shutdown - 0
count - 0 1
handle 0 0
name 0 0 Orin (nvgpu)
"""


class Driver:
    """A stub library in a folder, and a process that reads it through nvidia-ml-py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.libraries = folder / "lib"
        self.libraries.mkdir()
        self._process: subprocess.Popen[str] | None = None
        self._errors = folder / "stderr"

    def build(self, *options: str) -> None:
        """Compiles the library; before that, there is none."""
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-Wall", "-Werror", *options,
             "-o", self.libraries / "libnvidia-ml.so.1", HERE / "nvml_stub.c"],
            check=True,
        )  # fmt: skip

    def answers(self, text: str, **changes: str) -> None:
        """What the library answers from now on; `figure="CODE VALUES"` changes it for GPU 0."""
        lines = [line for line in text.splitlines() if line.split()[0] not in changes]
        for figure, answer in changes.items():
            of = "-" if figure in ("init", "shutdown", "count") else "0"
            lines.append(f"{figure} {of} {answer}")
        (self.folder / "answers").write_text("\n".join(lines) + "\n")

    def read(self, *arguments: Path) -> list[GpuReading]:
        return self._ask("read", arguments)

    def close(self) -> None:
        self._ask("close", ())

    def calls(self, figure: str) -> int:
        """How often the library was asked for it."""
        file = self.folder / "calls"
        return sum(line.split()[0] == figure for line in file.read_text().splitlines())

    def log(self) -> list[str]:
        """Returns the events that the process logged, with what they are about."""
        events = [json.loads(line) for line in self._errors.read_text().splitlines()]
        return [
            " ".join([e["event"], *(str(e[key]) for key in ("figure", "reason") if key in e)])
            for e in events
        ]

    def _ask(self, command: str, arguments: tuple[Path, ...]) -> list[GpuReading]:
        if self._process is None:
            with self._errors.open("w") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, HERE / "nvml_child.py", *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=os.environ
                    | {
                        "LD_LIBRARY_PATH": str(self.libraries),
                        "NVML_STUB": str(self.folder),
                        "PYTHONPATH": str(ROOT),
                    },
                )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._errors.read_text()
        return msgspec.json.decode(answer, type=list[GpuReading])

    def end(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=20)
            assert self._process.returncode == 0, self._errors.read_text()
