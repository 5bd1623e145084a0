"""Serves `nvidia.clara.platform.node_monitor.Monitor`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from claraedge.api.answers import ok
from claraedge.api.translate import fill, timestamp
from claraedge.api.transport.slots import endless
from claraedge.gpu.sampler import Sample, Sampler
from claraedge.gpu.telemetry import GpuReading
from claraedge.wire.nvidia.clara.platform.node_monitor import metrics_pb2 as wire


class MonitorServicer:
    """Implements GpuMetrics: the figures of each interval until the caller disconnects.

    Memory is in bytes. Unlike that of Clara.Utilization, the request has no field for a single
    answer: a client that wants one reads one message and cancels. Unknown figures are left out, and
    the header names them.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    @endless
    async def GpuMetrics(
        self, request: wire.MonitorGpuMetricsRequest
    ) -> AsyncGenerator[wire.MonitorGpuMetricsResponse, None]:
        async with aclosing(self._sampler.watch()) as samples:
            async for sample in samples:
                yield _message(sample)


def _message(sample: Sample) -> wire.MonitorGpuMetricsResponse:
    response = wire.MonitorGpuMetricsResponse()
    unknown: list[str] = []
    for position, (gpu, _) in enumerate(sample.gpus):
        details = response.gpu_details.add(device_id=gpu.index, timestamp=timestamp(sample.time))
        details.data.SetInParent()
        unknown += fill(details.data, _figures(gpu), f"gpu_details[{position}].data")
    response.header.CopyFrom(ok(*unknown))
    return response


def _figures(gpu: GpuReading) -> Mapping[str, float | None]:
    memory, bar1 = gpu.memory, gpu.bar1
    return {
        "memory_utilization": memory.utilization if memory else None,
        "gpu_utilization": gpu.compute_utilization,
        "free_bar_1": bar1.free if bar1 else None,
        "used_bar_1": bar1.used if bar1 else None,
        "free_gpu_memory": memory.free if memory else None,
        "used_gpu_memory": memory.used if memory else None,
    }
