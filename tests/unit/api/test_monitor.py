"""`nvidia.clara.platform.node_monitor.Monitor` over its socket."""

from __future__ import annotations

from pathlib import Path

from served import NOON, YEAR_ONE, Gpus, served

from claraedge.gpu.telemetry import GpuReading, Memory
from claraedge.wire.nvidia.clara.platform.node_monitor.metrics_pb2 import MonitorGpuMetricsRequest
from claraedge.wire.nvidia.clara.platform.node_monitor.metrics_pb2_grpc import MonitorStub
from tests.rig.waiting import eventually, until_still

CARD = GpuReading(
    index=1,
    compute_utilization=0.5,
    memory=Memory(free=3000, used=1000),
    bar1=Memory(free=200, used=56),
)


async def test_every_figure_comes_as_it_is(folder: Path) -> None:
    async with served(folder, Gpus([CARD])) as it:
        call = MonitorStub(it.channel).GpuMetrics(MonitorGpuMetricsRequest(), timeout=10)
        message = await call.read()
        call.cancel()
    assert message.header.code == 0
    assert list(message.header.messages) == []
    (gpu,) = message.gpu_details
    assert gpu.device_id == 1
    assert gpu.timestamp.value == int(NOON) + YEAR_ONE
    data = gpu.data
    assert (data.memory_utilization, data.gpu_utilization) == (0.25, 0.5)
    assert (data.free_gpu_memory, data.used_gpu_memory) == (3000, 1000)
    assert (data.free_bar_1, data.used_bar_1) == (200, 56)


async def test_figures_that_are_unknown_are_left_out_and_named_in_the_header(folder: Path) -> None:
    async with served(folder, Gpus([GpuReading(index=0)])) as it:
        call = MonitorStub(it.channel).GpuMetrics(MonitorGpuMetricsRequest(), timeout=10)
        message = await call.read()
        call.cancel()
    (gpu,) = message.gpu_details
    assert gpu.HasField("data")
    assert gpu.data.ListFields() == []
    assert list(message.header.messages) == [
        f"gpu_details[0].data.{field.name}: unknown" for field in gpu.data.DESCRIPTOR.fields
    ]


async def test_without_a_gpu_each_message_is_empty(folder: Path) -> None:
    async with served(folder, Gpus(), interval=0.1) as it:
        call = MonitorStub(it.channel).GpuMetrics(MonitorGpuMetricsRequest(), timeout=10)
        for _ in range(3):
            message = await call.read()
            assert message.HasField("header")
            assert list(message.gpu_details) == []
        call.cancel()


async def test_it_continues_until_the_caller_goes_and_then_reads_nothing(folder: Path) -> None:
    async with served(folder, Gpus([CARD]), interval=0.1) as it:
        call = MonitorStub(it.channel).GpuMetrics(MonitorGpuMetricsRequest())
        await call.read()
        await eventually(lambda: it.gpus.reads >= 4, "the GPUs were read")
        call.cancel()
        await until_still(lambda: it.gpus.reads, "nothing is read any more", 0.5)


async def test_watchers_of_both_services_share_the_readings(folder: Path) -> None:
    async with served(folder, Gpus([CARD]), interval=30) as it:
        calls = [
            MonitorStub(it.channel).GpuMetrics(MonitorGpuMetricsRequest(), timeout=10)
            for _ in range(5)
        ]
        for call in calls:
            await call.read()
            call.cancel()
        assert it.gpus.reads == 1
