"""What may hang with the server of a share runs in threads that nothing else needs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from claraedge.jobs.model import JobStatus
from tests.rig.inbox import drop, inbox_rig, make_config


@pytest.mark.parametrize(
    ("status", "steps"),
    [
        (JobStatus.HEALTHY, {"claim: taken", "deliver: copied", "deliver: original moved"}),
        (JobStatus.FAULTED, {"claim: taken", "deliver: logs", "retry: moved one"}),
    ],
)
async def test_folders_have_threads_of_their_own(
    tmp_path: Path, status: JobStatus, steps: set[str]
) -> None:
    threads: dict[str, str] = {}
    config = make_config(tmp_path / "state")
    async with inbox_rig(
        config,
        status=status,
        hook=lambda name: threads.update({name: threading.current_thread().name}),
    ) as rig:
        await rig.register("ct")
        drop(config.inbox_dir / "ct/scan.dcm")
        (item,) = await rig.delivered()
        if status is JobStatus.FAULTED:
            await rig.inbox.retry(item.id)
    assert steps <= threads.keys()
    assert {threads[step].split("_")[0] for step in steps} == {"folders"}
