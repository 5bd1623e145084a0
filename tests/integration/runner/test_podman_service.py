"""Podman's service is found, or started and kept alive, and does not outlive its parent."""

# ruff: noqa: ASYNC220, ASYNC240 a test may block its own loop

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.errors import ConfigurationError, RunnerUnavailableError
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import Image
from claraedge.runner.service.service import PodmanService
from tests.rig.waiting import eventually

pytestmark = pytest.mark.podman


async def test_a_private_service_answers_and_ends_with_its_block(other_folder: Path) -> None:
    async with PodmanService(other_folder, shared=other_folder / "nobody") as service:
        assert service.private
        assert (await service.request("GET", "/info")).ok
        process = service.process_id
        assert process is not None
    assert not Path(f"/proc/{process}").exists()
    assert list(other_folder.glob("podman-*.sock")) == []


async def test_a_socket_that_answers_is_shared(
    runtime_folder: Path, service: PodmanService
) -> None:
    async with PodmanService(runtime_folder, shared=await service.socket()) as sharing:
        assert not sharing.private
        assert (await sharing.request("GET", "/info")).ok
    assert (await service.request("GET", "/info")).ok


async def test_nothing_replaces_a_socket_that_was_asked_for(other_folder: Path) -> None:
    asked_for = other_folder / "asked-for.sock"
    async with PodmanService(
        other_folder, shared=asked_for, only_shared=True, patience=0.2
    ) as service:
        assert not service.private
        with pytest.raises(RunnerUnavailableError, match=r"asked-for\.sock"):
            await service.request("GET", "/info")
        async with PodmanService(other_folder) as another:
            asked_for.symlink_to(await another.socket())
            assert (await service.request("GET", "/info")).ok


async def started_again(service: PodmanService, before: int) -> None:
    await eventually(lambda: service.process_id not in (before, None), "it is started again")


async def test_a_killed_service_is_started_again_and_calls_wait_for_it(
    service: PodmanService,
) -> None:
    for _ in range(3):
        before = service.process_id
        assert before is not None
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(20):
            assert (await service.request("GET", "/info", repeatable=True)).ok
            await started_again(service, before)


async def test_a_service_that_nobody_calls_is_ended_until_the_next_call(
    other_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with PodmanService(other_folder, idle=0.3) as service:
        for _ in range(2):
            before = service.process_id
            assert before is not None
            await eventually(lambda: service.process_id is None, "it is ended")
            assert service.resting
            assert not Path(f"/proc/{before}").exists()
            assert list(other_folder.glob("podman-*.sock")) == []
            answers = [service.request("GET", "/info") for _ in range(5)]
            assert all(answer.ok for answer in await asyncio.gather(*answers))
            assert service.process_id not in (before, None)
            assert not service.resting
        with service.attended():  # a call that lasts longer
            before = service.process_id
            await asyncio.sleep(1)
            assert service.process_id == before
    assert "it is started again" not in caplog.text


async def test_a_service_that_is_killed_while_nobody_calls_it_is_started_again(
    other_folder: Path,
) -> None:
    async with PodmanService(other_folder, idle=3600) as service:
        before = service.process_id
        assert before is not None
        os.kill(before, signal.SIGKILL)
        await started_again(service, before)


async def test_nobody_starts_a_resting_service_to_learn_its_version(other_folder: Path) -> None:
    async with (
        PodmanService(other_folder, idle=0.3) as service,
        PodmanRunner(service, other_folder) as runner,
    ):
        version = await runner.version()
        assert version.startswith("Podman ")
        await eventually(lambda: service.resting, "it rests")
        assert await runner.version() == version
        assert service.resting
        assert await runner.find_image("localhost/nothing:1") is None
        assert not service.resting


async def test_what_a_killed_service_was_writing_is_removed(
    other_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    async with PodmanService(other_folder) as service:
        (folder,) = tmp_path.iterdir()
        before = service.process_id
        assert before is not None
        (folder / "2864694085").touch()
        os.kill(before, signal.SIGKILL)
        await eventually(
            lambda: not folder.exists() and service.process_id not in (before, None),
            "the service runs again",
        )
        (folder,) = tmp_path.iterdir()
    assert list(tmp_path.iterdir()) == []


async def test_what_a_killed_daemon_left_of_its_service_is_removed(
    other_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    left = tmp_path / "claraedge-podman-left"
    left.mkdir()
    (left / "libpod-images-load.tar").touch()
    async with PodmanService(other_folder):
        assert not left.exists()


async def test_a_service_starts_where_no_temporary_folder_can_be_made(
    other_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    async with PodmanService(other_folder) as service:
        assert (await service.request("GET", "/info")).ok


async def test_a_service_that_hangs_is_replaced(other_folder: Path) -> None:
    async with PodmanService(other_folder, slow=1.5) as service:
        hung = service.process_id
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        async with asyncio.timeout(20):
            assert (await service.request("GET", "/info", repeatable=True)).ok
        assert service.process_id not in (hung, None)


async def test_a_service_that_is_busy_is_left_alone(
    other_folder: Path, runner: PodmanRunner, busybox: Image
) -> None:
    async with PodmanService(other_folder, slow=0.5) as service:
        before = service.process_id
        code = "trap '' TERM; while :; do sleep 1; done"
        made = await service.request(
            "POST",
            "/containers/create",
            body={"image": busybox.id, "command": ["sh", "-c", code], "netns": {"nsmode": "none"}},
        )
        container = json.loads(made.body)["Id"]
        try:
            assert (await service.request("POST", f"/containers/{container}/start")).ok
            began = time.monotonic()
            stop = await service.request(
                "POST", f"/containers/{container}/stop", query={"timeout": "2"}
            )
            assert stop.ok
            assert time.monotonic() - began > 1.5
        finally:
            await runner.remove(container)
        assert service.process_id == before


async def test_a_service_whose_socket_was_removed_is_replaced(other_folder: Path) -> None:
    async with PodmanService(other_folder, patience=0.2) as service:
        (await service.socket()).unlink()
        with pytest.raises(RunnerUnavailableError):
            await service.request("GET", "/info")
        await eventually(lambda: _info(service), "the service answers")


async def _info(service: PodmanService) -> bytes | None:
    try:
        return (await service.request("GET", "/info")).body
    except RunnerUnavailableError:
        return None


async def test_a_shared_service_that_ends_is_unavailable_with_the_remedy(
    other_folder: Path,
) -> None:
    async with PodmanService(other_folder) as owner:
        sharing = PodmanService(other_folder, shared=await owner.socket(), patience=0.2)
        await sharing.__aenter__()
    with pytest.raises(RunnerUnavailableError, match=r"podman\.socket"):
        await sharing.request("GET", "/info")


# systemd's part: keep the socket open, and start Podman when somebody connects.
ACTIVATOR = """
import os, select, socket, subprocess, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
while True:
    select.select([listener], [], [])
    print("started", flush=True)
    subprocess.run(
        ["sh", "-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec podman system service --time 1"],
        close_fds=False, stderr=subprocess.DEVNULL, cwd="/",
    )
"""


async def test_a_socket_whose_service_comes_and_goes_with_idleness_is_served(
    other_folder: Path,
) -> None:
    socket = other_folder / "user.sock"
    activator = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ACTIVATOR,
        str(socket),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert activator.stdout is not None
    try:
        assert await activator.stdout.readline() == b"listening\n"
        async with asyncio.timeout(40), PodmanService(other_folder, shared=socket) as service:
            assert not service.private
            starts = 0
            while starts < 3:  # a call at each end of an idle second, until it was there thrice
                assert (await service.request("GET", "/info", repeatable=True)).ok
                try:
                    await asyncio.wait_for(activator.stdout.readline(), 1.0)
                    starts += 1
                except TimeoutError:
                    continue
    finally:
        os.killpg(activator.pid, signal.SIGKILL)
        await activator.wait()


PARENT = """
import asyncio, sys
from pathlib import Path
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import Image
from claraedge.runner.service.service import PodmanService

async def main():
    async with PodmanService(Path(sys.argv[1])) as service:
        print(service.process_id, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_the_service_ends_when_its_parent_is_killed(other_folder: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(other_folder)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout as said:
        process = int(await asyncio.to_thread(said.readline))
    pidfd = os.pidfd_open(process)
    parent.kill()
    parent.wait()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(10):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)


async def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        await PodmanService(tmp_path).__aenter__()


@pytest.fixture
def own_podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Podman with folders of its own and a container; yields the folder of its layer."""
    with tempfile.TemporaryDirectory(dir=os.environ["XDG_RUNTIME_DIR"]) as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        (tmp_path / "empty.tar").write_bytes(bytes(10240))
        image = _podman("import", tmp_path / "empty.tar").splitlines()[-1]
        container = _podman("create", image, "true").splitlines()[-1]
        storage = tmp_path / "containers/storage"
        made = json.loads((storage / "overlay-containers/containers.json").read_text())
        (layer,) = [row["layer"] for row in made if row["id"] == container]
        try:
            yield storage / "overlay" / layer
        finally:
            _inside("-U", "rm", "-rf", storage)
            os.kill(_pause_process(), signal.SIGKILL)


def _podman(*arguments: object) -> str:
    done = subprocess.run(
        ["podman", *map(str, arguments)], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def _inside(*command: object, check: bool = True) -> None:
    """Runs a command in namespaces of Podman."""
    enter = ["nsenter", "-t", str(_pause_process()), "--preserve-credentials"]
    subprocess.run([*enter, *map(str, command)], check=check, timeout=60)


def _pause_process() -> int:
    return int(Path(os.environ["XDG_RUNTIME_DIR"], "libpod/tmp/pause.pid").read_text())


def _leak_a_mount(layer: Path) -> None:
    """As after a race of two Podmans: mounted where nobody can unmount it, and half removed."""
    covering = layer.parent
    _inside("-U", "-m", "umount", "-l", covering, check=False)
    _inside("-U", "-m", "mount", "-t", "tmpfs", "none", layer / "merged")
    _inside("-U", "-m", "mount", "--bind", covering, covering)
    notes = layer.parents[1] / "overlay-layers/layers.json"
    layers = json.loads(notes.read_text())
    for noted in layers:
        if noted["id"] == layer.name:
            noted["flags"] = {"incomplete": True}
    notes.write_text(json.dumps(layers))


async def test_a_layer_that_podman_cannot_remove_is_freed_at_the_start(
    other_folder: Path, own_podman: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _leak_a_mount(own_podman)
    async with PodmanService(other_folder) as service:
        assert (await service.request("GET", "/info")).ok
    assert not own_podman.exists()
    removed = f"removed the mount point that kept Podman from removing a layer: {own_podman}/merged"
    assert removed in caplog.text


async def test_a_layer_that_podman_cannot_remove_is_freed_while_calls_wait_for_it(
    other_folder: Path, own_podman: Path
) -> None:
    async with PodmanService(other_folder, slow=0.5) as service:
        assert (await service.request("GET", "/info")).ok
        _leak_a_mount(own_podman)
        process = service.process_id
        answer = await service.request("GET", "/images/json")
        assert answer.ok, answer.reason
        assert service.process_id == process
    assert not own_podman.exists()
