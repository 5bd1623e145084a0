"""Collects the status of the daemon from its parts, for `claraedge status` and for `/metrics`."""

from __future__ import annotations

from claraedge import __version__
from claraedge.api.appliance import disk_of, removed_of, time_of
from claraedge.blocking import in_thread
from claraedge.daemon import device
from claraedge.daemon.parts import Parts
from claraedge.gpu.sampler import Sampler
from claraedge.metrics.exposition import Exposition
from claraedge.metrics.figures import Sources
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
