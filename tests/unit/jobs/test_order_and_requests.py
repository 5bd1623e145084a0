"""Operators that only come first, what a request limits, and what no job can have yet."""

from __future__ import annotations

import pytest

from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.pipelines.requests import Profile
from tests.rig.device import Device
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain

ORDERED = """
api-version: 0.5.0
name: ordered
operators:
- name: last
  container: {image: copy, tag: '1', command: [run]}
  input: [{name: x, type: stream, element-type: any, path: /in}]
  output: [{name: y, type: stream, element-type: any, path: /out}]
  order: [FIRST]
- name: first
  container: {image: copy, tag: '1', command: [run]}
  input: [{name: x, type: stream, element-type: any, path: /in}]
  output: [{name: y, type: stream, element-type: any, path: /out}]
"""


async def test_an_operator_waits_for_those_that_only_come_first(device: Device) -> None:
    device.runner.block("first")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(ORDERED), {"x": b"1"})
        await rig.until_runs("first")
    async with engine_rig(device) as rig:  # also after a restart
        assert (await rig.jobs.get(job.id)).operators[0].status is OperatorStatus.PENDING
        device.runner.release("first")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    started = device.runner.started
    assert [s.labels["io.claraedge.operator"] for s in started] == ["first", "last"]
    assert [m.target for m in started[1].mounts] == ["/in", "/out"], "nothing of it is mounted"


@pytest.mark.parametrize(
    ("profile", "written", "limit"),
    [("0.8", None, 1024), ("0.8", 64, 64), ("0.7", None, None), ("0.7", 64, None)],
)
async def test_the_limit_of_a_container_follows_the_profile(
    device: Device, profile: str, written: int | None, limit: int | None
) -> None:
    device.profile = Profile(profile)
    extra = [] if written is None else [f"requests: {{memory: {written}}}"]
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", extra=extra)))
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    (spec,) = device.runner.started
    assert spec.memory == (None if limit is None else limit << 20)
