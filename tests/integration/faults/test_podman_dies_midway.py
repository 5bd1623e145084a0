"""Podman is killed in the middle of a call: the call's container goes, and all that was made of it.

At many moments of each call, since it is a matter of milliseconds what is there already.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from claraedge.errors import RunnerUnavailableError
from claraedge.ids import new_id
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import ContainerSpec, Exit, ExitCause, Image
from claraedge.runner.service.service import PodmanService
from claraedge.runner.workarounds import remains
from tests.campaign import CAMPAIGN
from tests.rig import processes
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.podman, pytest.mark.timeout(600 if CAMPAIGN else 120)]

#: Seconds into a call.
_MOMENTS = [n / 1000 for n in (range(1, 61) if CAMPAIGN else range(3, 45, 6))]
_OWNER = "io.claraedge.instance"


def traces(container: str) -> list[str]:
    """Processes that name a container, and what the user's tmpfs has of it."""
    runtime = Path(os.environ["XDG_RUNTIME_DIR"])
    places = [runtime / place for place in ("runc", "crun", "libpod/tmp/exits")]
    found = [str(place / container) for place in places if (place / container).exists()]
    return found + [words for words in processes.commands().values() if container in words]


async def nothing_left(*containers: str) -> None:
    await eventually(
        lambda: not any(traces(container) for container in containers),
        "no trace of the containers is left",
    )


def storage(name: str) -> list[str]:
    """What Podman's storage has under a name."""
    shown = subprocess.run(
        ["podman", "ps", "-a", "--external", "--format", "{{.Names}} {{.State}}"],
        capture_output=True, text=True, check=True, cwd="/", timeout=60,
    )  # fmt: skip
    return [line for line in shown.stdout.splitlines() if name in line]


@pytest.fixture
def owner() -> str:
    return f"midway-{new_id()}"


@pytest.fixture
async def made(
    runner: PodmanRunner, busybox: Image, tmp_path: Path, owner: str
) -> AsyncIterator[Iterator[ContainerSpec]]:
    """Specs, each of another name."""

    def specs() -> Iterator[ContainerSpec]:
        while True:
            name = f"ce-midway-{new_id()}"
            yield ContainerSpec(
                name=name,
                image=busybox.id,
                command=("true",),
                environment={},
                mounts=(),
                labels={_OWNER: owner},
                log_path=tmp_path / f"{name}.log",
            )

    yield specs()
    for container in await runner.containers({_OWNER: owner}):
        await runner.remove(container.id)


@asynccontextmanager
async def after_podman_died(
    call: Callable[[PodmanRunner], Awaitable[object]], folder: Path, seconds: float
) -> AsyncIterator[PodmanRunner]:
    """Podman's service dies so long after the call was made; it is started again. It is one of its
    own each time: it would be started again ever more slowly. (And one that ran before would not
    read what another one wrote last: the storage is marked as changed a moment later.)
    """
    folder = Path(tempfile.mkdtemp(prefix="m-", dir=folder))
    async with PodmanService(folder) as service, PodmanRunner(service, folder) as runner:
        victim = service.process_id
        assert victim is not None
        calling = asyncio.ensure_future(call(runner))
        await asyncio.sleep(seconds)
        os.kill(victim, signal.SIGKILL)
        await asyncio.gather(calling, return_exceptions=True)
        ended = calling.exception()
        assert ended is None or isinstance(ended, RunnerUnavailableError), ended
        await eventually(lambda: service.process_id not in (victim, None), "Podman is back")
        yield runner


async def test_whatever_podman_was_doing_nothing_of_the_container_stays(
    runtime_folder: Path, made: Iterator[ContainerSpec], owner: str
) -> None:
    forgotten = 0
    for moment in _MOMENTS:
        spec = next(made)
        async with after_podman_died(
            lambda r, spec=spec: r.create(spec), runtime_folder, moment
        ) as runner:
            for container in await runner.containers({_OWNER: owner}):
                forgotten += any("conmon" in trace for trace in traces(container.id))
                await runner.remove(container.id)
                await nothing_left(container.id)
            for name in await runner.half_made(spec.name):
                await runner.remove(name)
        assert storage(spec.name) == []
    print(f"{forgotten} of {len(_MOMENTS)} had a supervisor when they were removed")


async def test_a_name_that_a_dead_podman_took_is_free_again(
    runtime_folder: Path, made: Iterator[ContainerSpec]
) -> None:
    for moment in _MOMENTS:
        spec = next(made)
        async with after_podman_died(
            lambda r, spec=spec: r.create(spec), runtime_folder, moment
        ) as runner:
            container = await runner.create(spec)
            await runner.start(container)
            assert await runner.wait(container) == Exit(cause=ExitCause.EXITED, code=0)
            await runner.remove(container)
        assert storage(spec.name) == []
        await nothing_left(container)


@pytest.mark.parametrize("started", [False, True], ids=["initialised", "ended"])
async def test_a_removal_that_podman_dies_in_is_done_by_the_next(
    runner: PodmanRunner,
    runtime_folder: Path,
    made: Iterator[ContainerSpec],
    owner: str,
    started: bool,
) -> None:
    for moment in _MOMENTS:
        spec = next(made)
        container = await runner.create(spec)
        if started:
            await runner.start(container)
            await runner.wait(container)
        async with after_podman_died(_removal(container), runtime_folder, moment) as again:
            for found in await again.containers({_OWNER: owner}):
                await again.remove(found.id)
            assert await again.containers({_OWNER: owner}) == []
            for name in await again.half_made(spec.name):
                await again.remove(name)
        assert storage(spec.name) == []
        await nothing_left(container)


def _removal(container: str) -> Callable[[PodmanRunner], Awaitable[None]]:
    async def once(runner: PodmanRunner) -> None:
        await runner._service.request(
            "DELETE", f"/containers/{container}", query={"force": "true", "timeout": "0"}
        )

    return once


async def test_a_supervisor_without_a_container_is_ended(
    runner: PodmanRunner, made: Iterator[ContainerSpec]
) -> None:
    """What Podman leaves where it dies between conmon's start and its own note, made by hand."""
    spec = next(made)
    container = await runner.create(spec)
    assert any("conmon" in trace for trace in traces(container))
    await remains.end_unknown(container)
    assert not any("conmon" in trace for trace in traces(container))
    await runner.remove(container)
    await nothing_left(container)
