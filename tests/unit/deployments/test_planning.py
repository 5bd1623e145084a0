"""What a request for a deployment may say: all mistakes at once, each with its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.deployments.model import (
    ComponentRequest,
    DeployedExecutable,
    DeploymentPlan,
    DeploymentRequest,
    DeviceFacts,
    VolumeMount,
)
from claraedge.deployments.planning import claim_of, make_plan
from claraedge.deployments.running.environment import entry, environment, links
from claraedge.errors import InvalidDeploymentError
from claraedge.packages.model import (
    Endpoint,
    LivenessProbe,
    Package,
    Parameter,
    PullPolicy,
    RestartPolicy,
)
from tests.rig.deployments import component, executable, package

DEVICE = DeviceFacts(
    architecture="amd64",
    memory=1000,
    gpus=1,
    host_folders=("/srv/scans",),
    unstated_memory=100,
    pulls=False,
)


def planned(pack: Package, device: DeviceFacts = DEVICE, **more: Any) -> DeploymentPlan:
    request = DeploymentRequest(**{"name": "one", "package": pack.id, **more})
    return make_plan(pack, request, device, lambda: "inst-a")[1]


def mistakes(pack: Package, **more: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidDeploymentError) as caught:
        planned(pack, **more)
    return caught.value.messages


PACKAGE = package(
    component(
        executable("a", memory=300, gpus=1),
        executable("b", memory=200),
        parameters=(Parameter(name="MODE", default="fast"), Parameter(name="KEY")),
        endpoints=(Endpoint(name="API", port=80, target_port=8080),),
        restart=RestartPolicy.ON_FAILURE,
    )
)
SET = {"parameters": {"KEY": "k"}}


def test_a_plan_has_all_that_its_containers_need() -> None:
    plan = planned(PACKAGE, **SET)
    (made,) = plan.components
    assert made.parameters == {"MODE": "fast", "KEY": "k"}
    assert made.restart is RestartPolicy.ON_FAILURE
    assert made.endpoints == {"API": 8080}
    assert claim_of(plan, 100) == (500, 1)


def test_settings_of_a_component_come_before_those_of_all() -> None:
    plan = planned(
        PACKAGE,
        parameters={"KEY": "all", "MODE": "slow"},
        components=(
            ComponentRequest(
                component="main",
                parameters={"KEY": "own"},
                variables={"SITE": "x"},
                restart=RestartPolicy.NEVER,
                mounts=(
                    VolumeMount(executable="a", mount_path="/data/", sub_path="/"),
                    VolumeMount(executable="", mount_path="/in", sub_path="in/./x"),
                    VolumeMount(executable="b", mount_path="/scans", sub_path="/srv/scans/a"),
                ),
            ),
        ),
    )
    (made,) = plan.components
    assert made.parameters == {"KEY": "own", "MODE": "slow"}
    assert made.variables == {"SITE": "x"}
    assert made.restart is RestartPolicy.NEVER
    a, b = made.executables
    assert [(m.executable, m.mount_path, m.sub_path) for m in made.mounts] == [
        (a.id, "/data", ""),
        (a.id, "/in", "in/x"),
        (b.id, "/in", "in/x"),
        (b.id, "/scans", "/srv/scans/a"),
    ]


def test_all_mistakes_are_found_at_once() -> None:
    found = mistakes(
        PACKAGE,
        name="",
        labels={"": "x"},
        parameters={"MOD": "x"},
        components=(
            ComponentRequest(component="man"),
            ComponentRequest(
                component="main",
                parameters={"KEI": "x"},
                variables={"1A": "x", "B": "\0"},
                mounts=(
                    VolumeMount(executable="c", mount_path="data", sub_path="../x"),
                    VolumeMount(executable="a", mount_path="/proc/x", sub_path="/etc"),
                    VolumeMount(executable="a", mount_path="/x", sub_path="x"),
                    VolumeMount(executable="a", mount_path="/x/", sub_path="y"),
                ),
            ),
            ComponentRequest(component="main"),
        ),
    )
    for place in (
        "name:",
        "labels.",
        "parameters.MOD: no component of app has this parameter; did you mean MODE?",
        "components[0].component: the plan default has no component 'man'",
        "components[2].component: main is given twice",
        "components.main.parameters.KEI: there is no such parameter; did you mean KEY?",
        "components.main.parameters.KEY: it has no default; give a value",
        "components.main.variables.1A",
        "components.main.variables.B: the value has a zero byte",
        "components.main.mounts[0].executable: main has no executable 'c'",
        "components.main.mounts[0].mountPath: 'data' is no absolute path",
        "components.main.mounts[0].subPath: '../x' has `..`",
        "components.main.mounts[1].mountPath: /proc/x belongs to the container itself",
        "components.main.mounts[1].subPath: /etc is a folder of this machine",
        "components.main.mounts[3].mountPath: /x is mounted twice",
    ):
        assert [text for text in found if text.startswith(place)], (place, found)
    assert len(found) == 15


@pytest.mark.parametrize(
    ("pack", "place"),
    [
        (package(component(executable(), runtime="cloud")), "components.main.requiredRuntime"),
        (package(component(executable(), architecture="arm64v8")), "components.main.architecture"),
        (package(component(executable(image=""))), "components.main.executables.run: it names no"),
        (package(component(executable(built=True))), "components.main.executables.run: its image"),
        (package(component(executable(memory=1001))), "limits.memory"),
        (package(component(*(executable(str(n)) for n in range(11)))), "limits.memory"),
        (package(component(executable(gpus=2))), "metadata.claraedge.gpu"),
        (
            package(component(executable(pull=PullPolicy.ALWAYS))),
            "components.main.executables.run.imagePullPolicy: it is `Always`",
        ),
        (
            package(component(executable(probe=LivenessProbe(command=("ls",))))),
            "components.main.executables.run.livenessProbe.exec: this device does not run",
        ),
    ],
)
def test_what_this_device_cannot_run_is_refused(pack: Package, place: str) -> None:
    (text,) = mistakes(pack)
    assert text.startswith(place)


def test_a_package_with_several_plans_needs_its_name() -> None:
    one, two = package(component(executable())), package(component(executable()))
    both = Package(id=one.id, name="app", version="v1", plans=(*one.plans, *two.plans))
    assert mistakes(both) == ("plan: app has several plans (default, default); name one",)
    assert mistakes(both, plan="x")[0].startswith("plan: app has no plan x")
    assert planned(both, plan=two.plans[0].id).components[0].id == two.plans[0].components[0].id


@given(st.text(), st.text(), st.text())
def test_no_mount_leaves_the_folder_of_volumes(name: str, target: str, source: str) -> None:
    mount = VolumeMount(executable=name, mount_path=target, sub_path=source)
    settings = ComponentRequest(component="main", mounts=(mount,))
    try:
        plan = planned(PACKAGE, parameters={"KEY": ""}, components=(settings,))
    except InvalidDeploymentError:
        return
    for made in plan.components[0].mounts:
        assert ".." not in made.sub_path.split("/")
        assert not made.sub_path.startswith("/") or made.sub_path.startswith("/srv/scans")
        assert made.mount_path.startswith("/")
        assert made.mount_path != "/"


def test_the_environment_has_links_then_variables_then_parameters_then_the_device() -> None:
    plan = planned(PACKAGE, **SET)
    (made,) = plan.components
    found = links([(made, "10.0.0.1")])
    assert found == {"API": "10.0.0.1:8080", "API_HOST": "10.0.0.1", "API_PORT": "8080"}
    full = environment(
        made,
        {**found, "KEY": "link", "SITE": "link"},
        {"SITE": "set", "RIO_X": "set"},
        {"RIO_X": "d"},
    )
    assert full["KEY"] == "k"
    assert full["SITE"] == "set"
    assert full["RIO_X"] == "d"


@pytest.mark.parametrize(
    ("lines", "script"), [((), None), (("run",), "run"), (("a", "b"), "set -e\na\nb")]
)
def test_lines_run_in_a_shell(lines: tuple[str, ...], script: str | None) -> None:
    made = DeployedExecutable(
        id="exec-a", name="a", image="i", command=lines, memory=0, cpu=0, gpus=0
    )
    entrypoint, command = entry(made)
    assert command == (() if script is None else (script,))
    assert bool(entrypoint) == (script is not None)
