"""What the SDK sends becomes a request of Deployments, or a refusal that names the broken rule."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claraedge.decoding import decode_json
from claraedge.web.http.failures import HttpError
from claraedge.web.rapyuta.provision import check_supported, create_request, update_request
from claraedge.web.rapyuta.values.bodies import ProvisionBody, SelectionBody, UpdateBody
from claraedge.web.rapyuta.values.devices import config_variables, selected
from claraedge.web.rapyuta.values.packages import whole
from claraedge.web.rapyuta.values.words import time_text
from claraedge.wire.claraedge.v1 import deployments_pb2 as wire
from claraedge.wire.claraedge.v1 import packages_pb2

DEVICE = wire.Device(
    id="device-1", name="scanner", architecture="arm64v8", variables={"SITE": "north"}
)
MAIN, SIDE = "comp-" + "a" * 24, "comp-" + "b" * 24
PARENT = "dep-" + "p" * 24
PACKAGE = packages_pb2.Package(
    id="pkg-" + "k" * 24,
    name="robot",
    plans=[
        packages_pb2.Plan(
            id="plan-" + "l" * 24,
            name="default",
            components=[
                packages_pb2.Component(
                    id=MAIN,
                    name="main",
                    runtime="device",
                    parameters=[packages_pb2.Parameter(name="COLOUR")],
                ),
                packages_pb2.Component(id=SIDE, name="side", runtime="cloud"),
            ],
        )
    ],
)
SECRET = "Bearer of.all.tokens"
#: As the SDK sends it: with the whole device, and the token of its user in it.
BODY: dict[str, Any] = {
    "service_id": PACKAGE.id,
    "plan_id": PACKAGE.plans[0].id,
    "api_version": "1.0.0",
    "instance_id": "instanceId",
    "organization_guid": "organizationGuid",
    "space_guid": "spaceGuid",
    "accepts_incomplete": True,
    "context": {
        "name": "first",
        "labels": [{"key": "site", "value": "north"}, {"key": "level", "value": 2}],
        "dependentDeployments": [
            {"dependentDeploymentId": PARENT, "applicableComponentId": "", "config": {}},
            {"dependentDeploymentId": PARENT, "applicableComponentId": "", "config": {}},
        ],
        "diskMountInfo": [
            {
                "diskResourceId": DEVICE.id,
                "applicableComponentId": MAIN,
                "config": {
                    "mountPaths": {
                        "one": {"mountPath": "/data", "subPath": "results"},
                        "two": {"mountPath": "/all"},
                    }
                },
            }
        ],
        "routedNetworks": [],
        "nativeNetworks": [],
        "component_context": {
            MAIN: {"component_override": {"restart_policy": "on-failure"}},
            SIDE: {"ros_bag_job_defs": [], "static_route_config": {}},
        },
    },
    "parameters": {
        "global": {"device_ids": [DEVICE.id, DEVICE.id]},
        MAIN: {
            "component_id": MAIN,
            "COLOUR": "red",
            "device_id": DEVICE.id,
            "SITE": "north",
            "runtime": "dockercompose",
            "runtime_docker": "True",
            "bridge_params": {"alias": "robot", "setROSNamespace": True},
        },
        SIDE: {"component_id": SIDE, "device_id": DEVICE.id},
    },
    "_is_provisioned": True,
    "_devices": {DEVICE.id: {"_auth_token": SECRET, "uuid": DEVICE.id}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The body with another value at a path; `MAIN` stands for the id of the component."""
    body = copy.deepcopy(BODY)
    *parents, last = path.replace("MAIN", MAIN).replace("SIDE", SIDE).split("/")
    target: Any = body
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return body


def request_of(body: Any) -> wire.CreateDeploymentRequest:
    found = decode_json(json.dumps(body), ProvisionBody)
    check_supported(found)
    return create_request(found, PACKAGE, DEVICE)


def refusal_of(body: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as raised:
        request_of(body)
    return raised.value.status, str(raised.value)


def test_a_body_of_the_sdk_becomes_a_request() -> None:
    request = request_of(BODY)
    assert (request.name, request.package, request.plan) == (
        "first",
        PACKAGE.id,
        PACKAGE.plans[0].id,
    )
    assert dict(request.labels) == {"site": "north", "level": "2"}
    assert list(request.dependencies) == [PARENT]
    main, side = request.components
    assert dict(main.parameters) == {"COLOUR": "red"}
    assert dict(main.variables) == {"SITE": "north", "ROS_NAMESPACE": "robot"}
    assert main.restart_policy == packages_pb2.RESTART_POLICY_ON_FAILURE
    assert {(one.executable, one.mount_path, one.sub_path) for one in main.mounts} == {
        ("one", "/data", "results"),
        ("two", "/all", "/"),
    }
    # An empty list is not the same as none: the jobs of the package do not start.
    assert side == wire.ComponentSettings(component=SIDE, bag_jobs=wire.BagJobDefinitions())


def test_a_component_of_the_cloud_needs_no_device() -> None:
    """Deployments refuses it, and says why."""
    request = request_of(changed("parameters/SIDE/device_id", ...))
    assert [settings.component for settings in request.components] == [MAIN, SIDE]


def test_nothing_of_the_sdks_own_objects_is_kept() -> None:
    found = decode_json(json.dumps(BODY), ProvisionBody)
    assert SECRET not in repr(found)
    assert b"Bearer" not in request_of(BODY).SerializeToString()


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", "x"), ("", ""), (5, "5"), (-1.5, "-1.5"), (True, "true"), (False, "false")],
)
def test_a_value_becomes_the_text_of_a_variable(value: Any, text: str) -> None:
    request = request_of(changed("parameters/MAIN/COLOUR", value))
    assert request.components[0].parameters["COLOUR"] == text


@pytest.mark.parametrize(
    ("path", "value", "status", "part"),
    [
        ("parameters/MAIN/COLOUR", None, 400, "COLOUR is null"),
        ("parameters/MAIN/COLOUR", [1], 400, "COLOUR is a list"),
        ("parameters/MAIN/COLOUR", {"a": 1}, 400, "COLOUR is an object"),
        ("parameters/MAIN/device_id", ..., 400, "'main' is not mapped with the device"),
        ("parameters/MAIN/device_id", "other", 400, "'other', which is not this one"),
        ("parameters/MAIN/device_id", 5, 400, "'5', which is not this one"),
        ("parameters/global/device_ids", ["device-1", "x"], 400, "'x', which is not this one"),
        ("parameters/global/device_ids", "device-1", 400, "is no list"),
        ("context/diskMountInfo/0/diskResourceId", "other", 400, "'other', which is not"),
        ("parameters/MAIN/bridge_params", {"setROSNamespace": True}, 400, "has no alias"),
        ("plan_id", "plan-x", 400, "has no plan 'plan-x'"),
        ("context/labels/1/key", "site", 400, "'site' occurs twice"),
        ("context/dependentDeployments/0/dependentDeploymentId", "d", 404, "'d' is no id"),
        (
            "context/component_context/MAIN/component_override/restart_policy",
            "sometimes",
            400,
            "'sometimes'; send always, on-failure, no",
        ),
        ("context/routedNetworks", [{"guid": "n"}], 404, "'n' is no id of a network"),
        ("context/nativeNetworks", [{"guid": "n"}], 404, "'n' is no id of a network"),
        (
            "context/nativeNetworks",
            [{"guid": f"net-{'a' * 24}", "bindParameters": {"NETWORK_INTERFACE": "no"}}],
            400,
            "'no' is no network interface",
        ),
        (
            "context/dependentDeployments/0/config",
            {"NETWORK_INTERFACE": "lo"},
            501,
            "leave out network_interface",
        ),
        ("context/dependentDeployments/0/config", {"mountPath": "/a"}, 501, "no disks of a cloud"),
        ("context/component_context/MAIN/static_route_config", {"W": "r"}, 404, "'r' is no id"),
        ("context/component_context/MAIN/ros_bag_job_defs", [{"name": "b"}], 400, "recordOptions"),
        ("context/component_context/MAIN/ros_bag_job_defs", ["b"], 400, "is no object"),
    ],
)  # fmt: skip
def test_a_rule_that_is_broken_is_named(path: str, value: Any, status: int, part: str) -> None:
    found, text = refusal_of(changed(path, value))
    assert found == status, text
    assert part in text


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("service_id", 5, "$.service_id"),
        ("context", ..., "context"),
        ("context/diskMountInfos", [], "diskMountInfos"),
        ("context/labels", [{"key": "a"}], "$.context.labels[0]"),
        ("context/labels/0/value", None, "$.context.labels[0].value"),
        ("context/diskMountInfo/0/config/mountPaths/one/readOnly", True, "readOnly"),
        ("context/component_context/MAIN/override", {}, "override"),
    ],
)
def test_a_typing_error_is_not_ignored(path: str, value: Any, place: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(place)):
        request_of(changed(path, value))


#: JSON of any form, and more often what could be a part of the body.
_WORDS = [
    *(MAIN, SIDE, DEVICE.id, PARENT, "global", "device_ids", "device_id", "mountPath", "config"),
    *("always", "alias", "\u0000", "\ud7ff", "../..", "9" * 400),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8) | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(_WORDS) | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All paths to the parts of a value."""
    found = [before] if before else []
    if isinstance(value, dict):
        inside: Iterable[tuple[Any, Any]] = value.items()
    else:
        inside = enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        found += paths(part, (*before, key))
    return found


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(paths(BODY)), JSON)
def test_no_body_raises_anything_but_a_refusal(path: tuple[Any, ...], value: Any) -> None:
    body = copy.deepcopy(BODY)
    target: Any = body
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    status = 200
    try:
        request_of(body).SerializeToString()
    except HttpError as failure:
        status = failure.status
    except msgspec.MsgspecError:
        status = 400
    assert status in (200, 400, 404, 501)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_no_manifest_of_a_package_breaks_its_object(value: Any) -> None:
    """The daemon has checked the manifest, but perhaps with other rules than those of the SDK."""
    package = packages_pb2.Package()
    package.CopyFrom(PACKAGE)
    for manifest in (
        value,
        {"plans": value},
        {"plans": [{"components": value, "inboundROSInterfaces": value, "metadata": value}]},
        {"plans": [{"components": [{"ros": value, "executables": value, "rosBagJobDefs": value}]}]},
    ):
        package.manifest = json.dumps(manifest)
        (plan,) = whole(package, "project-x")["packageInfo"]["plans"]  # type: ignore[index]
        assert [one["componentId"] for one in plan["internalComponents"]] == [MAIN, SIDE]
        for component in plan["components"]["components"]:
            assert isinstance(component["parameters"], list)
            assert isinstance(component["executables"], list)
            assert isinstance(component["rosBagJobDefs"], list)
            assert isinstance(component["ros"]["isROS"], bool)
            assert isinstance(component["ros"]["topics"], list)


# --- updates, devices, times --------------------------------------------------------------------


def test_an_update_names_executables_by_id() -> None:
    id_ = "dep-" + "u" * 24

    def update(executables: list[dict[str, Any]], *, wanted: bool = True) -> Any:
        context = {MAIN: {"update_deployment": wanted, "component": {"executables": executables}}}
        body = {"deployment_id": id_, "context": {"component_context": context}, "service_id": "x"}
        return update_request(decode_json(json.dumps(body), UpdateBody), id_)

    one, two = update(
        [{"id": "exec-1", "name": "a", "docker": "new:1"}, {"name": "b", "cmd": []}]
    ).executables
    assert (one.executable, one.image, one.HasField("command")) == ("exec-1", "new:1", False)
    assert (two.executable, two.image, two.HasField("command")) == ("b", "", True)
    for executables, wanted in (([{"docker": "new:1"}], True), ([], True), ([{"id": "x"}], False)):
        with pytest.raises(HttpError) as raised:
            update(executables, wanted=wanted)
        assert raised.value.status == 400


@pytest.mark.parametrize(
    ("operator", "name", "count"),
    [("$eq", "aarch64", 1), ("$in", "aarch64", 1), ("$eq", "x86_64", 0), ("$in", "armv7", 0)],
)
def test_devices_are_selected_by_their_architecture(operator: str, name: str, count: int) -> None:
    comparison = {"operator": operator, "args": ["cpuarch", name]}
    body = {"operator": "$or", "specs": {"operator": "$or", "args": [comparison]}}
    assert len(selected(decode_json(json.dumps(body), SelectionBody), DEVICE)) == count


def test_the_device_says_that_it_runs_containers_whatever_its_variables_are() -> None:
    device = wire.Device(variables={"runtime": "preinstalled", "SITE": "north"})
    found = {one["key"]: one["value"] for one in config_variables(device)}
    assert found == {
        "SITE": "north",
        "runtime": "dockercompose",
        "runtime_docker": "True",
        "runtime_preinstalled": "False",
        "rosbag_mount_path": "/bags",
    }


def test_times_have_the_form_of_the_sdk() -> None:
    deployment = wire.Deployment()
    assert time_text(deployment.stopped) is None
    deployment.stopped.FromJsonString("2026-11-30T12:00:00.25Z")
    assert time_text(deployment.stopped) == "2026-11-30T12:00:00.250000Z"
