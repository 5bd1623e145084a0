"""Networks in Podman's words: what is asked, what is answered, what a machine lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.errors import RunnerUnavailableError
from claraedge.runner.containers.specgen import NetworkSettings, create_request
from claraedge.runner.networks import (
    create_network_request,
    impossible,
    place,
    read_networks,
)
from claraedge.runner.protocol import OUTSIDE, BindMount, ContainerSpec


def request(networks: dict[str, str]) -> dict[str, object]:
    spec = ContainerSpec(name="c", image="i", log_path=Path("/log"), networks=networks)
    return create_request(spec, None, NetworkSettings(outside="slirp4netns"))


def test_a_container_reaches_nothing_unless_it_is_asked_for() -> None:
    body = request({})
    assert body["netns"] == {"nsmode": "none"}
    assert "networks" not in body


def test_a_container_on_networks_is_on_these_alone() -> None:
    body = request({"a": "10.89.1.250", "b": ""})
    assert body["netns"] == {"nsmode": "bridge"}
    assert body["networks"] == {
        "a": {"static_ips": ["10.89.1.250"], "static_mac": "02:ce:0a:59:01:fa"},
        "b": {},
    }


def test_the_outside_has_no_network_of_ours() -> None:
    body = request({OUTSIDE: ""})
    assert body["netns"] == {"nsmode": "slirp4netns"}
    assert "networks" not in body


def test_a_network_has_no_way_out() -> None:
    assert create_network_request("n", {"a": "b"}) == {
        "name": "n",
        "driver": "bridge",
        "internal": True,
        "dns_enabled": False,
        "labels": {"a": "b"},
    }


def test_a_network_with_a_way_out_is_closed_to_other_networks() -> None:
    body = create_network_request("n", {}, outside=True)
    assert body["options"] == {"isolate": "true"}
    assert "internal" not in body


def test_a_container_on_networks_asks_the_resolver_that_reaches_the_outside() -> None:
    spec = ContainerSpec(name="c", image="i", log_path=Path("/log"), networks={"a": ""})
    settings = NetworkSettings(resolvers=("10.0.2.3",))
    assert create_request(spec, None, settings)["dns_server"] == ["10.0.2.3"]
    assert "dns_server" not in create_request(spec, None)
    alone = ContainerSpec(name="c", image="i", log_path=Path("/log"))
    assert "dns_server" not in create_request(alone, None, settings)


def test_a_container_that_joins_another_has_its_namespace_and_its_names() -> None:
    own = BindMount(source=Path("/mine"), target="/etc/hosts", read_only=False)
    spec = ContainerSpec(name="c", image="i", log_path=Path("/log"), joins="h" * 64, mounts=(own,))
    files = tuple(
        BindMount(source=Path(f"/run/{name}"), target=f"/etc/{name}", read_only=True)
        for name in ("hosts", "resolv.conf")
    )
    body = create_request(spec, None, NetworkSettings(joined=4711, files=files))
    assert body["netns"] == {"nsmode": "path", "value": "/proc/4711/ns/net"}
    assert "networks" not in body
    assert "sysctl" not in body, "it would be set for the other container, too"
    mounts: list[dict[str, str]] = body["mounts"]  # type: ignore[assignment]
    assert {m["destination"]: m["source"] for m in mounts if m["type"] == "bind"} == {
        "/etc/hosts": "/mine",
        "/etc/resolv.conf": "/run/resolv.conf",
    }


def test_an_address_has_one_hardware_address_that_no_maker_gave() -> None:
    first, second = (str(place(f"10.89.{n}.250")["static_mac"]) for n in (1, 2))
    assert first != second
    assert int(first[:2], 16) & 0b11 == 0b10


def test_networks_are_read_with_and_without_labels_and_subnets() -> None:
    found = read_networks(
        b'[{"name":"a","labels":{"x":"y"},"subnets":[{"subnet":"fd00::/64"},{"subnet":"10.1.0.0/24"}]}'
        b',{"name":"b","internal":true}]'
    )
    assert [(n.name, dict(n.labels), n.subnet, n.outside) for n in found] == [
        ("a", {"x": "y"}, "10.1.0.0/24", True),
        ("b", {}, None, False),
    ]
    assert read_networks(b"null\n") == []
    with pytest.raises(RunnerUnavailableError):
        read_networks(b"<html>")


@pytest.mark.parametrize(
    "reason",
    [
        '/usr/bin/slirp4netns failed: "open(\\"/dev/net/tun\\"): Permission denied"',
        "failed to mount runtime directory for rootless netns: no such file or directory",
        'plugin type="bridge" failed (add): cni plugin bridge failed: failed to locate iptables',
        "could not find netavark binary",
    ],
)
def test_what_a_machine_lacks_is_named_with_how_to_get_it(reason: str) -> None:
    error = impossible(reason)
    assert error is not None
    assert reason in str(error)
    assert "chmod 0666 /dev/net/tun" in str(error)
    assert "podman system migrate" in str(error)


def test_other_refusals_are_not_the_machines_fault() -> None:
    assert impossible("unable to find network with name or ID nope: network not found") is None
