"""The resources of this device, in the types that definitions, the engine and services use."""

from __future__ import annotations

import os

from claraedge.config import Config
from claraedge.deployments.device import architecture
from claraedge.deployments.model import DeviceFacts
from claraedge.gpu import cdi
from claraedge.gpu.sizes import GpuSizes
from claraedge.gpu.tegra import Tegra
from claraedge.gpu.usable import UsableGpus
from claraedge.jobs.scheduling.scheduler import Resources
from claraedge.pipelines.checks.device import Device


def device(config: Config) -> Device:
    """Returns the total resources of this machine, for checking definitions. Blocks."""
    return Device(cores=_cores(), memory=memory(), gpus=len(gpus(config)))


def gpus(config: Config) -> tuple[str, ...]:
    """Returns the CDI names of all GPUs of this machine, usable or not. Blocks."""
    return cdi.devices(config.engine.cdi_kind)


def operators(config: Config) -> int:
    """Returns how many operators may run at the same time."""
    return config.engine.max_operators or 2 * _cores()


def resources(config: Config, usable: UsableGpus) -> Resources:
    """Returns the resources that operators may use."""
    return Resources(
        operators=operators(config),
        cores=_cores(),
        memory=memory(),
        gpus=lambda: gpus(config),
        gpu_faults=usable.faults,
        gpu_memory=GpuSizes(config.engine.gpu_memory_mb).smallest,
        unified=Tegra().present(),
    )


def facts(config: Config, *, unstated_memory: int) -> DeviceFacts:
    """Returns what plans of deployments have to fit on this machine. Blocks."""
    return DeviceFacts(
        architecture=architecture(),
        memory=memory(),
        gpus=len(gpus(config)),
        host_folders=tuple(str(folder) for folder in config.deployments.host_folders),
        unstated_memory=unstated_memory,
        pulls=config.images.pull != "never",
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def memory() -> int:
    """Returns the system memory in MiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
