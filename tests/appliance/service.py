"""The daemon of a machine as its people see it: by systemctl, and by its own command line."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.appliance.booted import ROOT, Machine, Ran

IMAGE = "localhost/ce-test/busybox:1"
#: A user of the machine who may use the socket, and one who may not.
MEMBER, STRANGER = "alice", "mallory"

#: Waits for a file that `go` makes: whoever tests says when it ends.
SLOW = """
api-version: 0.4.0
name: slow
operators:
  - name: first
    container: {image: localhost/ce-test/busybox, tag: "1", command: [sh, -c, "echo a >/output/a"]}
    output: [{path: /output}]
    requests: {memory: 64}
  - name: waits
    container:
      image: localhost/ce-test/busybox
      tag: "1"
      command:
        - sh
        - -c
        - echo begins; while test ! -e /in/go; do sleep 0.5; done; echo ends; cp /in/a /output/b
    input: [{from: first, path: /in}]
    output: [{path: /output}]
    requests: {memory: 64}
"""

#: A child uses too much memory; a shell that continues after that would call it a success.
HUNGRY = """
api-version: 0.4.0
name: hungry
operators:
  - name: eater
    container:
      image: localhost/ce-test/busybox
      tag: "1"
      command: [sh, -c, "dd if=/dev/zero of=/dev/null bs=200M count=1; echo the shell continues"]
    output: [{path: /output}]
    requests: {memory: 64}
"""

#: Seems the same from outside.
CRASHED = """
api-version: 0.4.0
name: crashed
operators:
  - name: other
    container:
      image: localhost/ce-test/busybox
      tag: "1"
      command: [sh, -c, "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; exit 137"]
    output: [{path: /output}]
    requests: {memory: 96}
"""

PIPELINES = {"slow": SLOW, "hungry": HUNGRY, "crashed": CRASHED}


def blocks(heading: str) -> list[str]:
    """The shell commands below a heading of docs/installation.md, block by block."""
    text = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## )", text, re.M | re.S)
    return re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Of the system, used by MEMBER; or of MEMBER's own, where `own`."""

    machine: Machine
    own: bool = False
    state: Path = Path("/var/lib/claraedge")

    def systemctl(self, words: str) -> str:
        if not self.own:
            return self.machine.check(f"systemctl {words}")
        return self.machine.check(as_user(MEMBER, f"systemctl --user {words}"))

    def call(self, *words: str, user: str = MEMBER) -> Ran:
        return self.machine.run(as_user(user, shlex.join(("/opt/claraedge/claraedge", *words))))

    def output_of(self, *words: str) -> str:
        ran = self.call(*words)
        assert ran.code == 0, f"{words}: {ran.output}\n{self.journal()}"
        return ran.output

    def asked(self, *words: str) -> Any:
        return json.loads(self.output_of(*words, "--output", "json"))

    def prepare(self) -> None:
        """The image and the pipelines."""
        self.output_of("create", "image", "-f", "/mnt/busybox.tar")
        for name, text in PIPELINES.items():
            self.machine.check(f"cat >/tmp/{name}.yaml <<'END'\n{text}END")
            self.output_of("create", "pipeline", "-p", f"/tmp/{name}.yaml")

    def start(self, name: str, pipeline: str) -> str:
        """A new job's id."""
        made = self.output_of("create", "job", "-n", name, "-p", pipeline, "--start")
        job: str
        (job,) = re.findall(r"JOB_ID:([0-9a-f]{32})", made)
        return job

    def job(self, job: str) -> dict[str, Any]:
        found: dict[str, Any]
        (found,) = (each for each in self.asked("list", "jobs")["jobs"] if each["id"] == job)
        return found

    def ended(self, job: str) -> str:
        """The status that it ends with."""
        self.machine.until(f"{job} ends", lambda: self.job(job)["state"] == "STOPPED")
        return str(self.job(job)["status"])

    def history(self, job: str) -> list[str]:
        """What happened to it, without the times."""
        lines = self.output_of("logs", "-j", job, "-o", "claraedge-engine").splitlines()
        return [line.partition(" ")[2] for line in lines]

    def log(self, job: str, operator: str) -> list[str]:
        return self.output_of("logs", "-j", job, "-o", operator).splitlines()

    def until_it_waits(self, job: str) -> None:
        """Until the slow operator of a job does what it does."""

        def begun() -> bool:
            return self.call("logs", "-j", job, "-o", "waits").output.startswith("begins")

        self.machine.until("it runs", begun)

    def let_go(self, job: str) -> None:
        """Lets the slow operator of a job end."""
        payload = self.job(job)["payload_id"]
        folders = f"{self.state}/payloads/{payload}/operators/first"
        self.machine.check(f"cd $(dirname $(find {folders} -name a)) && touch go")

    def containers(self) -> str:
        """The ids of all that there are."""
        user = MEMBER if self.own else "claraedge"
        return self.machine.check(as_user(user, "podman ps --all --quiet --no-trunc")).strip()

    def journal(self) -> str:
        unit = "--user-unit" if self.own else "--unit"
        words = f"journalctl --no-pager --boot --output=cat {unit}=claraedge"
        return self.machine.run(words).output[-6000:]


def as_user(user: str, command: str) -> str:
    """The command as another user, with what a login would give."""
    return (
        f"cd / && run=/run/user/$(id -u {user}) && exec runuser -u {user} -- env"
        f" HOME=$(getent passwd {user} | cut -d: -f6) XDG_RUNTIME_DIR=$run"
        f" DBUS_SESSION_BUS_ADDRESS=unix:path=$run/bus {command}"
    )
