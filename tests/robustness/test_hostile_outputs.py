"""Whatever trees jobs leave: the daemon runs on, also after a restart, and removes all of them."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.wire.nvidia.clara.platform import jobs_pb2, pipelines_pb2
from claraedge.wire.nvidia.clara.platform.jobs_pb2_grpc import JobsStub
from claraedge.wire.nvidia.clara.platform.pipelines_pb2_grpc import PipelinesStub
from tests.robustness.hostile_trees import TREES
from tests.robustness.site import Site, site, until

pytestmark = pytest.mark.timeout(300)

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
#: What keeps only the newest payload, looks each second, and delivers the result of every job.
SETTINGS = """
[retention]
payload_count = 1
[jobs]
unstarted_after_hours = 0.005
[outbox]
all_jobs = true
"""
STOPPED = jobs_pb2.JOB_STATE_STOPPED
#: Those that can be results; the others fail their operator, with the reason.
RESULTS = {"many", "links", "odd"}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Site]:
    with site(SETTINGS) as served:
        yield served


def run(served: Site, image: str, kind: str, code: int) -> jobs_pb2.JobsStatusResponse:
    """A job to its end."""
    canary = served.folder / "canary"
    text = PIPELINE.format(image=image, kind=kind, code=code, canary=canary)
    with served.channel() as channel:
        definition = pipelines_pb2.PipelineDefinitionFile(path="p.yaml", content=text)
        created = PipelinesStub(channel).Create(
            iter([pipelines_pb2.PipelinesCreateRequest(definition=definition)])
        )
        assert created.header.code == 0, created.header.messages
        jobs = JobsStub(channel)
        job = jobs.Create(jobs_pb2.JobsCreateRequest(name=kind, pipeline_id=created.pipeline_id))
        assert jobs.Start(jobs_pb2.JobsStartRequest(job_id=job.job_id)).header.code == 0
        found = jobs_pb2.JobsStatusResponse()

        def ended() -> bool:
            nonlocal found
            found = jobs.Status(jobs_pb2.JobsStatusRequest(job_id=job.job_id))
            return bool(found.state == STOPPED)

        until("the job has ended", ended, 60)
        return found


def recorded(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Mode, names, time and bytes of each entry."""
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


def test_hostile_outputs_fail_their_own_job_at_most_and_all_of_them_go(daemon: Site) -> None:
    canary = daemon.folder / "canary"
    (canary / "folder").mkdir(parents=True)
    (canary / "kept").write_text("kept")
    (canary / "kept").chmod(0o600)
    before = recorded(canary)
    for code in (0, 1):
        for kind in TREES:
            ended = run(daemon, "hostile", kind, code)
            healthy = code == 0 and kind in RESULTS
            wanted = jobs_pb2.JOB_STATUS_HEALTHY if healthy else jobs_pb2.JOB_STATUS_FAULTED
            assert ended.status == wanted, (kind, code, list(ended.messages))
            if code == 0 and not healthy:
                assert "in its outputs" in ended.messages[0]
            assert run(daemon, "hello", kind, 0).status == jobs_pb2.JOB_STATUS_HEALTHY
    until("all is delivered", lambda: not due(daemon), 60)
    until("only the newest payload is kept", lambda: len(payloads(daemon)) == 1, 120)
    assert recorded(canary) == before
    daemon.check_log()

    daemon.process.send_signal(signal.SIGKILL)
    daemon.start()
    until("it serves again", lambda: (daemon.folder / "run/claraedge.sock").exists(), 30)
    assert run(daemon, "hello", "deep", 0).status == jobs_pb2.JOB_STATUS_HEALTHY
    assert recorded(canary) == before
    daemon.check_log()


def due(served: Site) -> bool:
    """Whether anything is still on its way to the outbox."""
    outbox = served.state / "outbox"
    folders = [f for f in (outbox, served.state / "failed") if f.exists()]
    return any(path.name.startswith(".tmp-") for f in folders for path in f.iterdir())
