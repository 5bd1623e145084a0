"""The Runner's promises, kept by real rootless Podman."""

# ruff: noqa: ASYNC221, ASYNC240 a test may block its own loop

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from claraedge.blocking import in_thread
from claraedge.errors import (
    ContainerError,
    ImageNotFoundError,
    InvalidImageError,
    RunnerUnavailableError,
)
from claraedge.fs.removal import remove
from claraedge.ids import new_id
from claraedge.runner import podman
from claraedge.runner.images import image_store
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.processes import alive
from claraedge.runner.protocol import (
    BindMount,
    Container,
    ContainerSpec,
    Exit,
    ExitCause,
    Image,
    Limit,
    Phase,
    Runner,
)
from claraedge.runner.service.service import PodmanService
from tests.integration.conftest import TestImages
from tests.rig.operators import busybox_image
from tests.rig.waiting import eventually

pytestmark = pytest.mark.podman

MARK = {"io.claraedge.instance": f"tests-{os.getpid()}"}
MakeSpec = Callable[..., ContainerSpec]


@pytest.fixture
async def spec(runner: PodmanRunner, busybox: Image, tmp_path: Path) -> AsyncIterator[MakeSpec]:
    """Makes a spec of a shell script, with /input and /output; removes what it led to."""
    for name, mode in (("input", 0o755), ("output", 0o777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "input/a").write_text("content\n")

    def make(script: str, image: Image = busybox, **changes: object) -> ContainerSpec:
        name = f"ce-test-{new_id()}"
        made = ContainerSpec(
            name=name,
            image=image.id,
            command=("/bin/sh", "-c", script),
            environment={"OPERATOR": "one"},
            mounts=(
                BindMount(source=tmp_path / "input", target="/input", read_only=True),
                BindMount(source=tmp_path / "output", target="/output", read_only=False),
            ),
            labels={**MARK, "io.claraedge.operator": name},
            log_path=tmp_path / f"{name}.log",
        )
        return replace(made, **changes)  # type: ignore[arg-type]

    yield make
    for container in await runner.containers(MARK):
        await runner.remove(container.id)


async def started(runner: Runner, spec: ContainerSpec) -> str:
    container = await runner.create(spec)
    await runner.start(container)
    return container


async def run(runner: Runner, spec: ContainerSpec) -> Exit:
    container = await started(runner, spec)
    async with asyncio.timeout(30):
        return await runner.wait(container)


def output(spec: ContainerSpec, stream: str = "stdout") -> list[str]:
    """The lines of a k8s-file log of one stream, without what precedes the text."""
    lines = [line.split(" ", 3) for line in spec.log_path.read_text().splitlines()]
    return [parts[3] for parts in lines if parts[1] == stream]


async def written(path: Path) -> None:
    await eventually(path.exists, f"{path} is there")


def processes(container: str, service: PodmanService) -> tuple[int, int]:
    """(pid, conmon's pid), as Podman itself says."""
    answer = subprocess.run(
        ["podman", "inspect", "--format", "{{.State.Pid}} {{.State.ConmonPid}}", container],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        cwd="/",
    )
    pid, conmon = answer.stdout.split()
    return int(pid), int(conmon)


async def listed(runner: Runner, container: str) -> Container | None:
    return next((c for c in await runner.containers(MARK) if c.id == container), None)


async def test_the_version_names_podman(runner: PodmanRunner) -> None:
    assert (await runner.version()).startswith("Podman ")


# --- exits and logs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("sh -c 'kill -9 $$'; exit $?", 137)],
)
async def test_the_exit_code_of_the_container_is_the_exit(
    runner: PodmanRunner, spec: MakeSpec, script: str, code: int
) -> None:
    assert await run(runner, spec(script)) == Exit(cause=ExitCause.EXITED, code=code)


async def test_a_container_killed_from_outside_has_the_code_of_the_signal(
    runner: PodmanRunner, service: PodmanService, spec: MakeSpec
) -> None:
    container = await started(runner, spec("sleep 60"))
    pid, _ = processes(container, service)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await runner.wait(container) == Exit(cause=ExitCause.EXITED, code=137)


async def test_output_lands_line_by_line_in_the_log_file(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    talking = spec("echo first; echo second; echo bad >&2")
    await run(runner, talking)
    assert output(talking) == ["first", "second"]
    assert output(talking, "stderr") == ["bad"]


async def test_a_container_is_seen_in_each_phase_and_gone_after_its_removal(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    waiting = spec("while [ ! -e /output/go ]; do sleep 0.05; done; exit 4")
    container = await runner.create(waiting)
    seen = await listed(runner, container)
    assert seen is not None
    assert (seen.phase, seen.name, seen.exit_code) == (Phase.CREATED, waiting.name, None)
    assert seen.labels.items() >= waiting.labels.items()
    await runner.start(container)
    seen = await listed(runner, container)
    assert seen is not None
    assert seen.phase is Phase.RUNNING
    (waiting.mounts[1].source / "go").touch()
    await runner.wait(container)
    seen = await listed(runner, container)
    assert seen is not None
    assert (seen.phase, seen.exit_code) == (Phase.STOPPED, 4)
    assert await runner.containers({**MARK, "io.claraedge.operator": "another"}) == []
    await runner.remove(container)
    await runner.remove(container)
    assert await listed(runner, container) is None
    assert (await runner.wait(container)).cause is ExitCause.VANISHED


async def test_the_end_of_a_container_that_never_started_is_an_error(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    container = await runner.create(spec("true"))
    with pytest.raises(ContainerError, match="never started"):
        await runner.wait(container)


async def test_containers_run_side_by_side_and_the_loop_stays_free(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    longest = 0.0

    async def pulse() -> None:
        nonlocal longest
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    pulsing = asyncio.create_task(pulse())
    ends = await asyncio.gather(*(run(runner, spec(f"exit {n}")) for n in range(4)))
    pulsing.cancel()
    assert [end.code for end in ends] == [0, 1, 2, 3]
    assert longest < 0.25, "something blocked the loop"


# --- what a container may do -----------------------------------------------------------------


async def test_inputs_and_root_are_read_only_and_output_and_scratch_are_writable(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    tries = spec(
        "cat /input/a; for f in /input/x /x /bin/x /etc/x /tmp/x /var/tmp/x /run/x /output/x;"
        "do touch $f 2>/dev/null && echo yes $f || echo no $f; done; echo hi > /input/a; true"
    )
    await run(runner, tries)
    assert output(tries) == [
        "content", "no /input/x", "no /x", "no /bin/x", "no /etc/x",
        "yes /tmp/x", "yes /var/tmp/x", "yes /run/x", "yes /output/x",
    ]  # fmt: skip
    assert (tries.mounts[0].source / "a").read_text() == "content\n"
    assert (tries.mounts[1].source / "x").exists()


async def test_a_writable_root_is_given_where_asked_for(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    assert (await run(runner, spec("touch /etc/x /bin/x", writable_root=True))).code == 0


async def test_capabilities_and_new_privileges_are_gone_and_calls_are_filtered(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    shown = spec("cat /proc/self/status")
    await run(runner, shown)
    status = dict(line.split(":", 1) for line in output(shown))
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0
    assert int(status["NoNewPrivs"]) == 1
    assert int(status["Seccomp"]) == 2


async def test_there_is_no_network_but_the_loopback(runner: PodmanRunner, spec: MakeSpec) -> None:
    shown = spec("ls /sys/class/net; grep -c : /proc/net/dev")
    await run(runner, shown)
    assert output(shown) == ["lo", "1"]


async def test_the_environment_is_the_images_and_the_specs_alone(
    other_folder: Path, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("SECRET", "1")
    async with (
        PodmanService(other_folder) as service,
        PodmanRunner(service, other_folder) as runner,
    ):
        shown = spec("env")
        await run(runner, shown)
    names = {line.split("=")[0] for line in output(shown)}
    podmans = {"HOME", "HOSTNAME", "TERM", "container", "SHLVL", "PWD"}
    assert names == {"PATH", "OPERATOR", "NVIDIA_VISIBLE_DEVICES", *podmans}


async def test_the_reduced_call_filter_is_used_where_the_machine_has_a_profile(
    runner: PodmanRunner, runtime_folder: Path, spec: MakeSpec
) -> None:
    if not Path("/usr/share/containers/seccomp.json").exists():
        pytest.skip("this machine has no seccomp profile to reduce")
    reduced = msgspec.json.decode((runtime_folder / "seccomp.json").read_bytes())
    assert len(reduced["archMap"]) == 1
    container = await runner.create(spec("true"))
    answer = subprocess.run(
        ["podman", "inspect", "--format", "{{.OCIConfigPath}}", container],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        cwd="/",
    )
    used = msgspec.json.decode(Path(answer.stdout.strip()).read_bytes())["linux"]["seccomp"]
    assert used["architectures"] == [reduced["archMap"][0]["architecture"]]
    assert used["defaultAction"] == "SCMP_ACT_ERRNO"


async def test_a_volume_of_the_image_is_writable_and_leaves_nothing(
    runner: PodmanRunner, archives: TestImages, spec: MakeSpec
) -> None:
    archive = archives.archive("localhost/ce-test/volume:1", volumes=["/data"])
    (image,) = await runner.load_image(archive)
    assert (await run(runner, spec("touch /data/x", image))).code == 0
    volumes = subprocess.run(
        ["podman", "volume", "ls", "-q"], capture_output=True, text=True, timeout=30, cwd="/"
    )
    assert volumes.stdout == ""


# --- users in containers ---------------------------------------------------------------------


async def test_outputs_of_another_user_with_umask_077_are_read_and_deleted_after_reclaim(
    runner: PodmanRunner, unprivileged: Image, spec: MakeSpec
) -> None:
    writing = spec(
        "umask 077; id -u; cat /input/a; mkdir /output/d; echo result > /output/d/f;"
        "chmod 000 /output/d; ln -s /etc/passwd /output/link; echo top > /output/top",
        unprivileged,
    )
    (writing.mounts[0].source / "a").chmod(0o644)
    assert (await run(runner, writing)).code == 0
    out = writing.mounts[1].source
    assert (out / "top").stat().st_uid != os.getuid()
    with pytest.raises(PermissionError):
        (out / "top").read_text()
    foreign = Path("/etc/passwd").stat()
    await runner.reclaim(out)
    assert (out / "top").read_text() == "top\n"
    assert (out / "d/f").read_text() == "result\n"
    assert Path("/etc/passwd").stat().st_ctime_ns == foreign.st_ctime_ns
    remove(out)
    assert not out.exists()


async def test_the_exit_of_a_container_of_another_user_is_seen_by_its_process(
    runner: PodmanRunner, unprivileged: Image, spec: MakeSpec
) -> None:
    container = await started(runner, spec("sleep 0.3; exit 5", unprivileged))
    assert (await listed(runner, container)).phase is Phase.RUNNING  # type: ignore[union-attr]
    assert await runner.wait(container) == Exit(cause=ExitCause.EXITED, code=5)


# --- adoption and loss -----------------------------------------------------------------------


async def test_another_runner_waits_for_a_container_that_this_one_started(
    runner: PodmanRunner, other_folder: Path, spec: MakeSpec
) -> None:
    waiting = spec("while [ ! -e /output/go ]; do sleep 0.05; done; exit 6")
    container = await started(runner, waiting)
    async with (
        PodmanService(other_folder) as service,
        PodmanRunner(service, other_folder) as other,
    ):
        seen = await listed(other, container)
        assert seen is not None
        assert seen.phase is Phase.RUNNING
        end = asyncio.create_task(other.wait(container))
        (waiting.mounts[1].source / "go").touch()
        async with asyncio.timeout(10):
            assert await end == Exit(cause=ExitCause.EXITED, code=6)


async def test_the_exit_of_a_container_that_ended_unwatched_is_still_known(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    container = await started(runner, spec("exit 7"))

    async def stopped() -> bool:
        seen = await listed(runner, container)
        return seen is not None and seen.phase is Phase.STOPPED

    await eventually(stopped, "it has stopped")
    assert await runner.wait(container) == Exit(cause=ExitCause.EXITED, code=7)
    assert await runner.wait(container) == Exit(cause=ExitCause.EXITED, code=7)


async def test_a_cancelled_wait_leaves_the_container_running(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    waiting = spec("while [ ! -e /output/go ]; do sleep 0.05; done; exit 8")
    container = await started(runner, waiting)
    first = asyncio.create_task(runner.wait(container))
    second = asyncio.create_task(runner.wait(container))
    await written(waiting.log_path)
    await asyncio.sleep(0.05)
    first.cancel()
    (waiting.mounts[1].source / "go").touch()
    assert (await second).code == 8


@pytest.mark.parametrize("watched", [True, False])
async def test_a_container_without_its_supervisor_is_lost_and_nothing_of_it_stays(
    runner: PodmanRunner, service: PodmanService, spec: MakeSpec, watched: bool
) -> None:
    container = await started(runner, spec("sleep 60"))
    pid, conmon = processes(container, service)
    end = asyncio.create_task(runner.wait(container)) if watched else None
    await asyncio.sleep(0.05)
    os.kill(conmon, signal.SIGKILL)
    async with asyncio.timeout(10):
        exit_ = await (end or runner.wait(container))
    assert exit_ == Exit(cause=ExitCause.LOST_SUPERVISOR)
    assert await listed(runner, container) is None
    assert not Path(f"/proc/{pid}/root/bin/busybox").exists()


async def test_a_container_without_its_supervisor_can_be_stopped(
    runner: PodmanRunner, service: PodmanService, spec: MakeSpec
) -> None:
    container = await started(runner, spec("sleep 60"))
    _, conmon = processes(container, service)
    os.kill(conmon, signal.SIGKILL)
    async with asyncio.timeout(20):
        await runner.stop(container, 0.0)
        assert (await runner.wait(container)).cause is ExitCause.LOST_SUPERVISOR


async def test_a_container_that_died_with_its_supervisor_is_interrupted_then_lost(
    runner: PodmanRunner, service: PodmanService, spec: MakeSpec
) -> None:
    container = await started(runner, spec("sleep 60"))
    pid, conmon = processes(container, service)
    os.kill(conmon, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)

    async def gone() -> bool:
        return not alive(pid, container) and not alive(conmon, container, supervisor=True)

    await eventually(gone, "its processes are gone")
    seen = await listed(runner, container)
    assert seen is not None
    assert seen.phase is Phase.INTERRUPTED
    assert (await runner.wait(container)).cause is ExitCause.LOST_SUPERVISOR
    assert await listed(runner, container) is None


async def test_the_exit_code_survives_a_killed_service(
    runner: PodmanRunner, service: PodmanService, spec: MakeSpec
) -> None:
    waiting = spec("while [ ! -e /output/go ]; do sleep 0.02; done; exit 9")
    container = await started(runner, waiting)
    end = asyncio.create_task(runner.wait(container))
    assert service.process_id is not None
    os.kill(service.process_id, signal.SIGKILL)
    (waiting.mounts[1].source / "go").touch()
    async with asyncio.timeout(30):
        assert await end == Exit(cause=ExitCause.EXITED, code=9)


async def test_a_container_that_somebody_removes_has_vanished(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    container = await started(runner, spec("sleep 60"))
    end = asyncio.create_task(runner.wait(container))
    removal = await asyncio.create_subprocess_exec(
        "podman",
        "rm",
        "--force",
        "--time",
        "0",
        container,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )
    async with asyncio.timeout(20):
        assert await removal.wait() == 0
        assert (await end).cause in (ExitCause.VANISHED, ExitCause.EXITED)
        assert (await runner.wait(container)).cause is ExitCause.VANISHED


@pytest.mark.parametrize("code", [1, 137, 0])
async def test_out_of_memory_is_reported_whatever_the_exit_code(
    runner: PodmanRunner, spec: MakeSpec, code: int
) -> None:
    """Where only a child was killed, the first process ends with a code of its own.

    Limits are not enforced on every machine, so the note is made here that conmon makes there: an
    empty file in the container's folder, before the exit code is written.
    """
    made = spec(f"touch /output/up; until [ -e /input/go ]; do sleep 0.02; done; exit {code}")
    container = await started(runner, made)
    waiting = asyncio.create_task(runner.wait(container))
    await written(made.mounts[1].source / "up")
    folder = subprocess.run(
        ["podman", "inspect", "--format", "{{.OCIConfigPath}}", container],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (Path(folder).parent / "oom").touch()
    (made.mounts[0].source / "go").touch()
    end = await waiting
    assert (end.cause, end.code) == (ExitCause.EXITED, code)
    assert end.out_of_memory or code == 0  # what succeeded needs no reason


async def test_the_runner_knows_which_limits_are_enforced(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    """The control group of a container says whether a limit is set."""
    limits = await runner.limits()
    v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    assert v2 or limits == frozenset()
    made = spec(
        "for f in memory.max memory.swap.max pids.max; do cat /sys/fs/cgroup/$f; done; true",
        memory=64 << 20,
        pids=77,
    )
    await run(runner, made)
    set_ = set(output(made))
    assert (str(64 << 20) in set_) == (Limit.MEMORY in limits)
    assert ("77" in set_) == (Limit.PIDS in limits)


# --- refusals --------------------------------------------------------------------------------


async def test_a_missing_image_is_named_and_nothing_is_left(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    missing = "0" * 64
    with pytest.raises(ImageNotFoundError, match=missing):
        await runner.create(replace(spec("true"), image=missing))
    assert await runner.containers(MARK) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"devices": ("vendor.com/x=0",)}, "no CDI name"),
        ({"devices": ("gpu",)}, "no CDI name"),
        ({"devices": ("example.com/nothing=0",)}, "unresolvable CDI devices"),
        ({"command": ("/nowhere",)}, "/nowhere"),
        (
            {"mounts": (BindMount(source=Path("/nowhere"), target="/i", read_only=True),)},
            "/nowhere",
        ),
    ],
)
async def test_a_refusal_carries_podmans_reason_and_leaves_nothing(
    runner: PodmanRunner, spec: MakeSpec, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(ContainerError, match=reason):
        await runner.create(spec("true", **changes))
    assert await runner.containers(MARK) == []


@pytest.mark.parametrize("pauses", [(0.02,), (0.02, 0.01), (0.02, 0.02)])
async def test_a_cancelled_create_leaves_nothing_however_often_it_is_cancelled(
    runner: PodmanRunner, spec: MakeSpec, pauses: tuple[float, ...]
) -> None:
    before = asyncio.all_tasks()
    making = asyncio.create_task(runner.create(spec("true")))
    for pause in pauses:
        await asyncio.sleep(pause)
        making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    if working := asyncio.all_tasks() - before - {making}:
        await asyncio.wait(working, timeout=20)
    assert await runner.containers(MARK) == []


# --- stopping --------------------------------------------------------------------------------


async def test_stop_asks_first_and_the_code_is_the_programs(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    polite = spec("trap 'exit 5' TERM; touch /output/ready; while true; do sleep 0.05; done")
    container = await started(runner, polite)
    await written(polite.mounts[1].source / "ready")
    began = time.monotonic()
    assert await runner.stop(container, 10.0) is True
    assert time.monotonic() - began < 5
    assert await runner.wait(container) == Exit(cause=ExitCause.EXITED, code=5)
    assert await runner.stop(container, 10.0) is False
    found = await listed(runner, container)
    assert found is not None
    assert found.ended is not None
    assert time.time() - 20 < found.ended <= time.time(), "in Unix seconds"


async def test_stop_kills_what_ignores_it_after_the_grace(
    runner: PodmanRunner, spec: MakeSpec
) -> None:
    deaf = spec("trap '' TERM; touch /output/ready; while true; do sleep 0.05; done")
    container = await started(runner, deaf)
    await written(deaf.mounts[1].source / "ready")
    end = asyncio.create_task(runner.wait(container))
    assert await runner.stop(container, 1.0) is True
    async with asyncio.timeout(10):
        assert await end == Exit(cause=ExitCause.EXITED, code=137)
    await runner.remove(container)
    assert await runner.stop(container, 1.0) is False


async def test_remove_kills_what_runs_without_waiting(runner: PodmanRunner, spec: MakeSpec) -> None:
    container = await started(runner, spec("trap '' TERM; while true; do sleep 0.05; done"))
    began = time.monotonic()
    await runner.remove(container)
    assert time.monotonic() - began < 5
    assert await listed(runner, container) is None


# --- images ----------------------------------------------------------------------------------


async def test_a_loaded_image_is_found_by_short_and_full_name_and_by_id(
    runner: PodmanRunner, tmp_path: Path
) -> None:
    name = "localhost/ce-test/found:7"
    archive = busybox_image(
        tmp_path / "a.tar", name, user="1000:1000", entrypoint=["/bin/echo"], command=["hello"]
    )
    (image,) = await runner.load_image(archive)
    assert (image.names, image.user) == ((name,), "1000:1000")
    assert (image.entrypoint, image.command) == (("/bin/echo",), ("hello",))
    assert image.size > 500_000
    assert image.created == pytest.approx(1704164645.678901)
    for reference in (name, "ce-test/found:7", image.id, f"sha256:{image.id}"):
        assert await runner.find_image(reference) == image
    for reference in ("ce-test/found:8", "found:7", "not a name", "", "f" * 64):
        assert await runner.find_image(reference) is None
    assert image in await runner.list_images()


async def test_an_oci_archive_and_an_archive_without_a_name_are_loaded(
    runner: PodmanRunner, busybox: Image, tmp_path: Path
) -> None:
    saved = subprocess.run(
        ["podman", "save", "--format", "oci-archive", "-o", str(tmp_path / "o.tar"), busybox.id],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )
    assert saved.returncode == 0, saved.stderr
    (image,) = await runner.load_image(tmp_path / "o.tar")
    assert (await runner.find_image(image.id)) is not None
    nameless = busybox_image(tmp_path / "n.tar", None)
    (image,) = await runner.load_image(nameless)
    assert await runner.find_image(image.id) is not None


async def test_an_entry_point_gets_the_command_as_arguments(
    runner: PodmanRunner, spec: MakeSpec, tmp_path: Path
) -> None:
    archive = busybox_image(
        tmp_path / "e.tar",
        "localhost/ce-test/entry:1",
        entrypoint=["/bin/echo", "a"],
        command=["b"],
    )
    (image,) = await runner.load_image(archive)
    for command, said in (((), "a b"), (("c", "d"), "a c d")):
        talking = spec("", image, command=command)
        await run(runner, talking)
        assert output(talking) == [said]


async def test_what_is_no_archive_is_refused_with_podmans_reason(
    runner: PodmanRunner, tmp_path: Path
) -> None:
    (tmp_path / "x.tar").write_bytes(b"no archive" * 1000)
    with pytest.raises(InvalidImageError, match="no archive of an image"):
        await runner.load_image(tmp_path / "x.tar")
    with pytest.raises(InvalidImageError, match=r"none\.tar"):
        await runner.load_image(tmp_path / "none.tar")


async def test_calls_fail_in_bounded_time_where_the_service_is_gone(
    other_folder: Path,
) -> None:
    async with PodmanService(other_folder, patience=0.2) as service:
        gone = PodmanRunner(service, other_folder)
    began = time.monotonic()
    with pytest.raises(RunnerUnavailableError):
        await gone.containers({})
    assert time.monotonic() - began < 5


async def test_a_hung_podman_keeps_no_other_work_waiting(
    other_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_store, "_ASK", 0.5)
    monkeypatch.setattr(podman, "_PING", 0.5)
    async with (
        PodmanService(other_folder) as service,
        PodmanRunner(service, other_folder) as runner,
    ):
        assert service.process_id is not None
        os.kill(service.process_id, signal.SIGSTOP)
        try:
            asked = [asyncio.ensure_future(runner.list_images()) for _ in range(20)]
            await asyncio.sleep(0)
            async with asyncio.timeout(0.4):  # sooner than any of them gives up
                assert await in_thread(os.getpid) == os.getpid()
            async with asyncio.timeout(5):
                assert await runner.version() == ""
                ends = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(end, RunnerUnavailableError) for end in ends)
        finally:
            os.kill(service.process_id, signal.SIGCONT)
        monkeypatch.undo()
        assert await runner.list_images() is not None


async def test_what_podman_died_in_the_middle_of_stopping_is_ended_by_its_removal(
    runner: PodmanRunner, service: PodmanService, spec: MakeSpec
) -> None:
    deaf = spec("trap '' TERM; touch /output/ready; while true; do sleep 0.05; done")
    container = await started(runner, deaf)
    await written(deaf.mounts[1].source / "ready")
    pid, _ = processes(container, service)
    stopping = asyncio.create_task(runner.stop(container, 60.0))

    async def is_stopping() -> bool:
        shown = subprocess.run(
            ["podman", "inspect", "--format", "{{.State.Status}}", container],
            capture_output=True, text=True, check=True, cwd="/", timeout=60,
        )  # fmt: skip
        return shown.stdout.strip() == "stopping"

    await eventually(is_stopping, "it is being stopped")
    assert service.process_id is not None
    os.kill(service.process_id, signal.SIGKILL)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    await runner.remove(container)

    async def is_gone() -> bool:
        return not Path(f"/proc/{pid}").exists()

    await eventually(is_gone, "its process is gone")
