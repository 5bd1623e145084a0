"""DeploymentVolumes, logs and the device of deployments."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from claraedge.deployments.device import architecture, device_id, interfaces, project_id, view
from claraedge.deployments.logs import follow, remove_logs
from claraedge.deployments.model import VolumeMount
from claraedge.deployments.running.volumes import DeploymentVolumes
from claraedge.errors import DeploymentFailedError, InvalidDeploymentError
from claraedge.supervised.start_logs import begin, numbers, path_of
from tests.rig.waiting import eventually


def mount(sub_path: str, target: str = "/data") -> VolumeMount:
    return VolumeMount(executable="exec-a", mount_path=target, sub_path=sub_path)


async def test_a_volume_is_created_and_anybody_may_write_to_it(tmp_path: Path) -> None:
    volumes = DeploymentVolumes(tmp_path / "volumes", ())
    found = await volumes.folders([mount("a/b"), mount("", "/all")])
    assert found == {"/data": tmp_path / "volumes/a/b", "/all": tmp_path / "volumes"}
    assert (tmp_path / "volumes/a/b").stat().st_mode & 0o777 == 0o777
    (tmp_path / "volumes/a/b").chmod(0o700)
    await volumes.folders([mount("a/b")])
    assert (tmp_path / "volumes/a/b").stat().st_mode & 0o777 == 0o700, "it is the user's"


async def test_no_link_of_a_container_leads_out_of_the_volumes(tmp_path: Path) -> None:
    volumes = DeploymentVolumes(tmp_path / "volumes", ())
    await volumes.folders([mount("a")])
    (tmp_path / "secret").mkdir()
    (tmp_path / "volumes/a/link").symlink_to(tmp_path / "secret")
    (tmp_path / "volumes/a/file").write_text("x")
    for path in ("a/link", "a/link/new", "a/file", "a/file/new"):
        with pytest.raises(DeploymentFailedError, match=r"leads over a link or a file"):
            await volumes.folders([mount(path)])
    assert list((tmp_path / "secret").iterdir()) == []


async def test_a_folder_of_the_host_has_to_be_in_the_list(tmp_path: Path) -> None:
    listed = tmp_path / "scans"
    (listed / "in").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (listed / "link").symlink_to(tmp_path / "other")
    volumes = DeploymentVolumes(tmp_path / "volumes", (listed,))
    assert await volumes.folders([mount(str(listed / "in"))]) == {"/data": listed / "in"}
    with pytest.raises(DeploymentFailedError, match="host_folders"):
        await volumes.folders([mount(str(listed / "link"))])
    with pytest.raises(DeploymentFailedError, match="is no folder; create it"):
        await volumes.folders([mount(str(listed / "missing"))])


async def test_a_folder_on_a_dead_share_delays_only_what_mounts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = tmp_path / "dead", tmp_path / "alive"
    alive.mkdir()
    answer, waiting = threading.Event(), threading.Semaphore(0)
    resolve = Path.resolve

    def slow(self: Path) -> Path:
        if self.is_relative_to(dead):
            waiting.release()
            answer.wait(60)
        return resolve(self)

    monkeypatch.setattr(Path, "resolve", slow)
    monkeypatch.setattr("claraedge.deployments.running.volumes._ANSWER", 0.1)
    volumes = DeploymentVolumes(tmp_path / "volumes", (dead, alive))
    try:
        calls = [volumes.folders([mount(str(dead / str(number)))]) for number in range(20)]
        async with asyncio.timeout(30):
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert all("did not answer within 0.1 s" in str(error) for error in found)
            monkeypatch.setattr("claraedge.deployments.running.volumes._ANSWER", 30.0)
            assert await volumes.folders([mount(str(alive))]) == {"/data": alive}
            assert await volumes.folders([mount("a")]) == {"/data": tmp_path / "volumes/a"}
            assert waiting.acquire(blocking=False)
            assert not waiting.acquire(blocking=False), "one thread waits for it"
    finally:
        answer.set()
    dead.mkdir()
    assert await volumes.folders([mount(str(dead))]) == {"/data": dead}


KEY = "dep-a.exec-b"


async def read(folder: Path, *, attempt: int = 0, tail: int = 0) -> list[str]:
    found = follow(folder, KEY, attempt=attempt, tail=tail, ended=lambda: True)
    return [line async for _, lines in found for line in lines]


def record(text: str) -> str:
    return f"2026-01-01T00:00:00Z stdout F {text}\n"


async def test_a_log_is_read_whole_or_its_end(tmp_path: Path) -> None:
    assert await read(tmp_path) == []
    log = path_of(tmp_path, KEY, 1)
    log.write_text("".join(record(str(n)) for n in range(50_000)))
    assert await read(tmp_path) == [str(n) for n in range(50_000)]
    assert await read(tmp_path, tail=2) == ["49998", "49999"]
    assert await read(tmp_path, tail=1_000_000)


async def test_each_start_has_its_own_log_and_the_last_ones_are_kept(tmp_path: Path) -> None:
    path_of(tmp_path, "dep-a.exec-bb", 9).write_text(record("of another executable"))
    path_of(tmp_path, f"x{KEY}", 9).write_text(record("of another deployment"))
    for number in range(1, 7):
        log = begin(tmp_path, KEY, 3)
        assert log == begin(tmp_path, KEY, 3), "a creation that was tried again is one start"
        log.write_text(record(f"start {number}"))
    assert numbers(tmp_path, KEY) == [4, 5, 6]
    assert await read(tmp_path) == ["start 6"]
    assert await read(tmp_path, attempt=5) == ["start 5"]
    for gone in (3, 7):
        text = f"no log of the start {gone} of {KEY} is kept; those of these starts are: 4, 5, 6"
        with pytest.raises(InvalidDeploymentError, match=text):
            await read(tmp_path, attempt=gone)
    with pytest.raises(InvalidDeploymentError, match="these starts are: none"):
        await read(tmp_path / "missing", attempt=1)


@pytest.mark.parametrize("attempt", [0, 1])
async def test_a_log_is_followed_over_starts_or_to_the_end_of_one(
    attempt: int, tmp_path: Path
) -> None:
    log = path_of(tmp_path, KEY, 1)
    log.write_text(record("zero") + record("one"))
    over = False
    found: list[tuple[int, str]] = []

    async def reading() -> None:
        lives = follow(tmp_path, KEY, attempt=attempt, tail=1, ended=lambda: over)
        async for number, lines in lives:
            found.extend((number, line) for line in lines)

    task = asyncio.create_task(reading())
    await eventually(lambda: found, "the first line is read")
    with log.open("a") as file:
        file.write(record("two"))
    await eventually(lambda: len(found) > 1, "the second line is read")
    log.write_text(record("3"))  # conmon cuts a log that is too long, and continues
    await eventually(lambda: len(found) > 2, "the third line is read")
    with log.open("a") as file:
        file.write(record("last words"))
    begin(tmp_path, KEY, 3).write_text(record("again"))
    if not attempt:
        await eventually(lambda: len(found) > 4, "the next start is read")
        over = True
    await task
    first = [(1, "one"), (1, "two"), (1, "3"), (1, "last words")]
    assert found == [*first, *([] if attempt else [(2, "again")])]


def test_logs_of_old_deployments_go(tmp_path: Path) -> None:
    for name in ("dep-a.exec-b.1.log", "dep-a.exec-b.2.log", "dep-b.exec-b.1.log"):
        (tmp_path / name).write_text("x")
    remove_logs(tmp_path, ["dep-a"])
    assert [path.name for path in tmp_path.iterdir()] == ["dep-b.exec-b.1.log"]


def test_the_device_is_the_same_for_ever(tmp_path: Path) -> None:
    instance = uuid.UUID(int=5).hex
    assert device_id(instance) == str(uuid.UUID(int=5))
    assert project_id(instance) == "project-f" + "a" * 23
    found = view(instance, {"A": "1"}, {})
    assert found.name == os.uname().nodename
    assert found.architecture == architecture()
    assert found.variables == {"A": "1"}
    addresses: Sequence[str] = [a for each in interfaces().values() for a in each]
    assert "127.0.0.1" not in addresses
