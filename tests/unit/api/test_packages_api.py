"""`claraedge.v1.Packages`, over the socket."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from claraedge.wire.claraedge.v1 import packages_pb2, packages_pb2_grpc
from tests.unit.api.conftest import Daemon

MANIFEST = {
    "name": "web",
    "packageVersion": "v1.0.0",
    "description": "a page",
    "bindable": False,
    "plans": [{
        "name": "default",
        "singleton": True,
        "metadata": {"claraedge": {"gpu": 1}},
        "components": [{
            "name": "front",
            "description": "shows it",
            "requiredRuntime": "device",
            "architecture": "amd64",
            "restart_policy": "no",
            "parameters": [
                {"name": "TITLE", "description": "of the page"}, {"name": "SIZE", "default": ""},
            ],
            "executables": [{
                "name": "server", "docker": "nginx:1", "cmd": ["cd /", "nginx"],
                "limits": {"cpu": 0.5, "memory": 64},
            }],
            "ros": {"isROS": True, "ros_distro": "noetic"},
            "cloudInfra": {"endpoints": [{
                "name": "page", "port": 80, "targetPort": 8080, "proto": "HTTP",
                "exposeExternally": True,
            }]},
        }],
    }],
}  # fmt: skip


def stub(daemon: Daemon) -> Any:
    return packages_pb2_grpc.PackagesStub(daemon.channel)


async def create(daemon: Daemon, **changes: Any) -> Any:
    request = packages_pb2.CreatePackageRequest(manifest=json.dumps({**MANIFEST, **changes}))
    return await stub(daemon).Create(request)


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    names = dict(error.value.trailing_metadata() or ())
    return error.value.code(), str(names["claraedge-error"]), str(error.value.details())


async def test_a_package_is_answered_as_the_manifest_declares_it(daemon: Daemon) -> None:
    made = await create(daemon)
    assert (made.name, made.version, made.description, made.bindable) == (
        "web", "v1.0.0", "a page", False,
    )  # fmt: skip
    assert json.loads(made.manifest) == MANIFEST
    assert made.created.seconds > 0
    (plan,) = made.plans
    assert (plan.name, plan.singleton) == ("default", True)
    (component,) = plan.components
    assert (component.name, component.description, component.runtime) == (
        "front", "shows it", "device",
    )  # fmt: skip
    assert (component.architecture, component.ros_distro) == ("amd64", "noetic")
    assert component.restart_policy == packages_pb2.RESTART_POLICY_NEVER
    title, size = component.parameters
    assert (title.name, title.description, title.HasField("default")) == (
        "TITLE", "of the page", False,
    )  # fmt: skip
    assert (size.name, size.HasField("default"), size.default) == ("SIZE", True, "")
    (server,) = component.executables
    assert (server.name, server.image, list(server.command)) == (
        "server", "nginx:1", ["cd /", "nginx"],
    )  # fmt: skip
    assert (server.memory, server.cpu, server.gpus) == (64, 0.5, 1)
    (page,) = component.endpoints
    assert (page.name, page.port, page.target_port, page.protocol, page.exposed) == (
        "page", 80, 8080, "HTTP", True,
    )  # fmt: skip

    get = packages_pb2.GetPackageRequest
    for text in (made.id, made.id[:20], "web", "web:v1.0.0"):
        assert await stub(daemon).Get(get(package=text)) == made
    listed = await stub(daemon).List(packages_pb2.ListPackagesRequest(name="web"))
    made.manifest = ""
    assert list(listed.packages) == [made]
    none = await stub(daemon).List(packages_pb2.ListPackagesRequest(version="v2"))
    assert list(none.packages) == []
    deleted = await stub(daemon).Delete(packages_pb2.DeletePackageRequest(package="web"))
    assert deleted.id == made.id
    assert list((await stub(daemon).List(packages_pb2.ListPackagesRequest())).packages) == []


async def test_errors_have_their_status_name_and_reason(daemon: Daemon) -> None:
    made = await create(daemon)
    code, name, text = await refused(create(daemon))
    assert (code, name) == (grpc.StatusCode.ALREADY_EXISTS, "package-exists")
    assert made.id in text
    code, name, text = await refused(create(daemon, packageVersion="a b", plans=[]))
    assert (code, name) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid-manifest")
    assert [line.partition(":")[0] for line in text.splitlines()] == ["plans", "packageVersion"]
    for call, request in (
        (stub(daemon).Get, packages_pb2.GetPackageRequest),
        (stub(daemon).Delete, packages_pb2.DeletePackageRequest),
    ):
        code, name, _ = await refused(call(request(package="none")))
        assert (code, name) == (grpc.StatusCode.NOT_FOUND, "package-not-found")
        code, name, _ = await refused(call(request()))
        assert (code, name) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid-request")


async def test_a_list_that_no_message_holds_is_refused_with_the_way_out(daemon: Daemon) -> None:
    for number in range(6):
        components = [
            {"name": f"c{n}", "requiredRuntime": "device", "description": "x" * 60000,
             "executables": [{"docker": "a"}]}
            for n in range(15)
        ]  # fmt: skip
        await create(daemon, name=f"p{number}", plans=[{"components": components}])
    code, name, text = await refused(stub(daemon).List(packages_pb2.ListPackagesRequest()))
    assert (code, name) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid-request")
    assert "larger than 3500000 bytes" in text
    one = await stub(daemon).List(packages_pb2.ListPackagesRequest(name="p3"))
    assert [package.name for package in one.packages] == ["p3"]
