"""Serves `nvidia.clara.platform.Clara`."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing

from claraedge import __version__
from claraedge.api.answers import ok
from claraedge.api.translate import fill, identifier, timestamp
from claraedge.api.transport.slots import endless
from claraedge.gpu.sampler import Sample, Sampler
from claraedge.gpu.telemetry import GpuReading
from claraedge.wire.nvidia.clara.platform import clara_pb2 as wire
from claraedge.wire.nvidia.clara.platform import common_pb2

_log = logging.getLogger(__name__)

#: The release of Clara Deploy whose API this is; original clients compare their version with it.
PLATFORM = (0, 8, 1)

#: Bytes of a megabyte as the tools of the GPU driver count it.
_MB = 1024 * 1024


class ClaraServicer:
    """Implements Stop, Utilization, Version.

    `node` is this machine's name. `stop_services` ends the services of pipelines and the inference
    server, once the jobs that use them have ended, and returns how many it ended.
    """

    def __init__(
        self, sampler: Sampler, node: str, stop_services: Callable[[], Awaitable[int]]
    ) -> None:
        self._sampler = sampler
        self._node = node
        self._stop_services = stop_services

    async def Stop(self, request: wire.ClaraStopRequest) -> wire.ClaraStopResponse:
        count = await self._stop_services()
        _log.info("services stopped by a client", extra={"count": count})
        return wire.ClaraStopResponse(header=ok())

    @endless
    async def Utilization(
        self, request: wire.ClaraUtilizationRequest
    ) -> AsyncGenerator[wire.ClaraUtilizationResponse, None]:
        """Yields one message, or with `watch` one per interval until the caller disconnects.

        Unknown figures are left out, and the messages of the header name them. Only those processes
        on a GPU are listed that are operators: the watch of the original client fails on a process
        without a job.
        """
        if not request.watch:
            yield self._message(await self._sampler.sample())
            return
        async with aclosing(self._sampler.watch()) as samples:
            async for sample in samples:
                yield self._message(sample)

    async def Version(self, request: wire.ClaraVersionRequest) -> wire.ClaraVersionResponse:
        major, minor, patch = PLATFORM
        return wire.ClaraVersionResponse(
            header=ok(),
            version=common_pb2.Version(
                major=major, minor=minor, patch=patch, label=f"claraedge-{__version__}"
            ),
        )

    def _message(self, sample: Sample) -> wire.ClaraUtilizationResponse:
        response = wire.ClaraUtilizationResponse()
        unknown: list[str] = []
        for position, (gpu, operators) in enumerate(sample.gpus):
            place = f"gpu_metrics[{position}]"
            metrics = response.gpu_metrics.add(node_id=self._node, timestamp=timestamp(sample.time))
            unknown += fill(metrics, _figures(gpu), place)
            for operator in operators:
                metrics.process_details.add(name=operator.name, job_id=identifier(operator.job))
            if gpu.pids is None:
                unknown.append(f"{place}.process_details: unknown")
        response.header.CopyFrom(ok(*unknown))
        return response


def _figures(gpu: GpuReading) -> Mapping[str, float | None]:
    memory = gpu.memory
    return {
        "pcie_id": gpu.pci.number if gpu.pci else None,
        "compute_utilization": gpu.compute_utilization,
        "memory_free": memory.free // _MB if memory else None,
        "memory_used": memory.used // _MB if memory else None,
        "memory_utilization": memory.utilization if memory else None,
    }
