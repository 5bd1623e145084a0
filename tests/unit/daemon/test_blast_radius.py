"""What a bug, or a tree too deep for Python, does to one thing; all others continue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claraedge.delivery.parcels import Due, Parcel, Parcels
from claraedge.inbox.inspection.survey import Surveyor
from claraedge.inbox.intake.processor import Processor
from claraedge.inbox.model import ItemState
from claraedge.jobs.model import JobStatus
from tests.rig.device import Device, copy
from tests.rig.engine import bench as engine_bench
from tests.rig.inbox import Bench, bench, drop, make_config
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE

BUGS = [RecursionError("too deep"), MemoryError(), ZeroDivisionError("a bug")]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path)
    made.runner.add_image("copy:1", copy)
    return made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("bug", BUGS, ids=repr)
async def test_a_bug_in_one_delivery_parks_that_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bug: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put = Parcels.put
    broken = True

    def putting(self: Parcels, flag: Any, due: Due) -> Parcel:
        if broken and due.record.item_name == b"bad.dcm":
            raise bug
        return put(self, flag, due)

    monkeypatch.setattr(Parcels, "put", putting)
    async with bench(make_config(tmp_path)) as b:
        await b.register("ct")
        drop(tmp_path / "inbox/ct/bad.dcm", b"bad")
        drop(tmp_path / "inbox/ct/good.dcm", b"good")
        outbox = tmp_path / "outbox/ct"
        await until(lambda: len(list(outbox.glob("good.dcm-*"))) == 1)
        await until(lambda: "a delivery met a bug" in caplog.text)
        broken = False
        b.delivery.try_again()
        await until(lambda: len(list(outbox.glob("bad.dcm-*"))) == 1)
    assert f"{bug!r}" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("where", "method"), [(Surveyor, "at"), (Processor, "_fill")], ids=["survey", "claim"]
)
async def test_a_bug_with_one_item_parks_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: type, method: str
) -> None:
    original = getattr(where, method)

    def failing(self: Any, *arguments: Any) -> Any:
        if any("bad.dcm" in str(one) for one in arguments):
            raise RecursionError("too deep")
        return original(self, *arguments)

    monkeypatch.setattr(where, method, failing)
    async with bench(make_config(tmp_path)) as b:
        await b.register("ct")
        drop(tmp_path / "inbox/ct/bad.dcm", b"bad")
        drop(tmp_path / "inbox/ct/good.dcm", b"good")
        await until(lambda: len(list((tmp_path / "outbox/ct").glob("good.dcm-*"))) == 1)
        assert "internal error: RecursionError('too deep')" in await reason(b)


async def reason(b: Bench) -> str:
    """Why the one that waits waits."""
    async with asyncio.timeout(20):
        while True:
            waiting = [i for i in await b.inbox.items() if i.state is ItemState.PARKED]
            if waiting:
                assert [item.name for item in waiting] == ["bad.dcm"]
                return waiting[0].reason
            await asyncio.sleep(0.01)


async def test_a_bug_in_the_removal_of_one_container_ends_nothing(
    device: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remove, broken = device.runner.remove, []

    async def removing(container: str) -> None:
        if not broken:
            broken.append(container)
            raise OSError(22, "Invalid argument")  # as of a reused process id
        await remove(container)

    monkeypatch.setattr(device.runner, "remove", removing)
    async with engine_bench(device) as b:
        pipeline = await b.register(chain("one", "two"))
        for _ in range(3):
            job = await b.job(pipeline, {"x": b"1"})
            assert (await b.end(job.id)).status is JobStatus.HEALTHY
        async with asyncio.timeout(DEADLINE):
            while await device.runner.containers({}):
                await asyncio.sleep(0.01)
    assert len(broken) == 1
