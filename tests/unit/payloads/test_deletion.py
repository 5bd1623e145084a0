"""How payloads and files go: at once for clients, then from the disk, whatever comes between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claraedge.clock import SystemClock
from claraedge.errors import (
    AmbiguousFileNameError,
    FileNotFoundInPayloadError,
    PayloadNotFoundError,
    PayloadStateError,
    RunnerUnavailableError,
)
from claraedge.ids import new_id
from claraedge.payloads.payloads import Payloads
from tests.rig.device import Device, copy
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path)
    device.runner.add_image("copy:1", copy)
    return device


async def reusable(rig: EngineRig, *names: str) -> str:
    payload = (await rig.payloads.create({"kind": "test"})).id
    async with await rig.payloads.upload(payload) as upload:
        for name in names:
            await upload.write(name, 0, name.encode())
        await upload.commit()
    return payload


def on_disk(device: Device) -> list[str]:
    return sorted(
        [p.name for p in (device.state / "payloads").iterdir()]
        + [p.name for p in (device.state / "removed").iterdir()]
    )


async def test_a_reusable_payload_is_gone_with_its_bytes_and_metadata(device: Device) -> None:
    async with engine_rig(device) as rig:
        payload = await reusable(rig, "a", "b/c")
        await rig.payloads.delete(payload)
        assert on_disk(device) == []
        for call in (
            rig.payloads.get(payload),
            rig.payloads.open(payload, "a"),
            rig.payloads.remove_file(payload, "a"),
            rig.payloads.add_metadata(payload, {"a": "b"}),
            rig.payloads.remove_metadata(payload, ["a"]),
            rig.payloads.upload(payload),
            rig.payloads.delete(payload),
        ):
            with pytest.raises(PayloadNotFoundError, match=payload):
                await call
        rows = await rig.database.read(lambda tx: tx.rows("metadata", owner=payload))
        assert rows == []


async def test_an_open_download_continues_after_the_deletion(device: Device) -> None:
    async with engine_rig(device) as rig:
        payload = await reusable(rig, "a")
        _, content = await rig.payloads.open(payload, "a")
        await rig.payloads.delete(payload)
        with content:
            assert content.read() == b"a"


async def test_an_upload_that_ends_after_the_deletion_is_refused(device: Device) -> None:
    async with engine_rig(device) as rig:
        payload = await reusable(rig, "a")
        async with await rig.payloads.upload(payload) as upload:
            await upload.write("late", 0, b"1")
            await rig.payloads.delete(payload)
            with pytest.raises(PayloadNotFoundError):
                await upload.commit()
        assert on_disk(device) == []
        assert list((device.state / "uploads").iterdir()) == []


async def test_a_jobs_payload_is_kept_until_the_job_has_stopped(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one"))
        waiting = await rig.job(pipeline, {"x": b"1"}, start=False)
        with pytest.raises(PayloadStateError, match="has not stopped"):
            await rig.payloads.delete(waiting.payload)
        running = await rig.job(pipeline, {"x": b"1"})
        await rig.until_runs("one")
        with pytest.raises(PayloadStateError, match="has not stopped"):
            await rig.payloads.delete(running.payload)
        device.runner.release("one")
        await rig.end(running.id)
        await rig.payloads.delete(running.payload)
        with pytest.raises(PayloadNotFoundError):
            await rig.payloads.get(running.payload)
        assert (await rig.jobs.get(running.id)).payload == running.payload
        assert on_disk(device) == [waiting.payload]


async def test_a_jobs_payload_is_kept_until_its_results_are_delivered(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"}, start=False)
        await rig.database.write(
            lambda tx: tx.run("add_delivery", job=job.id, folder="f", outputs="[]", item=None)
        )
        await rig.jobs.start(job.id, {})
        await rig.end(job.id)
        await rig.database.write(
            lambda tx: tx.run("delivery_parked", job=job.id, reason="the outbox is read-only")
        )
        with pytest.raises(PayloadStateError, match=r"not delivered yet .the outbox is read-only"):
            await rig.payloads.delete(job.payload)
        await rig.database.write(
            lambda tx: tx.run("delivery_done", job=job.id, path="/outbox/f", size=1)
        )
        await rig.payloads.delete(job.payload)
        assert on_disk(device) == []


async def test_what_a_crash_left_between_commit_and_removal_goes_after_the_next_start(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_rig(device) as rig:
        payload = await reusable(rig, "a")
        kept = await reusable(rig, "kept")

        async def killed(_self: Payloads, _payloads: object) -> None:
            raise RuntimeError("killed")

        with monkeypatch.context() as patch:
            patch.setattr(Payloads, "discard", killed)
            with pytest.raises(RuntimeError, match="killed"):
                await rig.payloads.delete(payload)
        assert on_disk(device) == sorted([payload, kept])
    async with engine_rig(device) as rig:
        await rig.payloads.empty()
        assert on_disk(device) == [kept]
        assert await rig.listing(kept) == ["kept"]


async def test_leftovers_of_other_users_go_through_the_runner_and_wait_for_it(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = False
    reclaimed: list[Path] = []
    real = os.geteuid()

    async def reclaim(folder: Path) -> None:
        if not answers:
            raise RunnerUnavailableError("Podman does not answer")
        reclaimed.append(folder)
        monkeypatch.setattr(os, "geteuid", lambda: real)

    async with engine_rig(device) as rig:
        payloads = Payloads(rig.database, rig.payloads.tree, SystemClock(), new_id, reclaim)
        payload = await reusable(rig, "a")
        monkeypatch.setattr(os, "geteuid", lambda: real + 1)  # so all of it is another user's
        await payloads.delete(payload)
        with pytest.raises(PayloadNotFoundError):
            await payloads.get(payload)
        assert [name.split("-")[0] for name in on_disk(device)] == [payload]
        answers = True
        await payloads.empty()
        assert [folder.name.split("-")[0] for folder in reclaimed] == [payload]
        assert on_disk(device) == []


async def test_remove_finds_one_file_by_the_name_rules_of_download(device: Device) -> None:
    async with engine_rig(device) as rig:
        payload = await reusable(rig, "Scan.dcm", "scan.dcm", "other", "a/b")
        with pytest.raises(AmbiguousFileNameError):
            await rig.payloads.remove_file(payload, "SCAN.dcm")
        with pytest.raises(FileNotFoundInPayloadError):
            await rig.payloads.remove_file(payload, "a")
        await rig.payloads.remove_file(payload, "/scan.dcm")
        await rig.payloads.remove_file(payload, "./OTHER")
        assert await rig.listing(payload) == ["Scan.dcm", "a/b"]
        blobs = device.state / "payloads" / payload / "blobs"
        assert len(list(blobs.iterdir())) == 2


async def test_nothing_is_removed_from_a_payload_whose_job_was_started(device: Device) -> None:
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one"))
        waiting = await rig.job(pipeline, {"x": b"1", "y": b"2"}, start=False)
        await rig.payloads.remove_file(waiting.payload, "input/x")
        await rig.jobs.start(waiting.id, {})
        await rig.end(waiting.id)
        assert await rig.listing(waiting.payload) == ["input/y", "operators/one/y"]
        with pytest.raises(PayloadStateError, match="was started"):
            await rig.payloads.remove_file(waiting.payload, "input/y")


async def test_only_reusable_payloads_have_metadata(device: Device) -> None:
    async with engine_rig(device) as rig:
        payload = await reusable(rig, "a")
        assert await rig.payloads.add_metadata(payload, {"b": "2"}) == {"kind": "test", "b": "2"}
        assert await rig.payloads.remove_metadata(payload, ["KIND", "none"]) == {"b": "2"}
        job = await rig.job(await rig.register(chain("one")), start=False)
        with pytest.raises(PayloadStateError, match="only reusable"):
            await rig.payloads.add_metadata(job.payload, {"b": "2"})
        with pytest.raises(PayloadStateError, match="only reusable"):
            await rig.payloads.remove_metadata(job.payload, ["b"])
