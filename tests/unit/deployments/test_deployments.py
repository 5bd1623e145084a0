"""The life of deployments on the runner in memory: start, restarts, failures, updates, the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from claraedge.config import ImagesSettings
from claraedge.deployments.model import (
    DeploymentPhase,
    DeploymentPlan,
    DeploymentStatus,
    ExecutableChange,
    FaultCode,
)
from claraedge.deployments.running import live
from claraedge.errors import (
    DeploymentExistsError,
    DeploymentInUseError,
    DeploymentNotFoundError,
    DeploymentNotReadyError,
    ImagePullError,
    InvalidDeploymentError,
)
from claraedge.packages.model import PullPolicy, RestartPolicy
from claraedge.runner.memory.programs import write_log
from claraedge.runner.memory.runner import MemoryRunner
from claraedge.runner.protocol import ContainerSpec, Limit, Network
from claraedge.runner.protocol import Phase as ContainerPhase
from tests.rig.deployments import (
    DeploymentRig,
    component,
    deployment_rig,
    executable,
    package,
)
from tests.rig.queries import query
from tests.rig.waiting import eventually
from tests.unit.deployments.programs import Ending, app, fail, serve

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def runner() -> MemoryRunner:
    runner = MemoryRunner()
    runner.add_image("serve:1", serve)
    runner.add_image("fail:1", fail)
    return runner


async def test_a_deployment_starts_and_is_undeployed(tmp_path: Path, runner: MemoryRunner) -> None:
    pack = package(component(executable("a"), executable("b")))
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        created = await rig.deploy("one", pack, labels={"room": "3"})
        assert created.deployment.phase is DeploymentPhase.IN_PROGRESS
        assert rig.deployments.counts()[DeploymentStatus.PENDING] == 1
        started = await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        assert started.status is DeploymentStatus.RUNNING
        assert rig.deployments.counts()[DeploymentStatus.RUNNING] == 1
        assert started.deployment.labels == {"room": "3"}
        assert len(await rig.containers()) == 3  # with the holder of their network
        assert rig.allocations.allocated().memory == 128
        assert len(await runner.networks({})) == 1
        stopped = await rig.deployments.undeploy(created.deployment.id[:9])
        assert stopped.deployment.phase is DeploymentPhase.PARTIALLY_DEPROVISIONED
        ended = await rig.until_phase("one", DeploymentPhase.STOPPED)
        assert ended.status is DeploymentStatus.STOPPED
        assert ended.deployment.stopped is not None
        assert await rig.containers() == []
        assert await runner.networks({}) == []
        assert rig.allocations.allocated().memory == 0
        again = await rig.deployments.undeploy(created.deployment.id)
        assert again.deployment.phase is DeploymentPhase.STOPPED


async def test_executables_of_a_component_share_a_network_and_their_settings(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    program = Ending()
    runner.add_image("app:1", program)
    pack = package(
        component(
            executable(image="app:1", command=("source setup.bash", "run"), memory=100, cpu=0.5)
        )
    )
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        view = await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        (spec,) = program.specs
        assert spec.joins
        assert spec.networks == {}
        assert spec.environment["RIO_DEVICE_ID"] == "d"
        assert spec.command == ("set -e\nsource setup.bash\nrun",)
        assert spec.entrypoint[:2] == ("/bin/sh", "-c")
        assert (spec.memory, spec.cpu) == (100 << 20, 0.5)
        assert spec.writable_root
        (address,) = view.addresses.values()
        assert address.endswith(".250")


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        (RestartPolicy.ALWAYS, 0, True),
        (RestartPolicy.ALWAYS, 1, True),
        (RestartPolicy.ON_FAILURE, 0, False),
        (RestartPolicy.ON_FAILURE, 1, True),
        (RestartPolicy.NEVER, 0, False),
        (RestartPolicy.NEVER, 1, False),
    ],
)
async def test_its_policy_decides_after_an_end(
    tmp_path: Path, runner: MemoryRunner, policy: RestartPolicy, code: int, again: bool
) -> None:
    program = Ending()
    runner.add_image("app:1", program)
    pack = app("app:1", policy)
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        program.end(code)
        if again:
            await eventually(lambda: program.starts == 2, "it is started again")
            view = await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        else:
            wanted = DeploymentStatus.ERROR if code else DeploymentStatus.STOPPED
            view = await rig.until("one", lambda v: v.status is wanted)
        (record,) = view.deployment.executables.values()
        assert record.restarts == int(again)
        assert f"exit code {code}" in record.reason
        assert view.deployment.phase is DeploymentPhase.SUCCEEDED
        assert program.starts == 1 + int(again)


async def test_the_log_of_the_start_that_failed_stays(tmp_path: Path, runner: MemoryRunner) -> None:
    """A program that is started again prints over why it had failed."""
    program = Ending()

    async def run(spec: ContainerSpec) -> int:
        write_log(spec, f"this is start {program.starts + 1}")
        return await program(spec)

    runner.add_image("app:1", run)
    pack = app("app:1")

    async def said(rig: DeploymentRig, attempt: int) -> list[str]:
        found = rig.deployments.log("one", "", tail=0, following=False, attempt=attempt)
        return [f"{number}: {line}" async for number, lines in found for line in lines]

    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        program.end(1)
        await eventually(lambda: program.starts == 2, "it is started again")
        assert await said(rig, 0) == ["2: this is start 2"]
        assert await said(rig, 1) == ["1: this is start 1"]
        view = await rig.deployments.get("one", lines=5)
        assert list(view.last_lines.values()) == [["this is start 2"]]
        (record,) = view.deployment.executables.values()
        log = Path(record.reason.partition("its log: ")[2].partition(")")[0])
        assert "this is start 1" in log.read_text()  # noqa: ASYNC240 a test alone
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        assert await said(rig, 0) == ["2: this is start 2"]
        program.end(1)
        await eventually(lambda: program.starts == 3, "it is started again")
        assert await said(rig, 0) == ["3: this is start 3"]
        with pytest.raises(InvalidDeploymentError, match="no log of the start 4"):
            await said(rig, 4)


async def test_what_ends_before_it_is_up_fails_to_start_and_leaves_nothing(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = package(
        component(
            executable("good"), executable("bad", image="fail:1"), restart=RestartPolicy.NEVER
        )
    )
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        view = await rig.until_phase("one", DeploymentPhase.FAILED_TO_START)
        (fault,) = view.deployment.faults
        assert fault.code is FaultCode.EXITED_EARLY
        assert "bad" in fault.message
        assert "exit code 3" in fault.message
        assert view.status is DeploymentStatus.ERROR
        assert await rig.containers() == []
        assert rig.allocations.allocated().memory == 0


async def test_what_crashes_again_and_again_fails_with_its_own_code(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = app("fail:1")
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        view = await rig.until_phase("one", DeploymentPhase.FAILED_TO_START)
        assert [fault.code for fault in view.deployment.faults] == [FaultCode.CRASHES]
        await rig.deploy("one", pack)  # its name is free again


async def test_a_missing_image_fails_at_once(tmp_path: Path, runner: MemoryRunner) -> None:
    pack = app("nowhere:1")
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        view = await rig.until_phase("one", DeploymentPhase.FAILED_TO_START)
        assert [fault.code for fault in view.deployment.faults] == [FaultCode.NO_IMAGE]
        assert "nowhere:1" in view.deployment.faults[0].message
        ended = await rig.deployments.undeploy("one")
        assert ended.deployment.phase is DeploymentPhase.STOPPED


async def test_the_pull_policy_decides_whether_an_image_is_pulled(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    """Source: Kubernetes, images: Always, IfNotPresent, Never."""
    names = {policy: f"reg.example/{policy.value.lower()}:1" for policy in PullPolicy}
    packs = {policy: app(image, name=policy.value, pull=policy) for policy, image in names.items()}
    missing = app("reg.example/missing:1", name="missing", pull=PullPolicy.NEVER)
    old = {policy: runner.add_image(name, serve) for policy, name in names.items()}
    for name in (*names.values(), "reg.example/missing:1"):
        runner.add_remote_image(name, serve)
    pulls = ImagesSettings(pull="missing")
    known = [*packs.values(), missing]
    async with deployment_rig(tmp_path, runner, packages=known, pulls=pulls) as rig:
        for policy, pack in packs.items():
            await rig.deploy(policy.value, pack)
            view = await rig.until_phase(policy.value, DeploymentPhase.SUCCEEDED)
            (record,) = view.deployment.executables.values()
            assert (record.image == old[policy].id) is (policy is not PullPolicy.ALWAYS)
        await rig.deploy("missing", missing)
        view = await rig.until_phase("missing", DeploymentPhase.FAILED_TO_START)
        assert [fault.code for fault in view.deployment.faults] == [FaultCode.NO_IMAGE]
        assert [name for name, *_ in runner.pulls] == [names[PullPolicy.ALWAYS]]


async def test_a_new_daemon_pulls_nothing_again_and_an_update_does(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    """A device that starts without its network would lose what it ran."""
    pack = app("reg.example/a:1", pull=PullPolicy.ALWAYS)
    runner.add_remote_image("reg.example/a:1", serve)
    pulls = ImagesSettings(pull="missing")
    async with deployment_rig(tmp_path, runner, packages=[pack], pulls=pulls) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
    assert len(runner.pulls) == 1
    runner.fail_pull("reg.example/a:1", ImagePullError("no route to host"))
    async with deployment_rig(tmp_path, runner, packages=[pack], pulls=pulls) as rig:
        await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        assert len(runner.pulls) == 1
        change = ExecutableChange(executable="run", command=("serve --fast",))
        await rig.deployments.update("one", [change])
        view = await rig.until_phase("one", DeploymentPhase.FAILED_TO_UPDATE)
        assert view.deployment.faults[0].code is FaultCode.NO_IMAGE
        assert "no route to host" in view.deployment.faults[0].message
        await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)


async def test_names_dependencies_and_deployments_in_use(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    parent = package(component(executable()), name="parent")
    child = package(component(executable()), name="child")
    async with deployment_rig(tmp_path, runner, packages=[parent, child]) as rig:
        first = await rig.deploy("p", parent)
        with pytest.raises(DeploymentExistsError, match=first.deployment.id):
            await rig.deploy("p", parent)
        await rig.until_phase("p", DeploymentPhase.SUCCEEDED)
        with pytest.raises(DeploymentNotFoundError):
            await rig.deploy("c", child, dependencies=("dep-" + "a" * 24,))
        second = await rig.deploy("c", child, dependencies=("p",))
        with pytest.raises(DeploymentInUseError, match=second.deployment.id):
            await rig.deployments.undeploy("p")
        with pytest.raises(DeploymentNotReadyError):
            await rig.deploy("d", child, dependencies=("c",))
        await rig.until_phase("c", DeploymentPhase.SUCCEEDED)
        used = await rig.deployments.get("p")
        assert used.deployment.used_by == (second.deployment.id,)
        await rig.deployments.undeploy("c")
        await rig.until_phase("c", DeploymentPhase.STOPPED)
        await rig.deployments.undeploy("p")
        await rig.until_phase("p", DeploymentPhase.STOPPED)
        assert await runner.networks({}) == []


async def test_a_dependent_deployment_gets_the_address_of_the_other(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    program = Ending()
    runner.add_image("app:1", program)
    from claraedge.packages.model import Endpoint

    parent = package(
        component(executable(), endpoints=(Endpoint(name="API-1", port=80, target_port=8080),)),
        name="parent",
    )
    child = app("app:1", name="child")
    async with deployment_rig(tmp_path, runner, packages=[parent, child]) as rig:
        await rig.deploy("p", parent)
        view = await rig.until_phase("p", DeploymentPhase.SUCCEEDED)
        (address,) = view.addresses.values()
        await rig.deploy("c", child, dependencies=("p",))
        await rig.until_phase("c", DeploymentPhase.SUCCEEDED)
        (spec,) = program.specs
        assert spec.environment["API_1"] == f"{address}:8080"
        assert spec.environment["API_1_HOST"] == address
        assert spec.environment["API_1_PORT"] == "8080"


async def test_a_singleton_is_deployed_once(tmp_path: Path, runner: MemoryRunner) -> None:
    pack = package(component(executable()), singleton=True)
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        with pytest.raises(DeploymentExistsError, match="allows one deployment"):
            await rig.deploy("two", pack)


async def test_an_update_replaces_one_after_the_other_and_a_bad_one_changes_nothing(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    runner.add_image("serve:2", serve)
    pack = package(component(executable("a"), executable("b")))
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        await rig.deployments.update("one", [ExecutableChange(executable="a", image="serve:2")])
        view = await rig.until("one", lambda v: v.deployment.generation == 2)
        assert view.deployment.phase is DeploymentPhase.SUCCEEDED
        images = {e.name: e.image for _, e in view.deployment.plan.executables()}
        assert images == {"a": "serve:2", "b": "serve:1"}
        await rig.deployments.update(
            "one",
            [
                ExecutableChange(executable="a", image="serve:1"),
                ExecutableChange(executable="b", image="fail:1"),
            ],
        )
        view = await rig.until_phase("one", DeploymentPhase.FAILED_TO_UPDATE)
        images = {e.name: e.image for _, e in view.deployment.plan.executables()}
        assert images == {"a": "serve:2", "b": "serve:1"}
        await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        running = {
            c.labels["io.claraedge.executable-name"]
            for c in await runner.containers({})
            if c.phase is ContainerPhase.RUNNING
        }
        assert len(running) == 2
        assert len(await rig.containers()) == 3
        with pytest.raises(InvalidDeploymentError, match="no such executable"):
            await rig.deployments.update("one", [ExecutableChange(executable="x", image="y")])


async def test_an_update_starts_again_what_had_ended_for_good(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    program = Ending()
    runner.add_image("app:1", program)
    pack = app("app:1", RestartPolicy.NEVER)
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        program.end(0)
        await rig.until("one", lambda v: v.status is DeploymentStatus.STOPPED)
        await rig.deployments.update("one", [ExecutableChange(executable="run", image="serve:1")])
        view = await rig.until("one", lambda v: v.deployment.generation == 2)
        assert view.status is DeploymentStatus.RUNNING
        assert view.deployment.phase is DeploymentPhase.SUCCEEDED


async def test_a_deployment_waits_for_its_gpu_and_memory_visibly(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = package(component(executable(gpus=1)))
    async with deployment_rig(tmp_path, runner, packages=[pack], gpus=("g0",)) as rig:
        await rig.deploy("one", pack)
        view = await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        assert [r.gpus for r in view.deployment.executables.values()] == [("g0",)]
        await rig.deploy("two", pack)
        waiting = await rig.until("two", lambda v: "GPU" in v.waits_for)
        assert waiting.status is DeploymentStatus.PENDING
        assert waiting.waits_for == "1 GPUs; 0 are free next to other deployments"
        await rig.deployments.undeploy("one")
        await rig.until_phase("two", DeploymentPhase.SUCCEEDED)


async def test_since_when_it_has_memory_is_recorded_once(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = package(component(executable(gpus=1)))

    def reserved(rig: DeploymentRig) -> list[tuple[object, ...]]:
        return query(rig.database, "SELECT name, reserved FROM deployments ORDER BY sequence")

    async with deployment_rig(tmp_path, runner, packages=[pack], gpus=("g0",)) as rig:
        begun = rig.site.clock.now()
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        await rig.deploy("two", pack)
        await rig.until("two", lambda v: "GPU" in v.waits_for)
        (one, two) = before = reserved(rig)
        assert begun <= one[1] <= rig.site.clock.now()  # type: ignore[operator]
        assert two == ("two", None)
    async with deployment_rig(tmp_path, runner, packages=[pack], gpus=("g0",)) as rig:
        await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        await rig.until("two", lambda v: "GPU" in v.waits_for)
        assert reserved(rig) == before


async def test_one_that_waits_can_be_undeployed(tmp_path: Path, runner: MemoryRunner) -> None:
    pack = package(component(executable(gpus=1)))
    async with deployment_rig(
        tmp_path, runner, packages=[pack], gpus=("g0",), granting=False
    ) as rig:
        await rig.deploy("one", pack)
        await rig.until("one", lambda v: "memory and GPUs" in v.waits_for)
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        assert not rig.allocations.waits


# --- after a restart ----------------------------------------------------------------------------


async def test_a_new_daemon_adopts_what_runs(tmp_path: Path, runner: MemoryRunner) -> None:
    program = Ending()
    runner.add_image("app:1", program)
    pack = package(component(executable(image="app:1", gpus=1)))
    async with deployment_rig(tmp_path, runner, packages=[pack], gpus=("g0",)) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        before = {c.id for c in await runner.containers({})}
    async with deployment_rig(tmp_path, runner, packages=[pack], gpus=("g0",)) as rig:
        view = await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        assert view.deployment.phase is DeploymentPhase.SUCCEEDED
        assert {c.id for c in await runner.containers({})} == before, view
        assert rig.allocations.allocated().gpus == {"g0"}
        assert program.starts == 1
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        assert await rig.containers() == []


@pytest.mark.parametrize(
    ("policy", "back"),
    [
        (RestartPolicy.ALWAYS, True),
        (RestartPolicy.ON_FAILURE, True),
        (RestartPolicy.NEVER, False),
    ],
)
async def test_after_a_restart_of_the_machine_the_policy_decides(
    tmp_path: Path, runner: MemoryRunner, policy: RestartPolicy, back: bool
) -> None:
    program = Ending()
    runner.add_image("app:1", program)
    pack = app("app:1", policy)
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
    runner.cut_power()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        wanted = DeploymentStatus.RUNNING if back else DeploymentStatus.ERROR
        view = await rig.until("one", lambda v: v.status is wanted)
        assert view.deployment.phase is DeploymentPhase.SUCCEEDED
        assert program.starts == 1 + int(back)
        (record,) = view.deployment.executables.values()
        assert "restart of the machine" in record.reason


async def test_containers_of_no_deployment_are_removed_at_the_start(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        await rig.database.write(lambda tx: tx.run("drop_package", id=pack.id))
    async with deployment_rig(tmp_path, runner, packages=[]) as rig:

        async def clean() -> bool:
            return not await rig.containers() and not await runner.networks({})

        await eventually(clean, "nothing is left")


async def test_while_podman_is_out_nothing_is_lost(tmp_path: Path, runner: MemoryRunner) -> None:
    pack = app()
    runner.available = False
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await asyncio.sleep(0)
        runner.available = True
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        runner.available = False
        await rig.deployments.undeploy("one")
        await rig.until("one", lambda v: v.waits_for)
        runner.available = True
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        assert await rig.containers() == []


async def test_changes_are_events(tmp_path: Path, runner: MemoryRunner) -> None:
    program = Ending()
    runner.add_image("app:1", program)
    pack = app("app:1")
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        created = await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        program.end(7)
        await rig.until("one", lambda v: v.deployment.executables and program.starts == 2)
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        await rig.database.write(lambda tx: tx.run("drop_package", id=pack.id))
        rows = await rig.database.read(lambda tx: tx.rows("events_after", number=0, limit=99))
        found = [json.loads(row["body"]) for row in rows if row["kind"] == "deployment"]
        assert [(e["phase"], e["restarts"], e["undeployed"], e["removed"]) for e in found] == [
            ("In progress", 0, False, False),
            ("Provisioning", 0, False, False),
            ("Succeeded", 0, False, False),
            ("Succeeded", 1, False, False),
            ("Partially deprovisioned", 1, True, False),
            ("Deployment stopped", 1, True, False),
            ("Deployment stopped", 1, True, True),
        ]
        assert {e["id"] for e in found} == {created.deployment.id}
        assert {e["package"] for e in found} == {pack.id}


async def test_a_bug_in_one_deployment_is_tried_again_and_ends_no_other(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = live.places
    failures = [ValueError("a bug"), ValueError("once more")]

    def failing(network: Network, plan: DeploymentPlan) -> Mapping[str, str]:
        if failures:
            raise failures.pop()
        return places(network, plan)

    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("well", pack)
        await rig.until_phase("well", DeploymentPhase.SUCCEEDED)
        monkeypatch.setattr(live, "places", failing)
        await rig.deploy("one", pack)
        await rig.until("one", lambda v: "this is a bug" in v.waits_for)
        view = await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        assert view.status is DeploymentStatus.RUNNING
        assert (await rig.deployments.get("well")).status is DeploymentStatus.RUNNING
        assert len(await rig.containers()) == 4


async def test_while_podman_never_answered_a_deployment_says_so(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = app()
    runner.available = False
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until("one", lambda v: v.waits_for)
        runner.available = True
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)


async def test_a_limit_of_cores_that_the_machine_does_not_enforce_is_reported(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = package(component(executable(cpu=0.5)))
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        assert await rig.deployments.warnings() == ()
        await rig.deploy("one", pack)
        runner.enforced = frozenset({Limit.MEMORY})
        (text,) = await rig.deployments.warnings()
        assert "`limits.cpu` of the deployments one has no effect" in text
        runner.enforced = frozenset(Limit)
        assert await rig.deployments.warnings() == ()
