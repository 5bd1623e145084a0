"""conmon cleans up seconds after the end of a container, which may be removed before that."""

# ruff: noqa: ASYNC240 a test may block its own loop

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claraedge.ids import new_id
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.processes import is_supervisor
from claraedge.runner.protocol import ContainerSpec, Exit, ExitCause, Image
from claraedge.runner.service.service import PodmanService
from claraedge.runner.workarounds import conmon
from tests.rig import processes
from tests.rig.waiting import eventually

pytestmark = pytest.mark.podman

MARK = {"io.claraedge.instance": f"late-{os.getpid()}"}


@pytest.fixture
async def ended(runner: PodmanRunner, busybox: Image, tmp_path: Path) -> AsyncIterator[str]:
    """A container that has just ended with exit code 3."""
    spec = ContainerSpec(
        name=f"ce-test-{new_id()}",
        image=busybox.id,
        command=("/bin/sh", "-c", "exit 3"),
        environment={},
        mounts=(),
        labels=MARK,
        log_path=tmp_path / "log",
    )
    container = await runner.create(spec)
    await runner.start(container)
    assert await runner.wait(container) == Exit(cause=ExitCause.EXITED, code=3)
    yield container
    for left in await runner.containers(MARK):
        await runner.remove(left.id)


def processes_of(container: str) -> list[int]:
    """What runs for a container: its conmons, and the cleanup."""
    return [pid for pid, command in processes.commands().items() if container in command]


async def status(service: PodmanService, container: str) -> bytes:
    response = await service.request("GET", f"/containers/{container}/json")
    return response.body.partition(b'"Status":"')[2].partition(b'"')[0]


async def test_the_cleanup_waits_and_comes_without_us(service: PodmanService, ended: str) -> None:
    # A conmon without the delay has cleaned up by now; so had one with a second, under full load.
    await asyncio.sleep(2)
    assert await status(service, ended) == b"stopped"
    assert all(is_supervisor(pid, ended) for pid in processes_of(ended))

    async def cleaned_up() -> bool:
        return await status(service, ended) == b"exited"

    await eventually(cleaned_up, "the conmon has cleaned up", 20)


async def test_a_removed_container_leaves_no_conmon_that_waits(
    runner: PodmanRunner, ended: str
) -> None:
    assert len(processes_of(ended)) == 2  # conmon, and the copy of it that waits
    await runner.remove(ended)
    assert processes_of(ended) == []
    assert not Path(os.environ["XDG_RUNTIME_DIR"], "libpod/tmp/exits", ended).exists()


async def test_a_service_that_is_started_again_still_has_the_delay(
    service: PodmanService, runner: PodmanRunner, busybox: Image
) -> None:
    assert service.process_id is not None
    before = service.process_id
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: service.process_id not in (before, None), "the service runs again")
    assert b"--conmon" in Path(f"/proc/{service.process_id}/cmdline").read_bytes()
    assert await runner.find_image(busybox.id) is not None


async def test_a_service_whose_conmon_was_removed_starts_with_podmans_own(
    service: PodmanService, runner: PodmanRunner, busybox: Image, ended: str
) -> None:
    assert service.conmon is not None
    service.conmon.unlink()
    assert service.process_id is not None
    before = service.process_id
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: service.process_id not in (before, None), "the service runs again")
    assert b"--conmon" not in Path(f"/proc/{service.process_id}/cmdline").read_bytes()
    await runner.remove(ended)


async def test_a_conmon_that_does_not_run_is_not_used(tmp_path: Path) -> None:
    assert await conmon.late("/nowhere/conmon", tmp_path) is None
