"""What Podman says of its machine is asked once, and again where it may have changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claraedge.errors import ContainerError, RunnerUnavailableError
from claraedge.runner.host import Host
from claraedge.runner.service.http import Response
from claraedge.runner.user_namespaces import UserNamespace
from claraedge.runner.workarounds.slices import Slices


class Podman:
    """Answers `GET /info`, and counts how often it was asked."""

    def __init__(self, store: Path) -> None:
        self.asked = 0
        self.status = 200
        self.info: dict[str, Any] = {
            "host": {
                "security": {"rootless": True, "seccompEnabled": True, "seccompProfilePath": ""},
                "slirp4netns": {"executable": ""},
                "idMappings": {"uidmap": [], "gidmap": []},
            },
            "store": {"graphRoot": str(store), "runRoot": "/run", "graphDriverName": "overlay"},
        }

    async def request(self, *_: object, **__: object) -> Response:
        self.asked += 1
        body = json.dumps(self.info).encode()
        return Response(status=self.status, headers={}, body=body)


@pytest.fixture
def podman(tmp_path: Path) -> Podman:
    return Podman(tmp_path)


def host_of(podman: Podman, namespace: UserNamespace = UserNamespace.HOST) -> Host:
    return Host(podman, Slices(), namespace)  # type: ignore[arg-type]


async def test_one_answer_serves_all(podman: Podman, tmp_path: Path) -> None:
    host = host_of(podman)
    assert await host.info() is not None
    assert await host.image_folder() == tmp_path
    await host.limits()
    await host.keeper()
    assert podman.asked == 1


async def test_a_refusal_is_asked_again(podman: Podman, tmp_path: Path) -> None:
    host = host_of(podman)
    podman.status = 500
    with pytest.raises(RunnerUnavailableError, match="podman info"):
        await host.image_folder()
    podman.status = 200
    assert await host.image_folder() == tmp_path


async def test_the_way_out_follows_what_is_installed(podman: Podman, tmp_path: Path) -> None:
    host = host_of(podman)
    program = tmp_path / "slirp4netns"
    assert await host.way_out() == "pasta"
    program.touch()
    podman.info["host"]["slirp4netns"]["executable"] = str(program)
    assert await host.way_out() == "slirp4netns"
    asked = podman.asked
    assert await host.way_out() == "slirp4netns"
    assert podman.asked == asked
    program.unlink()
    podman.info["host"]["slirp4netns"]["executable"] = ""
    assert await host.way_out() == "pasta"


async def test_ids_that_a_user_gets_later_are_seen(podman: Podman) -> None:
    host = host_of(podman, UserNamespace.NOMAP)
    with pytest.raises(ContainerError):
        await host.user_namespace()
    ranges = [
        {"container_id": 0, "host_id": 1000, "size": 1},
        {"container_id": 1, "host_id": 100000, "size": 65536},
    ]
    podman.info["host"]["idMappings"] = {"uidmap": ranges, "gidmap": ranges}
    assert await host.user_namespace()


@pytest.mark.parametrize(
    ("version", "conf", "resolvers"),
    [
        ("4.3.1", "", ("10.0.2.3",)),
        ("4.9.4-rhel", "", ("10.0.2.3",)),
        ("5.4.0", "", ()),
        ("", "", ()),
        ("4.3.1", '[containers]\ndns_servers = ["192.0.2.1"]\n', ()),
        ("4.3.1", '[engine]\nnetwork_cmd_options = ["mtu=1500", "cidr=10.9.0.0/24"]\n', ()),
        ("4.3.1", '[engine]\nnetwork_cmd_options = ["mtu=1500"]\n', ("10.0.2.3",)),
    ],
)
async def test_containers_on_bridges_ask_slirps_resolver_unless_somebody_decides_otherwise(
    podman: Podman,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    conf: str,
    resolvers: tuple[str, ...],
) -> None:
    path = tmp_path / "containers.conf"
    path.write_text(conf)
    monkeypatch.setenv("CONTAINERS_CONF", str(path))
    podman.info["version"] = {"Version": version}
    assert await host_of(podman).resolvers() == resolvers
