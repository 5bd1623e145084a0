"""Containers that join the network of another, and networks with a way out, on real Podman."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from claraedge.blocking import in_thread
from claraedge.errors import ContainerError
from claraedge.ids import new_id
from claraedge.runner.log_lines import tail
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import LABEL_DEPLOYMENTS, ContainerSpec, Image, Network, Phase
from claraedge.runner.service.service import PodmanService
from claraedge.runner.user_namespaces import UserNamespace
from tests.rig.waiting import eventually

pytestmark = pytest.mark.podman

ECHO = ("busybox", "nc", "-ll", "-p", "80", "-e", "cat")
IDLE = ("sleep", "1000")
Spec = Callable[..., ContainerSpec]


@pytest.fixture
def spec(tmp_path: Path, busybox: Image, mark: dict[str, str]) -> Spec:
    def make(*command: str, image: str = busybox.id, **fields: Any) -> ContainerSpec:
        name = f"ce-join-{new_id()}"
        return ContainerSpec(
            name=name,
            image=image,
            command=command,
            labels=mark,
            log_path=tmp_path / f"{name}.log",
            **fields,
        )

    return make


@pytest.fixture
async def mark(runner: PodmanRunner) -> AsyncIterator[dict[str, str]]:
    """The labels of everything of a test; all of it is gone afterwards."""
    labels = {LABEL_DEPLOYMENTS: new_id()}
    yield labels
    for container in await runner.containers(labels):
        await runner.remove(container.id)
    for network in await runner.networks(labels):
        await runner.remove_network(network.name)


async def network(runner: PodmanRunner, mark: dict[str, str], **how: bool) -> Network:
    return await runner.create_network(f"ce-join-{new_id()}", mark, **how)


def address(network: Network, last: int = 200) -> str:
    assert network.subnet is not None
    return network.subnet.rpartition(".")[0] + f".{last}"


async def started(runner: PodmanRunner, spec: ContainerSpec) -> str:
    container = await runner.create(spec)
    await runner.start(container)
    return container


async def output(runner: PodmanRunner, spec: ContainerSpec) -> list[str]:
    """Returns what a container prints until it ends."""
    container = await started(runner, spec)
    await runner.wait(container)
    await runner.remove(container)
    return [line.strip() for line in await in_thread(tail, spec.log_path, 100)]


def asks(target: str) -> tuple[str, ...]:
    return ("sh", "-c", f"echo hello | busybox nc -w 2 {target} 80; echo rc $?")


async def answers(runner: PodmanRunner, container: str, target: str) -> bool:
    with contextlib.suppress(ConnectionError):
        async with runner.dial(container, target, 80) as (reader, writer):
            writer.write(b"ping\n")
            return await reader.readline() == b"ping\n"
    return False


async def pid_of(container: str) -> int:
    command = ["podman", "inspect", "--format", "{{.State.Pid}}", container]
    found = await in_thread(subprocess.run, command, cwd="/", capture_output=True, check=True)
    return int(found.stdout)


@pytest.fixture(params=UserNamespace, ids=lambda which: str(which.value))
async def either(
    request: pytest.FixtureRequest, service: PodmanService, other_folder: Path, closed_again: None
) -> AsyncIterator[PodmanRunner]:
    """A runner with each kind of user namespaces."""
    async with PodmanRunner(service, other_folder, user_namespace=request.param) as runner:
        yield runner


async def test_executables_share_localhost_and_addresses_and_come_and_go(
    either: PodmanRunner, spec: Spec, mark: dict[str, str], unprivileged: Image
) -> None:
    runner = either
    ours, further = await network(runner, mark), await network(runner, mark)
    holder = await runner.create(spec(*IDLE, networks={ours.name: address(ours)}))
    assert await runner.holds(holder)
    server = await started(runner, spec(*ECHO, joins=holder, image=unprivileged.id))
    await eventually(lambda: answers(runner, holder, "127.0.0.1"), "the holder's localhost answers")
    assert await answers(runner, server, address(ours))
    inside = await output(runner, spec(*asks("127.0.0.1"), joins=holder))
    assert inside == ["hello", "rc 0"]
    await runner.connect(holder, further.name, address(further))
    for net in (ours, further):
        said = await output(runner, spec(*asks(address(net)), networks={net.name: ""}))
        assert said == ["hello", "rc 0"]
    assert await runner.stop(server, 0)
    assert (await runner.wait(server)).code is not None
    await runner.remove(server)
    assert await runner.holds(holder)
    again = await started(runner, spec(*ECHO, joins=holder))
    await eventually(lambda: answers(runner, again, address(further)), "the next one is there")
    await runner.remove(again)
    (left,) = await runner.containers(mark)
    assert (left.id, left.phase) == (holder, Phase.CREATED)
    assert set(left.networks) == {ours.name, further.name}


async def test_it_resolves_names_as_its_holder_does(
    runner: PodmanRunner, spec: Spec, mark: dict[str, str]
) -> None:
    ours = await network(runner, mark, outside=True)
    command = ("cat", "/etc/resolv.conf", "/etc/hosts")
    alone = await output(runner, spec(*command, networks={ours.name: address(ours)}))
    holder = await runner.create(spec(*IDLE, networks={ours.name: address(ours)}))
    joined = await output(runner, spec(*command, joins=holder))
    assert [line for line in joined if "nameserver" in line] == [
        line for line in alone if "nameserver" in line
    ]
    assert [line for line in joined if address(ours) in line]
    write = ("sh", "-c", "echo x >> /etc/hosts; echo rc $?")
    assert (await output(runner, spec(*write, joins=holder)))[-1] != "rc 0"


async def test_a_holder_that_is_killed_is_noticed_and_joined_no_more(
    runner: PodmanRunner, spec: Spec, mark: dict[str, str]
) -> None:
    ours = await network(runner, mark)
    holder = await runner.create(spec(*IDLE, networks={ours.name: address(ours)}))
    server = await started(runner, spec(*ECHO, joins=holder))
    released = asyncio.create_task(runner.released(holder))
    os.kill(await pid_of(holder), signal.SIGKILL)
    async with asyncio.timeout(30):
        await released
    assert not await runner.holds(holder)
    with pytest.raises(ContainerError, match=f"join the network of container {holder[:12]}"):
        await runner.create(spec(*IDLE, joins=holder))
    await runner.remove(server)
    await runner.remove(holder)
    await runner.released(holder)  # it is gone
    again = await runner.create(spec(*IDLE, networks={ours.name: address(ours)}))
    server = await started(runner, spec(*ECHO, joins=again))
    await eventually(lambda: answers(runner, server, address(ours)), "the address is back")


async def test_a_holder_that_is_removed_or_started_is_joined_no_more(
    runner: PodmanRunner, spec: Spec
) -> None:
    holder, other = await runner.create(spec(*IDLE)), await runner.create(spec(*IDLE))
    await runner.start(other)
    await runner.remove(holder)
    for container in (holder, other, "0" * 64):
        assert not await runner.holds(container)
        with pytest.raises(ContainerError, match="cannot join"):
            await runner.create(spec(*IDLE, joins=container))


async def test_a_next_daemon_finds_the_holder_and_what_joined_it(
    runner: PodmanRunner, spec: Spec, other_folder: Path, mark: dict[str, str]
) -> None:
    ours = await network(runner, mark)
    async with (
        PodmanService(other_folder) as service,
        PodmanRunner(service, other_folder) as earlier,
    ):
        holder = await earlier.create(spec(*IDLE, networks={ours.name: address(ours)}))
        server = await started(earlier, spec(*ECHO, joins=holder))
    assert await runner.holds(holder)
    await eventually(lambda: answers(runner, server, address(ours)), "the server answers")
    assert await output(runner, spec(*asks("127.0.0.1"), joins=holder)) == ["hello", "rc 0"]


async def test_a_network_with_a_way_out_does_not_lead_to_other_containers(
    runner: PodmanRunner, spec: Spec, mark: dict[str, str]
) -> None:
    ours, theirs = [await network(runner, mark, outside=True) for _ in range(2)]
    closed = await network(runner, mark)
    for net in (ours, theirs, closed):
        await started(runner, spec(*ECHO, networks={net.name: address(net)}))
    said = await output(runner, spec(*asks(address(ours)), networks={ours.name: ""}))
    assert said == ["hello", "rc 0"]
    for net in (theirs, closed):  # whatever a machine's router says, it is not the container
        said = await output(runner, spec(*asks(address(net)), networks={ours.name: ""}))
        assert "hello" not in said
    said = await output(runner, spec(*asks(address(ours)), networks={closed.name: ""}))
    assert "hello" not in said
    routes = await output(runner, spec("ip", "route", networks={ours.name: ""}))
    assert [line for line in routes if line.startswith("default")]


async def test_names_are_asked_of_a_resolver_that_a_network_with_a_way_out_reaches(
    runner: PodmanRunner, spec: Spec, mark: dict[str, str]
) -> None:
    ours = await network(runner, mark, outside=True)
    ask = ("sh", "-c", "busybox nslookup name.invalid; true")
    said = await output(runner, spec(*ask, networks={ours.name: ""}))
    # A resolver that is not reached is "timed out"; whatever this one knows, it answers.
    assert not [line for line in said if "timed out" in line or "no servers" in line], said
    assert [line for line in said if line.startswith("Server:")]
