# ruff: noqa: E501 - a row of a table is a line
"""Manifests of others, mistakes with their paths, and text that is no manifest."""

from __future__ import annotations

import json
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claraedge.errors import InvalidManifestError
from claraedge.packages.ids import IdKind
from claraedge.packages.manifest import canonical, parse
from claraedge.packages.model import LivenessProbe, Package, PullPolicy, RestartPolicy
from claraedge.packages.packages import read

#: What rapyuta.io's tutorials (88cf4562) and command line (1.0.0 to 10.7.0) have, without their
#: descriptions.
OTHERS = json.loads(
    (Path(__file__).parents[2] / "facts" / "package_manifests.json").read_text(encoding="utf-8")
)
#: That of the Package module's documentation: a program of the host, for a Raspberry Pi.
DOCUMENTED = {
    "apiVersion": "1.0.0",
    "name": "ROS publisher subscriber",
    "packageVersion": "v1.0.0",
    "plans": [{
        "name": "default", "singleton": False, "metadata": {}, "includePackages": [],
        "dependentDeployments": [], "exposedParameters": [],
        "inboundROSInterfaces": {"topics": [], "services": [], "actions": []},
        "components": [{
            "name": "default", "description": "", "requiredRuntime": "device",
            "architecture": "arm32v7", "parameters": [], "cloudInfra": {"replicas": 1},
            "ros": {"isROS": True, "topics": [], "services": [], "actions": []},
            "executables": [{"name": "listener", "cmd": ["roslaunch listener listener.launch"]}],
        }],
    }],
}  # fmt: skip


#: Path of the probe of `executable`.
PROBED = "plans[0].components[0].executables[0].livenessProbe"


def package_of(manifest: Any) -> Package:
    numbers = count(1)

    def new_id(kind: IdKind) -> str:
        return f"{kind}-{next(numbers)}"

    return read(manifest if isinstance(manifest, str) else json.dumps(manifest), new_id, 5.0)


def mistakes(manifest: Any) -> list[str]:
    with pytest.raises(InvalidManifestError) as refused:
        package_of(manifest)
    return list(refused.value.messages)


def manifest(*executables: Any, **component: Any) -> dict[str, Any]:
    """A manifest with one component."""
    given = executables or ({"name": "main", "docker": "a:1"},)
    whole = {"name": "c", "requiredRuntime": "device", "executables": [*given], **component}
    return {"name": "p", "packageVersion": "v1", "plans": [{"components": [whole]}]}


def executable(**fields: Any) -> dict[str, Any]:
    return manifest({"name": "main", "docker": "a:1", **fields})


@pytest.mark.parametrize("name", sorted(OTHERS))
@pytest.mark.parametrize("form", [json.dumps, yaml.safe_dump], ids=["json", "yaml"])
def test_manifests_of_others_are_read_in_both_syntaxes(name: str, form: Any) -> None:
    package = package_of(form(OTHERS[name]))
    assert package.name
    assert all(c.executables for plan in package.plans for c in plan.components)
    # What is stored declares the same package.
    assert package_of(package.manifest) == package


def test_the_documented_manifest_is_read() -> None:
    package = package_of(DOCUMENTED)
    (component,) = package.plans[0].components
    (program,) = component.executables
    assert (component.architecture, component.ros.enabled) == ("arm32v7", True)
    assert (program.image, program.command) == ("", ("roslaunch listener listener.launch",))
    assert json.loads(package.manifest) == DOCUMENTED


def test_everything_a_deployment_needs_is_read() -> None:
    given = manifest(
        {"name": "a", "docker": "r.io/a:1", "cmd": ["cd /x", "./a"],
         "limits": {"cpu": 0.5, "memory": 128.2}},
        {"name": "b", "gitExecutable": {"repository": "https://x"}, "cmd": []},
        architecture="amd64",
        restart_policy="on-failure",
        requiredRuntime="cloud,device",
        parameters=[
            {"name": "A", "default": "x", "description": "y"}, {"name": "B"},
            {"name": "C", "default": 5}, {"name": "D", "default": True}, {"name": "E", "default": ""},
        ],
        cloudInfra={"endpoints": [
            {"name": "web", "port": 443, "targetPort": 8080, "proto": "HTTPS", "exposeExternally": True},
            {"name": "many", "portRange": "53,1024-1025", "proto": "UDP"},
        ]},
        ros={"isROS": True, "ros_distro": "noetic", "topics": [{"name": "/t"}]},
        rosBagJobDefs=[{"name": "bag", "recordOptions": {"allTopics": True}}],
    )  # fmt: skip
    given["plans"][0] |= {"singleton": True, "metadata": {"claraedge": {"gpu": {"a": 2}}, "k": 1}}
    package = package_of(given)
    plan = package.plans[0]
    (component,) = plan.components
    a, b = component.executables
    assert (package.bindable, package.created) == (True, 5.0)
    assert (plan.name, plan.singleton) == ("default", True)
    assert plan.metadata == {"claraedge": {"gpu": {"a": 2}}, "k": 1}
    assert (component.runtime, component.restart_policy) == (
        "device,cloud",
        RestartPolicy.ON_FAILURE,
    )
    assert (a.image, a.command, a.cpu, a.memory, a.gpus, a.built) == (
        "r.io/a:1", ("cd /x", "./a"), 0.5, 129, 2, False,
    )  # fmt: skip
    assert (b.image, b.command, b.cpu, b.memory, b.gpus, b.built) == ("", (), 0, 0, 0, True)
    assert [(p.name, p.default) for p in component.parameters] == [
        ("A", "x"), ("B", None), ("C", "5"), ("D", "true"), ("E", ""),
    ]  # fmt: skip
    web, many = component.endpoints
    assert (web.port, web.target_port, web.protocol, web.exposed) == (443, 8080, "HTTPS", True)
    assert (many.port, many.port_range, many.protocol) == (0, "53,1024-1025", "UDP")
    assert (component.ros.distro, component.ros.topics) == ("noetic", ("/t",))
    assert component.rosbag_jobs == ({"name": "bag", "recordOptions": {"allTopics": True}},)
    ids = [package.id, plan.id, component.id, a.id, b.id]
    assert [i.partition("-")[0] for i in ids] == ["pkg", "plan", "comp", "exec", "exec"]
    assert len(set(ids)) == 5


def test_a_component_without_a_policy_is_always_restarted() -> None:
    assert package_of(manifest()).plans[0].components[0].restart_policy is RestartPolicy.ALWAYS
    never = package_of(manifest(restart_policy="no")).plans[0].components[0]
    assert never.restart_policy is RestartPolicy.NEVER


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({"cmd": "sleep 1"}, ("sleep 1",)),
        ({"cmd": ["", "  "]}, ()),
        ({"cmd": ["a", "b"]}, ("a", "b")),
        ({"cmd": ["/bin/bash", "-c", "echo 'x y'"]}, ("/bin/bash -c 'echo '\"'\"'x y'\"'\"''",)),
        ({"cmd": ["run", "x y"], "runAsBash": False}, ("run 'x y'",)),
    ],
)
def test_commands_are_lines_for_the_shell(fields: dict[str, Any], lines: tuple[str, ...]) -> None:
    assert package_of(executable(**fields)).plans[0].components[0].executables[0].command == lines


def test_all_mistakes_come_at_once_with_their_paths() -> None:
    wrong = manifest(
        {"name": "a", "docker": "a:1", "limits": {"memory": -3, "cpu": "1"}},
        {"name": "a", "docker": "A B", "cmd": [1], "dokcer": "x"},
        parameters=[{"name": "A=B"}, {"name": "C", "default": 0.5}, {"default": "x"}],
        architecture="amd65",
        restart_policy="never",
    )
    del wrong["packageVersion"]
    wrong["plans"].append({"name": "other", "components": []})
    place = "plans[0].components[0]"
    expected = {
        "packageVersion": "it is missing",
        f"{place}.executables[0].limits.memory": "a number from 0",
        f"{place}.executables[0].limits.cpu": "`1` is not a number",
        f"{place}.executables[1].name": "`a` is the name of another executable",
        f"{place}.executables[1].docker": "`A B` is not allowed",
        f"{place}.executables[1].cmd": "not a list of texts",
        f"{place}.executables[1].dokcer": "did you mean `docker`?",
        f"{place}.parameters[0].name": "`A=B` is not allowed",
        f"{place}.parameters[1].default": "quotes",
        f"{place}.parameters[2].name": "it is missing",
        f"{place}.architecture": "one of `amd64`, `arm64v8`, `arm32v7`",
        f"{place}.restart_policy": "one of `always`, `on-failure`, `no`",
        "plans[1].components": "it is missing",
    }
    found = dict(each.split(": ", 1) for each in mistakes(wrong))
    assert found.keys() == expected.keys()
    assert [p for p, text in expected.items() if text not in found[p]] == []


@pytest.mark.parametrize(
    ("wrong", "path", "text"),
    [
        ({}, "name", "it is missing"),
        ([], "the manifest", "a list is not an object"),
        ("5", "the manifest", "`5` is not an object"),
        ({**manifest(), "name": ""}, "name", "it is missing"),
        ({**manifest(), "name": "a\nb"}, "name", "not printable"),
        ({**manifest(), "name": "x" * 256}, "name", "255 are allowed"),
        ({**manifest(), "packageVersion": 1.0}, "packageVersion", "put it in quotes"),
        ({**manifest(), "packageVersion": "a b"}, "packageVersion", "`a b` is not allowed"),
        ({**manifest(), "plans": {}}, "plans", "an object is not a list"),
        ({**manifest(), "plans": [None]}, "plans[0]", "it is missing"),
        (manifest(cloudInfra={"endpoints": [{"name": "a", "targetPort": 0}]}),
         "plans[0].components[0].cloudInfra.endpoints[0].targetPort", "from 1 to 65535"),
        (manifest(cloudInfra={"endpoints": [{"name": "a", "targetPort": 1.5}]}),
         "plans[0].components[0].cloudInfra.endpoints[0].targetPort", "whole number"),
        (manifest(cloudInfra={"endpoints": [{"name": "a"}]}),
         "plans[0].components[0].cloudInfra.endpoints[0].targetPort", "it is missing"),
        (manifest(requiredRuntime="Device"), "plans[0].components[0].requiredRuntime", "`device`"),
        (manifest(rosBagJobDefs=[{"name": "a", "recordOptions": {"chunkSize": 1}}]),
         "plans[0].components[0].rosBagJobDefs[0].recordOptions", "it selects nothing"),
        (manifest(executables=[]), "plans[0].components[0].executables", "it is missing"),
        (manifest(executables=[{}] * 1001), "plans[0].components[0].executables", "1000 are allowed"),
        (executable(volumes=["/:/host"]), "plans[0].components[0].executables[0].volumes",
         "there is no such field"),
        (executable(docker=["a"]), "plans[0].components[0].executables[0].docker",
         "a list is not a text"),
        (executable(docker="a:1\0"), "plans[0].components[0].executables[0].docker", "NUL"),
        (executable(imagePullPolicy="Sometimes"),
         "plans[0].components[0].executables[0].imagePullPolicy", "`IfNotPresent`"),
        (executable(livenessProbe={}), PROBED, "nothing to try"),
        (executable(livenessProbe=5), PROBED, "`5` is not an object"),
        (executable(livenessProbe={"httpGet": {"port": 1}, "exec": {"command": ["a"]}}),
         PROBED, "`httpGet` and `exec` to try"),
        (executable(livenessProbe={"tcpSocket": {}}), f"{PROBED}.tcpSocket.port", "it is missing"),
        (executable(livenessProbe={"tcpSocket": {"port": 65536}}), f"{PROBED}.tcpSocket.port",
         "from 1 to 65535"),
        (executable(livenessProbe={"httpGet": {"path": "a", "port": 1}}),
         f"{PROBED}.httpGet.path", "begins with `/`"),
        (executable(livenessProbe={"httpGet": {"path": "/a\r\nX: y", "port": 1}}),
         f"{PROBED}.httpGet.path", "not printable"),
        (executable(livenessProbe={"httpGet": {"path": "/a b", "port": 1}}),
         f"{PROBED}.httpGet.path", "without blanks"),
        (executable(livenessProbe={"httpGet": {"port": 1, "scheme": "HTTPS"}}),
         f"{PROBED}.httpGet.scheme", "`tcpSocket`"),
        (executable(livenessProbe={"httpGet": {"port": 1, "httpHeaders": []}}),
         f"{PROBED}.httpGet.httpHeaders", "no such field"),
        (executable(livenessProbe={"exec": {"command": "ls"}}), f"{PROBED}.exec.command",
         "not a list of texts"),
        (executable(livenessProbe={"exec": {"command": []}}), f"{PROBED}.exec.command",
         "it is missing"),
        (executable(livenessProbe={"tcpSocket": {"port": 1}, "periodSeconds": 0}),
         f"{PROBED}.periodSeconds", "from 1 to 86400"),
        (executable(livenessProbe={"tcpSocket": {"port": 1}, "timeoutSeconds": 0.5}),
         f"{PROBED}.timeoutSeconds", "from 1 to 86400"),
        (executable(livenessProbe={"tcpSocket": {"port": 1}, "failureThreshold": "3"}),
         f"{PROBED}.failureThreshold", "not a number"),
        (executable(livenessProbe={"tcpSocket": {"port": 1}, "successThreshold": -1}),
         f"{PROBED}.successThreshold", "from 1 to 1000"),
        (executable(livenessProbe={"tcpSocket": {"port": 1}, "initialDelaySeconds": 1e300}),
         f"{PROBED}.initialDelaySeconds", "from 0 to 86400"),
        (executable(limits={"gpu": 1}), "plans[0].components[0].executables[0].limits.gpu",
         "`metadata.claraedge.gpu`"),
        (executable(limits={"memory": True}),
         "plans[0].components[0].executables[0].limits.memory", "`true` is not a number"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_path_and_says_what_is_allowed(wrong: Any, path: str, text: str) -> None:
    found = dict(each.split(": ", 1) for each in mistakes(wrong))
    assert text in found[path]


@pytest.mark.parametrize(
    ("gpu", "text"),
    [
        (1, "the plan has 2 executables"),
        ([1], "the plan has 2 executables"),
        ({"a": -1}, "from 0 to 64 (GPUs)"),
        ({"a": "1"}, "`1` is not a number"),
        ({"nobody": 1}, "the plan has no executable `nobody`; it has `a`, `b`"),
        ({"a": 0.5}, "not a whole number"),
        ({"a": True}, "not a number"),
    ],
)
def test_a_wrong_number_of_gpus_is_refused(gpu: Any, text: str) -> None:
    wrong = manifest({"name": "a", "docker": "a"}, {"name": "b", "docker": "b"})
    wrong["plans"][0]["metadata"] = {"claraedge": {"gpu": gpu}}
    (found,) = mistakes(wrong)
    assert found.startswith("plans[0].metadata.claraedge.gpu")
    assert text in found


def test_a_number_of_gpus_is_that_of_the_only_executable() -> None:
    given = executable()
    given["plans"][0]["metadata"] = {"claraedge": {"gpu": 1}}
    assert package_of(given).plans[0].components[0].executables[0].gpus == 1


def test_an_executable_whose_name_is_not_unique_gets_no_gpu_by_name() -> None:
    given = manifest()
    given["plans"][0]["components"].append({**given["plans"][0]["components"][0], "name": "d"})
    given["plans"][0]["metadata"] = {"claraedge": {"gpu": {"main": 1}}}
    (found,) = mistakes(given)
    assert "several executables of the plan have the name `main`" in found


def test_very_many_mistakes_are_counted_and_fit_into_a_status() -> None:
    found = mistakes(manifest(parameters=[{"name": "A B"}] * 300))
    assert len("\n".join(found).encode()) < 2048
    assert (
        found[-1] == f"{300 + 1 - len(found)} more mistakes are not shown; correct the first ones"
    )
    assert len(found) > 10


@pytest.mark.parametrize(
    "hostile",
    [
        {f"f{n}": 1 for n in range(90_000)},
        manifest(**{f"{n}" * 9: 1 for n in range(20_000)}),
        manifest(parameters=[{"nam": "x", "defalt": 1}] * 1000),
        manifest(*[{f"n{n}": []} for n in range(1000)]),
        {"kind": "Package", "spec": {"executables": [{"x": n} for n in range(1000)]}},
        {**manifest(), "plans": [{"components": [{"executables": [{}] * 9}] * 99}] * 99},
        {
            **manifest(),
            "plans": [{"metadata": {"claraedge": {"gpu": {f"{n}": 1 for n in range(50_000)}}}}],
        },
    ],
    ids=range(7),
)
def test_a_hostile_manifest_is_refused_quickly(hostile: Any) -> None:
    text = json.dumps(hostile)
    began = time.thread_time()
    assert mistakes(text)
    assert time.thread_time() - began < 3


# --- the form of the command line ---------------------------------------------------------------

CLI = """
apiVersion: apiextensions.rapyuta.io/v1
kind: Package
metadata: {name: web, version: v2.0.0, claraedge: {gpu: 1}, labels: {a: b}}
spec:
  runtime: device
  device: {arch: arm64v8, restart: onfailure}
  executables:
  - name: main
    type: docker
    command: COMMAND
    docker: {image: "nginx:latest", imagePullPolicy: Always}
    limits: {cpu: 1, memory: 128}
  environmentArgs:
  - {name: KEY, default: "1.10", exposed: true, exposedName: OTHER}
  endpoints:
  - {name: web, type: external-http, port: 80, targetPort: 8080}
  - {name: dns, type: internal-udp-range, portRange: "53"}
  ros: {enabled: true, version: noetic, rosEndpoints: [{type: topic, name: /t}]}
"""


def test_the_form_of_the_command_line_declares_the_same() -> None:
    package = package_of(CLI.replace("COMMAND", "nginx -g x"))
    (component,) = package.plans[0].components
    (program,) = component.executables
    assert (package.name, package.version) == ("web", "v2.0.0")
    assert (component.name, component.runtime, component.architecture) == (
        "default", "device", "arm64v8",
    )  # fmt: skip
    assert component.restart_policy is RestartPolicy.ON_FAILURE
    assert (program.image, program.command, program.gpus, program.memory) == (
        "nginx:latest", ("nginx -g x",), 1, 128,
    )  # fmt: skip
    assert [(p.name, p.default) for p in component.parameters] == [("KEY", "1.10")]
    assert [(e.name, e.protocol, e.exposed, e.target_port) for e in component.endpoints] == [
        ("web", "HTTP", True, 8080), ("dns", "UDP", False, 0),
    ]  # fmt: skip
    assert package.plans[0].exposed_parameters == (
        {"component": "default", "param": "KEY", "targetParam": "OTHER"},
    )
    assert (component.ros.distro, component.ros.topics) == ("noetic", ("/t",))
    assert program.pull is PullPolicy.ALWAYS
    assert json.loads(package.manifest)["plans"][0]["components"][0]["name"] == "default"


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        ("[sh, -c, 'echo a b']", ("sh -c 'echo a b'",)),
        ("['source /opt/setup.bash', 'roslaunch a b']", ("source /opt/setup.bash", "roslaunch a b")),
        ("[sleep 1]", ("sleep 1",)),
        ("", ()),
    ],
)  # fmt: skip
def test_a_list_of_single_words_is_one_command(command: str, lines: tuple[str, ...]) -> None:
    package = package_of(CLI.replace("COMMAND", command))
    assert package.plans[0].components[0].executables[0].command == lines


def test_a_probe_is_read_with_its_defaults() -> None:
    def probe(**fields: Any) -> LivenessProbe | None:
        package = package_of(executable(livenessProbe=fields or None))
        return package.plans[0].components[0].executables[0].probe

    assert probe() is None
    assert probe(httpGet={"path": "/well", "port": 80, "scheme": "HTTP"}) == LivenessProbe(
        port=80, path="/well", delay=1, period=10, timeout=10, successes=1, failures=3
    )
    assert probe(httpGet={"port": 80}) == LivenessProbe(port=80, path="/")
    assert probe(tcpSocket={"port": 80}, initialDelaySeconds=0) == LivenessProbe(port=80, delay=0)
    assert probe(exec={"command": ["ls", "/a b"]}) == LivenessProbe(command=("ls", "/a b"))
    assert probe(
        tcpSocket={"port": 1}, initialDelaySeconds=2, periodSeconds=3, timeoutSeconds=4,
        successThreshold=5, failureThreshold=6,
    ) == LivenessProbe(port=1, delay=2, period=3, timeout=4, successes=5, failures=6)  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "path", "text"),
    [
        ("v2.0.0", "a b", "metadata.version", "`a b` is not allowed"),
        ("name: web, v", "nam: web, v", "metadata.nam", "did you mean `name`?"),
        ("kind: Package", "kind: Secret", "kind", "write one of `Package`"),
        ("onfailure", "on-failure", "spec.device.restart", "`onfailure`"),
        ("arm64v8", "arm64", "spec.device.arch", "`arm64v8`"),
        ("nginx:latest", "N G", "spec.executables[0].docker.image", "`N G` is not allowed"),
        ("memory: 128", "memory: -1", "spec.executables[0].limits.memory", "from 0"),
        ("COMMAND", "{a: b}", "spec.executables[0].command", "not a list of texts"),
        ("name: KEY", "name: A B", "spec.environmentArgs[0].name", "`A B`"),
        ("default: \"1.10\"", "value: x", "spec.environmentArgs[0].value", "no such field"),
        ("targetPort: 8080", "targetPort: 80800", "spec.endpoints[0].targetPort", "65535"),
        ("type: external-http", "type: external", "spec.endpoints[0].type", "`external-http`"),
        ("gpu: 1", "gpu: {x: 1}", "metadata.claraedge.gpu.x", "no executable `x`"),
        ("runtime: device", "hostPID: true", "spec.hostPID", "remove it"),
        ("runtime: device", "x: device", "spec.runtime", "it is missing"),
        ("limits:", "uid: 0\n    limits:", "spec.executables[0].uid", "USER"),
        ("Policy: Always", "Policy: always", "spec.executables[0].docker.imagePullPolicy",
         "`Always`, `IfNotPresent`, `Never`"),
        ("limits:", "livenessProbe: {tcpSocket: {port: 0}}\n    limits:",
         "spec.executables[0].livenessProbe.tcpSocket.port", "from 1 to 65535"),
        ("type: docker", "type: dokcer", "spec.executables[0].type", "`docker`"),
    ],
)  # fmt: skip
def test_mistakes_have_the_paths_of_the_document(old: str, new: str, path: str, text: str) -> None:
    found = dict(each.split(": ", 1) for each in mistakes(CLI.replace(old, new)))
    assert text in found[path], found


# --- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: the file holds no document; begin with `name: NAME`"),
        ('{"a": 1, "b": {"c": 1, "c": 2}, "a": 2}', "the manifest: the key `a` stands twice"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: `a` stands twice"),
        ('{"a": NaN}', "`NaN` is not a number"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 5000 + "}", "too large"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"a": [1, }', "the manifest is not JSON: line 1, column 11"),
        ("[" * 100_000, "deep"),
        ("{" * 500_000, "the manifest"),
        ("- " * 500, "stand inside each other"),
        ("a: &a [x,x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(9)), "no such field"),
        ("a: &a [x]\n" + "".join(
            f"b{n}: &b{n} [*b{n - 1}, *b{n - 1}]\n" if n else "b0: &b0 [*a]\n" for n in range(200)),
         "aliases"),
        ("a: b\n---\na: c\n", "keep one package in a file"),
        ("!!python/object:os.system ls", "the tag"),
        ("<<: {a: b}", "not part of a manifest"),
        ("x" * (1 << 20) + "x", "larger than 1 MiB"),
        ("é" * (1 << 19) + "x", "larger than 1 MiB"),
        ("a: \x00", "U+0000"),
    ],
    ids=range(19),
)  # fmt: skip
def test_text_that_is_no_manifest_is_refused_quickly(text: str, said: str) -> None:
    began = time.thread_time()
    found = mistakes(text)
    assert said in "\n".join(found)
    assert time.thread_time() - began < 5


def test_yaml_keeps_what_people_wrote() -> None:
    text = "a: no\nb: 1.10\nc: '1.10'\nd: 007\ne: 2024-01-01\nf: 0x1F\ng: 5\nh: true\ni: ~\nj: +1\n"
    assert parse(text) == {
        "a": "no", "b": 1.1, "c": "1.10", "d": "007", "e": "2024-01-01", "f": "0x1F", "g": 5,
        "h": True, "i": None, "j": "+1",
    }  # fmt: skip
    assert parse("\ufeff" + '{"a": "\\u00e9"}') == {"a": "é"}
    assert parse("{a: b}") == {"a": "b"}


_KEYS = st.sampled_from(
    ["name", "plans", "components", "executables", "cmd", "docker", "limits", "memory", "metadata",
     "packageVersion", "claraedge", "gpu", "kind", "spec", "apiVersion", "parameters", "ros",
     "cloudInfra", "endpoints", "rosBagJobDefs", "recordOptions", "runtime", "device", "type",
     "environmentArgs", "default", "command", "rosEndpoints", "enabled", "topics"]
)  # fmt: skip
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["Package", "device", "docker", "apiextensions.rapyuta.io/v1", "a:1"]),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_KEYS | st.text(max_size=9), inner, max_size=6)
    ),
    max_leaves=40,
)


def reads_or_refuses(text: str) -> Package | None:
    try:
        package = package_of(text)
    except InvalidManifestError as error:
        refused = error.messages
    else:
        assert package_of(package.manifest) == package
        return package
    assert refused
    assert all(message.strip() for message in refused)
    return None


@given(st.text(max_size=300) | st.text("{}[]:,\"'&*!-\n ae0.", max_size=80))
@example('{"name": "\\ud800"}')
@settings(max_examples=300, deadline=2000)
def test_no_text_raises_anything_else(text: str) -> None:
    reads_or_refuses(text)


@given(_VALUES, st.booleans())
@settings(max_examples=400, deadline=2000)
def test_no_value_raises_anything_else(value: Any, as_yaml: bool) -> None:
    reads_or_refuses(yaml.safe_dump(value) if as_yaml else json.dumps(value))


@given(st.data())
@settings(max_examples=400, deadline=2000)
def test_no_change_of_a_right_manifest_raises_anything_else(data: st.DataObject) -> None:
    """One value, at any place of a manifest of others, is replaced or removed."""
    whole = json.loads(json.dumps(OTHERS[data.draw(st.sampled_from(sorted(OTHERS)))]))
    inner = whole
    while True:
        keys: list[Any] = [*inner] if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(inner[key], dict | list) or data.draw(st.integers(0, 3)) == 0:
            inner[key] = data.draw(_VALUES)
            break
        inner = inner[key]
    reads_or_refuses(json.dumps(whole))


@given(_VALUES)
@settings(deadline=2000)
def test_the_canonical_text_of_a_value_is_that_of_its_own_value(value: Any) -> None:
    try:
        parsed = parse(json.dumps(value))
    except InvalidManifestError:
        return
    assert canonical(parse(canonical(parsed))) == canonical(parsed)
