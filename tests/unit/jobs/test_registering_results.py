"""Operators of `register-results` are served by the daemon: no container, no image, no slot."""

from __future__ import annotations

import asyncio

import pytest

from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.store.database import Transaction
from tests.rig.device import Device
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain

REGISTER = """\
- name: register
  container:
    image: clara/register-results
    command: [python, register.py, --agent, renderserver, --data, '["DEST"]']
  requests: {gpu: 1, cpu: 64}
  input: [{path: /in, from: two}]
"""
LINE = (
    'results registered for agent "renderserver", data ["DEST"]; its inputs are delivered with the'
    " job's results"
)


async def test_it_completes_without_a_container_or_an_image(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two") + REGISTER), {"x": b"1"})
        ended = await rig.end(job.id)
        record = ended.operators[2]
        assert (ended.status, record.status, record.attempt) == (
            JobStatus.HEALTHY,
            OperatorStatus.COMPLETED,
            1,
        )
        assert (record.image, record.container, record.exit_code) == (None, None, None)
        assert record.started is not None
        assert record.started == record.stopped
        assert ended.messages == (f"operator register: {LINE}",)
        assert list(await rig.jobs.logs(job.id, "register")) == [LINE + "\n"]
        own = list(await rig.jobs.logs(job.id, "claraedge-engine"))
        assert any("operator register ended: COMPLETED" in line for line in own)
    assert [s.labels["io.claraedge.operator"] for s in device.runner.started] == ["one", "two"]


async def test_it_waits_for_its_inputs(device: Device) -> None:
    device.runner.block("two")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two") + REGISTER))
        await rig.until_runs("two")
        assert (await rig.jobs.get(job.id)).operators[2].status is OperatorStatus.PENDING
        assert list(await rig.jobs.logs(job.id, "register")) == []
        device.runner.release("two")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_it_uses_no_slot_no_core_and_no_gpu(device: Device) -> None:
    device.max_operators = 1
    device.runner.block("one")
    alone = "api-version: 0.4.0\nname: alone\noperators:\n" + REGISTER.replace(", from: two", "")
    async with engine_rig(device) as rig:
        await rig.job(await rig.register(chain("one")))
        await rig.until_runs("one")
        ended = await rig.end((await rig.job(await rig.register(alone))).id)
        assert ended.status is JobStatus.HEALTHY
        assert ended.started is not None


async def test_what_reads_an_output_of_it_finds_an_empty_folder(device: Device) -> None:
    text = chain("one", "two") + REGISTER + "  output: [{path: /out}]\n"
    after = "- name: after\n  container: {image: copy, tag: '1'}\n  input: [{path: /in, from: R}]\n"
    text += after.replace("R", "register") + "  output: [{path: /out}]\n"
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text), {"x": b"1"})
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        assert await rig.listing(job.payload) == [
            "input/x",
            "operators/one/x",
            "operators/two/x",
        ]


class _CutOffError(Exception):
    pass


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_kill_around_its_commit_completes_it_once(
    device: Device, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.runner.block("two")
    reached = asyncio.Event()
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two") + REGISTER), {"x": b"1"})
        await rig.until_runs("two")
        real = rig.database.write

        async def write(work: object) -> object:
            names: list[str] = []

            def watched(tx: Transaction) -> object:
                class Spy:
                    def run(self, query: str, **parameters: object) -> int:
                        names.append(str(parameters.get("name")))
                        if moment == "before" and (query, names[-1]) == (
                            "operator_ended",
                            "register",
                        ):
                            raise _CutOffError
                        return tx.run(query, **parameters)  # type: ignore[arg-type]

                    def __getattr__(self, name: str) -> object:
                        return getattr(tx, name)

                return work(Spy())  # type: ignore[operator]

            try:
                result = await real(watched)
            except _CutOffError:
                reached.set()
                await asyncio.Event().wait()
                raise
            if "register" in names:
                reached.set()
                await asyncio.Event().wait()
            return result

        monkeypatch.setattr(rig.database, "write", write)
        device.runner.release("two")
        async with asyncio.timeout(10):
            await reached.wait()
    monkeypatch.undo()
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY
        assert ended.operators[2].attempt == 1
        assert ended.messages == (f"operator register: {LINE}",)
        assert list(await rig.jobs.logs(job.id, "register")) == [LINE + "\n"]
    assert [s.labels["io.claraedge.operator"] for s in device.runner.started] == ["one", "two"]
