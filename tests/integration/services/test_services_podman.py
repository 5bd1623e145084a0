"""Services and the inference server for jobs, on real rootless Podman."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from claraedge.blocking import in_thread
from claraedge.errors import ModelNotReadyError, RunnerUnavailableError, ServiceError
from claraedge.ids import new_id
from claraedge.pipelines.model import ContainerDefinition, Pipeline
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import LABEL_INSTANCE, LABEL_SERVICES, Image
from claraedge.services.model import Lease
from tests.campaign import CAMPAIGN
from tests.integration.services.device import (
    SERVER,
    Device,
    child,
    device,
    echo,
    pipeline,
)
from tests.rig.models_server import models_server_image
from tests.rig.processes import kill_when
from tests.rig.waiting import eventually

pytestmark = pytest.mark.podman

Open = Callable[..., AbstractAsyncContextManager[Device]]

#: What an operator does that asks the service and writes to the folder that they share.
ASKS = """
host=${ECHO%:*} port=${ECHO#*:}
for i in 1 2 3 4 5 6 7 8 9 10; do
    said=$(echo hello | busybox nc -w 2 $host $port)
    [ "$said" = hello ] && break
    sleep 0.2
done
[ "$said" = hello ] || exit 5
echo done >$SHARED/$(echo $NVIDIA_CLARA_JOBID)
"""
#: One that asks the inference server which weights it has.
WEIGHTS = """
host=${NVIDIA_TRITON_HTTPURI%:*} port=${NVIDIA_TRITON_HTTPURI#*:}
request='GET /v2/models/m/weights HTTP/1.1\\r\\n\\r\\n'
printf "$request" | busybox nc -w 3 $host $port | grep -q WANTED
"""


@pytest.fixture
async def opened(
    tmp_path: Path, other_folder: Path, busybox: Image, runner: PodmanRunner
) -> AsyncIterator[Open]:
    """Opens the part of the device; whatever a test leaves of it is removed."""
    del busybox  # it is loaded
    await runner.load_image(models_server_image(tmp_path / "server.tar", SERVER))
    instance = new_id()
    yield partial(device, tmp_path, other_folder, instance)
    for labels in ({LABEL_SERVICES: instance}, {LABEL_INSTANCE: instance}):
        for container in await runner.containers(labels):
            await runner.remove(container.id)
    for network in await runner.networks({LABEL_INSTANCE: instance}):
        await runner.remove_network(network.name)


async def test_an_operator_reaches_its_service_and_shares_a_folder_with_it(opened: Open) -> None:
    jobs = pipeline(ASKS, echo())
    async with opened() as made:
        began = time.monotonic()
        leases = [await made.services.acquire("one", jobs)]
        first = time.monotonic() - began
        began = time.monotonic()
        leases.append(await made.services.acquire("two", jobs))
        print(f"\nfirst job {first * 1000:.0f} ms, next {(time.monotonic() - began) * 1000:.0f} ms")
        assert await asyncio.gather(*(made.run(x, jobs.operators[0]) for x in leases)) == [0, 0]
        (mount,) = leases[0].mounts(jobs.operators[0])
        assert {path.name for path in mount.source.iterdir()} == {"one", "two"}
        assert await made.left() == (1, 2)
        await made.services.stop()
        for job in ("one", "two"):
            await made.services.release(job)
        await made.until_nothing_is_left()
        assert not mount.source.exists()


async def test_jobs_of_one_service_do_not_reach_each_other(opened: Open) -> None:
    listens = """
ip -4 addr show eth0 | sed -n 's,.*inet \\([0-9.]*\\)/.*,\\1,p' >$SHARED/address
while true; do busybox nc -l -p 7000 -e cat; done
"""
    tries = (
        "for i in 1 2 3; do echo x | busybox nc -w 2 $(cat $SHARED/address) 7000 && exit 0; done"
    )
    listener = pipeline(listens, echo())
    caller = pipeline(f"{tries}; exit 1", echo())
    async with opened() as made:
        one = await made.services.acquire("one", listener)
        two = await made.services.acquire("two", caller)
        await made.start(one, listener.operators[0])
        address = one.mounts(listener.operators[0])[0].source / "address"
        await eventually(lambda: address.exists() and address.read_text(), "the address is known")
        assert await made.run(one, caller.operators[0]) == 0
        assert await made.run(two, caller.operators[0]) == 1


async def test_a_service_that_is_killed_is_found_again_by_a_running_operator(opened: Open) -> None:
    patient = """
host=${ECHO%:*} port=${ECHO#*:}
until [ "$(echo one | busybox nc -w 1 $host $port)" = one ]; do sleep 0.1; done
echo >$SHARED/asked
until [ -e $SHARED/killed ]; do sleep 0.1; done
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    [ "$(echo two | busybox nc -w 1 $host $port)" = two ] && exit 0
    sleep 0.2
done
exit 6
"""
    jobs = pipeline(patient, echo())
    async with opened() as made:
        lease = await made.services.acquire("one", jobs)
        (mount,) = lease.mounts(jobs.operators[0])
        running = asyncio.create_task(made.run(lease, jobs.operators[0]))
        await eventually((mount.source / "asked").exists, "the service answered")
        (old,) = await made.runner.containers({LABEL_SERVICES: made.instance})
        state = await made.runner._inspector.state(old.id)
        assert state is not None
        os.kill(state.conmon, signal.SIGKILL)  # its supervisor as well: the hard case
        os.kill(state.pid, signal.SIGKILL)

        async def noticed() -> bool:
            return await made.runner.containers({LABEL_SERVICES: made.instance}) != [old]

        await eventually(noticed, "the end of the service is noticed", 30)
        (mount.source / "killed").touch()
        async with asyncio.timeout(30):
            assert await running == 0
        assert "exit code unknown: its supervisor" in str(made.services.trouble("one"))
        await made.services.stop()
        await made.services.release("one")
        await made.until_nothing_is_left()


async def test_a_service_that_cannot_start_fails_the_job_with_its_own_words(opened: Open) -> None:
    broken = ContainerDefinition(
        image="localhost/ce-test/busybox", tag="1", command=("sh", "-c", "echo no licence; exit 9")
    )
    async with opened() as made:
        with pytest.raises(ServiceError, match=r"exit code 9.*no licence"):
            await made.services.acquire("one", pipeline("", echo(container=broken)))
        await made.until_nothing_is_left()


async def test_models_are_loaded_before_the_job_and_reloaded_when_they_are_replaced(
    opened: Open,
) -> None:
    async with opened() as made:
        await made.store("m", "first")
        await made.store("bad", "x", fail="bad: unable to find a backend")
        for job, weights in (("one", "first"), ("two", "second")):
            jobs = pipeline(WEIGHTS.replace("WANTED", weights), models=("m",))
            began = time.monotonic()
            lease = await made.services.acquire(job, jobs)
            print(f"\n{job}: {(time.monotonic() - began) * 1000:.0f} ms")
            assert await made.run(lease, jobs.operators[0]) == 0
            await made.services.release(job)
            await made.store("m", "second")
        with pytest.raises(ModelNotReadyError, match="unable to find a backend"):
            await made.services.acquire("three", pipeline("", models=("bad",)))
        assert made.services.count() == 1
        await made.services.stop()
        await made.until_nothing_is_left()


async def test_a_running_job_keeps_the_weights_that_it_began_with(opened: Open) -> None:
    """The server reads what lies before it when it loads, also after it was killed."""
    jobs = {
        name: pipeline(WEIGHTS.replace("WANTED", name), models=("all", "m"))
        for name in ("first", "second")
    }
    ensemble = 'name: "all"\nensemble_scheduling { step { model_name: "m" } }'
    async with opened() as made:
        await made.store("m", "first")
        await made.store("all", "e", config=ensemble)
        lease = await made.services.acquire("one", jobs["first"])
        await made.store("m", "second")
        waits = asyncio.create_task(made.services.acquire("two", jobs["second"]))
        await eventually(
            lambda: "earlier version of m" in str(made.services.waits_for("two")),
            "the second waits",
        )
        (old,) = await made.runner.containers({LABEL_SERVICES: made.instance})
        state = await made.runner._inspector.state(old.id)
        assert state is not None
        os.kill(state.pid, signal.SIGKILL)

        async def has_a_new_server() -> bool:
            now = await made.runner.containers({LABEL_SERVICES: made.instance})
            return now not in ([], [old]) and await made.run(lease, jobs["first"].operators[0]) == 0

        await eventually(has_a_new_server, "the job has its server again")
        assert not waits.done()
        await made.services.release("one")
        assert await made.run(await waits, jobs["second"].operators[0]) == 0
        await made.services.stop()
        await made.services.release("two")
        await made.until_nothing_is_left()


async def test_a_next_daemon_gives_a_running_job_the_same_server(opened: Open) -> None:
    waits = WEIGHTS.replace("WANTED", "first").strip()
    jobs = pipeline(f"sleep 2; {waits}", models=("m",))
    async with opened() as made:
        await made.store("m", "first")
        lease = await made.services.acquire("one", jobs)
        container = await made.start(lease, jobs.operators[0])
    async with opened(running=("one",)) as made:
        assert await made.services.acquire("one", jobs) == lease
        assert (await made.runner.wait(container)).code == 0
        await made.runner.remove(container)
        await made.services.release("one")
        await made.services.stop()
        await made.until_nothing_is_left()


async def test_a_kill_at_any_moment_leaves_nothing_after_the_next_start(
    opened: Open, tmp_path: Path, other_folder: Path
) -> None:
    instance = opened.args[2]  # type: ignore[attr-defined]
    moments = random.Random(5)
    for _ in range(8 if CAMPAIGN else 4):
        process = child(tmp_path, other_folder, instance)
        try:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
            await asyncio.sleep(moments.uniform(0.05, 1.5))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        async with opened(idle_seconds=0.05) as made:
            for container in await made.runner.containers({LABEL_INSTANCE: instance}):
                await made.runner.remove(container.id)  # the engine's part
            await made.services.stop()
            await made.until_nothing_is_left()
            assert await made.runner.half_made(f"claraedge-service-{instance[:12]}-") == []
            assert not list((tmp_path / "services/volumes").iterdir())


@pytest.mark.timeout(300)
async def test_what_a_killed_podman_had_made_of_a_service_goes_with_the_next_start(
    opened: Open, runner: PodmanRunner
) -> None:
    instance = opened.args[2]  # type: ignore[attr-defined]
    own, another = (f"claraedge-service-{name[:12]}-" for name in (instance, new_id()))
    recorded = await runner._host.image_folder() / "overlay-containers" / "containers.json"
    halves: Sequence[str] = ()
    for number in range(50):  # a few milliseconds have to be met: mostly the first time
        async with opened() as made:
            met = partial(is_more, recorded, own, recorded.read_text().count(own))
            task = asyncio.create_task(made.services.acquire("one", pipeline("", echo())))
            await in_thread(kill_when, made.service.process_id or 0, met)
            for part in asyncio.all_tasks():  # as if the daemon was killed along
                if part.get_name().startswith("service "):
                    part.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            halves = await runner.half_made(own)
            assert await runner.half_made(another) == [], "those of others"
        if halves:
            print(f"{number + 1} kills")
            break
    assert halves, "no moment of a call leaves a half"
    async with opened(idle_seconds=0.05) as made:
        assert not set(await runner.half_made(own)) & set(halves)
        await made.until_nothing_is_left()


def is_more(file: Path, text: str, count: int) -> bool:
    return file.read_text().count(text) > count


async def acquired(made: Device, job: str, definition: Pipeline) -> Lease | None:
    """Returns the services of a job; None if Podman's service ends meanwhile."""
    try:
        return await made.services.acquire(job, definition)
    except RunnerUnavailableError:
        return None


async def test_the_death_of_podmans_service_in_the_middle_makes_work_wait_and_leaves_nothing(
    opened: Open,
) -> None:
    async with opened() as made:
        await made.store("m", "first")
        for number in range(6):
            jobs = pipeline(ASKS, echo(description=str(number)), models=("m",))
            job = f"job{number}"
            task = asyncio.create_task(acquired(made, job, jobs))
            await asyncio.sleep(0.03 * number)
            os.kill(made.service.process_id or 0, signal.SIGKILL)
            again = partial(acquired, made, job, jobs)
            lease = await task or await eventually(again, "it has its services", 30)
            assert lease is not None
            assert await made.run(lease, jobs.operators[0]) == 0
            await made.services.stop()
            await made.services.release(job)
        await made.until_nothing_is_left()
