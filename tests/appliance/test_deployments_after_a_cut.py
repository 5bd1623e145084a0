"""Deployments on a real machine that loses its power: what is to run comes back by itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.appliance.service import IMAGE, Service, as_user
from tests.appliance.test_system_service import interruptions

pytestmark = [pytest.mark.machine, pytest.mark.timeout(1800)]

#: Notes its start, and serves a word of its volume to whoever connects.
ALWAYS = (
    "test -e /data/word || echo hello >/data/word",
    "echo start >>/data/starts; busybox sync; echo up",
    "while true; do busybox nc -l -p 8080 -e busybox cat /data/word; done",
)
#: Notes each start, once it has that word from the other deployment.
ON_FAILURE = (
    "until busybox nc -w 5 $WORD_HOST $WORD_PORT | grep hello; do sleep 1; done",
    "echo start >>/data/starts; busybox sync; echo up",
    "while true; do sleep 1; done",
)
NEVER = (
    "echo start >>/data/starts; busybox sync; echo up",
    "while true; do sleep 1; done",
)


def deploy(service: Service, policy: str, lines: tuple[str, ...], *more: str) -> str:
    """Deploys a package under the name of its restart policy; returns the deployment's id."""
    limits = {"memory": 64}
    executable = {"name": "run", "docker": IMAGE, "cmd": list(lines), "limits": limits}
    endpoint = {"name": "WORD", "exposeExternally": False, "port": 80, "targetPort": 8080,
                "proto": "TCP"}  # fmt: skip
    component: dict[str, Any] = {
        "name": "main",
        "requiredRuntime": "device",
        "executables": [executable],
        "parameters": [],
        "ros": {"isROS": False},
        "restart_policy": policy,
    }
    if policy == "always":
        component["cloudInfra"] = {"replicas": 1, "endpoints": [endpoint]}
    plan = {"name": "default", "components": [component]}
    manifest = {"name": policy, "packageVersion": "v1.0.0", "plans": [plan]}
    service.machine.check(f"cat >/tmp/{policy}.json <<'END'\n{json.dumps(manifest)}\nEND")
    service.output_of("create", "package", "-f", f"/tmp/{policy}.json")
    mount = f"{policy}:/data"
    said = service.output_of("deploy", policy, "--name", policy, "--mount", mount, *more)
    (found,) = re.findall(r"DEPLOYMENT_ID:(dep-[a-z]{24})", said)
    return str(found)


def deployment(service: Service, text: str) -> dict[str, Any]:
    found: dict[str, Any] = service.asked("describe", "deployment", text)
    return found


def starts(service: Service, policy: str) -> int:
    """How often a program noted its start in its volume."""
    ran = service.machine.run(f"cat {service.state}/volumes/{policy}/starts")
    lines = ran.output.splitlines() if ran.code == 0 else []
    assert set(lines) <= {"start"}, "the content of a volume is damaged"
    return len(lines)


def containers(service: Service, only: str = "") -> list[str]:
    """For each container of a deployment (those with `only` in their state), the deployment."""
    shown = service.machine.check(as_user("claraedge", "podman ps --all --format json"))
    return sorted(
        each["Labels"]["io.claraedge.deployment"]
        for each in json.loads(shown)
        if only in each["State"] and each["Labels"].get("io.claraedge.deployment")
    )


def test_after_a_power_cut_deployments_come_back_as_their_policies_say(service: Service) -> None:
    always = deploy(service, "always", ALWAYS)
    service.machine.until("it runs", lambda: starts(service, "always") == 1)
    service.machine.until(
        "it can be used", lambda: deployment(service, always)["phase"] == "SUCCEEDED"
    )
    on_failure = deploy(service, "on-failure", ON_FAILURE, "--depends-on", "always")
    never = deploy(service, "no", NEVER)
    ids = [always, on_failure, never]
    for id_ in ids:
        service.machine.until(
            f"{id_} has started", lambda id_=id_: deployment(service, id_)["phase"] == "SUCCEEDED"
        )
    for policy in ("on-failure", "no"):
        service.machine.until("it runs", lambda policy=policy: starts(service, policy) == 1)
    assert containers(service, "running") == sorted(ids)
    job = service.start("cut off", "slow")
    service.until_it_waits(job)
    boot = service.machine.boot_id

    service.machine.cut_power()
    service.machine.power_on()

    assert service.machine.boot_id != boot
    for policy, id_ in (("always", always), ("on-failure", on_failure)):
        service.machine.until(
            f"{policy} is back", lambda policy=policy: starts(service, policy) == 2
        )
        service.machine.until(
            f"{policy} runs", lambda id_=id_: deployment(service, id_)["status"] == "RUNNING"
        )
    listed = service.asked("list", "deployments")["deployments"]
    assert sorted(each["id"] for each in listed) == sorted(ids)
    assert {each["phase"] for each in listed} == {"SUCCEEDED"}
    assert containers(service, "running") == sorted([always, on_failure])
    for id_ in (always, on_failure):  # the executable, and the holder of its network
        assert containers(service).count(id_) == 2
    (executable,) = executables(service, always)
    assert "interrupted by a restart of the machine" in executable["reason"]
    assert executable["restarts"] == 1

    service.machine.until("it is over", lambda: deployment(service, never)["status"] == "ERROR")
    (executable,) = executables(service, never)
    assert "restart of the machine" in executable["reason"]
    assert "its restart policy is never" in executable["reason"]
    assert executable.get("restarts", 0) == 0
    assert starts(service, "no") == 1

    service.until_it_waits(job)  # the job as without deployments
    assert interruptions(service, job) == 1
    service.let_go(job)
    assert service.ended(job) == "HEALTHY", service.history(job)
    assert service.log(job, "waits") == ["begins", "ends"]

    for id_ in (never, on_failure, always):
        service.output_of("undeploy", id_, "--wait")
    assert service.containers() == ""
    networks = service.machine.check(as_user("claraedge", "podman network ls --quiet"))
    assert networks.split() == ["podman"]
    assert [starts(service, policy) for policy in ("always", "on-failure", "no")] == [2, 2, 1]
    word = service.machine.check(f"cat {service.state}/volumes/always/word")
    assert word == "hello\n"


def executables(service: Service, text: str) -> list[dict[str, Any]]:
    (component,) = deployment(service, text)["components"]
    return list(component["executables"])
