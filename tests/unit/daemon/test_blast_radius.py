"""What a bug, or a tree too deep for Python, does to one thing; all others continue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claraedge.delivery.parcels import Due, Parcel, Parcels
from claraedge.inbox.inspection.survey import Surveyor
from claraedge.inbox.intake.processor import Processor
from claraedge.inbox.model import ItemState
from claraedge.jobs.model import JobStatus
from tests.rig.device import Device, copy, emptied
from tests.rig.engine import engine_rig
from tests.rig.inbox import InboxRig, drop, inbox_rig, make_config
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

BUGS = [RecursionError("too deep"), MemoryError(), ZeroDivisionError("a bug")]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path)
    made.runner.add_image("copy:1", copy)
    return made


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
    async with inbox_rig(make_config(tmp_path)) as rig:
        await rig.register("ct")
        drop(tmp_path / "inbox/ct/bad.dcm", b"bad")
        drop(tmp_path / "inbox/ct/good.dcm", b"good")
        outbox = tmp_path / "outbox/ct"
        await eventually(
            lambda: len(list(outbox.glob("good.dcm-*"))) == 1, "the good one is delivered"
        )
        await eventually(lambda: "a delivery met a bug" in caplog.text, "the bug is logged")
        broken = False
        rig.delivery.try_again()
        await eventually(
            lambda: len(list(outbox.glob("bad.dcm-*"))) == 1, "the bad one is delivered"
        )
    assert f"{bug!r}" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("where", "method"), [(Surveyor, "tree"), (Processor, "_fill")], ids=["survey", "claim"]
)
async def test_a_bug_with_one_item_parks_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: type, method: str
) -> None:
    original = getattr(where, method)

    def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        if any("bad.dcm" in str(one) for one in arguments):
            raise RecursionError("too deep")
        return original(self, *arguments, **options)

    monkeypatch.setattr(where, method, failing)
    async with inbox_rig(make_config(tmp_path)) as rig:
        await rig.register("ct")
        drop(tmp_path / "inbox/ct/bad.dcm", b"bad")
        drop(tmp_path / "inbox/ct/good.dcm", b"good")
        await eventually(
            lambda: len(list((tmp_path / "outbox/ct").glob("good.dcm-*"))) == 1,
            "the good one is delivered",
        )
        assert "internal error: RecursionError('too deep')" in await reason(rig)


async def reason(rig: InboxRig) -> str:
    """Why the one that waits waits."""
    items = await rig.until(lambda items: any(i.state is ItemState.PARKED for i in items))
    (waiting,) = [item for item in items if item.state is ItemState.PARKED]
    assert waiting.name == "bad.dcm"
    return waiting.reason


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
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one", "two"))
        for _ in range(3):
            job = await rig.job(pipeline, {"x": b"1"})
            assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        await emptied(device.runner)
    assert len(broken) == 1
