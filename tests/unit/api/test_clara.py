"""`nvidia.clara.platform.Clara` over its socket."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from served import NOON, YEAR_ONE, Gpus, Served, served

from claraedge import daemon
from claraedge.config import Config, GpuSettings, load_config
from claraedge.errors import ConfigurationError, UnavailableError
from claraedge.gpu.telemetry import GpuReading, Memory, PciAddress
from claraedge.runner.memory import MemoryRunner
from claraedge.wire.nvidia.clara.platform.clara_pb2 import (
    ClaraStopRequest,
    ClaraUtilizationRequest,
    ClaraUtilizationResponse,
    ClaraVersionRequest,
)
from claraedge.wire.nvidia.clara.platform.clara_pb2_grpc import ClaraStub
from tests.rig.waiting import eventually, until_still

MIB = 1024 * 1024
JOB = "c1" + "0" * 30
CONTAINER = "a" * 64

CARD = GpuReading(
    index=0,
    name="NVIDIA RTX A4000",
    pci=PciAddress(domain=0, bus=1, device=0),
    compute_utilization=0.25,
    memory=Memory(free=12000 * MIB, used=4000 * MIB),
    bar1=Memory(free=250 * MIB, used=6 * MIB),
    pids=(),
)


async def once(channel: grpc.aio.Channel) -> list[ClaraUtilizationResponse]:
    call = ClaraStub(channel).Utilization(ClaraUtilizationRequest(watch=False), timeout=10)
    return [message async for message in call]


async def test_one_answer_has_every_figure_and_ends_the_stream(folder: Path) -> None:
    async with served(folder, Gpus([CARD])) as it:
        (message,) = await once(it.channel)
    assert message.header.code == 0
    assert list(message.header.messages) == []
    (gpu,) = message.gpu_metrics
    assert gpu.node_id == "edge-1"
    assert gpu.pcie_id == 0x100  # 0000:01:00.0
    assert gpu.compute_utilization == 0.25
    assert (gpu.memory_free, gpu.memory_used, gpu.memory_utilization) == (12000, 4000, 0.25)
    assert gpu.timestamp.value == int(NOON) + YEAR_ONE
    assert list(gpu.process_details) == []


async def test_without_a_gpu_there_is_one_answer_with_its_header_and_no_metrics(
    folder: Path,
) -> None:
    async with served(folder, Gpus()) as it:
        (message,) = await once(it.channel)
    assert message.HasField("header")
    assert message.header.code == 0
    assert list(message.gpu_metrics) == []


async def test_figures_that_are_unknown_are_left_out_and_named_in_the_header(folder: Path) -> None:
    async with served(folder, Gpus([CARD, GpuReading(index=1, compute_utilization=0.0)])) as it:
        (message,) = await once(it.channel)
    assert list(message.header.messages) == [
        f"gpu_metrics[1].{field}: unknown"
        for field in (
            "pcie_id",
            "memory_free",
            "memory_used",
            "memory_utilization",
            "process_details",
        )
    ]
    known = {field.name for field, _ in message.gpu_metrics[1].ListFields()}
    assert known == {
        "node_id",
        "timestamp",
    }  # 0 is not sent either, but no message calls it unknown


async def test_a_process_in_an_operators_container_has_its_name_and_its_job(folder: Path) -> None:
    async with served(folder, Gpus([replace(CARD, pids=(7, 8))])) as it:
        it.process(7, CONTAINER)
        it.process(8, CONTAINER)
        it.running(CONTAINER, JOB, "segment")
        (message,) = await once(it.channel)
    (process,) = message.gpu_metrics[0].process_details
    assert (process.name, process.job_id.value) == ("segment", JOB)


async def test_processes_that_are_no_operators_are_left_out(folder: Path) -> None:
    async with served(folder, Gpus([replace(CARD, pids=(7, 8))])) as it:
        it.process(7, "e" * 64)
        it.running(CONTAINER, JOB, "segment")
        (message,) = await once(it.channel)
    assert list(message.gpu_metrics[0].process_details) == []
    assert list(message.header.messages) == []


async def test_a_watch_reports_each_interval_until_the_caller_goes(folder: Path) -> None:
    async with served(folder, Gpus([CARD]), interval=0.2) as it:
        call = ClaraStub(it.channel).Utilization(ClaraUtilizationRequest(watch=True))
        moments = []
        async for message in call:
            assert message.header.code == 0
            assert len(message.gpu_metrics) == 1
            moments.append(time.monotonic())
            if len(moments) == 4:
                break
        call.cancel()
        assert 0.39 <= moments[-1] - moments[0] < 5
        await _silence(it)


async def test_a_watch_shows_what_has_changed(folder: Path) -> None:
    async with served(folder, Gpus([]), interval=0.1) as it:
        call = ClaraStub(it.channel).Utilization(ClaraUtilizationRequest(watch=True))
        assert len((await call.read()).gpu_metrics) == 0
        it.gpus.readings = [CARD]
        async with asyncio.timeout(10):
            while not (await call.read()).gpu_metrics:
                pass
        call.cancel()


async def test_a_hundred_watchers_cost_one_reading_an_interval(folder: Path) -> None:
    async with served(folder, Gpus([CARD]), interval=0.5) as it:

        async def watch(delay: float) -> int:
            await asyncio.sleep(delay)
            seen = 0
            async for _ in it.sampler.watch():
                seen += 1
                if seen == 4:
                    break
            return seen

        first = asyncio.get_running_loop().time() // 0.5
        seen = await asyncio.gather(*(watch(number * 0.005) for number in range(100)))
        steps = asyncio.get_running_loop().time() // 0.5 - first + 1
    assert seen == [4] * 100
    assert 4 <= it.gpus.reads <= steps


async def test_nothing_is_read_while_nobody_asks(folder: Path) -> None:
    async with served(folder, Gpus([CARD]), interval=0.1) as it:
        assert it.gpus.reads == 0
        await once(it.channel)
        assert it.gpus.reads == 1
        await _silence(it)
    assert it.gpus.closes == 1


async def test_many_who_ask_at_once_share_one_reading(folder: Path) -> None:
    async with served(folder, Gpus([CARD]), interval=2) as it:
        answers = await asyncio.gather(*(once(it.channel) for _ in range(30)))
    assert [len(messages) for messages in answers] == [1] * 30
    assert it.gpus.reads == 1


async def test_a_driver_that_hangs_is_an_error_and_a_caller_that_leaves_harms_nobody(
    folder: Path,
) -> None:
    hangs = threading.Event()
    try:
        async with served(folder, Gpus([CARD], hangs=hangs), interval=0.2, patience=0.5) as it:
            caller = asyncio.create_task(it.sampler.sample())
            await eventually(lambda: it.gpus.reads == 1, "the GPUs were read")
            caller.cancel()
            (message,) = await once(it.channel)
            assert message.header.code == UnavailableError.code
            assert "has not answered" in message.header.messages[0]
            assert it.gpus.reads == 1
            hangs.set()
            async with asyncio.timeout(10):
                while (await once(it.channel))[0].header.code:
                    pass
    finally:
        hangs.set()


async def test_stop_ends_the_services_and_the_daemon_continues(folder: Path) -> None:
    async with served(folder, Gpus()) as it:
        stub = ClaraStub(it.channel)
        it.services.running = 2
        for _ in range(2):
            answer = await stub.Stop(ClaraStopRequest(), timeout=10)
            assert answer.header.code == 0
        assert it.services.stopped == [2, 0]
        assert (await stub.Version(ClaraVersionRequest(), timeout=10)).header.code == 0


async def test_a_stop_that_fails_is_reported(folder: Path) -> None:
    async with served(folder, Gpus()) as it:
        it.services.trouble = UnavailableError("the inference server does not end")
        answer = await ClaraStub(it.channel).Stop(ClaraStopRequest(), timeout=10)
    assert answer.header.code == UnavailableError.code
    assert list(answer.header.messages) == ["the inference server does not end"]


async def test_version_is_that_of_the_platform(folder: Path) -> None:
    async with served(folder, Gpus()) as it:
        answer = await ClaraStub(it.channel).Version(ClaraVersionRequest(), timeout=10)
    version = answer.version
    assert (version.major, version.minor, version.patch) == (0, 8, 1)
    assert version.label.startswith("claraedge-")


async def test_the_daemon_answers_at_the_configured_interval(folder: Path) -> None:
    @asynccontextmanager
    async def no_containers(_config: Config) -> AsyncIterator[MemoryRunner]:
        yield MemoryRunner()

    config = Config(
        state_dir=folder / "state",
        runtime_dir=folder / "run",
        gpu=GpuSettings(interval_seconds=0.2),
    )
    service = asyncio.create_task(daemon.serve(config, no_containers))
    try:
        await eventually(lambda: service.done() or config.socket.exists(), "it serves")
        async with grpc.aio.insecure_channel(f"unix:{config.socket}") as channel:
            (message,) = await once(channel)
            assert message.header.code == 0
            call = ClaraStub(channel).Utilization(ClaraUtilizationRequest(watch=True), timeout=10)
            await call.read()
            began = time.monotonic()
            for _ in range(3):
                await call.read()
            assert 0.39 <= time.monotonic() - began < 1.8  # by default it would be 6 s
            assert (await ClaraStub(channel).Stop(ClaraStopRequest(), timeout=10)).header.code == 0
            assert len(await once(channel)) == 1
            call.cancel()
    finally:
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)


@pytest.mark.parametrize("seconds", ["0", "0.05", "-1", "4000", '"often"'])
def test_an_interval_that_makes_no_sense_is_refused(folder: Path, seconds: str) -> None:
    file = folder / "claraedge.toml"
    file.write_text(f"[gpu]\ninterval_seconds = {seconds}\n")
    with pytest.raises(ConfigurationError, match=r"gpu\.interval_seconds"):
        load_config(file, {}, {})


async def _silence(it: Served) -> None:
    """Nothing is read any more: for three intervals, once what was under way has ended."""
    await until_still(lambda: it.gpus.reads, "nothing is read any more", 0.7)
