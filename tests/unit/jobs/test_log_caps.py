"""A log stays below its limit by a hole in its middle, while its operator continues to write."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from claraedge.jobs.logs import log_caps
from claraedge.jobs.logs.log_caps import LogCaps, cut
from claraedge.jobs.logs.log_holes import BLOCK, can_punch, data_from, hole_from
from claraedge.jobs.logs.logs import AttemptLog, JobLogs
from tests.rig.device import Device
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

MIB = 1 << 20
LIMIT = MIB


def record(number: int, size: int = 60) -> bytes:
    return f"2026-01-01T00:00:00Z stdout F {number:08} ".encode() + b"x" * size + b"\n"


def records(first: int, size: int) -> bytes:
    """So many bytes, at the least."""
    return b"".join(record(first + n) for n in range(-(-size // len(record(0)))))


def numbers(lines: list[str]) -> list[int]:
    return [int(line.split()[0]) for line in lines if not line.startswith("[")]


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


@contextlib.asynccontextmanager
async def running(part: LogCaps) -> AsyncIterator[None]:
    task = asyncio.create_task(part.run())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as shared:
        yield Path(shared)


def test_the_first_half_and_the_last_are_kept(folder: Path) -> None:
    assert can_punch(folder)
    path = folder / "log"
    path.write_bytes(records(0, 10 * LIMIT))
    content, size = path.read_bytes(), path.stat().st_size
    assert cut(path, LIMIT) > 8 * LIMIT
    assert path.stat().st_size == size
    assert LIMIT * 7 // 8 <= on_disk(path) <= LIMIT
    after = path.read_bytes()
    start = LIMIT // 2
    end = data_from_path(path, start)
    assert after[:start] == content[:start]
    assert after[end:] == content[end:]
    assert LIMIT // 2 - LIMIT // 16 <= size - end <= LIMIT // 2
    assert cut(path, LIMIT) == 0, "it is within the limit now"


def data_from_path(path: Path, position: int) -> int:
    with path.open("rb") as file:
        return data_from(file.fileno(), position, path.stat().st_size)


def test_a_writer_that_continues_notices_nothing_and_the_hole_stays_one(logs: JobLogs) -> None:
    path = logs.prepare("j", "op", 1)
    count = 0
    with path.open("ab", buffering=0) as writer:
        for _ in range(200):
            for _ in range(1000):
                writer.write(record(count))
                count += 1
            cut(path, LIMIT)
            assert on_disk(path) <= LIMIT + 4096
    with path.open("rb") as file:
        size = path.stat().st_size
        end = data_from(file.fileno(), hole_from(file.fileno(), 0, size), size)
        assert hole_from(file.fileno(), end, size) == size
    lines = list(logs.lines("j", "op", 1))
    found = numbers(lines)
    assert len(lines) == len(found) + 1, "one gap"
    assert (found[0], found[-1]) == (0, count - 1)
    (gap,) = (at for at, (a, b) in enumerate(itertools.pairwise(found)) if b != a + 1)
    assert abs((gap + 1) * len(record(0)) - LIMIT // 2) < BLOCK
    assert found[gap + 1 :] == list(range(found[gap + 1], count))


@pytest.mark.parametrize("later", [LIMIT * 2, LIMIT // 4 * 3, LIMIT * 4])
def test_another_limit_after_a_restart_is_kept_as_well(logs: JobLogs, later: int) -> None:
    path = logs.prepare("j", "op", 1)
    path.write_bytes(records(0, 5 * LIMIT))
    cut(path, LIMIT)
    with path.open("ab") as file:
        file.write(records(1_000_000, 5 * LIMIT))
    cut(path, later)
    assert on_disk(path) <= later + LIMIT
    found = numbers(list(logs.lines("j", "op", 1)))
    assert found[0] == 0
    assert found == sorted(found)
    assert found[-1] > 1_000_000


async def caps_of(rig: EngineRig) -> LogCaps:
    await rig.log_caps.prepare()
    return rig.log_caps


async def test_the_log_of_a_running_operator_is_cut_and_left_alone_once_it_ended(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        logs = rig.machine.logs
        caps = await caps_of(rig)
        assert caps.warnings() == []
        async with running(caps):
            job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
            spec = await rig.until_runs("one")
            assert caps.jobs == {job.id}
            path = spec.log_path
            assert path == logs.path(job.id, "one", 1)
            with path.open("ab") as file:
                file.write(records(0, 8 * LIMIT))
            await eventually(lambda: on_disk(path) <= LIMIT, "the log is cut")
            with path.open("ab") as file:
                file.write(records(2_000_000, 8 * LIMIT))
            await eventually(lambda: on_disk(path) <= LIMIT, "the log is cut")
            device.runner.release("one")
            await rig.end(job.id)
            await eventually(lambda: not caps.jobs, "no log is watched")
        assert list(logs.lines(job.id, "one", 1))[-1] == "copied\n"


async def test_operators_that_ran_before_a_restart_are_watched(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        spec = await rig.until_runs("one")
        await eventually(
            lambda: rig.database.read(lambda tx: tx.rows("running_containers")), "a container runs"
        )
    async with engine_rig(device) as rig:
        caps = await caps_of(rig)
        assert caps.jobs == {job.id}
        async with running(caps):
            with spec.log_path.open("ab") as file:
                file.write(records(0, 8 * LIMIT))
            await eventually(lambda: on_disk(spec.log_path) <= LIMIT, "the log is cut")
        device.runner.release("one")
        await rig.end(job.id)


async def test_what_is_prepared_ahead_is_watched_until_its_job_ends(device: Device) -> None:
    async with engine_rig(device, run=False) as rig:
        logs = rig.machine.logs
        caps = await caps_of(rig)
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        logs.prepare(job.id, "two", 1)
        await asyncio.sleep(0)
        assert caps.jobs == {job.id}
        assert await caps._ended() == []
        await rig.database.write(
            lambda tx: tx.run("operator_attempt", job=job.id, name="two", attempt=2, image=None)
        )
        old = AttemptLog(job=job.id, operator="two", attempt=1)
        assert await caps._ended() == [old], "another attempt writes another log"
        await rig.database.write(lambda tx: tx.run("job_stopped", id=job.id, status=1, now=1.0))
        logs.prepare(job.id, "two", 2)
        await asyncio.sleep(0)
        assert set(await caps._ended()) == {
            old,
            AttemptLog(job=job.id, operator="two", attempt=2),
        }


async def test_a_file_system_without_holes_is_reported_once_and_costs_no_log(
    device: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unable(_descriptor: int, _start: int, _end: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("claraedge.jobs.logs.log_holes.punch", unable)
    caplog.set_level(logging.WARNING)
    async with engine_rig(device, run=False) as rig:
        logs = rig.machine.logs
        caps = await caps_of(rig)
        path = logs.prepare("j", "op", 1)
        path.write_bytes(records(0, 2 * LIMIT))
        before = path.read_bytes()
        for _ in range(3):
            assert caps.cut(path) == len(before)
        assert path.read_bytes() == before
        (warning,) = caps.warnings()
        assert "engine.operator_log_mb is not kept" in warning
        assert len([r for r in caplog.records if "cut" in r.getMessage()]) == 1


async def test_a_cut_that_fails_is_tried_again_and_reported_once(
    device: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_descriptor: int, _start: int, _end: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with engine_rig(device, run=False) as rig:
        logs = rig.machine.logs
        caps = await caps_of(rig)
        path = logs.prepare("j", "op", 1)
        path.write_bytes(records(0, 2 * LIMIT))
        with monkeypatch.context() as patched:
            patched.setattr(log_caps, "punch", full)
            for _ in range(3):
                caps.cut(path)
        assert "No space left" in caps.warnings()[0]
        assert len([r for r in caplog.records if r.getMessage() == "a log is not cut"]) == 1
        caps.cut(path)
        assert caps.warnings() == []
        assert on_disk(path) <= LIMIT


async def test_what_an_operator_wrote_while_no_daemon_ran_is_cut_after_its_end(
    device: Device,
) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        spec = await rig.until_runs("one")
        await eventually(
            lambda: rig.database.read(lambda tx: tx.rows("running_containers")), "a container runs"
        )
    spec.log_path.write_bytes(records(0, 8 * LIMIT))
    device.runner.release("one")
    async with engine_rig(device, run=False) as rig:
        logs = rig.machine.logs
        caps = rig.log_caps
        await rig.database.write(lambda tx: tx.run("job_stopped", id=job.id, status=1, now=1.0))
        caps._watch(AttemptLog(job=job.id, operator="one", attempt=1))
        async with running(caps):
            await eventually(lambda: not caps.jobs, "no log is watched")
        assert on_disk(logs.path(job.id, "one", 1)) <= LIMIT
        assert next(iter(logs.lines(job.id, "one", 1))).startswith("00000000")


async def test_a_fast_writer_is_checked_more_often(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_caps, "_PAUSE", 30.0)  # what is seen sooner is seen for its speed
    async with engine_rig(device, run=False) as rig:
        logs = rig.machine.logs
        caps = await caps_of(rig)
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        path = logs.path(job.id, "one", 1)
        path.parent.mkdir(parents=True)
        path.write_bytes(records(0, 8 * LIMIT))
        logs.prepare(job.id, "one", 1)
        async with running(caps):
            for number in range(5):
                await eventually(lambda: on_disk(path) <= LIMIT, "the log is cut")
                with path.open("ab") as file:
                    file.write(records((number + 1) * MIB, 8 * LIMIT))
            await eventually(lambda: on_disk(path) <= LIMIT, "the log is cut")
