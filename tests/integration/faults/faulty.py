"""A daemon that things happen to: what it runs, what it leaves, and which processes are its own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.freeze.frozen_site import Site
from tests.integration.daemon.conftest import IMAGE
from tests.rig import processes
from tests.rig.waiting import until

GRACE = 1
#: A second name of the image, for tests that remove it.
REMOVED = "localhost/ce-test/removed:1"
_STOPPED, _RUNNING, _COMPLETED = 3, 2, 3


def operator(
    name: str, script: str, *sources: str, image: str = IMAGE, more: str = "", order: str = ""
) -> str:
    """An operator whose inputs are the payload, or /in-SOURCE of each of its sources."""
    inputs = [f"{{path: /in-{s}, from: {s}}}" for s in sources] or ["{path: /in}"]
    return (
        f"- name: {name}\n"
        f"  container: {{image: {image}, tag: '1', command: [sh, -c, {json.dumps(script)}]}}\n"
        f"  input: [{', '.join(inputs)}]\n"
        f"  output: [{{path: /out}}]\n{more}"
    )


#: It does not end by TERM.
STUBBORN = "trap '' TERM; echo on; while :; do sleep 0.1; done"


@dataclass
class FaultySite(Site):
    """Reads the state directly: a command line for each reading would be too slow."""

    extra: Mapping[str, str] = field(default_factory=dict)
    """More environment for the daemon."""
    known: str = ""
    disk: Path | None = None
    """Where the state lies instead."""

    @property
    def state(self) -> Path:
        return super().state if self.disk is None else self.disk / "state"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.extra}

    @property
    def instance(self) -> str:
        if not self.known:
            self.known = self.ask("status")["instance"]
        return self.known

    # --- jobs ---------------------------------------------------------------------------------

    def register(self, name: str, *operators: str, more: str = "") -> str:
        definition = self.folder / f"{name}.yaml"
        text = f"api-version: 0.4.0\nname: {name}\n{more}operators:\n" + "".join(operators)
        definition.write_text(text)
        return self.say("create", "pipeline", "-p", definition).strip()

    def begin(self, pipeline: str) -> str:
        made = self.say("create", "job", "-n", "job", "-p", pipeline, "--start")
        return made.splitlines()[0].removeprefix("JOB_ID:")

    def describe(self, job: str) -> Any:
        return self.ask("describe", "job", "-j", job)

    def rows(self, query: str, *values: object) -> list[Any]:
        # Not read-only: the last one to leave a killed daemon's database has to recover it.
        with closing(sqlite3.connect(self.state / "claraedge.db", timeout=20)) as db:
            return db.execute(query, values).fetchall()

    def status(self, job: str, name: str) -> int:
        query = "SELECT status FROM operators WHERE job = ? AND name = ?"
        return int(self.rows(query, job, name)[0][0])

    def until_runs(self, job: str, name: str) -> None:
        until(f"{name} runs", lambda: self.status(job, name) == _RUNNING and self.log(job, name))

    def log(self, job: str, name: str) -> list[str]:
        """All lines of all attempts of an operator."""
        folder = self.state / "jobs" / job / "logs" / name
        lines = [line for path in folder.glob("*.log") for line in path.read_text().splitlines()]
        return [line.split(" ", 3)[3] for line in lines]

    def end(self, job: str, seconds: float = 60) -> Any:
        def stopped() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "daemon.log").read_text()[-4000:]
            return bool(self.rows("SELECT state FROM jobs WHERE id = ?", job)[0][0] == _STOPPED)

        until(
            f"job {job} has stopped", stopped, seconds=seconds, details=lambda: self.describe(job)
        )
        return self.describe(job)

    # --- processes ----------------------------------------------------------------------------

    def kill(self) -> None:
        """KILL for the daemon."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def service(self) -> int:
        """The process of the Podman service that the daemon has started."""
        assert self.process is not None
        until("the service runs", lambda: bool(self._services()))
        (found,) = self._services()
        return found

    def _services(self) -> list[int]:
        assert self.process is not None
        found = processes.children(self.process.pid)
        return [child for child in found if "system service" in processes.command(child)]

    def of_container(self, job: str, name: str) -> tuple[str, int, int]:
        """Of a running operator: (container, its first process, its conmon)."""
        query = "SELECT container FROM operators WHERE job = ? AND name = ?"
        container = self.rows(query, job, name)[0][0]
        form = "{{.State.Pid}} {{.State.ConmonPid}}"
        inspected = podman("inspect", "--format", form, container).split()
        return container, int(inspected[0]), int(inspected[1])

    # --- leftovers ----------------------------------------------------------------------------

    def leftovers(self) -> dict[str, Any]:
        """What is left of jobs that have stopped."""
        left = {
            "containers": podman(
                "ps", "-aq", "--filter", f"label=io.claraedge.instance={self.instance}"
            ).split(),
            "halves": self._halves(),
            "processes": self._processes(),
            "attempts": self._attempts(),
            "values": [str(p) for p in Path("/dev/shm").glob(f"claraedge-{self.instance}*")],
            "temporary": self._temporary() + [str(p) for p in self.state.rglob("*.tmp")],
            "runtimes": self._runtimes(),
            "mounts": self._mounts(),
        }
        return {what: some for what, some in left.items() if some}

    def _temporary(self) -> list[str]:
        """All temporary files, but for the folder of the service that runs now."""
        found = list(self.temporary.rglob("*"))
        folders = [path for path in found if path.name.startswith("claraedge-podman-")]
        return [str(path) for path in found if folders != [path]]

    def _processes(self) -> list[str]:
        """conmon and others that have the state folder as an argument, without the daemon."""
        assert self.process is not None
        state = str(self.state) + "/"
        others = {self.process.pid, os.getpid()}
        return [
            f"{pid} {command}"
            for pid, command in processes.commands().items()
            if state in command and pid not in others
        ]

    def _attempts(self) -> list[str]:
        """Folders of attempts, other than those that completed."""
        query = (
            "SELECT j.payload, o.name, o.attempt FROM operators o JOIN jobs j ON j.id = o.job"
            f" WHERE o.status = {_COMPLETED}"
        )
        payloads = self.state / "payloads"
        right = {payloads / p / "operators" / n / str(a) for p, n, a in self.rows(query)}
        return [str(p) for p in payloads.glob("*/operators/*/*") if p not in right]

    def _containers_known(self) -> list[str]:
        """The first twelve digits of each container that the daemon started."""
        log = (self.folder / "daemon.log").read_text(errors="replace")
        return [
            json.loads(line)["container"]
            for line in log.splitlines()
            if '"operator started"' in line and line.endswith("}")
        ]

    def _halves(self) -> list[str]:
        """What Podman's storage alone knows of our jobs."""
        form = "{{.State}} {{.Names}}"
        lines = podman("ps", "-a", "--external", "--format", form).splitlines()
        jobs = [job for (job,) in self.rows("SELECT id FROM jobs")]
        return [
            line for line in lines if "storage" in line.lower() and any(job in line for job in jobs)
        ]

    def _runtimes(self) -> list[str]:
        """What the OCI runtimes and conmon keep of our containers."""
        runtime = Path(os.environ["XDG_RUNTIME_DIR"])
        known = tuple(self._containers_known())
        assert known, "nothing was started"
        ours = (str(self.state) + "/").encode()
        return [
            str(path)
            for name in ("runc", "crun", "libpod/tmp/exits")
            for path in (runtime / name).glob("*")
            if path.name.startswith(known) or any(ours in text for text in _texts(path))
        ]

    def _mounts(self) -> list[str]:
        """Mounts of containers that are not there any more, in Podman's own mount namespace."""
        table = podman("unshare", "cat", "/proc/self/mountinfo").splitlines()
        points = [line.split()[4] for line in table]
        known = tuple(self._containers_known())
        layers = podman("ps", "-aq", "--external", "--no-trunc").split()
        form = "{{.GraphDriver.Data.MergedDir}}"
        merged = podman("inspect", "--format", form, *layers, check=False).split() if layers else []
        return [
            point
            for point in points
            if any(f"/{container}" in point for container in known)
            or (point.endswith("/merged") and point not in merged and self._is_orphan(point))
        ]

    def _is_orphan(self, point: str) -> bool:
        """Whether no container of anybody has this layer: others' come and go meanwhile."""
        containers = podman("ps", "-aq", "--no-trunc").split()
        form = "{{.GraphDriver.Data.MergedDir}}"
        found = podman("inspect", "--format", form, *containers, check=False) if containers else ""
        table = podman("unshare", "cat", "/proc/self/mountinfo")
        return point in table and point not in found


def podman(*arguments: str, check: bool = True) -> str:
    """What Podman prints. It fails now and then where a container disappears during a list."""
    for left in (2, 1, 0):
        ran = subprocess.run(
            ["podman", *arguments],
            capture_output=True, text=True, check=check and not left, cwd="/", timeout=60,
        )  # fmt: skip
        if ran.returncode == 0:
            break
    return ran.stdout


def _texts(folder: Path) -> list[bytes]:
    """The files in a folder that may disappear meanwhile."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for path in folder.iterdir():
            if path.is_file():
                found.append(path.read_bytes())
    return found
