"""Measures the frozen programs: their size, their start, and commands against `podman`.

The folder is what a service runs, the one file what a user downloads: it unpacks itself first. A
start is the time from the launch to READY=1, on a state folder without jobs. Builds `dist/` where
sources changed since.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.case import Case, Figure, Pair, Pairs, at_most
from tests.bench.run import main
from tests.freeze.frozen_site import FORMS, Site

FREEZE = Path(__file__).parents[2] / "build/lib/freeze.py"
LARGEST = 40
MIB = 1024 * 1024
IMPORT = (sys.executable, "-c", "import grpc")


class Supervised(Site):
    """Daemons that report READY=1 to their supervisor."""

    @property
    def notify(self) -> Path:
        return self.runtime.parent / "notify"

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"NOTIFY_SOCKET": str(self.notify)}

    def ready(self) -> float:
        """Starts a daemon and stops it again; returns the milliseconds until it was ready."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.settimeout(60)
            supervisor.bind(str(self.notify))
            try:
                begin = time.perf_counter()
                self.launch()
                while not supervisor.recv(4096).startswith(b"READY=1"):
                    pass
                spent = time.perf_counter() - begin
                self.stop()
            finally:
                self.notify.unlink()
        return spent * 1000


def spent(*command: str | Path, environment: Mapping[str, str] = os.environ) -> float:
    """Runs a command that succeeds; returns its milliseconds."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, cwd="/", capture_output=True, env=environment)
    return (time.perf_counter() - begin) * 1000


@contextmanager
def site(program: Path) -> Iterator[Supervised]:
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=os.environ["XDG_RUNTIME_DIR"]) as runtime,
    ):
        made = Supervised(program=program, folder=Path(folder), runtime=Path(runtime, "run"))
        made.temporary.mkdir()
        try:
            yield made
        finally:
            made.stop()


def compared(served: Site, starting: Sequence[Supervised]) -> Iterator[Pair]:
    """Yields the pairs of the figures that take time, in their order."""
    clients = [FORMS["folder"], FORMS["file"]]
    imported = spent(*IMPORT)
    for one in starting:
        yield Pair(one.ready(), imported)
    version = spent("podman", "--version")
    for program in clients:
        yield Pair(spent(program, "--version", environment=served.environment), version)
    listed = spent("podman", "ps")
    for program in clients:
        yield Pair(spent(program, "list", "jobs", environment=served.environment), listed)


def pairs(_: int) -> Pairs:
    subprocess.run([sys.executable, FREEZE], check=True, stdout=sys.stderr)
    with ExitStack() as stack:
        served, *starting = [
            stack.enter_context(site(FORMS[form])) for form in ("folder", "folder", "file")
        ]
        served.start()
        size = Pair(FORMS["file"].stat().st_size / MIB, LARGEST)
        while True:
            yield [size, *compared(served, starting)]


CASES = (
    Case(
        name="frozen",
        figures=(
            Figure("size of the file", f"{LARGEST} MiB", "MiB", at_most(LARGEST, of="ours")),
            Figure("READY, folder", "import grpc", "ms", at_most(2.5)),
            Figure("READY, file", "import grpc", "ms"),
            Figure("--version, folder", "podman --version", "ms"),
            Figure("--version, file", "podman --version", "ms"),
            Figure("list jobs, folder", "podman ps", "ms", at_most(1.0)),
            Figure("list jobs, file", "podman ps", "ms"),
        ),
        pairs=pairs,
        full=1,
        quick=1,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
