"""Serves `claraedge.v1.Bags`."""

from __future__ import annotations

from collections.abc import Mapping

from claraedge import memory
from claraedge.api.appliance import time_of
from claraedge.api.translate import MAX_MESSAGE
from claraedge.bags.bags import Bags
from claraedge.bags.model import Bag, BagJobStatus, BagJobView, BagStatus, TimeRange
from claraedge.errors import InvalidRequestError
from claraedge.packages.bag_jobs import (
    BagCompression,
    BagJobDefinition,
    BagUpload,
    RecordOptions,
)
from claraedge.wire.claraedge.v1 import bags_pb2 as wire

_JOB_STATUSES: Mapping[BagJobStatus, wire.BagJobStatus.ValueType] = {
    BagJobStatus.STARTING: wire.BAG_JOB_STATUS_STARTING,
    BagJobStatus.RUNNING: wire.BAG_JOB_STATUS_RUNNING,
    BagJobStatus.ERROR: wire.BAG_JOB_STATUS_ERROR,
    BagJobStatus.STOPPING: wire.BAG_JOB_STATUS_STOPPING,
    BagJobStatus.STOPPED: wire.BAG_JOB_STATUS_STOPPED,
}
_STATUSES: Mapping[BagStatus, wire.BagStatus.ValueType] = {
    BagStatus.STARTING: wire.BAG_STATUS_STARTING,
    BagStatus.UPLOADING: wire.BAG_STATUS_UPLOADING,
    BagStatus.UPLOADED: wire.BAG_STATUS_UPLOADED,
    BagStatus.ERROR: wire.BAG_STATUS_ERROR,
}
_UPLOADS: Mapping[BagUpload, wire.BagUpload.ValueType] = {
    BagUpload.ON_STOP: wire.BAG_UPLOAD_ON_STOP,
    BagUpload.CONTINUOUS: wire.BAG_UPLOAD_CONTINUOUS,
    BagUpload.ON_DEMAND: wire.BAG_UPLOAD_ON_DEMAND,
}
_COMPRESSIONS: Mapping[BagCompression, wire.BagCompression.ValueType] = {
    BagCompression.NONE: wire.BAG_COMPRESSION_UNKNOWN,
    BagCompression.LZ4: wire.BAG_COMPRESSION_LZ4,
    BagCompression.BZ2: wire.BAG_COMPRESSION_BZ2,
}


class BagsServicer:
    """Implements `claraedge.v1.Bags`."""

    def __init__(self, bags: Bags) -> None:
        self._bags = bags

    async def StartJob(self, request: wire.StartBagJobRequest) -> wire.BagJob:
        definition = bag_job_definition(request.job)
        return _job(await self._bags.start(request.deployment, request.component, definition))

    async def StopJob(self, request: wire.StopBagJobRequest) -> wire.BagJob:
        return _job(await self._bags.stop(request.job))

    async def ListJobs(self, request: wire.ListBagJobsRequest) -> wire.ListBagJobsResponse:
        """Answers Bags.ListJobs. Raises InvalidRequestError if no message can hold the answer."""
        statuses = {status for status, n in _JOB_STATUSES.items() if n in request.statuses}
        response, size = wire.ListBagJobsResponse(), 0
        for view in await self._bags.jobs(request.deployment, statuses):
            message = _job(view)
            size = _taken(size, message.ByteSize(), "bag jobs")
            response.jobs.append(message)
        return response

    async def GetJob(self, request: wire.GetBagJobRequest) -> wire.BagJob:
        return _job(await self._bags.job(request.job))

    async def UpdateJob(self, request: wire.UpdateBagJobRequest) -> wire.BagJob:
        uploads = {number: upload for upload, number in _UPLOADS.items()}
        within = None
        if request.HasField("range"):
            within = TimeRange(start=request.range.start, end=request.range.end)
        return _job(await self._bags.update(request.job, uploads.get(request.upload), within))

    async def List(self, request: wire.ListBagsRequest) -> wire.ListBagsResponse:
        """Answers Bags.List. Raises InvalidRequestError if no message can hold the answer."""
        statuses = {status for status, number in _STATUSES.items() if number in request.statuses}
        response, size = wire.ListBagsResponse(), 0
        for bag in await self._bags.bags(request.job, request.deployment, statuses):
            message = _bag(bag)
            size = _taken(size, message.ByteSize(), "bags")
            response.bags.append(message)
        return response

    async def Get(self, request: wire.GetBagRequest) -> wire.Bag:
        return _bag(await self._bags.bag(request.bag))

    async def Delete(self, request: wire.DeleteBagRequest) -> wire.Bag:
        return _bag(await self._bags.delete(request.bag))


def bag_job_definition(message: wire.BagJobDefinition) -> BagJobDefinition:
    """Converts the message of a definition to its value."""
    record = message.record
    uploads = {number: upload for upload, number in _UPLOADS.items()}
    compressions = {number: kind for kind, number in _COMPRESSIONS.items()}
    return BagJobDefinition(
        name=message.name,
        record=RecordOptions(
            all_topics=record.all_topics,
            topics=tuple(record.topics),
            include=tuple(record.include),
            exclude=record.exclude,
            exclude_topics=tuple(record.exclude_topics),
            node=record.node,
            max_messages=record.max_messages,
            compression=compressions.get(record.compression, BagCompression.NONE),
            split_size=record.split_size,
            split_minutes=record.split_minutes,
            max_splits=record.max_splits,
            chunk_size=record.chunk_size,
        ),
        upload=uploads.get(message.upload, BagUpload.ON_STOP),
        executable=message.executable,
    )


def _taken(size: int, more: int, what: str) -> int:
    memory.take(more)
    if size + more + 8 > MAX_MESSAGE:
        raise InvalidRequestError(
            f"the {what} are larger than {MAX_MESSAGE} bytes together; select those of one job or"
            " deployment"
        )
    return size + more + 8


def _definition(job: BagJobDefinition) -> wire.BagJobDefinition:
    record = job.record
    return wire.BagJobDefinition(
        name=job.name,
        record=wire.RecordOptions(
            all_topics=record.all_topics,
            topics=record.topics,
            include=record.include,
            exclude=record.exclude,
            exclude_topics=record.exclude_topics,
            node=record.node,
            max_messages=record.max_messages,
            compression=_COMPRESSIONS[record.compression],
            split_size=record.split_size,
            split_minutes=record.split_minutes,
            max_splits=record.max_splits,
            chunk_size=record.chunk_size,
        ),
        upload=_UPLOADS[job.upload],
        executable=job.executable,
    )


def _job(view: BagJobView) -> wire.BagJob:
    job = view.job
    return wire.BagJob(
        id=job.id,
        name=job.name,
        deployment_id=job.deployment,
        deployment_name=job.deployment_name,
        package_id=job.package,
        component_id=job.component,
        component_name=job.component_name,
        instance_id=job.instance,
        status=_JOB_STATUSES[view.status],
        reason=view.reason,
        definition=_definition(job.definition),
        payload_id=job.payload,
        created=time_of(job.created),
        ended=None if job.ended is None else time_of(job.ended),
    )


def _bag(bag: Bag) -> wire.Bag:
    return wire.Bag(
        id=bag.id,
        job_id=bag.job,
        name=bag.name,
        payload_id=bag.payload,
        status=_STATUSES[bag.status],
        reason=bag.reason,
        size=bag.size,
        started=None if bag.started is None else time_of(bag.started),
        ended=None if bag.ended is None else time_of(bag.ended),
        messages=bag.messages,
        created=time_of(bag.created),
    )
