"""The in-memory runner keeps the promises of the Runner protocol."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from claraedge.errors import (
    ContainerError,
    ImageNotFoundError,
    InvalidImageError,
    NetworkError,
    RunnerUnavailableError,
)
from claraedge.runner.memory import MemoryRunner, host_path, write_log
from claraedge.runner.protocol import (
    LABEL_EXECUTABLE_NAME,
    LABEL_OPERATOR,
    BindMount,
    ContainerSpec,
    ExitCause,
    Phase,
    Runner,
)


@pytest.fixture
def runner() -> MemoryRunner:
    return MemoryRunner()


def spec_for(runner: MemoryRunner, folder: Path, name: str = "one") -> ContainerSpec:
    async def program(spec: ContainerSpec) -> int:
        (host_path(spec, "/output") / "a").write_text("done")
        write_log(spec, "first\nsecond")
        return 3

    image = runner.add_image("app:1", program)
    out = folder / "out"
    out.mkdir(exist_ok=True)
    return ContainerSpec(
        name=name,
        image=image.id,
        mounts=(BindMount(source=out, target="/output", read_only=False),),
        labels={LABEL_OPERATOR: name, "x": "y"},
        log_path=folder / "log",
    )


async def test_it_is_a_runner(runner: MemoryRunner) -> None:
    as_protocol: Runner = runner
    assert await as_protocol.list_images() == []


async def test_a_program_writes_files_and_a_log_and_its_code_is_the_exit(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    container = await runner.create(spec_for(runner, tmp_path))
    assert [c.phase for c in await runner.containers({})] == [Phase.CREATED]
    await runner.start(container)
    end = await runner.wait(container)
    assert (end.cause, end.code) == (ExitCause.EXITED, 3)
    assert (tmp_path / "out/a").read_text() == "done"
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split(" ", 3)[1:] for line in lines] == [
        ["stdout", "F", "first"],
        ["stdout", "F", "second"],
    ]
    (listed,) = await runner.containers({"x": "y"})
    assert (listed.phase, listed.exit_code) == (Phase.STOPPED, 3)
    assert await runner.containers({"x": "z"}) == []
    await runner.remove(container)
    await runner.remove(container)
    assert await runner.containers({}) == []


async def test_a_blocked_operator_runs_until_it_is_released(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    runner.block("one")
    container = await runner.create(spec_for(runner, tmp_path))
    await runner.start(container)
    await runner.running("one")
    assert not (tmp_path / "out/a").exists()
    first = asyncio.create_task(runner.wait(container))
    await asyncio.sleep(0)
    first.cancel()
    runner.release("one")
    assert (await runner.wait(container)).code == 3
    assert len(runner.started) == 1


async def test_only_a_fresh_container_starts_and_only_a_started_one_has_an_end(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    runner.block("one")
    container = await runner.create(spec_for(runner, tmp_path))
    with pytest.raises(ContainerError, match="never started"):
        await runner.wait(container)
    await runner.start(container)
    await runner.start(container)
    assert len(runner.started) == 1
    runner.release("one")
    await runner.wait(container)
    with pytest.raises(ContainerError, match="started before"):
        await runner.start(container)


async def test_stop_ends_with_143_and_a_deaf_program_with_137(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    runner.block("one")
    container = await runner.create(spec_for(runner, tmp_path))
    await runner.start(container)
    await asyncio.sleep(0)
    await runner.stop(container, 1.0)
    assert (await runner.wait(container)).code == 143

    async def deaf(spec: ContainerSpec) -> int:
        while not finish.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await finish.wait()
        return 0

    finish = asyncio.Event()
    image = runner.add_image("deaf:1", deaf)
    deaf_spec = ContainerSpec(name="deaf", image=image.id, log_path=tmp_path / "log2")
    other = await runner.create(deaf_spec)
    await runner.start(other)
    await asyncio.sleep(0)
    await runner.stop(other, 0.01)
    assert (await runner.wait(other)).code == 137
    finish.set()
    await runner.remove(other)


@pytest.mark.parametrize(
    ("fault", "cause", "code", "memory"),
    [
        ("vanish", ExitCause.VANISHED, None, False),
        ("lose_supervisor", ExitCause.LOST_SUPERVISOR, None, False),
        ("run_out_of_memory", ExitCause.EXITED, 137, True),
    ],
)
async def test_faults_reach_the_waiter(
    runner: MemoryRunner,
    tmp_path: Path,
    fault: str,
    cause: ExitCause,
    code: int | None,
    memory: bool,
) -> None:
    runner.block("one")
    container = await runner.create(spec_for(runner, tmp_path))
    await runner.start(container)
    waiter = asyncio.create_task(runner.wait(container))
    await asyncio.sleep(0)
    getattr(runner, fault)("one")
    end = await waiter
    assert (end.cause, end.code, end.out_of_memory) == (cause, code, memory)


async def test_a_supervisor_lost_before_anybody_waits_is_reported_to_the_first_who_does(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    runner.block("one")
    container = await runner.create(spec_for(runner, tmp_path))
    await runner.start(container)
    runner.lose_supervisor("one")
    assert [c.phase for c in await runner.containers({})] == [Phase.RUNNING]
    assert (await runner.wait(container)).cause is ExitCause.LOST_SUPERVISOR
    assert await runner.containers({}) == []


async def test_a_power_cut_leaves_running_containers_interrupted(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    runner.block("one")
    spec = spec_for(runner, tmp_path)
    container = await runner.create(spec)
    await runner.start(container)
    runner.cut_power()
    assert [c.phase for c in await runner.containers({})] == [Phase.INTERRUPTED]
    assert (await runner.wait(container)).cause is ExitCause.VANISHED


async def test_refusals_are_raised_once_each_and_leave_nothing(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    spec = spec_for(runner, tmp_path)
    runner.fail_create("one", "no space")
    with pytest.raises(ContainerError, match="no space"):
        await runner.create(spec)
    assert await runner.containers({}) == []
    container = await runner.create(spec)
    runner.fail_start("one", "broken pipe")
    with pytest.raises(ContainerError, match="broken pipe"):
        await runner.start(container)
    await runner.start(container)
    assert (await runner.wait(container)).code == 3


async def test_images_are_found_by_name_and_id_and_missing_ones_are_refused(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    spec = spec_for(runner, tmp_path)
    found = await runner.find_image("app:1")
    assert found is not None
    assert await runner.find_image(found.id) == found
    assert await runner.find_image("app:2") is None
    with pytest.raises(InvalidImageError):
        await runner.load_image(tmp_path / "no.tar")
    runner.drop_image("app:1")
    with pytest.raises(ImageNotFoundError):
        await runner.create(spec)


async def test_an_unavailable_runner_raises_and_what_runs_goes_on(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    container = await runner.create(spec_for(runner, tmp_path))
    await runner.start(container)
    runner.available = False
    with pytest.raises(RunnerUnavailableError):
        await runner.containers({})
    runner.available = True
    assert (await runner.wait(container)).code == 3


async def for_ever(_spec: ContainerSpec) -> int:
    await asyncio.Event().wait()
    return 0


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())


async def open_to(runner: MemoryRunner, container: str, address: str) -> bool:
    try:
        async with runner.dial(container, address, 80) as (reader, writer):
            writer.write(b"ping\n")
            return await reader.readline() == b"ping\n"
    except ConnectionError:
        return False


def joining(folder: Path, image: str, name: str, **fields: Any) -> ContainerSpec:
    labels = {LABEL_EXECUTABLE_NAME: name}
    return ContainerSpec(
        name=name, image=image, labels=labels, log_path=folder / f"{name}.log", **fields
    )


async def test_containers_that_join_a_holder_share_its_network_and_outlive_each_other(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    image = runner.add_image("app:1", for_ever, listens={80: accept}).id
    await runner.create_network("n", {}, outside=True)
    assert runner.outside == {"n"}
    holder = await runner.create(joining(tmp_path, image, "holder", networks={"n": "10.89.0.9"}))
    assert await runner.holds(holder)
    assert not await open_to(runner, holder, "10.89.0.9"), "it runs nothing"
    first = await runner.create(joining(tmp_path, image, "a", joins=holder))
    await runner.start(first)
    for container in (first, holder):
        for address in ("10.89.0.9", "127.0.0.1"):
            assert await open_to(runner, container, address)
    assert not await open_to(runner, first, "10.89.0.8")
    with pytest.raises(NetworkError):
        await runner.connect(first, "n", "10.89.0.8")
    runner.kill("a", 9)
    assert (await runner.wait(first)).code == 9
    assert await runner.holds(holder)
    assert not await open_to(runner, holder, "127.0.0.1")


@pytest.mark.parametrize("loss", ["kill", "remove", "power", "start"])
async def test_a_holder_that_is_lost_is_noticed_and_joined_no_more(
    runner: MemoryRunner, tmp_path: Path, loss: str
) -> None:
    image = runner.add_image("app:1", for_ever).id
    holder = await runner.create(joining(tmp_path, image, "holder"))
    released = asyncio.create_task(runner.released(holder))
    await asyncio.sleep(0)
    assert not released.done()
    match loss:
        case "kill":
            runner.kill("holder")
        case "remove":
            await runner.remove(holder)
        case "power":
            runner.cut_power()
        case "start":
            await runner.start(holder)
    async with asyncio.timeout(5):
        await released
        await runner.released(holder)
    assert not await runner.holds(holder)
    with pytest.raises(ContainerError, match="cannot join"):
        await runner.create(joining(tmp_path, image, "a", joins=holder))
