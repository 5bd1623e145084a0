"""A daemon to which hostile trees come, and what nothing of them may change."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from claraedge.wire.nvidia.clara.platform import jobs_pb2, pipelines_pb2
from claraedge.wire.nvidia.clara.platform.common_pb2 import Identifier
from claraedge.wire.nvidia.clara.platform.jobs_pb2_grpc import JobsStub
from claraedge.wire.nvidia.clara.platform.pipelines_pb2_grpc import PipelinesStub
from tests.rig.waiting import until
from tests.robustness.hostile_trees import PATIENCE
from tests.robustness.site import Site

PIPELINE = """
api-version: 0.4.0
name: hostile
operators:
- name: one
  container: {{image: {image}, tag: '1'}}
  variables: {{KIND: {kind}, EXIT: '{code}', CANARY: {canary}}}
  input: [{{path: /in}}]
  output: [{{path: /out}}]
"""
#: Keeps only the newest payload, checks each second, and delivers the result of every job.
SETTINGS = """
[retention]
payload_count = 1
[jobs]
unstarted_after_hours = 0.005
[outbox]
all_jobs = true
"""
STOPPED = jobs_pb2.JOB_STATE_STOPPED

#: Path -> mode, names, time and digest of the bytes.
Recorded: TypeAlias = Mapping[str, tuple[int, int, int, str]]


def canaries(served: Site) -> Recorded:
    """Makes what nothing may change; as it is."""
    canary = served.folder / "canary"
    (canary / "folder").mkdir(parents=True)
    (canary / "kept").write_text("kept")
    (canary / "kept").chmod(0o600)
    return recorded(canary)


def register(served: Site, text: str) -> str:
    """The id of a new pipeline."""
    with served.channel() as channel:
        definition = pipelines_pb2.PipelineDefinitionFile(path="p.yaml", content=text)
        created = PipelinesStub(channel).Create(
            iter([pipelines_pb2.PipelinesCreateRequest(definition=definition)])
        )
        assert created.header.code == 0, created.header.messages
        return created.pipeline_id.value


def run(
    served: Site, image: str, kind: str, code: int, definition: str = PIPELINE
) -> jobs_pb2.JobsStatusResponse:
    """A job to its end."""
    canary = served.folder / "canary"
    pipeline = register(served, definition.format(image=image, kind=kind, code=code, canary=canary))
    with served.channel() as channel:
        jobs = JobsStub(channel)
        job = jobs.Create(
            jobs_pb2.JobsCreateRequest(name=kind, pipeline_id=Identifier(value=pipeline))
        )
        assert jobs.Start(jobs_pb2.JobsStartRequest(job_id=job.job_id)).header.code == 0
        found = jobs_pb2.JobsStatusResponse()

        def ended() -> bool:
            nonlocal found
            found = jobs.Status(jobs_pb2.JobsStatusRequest(job_id=job.job_id))
            return bool(found.state == STOPPED)

        until("the job has ended", ended, PATIENCE)
        return found


def recorded(folder: Path) -> Recorded:
    """Each entry as it is."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        known = (status.st_mode, status.st_nlink, status.st_mtime_ns)
        found[str(path)] = (*known, hashlib.sha256(data).hexdigest())
    return found


def payloads(served: Site) -> list[str]:
    folders = (served.state / "payloads", served.state / "removed")
    return [path.name for folder in folders for path in folder.iterdir()]


def killed_and_started(served: Site) -> None:
    """Whatever is left is no trouble for the next start: it serves, and the next job ends well."""
    served.process.send_signal(signal.SIGKILL)
    served.start()
    until("it serves again", served.serves, PATIENCE)
    assert run(served, "hello", "deep", 0).status == jobs_pb2.JOB_STATUS_HEALTHY
