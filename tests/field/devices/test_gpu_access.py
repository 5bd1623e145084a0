"""GPUs that are there and cannot be used: found out before a job's own program runs."""

from __future__ import annotations

import grp
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from claraedge.errors import DeviceError
from claraedge.gpu import cdi
from claraedge.ids import new_id
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import ContainerSpec, Image
from claraedge.runner.service.service import PodmanService
from tests.field.case import case
from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.integration.stand_in_gpu import (
    GROUP,
    GROUP_KIND,
    GROUP_NODE,
    KIND,
    NONE_KIND,
    why_there_is_none,
)
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

IMAGE = "localhost/ce-test/busybox"
PLAIN_USER = "localhost/ce-test/unprivileged"
MARK = {"io.claraedge.instance": f"tests-{os.getpid()}"}
Start = Callable[..., "Started"]


@pytest.fixture(autouse=True)
def _stand_in() -> None:
    reason = why_there_is_none()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def start(idle_site: Site, archives: TestImages) -> Start:
    """Starts a daemon whose GPUs are the devices of a CDI kind, with one job that asks for some."""

    def started(kind: str, image: str = IMAGE, script: str = "true") -> Started:
        idle_site.configure(f'[engine]\ncdi_kind = "{kind}"\n')
        idle_site.start()
        archives.load(idle_site, f"{IMAGE}:1")
        archives.load(idle_site, f"{PLAIN_USER}:1", user="1000:1000")
        definition = {
            "api-version": "0.4.0",
            "name": "infer",
            "operators": [
                {
                    "name": "infer",
                    "container": {
                        "image": image,
                        "tag": "1",
                        "command": ["sh", "-c", f"echo runs; {script}"],
                    },
                    "output": [{"path": "/out"}],
                    "requests": {"gpu": 1},
                }
            ],
        }
        path = idle_site.folder / "pipeline.yaml"
        path.write_text(json.dumps(definition))
        pipeline = idle_site.say("create", "pipeline", "-p", path).strip()
        made = idle_site.say("create", "job", "-n", "job", "-p", pipeline)
        job = made.splitlines()[0].removeprefix("JOB_ID:")
        idle_site.say("start", "job", "-j", job)
        return Started(idle_site, job)

    return started


@dataclass
class Started:
    """A daemon, and its one job."""

    site: Site
    job: str

    def described(self) -> Any:
        return self.site.ask("describe", "job", "-j", self.job)

    def log(self) -> str:
        return self.site.say("logs", "-j", self.job, "-o", "infer")

    def end(self) -> Any:
        """The job once it has stopped."""
        until("the job ends", lambda: self.described()["state"] == "STOPPED")
        return self.described()

    def warnings(self) -> list[str]:
        """What `status` says of GPUs."""
        return [text for text in self.site.ask("status")["warnings"] if "cannot be used" in text]


def waiting(started: Started) -> str:
    """What its job says that it waits for, once it does."""
    until("the job waits for a GPU", lambda: "no GPU can be used" in str(started.described()))
    found = started.described()
    assert found["state"] == "PENDING", found
    (text,) = started.warnings()
    why = text.partition(" cannot be used: ")[2]
    (message,) = (m for m in found["messages"] if "no GPU can be used" in m)
    assert why in message
    assert message.endswith("it waits, and continues by itself once that is done")
    assert started.site.ask("status")["gpus"] == 0
    assert started.log() == ""
    return why


@pytest.fixture
async def runner(service: PodmanService, runtime_folder: Path) -> AsyncIterator[PodmanRunner]:
    """As the daemon has it."""
    async with PodmanRunner(
        service, runtime_folder, nodes=cdi.nodes, all_nodes=cdi.all_nodes
    ) as runner:
        yield runner
        for container in await runner.containers(MARK):
            await runner.remove(container.id)


def spec_of(image: Image, device: str, folder: Path) -> ContainerSpec:
    return ContainerSpec(
        name=f"ce-test-{new_id()}",
        image=image.id,
        command=("/bin/sh", "-c", f"head -c 4 {GROUP_NODE} | wc -c"),
        labels=MARK,
        log_path=folder / "log",
        devices=(device,),
    )


def keeps_groups() -> bool:
    """Whether the runtime of this machine can give a container the group of the stand-in."""
    info = subprocess.run(
        ["podman", "info", "--format", "json"], capture_output=True, check=True, cwd="/"
    )
    host = json.loads(info.stdout)["host"]
    group = grp.getgrnam(GROUP).gr_gid
    mapped = (
        r["host_id"] <= group < r["host_id"] + r["size"] for r in host["idMappings"]["gidmap"]
    )
    return host["ociRuntime"]["name"] == "crun" or any(mapped)


@pytest.mark.parametrize("image", [IMAGE, PLAIN_USER])
@case(
    6,
    "GPU nodes of root and the group `video`, as on a Jetson",
    source="podman-container-tools/podman#10166",
    outcome="With crun the container keeps the groups of its user, and the job runs. With runc it"
    " waits, and its message names the node, its group and mode, the container's user, and what to"
    " change: a udev rule, or crun.",
)
def test_a_node_of_root_and_a_group_of_the_user(start: Start, image: str) -> None:
    started = start(GROUP_KIND, image, f"head -c 4 {GROUP_NODE} | wc -c")
    if keeps_groups():
        assert started.end()["status"] == "HEALTHY", started.described()
        assert started.log() == "runs\n4\n"
        return
    why = waiting(started)
    assert why.startswith(f"a container could not use the device 0 of the CDI kind {GROUP_KIND}: ")
    assert f"cannot open {GROUP_NODE}, which belongs to root and the group {GROUP}" in why
    assert "with mode 0660: Permission denied." in why
    assert "(0 in it, " in why
    assert f'KERNEL=="{Path(GROUP_NODE).name}", MODE="0666"' in why
    assert 'runtime = "crun"' in why


@pytest.mark.parametrize("user", ["root", "1000"])
@case(
    6,
    "An image with a user of its own, and GPU nodes that belong to a group",
    source="podman-container-tools/podman#9706",
    outcome="The nodes are opened as the image's user before its program runs; where that is"
    " denied, the program is not run and the message says why.",
)
async def test_a_node_is_opened_as_the_user_of_the_image(
    runner: PodmanRunner, busybox: Image, unprivileged: Image, tmp_path: Path, user: str
) -> None:
    if keeps_groups():
        keeper = await runner._host.keeper()
        runner._host._keeper = replace(keeper, runtime="runc", mapping=())
    image = busybox if user == "root" else unprivileged
    spec = spec_of(image, f"{GROUP_KIND}=0", tmp_path)
    with pytest.raises(DeviceError) as refusal:
        await runner.create(spec)
    number = "0" if user == "root" else user
    assert f"its user ({number} in it, " in str(refusal.value)
    assert f"cannot open {GROUP_NODE}" in str(refusal.value)
    assert await runner.containers(MARK) == []


@case(
    6,
    "A CDI spec of NVIDIA's toolkit 1.19, newer than the Podman of the distribution",
    source="NVIDIA/nvidia-container-toolkit#1860",
    outcome="Jobs wait with the file and the field that this Podman does not read, instead of"
    ' "unresolvable CDI devices"; they run once the file is put right.',
)
def test_a_cdi_spec_that_is_newer_than_podman(start: Start) -> None:
    why = waiting(start("claraedge.test/newer"))
    assert "Podman 4." in why
    assert "does not read /etc/cdi/claraedge-test-newer.json" in why
    assert "cdiVersion 0.7.0, additionalGids" in why
    assert "cdiVersion: 0.5.0" in why


@case(
    6,
    "The same GPU in two CDI specs of one folder",
    source="NVIDIA/nvidia-container-toolkit#146",
    outcome="Jobs wait; the message names both files.",
)
def test_a_device_in_two_files(start: Start) -> None:
    why = waiting(start("claraedge.test/twice"))
    assert "claraedge-test-twice-a.json and in /etc/cdi/claraedge-test-twice-b.json" in why
    assert "remove one of these files" in why


@case(
    6,
    "/dev/nvidia-uvm is missing after a reboot, until something loads the driver",
    source="NVIDIA/nvidia-docker#288",
    outcome="Jobs wait; the message names the node and the command that loads its driver.",
)
def test_a_node_whose_driver_is_not_loaded(start: Start) -> None:
    why = waiting(start("claraedge.test/unloaded"))
    assert "/dev/claraedge-test-nvidia-uvm of /etc/cdi/claraedge-test-unloaded.json" in why
    assert "`sudo nvidia-modprobe -u -c 0`" in why


@case(
    6,
    "The driver was updated, and the CDI spec names libraries of the one before",
    source="Igalia/webkit-container-sdk#23",
    outcome="Jobs wait; the message names the library and the command that writes the spec again.",
)
def test_a_library_that_an_update_removed(start: Start) -> None:
    why = waiting(start("claraedge.test/updated"))
    assert "/usr/lib/libcuda.so.claraedge-test of /etc/cdi/claraedge-test-updated.json" in why
    assert "nvidia-ctk cdi generate --output=/etc/cdi/claraedge-test-updated.json" in why


@case(
    6,
    "The hook of a CDI spec is not where the spec says",
    source="NVIDIA/nvidia-container-toolkit#735",
    outcome="Jobs wait; the message names the hook and the file that names it.",
)
def test_a_hook_that_is_not_there(start: Start) -> None:
    why = waiting(start("claraedge.test/hook"))
    assert "/usr/bin/claraedge-test-cdi-hook of /etc/cdi/claraedge-test-hook.json" in why


@case(
    6,
    "One of several GPUs cannot be used",
    source="NVIDIA/nvidia-container-toolkit#885",
    outcome="Jobs get those that can; `claraedge status` names the others with the reason.",
)
def test_jobs_get_the_gpus_that_can_be_used(start: Start) -> None:
    started = start(NONE_KIND)
    assert started.end()["status"] == "HEALTHY", started.described()
    assert started.site.ask("status")["gpus"] == 1
    assert [text.split()[0] for text in started.warnings()] == [
        f"{NONE_KIND}=empty",
        f"{NONE_KIND}=other",
    ]


@case(
    6,
    "A GPU that everybody may open, an image with a user of its own",
    source="NVIDIA/nvidia-docker#1608",
    outcome="The job runs.",
)
def test_a_gpu_that_everybody_may_open(start: Start) -> None:
    started = start(KIND, PLAIN_USER)
    assert started.end()["status"] == "HEALTHY", started.described()
    assert started.warnings() == []
