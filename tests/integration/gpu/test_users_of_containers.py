"""A process of a real container is known as its operator's; one outside of it is not."""

# ruff: noqa: ASYNC220 a test may block its own loop

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from claraedge.gpu.users import RunningOperator, users
from claraedge.ids import new_id
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import ContainerSpec, Image
from tests.rig import processes
from tests.rig.waiting import eventually

pytestmark = pytest.mark.podman


@pytest.mark.parametrize("user", ["root", "another"])
async def test_every_process_of_an_operators_container_is_the_operators(
    runner: PodmanRunner, busybox: Image, unprivileged: Image, tmp_path: Path, user: str
) -> None:
    name = f"ce-test-{new_id()}"
    container = await runner.create(
        ContainerSpec(
            name=name,
            image=(busybox if user == "root" else unprivileged).id,
            command=("/bin/sh", "-c", f"sleep 77{os.getpid()} & sleep 77{os.getpid()}"),
            environment={},
            mounts=(),
            labels={"io.claraedge.instance": f"tests-{os.getpid()}"},
            log_path=tmp_path / "log",
        )
    )
    try:
        await runner.start(container)
        await eventually(lambda: len(_sleepers()) >= 2, "both run")
        pids = _sleepers()
        operator = RunningOperator("job-1", "segment")
        running = {container: operator, "f" * 64: RunningOperator("job-2", "other")}
        for pid in pids:
            assert users([pid], running) == (operator,)
            assert users([pid], {"f" * 64: operator}) == ()
        # `podman unshare` sees the folders of all containers that run, and is in none.
        with subprocess.Popen(
            ["podman", "unshare", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
        ) as outside:
            assert outside.stdin is not None
            assert outside.stdout is not None
            outside.stdin.write(b"\n")
            outside.stdin.flush()
            outside.stdout.readline()
            assert users([outside.pid, os.getpid()], running) == ()
            outside.stdin.close()
    finally:
        await runner.remove(container)


def _sleepers() -> list[int]:
    """The container's two processes: nobody else sleeps for so odd a time."""
    wanted = f"sleep 77{os.getpid()}"
    return [pid for pid, command in processes.commands().items() if command == wanted]
