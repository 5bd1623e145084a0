"""Deployments as services of jobs: waited for, reached on private networks, in use, and lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from service_device import INSTANCE, ServiceDevice, accept, using, viewer

from claraedge.deployments.model import DeploymentPhase, DeploymentStatus
from claraedge.errors import DeploymentInUseError, ServiceError
from claraedge.packages.model import Component, Endpoint, RestartPolicy
from claraedge.pipelines.contract import environment
from claraedge.pipelines.model import HttpConnection, Service
from claraedge.runner.protocol import LABEL_INSTANCE, LABEL_JOB, LABEL_OPERATOR, ContainerSpec
from claraedge.services.services import Services
from tests.rig.deployments import (
    DeploymentRig,
    component,
    deployment_rig,
    executable,
    package,
)
from tests.rig.waiting import eventually
from tests.unit.deployments.programs import Ending, fail

pytestmark = pytest.mark.timeout(120)


def web(*, name: str = "main", image: str = "web:1", **more: object) -> Component:
    more.setdefault("endpoints", (Endpoint(name="api", port=80, target_port=80),))
    return component(executable(image=image), name=name, **more)  # type: ignore[arg-type]


def deployed(deployment: str = "web", **more: object) -> Service:
    values: dict[str, object] = {"name": "s", "http": (HttpConnection(name="WEB"),), **more}
    return Service(deployment=deployment, **values)  # type: ignore[arg-type]


class Site:
    """A device with one deployment program, `web:1`, that listens on port 80."""

    def __init__(self, device: ServiceDevice, tmp_path: Path) -> None:
        self.device = device
        self.folder = tmp_path / "deployments"
        self.program = Ending()
        self.pack = package(web())
        device.runner.add_image("web:1", self.program, listens={80: accept})
        device.runner.add_image("fail:1", fail)

    @asynccontextmanager
    async def daemon(
        self,
        running: tuple[str, ...] = (),
        packages: Sequence[object] = (),
        start_seconds: float = 0.5,
        **more: object,
    ) -> AsyncIterator[tuple[DeploymentRig, Services]]:
        async with (
            deployment_rig(
                self.folder,
                self.device.runner,
                packages=[self.pack, *packages],  # type: ignore[list-item]
                **more,  # type: ignore[arg-type]
            ) as rig,
            self.device.daemon(
                running,
                deployments=rig.deployments.serving,
                pipeline=using(deployed()),
                start_seconds=start_seconds,
            ) as services,
        ):
            yield rig, services

    async def holders(self) -> list[tuple[str, tuple[str, ...]]]:
        """Returns the containers with network namespaces, and their networks."""
        found = await self.device.runner.containers({})
        return [(c.id, c.networks) for c in found if c.phase.name == "CREATED"]


@pytest.fixture
async def site(device: ServiceDevice, tmp_path: Path) -> Site:
    return Site(device, tmp_path)


async def up(rig: DeploymentRig, site: Site, name: str = "web") -> str:
    await rig.deploy(name, site.pack)
    return (await rig.until_phase(name, DeploymentPhase.SUCCEEDED)).deployment.id


async def test_an_operator_gets_the_address_of_the_deployment_on_a_network_of_its_job(
    site: Site,
) -> None:
    pipeline = using(deployed(), viewer("v"))
    uses, alone = pipeline.operators
    async with site.daemon() as (rig, services):
        await up(rig, site)
        assert len(services.reservations(pipeline)) == 1, "a deployment reserves for itself"
        one, two = await asyncio.gather(*(services.acquire(j, pipeline) for j in ("one", "two")))
        (networks, others) = (one.networks(uses), two.networks(uses))
        assert len(networks) == 2  # with the deployment, and with the service
        assert not networks.keys() & others.keys()
        assert one.networks(alone) == {}
        host, port = one.connections(uses)["WEB"].split(":")
        assert port == "80"  # the only endpoint
        variables = environment(uses, job_id="one", job_name="n", connections=one.connections(uses))
        assert variables["WEB"] == f"{host}:80"
        ((holder, joined),) = await site.holders()
        assert {*networks, *others} & set(joined) == {
            lease.peers["web/"].network for lease in (one, two)
        }
        async with rig.runner.dial(holder, host, 80):
            pass
        assert site.program.starts == 1


async def test_the_next_job_gets_the_network_of_the_one_before_and_the_end_removes_it(
    site: Site,
) -> None:
    pipeline = using(deployed())
    async with site.daemon() as (rig, services):
        await up(rig, site)
        before = len(await site.device.networks())
        leases = []
        for job in ("one", "two", "three"):
            leases.append(await services.acquire(job, pipeline))
            await services.release(job)
            await eventually(
                lambda: not services._networks._all[leases[0].peers["web/"].network].draining,
                "the network is free again",
            )
        assert len({lease.peers["web/"].network for lease in leases}) == 1
        assert len(await site.device.networks()) == before + 1
        await rig.deployments.undeploy("web")
        await rig.until_phase("web", DeploymentPhase.STOPPED)

        async def none_is_left() -> bool:
            return await site.device.networks() == []

        await eventually(none_is_left, "its networks are removed with the deployment")


@pytest.mark.parametrize(
    ("service", "text"),
    [
        (deployed("nobody"), r"'nobody'.*does not exist.*claraedge deploy"),
        (deployed("broken"), r"broken .*failed to start: .*code 3.*claraedge deploy"),
        (deployed("gone"), r"gone .*was undeployed; deploy it again"),
        (deployed(component="x"), r"no component 'x'.*main"),
        (deployed("two"), r"several components; write `component:` with one of: a, b"),
        (deployed("two", component="b"), r"WEB has no `port:`.*ports of its endpoints: 80, 81"),
        (
            deployed(http=(HttpConnection(name="WEB", port=99),)),
            r"does not accept connections at port 99 within 0\.5 s.*on all addresses",
        ),
    ],
)
async def test_what_cannot_come_up_fails_the_job_with_what_to_do(
    site: Site, service: Service, text: str
) -> None:
    ports = tuple(Endpoint(name=f"e{p}", port=p, target_port=p) for p in (80, 81))
    two = package(
        component(executable("x", "web:1"), name="a"),
        component(executable("y", "web:1"), name="b", endpoints=ports),
        name="two",
    )
    broken = package(web(image="fail:1"), name="broken")
    async with site.daemon(packages=[two, broken]) as (rig, services):
        for name, pack in (("web", site.pack), ("gone", site.pack), ("two", two)):
            await rig.deploy(name, pack)
            await rig.until_phase(name, DeploymentPhase.SUCCEEDED)
        await rig.deploy("broken", broken)
        await rig.until_phase("broken", DeploymentPhase.FAILED_TO_START)
        await rig.deployments.undeploy("gone")
        with pytest.raises(ServiceError, match=text):
            await services.acquire("one", using(service))
        assert services.awaited(using(service)) == {}
        assert services.waits_for("one") is None
        await rig.deployments.undeploy("web")  # the failed job does not use it


async def test_a_job_waits_visibly_until_the_deployment_is_up(site: Site) -> None:
    pipeline = using(deployed())
    async with site.daemon(granting=False) as (rig, services):
        await rig.deploy("web", site.pack)
        await rig.until("web", lambda view: "memory" in view.waits_for)
        (text,) = services.awaited(pipeline).values()
        assert text == "the deployment web, which waits for memory and GPUs; its turn comes"
        acquiring = asyncio.create_task(services.acquire("one", pipeline))
        await eventually(lambda: services.waits_for("one") == text, "the wait is visible")
        assert await site.device.containers() == []
        rig.allocations.grant(1000, (), memory=1000, gpus=())
        lease = await acquiring
        assert lease.peers
        assert services.awaited(pipeline) == {}


async def test_a_wait_ends_when_the_deployment_is_undeployed_or_the_job_is_canceled(
    site: Site,
) -> None:
    async with site.daemon(granting=False) as (rig, services):
        await rig.deploy("web", site.pack)
        canceled, failing = (
            asyncio.create_task(services.acquire(job, using(deployed()))) for job in ("a", "b")
        )
        await eventually(lambda: services.waits_for("b") and services.waits_for("a"), "both wait")
        canceled.cancel()
        await rig.deployments.undeploy("web")  # a job that waits does not use it yet
        with pytest.raises(ServiceError, match="was undeployed"):
            await failing
        assert services.waits_for("a") is None


async def test_a_deployment_in_use_is_refused_to_end_until_the_job_has_ended(site: Site) -> None:
    async with site.daemon() as (rig, services):
        id_ = await up(rig, site)
        await services.acquire("one", using(deployed()))
        for text in ("web", id_):
            with pytest.raises(DeploymentInUseError, match=r"one.*claraedge cancel job one"):
                await rig.deployments.undeploy(text)
    async with site.daemon(("one",)) as (rig, services):  # before the job has come back
        with pytest.raises(DeploymentInUseError, match="one"):
            await rig.deployments.undeploy("web")
        assert await services.stop() == 0, "Clara.Stop ends services, not deployments"
        await services.release("one")
        await rig.deployments.undeploy("web")
        await rig.until_phase("web", DeploymentPhase.STOPPED)


async def test_after_a_restart_of_the_daemon_the_job_has_the_same_deployment(site: Site) -> None:
    pipeline = using(deployed())
    async with site.daemon() as (rig, services):
        await up(rig, site)
        lease = await services.acquire("one", pipeline)
        (before,) = await site.holders()
        image = await site.device.runner.find_image("web:1")
        assert image is not None
        await site.device.runner.create(
            ContainerSpec(
                name="op",
                image=image.id,
                networks=lease.networks(pipeline.operators[0]),
                labels={
                    LABEL_INSTANCE: INSTANCE,
                    LABEL_JOB: "one",
                    LABEL_OPERATOR: "uses",
                },
                log_path=site.folder / "log",
            )
        )
    async with site.daemon(("one",)) as (rig, services):
        assert await services.acquire("one", pipeline) == lease
        assert before in await site.holders()
        assert site.program.starts == 1


async def test_a_namespace_that_is_created_again_gets_the_networks_of_running_jobs(
    site: Site,
) -> None:
    pipeline = using(deployed())
    runner = site.device.runner
    async with site.daemon() as (rig, services):
        await up(rig, site)
        lease = await services.acquire("one", pipeline)
        other = await services.acquire("two", pipeline)
        peer = lease.peers["web/"]
        ((holder, networks),) = await site.holders()
        await services.release("two")
        entry = runner._containers[holder]
        entry.networks.pop(other.peers["web/"].network)
        await runner.remove_network(other.peers["web/"].network)  # by somebody else
        await runner.remove(holder)
        await rig.until("web", lambda view: view.deployment.plan and site.program.starts == 2)

        async def reached() -> bool:
            found = [each for each, _ in await site.holders() if each != holder]
            try:
                async with runner.dial(found[0], peer.host, 80):
                    return True
            except (IndexError, OSError):
                return False

        await eventually(reached, "it is at the same address again")
        ((_, again),) = await site.holders()
        assert set(again) == set(networks) - {other.peers["web/"].network}
        assert "was started again: " in str(services.trouble("one"))
        assert await services.acquire("one", pipeline) == lease
        assert site.device.lost == []
        await services.acquire("three", pipeline)  # on a new network


async def test_a_job_fails_when_its_deployment_is_lost_for_good(site: Site) -> None:
    site.pack = package(web(restart=RestartPolicy.NEVER))
    pipeline = using(deployed())
    async with site.daemon() as (rig, services):
        id_ = await up(rig, site)
        await services.acquire("one", pipeline)
        site.program.end(4)
        await eventually(lambda: site.device.lost, "the loss is reported")
        ((job, reason),) = site.device.lost
        assert job == "one"
        assert "web" in reason
        assert "exit code 4" in reason
        assert f"claraedge undeploy {id_}" in reason
        with pytest.raises(ServiceError, match="is not started again"):
            await services.acquire("two", pipeline)
        await services.release("one")
        await rig.deployments.undeploy("web")


async def test_a_deployment_that_ends_while_another_is_awaited_fails_the_job(site: Site) -> None:
    never = package(web(restart=RestartPolicy.NEVER), name="never")
    silent = package(web(image="silent:1"), name="silent")
    image = site.device.runner.add_image("silent:1", Ending())
    daemon = site.daemon(packages=[never, silent], start_seconds=60.0)
    async with daemon as (rig, services):
        for pack in (never, silent):
            await rig.deploy(pack.name, pack)
            await rig.until_phase(pack.name, DeploymentPhase.SUCCEEDED)
        pipeline = using(
            deployed("never"),
            deployed("silent", name="t", http=(HttpConnection(name="T"),)),
        )
        acquiring = asyncio.create_task(services.acquire("one", pipeline))
        await eventually(
            lambda: "silent" in str(services.waits_for("one")), "it waits for the second one"
        )
        site.program.end(0)
        await rig.until("never", lambda view: view.status is DeploymentStatus.STOPPED)
        site.device.runner._images._handlers[image.id, 80] = accept
        with pytest.raises(ServiceError, match=r"never .*has ended and is not started again"):
            await acquiring
        assert services.waits_for("one") is None
