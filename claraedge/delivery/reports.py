"""`result.json` and `reason.json`, as documents. Pure. Times are RFC 3339, UTC."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.clock import rfc3339
from claraedge.jobs.model import Job, JobStatus
from claraedge.pipelines.model import decode
from claraedge.pipelines.registration import registrations

#: Version of both documents; it changes when the meaning of a field changes.
VERSION = 1

_ADVICE: Mapping[JobStatus, str] = {
    JobStatus.FAULTED: (
        "read `reasons`, and the files in logs/ next to this file; once the cause is removed,"
        " {again}"
    ),
    JobStatus.CANCELED: "the job was cancelled; to run it, {again}",
    JobStatus.EVICTED: (
        "the disk was full, and the job was stopped to save the device; free some space, then"
        " {again}"
    ),
    JobStatus.TERMINATED: "the job was ended before it was done; {again}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredFile:
    """A file of a result folder."""

    path: str
    """Relative to the result folder; bytes that are not UTF-8 are shown as `\\xNN`."""
    operator: str
    output: str | None
    size: int
    """Bytes."""
    sha256: str | None
    """None: the file is mostly holes, and too large to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """An input file of a job."""

    path: str
    """Relative to /input."""
    size: int
    """Bytes."""
    sha256: str | None
    """None: not computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The inbox item from which a job was created. `first_seen`: Unix seconds."""

    item: str
    name: bytes
    folder: str | None
    first_seen: float | None


def result(
    job: Job,
    files: Sequence[DeliveredFile],
    inputs: Sequence[InputFile],
    origin: Origin | None,
    now: float,
) -> dict[str, object]:
    """Returns the document `result.json` of a job that ended HEALTHY."""
    assert job.snapshot is not None, "a job that ended healthy was started"
    return {
        **_job(job, origin, inputs),
        "messages": list(job.messages),
        "delivered": rfc3339(now),
        "files": [
            {
                "path": file.path,
                "operator": file.operator,
                "output": file.output,
                "size": file.size,
                "sha256": file.sha256,
            }
            for file in files
        ],
        "registered": [
            {"operator": operator.name, "agent": registered.agent, "data": registered.data}
            for operator, registered in registrations(
                decode(job.snapshot), job_id=job.id, job_name=job.name
            )
        ],
    }


def failure(
    job: Job, inputs: Sequence[InputFile], origin: Origin | None, now: float
) -> dict[str, object]:
    """Returns the document `reason.json` of a job that ended otherwise."""
    advice = _ADVICE.get(job.status, _ADVICE[JobStatus.FAULTED])
    again = "create the job again" if origin is None else _drop_again(origin.item, origin.folder)
    return {
        **_job(job, origin, inputs),
        "reasons": reasons(job),
        "what_to_do": advice.format(again=again),
        "failed": rfc3339(now),
    }


def reasons(job: Job) -> list[str]:
    """Returns the reasons why a job failed."""
    return list(job.messages) or [f"the job ended {job.status.name}"]


def item_failure(
    item: str, name: bytes, folder: str, first_seen: float, reason: str, now: float
) -> dict[str, object]:
    """Returns the document `reason.json` of an item that never became a job."""
    return {
        "version": VERSION,
        "item_id": item,
        "item": _shown(name),
        "name_base64": base64.b64encode(name).decode(),
        "folder": _shown(os.fsencode(folder)),
        "first_seen": rfc3339(first_seen),
        "reasons": [reason],
        "what_to_do": (
            "it lies unchanged in original/ next to this file; correct it as `reasons` says, then"
            f" {_drop_again(item, folder)}"
        ),
        "failed": rfc3339(now),
    }


def _drop_again(item: str, folder: str | None) -> str:
    name = "" if folder is None else _shown(os.fsencode(Path(folder).name))
    where = f"the inbox folder {name}" if name else "the inbox"
    return (
        f"copy what is in original/ next to this file into {where} again (or: claraedge retry inbox"
        f" {item})"
    )


def _job(job: Job, origin: Origin | None, inputs: Sequence[InputFile]) -> dict[str, object]:
    images = _images(job)
    return {
        "version": VERSION,
        "job_id": job.id,
        "job": job.name,
        "payload_id": job.payload,
        "pipeline_id": job.pipeline,
        "pipeline": job.pipeline_name,
        "state": job.state.name,
        "status": job.status.name,
        "priority": job.priority.name,
        "created": _time(job.created),
        "started": _time(job.started),
        "stopped": _time(job.stopped),
        "metadata": dict(job.metadata),
        "item": None
        if origin is None
        else {
            "item_id": origin.item,
            "name": _shown(origin.name),
            "name_base64": base64.b64encode(origin.name).decode(),
            "folder": None if origin.folder is None else _shown(os.fsencode(origin.folder)),
            "first_seen": _time(origin.first_seen),
        },
        "inputs": [
            {"path": file.path, "size": file.size, "sha256": file.sha256} for file in inputs
        ],
        "operators": [
            {
                "name": operator.name,
                "status": operator.status.name,
                "exit_code": operator.exit_code,
                "image": images.get(operator.name),
                "image_id": operator.image,
                "attempts": operator.attempt,
                "interruptions": operator.interruptions,
                "started": _time(operator.started),
                "stopped": _time(operator.stopped),
            }
            for operator in job.operators
        ],
    }


def _images(job: Job) -> Mapping[str, str]:
    """Returns the image of each operator as in the definition; empty if the job was not started."""
    if job.snapshot is None:
        return {}
    return {o.name: o.container.reference for o in decode(job.snapshot).operators}


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
