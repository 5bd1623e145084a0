"""Containers are made ahead of their turns, no more than is asked for, and none in vain."""

from __future__ import annotations

import pytest

from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.jobs.transitions import preparable
from claraedge.pipelines.model import (
    ContainerDefinition,
    Input,
    Operator,
    Output,
    Pipeline,
    Requests,
)
from claraedge.pipelines.requests import Profile, of_operator
from claraedge.pipelines.tmpfs import TmpfsRule
from tests.rig.device import Device, emptied
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

P, R, C = OperatorStatus.PENDING, OperatorStatus.RUNNING, OperatorStatus.COMPLETED


def operator(name: str, *sources: str, **more: object) -> Operator:
    values: dict[str, object] = {
        "inputs": tuple(Input(path=f"/{s}", source=s) for s in sources),
        "outputs": (Output(path="/out"),),
        **more,
    }
    return Operator(name=name, container=ContainerDefinition(image="i", command=("x",)), **values)  # type: ignore[arg-type]


def pipeline(*operators: Operator) -> Pipeline:
    return Pipeline(api_version="0.4.0", name="p", operators=operators)


@pytest.mark.parametrize(
    ("of", "statuses", "placed", "expected"),
    [
        # Nothing before what it waits for is at least placed.
        (pipeline(operator("a"), operator("b", "a")), {"a": R, "b": P}, set(), ()),
        (pipeline(operator("a"), operator("b", "a")), {"a": R, "b": P}, {"a"}, ("b",)),
        # A whole chain, one after the other.
        (
            pipeline(operator("a"), operator("b", "a"), operator("c", "b")),
            {"a": R, "b": P, "c": P},
            {"a", "b"},
            ("c",),
        ),
        (pipeline(operator("a"), operator("b", "a")), {"a": C, "b": P}, set(), ("b",)),
        # Order counts as well.
        (pipeline(operator("a"), operator("b", order=("a",))), {"a": R, "b": P}, set(), ()),
        # A GPU is not its own yet, a value has to be there, an application speaks first.
        (pipeline(operator("g", requests=Requests(gpu=1))), {"g": P}, set(), ()),
        (pipeline(operator("g", requests=Requests(gpu_memory=9))), {"g": P}, set(), ()),
        (
            pipeline(
                operator("a"),
                operator("v", inputs=(Input(path="/v", source="a", name="v", type="u8"),)),
            ),
            {"a": C, "v": P},
            set(),
            (),
        ),
    ],
)
def test_what_may_be_prepared(
    of: Pipeline,
    statuses: dict[str, OperatorStatus],
    placed: set[str],
    expected: tuple[str, ...],
) -> None:
    requests = {o.name: of_operator(o, Profile.CLARA_0_8, TmpfsRule()) for o in of.operators}
    assert preparable(of, statuses, placed, requests) == expected


async def made(rig: EngineRig, count: int) -> None:
    """Waits until so many containers were made."""
    await eventually(
        lambda: len(rig.device.runner.created) >= count, f"{count} containers are made"
    )


async def test_a_chain_is_made_while_its_first_operator_runs(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two", "three")), {"x": b"1"})
        await rig.until_runs("one")
        await made(rig, 3)
        assert [s.labels["io.claraedge.operator"] for s in device.runner.started] == ["one"]
        device.runner.release("one")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        assert len(device.runner.created) == 3
        await emptied(device.runner)


async def test_nothing_is_made_before_the_start(device: Device) -> None:
    async with engine_rig(device) as rig:
        await rig.job(await rig.register(chain("one", "two")), {"x": b"1"}, start=False)
        assert device.runner.created == []


async def test_what_was_made_for_a_job_that_fails_is_taken_back(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        registered = await rig.register(chain("one", "two", "three", image="fail"))
        job = await rig.job(registered, {"x": b"1"})
        await made(rig, 3)
        device.runner.release("one")
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.FAULTED
        assert [o.status for o in ended.operators][1:] == [P, P]
        assert [o.attempt for o in ended.operators][1:] == [0, 0]
        await emptied(device.runner)


async def test_a_daemon_that_stops_leaves_none_that_was_made_ahead(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        await rig.until_runs("one")
        await made(rig, 2)
    (left,) = await device.runner.containers({})
    assert left.labels["io.claraedge.operator"] == "one"
    device.runner.release("one")
    async with engine_rig(device) as rig:
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_no_more_are_made_than_twice_the_slots(device: Device) -> None:
    device.max_operators = 1
    names = ["one", "two", "three", "four", "five"]
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain(*names)), {"x": b"1"})
        await rig.until_runs("one")
        await made(rig, 3)
        assert len(device.runner.created) == 3
        device.runner.release("one")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        assert len(device.runner.created) == len(names)
