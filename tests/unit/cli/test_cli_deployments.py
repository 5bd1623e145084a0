"""Commands for deployments, against services that answer what a test sets."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from claraedge.cli import watch_deployment
from claraedge.wire.claraedge.v1 import deployments_pb2 as pb
from claraedge.wire.claraedge.v1 import (
    deployments_pb2_grpc,
    networks_pb2,
    networks_pb2_grpc,
    packages_pb2,
    packages_pb2_grpc,
    routes_pb2,
    routes_pb2_grpc,
)

NOON = 1767268800  # 2026-01-01T12:00:00Z
PACKAGE = "pkg-" + "a" * 24
DEPLOYMENT = "dep-" + "b" * 24


def deployment(phase: str = "SUCCEEDED", status: str = "RUNNING", **fields: Any) -> pb.Deployment:
    executable = {
        "id": "exec-1", "name": "main", "image": "camera:1",
        "status": f"DEPLOYMENT_STATUS_{status}", **fields.pop("executable", {}),
    }  # fmt: skip
    component = pb.DeployedComponent(
        id="comp-1", name="front", status=f"DEPLOYMENT_STATUS_{status}",
        restart_policy="RESTART_POLICY_ON_FAILURE", parameters={"RATE": "25"}, address="10.0.0.2",
        mounts=[pb.VolumeMount(executable="exec-1", sub_path="data", mount_path="/data")],
        executables=[pb.DeployedExecutable(**executable)], instance_id="inst-1",
    )  # fmt: skip
    return pb.Deployment(
        id=DEPLOYMENT, name="cam", package_id=PACKAGE, package_name="camera",
        package_version="v1", plan_id="plan-1", plan_name="default", components=[component],
        phase=f"DEPLOYMENT_PHASE_{phase}", status=f"DEPLOYMENT_STATUS_{status}", generation=1,
        created=Timestamp(seconds=NOON), updated=Timestamp(seconds=NOON), **fields,
    )  # fmt: skip


@dataclass
class Services:
    """What was asked, and what is answered."""

    asked: list[Any] = field(default_factory=list)
    states: list[pb.Deployment] = field(default_factory=lambda: [deployment()])
    """Successive answers; the last one stays."""
    plans: list[packages_pb2.Plan] = field(default_factory=list)

    def state(self, request: Any) -> pb.Deployment:
        self.asked.append(request)
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def get_package(self, request: Any, context: grpc.ServicerContext) -> packages_pb2.Package:
        if request.package not in ("camera", PACKAGE):
            context.set_trailing_metadata((("claraedge-error", "package-not-found"),))
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no package {request.package}")
        return packages_pb2.Package(id=PACKAGE, name="camera", version="v1", plans=self.plans)

    def get(self, request: Any, context: grpc.ServicerContext) -> pb.Deployment:
        if request.deployment == "none":
            context.set_trailing_metadata((("claraedge-error", "deployment-not-found"),))
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no deployment none")
        return self.state(request)

    def list(self, request: Any, _: object) -> pb.ListDeploymentsResponse:
        return pb.ListDeploymentsResponse(deployments=[self.state(request)])

    def read_log(self, request: Any, _: object) -> Iterator[pb.ReadDeploymentLogResponse]:
        self.asked.append(request)
        yield pb.ReadDeploymentLogResponse(lines=["one", "two"], attempt=3)
        yield pb.ReadDeploymentLogResponse(lines=["three"], attempt=4)


class RouteStand(routes_pb2_grpc.RoutesServicer):
    """One static route, which leads to a deployment."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def Create(self, request: Any, _: object) -> routes_pb2.Route:  # noqa: N802 - names of the service
        self.services.asked.append(request)
        return self.Get(request, _)

    def List(self, _: Any, __: object) -> routes_pb2.ListRoutesResponse:  # noqa: N802 - names of the service
        return routes_pb2.ListRoutesResponse(routes=[self.Get(_, __)])

    def Get(self, _: Any, __: object) -> routes_pb2.Route:  # noqa: N802 - names of the service
        target = routes_pb2.RouteTarget(deployment_name="cam", endpoint="WEB")
        return routes_pb2.Route(
            id="route-a", prefix="viewer", path="/routes/viewer/", target=target
        )

    def Delete(self, request: Any, _: object) -> routes_pb2.Route:  # noqa: N802 - names of the service
        self.services.asked.append(request)
        return self.Get(request, _)


class NetworkStand(networks_pb2_grpc.NetworksServicer):
    """One private network."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def Create(self, request: Any, _: object) -> networks_pb2.PrivateNetwork:  # noqa: N802 - names of the service
        self.services.asked.append(request)
        return self.Get(request, _)

    def List(self, _: Any, __: object) -> networks_pb2.ListNetworksResponse:  # noqa: N802 - names of the service
        return networks_pb2.ListNetworksResponse(networks=[self.Get(_, __)])

    def Get(self, _: Any, __: object) -> networks_pb2.PrivateNetwork:  # noqa: N802 - names of the service
        return networks_pb2.PrivateNetwork(
            id="net-a", name="robot", ros_distro="noetic", phase="DEPLOYMENT_PHASE_SUCCEEDED",
            status="DEPLOYMENT_STATUS_RUNNING", used_by=["dep-a", "dep-b"],
        )  # fmt: skip

    def Delete(self, request: Any, _: object) -> networks_pb2.PrivateNetwork:  # noqa: N802 - names of the service
        self.services.asked.append(request)
        return self.Get(request, _)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setattr(watch_deployment, "_TICK", 0.001)
    found = Services()
    found.plans = [plan("default", "front")]
    packages, deployments = (
        packages_pb2_grpc.PackagesServicer(),
        deployments_pb2_grpc.DeploymentsServicer(),
    )
    packages.Get = found.get_package
    deployments.Create = lambda request, _: found.state(request)
    deployments.Update = lambda request, _: found.state(request)
    deployments.Delete = lambda request, _: found.state(request)
    deployments.Get = found.get
    deployments.List = found.list
    deployments.ReadLog = found.read_log
    server = grpc.server(ThreadPoolExecutor(4))
    packages_pb2_grpc.add_PackagesServicer_to_server(packages, server)
    deployments_pb2_grpc.add_DeploymentsServicer_to_server(deployments, server)
    routes_pb2_grpc.add_RoutesServicer_to_server(RouteStand(found), server)
    networks_pb2_grpc.add_NetworksServicer_to_server(NetworkStand(found), server)
    with tempfile.TemporaryDirectory(prefix="ce-") as folder:
        target = f"unix:{Path(folder, 's')}"
        server.add_insecure_port(target)
        server.start()
        monkeypatch.setenv("CLARAEDGE_HOST", target)
        yield found
        server.stop(0).wait()


def plan(name: str, *components: str) -> packages_pb2.Plan:
    return packages_pb2.Plan(
        id=f"plan-{name}",
        name=name,
        components=[packages_pb2.Component(id=f"comp-{c}", name=c) for c in components],
    )


def test_deploy_sends_what_was_given_and_prints_the_id_first(services: Services, claraedge) -> None:
    answer = claraedge(
        "deploy", "camera", "--name", "cam", "--plan", "default", "--parameter", "RATE=25",
        "--parameter", "front/SIZE=a/b=c", "--label", "site=ward", "--depends-on", "hub",
        "--depends-on", "db", "--mount", "data:/data", "--mount", "front:x:/x", "--mount",
        "front/main:/srv/a:/y", "--restart", "on-failure",
    )  # fmt: skip
    assert (answer.code, answer.out) == (0, f"DEPLOYMENT_ID:{DEPLOYMENT}\n"), answer.err
    mounts = [
        pb.VolumeMount(sub_path="data", mount_path="/data"),
        pb.VolumeMount(sub_path="x", mount_path="/x"),
        pb.VolumeMount(executable="main", sub_path="/srv/a", mount_path="/y"),
    ]
    assert services.asked == [
        pb.CreateDeploymentRequest(
            name="cam", package=PACKAGE, plan="default", parameters={"RATE": "25"},
            labels={"site": "ward"}, dependencies=["hub", "db"],
            components=[pb.ComponentSettings(
                component="front", parameters={"SIZE": "a/b=c"}, mounts=mounts,
                restart_policy="RESTART_POLICY_ON_FAILURE",
            )],
        )
    ]  # fmt: skip


def test_a_restart_policy_is_that_of_each_component(services: Services, claraedge) -> None:
    services.plans = [plan("other", "x"), plan("default", "a", "b")]
    arguments = ("deploy", "camera", "-n", "cam", "--restart", "never")
    answer = claraedge(*arguments)
    assert answer.code == 2
    assert "name one of the plans of camera: other, default" in answer.err
    assert claraedge(*arguments, "--plan", "default").code == 0
    assert [(c.component, c.restart_policy) for c in services.asked[-1].components] == [
        ("a", packages_pb2.RESTART_POLICY_NEVER), ("b", packages_pb2.RESTART_POLICY_NEVER),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--mount", "data"), "'data' is not [COMPONENT[/EXECUTABLE]:]FOLDER:/PATH"),
        (("--mount", ":/data"), "is not [COMPONENT[/EXECUTABLE]:]FOLDER:/PATH"),
        (("--mount", "data:data"), "is not [COMPONENT[/EXECUTABLE]:]FOLDER:/PATH"),
        (("--mount", "back:data:/data"), "names no component of the plan default: front"),
        (("--parameter", "RATE"), "'RATE' is not NAME=VALUE"),
        (("--label", "a=1", "--label", "a=2"), "'a' is given twice"),
        (("--restart", "sometimes"), "'sometimes' is not one of"),
    ],
)
def test_what_cannot_be_meant_creates_nothing(
    services: Services, claraedge, arguments: tuple[str, ...], said: str
) -> None:
    answer = claraedge("deploy", "camera", "--name", "cam", *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert services.asked == []


def test_a_mount_without_a_component_needs_a_plan_with_one(services: Services, claraedge) -> None:
    services.plans = [plan("default", "a", "b")]
    answer = claraedge("deploy", "camera", "-n", "cam", "--mount", "data:/data")
    assert answer.code == 2
    assert "names no component of the plan default: a, b" in answer.err


def test_deploy_and_wait_shows_the_way_until_it_runs(services: Services, claraedge) -> None:
    services.states = [
        deployment("IN_PROGRESS", "PENDING"),
        deployment("PROVISIONING", "PENDING", waits_for="a GPU"),
        deployment("PROVISIONING", "PENDING", waits_for="a GPU"),
        deployment("SUCCEEDED", "PENDING"),
        deployment(),
    ]
    answer = claraedge("deploy", "camera", "-n", "cam", "--wait")
    assert answer.code == 0, answer.err
    first, *rest = answer.out.splitlines()
    assert first == f"DEPLOYMENT_ID:{DEPLOYMENT}"
    assert [line.split(maxsplit=2)[2] for line in rest] == [
        "deployment PROVISIONING PENDING",
        "deployment waits: a GPU",
        "main PENDING",
        "deployment SUCCEEDED PENDING",
        "deployment SUCCEEDED RUNNING",
        "main RUNNING",
    ]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_deployment_that_fails_ends_with_its_reason(
    services: Services, claraedge, form: str
) -> None:
    error = pb.DeploymentError(code="DEP_E161", message="there is no image camera:1")
    services.states = [
        deployment("IN_PROGRESS", "PENDING"),
        deployment("FAILED_TO_START", "ERROR", errors=[error]),
    ]
    answer = claraedge("deploy", "camera", "-n", "cam", "--wait", "--output", form)
    assert answer.code == 1
    assert "DEP_E161: there is no image camera:1" in answer.err
    assert DEPLOYMENT in answer.err
    if form == "json":
        assert json.loads(answer.out)["phase"] == "FAILED_TO_START"


def test_an_executable_that_failed_for_good_is_a_failure(services: Services, claraedge) -> None:
    services.states = [deployment("SUCCEEDED", "ERROR", executable={"reason": "exit code 3"})]
    answer = claraedge("deploy", "camera", "-n", "cam", "--wait")
    assert answer.code == 1
    assert "the executable main: exit code 3" in answer.err


def test_an_unknown_package_is_an_error(services: Services, claraedge) -> None:
    answer = claraedge("deploy", "lamp", "--name", "cam")
    assert (answer.code, answer.err) == (1, "claraedge: there is no package lamp\n")


def test_lists_leave_out_what_has_stopped_unless_asked(services: Services, claraedge) -> None:
    answer = claraedge("list", "deployments", "--package", "camera")
    assert answer.code == 0, answer.err
    head, row = answer.out.splitlines()
    assert head.split() == ["NAME", "ID", "PACKAGE", "PHASE", "STATUS", "RESTARTS", "CREATED"]
    assert row.split()[:6] == ["cam", DEPLOYMENT, "camera:v1", "SUCCEEDED", "RUNNING", "0"]
    asked = services.asked[-1]
    assert asked.package == "camera"
    assert pb.DEPLOYMENT_PHASE_STOPPED not in asked.phases
    assert len(asked.phases) == len(pb.DeploymentPhase.items()) - 2
    assert claraedge("list", "deployments", "--all", "-q").out == f"{DEPLOYMENT}\n"
    assert list(services.asked[-1].phases) == []
    (one,) = json.loads(claraedge("list", "deployments", "--output", "json").out)["deployments"]
    assert (one["id"], one["created"], one["stopped"]) == (
        DEPLOYMENT, "2026-01-01T12:00:00.000Z", None,
    )  # fmt: skip


def test_describe_shows_all_of_it(services: Services, claraedge) -> None:
    services.states = [
        deployment(
            "SUCCEEDED", "ERROR", waits_for="memory", labels={"site": "ward"},
            dependencies=["dep-1"], used_by=["dep-2"],
            errors=[pb.DeploymentError(code="DEP_E163", message="it ends again and again")],
            executable={"restarts": 3, "reason": "exit code 1", "command": ["cd /x", "./run"],
                        "last_lines": ["out of\x1b[31m paper"], "gpus": ["nvidia.com/gpu=0"]},
        )
    ]  # fmt: skip
    answer = claraedge("describe", "deployment", "cam")
    assert answer.code == 0, answer.err
    lines = [line.strip() for line in answer.out.splitlines()]
    assert {
        "NAME: cam", f"DEPLOYMENT_ID: {DEPLOYMENT}", "PACKAGE: camera:v1", "PHASE: SUCCEEDED",
        "STATUS: ERROR", "RESTARTS: 3", "ERROR: DEP_E163: it ends again and again",
        "LABEL site: ward", "DEPENDS ON: dep-1", "USED BY: dep-2", "WAITS: memory",
        "COMPONENT: front  ERROR  restart ON_FAILURE  10.0.0.2", "PARAMETER RATE: 25",
        "MOUNT: data -> /data of main", "COMMAND: cd /x ; ./run", "REASON: exit code 1",
        "EXECUTABLE: main  ERROR  camera:1  restarts 3  nvidia.com/gpu=0",
        "LOG: out of\\x1b[31m paper",
    } <= {*lines}  # fmt: skip
    shown = json.loads(claraedge("describe", "deployment", "cam", "--output", "json").out)
    assert shown["components"][0]["executables"][0]["last_lines"] == ["out of\x1b[31m paper"]
    missing = claraedge("describe", "deployment", "none")
    assert (missing.code, missing.err) == (1, "claraedge: there is no deployment none\n")


@pytest.mark.parametrize(("phase", "code"), [("STOPPED", 0), ("FAILED_TO_START", 1)])
def test_a_watch_ends_with_the_deployment(
    services: Services, claraedge, phase: str, code: int
) -> None:
    services.states = [
        deployment(),
        deployment(),
        deployment(executable={"restarts": 1, "reason": "exit code 1"}),
        deployment(phase, "STOPPED"),
    ]
    answer = claraedge("describe", "deployment", "cam", "--watch", "--output", "json")
    assert answer.code == code
    changes = [json.loads(line) for line in answer.out.splitlines()]
    assert [(c["executable"], c["change"]) for c in changes] == [
        (None, "SUCCEEDED RUNNING"),
        ("main", "RUNNING"),
        ("main", "restarted (1): exit code 1"),
        (None, f"{phase} STOPPED"),
        ("main", "STOPPED"),
    ]
    assert {c["deployment_id"] for c in changes} == {DEPLOYMENT}


@pytest.mark.parametrize(
    ("arguments", "image", "lines"),
    [
        (("--image", "camera:2"), "camera:2", None),
        (("--command", "cd /", "--command", "run"), "", ["cd /", "run"]),
        (("--command", ""), "", []),
    ],
)
def test_an_update_changes_the_image_or_the_command(
    services: Services, claraedge, arguments: tuple[str, ...], image: str, lines: Any
) -> None:
    answer = claraedge("update", "deployment", "cam", "--executable", "main", *arguments)
    assert (answer.code, answer.out) == (0, f"DEPLOYMENT_ID:{DEPLOYMENT}\n")
    (change,) = services.asked[-1].executables
    assert (services.asked[-1].deployment, change.executable, change.image) == (
        "cam", "main", image,
    )  # fmt: skip
    assert (list(change.command.lines) if change.HasField("command") else None) == lines


def test_an_update_that_fails_or_changes_nothing_says_so(services: Services, claraedge) -> None:
    answer = claraedge("update", "deployment", "cam", "--executable", "main")
    assert answer.code == 2
    assert "nothing to change" in answer.err
    services.states = [
        deployment("PROVISIONING", "PENDING"),
        deployment("FAILED_TO_UPDATE", "RUNNING",
                   errors=[pb.DeploymentError(code="DEP_E161", message="no image")]),
    ]  # fmt: skip
    answer = claraedge("update", "deployment", "cam", "-e", "main", "-i", "b:1", "--wait")
    assert answer.code == 1
    assert "DEP_E161: no image" in answer.err


def test_undeploy_waits_for_the_end_if_asked(services: Services, claraedge) -> None:
    services.states = [
        deployment(),
        deployment("PARTIALLY_DEPROVISIONED"),
        deployment("PARTIALLY_DEPROVISIONED"),
        deployment("STOPPED", "STOPPED"),
    ]
    answer = claraedge("undeploy", "cam", "cam", "--wait")
    assert answer.code == 0, answer.err
    assert len(services.states) == 1
    ended = [asked for asked in services.asked if isinstance(asked, pb.DeleteDeploymentRequest)]
    assert ended


def test_undeploy_ends_nothing_if_one_name_is_wrong(services: Services, claraedge) -> None:
    answer = claraedge("undeploy", "cam", "none")
    assert (answer.code, answer.out) == (1, "")
    assert not any(isinstance(asked, pb.DeleteDeploymentRequest) for asked in services.asked)
    assert claraedge("undeploy", "cam").out == f"{DEPLOYMENT}\n"


def test_logs_of_a_deployment_are_printed_line_by_line(services: Services, claraedge) -> None:
    answer = claraedge("logs", "-d", "cam", "-e", "main", "--follow", "--tail", "5")
    assert (answer.code, answer.out) == (0, "one\ntwo\nthree\n")
    assert services.asked == [
        pb.ReadDeploymentLogRequest(deployment="cam", executable="main", follow=True, tail=5)
    ]
    assert answer.err == "claraedge: attempt 4\n"
    assert claraedge("logs", "-d", "cam", "--attempt", "3").code == 0
    assert services.asked.pop() == pb.ReadDeploymentLogRequest(deployment="cam", attempt=3)
    answer = claraedge("logs", "--deployment", "cam", "--output", "json")
    assert json.loads(answer.out) == {"deployment": "cam", "logs": ["one", "two", "three"]}
    answer = claraedge("logs", "-d", "cam", "-f", "--output", "json")
    assert [json.loads(line)["line"] for line in answer.out.splitlines()] == ["one", "two", "three"]


def test_routes_are_created_listed_used_and_deleted(services: Services, claraedge) -> None:
    answer = claraedge("create", "route", "viewer")
    assert (answer.code, answer.out) == (0, "ROUTE_ID:route-a /routes/viewer/\n"), answer.err
    listed = claraedge("list", "routes")
    assert listed.out.split()[-5:] == ["viewer", "route-a", "/routes/viewer/", "cam", "WEB"]
    assert claraedge("list", "routes", "-q").out == "route-a\n"
    services.plans[0].components[0].endpoints.add(name="WEB")
    used = claraedge("deploy", "camera", "-n", "c", "--route", "WEB=viewer", "--network", "robot")
    assert used.code == 0, used.err
    wrong = claraedge("deploy", "camera", "-n", "c", "--route", "front/WED=viewer")
    assert wrong.code == 2
    assert "front/WEB" in wrong.err
    assert claraedge("delete", "routes", "viewer").out == "route-a\n"
    settings = pb.ComponentSettings(component="comp-front", routes={"WEB": "viewer"})
    assert services.asked == [
        routes_pb2.CreateRouteRequest(prefix="viewer"),
        pb.CreateDeploymentRequest(
            name="c", package=PACKAGE, components=[settings], networks=["robot"]
        ),
        routes_pb2.DeleteRouteRequest(route="route-a"),
    ]


def test_networks_are_created_listed_and_deleted(services: Services, claraedge) -> None:
    answer = claraedge("create", "network", "robot", "--ros", "noetic", "-l", "room=3")
    assert (answer.code, answer.out) == (0, "NETWORK_ID:net-a\n"), answer.err
    listed = claraedge("list", "networks").out.split()
    assert listed[-7:] == ["robot", "net-a", "noetic", "SUCCEEDED", "RUNNING", "2", "-"]
    assert claraedge("list", "networks", "-q").out == "net-a\n"
    assert claraedge("delete", "networks", "robot").out == "net-a\n"
    assert services.asked == [
        networks_pb2.CreateNetworkRequest(name="robot", ros_distro="noetic", labels={"room": "3"}),
        networks_pb2.DeleteNetworkRequest(network="net-a"),
    ]
