"""Private networks of containers, on real rootless Podman."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from claraedge.blocking import in_thread
from claraedge.errors import NetworkError, RunnerUnavailableError
from claraedge.ids import new_id
from claraedge.runner.log_lines import tail
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import (
    LABEL_INSTANCE,
    OUTSIDE,
    ContainerSpec,
    Image,
    Network,
)
from claraedge.runner.service.service import PodmanService
from claraedge.runner.workarounds import leases
from tests.rig.processes import kill_when
from tests.rig.waiting import eventually

pytestmark = pytest.mark.podman

ECHO = ("sh", "-c", "while true; do busybox nc -l -p 80 -e cat; done")
Spec = Callable[..., ContainerSpec]


@pytest.fixture
def instance() -> str:
    return new_id()


@pytest.fixture
def spec(tmp_path: Path, busybox: Image, instance: str) -> Spec:
    def make(*command: str, networks: dict[str, str], image: str = busybox.id) -> ContainerSpec:
        name = f"ce-net-{new_id()}"
        return ContainerSpec(
            name=name,
            image=image,
            command=command,
            networks=networks,
            labels={LABEL_INSTANCE: instance},
            log_path=tmp_path / f"{name}.log",
        )

    return make


@pytest.fixture
async def networks(runner: PodmanRunner, instance: str) -> AsyncIterator[list[Network]]:
    """Two of them; they and all containers of the test are gone afterwards."""
    made = [
        await runner.create_network(f"ce-net-{new_id()}", {LABEL_INSTANCE: instance, "a": "b"})
        for _ in range(2)
    ]
    yield made
    for container in await runner.containers({LABEL_INSTANCE: instance}):
        await runner.remove(container.id)
    for network in await runner.networks({LABEL_INSTANCE: instance}):
        await runner.remove_network(network.name)


def address(network: Network) -> str:
    assert network.subnet is not None
    return str(ipaddress.IPv4Network(network.subnet).broadcast_address - 5)


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
    return ("sh", "-c", f"echo hello | busybox nc -w 3 {target} 80; echo rc $?")


async def test_what_stands_on_one_network_meets_and_reaches_nothing_else(
    runner: PodmanRunner, spec: Spec, networks: list[Network]
) -> None:
    ours, theirs = networks
    await started(runner, spec(*ECHO, networks={ours.name: address(ours)}))
    await started(runner, spec(*ECHO, networks={theirs.name: address(theirs)}))
    assert await output(runner, spec(*asks(address(ours)), networks={ours.name: ""})) == [
        "hello",
        "rc 0",
    ]
    other, route = await asyncio.gather(
        output(runner, spec(*asks(address(theirs)), networks={ours.name: ""})),
        output(runner, spec("ip", "route", networks={ours.name: ""})),
    )
    assert "rc 1" in other
    assert "hello" not in other
    assert not [line for line in route if line.startswith("default")]


async def test_an_address_that_a_killed_podman_has_given_is_free_again(
    other_folder: Path, spec: Spec, networks: list[Network], caplog: pytest.LogCaptureFixture
) -> None:
    """Podman is killed as soon as a container has its address, until it has not recorded that."""
    ours = networks[0]
    leased = leases.folder(ours.name)
    assert leased is not None
    lease = leased / address(ours)
    async with PodmanService(other_folder) as service, PodmanRunner(service, other_folder) as own:
        first = await started(own, spec("sleep", "100", networks={ours.name: ""}))
        if not any(leased.glob("10.*")):
            pytest.skip("this Podman has no plugins of CNI: its leases are in a database")
        for _ in range(10):
            echo = spec(*ECHO, networks={ours.name: address(ours)})
            creation = asyncio.create_task(own.create(echo))
            killed = in_thread(kill_when, service.process_id or 0, lease.exists)
            await asyncio.gather(killed, creation, return_exceptions=True)
            await eventually(partial(answers, own), "Podman works again")
            for container in await own.containers(echo.labels):
                if container.id != first:
                    await own.remove(container.id)
            assert not lease.exists()
            container = await started(own, spec(*ECHO, networks={ours.name: address(ours)}))
            for _ in range(3):
                asked = await output(own, spec(*asks(address(ours)), networks={ours.name: ""}))
                assert asked == ["hello", "rc 0"]
            await own.remove(container)
            if caplog.text.count("freed addresses") == 2:
                break
        assert "freed addresses" in caplog.text
        caplog.clear()
        lease.write_text(f"{new_id() * 2}\r\neth0")  # somebody else removed that container
        await own.remove(await started(own, spec("true", networks={ours.name: address(ours)})))
        assert "freed addresses" in caplog.text


async def answers(runner: PodmanRunner) -> bool:
    with contextlib.suppress(RunnerUnavailableError):
        await runner.containers({})
        return True
    return False


def podman(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", *command], cwd="/", capture_output=True, text=True)


async def test_a_shared_namespace_that_podman_left_half_made_is_made_again(
    runner: PodmanRunner, spec: Spec, networks: list[Network], caplog: pytest.LogCaptureFixture
) -> None:
    """As a kill of Podman leaves it: its name is mounted, and nothing else of it is there."""
    folder = Path(os.environ["XDG_RUNTIME_DIR"])
    made = folder / "libpod/tmp/rootless-netns"
    # the last that used it is being cleaned up
    await eventually(
        lambda: not made.exists() or not any(made.iterdir()), "the network namespace is empty"
    )
    static = await in_thread(podman, "info", "--format", "{{.Store.GraphRoot}}/libpod")
    key = hashlib.sha256(static.stdout.strip().encode()).hexdigest()[:20]
    name = folder / f"netns/rootless-netns-{key}"
    name.parent.mkdir(exist_ok=True)
    name.touch()
    mount = 'mount --bind /proc/self/ns/net "$0"'
    mounted = await in_thread(podman, "unshare", "unshare", "--net", "sh", "-c", mount, str(name))
    assert mounted.returncode == 0, mounted.stderr
    ours = networks[0]
    command = ("run", "--rm", "--network", ours.name, spec(networks={}).image, "true")
    by_hand = await in_thread(podman, *command)
    needs_help = (
        by_hand.returncode != 0
    )  # of Podman 5, which corrects it by itself, it is another one
    assert ("rootless netns" in by_hand.stderr) is needs_help, by_hand.stderr
    await asyncio.gather(  # both find it broken; the second, that the first has corrected it
        *(started(runner, spec(*ECHO, networks={n.name: address(n)})) for n in networks)
    )
    assert await output(runner, spec(*asks(address(ours)), networks={ours.name: ""})) == [
        "hello",
        "rc 0",
    ]
    assert [r.name for r in caplog.records].count(
        "claraedge.runner.networking.shared_netns"
    ) == needs_help


async def test_a_running_container_joins_a_further_network_and_keeps_its_first(
    runner: PodmanRunner, spec: Spec, networks: list[Network]
) -> None:
    first, second = networks
    server = await started(runner, spec(*ECHO, networks={first.name: address(first)}))
    await runner.connect(server, second.name, address(second))
    await runner.connect(server, second.name, address(second))  # there already
    for network in (second, first, second):
        said = await output(runner, spec(*asks(address(network)), networks={network.name: ""}))
        assert said == ["hello", "rc 0"]
    (found,) = [
        c
        for c in await runner.containers({LABEL_INSTANCE: first.labels[LABEL_INSTANCE]})
        if c.id == server
    ]
    assert set(found.networks) == {first.name, second.name}


async def test_a_container_made_again_is_found_by_its_running_peers_at_the_old_address(
    runner: PodmanRunner, spec: Spec, networks: list[Network]
) -> None:
    network = networks[0]
    server = await started(runner, spec(*ECHO, networks={network.name: address(network)}))
    loop = f"while ! echo again | busybox nc -w 1 {address(network)} 80; do sleep 0.1; done"
    wait = f"echo one | busybox nc -w 3 {address(network)} 80; sleep 1; {loop}"
    peer = spec("sh", "-c", wait, networks={network.name: ""})
    container = await started(runner, peer)
    await eventually(lambda: "one\n" in tail(peer.log_path, 100), "the peer reached the server")
    async with asyncio.timeout(20):
        await runner.remove(server)
        await started(runner, spec(*ECHO, networks={network.name: address(network)}))
        assert (await runner.wait(container)).code == 0
    assert "again\n" in await in_thread(tail, peer.log_path, 100)


async def test_a_stream_goes_into_the_network_of_a_container_of_any_user(
    runner: PodmanRunner, spec: Spec, networks: list[Network], unprivileged: Image
) -> None:
    network = networks[0]
    server = await started(
        runner, spec(*ECHO, networks={network.name: address(network)}, image=unprivileged.id)
    )

    async def answers() -> bool:
        with contextlib.suppress(ConnectionError):
            async with runner.dial(server, address(network), 80) as (reader, writer):
                writer.write(b"ping\n")
                return await reader.readline() == b"ping\n"
        return False

    await eventually(answers, "the server answers", 10)
    with pytest.raises(ConnectionError):
        async with runner.dial(server, address(network), 81):
            pass
    await runner.remove(server)
    with pytest.raises(ConnectionError):
        async with runner.dial(server, address(network), 80):
            pass


async def test_a_network_is_found_by_its_labels_and_goes_once_it_is_empty(
    runner: PodmanRunner, spec: Spec, networks: list[Network], instance: str
) -> None:
    assert {n.name for n in await runner.networks({LABEL_INSTANCE: instance, "a": "b"})} == {
        n.name for n in networks
    }
    container = await runner.create(spec("true", networks={networks[0].name: ""}))
    with pytest.raises(NetworkError, match="could not be removed"):
        await runner.remove_network(networks[0].name)
    await runner.remove(container)
    await runner.remove_network(networks[0].name)
    await runner.remove_network(networks[0].name)
    left = await runner.networks({LABEL_INSTANCE: instance})
    assert [n.name for n in left] == [networks[1].name]


async def test_a_removed_network_leaves_no_list_of_addresses_while_others_are_used(
    runner: PodmanRunner, spec: Spec, networks: list[Network]
) -> None:
    stays, goes = networks
    await started(runner, spec("sleep", "600", networks={stays.name: address(stays)}))
    await output(runner, spec("true", networks={goes.name: address(goes)}))
    used, unused = leases.folder(stays.name), leases.folder(goes.name)
    assert used is not None
    assert unused is not None
    with_cni = used.exists()
    assert unused.exists() == with_cni
    await runner.remove_network(goes.name)
    assert not unused.exists()
    assert used.exists() == with_cni
    assert leases.folder("../" + goes.name) is None


async def test_a_container_may_be_given_the_outside_and_then_has_a_way_out(
    runner: PodmanRunner, spec: Spec, networks: list[Network]
) -> None:
    routes = await output(runner, spec("ip", "route", networks={OUTSIDE: ""}))
    assert [line for line in routes if line.startswith("default")]
    assert await output(runner, spec("ip", "route", networks={})) == []
