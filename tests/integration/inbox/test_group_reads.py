"""Members of the outbox's group read results and failures, and nobody else does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.jobs.model import JobStatus
from tests.integration.inbox.test_other_users import unshare
from tests.rig.inbox import drop, inbox_rig, make_config, other_file_system

pytestmark = pytest.mark.podman

#: Another user, as member of the group and as none.
MEMBER, STRANGER = ("--reuid=5", "--regid=1"), ("--reuid=5", "--regid=2")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A place that others can reach."""
    folder = other_file_system(tmp_path)
    folder.chmod(0o755)
    before = os.umask(0o077)
    yield folder
    os.umask(before)
    unshare("chown", "-R", "0:0", str(folder))
    shutil.rmtree(folder)


def reads(path: Path, who: tuple[str, str]) -> bytes | None:
    done = subprocess.run(
        ["podman", "unshare", "setpriv", *who, "--clear-groups", "cat", str(path)],
        capture_output=True, check=False, timeout=60, cwd="/",
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else None


def made_in(result: Path) -> list[Path]:
    """The files of a folder, but not the original, which is as it was dropped."""
    files = [path for path in result.rglob("*") if path.is_file()]
    return [path for path in files if "original" not in path.parts]


@pytest.mark.parametrize("status", [JobStatus.HEALTHY, JobStatus.FAULTED])
async def test_a_group_reads_what_is_delivered_whatever_the_umask(
    home: Path, tmp_path: Path, status: JobStatus
) -> None:
    for name in ("outbox", "failed"):
        (home / name).mkdir()
        (home / name).chmod(0o750)
        unshare("chgrp", "1", str(home / name))
        unshare("chmod", "2750", str(home / name))
    config = make_config(tmp_path / "state", path=home / "outbox", failed=home / "failed")
    async with inbox_rig(config, status=status) as rig:
        await rig.register("ct")
        for name in ("one", "two"):  # the second one finds the pipeline's folder there
            drop(tmp_path / f"state/inbox/ct/{name}/a/scan.dcm", b"scan")
        items = await rig.delivered(2)
    assert len(items) == 2
    for item in items:
        result = Path(str(item.result_path))
        made = made_in(result)
        healthy = status is JobStatus.HEALTHY
        expected = {"result.json", "scan.dcm"} if healthy else {"reason.json", "first.log"}
        assert expected <= {path.name for path in made}
        for path in made:
            assert reads(path, MEMBER) is not None
            assert reads(path, STRANGER) is None
