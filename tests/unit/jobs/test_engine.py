"""How jobs run: order, ends, what a failure says."""

from __future__ import annotations

import asyncio

import pytest

from claraedge.errors import (
    JobStateError,
    OperatorNotFoundError,
    PayloadStateError,
    PipelineLoadError,
)
from claraedge.jobs.listing import JobFilter
from claraedge.jobs.model import JobState, JobStatus, OperatorStatus, Priority
from claraedge.runner.protocol import ContainerSpec
from tests.rig.device import Device, copy, emptied
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

FORK = """
api-version: 0.4.0
name: fork
operators:
- name: left
  container: {image: copy, tag: '1'}
  input: [{path: /in}]
  output: [{path: /out}]
- name: right
  container: {image: copy, tag: '1'}
  input: [{path: /in}]
  output: [{path: /a, name: first}, {path: /b, name: second}]
- name: join
  container: {image: copy, tag: '1'}
  input: [{path: /left, from: left}, {path: /right, from: right, name: second}]
  output: [{path: /out}]
"""


async def test_a_chain_ends_healthy_and_its_outputs_are_listed(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x.bin": b"data"})
        ended = await rig.end(job.id)
        assert (ended.status, [o.status for o in ended.operators]) == (
            JobStatus.HEALTHY,
            [OperatorStatus.COMPLETED, OperatorStatus.COMPLETED],
        )
        assert await rig.listing(job.payload) == [
            "input/x.bin",
            "operators/one/x.bin",
            "operators/two/x.bin",
        ]
        assert rig.stopped == [job.id]
        await emptied(device.runner)


async def test_operators_whose_inputs_are_ready_run_side_by_side(device: Device) -> None:
    device.runner.block("left")
    device.runner.block("right")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(FORK), {"x": b"1"})
        await rig.until_runs("left")
        await rig.until_runs("right")
        assert not any(s.labels["io.claraedge.operator"] == "join" for s in device.runner.started)
        device.runner.release("left")
        device.runner.release("right")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        assert await rig.listing(job.payload) == [
            "input/x",
            "operators/join/x",
            "operators/left/x",
            "operators/right/first/x",
            "operators/right/second/x",
        ]


async def test_inputs_are_mounted_read_only_and_outputs_writable(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(FORK), {"x": b"1"})
        await rig.end(job.id)
    join = next(s for s in device.runner.started if s.labels["io.claraedge.operator"] == "join")
    assert {m.target: m.read_only for m in join.mounts} == {
        "/left": True,
        "/right": True,
        "/out": False,
    }
    assert join.environment["NVIDIA_CLARA_JOBID"] == job.id


async def test_a_failed_operator_faults_its_job_and_says_why(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two", image="fail")), {"x": b"1"})
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.FAULTED
        assert [o.status for o in ended.operators] == [
            OperatorStatus.FAULTED,
            OperatorStatus.PENDING,
        ]
        assert ended.messages == (
            "operator one: failed with exit code 3; its last line: no such slice",
        )
        assert list(await rig.jobs.logs(job.id, "ONE")) == ["first line\n", "no such slice\n"]


async def test_a_failure_stops_concurrent_operators(device: Device) -> None:
    text = FORK.replace(
        "- name: left\n  container: {image: copy", "- name: left\n  container: {image: fail"
    )
    for operator in ("left", "right"):
        device.runner.block(operator)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text), {"x": b"1"})
        await rig.until_runs("right")
        device.runner.release("left")
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.FAULTED
        assert "operator right: was stopped because its job ends" in ended.messages
        assert ("right", 0.2) in device.runner.stops


async def test_a_missing_image_is_named_with_the_command_that_loads_it(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", image="absent")))
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.FAULTED
        assert "absent:1 is not on this device" in ended.messages[0]
        assert "create image" in ended.messages[0]


async def test_a_container_that_cannot_be_made_or_started_faults_the_job(device: Device) -> None:
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one"))
        device.runner.fail_create("one", "no space for locks")
        first = await rig.end((await rig.job(pipeline)).id)
        device.runner.fail_start("one", "executable file not found")
        second = await rig.end((await rig.job(pipeline)).id)
        assert "no space for locks" in first.messages[0]
        assert "executable file not found" in second.messages[0]
        await emptied(device.runner)


async def test_a_lost_supervisor_and_a_memory_limit_are_distinguished(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        text = chain("one", extra=("requests: {memory: 64}",))
        pipeline = await rig.register(text)
        job = await rig.job(pipeline)
        await rig.until_runs("one")
        device.runner.lose_supervisor("one")
        assert "exit code unknown: its supervisor" in (await rig.end(job.id)).messages[0]
        job = await rig.job(pipeline)
        await rig.until_runs("one")
        device.runner.run_out_of_memory("one")
        assert "ran out of memory" in (await rig.end(job.id)).messages[0]


async def test_cancel_of_a_running_job_answers_its_end(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")))
        await rig.until_runs("one")
        ended = await rig.jobs.cancel(job.id, "wrong patient")
        assert (ended.state, ended.status) == (JobState.STOPPED, JobStatus.CANCELED)
        assert "canceled: wrong patient" in ended.messages
        await emptied(device.runner)
        again = await rig.jobs.cancel(job.id, "other")
        assert again.status is JobStatus.CANCELED


async def test_cancel_before_the_start_and_in_the_queue(device: Device) -> None:
    device.max_operators = 1
    device.runner.block("one")
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one"))
        never = await rig.job(pipeline, start=False)
        assert (await rig.jobs.cancel(never.id, "")).status is JobStatus.CANCELED
        with pytest.raises(JobStateError, match="cancelled before its start"):
            await rig.jobs.start(never.id, {})
        runs = await rig.job(pipeline)
        await rig.until_runs("one")
        queued = await rig.job(pipeline)
        ended = await rig.jobs.cancel(queued.id, "late")
        assert (ended.status, ended.started) == (JobStatus.CANCELED, None)
        device.runner.release("one")
        assert (await rig.end(runs.id)).status is JobStatus.HEALTHY


async def test_start_again_answers_the_present_state_and_refuses_other_variables(
    device: Device,
) -> None:
    text = chain("one").replace("name: chain", "name: chain\nparameters: {TAG: '1'}")
    text = text.replace("tag: '1'", "tag: '${{ TAG }}'")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text), variables={"TAG": "1"})
        await rig.end(job.id)
        again = await rig.jobs.start(job.id, {"TAG": "1"})
        assert again.state is JobState.STOPPED
        with pytest.raises(JobStateError, match="other variables"):
            await rig.jobs.start(job.id, {"TAG": "2"})
        assert len(device.runner.started) == 1


async def test_variables_that_the_definition_does_not_declare_are_refused(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), start=False)
        with pytest.raises(PipelineLoadError, match="NOPE"):
            await rig.jobs.start(job.id, {"NOPE": "1"})
        assert (await rig.jobs.get(job.id)).state is JobState.PENDING


async def test_a_started_jobs_payload_accepts_no_changes(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), start=False)
        async with await rig.payloads.upload(job.payload) as upload:
            await upload.write("late", 0, b"x")
            await rig.jobs.start(job.id, {})
            with pytest.raises(PayloadStateError, match="was started"):
                await upload.commit()
        await rig.end(job.id)
        assert "input/late" not in await rig.listing(job.payload)


async def test_a_dead_podman_delays_a_job_and_does_not_fail_it(device: Device) -> None:
    device.runner.available = False
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await eventually(rig.engine.warnings, "there is a warning")
        assert (await rig.jobs.get(job.id)).state is JobState.PENDING
        device.runner.available = True
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        assert len(device.runner.started) == 1


async def test_podman_that_dies_while_an_operator_runs_loses_nothing(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        await rig.until_runs("one")
        device.runner.available = False
        device.runner.release("one")  # its end is seen, what comes after is refused
        await eventually(rig.engine.warnings, "there is a warning")
        device.runner.available = True
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        names = [s.labels["io.claraedge.operator"] for s in device.runner.started]
        assert names == ["one", "two"]
        await emptied(device.runner)


async def test_a_bug_in_one_job_does_not_end_the_engine(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_rig(device) as rig:
        broken = await rig.job(await rig.register(chain("one")), start=False)

        def explode(*_: object, **__: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("claraedge.jobs.operators.container.environment", explode)
        await rig.jobs.start(broken.id, {})
        ended = await rig.end(broken.id)
        assert ended.status is JobStatus.FAULTED
        assert "internal error: RuntimeError('a bug')" in ended.messages[0]
        monkeypatch.undo()
        assert (await rig.end((await rig.job(ended.pipeline)).id)).status is JobStatus.HEALTHY


async def test_a_gpu_operator_waits_until_the_machine_shows_one(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", extra=("requests: {gpu: 1}",))))
        waiting = await rig.until(job.id, lambda job: job.messages)
        assert "no GPU present" in waiting.messages[0]
        device.gpus = ("nvidia.com/gpu=0",)
        other = await rig.job(await rig.register(chain("two")))  # anything that wakes the engine
        await rig.end(other.id)
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    assert device.runner.started[0].devices == ("nvidia.com/gpu=0",) or (
        device.runner.started[1].devices == ("nvidia.com/gpu=0",)
    )


async def test_gpu_jobs_never_overlap_on_one_gpu(device: Device) -> None:
    device.gpus = ("nvidia.com/gpu=0",)
    busy = 0
    most = 0

    async def use(spec: ContainerSpec) -> int:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.01)
        busy -= 1
        return await copy(spec)

    device.runner.add_image("gpu:1", use)
    async with engine_rig(device) as rig:
        text = chain("one", "two", image="gpu", extra=("requests: {gpu: 1}",))
        pipeline = await rig.register(text)
        jobs = [await rig.job(pipeline, {"x": b"1"}) for _ in range(4)]
        for job in jobs:
            assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    assert most == 1


async def test_higher_classes_go_first_and_immediate_before_all(device: Device) -> None:
    device.max_operators = 1
    device.runner.block("one")
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one"))
        blocker = await rig.job(pipeline)
        await rig.until_runs("one")
        order = [
            await rig.job(pipeline, priority=p)
            for p in (Priority.LOWER, Priority.NORMAL, Priority.HIGHER, Priority.IMMEDIATE)
        ]
        device.runner.release("one")
        for job in [blocker, *order]:
            await rig.end(job.id)
    started = [s.labels["io.claraedge.job"] for s in device.runner.started]
    lower, normal, higher, immediate = (job.id for job in order)
    # A NORMAL job has just had its turn.
    assert started == [blocker.id, immediate, higher, lower, normal]


async def test_lists_hold_open_jobs_or_what_the_filter_says(device: Device) -> None:
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one"))
        failing = await rig.register(chain("one", image="fail"))
        waits = await rig.job(pipeline, start=False)
        healthy = await rig.end((await rig.job(pipeline)).id)
        faulted = await rig.end((await rig.job(failing)).id)
        assert [j.id for j in await rig.listed()] == [waits.id]

        async def ids(**kinds: object) -> list[str]:
            return [j.id for j in await rig.listed(JobFilter(**kinds))]  # type: ignore[arg-type]

        assert await ids(states=frozenset({3})) == [healthy.id, faulted.id]
        assert await ids(statuses=frozenset({2})) == [faulted.id]
        assert await ids(statuses=frozenset({1}), states=frozenset({3})) == [healthy.id]
        assert await ids(pipelines=frozenset({failing})) == [faulted.id]
        assert await ids(created_after=waits.created) == [healthy.id, faulted.id]
        assert healthy.stopped is not None
        assert await ids(completed_before=healthy.stopped) == []
        assert await ids(states=frozenset({99})) == []


async def test_logs_of_an_unknown_operator_name_those_there_are(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), start=False)
        with pytest.raises(OperatorNotFoundError, match="its operators are one, two"):
            await rig.jobs.logs(job.id, "three")
        assert list(await rig.jobs.logs(job.id, "one")) == []
