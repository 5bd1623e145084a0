"""Calls of the Clara service about the machine: utilization of GPUs, and the stop of services.

Every call also raises what the methods of `Connection` raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from claraedge.client.connection import HEADER, Connection
from claraedge.client.values import Value, moment
from claraedge.wire.nvidia.clara.platform import clara_pb2 as pb
from claraedge.wire.nvidia.clara.platform.clara_pb2_grpc import ClaraStub

#: A message in the header by which the daemon names a figure that it left out.
_UNKNOWN = re.compile(r"gpu_metrics\[(\d+)\]\.(\w+): unknown")


class GpuUser(Value, frozen=True, kw_only=True):
    """A process that uses a GPU. `job_id` is empty for a process of the platform itself."""

    name: str
    job_id: str


class GpuUtilization(Value, frozen=True, kw_only=True):
    """The figures of one GPU at one point in time. None means unknown to the daemon."""

    node: str
    pci: str | None
    """PCI address, such as `0000:01:00.0`."""
    compute_utilization: float | None
    """A fraction, 0 to 1."""
    memory_used: int | None
    """MiB."""
    memory_free: int | None
    """MiB."""
    memory_utilization: float | None
    """A fraction, 0 to 1."""
    users: tuple[GpuUser, ...] | None
    time: datetime | None


def utilization(connection: Connection, *, watch: bool) -> Iterator[tuple[GpuUtilization, ...]]:
    """Yields the figures of all GPUs once, or with `watch` until the caller stops reading."""
    replies = connection.stream(
        ClaraStub(connection.channel).Utilization,
        pb.ClaraUtilizationRequest(header=HEADER, watch=watch),
    )
    for reply in replies:
        unknown = {
            (int(found[1]), found[2])
            for message in reply.header.messages
            if (found := _UNKNOWN.fullmatch(message))
        }
        yield tuple(
            _gpu(gpu, frozenset(field for index, field in unknown if index == position))
            for position, gpu in enumerate(reply.gpu_metrics)
        )


def stop(connection: Connection) -> None:
    """Ends the services of pipelines and the inference server; jobs and the daemon keep running."""
    connection.unary(ClaraStub(connection.channel).Stop, pb.ClaraStopRequest(header=HEADER))


def _gpu(
    gpu: pb.ClaraUtilizationResponse.GpuUtilization, unknown: frozenset[str]
) -> GpuUtilization:
    def known(field: str) -> bool:
        return field not in unknown

    users = tuple(GpuUser(name=p.name, job_id=p.job_id.value) for p in gpu.process_details)
    return GpuUtilization(
        node=gpu.node_id,
        pci=_address(gpu.pcie_id) if known("pcie_id") else None,
        compute_utilization=gpu.compute_utilization if known("compute_utilization") else None,
        memory_used=gpu.memory_used if known("memory_used") else None,
        memory_free=gpu.memory_free if known("memory_free") else None,
        memory_utilization=gpu.memory_utilization if known("memory_utilization") else None,
        users=users if known("process_details") else None,
        time=moment(gpu.timestamp),
    )


def _address(number: int) -> str:
    """Formats a PCI address: 16 bits domain, 8 bits bus, 5 bits device, 3 bits function."""
    bus, device, function = number >> 8 & 0xFF, number >> 3 & 0x1F, number & 0x7
    return f"{number >> 16:04x}:{bus:02x}:{device:02x}.{function}"
