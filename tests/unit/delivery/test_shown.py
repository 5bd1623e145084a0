"""Who may read the outbox may read what is put there, whatever the umask of the service."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.blocking import CancelFlag
from claraedge.fs.trees import Building
from claraedge.fs.trusted import opened
from claraedge.jobs.model import JobStatus
from claraedge.spool.shown import opened_shown
from tests.rig.inbox import drop, inbox_rig, make_config


@pytest.fixture(params=[0o077, 0o002], ids="umask {:04o}".format)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(root: Path) -> tuple[set[int], set[int]]:
    """Of all folders, and of all files below."""
    found = [path.stat().st_mode for path in root.rglob("*")]
    return (
        {stat.S_IMODE(mode) for mode in found if stat.S_ISDIR(mode)},
        {stat.S_IMODE(mode) for mode in found if stat.S_ISREG(mode)},
    )


@pytest.mark.parametrize(
    ("root", "folders", "read"),
    [
        (0o700, {0o700}, {0o600}),
        (0o750, {0o750}, {0o640}),
        (0o2770, {0o2770}, {0o660}),
        (0o755, {0o755}, {0o644}),
    ],
)
async def test_results_are_open_to_those_that_the_outbox_is_open_to(
    tmp_path: Path, umask: int, root: int, folders: set[int], read: set[int]
) -> None:
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    outbox.chmod(root)
    async with inbox_rig(make_config(tmp_path)) as rig:
        await rig.register("ct")
        drop(tmp_path / "inbox/ct/study/a/scan.dcm")
        await rig.delivered()
    assert stat.S_IMODE(outbox.stat().st_mode) == root
    assert modes(outbox) == (folders, read)


async def test_reasons_and_logs_are_open_as_the_failures_are(tmp_path: Path, umask: int) -> None:
    failed = tmp_path / "failed"
    failed.mkdir()
    failed.chmod(0o2750)
    async with inbox_rig(make_config(tmp_path), status=JobStatus.FAULTED) as rig:
        await rig.register("ct")
        drop(tmp_path / "inbox/ct/scan.dcm")
        await rig.delivered()
    folders, _ = modes(failed)
    assert folders == {0o2750}
    paths = [*failed.glob("ct/*/reason.json"), *failed.glob("ct/*/logs/*")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o640, 0o640]


async def test_an_outbox_that_is_made_follows_the_umask(tmp_path: Path, umask: int) -> None:
    async with inbox_rig(make_config(tmp_path)) as rig:
        await rig.register("ct")
        drop(tmp_path / "inbox/ct/scan.dcm")
        await rig.delivered()
    mode = 0o755 & ~umask
    assert modes(tmp_path / "outbox") == ({mode}, {mode & 0o666})


def test_programs_stay_programs(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with opened(tmp_path / "made") as root:
        building = Building(root, 0o2750)
        for name, mode in (("tool", 0o700), ("text", 0o600)):
            building.copy(name.encode(), drop(tmp_path / name), mode=mode, flag=CancelFlag())
        building.finish()
    found = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "made").iterdir()}
    assert found == {"tool": 0o740, "text": 0o640}


async def test_a_disk_that_knows_no_modes_gets_results_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FAT on a USB stick: it refuses a chmod even to the owner of a file."""
    chmod, refused = os.chmod, []

    def refusing(path: Path | bytes | int, mode: int, **more: int) -> None:
        where = Path("/proc/self/fd")
        place = where / str(path) if isinstance(path, int) else Path(os.fsdecode(path))
        if "dir_fd" in more:
            place = where / str(more["dir_fd"]) / place
        if tmp_path / "outbox" in place.resolve().parents:
            refused.append(path)
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        chmod(path, mode, **more)

    monkeypatch.setattr(os, "chmod", refusing)
    async with inbox_rig(make_config(tmp_path)) as rig:
        await rig.register("ct")
        drop(tmp_path / "inbox/ct/scan.dcm", b"scan")
        await rig.delivered()
    (result,) = (tmp_path / "outbox").glob("ct/*/last/Left/scan.dcm")
    assert result.read_bytes() == b"scan"
    assert refused


def test_a_folder_that_another_delivery_makes_meanwhile_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.mkdir

    def mkdir(path: Path, mode: int = 0o777) -> None:
        real(path, 0o700)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", mkdir)
        with opened_shown(tmp_path, b"good", 0o755) as place:
            (place / "result").write_text("one")
    assert (tmp_path / "good" / "result").read_text() == "one"
    assert stat.S_IMODE((tmp_path / "good").stat().st_mode) == 0o700, "its maker sets the mode"
