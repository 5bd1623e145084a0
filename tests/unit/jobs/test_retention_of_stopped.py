"""What stopped jobs leave goes by age, count, bytes and need; what somebody needs stays."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from claraedge.errors import JobNotFoundError, PayloadNotFoundError
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.model import Job, JobStatus
from claraedge.jobs.retention import artifacts
from claraedge.jobs.retention.artifacts import Artifacts, size_alone
from claraedge.jobs.retention.keeping import DAY, Keep, Rules
from claraedge.jobs.retention.retention import Removed, Retention
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.readers import LINGER, Readers
from tests.rig.device import Device
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.queries import query

HOUR = 3600.0
BIG = 100_000
TABLES = (
    "jobs", "operators", "job_messages", "job_log", "deliveries", "inbox_items", "artifacts",
    "payloads", "payload_files", "metadata",
)  # fmt: skip


@dataclass
class Hands:
    """A clock that is moved by hand."""

    wall: float
    boot: float = 0.0

    def now(self) -> float:
        return self.wall

    def elapsed(self) -> float:
        return self.boot

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds


@dataclass
class Kept:
    """A daemon's engine and its retention, with a clock of its own."""

    rig: EngineRig
    clock: Hands
    keeper: Retention
    pipeline: str

    async def job(self, size: int = BIG, pipeline: str | None = None) -> Job:
        """One that has stopped; each of its two copies has so many bytes."""
        job = await self.rig.job(pipeline or self.pipeline, {"x": b"x" * size})
        return await self.rig.end(job.id)

    async def remove_due_after(self, seconds: float) -> None:
        """Removes what is due after so many seconds in which the clock is steady."""
        await self.keeper.remove_due()
        self.clock.passes(max(seconds, HOUR))
        await self.keeper.remove_due()

    async def payloads(self, *jobs: Job) -> list[bool]:
        """Which of them have their payload, on the disk as in the rows."""
        found = []
        for job in jobs:
            folder = self.rig.payloads.tree.folder(job.payload)
            try:
                await self.rig.payloads.get(job.payload)
            except PayloadNotFoundError:
                assert not folder.exists()
                found.append(False)
            else:
                assert folder.exists()
                found.append(True)
        return found

    def rows(self, job: Job) -> dict[str, int]:
        """What the state knows of a job, by table."""
        counts = {}
        for table in TABLES:
            names = {row[1] for row in query(self.rig.database, f"PRAGMA table_info({table})")}
            column = next(c for c in ("job", "payload", "owner", "id") if c in names)
            if table == "jobs":
                column = "id"
            wanted = job.payload if table.startswith("payload") else job.id
            text = f"SELECT COUNT(*) FROM {table} WHERE {column} = ?"
            ((counts[table],),) = query(self.rig.database, text, wanted)
        return counts

    def logs(self, job: Job) -> bool:
        return (self.rig.device.state / "jobs" / job.id).exists()


@asynccontextmanager
async def kept(device: Device, rules: Rules = Rules(), *, run: bool = True) -> AsyncIterator[Kept]:  # noqa: B008 it is frozen
    async with engine_rig(device, run=run) as rig:
        clock = Hands(wall=time.time() + 30)  # after all that the jobs record
        rig.payloads.readers = Readers(clock)
        artifacts = Artifacts(rig.database, rig.payloads, JobLogs(device.state))
        keeper = Retention(
            rig.database, rig.payloads, artifacts, clock, unstarted_after=9e9, rules=rules
        )
        yield Kept(rig, clock, keeper, await rig.register(chain("one")))


async def deliver(k: Kept, job: Job, state: str) -> None:
    def work(tx) -> None:
        tx.run("add_delivery", job=job.id, folder="f", outputs="[]", item=None)
        tx.run("delivery_parked", job=job.id, reason="the outbox is read-only")
        if state == "done":
            tx.run("delivery_done", job=job.id, path=f"/outbox/{job.id}", size=1)

    await k.rig.database.write(work)


# --- age ---------------------------------------------------------------------------------------


async def test_payloads_then_logs_then_jobs_go_by_their_age(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with kept(device) as k:
        job = await k.job()
        reusable = await k.rig.payloads.create({})
        await k.remove_due_after(29 * DAY)
        assert (await k.payloads(job), k.logs(job)) == ([True], True)
        assert k.keeper.removed == Removed()
        await k.remove_due_after(2 * DAY)
        assert (await k.payloads(job), k.logs(job)) == ([False], True)
        assert list(await k.rig.jobs.logs(job.id, "one")) == ["copied\n"]
        await k.remove_due_after(60 * DAY)
        assert not k.logs(job)
        assert "copied\n" not in list(await k.rig.jobs.logs(job.id, "one"))
        assert (await k.rig.jobs.get(job.id)).status is JobStatus.HEALTHY
        await k.remove_due_after(275 * DAY)
        with pytest.raises(JobNotFoundError):
            await k.rig.jobs.get(job.id)
        assert set(k.rows(job).values()) == {0}
        assert (await k.rig.payloads.get(reusable.id)).id == reusable.id
        assert (k.keeper.removed.payloads, k.keeper.removed.logs, k.keeper.removed.jobs) == (
            1,
            1,
            1,
        )
        assert k.keeper.removed.size > BIG
        assert k.keeper.last == k.clock.wall
    logged = [r for r in caplog.records if r.message.startswith("removed what stopped jobs left")]
    assert [(r.payloads, r.logs, r.jobs) for r in logged] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]  # type: ignore[attr-defined]


async def test_a_clock_that_jumped_removes_nothing_by_age(device: Device) -> None:
    async with kept(device) as k:
        job = await k.job()
        await k.remove_due_after(HOUR)
        k.clock.wall += 400 * DAY
        await k.keeper.remove_due()
        assert await k.payloads(job) == [True]
        assert "jumped" in k.keeper.warnings()[0]
        k.clock.passes(HOUR)
        await k.keeper.remove_due()  # steady: the new time is believed
        with pytest.raises(JobNotFoundError):
            await k.rig.jobs.get(job.id)


# --- count and bytes ---------------------------------------------------------------------------


async def test_payloads_go_by_count_the_oldest_ends_first(device: Device) -> None:
    async with kept(device, Rules(payloads=Keep(seconds=DAY, count=2))) as k:
        jobs = [await k.job() for _ in range(4)]
        await k.keeper.remove_due()
        assert await k.payloads(*jobs) == [False, False, True, True]
        assert k.keeper.removed.payloads == 2


async def test_payloads_go_by_bytes_with_what_failed_attempts_wrote(device: Device) -> None:
    async with kept(device, Rules(payloads=Keep(seconds=DAY, size=5 * BIG))) as k:
        first, second = await k.job(), await k.job()
        await k.keeper.remove_due()
        assert await k.payloads(first, second) == [True, True]
        attempt = k.rig.payloads.tree.attempt(second.payload, "one", 7)
        attempt.mkdir()
        (attempt / "left").write_bytes(b"x" * (4 * BIG))
        third = await k.job()
        query(k.rig.database, "UPDATE artifacts SET measured = 0")
        await k.keeper.remove_due()
        assert await k.payloads(first, second, third) == [False, False, True]


async def test_jobs_go_by_count_with_all_that_is_left_of_them(device: Device) -> None:
    async with kept(device, Rules(jobs=Keep(seconds=DAY, count=1))) as k:
        await k.rig.jobs.add_metadata(
            (never := await k.rig.job(k.pipeline, start=False)).id, {"a": "b"}
        )
        old = await k.job()
        await k.rig.jobs.add_metadata(old.id, {"Source": "CT"})
        failed = await k.job(pipeline=await k.rig.register(chain("one", image="fail")))
        new = await k.job()
        assert min(count for t, count in k.rows(old).items() if t in ("jobs", "job_log", "artifacts", "payload_files", "metadata")) > 0  # fmt: skip  # noqa: E501
        await k.keeper.remove_due()
        for job in (old, failed):
            assert set(k.rows(job).values()) == {0}
            assert not k.logs(job)
            assert not k.rig.payloads.tree.folder(job.payload).exists()
        assert await k.payloads(new, never) == [True, True]


async def test_logs_go_by_bytes(device: Device) -> None:
    async with kept(device, Rules(logs=Keep(seconds=DAY, size=4096))) as k:
        old, new = await k.job(), await k.job()
        await k.keeper.remove_due()
        assert [k.logs(old), k.logs(new)] == [False, True]
        assert await k.payloads(old, new) == [True, True]


# --- need --------------------------------------------------------------------------------------


async def test_a_low_disk_removes_the_oldest_that_no_client_fetches(
    device: Device,
) -> None:
    async with kept(device) as k:
        fresh = await k.job()
        delivered = await k.job()
        await deliver(k, delivered, "done")
        failing = await k.rig.register(chain("one", image="fail"))
        failed = await k.job(pipeline=failing)
        assert await k.keeper.reclaim(1) > BIG
        assert await k.payloads(fresh, delivered, failed) == [True, False, True]
        await k.keeper.reclaim(100 * BIG)
        assert await k.payloads(fresh, delivered, failed) == [True, False, False]
        k.clock.passes(HOUR)
        gone = await k.keeper.reclaim(100 * BIG)
        assert await k.payloads(fresh) == [False]
        assert gone > 2 * BIG
        assert not k.logs(fresh)
        assert await k.keeper.reclaim(100 * BIG) == 0
        assert (await k.rig.jobs.get(fresh.id)).status is JobStatus.HEALTHY


async def test_a_low_disk_removes_no_more_than_is_lacking(device: Device) -> None:
    async with kept(device, Rules(undelivered=0)) as k:
        jobs = [await k.job() for _ in range(5)]
        await k.keeper.reclaim(3 * BIG)
        assert await k.payloads(*jobs) == [False, False, True, True, True]
        await k.keeper.reclaim(0)
        assert await k.payloads(*jobs) == [False, False, True, True, True]


async def test_what_has_another_name_is_not_removed_in_vain(device: Device, tmp_path: Path) -> None:
    async with kept(device, Rules(undelivered=0)) as k:
        job = await k.job()
        for number, path in enumerate(k.rig.payloads.tree.folder(job.payload).rglob("*")):
            if path.is_file():
                (tmp_path / f"original-{number}").hardlink_to(path)
        (tmp_path / "jobs" / job.id / "logs" / "one" / "1.log").write_bytes(b"")
        assert await k.keeper.reclaim(BIG) == 0
        assert await k.payloads(job) == [True]


# --- what stays --------------------------------------------------------------------------------


async def test_what_is_needed_is_never_removed(device: Device) -> None:
    rules = Rules(
        payloads=Keep(seconds=1, count=1, size=1),
        logs=Keep(seconds=1, size=1),
        jobs=Keep(seconds=1, count=1),
        undelivered=0,
    )
    async with kept(device, rules) as k:
        undelivered = await k.job()
        await deliver(k, undelivered, "parked")
        never = await k.rig.job(k.pipeline, {"x": b"1"}, start=False)
        device.runner.block("one")
        running = await k.rig.job(k.pipeline, {"x": b"1"})
        await k.rig.until_runs("one")
        queued = [await k.rig.job(k.pipeline, {"x": b"1"}) for _ in range(4)]
        reusable = await k.rig.payloads.create({})
        await k.remove_due_after(1000 * DAY)
        await k.keeper.reclaim(1 << 50)
        assert await k.payloads(undelivered, never, running, *queued) == [True] * 7
        assert k.logs(undelivered)
        await k.rig.payloads.get(reusable.id)
        device.runner.release("one")
        for job in (running, *queued):
            await k.rig.end(job.id)
        await k.rig.database.write(
            lambda tx: tx.run("delivery_done", job=undelivered.id, path="/outbox/f", size=1)
        )
        await k.remove_due_after(1000 * DAY)
        with pytest.raises(JobNotFoundError):
            await k.rig.jobs.get(undelivered.id)


async def test_what_a_client_reads_stays_until_a_moment_after(device: Device) -> None:
    async with kept(device, Rules(undelivered=0)) as k:
        job, other = await k.job(), await k.job()
        with k.rig.payloads.readers.reading(job.payload):
            await k.keeper.reclaim(100 * BIG)
            assert await k.payloads(job, other) == [True, False]
            k.clock.passes(10 * LINGER)
            await k.keeper.reclaim(100 * BIG)
            assert await k.payloads(job) == [True]
        k.clock.passes(LINGER - 1)
        await k.keeper.reclaim(100 * BIG)
        assert await k.payloads(job) == [True]
        k.clock.passes(1)
        await k.keeper.reclaim(100 * BIG)
        assert await k.payloads(job) == [False]


def test_readers_are_forgotten() -> None:
    clock = Hands(wall=0)
    readers = Readers(clock)
    for number in range(1000):
        with readers.reading(str(number)), readers.reading(str(number)):
            assert str(number) in readers.present()
        clock.passes(LINGER / 10)
    assert len(readers.present()) == 9
    clock.passes(LINGER)
    assert readers.present() == frozenset()
    assert (readers._open, readers._until) == ({}, {})


# --- crashes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["payload", "bytes", "logs", "rows"])
async def test_a_crash_between_two_steps_leaves_nothing_dangling(
    device: Device, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    rules = Rules(jobs=Keep(seconds=HOUR, count=1))

    async def killed(*_: object) -> None:
        raise RuntimeError("killed")

    async with kept(device, rules) as k:
        old, new = await k.job(), await k.job()
        with monkeypatch.context() as patch:
            if at == "payload":
                patch.setattr(Payloads, "delete_unneeded", killed)
            elif at == "bytes":
                patch.setattr(Payloads, "discard", killed)
            elif at == "logs":
                patch.setattr(artifacts, "in_cancellable_thread", _only_sizes(killed))
            else:
                patch.setattr(artifacts.records, "forget_stopped", _raise)
            with pytest.raises(RuntimeError, match="killed"):
                await k.keeper.remove_due()
    async with kept(device, rules) as k:
        await k.keeper.remove_due()
        assert set(k.rows(old).values()) == {0}
        assert await k.payloads(new) == [True]
        assert [p.name for p in (device.state / "payloads").iterdir()] == [new.payload]
        assert list((device.state / "removed").iterdir()) == []
        assert [p.name for p in (device.state / "jobs").iterdir()] == [new.id]


def _raise(*_: object) -> None:
    raise RuntimeError("killed")


def _only_sizes(killed):
    real = artifacts.in_cancellable_thread

    async def call(work, *arguments):
        return await (real(work, *arguments) if work.__name__ == "_sizes" else killed())

    return call


# --- the rest ----------------------------------------------------------------------------------


async def test_results_of_forgotten_jobs_are_counted_all_the_same(device: Device) -> None:
    async with kept(device, Rules(jobs=Keep(seconds=DAY, count=1))) as k:
        failing = await k.rig.register(chain("one", image="fail"))
        for job in (await k.job(), await k.job(pipeline=failing)):
            await deliver(k, job, "done")
        await k.job()

        async def counts() -> tuple[int, int]:
            row = await k.rig.database.read(lambda tx: tx.row("status_counts"))
            assert row is not None
            return row["results"], row["failures"]

        assert await counts() == (1, 1)
        await k.keeper.remove_due()
        assert k.keeper.removed.jobs == 2
        assert await counts() == (1, 1)


async def test_definitions_of_forgotten_jobs_go(device: Device) -> None:
    async with kept(device) as k:
        await k.job()
        await k.rig.pipelines.remove(k.pipeline)
        assert query(k.rig.database, "SELECT COUNT(*) FROM definitions") == [(1,)]
        await k.remove_due_after(400 * DAY)
        assert query(k.rig.database, "SELECT COUNT(*) FROM payloads") == [(0,)]


def test_bytes_count_once_and_only_where_they_are_given_back(tmp_path: Path) -> None:
    folder = tmp_path / "payload"
    (folder / "a").mkdir(parents=True)
    (folder / "blob").write_bytes(b"x" * 8192)
    (folder / "a" / "named").hardlink_to(folder / "blob")
    assert size_alone(folder) == 8192
    (tmp_path / "original").hardlink_to(folder / "blob")
    assert size_alone(folder) == 0
    (folder / "hole").touch()
    with (folder / "hole").open("r+b") as file:
        file.truncate(1 << 30)
    assert size_alone(folder) == 0
    assert size_alone(tmp_path / "gone") == 0


async def test_many_jobs_go_in_small_steps(device: Device) -> None:
    async with kept(device, Rules(payloads=Keep(seconds=DAY, count=3))) as k:
        jobs = await asyncio.gather(*(k.job(10) for _ in range(50)))
        steps: list[int] = []
        delete = k.rig.payloads.delete_unneeded

        async def counted(payloads):
            steps.append(len(payloads))
            return await delete(payloads)

        k.rig.payloads.delete_unneeded = counted  # type: ignore[method-assign]
        await k.keeper.remove_due()
        assert sum(await k.payloads(*jobs)) == 3
        assert steps == [20, 20, 7]
