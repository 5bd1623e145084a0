"""Collects what the parts of the daemon say about it: status, metrics, settings, usage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from claraedge import __version__
from claraedge.api.appliance import disk_of, removed_of, settings_of, time_of, usage_of
from claraedge.blocking import in_thread
from claraedge.config import origins
from claraedge.daemon import device
from claraedge.daemon.deploying import unstated_memory
from claraedge.daemon.foundation import Foundation
from claraedge.daemon.parts import Parts
from claraedge.gpu.sampler import Sampler
from claraedge.gpu.tegra import Tegra
from claraedge.metrics.exposition import Exposition
from claraedge.metrics.figures import Sources
from claraedge.pipelines.requests import Profile, of_operator
from claraedge.pipelines.tmpfs import TmpfsRule
from claraedge.usage.history import ReservedAmounts
from claraedge.usage.usage import DeviceUsage
from claraedge.wire.claraedge.v1 import appliance_pb2


async def status(parts: Parts) -> appliance_pb2.StatusResponse:
    """Returns the counts, the folders, the resources, and warnings about what blocks work."""
    base, config = parts.foundation, parts.foundation.config
    counts = await base.database.read(lambda tx: tx.row("status_counts"))
    assert counts is not None
    faults = await parts.gpus.faults()
    return appliance_pb2.StatusResponse(
        version=__version__,
        instance=base.instance,
        started=time_of(base.started),
        state_dir=str(config.state_dir),
        inbox_dir=str(config.inbox_dir),
        outbox_dir=str(config.outbox_dir),
        failed_dir=str(config.failed_dir),
        pipelines_dir=str(config.pipelines_dir),
        images_dir=str(config.images_dir),
        jobs_pending=counts["pending"],
        jobs_running=counts["running"],
        items_parked=counts["parked"] + parts.inbox.parked(),
        items_failed=counts["failed"],
        outbox_results=counts["results"],
        outbox_bytes=counts["result_bytes"],
        failed_results=counts["failures"],
        failed_bytes=counts["failure_bytes"],
        originals=counts["originals"],
        originals_bytes=counts["original_bytes"],
        originals_dir=str(config.originals_dir),
        podman_version=await base.runner.version(),
        gpus=len([gpu for gpu in await in_thread(device.gpus, config) if gpu not in faults]),
        warnings=[
            *parts.foundation.database.warnings(),
            *await in_thread(parts.unknown.warnings),
            *parts.foundation.suspects.warnings(),
            *parts.engine.warnings(),
            *parts.log_caps.warnings(),
            *parts.disk_guard.warnings(),
            *parts.retention.warnings(),
            *parts.payloads.warnings(),
            *parts.models.warnings(),
            *parts.delivery.warnings(),
            *parts.expiry.warnings(),
            *parts.pipeline_folder.warnings(),
            *parts.inbox.warnings(),
            *parts.side_loading.warnings(),
            *parts.images.warnings(),
            *await parts.enforcement.warnings(),
            *await parts.deployments.warnings(),
            *(f"{gpu} cannot be used: {why}" for gpu, why in faults.items()),
            *await parts.surroundings.warnings(),
        ],
        disks=map(disk_of, parts.disks.figures()),
        removed=removed_of(parts.retention.removed, parts.retention.last),
    )


def exposition(parts: Parts, sampler: Sampler) -> Exposition:
    """Returns what answers requests for metrics."""
    base = parts.foundation
    return Exposition(
        Sources(
            version=__version__,
            instance=base.instance,
            observations=parts.observations,
            database=base.database,
            jobs=parts.jobs.counts,
            items=parts.inbox.counts,
            deployments=parts.deployments.counts,
            deployment_restarts=lambda: parts.deployments.restarts,
            disks=parts.disks.figures,
            gpus=sampler,
            restarts=lambda: parts.services.restarts,
            is_paused=parts.engine.is_paused,
        )
    )


async def settings(base: Foundation) -> appliance_pb2.SettingsResponse:
    """Returns all settings, and where each comes from."""
    found = await in_thread(origins.settings, base.config, base.origins)
    return settings_of(found, base.origins.file)


def usage(parts: Parts, sampler: Sampler) -> Callable[[], Awaitable[appliance_pb2.UsageResponse]]:
    """Returns what answers how much of the device is reserved and in use."""
    base, config = parts.foundation, parts.foundation.config
    profile = Profile(config.engine.requests_profile)
    rule = TmpfsRule(shared_memory=None, scratch=None)  # sizes within the memory of an operator
    computed = DeviceUsage(
        base.database,
        base.clock,
        sampler,
        ReservedAmounts(
            of_operator=lambda operator: of_operator(operator, profile, rule),
            of_services=parts.services.reservations,
            unstated=unstated_memory(config),
            unified=Tegra().present(),
        ),
        partial(device.gpus, config),
    )

    async def answer() -> appliance_pb2.UsageResponse:
        return usage_of(await computed.used(), device.memory())

    return answer
