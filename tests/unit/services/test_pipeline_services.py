"""Services of pipelines: shared, healthy before the job starts, gone when nobody needs them."""

from __future__ import annotations

import asyncio

import pytest
from service_device import INSTANCE, VIEWER, ServiceDevice, accept, using, viewer

from claraedge.errors import (
    ImageNotFoundError,
    NetworkError,
    RunnerUnavailableError,
    ServiceError,
)
from claraedge.pipelines.contract import environment
from claraedge.runner.memory import host_path
from claraedge.runner.protocol import (
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_OPERATOR,
    LABEL_SERVICES,
    ContainerSpec,
)
from claraedge.waiting import searches
from tests.rig.waiting import eventually


async def test_a_job_without_services_gets_nothing_and_costs_nothing(device: ServiceDevice) -> None:
    async with device.daemon() as services:
        lease = await services.acquire("one", using())
        assert lease.network is None
        assert lease.networks(using().operators[0]) == {}
        assert device.runner.created == []
        assert await device.networks() == []


async def test_an_operator_gets_the_address_of_its_service_on_the_private_network(
    device: ServiceDevice,
) -> None:
    pipeline = using(viewer(volume="/data"))
    uses, alone = pipeline.operators
    async with device.daemon() as services:
        lease = await services.acquire("one", pipeline)
        (network,) = await device.networks()
        (spec,) = device.runner.created
        host = spec.networks[network]
        assert lease.networks(uses) == {network: ""}
        assert lease.networks(alone) == {}
        assert lease.connections(uses) == {
            "VIEWER": f"{host}:8080",  # the image's first port
            "SHARED": "/clara/volumes/SHARED",
        }
        variables = environment(
            uses, job_id="one", job_name="n", connections=lease.connections(uses)
        )
        assert variables["VIEWER"] == f"{host}:8080"
        (mount,) = lease.mounts(uses)
        assert mount.source == host_path(spec, "/data")
        assert mount.source.stat().st_mode & 0o777 == 0o777
        assert lease.mounts(alone) == ()
        assert spec.environment["NVIDIA_CLARA_SERVICE_DATA_PATH"] == "/clara/common"
        assert (host_path(spec, "/clara/common") / "models").is_dir()


async def test_jobs_share_what_has_the_same_image_tag_and_command_and_nothing_else(
    device: ServiceDevice,
) -> None:
    async with device.daemon() as services:
        leases = [
            await services.acquire("one", using(viewer("a"))),
            await services.acquire("two", using(viewer("b"))),
            await services.acquire("three", using(viewer("a", command=("other",)))),
        ]
        assert len(device.runner.created) == 2
        assert len({lease.network for lease in leases}) == 3  # each job alone with its services
        assert services.count() == 2


async def test_other_variables_of_a_shared_service_are_reported(device: ServiceDevice) -> None:
    async with device.daemon() as services:
        first = await services.acquire("one", using(viewer(variables={"MODE": "a"})))
        second = await services.acquire("two", using(viewer(variables={"MODE": "b"})))
        assert first.notes == ()
        assert "shared as it is" in second.notes[0]
        await services.release("one")
        await services.release("two")
        third = await services.acquire("three", using(viewer(variables={"MODE": "b"})))
        assert third.notes == ()  # nobody used it: it was made again
        assert [s.environment["MODE"] for s in device.runner.created] == ["a", "b"]
        assert services.count() == 1


async def test_a_network_goes_to_the_next_job_with_the_same_services_once_it_is_empty(
    device: ServiceDevice,
) -> None:
    pipeline = using(viewer())

    async def idle(_: ContainerSpec) -> int:
        return 0

    app = device.runner.add_image("site/app:1", idle)
    async with device.daemon() as services:
        first = await services.acquire("one", pipeline)
        left = await device.runner.create(
            ContainerSpec(
                name="left",
                image=app.id,
                labels={LABEL_INSTANCE: INSTANCE, LABEL_JOB: "one", LABEL_OPERATOR: "uses"},
                log_path=device.state / "left.log",
                networks=first.networks(pipeline.operators[0]),
            )
        )
        await services.release("one")
        second = await services.acquire("two", pipeline)
        assert second.network != first.network  # a container of the first job is still on it
        await device.runner.remove(left)
        await eventually(
            lambda: services._networks.settled(services._companions.runs),
            "the networks are settled",
        )
        third = await services.acquire("three", pipeline)
        assert third.network == first.network
        assert third.connections(pipeline.operators[0]) == first.connections(pipeline.operators[0])
        assert len(device.runner.created) == 2  # the service, and the test's own


async def test_one_that_nobody_used_for_the_idle_time_ends_with_its_network(
    device: ServiceDevice,
) -> None:
    async with device.daemon(idle_seconds=60.0) as services:
        await services.acquire("one", using(viewer(volume="/data")))
        device.clock.ahead += 100
        await services.release("one")
        (container,) = await device.containers()
        device.clock.ahead += 50
        await services.acquire("two", using(viewer(volume="/data")))
        await services.release("two")
        assert await device.containers() == [container]
        device.clock.ahead += 61
        services._companions.living.copy().pop().notify()
        await eventually(lambda: services.count() == 0, "no service is left")
        await eventually(lambda: _none(device), "no container and no network is left")
        volumes = device.state / "services/volumes"
        assert not volumes.exists() or not list(volumes.iterdir())


async def _networks(device: ServiceDevice, count: int) -> bool:
    return len(await device.networks()) == count


async def _none(device: ServiceDevice) -> bool:
    return not await device.containers() and not await device.networks()


async def test_stop_ends_each_when_the_jobs_that_use_it_have_ended(device: ServiceDevice) -> None:
    async with device.daemon() as services:
        await services.acquire("one", using(viewer()))
        await services.acquire("two", using(viewer(command=("x",))))
        await services.release("two")
        assert await services.stop() == 2
        assert await services.stop() == 0
        await eventually(lambda: services.count() == 1, "one service is left")
        waiting = asyncio.create_task(services.acquire("three", using(viewer())))
        await eventually(
            lambda: services.waits_for("three") == "service viewer",
            "the third waits for the service",
        )
        assert len(device.runner.created) == 2  # the old one is not given to new jobs
        await services.release("one")
        await waiting
        assert len(device.runner.created) == 3
        assert services.count() == 1


async def test_one_that_ends_while_it_is_used_comes_back_at_its_address_and_says_why(
    device: ServiceDevice,
) -> None:
    async with device.daemon(restarts=2) as services:
        await services.acquire("one", using(viewer()))
        for count in (2, 3):
            device.crash()
            await eventually(lambda c=count: len(device.runner.started) == c, "it runs again")
            assert device.runner.created[-1].networks == device.runner.created[0].networks
            await eventually(lambda: services.count() == 1, "one service is left")
        assert "exit code 7" in str(services.trouble("one"))
        assert "no licence" in str(services.trouble("one"))
        assert device.lost == []
        device.crash()
        await eventually(lambda: bool(device.lost), "the job has lost its service")
        ((job, reason),) = device.lost
        assert job == "one"
        assert "exit code 7" in reason
        assert "started again 2 times" in reason
        await eventually(lambda: services.count() == 0, "no service is left")
        await services.release("one")
        await eventually(lambda: _none(device), "no container and no network is left")


async def test_one_that_ends_unused_is_not_started_again(device: ServiceDevice) -> None:
    async with device.daemon() as services:
        await services.acquire("one", using(viewer()))
        await services.release("one")
        device.crash()
        await eventually(lambda: _none(device), "no container and no network is left")
        assert len(device.runner.started) == 1
        assert device.lost == []


async def test_one_that_ends_before_it_is_healthy_fails_the_job_with_its_last_words(
    device: ServiceDevice,
) -> None:
    async def breaks(spec: ContainerSpec) -> int:
        return await device.run_viewer(spec)

    device.runner.add_image("site/broken:1", breaks, ports=(1,))
    async with device.daemon() as services:
        device.exits.set()
        with pytest.raises(ServiceError, match=r"exit code 7.*viewer: no licence"):
            await services.acquire("one", using(viewer(image="site/broken:1")))
        await eventually(lambda: _none(device), "no container and no network is left")


async def test_one_that_ends_as_its_image_is_damaged_says_so(device: ServiceDevice) -> None:
    async def breaks(spec: ContainerSpec) -> int:
        return await device.run_viewer(spec)

    device.runner.add_image("site/broken:1", breaks, ports=(1,))
    device.runner.damage_image("site/broken:1", contents=True)
    async with device.daemon() as services:
        device.exits.set()
        with pytest.raises(ServiceError, match=r"exit code 7.*is damaged on this device.*bin/a"):
            await services.acquire("one", using(viewer(image="site/broken:1")))
        await eventually(lambda: _none(device), "no container and no network is left")


async def test_one_that_never_listens_fails_the_job_after_a_bounded_time(
    device: ServiceDevice,
) -> None:
    async with device.daemon(start_seconds=0.3) as services:
        with pytest.raises(ServiceError, match=r"port 5000 within 0.3 s.*no licence"):
            await services.acquire("one", using(viewer(port=5000)))
        await eventually(lambda: _none(device), "no container and no network is left")


async def test_a_connection_without_a_port_of_an_image_without_ports_is_refused(
    device: ServiceDevice,
) -> None:
    device.runner.add_image("site/portless:1", device.run_viewer)
    async with device.daemon() as services:
        with pytest.raises(ServiceError, match=r"VIEWER.*no `port:`"):
            await services.acquire("one", using(viewer(image="site/portless:1")))
        with pytest.raises(ImageNotFoundError):
            await services.acquire("one", using(viewer(image="site/absent:1")))
        with pytest.raises(ServiceError, match="asks for 2 GPUs, and the device has 1"):
            await services.acquire("one", using(viewer(gpu=2)))
        assert device.runner.created == []


async def test_a_machine_without_networks_fails_only_jobs_that_need_one(
    device: ServiceDevice,
) -> None:
    async with device.daemon() as services:
        device.runner.refuse_networks("no /dev/net/tun")
        with pytest.raises(NetworkError, match="/dev/net/tun"):
            await services.acquire("one", using(viewer()))
        await services.acquire("two", using())
        device.runner.refuse_networks(None)
        await services.acquire("one", using(viewer()))


async def test_while_podman_is_unavailable_work_waits_and_nothing_is_lost(
    device: ServiceDevice,
) -> None:
    async with device.daemon() as services:
        await services.acquire("one", using(viewer()))
        device.runner.available = False
        with pytest.raises(RunnerUnavailableError):
            await services.acquire("two", using(viewer(command=("x",))))
        await services.release("two")
        await services.release("one")
        device.runner.available = True
        await services.acquire("three", using(viewer()))
        assert len(device.runner.created) == 1
        await services.stop()
        await services.release("three")
        await eventually(lambda: _none(device), "no container and no network is left")


@pytest.mark.parametrize("steps", range(0, 60, 2))
async def test_an_acquire_that_is_cancelled_anywhere_leaves_nothing(
    device: ServiceDevice, steps: int
) -> None:
    await device.store("m")
    async with device.daemon() as services:
        pipeline = using(viewer(volume="/data"), models=("m",))
        task = asyncio.create_task(services.acquire("one", pipeline))
        for _ in range(steps):
            await asyncio.sleep(0)
            if steps > 30:
                await asyncio.sleep(0.002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await services.release("one")
        await services.stop()
        await eventually(lambda: _none(device), "no container and no network is left")
        assert services.usage().memory == {}
        assert services._companions.models == {}


async def test_many_jobs_that_come_and_go_at_once_leave_nothing(device: ServiceDevice) -> None:
    for name in "abcdef":
        await device.store(name)
    async with device.daemon(inference={"model_limit": 3}) as services:

        async def one(number: int) -> None:
            models = tuple("abcdef"[(number + i) % 6] for i in range(number % 3))
            pipeline = using(viewer(command=(str(number % 2),)), models=models)
            task = asyncio.create_task(services.acquire(f"job{number}", pipeline))
            if number % 4 == 3:
                await asyncio.sleep(0.003 * (number % 7))
                task.cancel()
            (found,) = await asyncio.gather(task, return_exceptions=True)
            if not isinstance(found, BaseException):
                assert set(models) <= set(device.server.loaded)
                assert len(device.server.loaded) <= 3
                await asyncio.sleep(0.001 * (number % 5))
                assert set(models) <= set(device.server.loaded)
            elif not isinstance(found, asyncio.CancelledError):
                raise found
            if number % 10 == 5:
                await services.stop()
            await services.release(f"job{number}")

        async with asyncio.timeout(30):
            await asyncio.gather(*(one(number) for number in range(60)))
        await services.stop()
        await eventually(lambda: _none(device), "no container and no network is left")
        assert device.lost == []


async def test_an_idle_holder_of_the_gpu_yields_and_a_used_one_does_not(
    device: ServiceDevice,
) -> None:
    async with device.daemon() as services:
        await services.acquire("one", using(viewer(gpu=1)))
        await services.acquire("two", using(viewer()))
        assert services.usage().gpus == {"nvidia.com/gpu=0"}
        assert services.usage().gpu_users == {"one"}
        assert await services.yield_gpu() is False
        assert device.runner.created[0].devices == ("nvidia.com/gpu=0",)
        await services.release("one")
        assert services.usage().gpu_users == set()
        assert await services.yield_gpu() is True
        assert services.usage().gpus == set()
        assert services.count() == 1  # the other one holds no GPU


async def test_a_next_daemon_adopts_what_runs_and_gives_running_jobs_the_same(
    device: ServiceDevice,
) -> None:
    pipeline = using(viewer(volume="/data"))
    uses = pipeline.operators[0]

    async def idle(_: ContainerSpec) -> int:
        await asyncio.Event().wait()
        return 0

    app = device.runner.add_image("site/app:1", idle)
    async with device.daemon() as services:
        first = await services.acquire("one", pipeline)
        await services.acquire("over", using(viewer(command=("x",))))
        operator = await device.runner.create(
            ContainerSpec(
                name="operator",
                image=app.id,
                labels={LABEL_INSTANCE: INSTANCE, LABEL_JOB: "one", LABEL_OPERATOR: "uses"},
                log_path=device.state / "operator.log",
                networks=first.networks(uses),
            )
        )
        (first.mounts(uses)[0].source / "kept").write_text("x")
    before = set(await device.containers())
    async with device.daemon(running=("one",), idle_seconds=0.05) as services:
        assert set(await device.containers()) == before  # whatever the idle time: it may come back
        again = await services.acquire("one", pipeline)
        assert again == first
        assert (again.mounts(uses)[0].source / "kept").read_text() == "x"
        await eventually(
            lambda: services.count() == 1, "one service is left"
        )  # what nobody came back for
        await eventually(lambda: _networks(device, 1), "one network is left")
        await device.runner.remove(operator)
        await services.release("one")
        await eventually(lambda: _none(device), "no container and no network is left")


async def test_a_next_daemon_knows_which_gpu_an_idle_service_holds(device: ServiceDevice) -> None:
    async with device.daemon() as services:
        await services.acquire("one", using(viewer(gpu=1)))
    async with device.daemon(running=("one",)) as services:
        assert services.usage().gpus == {"nvidia.com/gpu=0"}
        assert await services.yield_gpu() is False  # its job may come back for it
        await services.release("one")
        assert await services.yield_gpu() is True
        assert await device.containers() == []


async def test_a_next_daemon_removes_what_does_not_run_and_what_belongs_to_no_job(
    device: ServiceDevice,
) -> None:
    async with device.daemon() as services:
        await services.acquire("one", using(viewer(volume="/data")))
    device.runner.cut_power()
    async with device.daemon() as services:
        await eventually(lambda: _none(device), "no container and no network is left")
        assert list((device.state / "services/volumes").iterdir()) == []
        await services.acquire("two", using(viewer()))
        assert len(device.runner.started) == 2


async def test_a_next_daemon_without_podman_adopts_services_later(device: ServiceDevice) -> None:
    async with device.daemon() as services:
        await services.acquire("one", using(viewer()))
    device.runner.available = False
    async with device.daemon() as services:
        assert services.count() == 0
        device.runner.available = True
        await services.acquire("two", using(viewer()))
        assert len(device.runner.started) == 1


async def test_a_container_that_podman_keeps_is_tried_again(device: ServiceDevice) -> None:
    async with device.daemon() as services:
        await services.acquire("one", using(viewer()))
        device.runner.refuse_removal("service viewer")
        await services.stop()
        await services.release("one")
        await eventually(lambda: services.usage().memory == {}, "no companion lives")
        assert len(await device.containers()) == 1
        device.runner._kept.clear()
        await eventually(lambda: _none(device), "no container and no network is left")


async def test_what_is_half_made_goes_at_the_start_and_a_moment_later(
    device: ServiceDevice,
) -> None:
    own, strangers = f"claraedge-service-{INSTANCE[:12]}-", "claraedge-service-abc-"
    halves = device.runner.halves
    halves |= {f"{own}one", f"{strangers}one"}
    async with device.daemon() as services:
        assert halves == {f"{strangers}one"}
        lease = await services.acquire("one", using(viewer()))
        (making,) = (c.making for c in services._companions.living)
        assert making is not None
        assert making.startswith(own)
        # A Podman that was in a call when the daemon was killed makes the first one only now. The
        # list still has the one that is just being made.
        halves |= {f"{own}late", making}
        late = await device.runner.create(
            ContainerSpec(
                name=f"{own}whole",
                image=device.runner.created[0].image,
                labels={LABEL_SERVICES: INSTANCE},
                log_path=device.state / "late.log",
            )
        )
        device.clock.ahead += searches.LATE
        await eventually(lambda: halves == {f"{strangers}one", making}, "the others are removed")

        async def gone() -> bool:
            return late not in await device.containers()

        await eventually(gone, "the late one is removed")
        assert len(await device.containers()) == 1
        assert await services.acquire("one", using(viewer())) == lease
        halves.discard(making)


async def test_a_newer_image_is_used_once_nobody_uses_the_older_one(
    device: ServiceDevice,
) -> None:
    async with device.daemon() as services:
        await services.acquire("one", using(viewer()))
        newer = device.runner.add_image(
            VIEWER, device.run_viewer, ports=(8080,), listens={8080: accept}
        )
        await services.acquire("two", using(viewer()))
        assert len(device.runner.created) == 1
        await services.release("one")
        await services.release("two")
        await services.acquire("three", using(viewer()))
        assert device.runner.created[-1].image == newer.id
        assert services.count() == 1
