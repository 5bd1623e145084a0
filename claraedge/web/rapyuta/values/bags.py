"""Reads what the SDK sends about ROS bags, and writes jobs and bags as the objects that it reads.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec
from google.protobuf.json_format import ParseDict

from claraedge.packages.bag_jobs import BagCompression, BagUpload, read_definition
from claraedge.web.http.failures import excerpt, invalid
from claraedge.web.rapyuta.values.words import USER
from claraedge.wire.claraedge.v1 import bags_pb2 as wire
from claraedge.wire.claraedge.v1 import deployments_pb2

_Object: TypeAlias = dict[str, object]
_DEVICE = "Device"
#: What the SDK sends by default; on one disk nothing is uploaded, so it has no effect.
_RATE = 1 << 20

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
JOB_STATUSES: Mapping[wire.BagJobStatus.ValueType, str] = {
    wire.BAG_JOB_STATUS_STARTING: "Starting",
    wire.BAG_JOB_STATUS_RUNNING: "Running",
    wire.BAG_JOB_STATUS_ERROR: "Error",
    wire.BAG_JOB_STATUS_STOPPING: "Stopping",
    wire.BAG_JOB_STATUS_STOPPED: "Stopped",
}
BAG_STATUSES: Mapping[wire.BagStatus.ValueType, str] = {
    wire.BAG_STATUS_STARTING: "Starting",
    wire.BAG_STATUS_UPLOADING: "Uploading",
    wire.BAG_STATUS_UPLOADED: "Uploaded",
    wire.BAG_STATUS_ERROR: "Error",
}


class TimeRangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The range of time of bags that are asked for, in Unix seconds."""

    start: int = msgspec.field(name="from")
    end: int = msgspec.field(name="to")


class OnDemandBody(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which bags are asked for."""

    time_range: TimeRangeBody | None = None


class UploadBody(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """When bags are stored."""

    upload_type: BagUpload | None = None
    on_demand_opts: OnDemandBody | None = None
    max_upload_rate: int | None = None
    purge_after: bool | None = None


class PatchBody(msgspec.Struct, frozen=True):
    """The body of PATCH /rosbag-jobs/DEPLOYMENT/job/ID."""

    upload_options: UploadBody = msgspec.field(name="uploadOptions")


class StartBody(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of POST /rosbag-jobs/DEPLOYMENT."""

    name: str
    record_options: Mapping[str, object]
    upload_options: Mapping[str, object] | None = None
    override_options: Mapping[str, object] | None = None
    component_instance_id: str = msgspec.field(name="componentInstanceID", default="")
    deployment_id: str = msgspec.field(name="deploymentID", default="")


def definition(value: object, place: str) -> wire.BagJobDefinition:
    """Returns the definition of a job as the SDK sends it. Raises HttpError with all mistakes."""
    if not isinstance(value, dict):
        raise invalid(f"{place} is no object; send name and recordOptions")
    job, mistakes = read_definition(value, place)
    if job is None or mistakes:
        raise invalid("; ".join(mistakes))
    record: _Object = msgspec.to_builtins(job.record)
    record["compression"] = _COMPRESSIONS[job.record.compression]
    options = ParseDict(record, wire.RecordOptions())  # the names of the fields are the same
    return wire.BagJobDefinition(name=job.name, record=options, upload=_UPLOADS[job.upload])


def start_request(body: StartBody, deployment: str) -> wire.StartBagJobRequest:
    """Returns the request that starts a job. Raises HttpError."""
    if body.deployment_id not in ("", deployment):
        raise invalid(
            f"the path names the deployment {deployment}, and `deploymentID` of the body"
            f" {excerpt(body.deployment_id)!r}; send the same id in both"
        )
    given = {
        "name": body.name,
        "recordOptions": body.record_options,
        "uploadOptions": body.upload_options,
        "overrideOptions": body.override_options,
    }
    return wire.StartBagJobRequest(
        deployment=deployment,
        component=body.component_instance_id,
        job=definition(given, "job"),
    )


def update_request(body: PatchBody, job: str) -> wire.UpdateBagJobRequest:
    """Returns the request that changes when the bags of a job are stored."""
    upload = body.upload_options
    request = wire.UpdateBagJobRequest(
        job=job,
        upload=_UPLOADS[upload.upload_type] if upload.upload_type else 0,  # type: ignore[arg-type]
    )
    given = upload.on_demand_opts
    if given is not None and given.time_range is not None:
        request.range.start = _seconds(given.time_range.start)
        request.range.end = _seconds(given.time_range.end)
    return request


def _seconds(value: int) -> int:
    return max(-(2**62), min(value, 2**62))


def job_object(job: wire.BagJob, device: deployments_pb2.Device) -> _Object:
    """Returns a job. `errorMessage` is ours: why it has failed, or what it waits for."""
    record = job.definition.record
    kinds = {number: kind.value for kind, number in _COMPRESSIONS.items()}
    uploads = {number: upload.value for upload, number in _UPLOADS.items()}
    return {
        "guid": job.id,
        "name": job.name,
        "deploymentID": job.deployment_id,
        "componentInstanceID": job.instance_id,
        "componentID": job.component_id,
        "packageID": job.package_id,
        "componentType": _DEVICE,
        "deviceID": device.id,
        "status": JOB_STATUSES.get(job.status, "Starting"),
        "errorMessage": job.reason,
        "creator": USER,
        "project": device.project,
        "recordOptions": {
            "allTopics": record.all_topics,
            "topics": list(record.topics),
            "topicIncludeRegex": list(record.include),
            "topicExcludeRegex": record.exclude,
            "maxMessageCount": record.max_messages or None,
            "node": record.node or None,
            "compression": kinds.get(record.compression) or None,
            "maxSplits": record.max_splits or None,
            "maxSplitSize": record.split_size or None,
            "maxSplitDuration": record.split_minutes or None,
            "chunkSize": record.chunk_size or None,
        },
        "uploadOptions": {
            "maxUploadRate": _RATE,
            "purgeAfter": False,
            "uploadType": uploads.get(job.definition.upload, BagUpload.ON_STOP.value),
        },
        "overrideOptions": {
            "topicOverrideInfo": [],
            "excludeTopics": list(record.exclude_topics),
        },
    }


def bag_object(bag: wire.Bag, job: wire.BagJob | None, device: deployments_pb2.Device) -> _Object:
    """Returns a bag, with its job."""
    info: _Object | None = None
    if bag.HasField("started"):
        started, ended = (t.ToNanoseconds() / 1e9 for t in (bag.started, bag.ended))
        info = {
            "bagVersion": "2.0",
            "duration": ended - started,
            "startTime": started,
            "endTime": ended,
            "size": bag.size,
            "messageCount": bag.messages,
        }
    return {
        "guid": bag.id,
        "filename": bag.name,
        "jobID": bag.job_id,
        "job": None if job is None else job_object(job, device),
        "blobRefID": bag.payload_id,
        "status": BAG_STATUSES.get(bag.status, "Starting"),
        "info": info,
        "errorMessage": bag.reason or None,
        "componentType": _DEVICE,
        "deviceID": device.id,
        "creator": USER,
        "project": device.project,
    }


def definitions(given: Sequence[object], place: str) -> deployments_pb2.BagJobDefinitions:
    """Returns the jobs that start with a component. Raises HttpError."""
    jobs = [definition(value, f"{place}[{i}]") for i, value in enumerate(given)]
    return deployments_pb2.BagJobDefinitions(jobs=jobs)
