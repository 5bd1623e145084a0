"""Whose the processes of a GPU are."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from claraedge.gpu.users import RunningOperator, operators, users
from claraedge.store.database import Database

ONE, TWO, OTHERS = "1" * 64, "2" * 64, "f" * 64
RUNNING = {ONE: RunningOperator("job-1", "segment"), TWO: RunningOperator("job-2", "classify")}


def process(proc: Path, pid: int, cgroup: str = "0::/\n", mountinfo: str = "") -> int:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cgroup").write_text(cgroup)
    (folder / "mountinfo").write_text(mountinfo)
    return pid


def test_the_cgroup_names_the_operator(tmp_path: Path) -> None:
    pids = [
        process(tmp_path, 1, f"0::/user.slice/user-1.slice/libpod-{ONE}.scope/container\n"),
        process(tmp_path, 2, f"1:name=systemd:/libpod_parent/libpod-{TWO}\n0::/\n"),
    ]
    assert users(pids, RUNNING, tmp_path) == (
        RunningOperator("job-1", "segment"),
        RunningOperator("job-2", "classify"),
    )


def test_the_mounts_that_podman_gives_a_container_name_the_operator(tmp_path: Path) -> None:
    source = f"/containers/overlay-containers/{ONE}/userdata/hosts"
    hosts = f"700 690 0:60 {source} /etc/hosts rw,nosuid - tmpfs tmpfs rw\n"
    assert users([process(tmp_path, 1, mountinfo=hosts)], RUNNING, tmp_path) == (
        RunningOperator("job-1", "segment"),
    )


def test_a_process_that_only_sees_a_containers_folder_is_not_in_it(tmp_path: Path) -> None:
    # As in `podman unshare`: the folders of all containers are mounted there.
    shm = (
        f"700 690 0:60 / /home/u/storage/overlay-containers/{ONE}/userdata/shm rw - tmpfs shm rw\n"
    )
    assert users([process(tmp_path, 1, mountinfo=shm)], RUNNING, tmp_path) == ()


def test_foreign_and_ended_processes_are_left_out(tmp_path: Path) -> None:
    pids = [
        process(tmp_path, 1, "0::/user.slice/session-1.scope\n"),
        process(tmp_path, 2, f"0::/libpod-{OTHERS}.scope\n"),
        999,
    ]
    assert users(pids, RUNNING, tmp_path) == ()


def test_an_operator_with_many_processes_is_listed_once(tmp_path: Path) -> None:
    pids = [process(tmp_path, pid, f"0::/libpod-{ONE}.scope\n") for pid in (5, 6, 7)]
    assert users(pids, RUNNING, tmp_path) == (RunningOperator("job-1", "segment"),)


async def test_only_operators_that_run_in_a_container_are_known(tmp_path: Path) -> None:
    async with Database(tmp_path / "state.db") as database:
        other = sqlite3.connect(database.path)
        with other:
            other.executemany(
                "INSERT INTO operators (job, position, name, status, container, created)"
                " VALUES ('job-1', ?, ?, ?, ?, 0)",
                [
                    (0, "read", 3, OTHERS),  # completed
                    (1, "segment", 2, ONE),
                    (2, "classify", 2, None),  # about to start
                    (3, "write", 1, None),
                ],
            )
        other.close()
        assert await database.read(operators) == {ONE: RunningOperator("job-1", "segment")}
