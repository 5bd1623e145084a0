"""Trouble around an operator that is not the operator's: it changes nothing about its job."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from claraedge.errors import BrokenDiskError
from claraedge.fs import files
from claraedge.jobs import records
from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.runner.protocol import ContainerSpec
from tests.rig.device import Device, copy
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE, eventually


async def test_a_container_that_stays_does_not_change_how_its_operator_ended(
    device: Device,
) -> None:
    device.runner.refuse_removal("one")
    async with engine_rig(device) as rig:
        ended = await rig.end((await rig.job(await rig.register(chain("one")), {"x": b"1"})).id)
        assert (ended.status, ended.operators[0].status, ended.messages) == (
            JobStatus.HEALTHY,
            OperatorStatus.COMPLETED,
            (),
        )
        failing = await rig.register(chain("one", image="fail"))
        ended = await rig.end((await rig.job(failing, {"x": b"1"})).id)
        assert ended.messages == (
            "operator one: failed with exit code 3; its last line: no such slice",
        )


async def test_an_orphan_container_that_stays_does_not_keep_the_daemon_from_starting(
    device: Device,
) -> None:
    device.runner.refuse_removal("one")
    async with engine_rig(device) as rig:
        await rig.end((await rig.job(await rig.register(chain("one")), {"x": b"1"})).id)
    assert len(await device.runner.containers({})) == 1
    async with engine_rig(device) as rig:
        ended = await rig.end((await rig.job(await rig.register(chain("two")), {"x": b"1"})).id)
        assert ended.status is JobStatus.HEALTHY


@pytest.mark.parametrize("step", ["link_or_copy", "finish_tree"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_delays_an_operator_and_does_not_fail_it(
    device: Device, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    original = getattr(files, step)
    refusals = 0

    def full(*arguments: object, **options: object) -> object:
        nonlocal refusals
        if refusals < 2:
            refusals += 1
            raise OSError(number, "no room", "x")
        return original(*arguments, **options)

    async with engine_rig(device) as rig:
        waits = await rig.job(await rig.register(chain("one")), {"x": b"1"}, start=False)
        monkeypatch.setattr(files, step, full)
        await rig.jobs.start(waits.id, {})
        await eventually(rig.engine.warnings, "there is a warning")
        assert "the disk is full" in rig.engine.warnings()[0]
        ended = await rig.end(waits.id)
        assert (ended.status, ended.messages) == (JobStatus.HEALTHY, ())
        assert "operators/one/x" in await rig.listing(waits.payload)
        assert refusals == 2
    assert len(device.runner.started) == 1


async def test_a_file_that_its_disk_does_not_give_is_named_and_no_bug(
    device: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fsync = os.fsync

    def broken(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if path.endswith("/1/x"):
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    async with engine_rig(device) as rig:
        waits = await rig.job(await rig.register(chain("one")), {"x": b"1"}, start=False)
        monkeypatch.setattr(os, "fsync", broken)  # what the operator wrote is to be durable
        await rig.jobs.start(waits.id, {})
        ended = await rig.end(waits.id)
        assert ended.status is JobStatus.FAULTED
        assert "/x cannot be read or written (Input/output error): `dmesg`" in ended.messages[0]
    assert "Traceback" not in caplog.text


async def test_an_end_that_cannot_be_recorded_ends_the_engine_and_a_new_start_collects_it(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_rig(device, run=False) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})

        async def broken(spec: ContainerSpec) -> int:
            monkeypatch.setattr(records, "end_operator", _unreadable)
            return await copy(spec)

        device.runner.add_image("copy:1", broken)
        with pytest.raises(BrokenDiskError, match="disk I/O error"):
            async with asyncio.timeout(DEADLINE):
                await rig.engine.run()
    monkeypatch.undo()
    async with engine_rig(device) as rig:
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    assert len(device.runner.started) == 1


def _unreadable(*_arguments: object) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    raise error
