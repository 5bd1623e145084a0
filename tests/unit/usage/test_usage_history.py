"""The usage of a device with a real SQLite file, whose records have known times."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from claraedge.appliance.memory import SystemMemory
from claraedge.deployments.model import DeployedComponent, DeployedExecutable, DeploymentPlan
from claraedge.errors import UnavailableError
from claraedge.gpu.sampler import Sample
from claraedge.gpu.telemetry import GpuReading, Memory
from claraedge.packages.model import RestartPolicy
from claraedge.pipelines.model import (
    ContainerDefinition,
    Operator,
    Pipeline,
    Requests,
    Service,
    encode,
)
from claraedge.pipelines.requests import Profile, of_operator
from claraedge.pipelines.tmpfs import TmpfsRule
from claraedge.services.reservations import ReservationRules
from claraedge.store.database import Database
from claraedge.usage.history import ReservedAmounts
from claraedge.usage.usage import DeviceUsage
from tests.rig.queries import query

NOW = 100_000.0
SINCE = NOW - 3600
RULES = ReservationRules(profile=Profile.CLARA_0_8, inference=None, inference_gpus=1, unified=False)
IMAGE = ContainerDefinition(image="app", tag="1")
VIEWER = Service(name="viewer", container=IMAGE, requests=Requests(memory=30, gpu=1))


class FixedClock:
    def __init__(self) -> None:
        self.wall, self.boot = NOW, 0.0

    def now(self) -> float:
        return self.wall

    def elapsed(self) -> float:
        return self.boot


class Gpus:
    def __init__(self) -> None:
        self.asked = 0
        self.hangs = False

    async def sample(self) -> Sample:
        self.asked += 1
        if self.hangs:
            raise UnavailableError("the GPU driver has not answered for 10 s")
        memory = Memory(free=6 << 30, used=2 << 30)
        return Sample(
            time=NOW, gpus=[(GpuReading(index=0, compute_utilization=0.5, memory=memory), ())]
        )


class Records:
    """Writes rows as the daemon does, with the times that a test chooses."""

    def __init__(self, database: Database) -> None:
        self.run: Callable[..., Any] = lambda text, *values: query(database, text, *values)
        self.run("INSERT INTO definitions VALUES ('d', '[]')")
        self.run(
            "INSERT INTO packages (id, name, version, content, manifest, created)"
            " VALUES ('pkg', 'p', 'v1', '{}', '{}', 0)"
        )

    def job(
        self,
        id_: str,
        started: float,
        stopped: float | None,
        *attempts: tuple[str, float, float | None, int],
        operators: tuple[Operator, ...] = (),
    ) -> None:
        """`attempts`: operator, begin, end and the status that it has then."""
        pipeline = Pipeline(api_version="0.4.0", name="p", operators=operators or (operator("a"),))
        self.run("INSERT INTO payloads (id, type, created) VALUES (?, 1, 0)", id_)
        self.run(
            "INSERT INTO jobs (id, name, pipeline, pipeline_name, payload, definition, state,"
            " status, priority, created, snapshot)"
            " VALUES (?, 'j', 'p', 'p', ?, 'd', 1, 1, 2, 0, ?)",
            *(id_, id_, encode(pipeline)),
        )
        for position, each in enumerate(pipeline.operators):
            self.run(
                "INSERT INTO operators (job, position, name, status, created)"
                " VALUES (?, ?, ?, 1, 0)",
                *(id_, position, each.name),
            )
        self.run("UPDATE jobs SET state = 2, started = ? WHERE id = ?", started, id_)
        for name, begin, end, status in attempts:
            which = f"WHERE job = '{id_}' AND name = '{name}'"
            self.run(f"UPDATE operators SET status = 2, started = ? {which}", begin)
            if end is not None:
                self.run(f"UPDATE operators SET status = ?, stopped = ? {which}", status, end)
                self.run(
                    "UPDATE job_log SET time = ? WHERE job = ? AND sequence ="
                    " (SELECT MAX(sequence) FROM job_log)",
                    end,
                    id_,
                )
        if stopped is not None:
            self.run("UPDATE jobs SET state = 3, stopped = ? WHERE id = ?", stopped, id_)

    def deployment(self, id_: str, reserved: float | None, stopped: float | None) -> None:
        executables = tuple(
            DeployedExecutable(
                id=f"e{memory}", name="e", image="i", command=(), memory=memory, cpu=0, gpus=gpus
            )
            for memory, gpus in ((500, 1), (0, 0))
        )
        component = DeployedComponent(
            id="c", name="c", instance="i", restart=RestartPolicy.ALWAYS, parameters={},
            variables={}, mounts=(), executables=executables, endpoints={},
        )  # fmt: skip
        plan = msgspec.json.encode(DeploymentPlan(components=(component,))).decode()
        self.run(
            "INSERT INTO deployments (id, name, package, package_name, package_version, plan_id,"
            " plan_name, plan, wanted, phase, faults, labels, generation, created, updated,"
            " reserved, stopped) VALUES (?, ?, 'pkg', 'p', 'v1', 'x', 'x', ?, 1, 'Succeeded', '[]',"
            " '{}', 1, 0, 0, ?, ?)",
            *(id_, id_, plan, reserved, stopped),
        )


def operator(name: str, *services: Service, **requests: int) -> Operator:
    asked = Requests(**({"memory": 100} | requests))
    return Operator(name=name, container=IMAGE, requests=asked, services=services)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "claraedge.db") as database:
        yield database


@pytest.fixture
def records(database: Database) -> Records:
    return Records(database)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def gpus() -> Gpus:
    return Gpus()


def usage_in(database: Database, clock: FixedClock, gpus: Gpus, **more: Any) -> DeviceUsage:
    amounts = ReservedAmounts(
        of_operator=lambda each: of_operator(each, Profile.CLARA_0_8, TmpfsRule()),
        of_services=RULES.of_pipeline,
        unstated=1024,
        unified=False,
    )
    memory = SystemMemory(total=8 << 30, available=5 << 30)
    values = {"memory": lambda: memory} | more
    return DeviceUsage(
        database,
        clock,
        gpus,
        amounts,
        lambda: ["gpu0", "gpu1"],
        **values,  # type: ignore[arg-type]
    )


@pytest.fixture
def usage(database: Database, clock: FixedClock, gpus: Gpus) -> DeviceUsage:
    return usage_in(database, clock, gpus)


async def history(usage: DeviceUsage) -> list[tuple[float, int, int]]:
    return [(step.time, step.memory, step.gpus) for step in (await usage.used()).history]


async def test_nothing_ran(usage: DeviceUsage) -> None:
    used = await usage.used()
    assert (used.time, used.since) == (NOW, SINCE)
    assert await history(usage) == [(SINCE, 0, 0)]
    assert used.memory_used == 3 << 30
    assert used.gpus_total == 2
    assert [gpu.compute_utilization for gpu in used.gpus] == [0.5]
    assert used.gpu_problem == ""


async def test_each_attempt_of_an_operator_counts_for_its_time(
    usage: DeviceUsage, records: Records
) -> None:
    two = (operator("a", gpu=1), operator("b", memory=20))
    records.job(
        "j1", SINCE - 50, SINCE + 900,
        ("a", SINCE - 50, SINCE + 100, 1),  # failed, and is tried again
        ("a", SINCE + 200, SINCE + 300, 3),
        ("b", SINCE + 400, SINCE + 900, 4),
        operators=two,
    )  # fmt: skip
    records.job("j2", NOW - 60, None, ("a", NOW - 60, None, 2), operators=two)
    records.job("old", SINCE - 900, SINCE - 800, ("a", SINCE - 900, SINCE - 800, 3))
    assert await history(usage) == [
        (SINCE, 100, 1),
        (SINCE + 100, 0, 0),
        (SINCE + 200, 100, 1),
        (SINCE + 300, 0, 0),
        (SINCE + 400, 20, 0),
        (SINCE + 900, 0, 0),
        (NOW - 60, 100, 1),
    ]


async def test_an_operator_that_ran_when_its_job_was_stopped_ends_with_it(
    usage: DeviceUsage, records: Records
) -> None:
    records.job("j", NOW - 100, NOW - 10, ("a", NOW - 100, None, 2))
    assert await history(usage) == [(SINCE, 0, 0), (NOW - 100, 100, 0), (NOW - 10, 0, 0)]


async def test_a_service_counts_once_while_jobs_that_use_it_run(
    usage: DeviceUsage, records: Records
) -> None:
    uses = (operator("a", VIEWER, memory=1),)
    records.job("j1", NOW - 900, NOW - 500, operators=uses)
    records.job("j2", NOW - 700, None, operators=uses)
    assert await history(usage) == [(SINCE, 0, 0), (NOW - 900, 30, 1)]


async def test_a_deployment_counts_from_when_it_got_its_memory_to_its_end(
    usage: DeviceUsage, records: Records
) -> None:
    records.deployment("waits", None, None)
    records.deployment("old", 1.0, SINCE - 1)
    records.deployment("runs", 1.0, None)
    records.deployment("ended", NOW - 200, NOW - 100)
    assert await history(usage) == [
        (SINCE, 1524, 1),
        (NOW - 200, 3048, 2),
        (NOW - 100, 1524, 1),
    ]


async def test_ros_masters_and_bag_jobs_count(usage: DeviceUsage, records: Records) -> None:
    for name, distro in (("ros", "noetic"), ("plain", "")):
        records.run(
            "INSERT INTO networks (id, name, kind, distro, interface, restart, labels, wanted,"
            " created) VALUES (?, ?, 'native', ?, '', 'always', '{}', 1, ?)",
            *(name, name, distro, NOW - 500),
        )
    for name, up, ended in (("b1", 1, NOW - 300), ("b2", 0, None)):
        records.run(
            "INSERT INTO bag_jobs (id, name, deployment, deployment_name, package, component,"
            " component_name, instance, definition, wanted, was_up, reason, payload, created,"
            " ended) VALUES (?, ?, 'd', 'd', 'p', 'c', 'c', 'i', '{}', 1, ?, '', '', ?, ?)",
            *(name, name, up, NOW - 400, ended),
        )
    assert await history(usage) == [
        (SINCE, 0, 0),
        (NOW - 500, 1024, 0),
        (NOW - 400, 1280, 0),
        (NOW - 300, 1024, 0),
    ]


async def test_after_the_clock_was_set_back_what_runs_counts(
    usage: DeviceUsage, records: Records
) -> None:
    records.job("runs", NOW + 5000, None, ("a", NOW + 5000, None, 2))
    records.job("later", NOW + 9000, NOW + 9500, ("a", NOW + 9000, NOW + 9500, 3))
    records.job("across", NOW + 5000, NOW - 5, ("a", NOW + 5000, NOW - 5, 3))
    assert await history(usage) == [(SINCE, 0, 0), (NOW, 100, 0)]


async def test_with_very_many_jobs_the_history_begins_later(
    database: Database, clock: FixedClock, gpus: Gpus, records: Records
) -> None:
    for number in range(8):
        end = NOW - 10 * number
        records.job(f"j{number}", end - 5, end, ("a", end - 5, end, 3))
    records.job("long", SINCE - 5, None, ("a", SINCE - 5, None, 2))
    used = await usage_in(database, clock, gpus, jobs=3).used()
    assert used.since == NOW - 30
    assert [(s.time, s.memory) for s in used.history] == [
        (NOW - 30, 100),
        (NOW - 25, 200),
        (NOW - 20, 100),
        (NOW - 15, 200),
        (NOW - 10, 100),
        (NOW - 5, 200),
        (NOW, 100),
    ]


async def test_it_is_computed_only_when_somebody_asks_and_then_at_most_every_few_seconds(
    usage: DeviceUsage, records: Records, clock: FixedClock, gpus: Gpus
) -> None:
    await usage.used()
    records.job("j", NOW - 100, None, ("a", NOW - 100, None, 2))
    clock.boot = 4.9
    assert await history(usage) == [(SINCE, 0, 0)]
    assert gpus.asked == 1
    clock.boot, clock.wall = 5.0, NOW + 5
    assert await history(usage) == [(SINCE + 5, 0, 0), (NOW - 100, 100, 0)]
    assert gpus.asked == 2


async def test_a_driver_that_hangs_is_said_and_the_history_comes(
    usage: DeviceUsage, records: Records, gpus: Gpus
) -> None:
    gpus.hangs = True
    records.job("j", NOW - 100, None, ("a", NOW - 100, None, 2))
    used = await usage.used()
    assert used.gpus == ()
    assert used.gpu_problem == "the GPU driver has not answered for 10 s"
    assert await history(usage) == [(SINCE, 0, 0), (NOW - 100, 100, 0)]
