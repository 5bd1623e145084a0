"""Values in shared memory: passed on, checked, restored after a restart, removed at the end."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.errors import RunnerUnavailableError
from claraedge.fs import files
from claraedge.fs.walking import allocated
from claraedge.jobs.model import Job, JobState, JobStatus, OperatorStatus
from claraedge.jobs.operators import shared_values, values
from claraedge.jobs.operators.values import SharedMemory
from claraedge.runner.memory import Program, host_path
from claraedge.runner.protocol import LABEL_SERVICES, ContainerSpec, Space
from tests.rig.device import Device, all_stopped, copy
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

SHAPE = "[4, 4]"
TEXT = """
api-version: 0.5.0
name: values
operators:
- name: make
  container: {image: make, tag: '1', command: [make]}
  input: [{name: study, type: stream, element-type: any, path: /in}]
  output:
  - {name: image, type: array, element-type: u8, shape: SHAPE}
  - {name: text, type: string}
  - {name: files, type: stream, element-type: any, path: /out}
- name: read
  container: {image: read, tag: '1', command: [read]}
  input:
  - {from: make, name: image, type: array, element-type: u8, shape: SHAPE}
  - {from: make, name: text, type: string}
  output: [{name: seen, type: stream, element-type: any, path: /out}]
"""
#: A service of the operator `make`, before the next operator.
SERVED = """\
  services:
  - name: viewer
    container: {image: viewer, tag: '1'}
    connections: {http: [{name: URI, port: 8080}]}
- name: read"""
IMAGE, STRING = "/clara/fastio/output/image", "/clara/fastio/output/text"


def text(shape: str = SHAPE) -> str:
    return TEXT.replace("SHAPE", shape)


async def serve(_spec: ContainerSpec) -> int:
    await asyncio.Event().wait()
    return 0


async def accept(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def make(spec: ContainerSpec) -> int:
    image = host_path(spec, IMAGE)
    assert image.read_bytes() == bytes(image.stat().st_size), "it has its size, and is empty"
    with image.open("r+b") as file:
        file.write(b"0123456789abcdef")
    host_path(spec, STRING).write_bytes(b"a text")
    return 0


async def read(spec: ContainerSpec) -> int:
    seen = host_path(spec, "/out")
    for name in ("image", "text"):
        shutil.copy(host_path(spec, f"/clara/fastio/input/make/{name}"), seen / name)
    return 0


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    device.runner.add_image("make:1", make)
    device.runner.add_image("read:1", read)
    device.runner.add_image("copy:1", copy)
    yield device
    shutil.rmtree(root(device), ignore_errors=True)


def root(device: Device) -> Path:
    return device.shared_memory / f"claraedge-{device.instance}"


async def freed(device: Device) -> None:
    """A job's memory is free shortly after its end is known."""
    await eventually(lambda: not root(device).exists(), "the memory is free")


def copies(device: Device, job: Job) -> list[str]:
    operators = device.state / "payloads" / job.payload / "operators"
    return sorted(str(p.relative_to(operators)) for p in operators.rglob("*.values/*"))


async def seen(rig: EngineRig, job: Job) -> dict[str, bytes]:
    folder = rig.device.state / "payloads" / job.payload / "operators" / "read" / "1" / "seen"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_values_are_passed_on_and_leave_nothing(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text()), {"x": b"1"})
        ended = await rig.end(job.id)
        assert (ended.status, ended.messages) == (JobStatus.HEALTHY, ())
        assert await seen(rig, job) == {"image": b"0123456789abcdef", "text": b"a text"}
        assert await rig.listing(job.payload) == [
            "input/x",
            "operators/read/seen/image",
            "operators/read/seen/text",
        ]
        await freed(device)
    assert not root(device).exists()
    assert copies(device, job) == []


async def test_a_writer_may_write_and_a_reader_may_read_whoever_it_is(device: Device) -> None:
    device.runner.block("make")
    device.runner.block("read")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text()), {"x": b"1"})
        writer = await rig.until_runs("make")
        (folder,) = (m for m in writer.mounts if m.target == "/clara/fastio/output")
        assert not folder.read_only
        assert stat.S_IMODE(folder.source.stat().st_mode) == 0o777
        assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.source.iterdir()} == {
            "image": 0o666,
            "text": 0o666,
        }
        for parent in (root(device), folder.source.parent, folder.source.parent.parent):
            assert stat.S_IMODE(parent.stat().st_mode) == 0o700
        host_path(writer, IMAGE).chmod(0o600)
        device.runner.release("make")
        reader = await rig.until_runs("read")
        for name in ("image", "text"):
            target = f"/clara/fastio/input/make/{name}"
            (mount,) = (m for m in reader.mounts if m.target == target)
            assert mount.read_only
            assert stat.S_IMODE(mount.source.stat().st_mode) == 0o644
        device.runner.release("read")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_memory_of_a_known_size_is_taken_before_the_writer_runs(device: Device) -> None:
    device.runner.block("make")
    async with engine_rig(device) as rig:
        await rig.job(await rig.register(text("[64, 1024]")), {"x": b"1"})
        spec = await rig.until_runs("make")
        found = host_path(spec, IMAGE).stat()
        assert (found.st_size, found.st_blocks * 512) == (65536, 65536)


@pytest.mark.parametrize("moment", ["make runs", "between", "read runs"])
@pytest.mark.parametrize("what", ["kill", "restart of the machine"])
async def test_a_break_at_any_point_loses_no_value(
    device: Device, what: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()
    operator = "make" if moment == "make runs" else "read"
    if moment == "between":
        real = shared_values.SharedValues.place

        async def place(values_of: shared_values.SharedValues, attempt: int) -> None:
            if values_of._operator.name == "read":
                reached.set()
                await asyncio.Event().wait()
            await real(values_of, attempt)

        monkeypatch.setattr(shared_values.SharedValues, "place", place)
    else:
        device.runner.block(operator)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text()), {"x": b"1"})
        if moment == "between":
            async with asyncio.timeout(10):
                await reached.wait()
            monkeypatch.undo()
        else:
            await rig.until_runs(operator)
    if what == "restart of the machine":
        device.runner.cut_power()
        device.boot = "boot-2"
        shutil.rmtree(root(device))
    if moment != "between":
        device.runner.release(operator)
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY, ended.messages
        seen_in = next((device.state / "payloads" / job.payload).glob("operators/read/*/seen"))
        assert (seen_in / "image").read_bytes() == b"0123456789abcdef"
        assert (seen_in / "text").read_bytes() == b"a text"
        await freed(device)
    assert not root(device).exists()
    assert copies(device, job) == []


async def test_values_that_the_machine_took_before_they_were_kept_are_made_again(
    device: Device,
) -> None:
    """The container has ended well, and the machine restarts before the daemon notices."""
    device.runner.block("make")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text()), {"x": b"1"})
        await rig.until_runs("make")
    device.runner.release("make")
    await all_stopped(device.runner)
    shutil.rmtree(root(device))
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY
        assert ended.operators[0].interruptions == 1
        assert await seen(rig, job) == {"image": b"0123456789abcdef", "text": b"a text"}


async def test_an_outage_before_the_writer_runs_delays_it_alone(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its values were placed by then, and are placed again by the next try."""
    real, tried = device.runner.create, asyncio.Event()

    async def create(spec: ContainerSpec) -> str:
        if not tried.is_set():
            await eventually(lambda: list(root(device).rglob("image")), "its values are placed")
            tried.set()
            raise RunnerUnavailableError("Podman does not answer")
        return await real(spec)

    monkeypatch.setattr(device.runner, "create", create)
    async with engine_rig(device) as rig:
        ended = await _end_of(rig, text())
        assert tried.is_set()
        assert ended.status is JobStatus.HEALTHY, ended.messages
        await freed(device)


def test_a_folder_of_another_user_costs_the_jobs_with_values_alone(tmp_path: Path) -> None:
    memory = SharedMemory(tmp_path, "one")
    memory.root.write_text("no folder")
    assert memory.jobs() == []
    assert memory.measure({"job": 1}) is None
    assert memory.measure({}) is not None


async def removes(spec: ContainerSpec) -> int:
    host_path(spec, IMAGE).unlink()
    return 0


async def links(spec: ContainerSpec) -> int:
    host_path(spec, STRING).unlink()
    host_path(spec, STRING).symlink_to("/etc/passwd")
    return 0


async def makes_a_folder(spec: ContainerSpec) -> int:
    host_path(spec, STRING).unlink()
    host_path(spec, STRING).mkdir()
    return 0


async def makes_a_pipe(spec: ContainerSpec) -> int:
    host_path(spec, STRING).unlink()
    os.mkfifo(host_path(spec, STRING))
    return 0


async def shortens(spec: ContainerSpec) -> int:
    os.truncate(host_path(spec, IMAGE), 3)
    return 0


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (removes, "removed the file of its value `image` (/clara/fastio/output/image)"),
        (links, "no regular file as its value `text`"),
        (makes_a_folder, "no regular file as its value `text`"),
        (makes_a_pipe, "no regular file as its value `text`"),
        (shortens, "left 3 bytes in its value `image`"),
    ],
)
async def test_a_value_that_no_reader_could_use_faults_its_writer(
    device: Device, program: Program, said: str
) -> None:
    device.runner.add_image("make:1", program)
    async with engine_rig(device) as rig:
        ended = await rig.end((await rig.job(await rig.register(text()))).id)
        assert ended.status is JobStatus.FAULTED
        assert [o.status for o in ended.operators] == [
            OperatorStatus.FAULTED,
            OperatorStatus.PENDING,
        ]
        assert said in ended.messages[0]
        await freed(device)
    assert not root(device).exists()


async def test_another_file_in_place_of_a_value_and_files_next_to_it_are_accepted(
    device: Device,
) -> None:
    async def replaces(spec: ContainerSpec) -> int:
        image = host_path(spec, IMAGE)
        image.with_name("scratch").mkdir()
        image.with_name("new").write_bytes(b"fedcba9876543210")
        image.with_name("new").rename(image)
        return 0

    device.runner.add_image("make:1", replaces)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text()))
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        assert await seen(rig, job) == {"image": b"fedcba9876543210", "text": b""}


async def test_a_foreign_owner_blocks_no_removal(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "has_foreign", lambda folder: folder.exists())
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text()), {"x": b"1"})
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        await freed(device)
    assert SharedMemory(device.shared_memory, device.instance).job(job.id) in (
        device.runner.reclaimed
    )


async def test_what_belongs_to_no_running_job_goes_at_start(device: Device) -> None:
    left = root(device) / ("1" * 32) / "make" / "1"
    left.mkdir(parents=True)
    (left / "image").write_bytes(b"old")
    async with engine_rig(device):
        assert not root(device).exists()


async def test_a_folder_that_is_not_in_memory_is_refused_only_where_it_is_needed(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "_kind_of", lambda _: "ext4")
    async with engine_rig(device) as rig:
        assert (await _end_of(rig, text())).messages == (
            "operator make: engine.shared_memory_dir: /dev/shm is on ext4, not in memory; name a"
            " folder on a tmpfs, such as /dev/shm",
        )
        assert (await _end_of(rig, chain("one"))).status is JobStatus.HEALTHY
    device.shared_memory = tmp_path / "absent"
    async with engine_rig(device) as rig:
        (message,) = (await _end_of(rig, text())).messages
    assert "absent: No such file or directory; name a folder on a tmpfs" in message


async def says(rig: EngineRig, job: Job, text: str) -> None:
    await rig.until(job.id, lambda job: any(text in message for message in job.messages))


async def _end_of(rig: EngineRig, definition: str) -> Job:
    return await rig.end((await rig.job(await rig.register(definition))).id)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tmpfs of 100 kB, as far as the daemon can tell."""

    def space(memory: SharedMemory) -> Space:
        taken = allocated(memory.root)
        return Space(free=100_000 - taken, total=100_000)

    monkeypatch.setattr(SharedMemory, "space", space)


@pytest.mark.usefixtures("small")
async def test_values_that_can_never_fit_fault_at_once_and_say_what_to_do(device: Device) -> None:
    async with engine_rig(device) as rig:
        ended = await _end_of(rig, text("[1024, 1024]"))
        assert ended.status is JobStatus.FAULTED
        assert "take 1 MB of shared memory" in ended.messages[0]
        assert "engine.shared_memory_dir" in ended.messages[0]
    assert device.runner.started == []


@pytest.mark.usefixtures("small")
async def test_a_job_waits_for_room_that_others_hold_and_keeps_its_turn(device: Device) -> None:
    device.runner.block("make")
    async with engine_rig(device) as rig:
        large = await rig.register(text("[60, 1024]"))
        # There is room for it and the first one: it waits because the second asked before it.
        small = await rig.register(text("[36, 1024]"))
        first = await rig.job(large)
        await rig.until_runs("make")
        second = await rig.job(large)
        await says(rig, second, "waits for 1 MB of shared memory, which other jobs hold")
        third = await rig.job(small)
        await says(rig, third, "waits for 1 MB of shared memory")
        assert (await rig.jobs.get(second.id)).state is JobState.PENDING
        device.runner.release("make")
        ends = [await rig.end(job.id) for job in (first, second, third)]
        assert [ended.status for ended in ends] == [JobStatus.HEALTHY] * 3
        assert [len(ended.messages) for ended in ends] == [0, 1, 1]


@pytest.mark.usefixtures("small")
async def test_services_start_after_the_memory_of_the_values_is_reserved(device: Device) -> None:
    """A job that waits for shared memory would keep the GPU or memory of its services."""
    device.runner.add_image("viewer:1", serve, listens={8080: accept})
    device.runner.block("make")
    async with engine_rig(device) as rig:
        first = await rig.job(await rig.register(text("[60, 1024]")))
        await rig.until_runs("make")
        second = await rig.job(
            await rig.register(text("[60, 1024]").replace("- name: read", SERVED))
        )
        await says(rig, second, "waits for 1 MB of shared memory, which other jobs hold")
        await rig.tick()
        assert await device.runner.containers({LABEL_SERVICES: device.instance}) == []
        device.runner.release("make")
        ends = [await rig.end(job.id) for job in (first, second)]
        assert [ended.status for ended in ends] == [JobStatus.HEALTHY] * 2, ends[1].messages


@pytest.mark.usefixtures("small")
async def test_a_job_that_waits_for_room_can_be_cancelled(device: Device) -> None:
    device.runner.block("make")
    async with engine_rig(device) as rig:
        large = await rig.register(text("[60, 1024]"))
        first = await rig.job(large)
        await rig.until_runs("make")
        second, third = await rig.job(large), await rig.job(large)
        for job in (second, third):
            await says(rig, job, "waits for 1 MB of shared memory")
        await rig.jobs.cancel(second.id, "not needed")
        assert (await rig.end(second.id)).status is JobStatus.CANCELED
        device.runner.release("make")
        for job in (first, third):
            assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_a_tmpfs_that_strangers_filled_faults_the_writer(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    async with engine_rig(device) as rig:
        ended = await _end_of(rig, text())
        assert ended.status is JobStatus.FAULTED
        assert "there is no room for 2 values that it writes in /dev/shm" in ended.messages[0]
        await freed(device)
    assert device.runner.started == []
    assert not root(device).exists()
