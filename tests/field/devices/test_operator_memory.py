"""What operators keep in memory without having chosen to, and what ends them there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.field.case import case
from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

IMAGE = "localhost/ce-test/busybox"


@dataclass
class Ended:
    """A job of one operator, at its end."""

    site: Site
    job: str

    @property
    def found(self) -> Any:
        return self.site.ask("describe", "job", "-j", self.job)

    @property
    def status(self) -> str:
        return str(self.found["status"])

    @property
    def failure(self) -> str:
        """What the job says of its operator."""
        assert self.status == "FAULTED", self.found
        return next(text for text in self.found["messages"] if text.startswith("operator probe: "))

    def log(self) -> str:
        return self.site.say("logs", "-j", self.job, "-o", "probe")


Run = Callable[..., Ended]


@pytest.fixture
def run(idle_site: Site, archives: TestImages) -> Run:
    """Runs a script as the one operator of a job, to its end."""

    def ended(
        script: str, *, engine: str = "", requests: str = "{memory: 1024}", image: str = IMAGE
    ) -> Ended:
        if idle_site.process is None:
            idle_site.configure(f"[engine]\n{engine}\n")
            idle_site.start()
            archives.load(idle_site, f"{IMAGE}:1")
        path = idle_site.folder / "pipeline.yaml"
        path.write_text(
            "api-version: 0.4.0\nname: probe\noperators:\n- name: probe\n"
            f"  container: {{image: {image}, tag: '1', command: [sh, -c, {json.dumps(script)}]}}\n"
            f"  output: [{{path: /out}}]\n  requests: {requests}\n"
        )
        pipeline = idle_site.say("create", "pipeline", "-p", path).strip()
        made = idle_site.say("create", "job", "-n", "job", "-p", pipeline)
        job = made.splitlines()[0].removeprefix("JOB_ID:")
        idle_site.say("start", "job", "-j", job)
        result = Ended(idle_site, job)
        until("the job ends", lambda: result.found["state"] == "STOPPED")
        return result

    return ended


@case(
    9,
    "Loader processes that pass images in /dev/shm",
    source="Project-MONAI/monai-deploy-app-sdk#283",
    outcome="/dev/shm of an operator holds as much as its `requests.memory`, 1 GB where nothing is"
    " written; Podman's own 64 MB are never what it gets.",
)
def test_shared_memory_is_as_large_as_the_operators_memory(run: Run) -> None:
    script = (
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=200 2>/dev/null && stat -f -c '%b %S' /dev/shm"
    )
    for requests, megabytes in (("{memory: 1024}", 1024), ("{memory: 300}", 300), ("{}", 1024)):
        ended = run(script, requests=requests)
        assert ended.status == "HEALTHY", ended.found
        blocks, size = map(int, ended.log().splitlines()[-1].split())
        assert blocks * size == megabytes << 20


@case(
    9,
    "A site that follows Clara 0.7, where memory is no limit",
    source="Project-MONAI/monai-deploy-app-sdk#66",
    outcome="/dev/shm and /tmp hold half of the device's memory each, as Linux itself has it.",
)
def test_without_a_limit_it_is_as_linux_has_it(run: Run) -> None:
    ended = run(
        "for i in /dev/shm /tmp; do stat -f -c '%b %S' $i; done; sed -n 1p /proc/meminfo",
        engine='requests_profile = "0.7"',
    )
    assert ended.status == "HEALTHY", ended.found
    *sizes, total = ended.log().splitlines()
    half = int(total.split()[1]) * 1024 // 2
    for blocks, size in (map(int, line.split()) for line in sizes):
        assert abs(blocks * size - half) < half / 10


@case(
    9,
    "A worker of PyTorch's DataLoader that /dev/shm is too small for",
    source="pytorch/pytorch#5040",
    outcome='The job\'s message names the size of /dev/shm and both settings next to "Bus error".',
)
def test_a_bus_error_names_shared_memory_and_what_makes_it_larger(run: Run) -> None:
    ended = run("sh -c 'kill -BUS $$$$'; exit $?", engine="shared_memory_mb = 16")
    assert "exit code 135 (SIGBUS: it used memory that was not there" in ended.failure
    assert "its /dev/shm was full (it holds 16 MB)" in ended.failure
    words = "RuntimeError: DataLoader worker (pid(s) 9) is killed by signal: Bus error."
    ended = run(f"echo '{words}'; exit 1")
    assert "it says that shared memory was short: its /dev/shm was full" in ended.failure
    assert "a larger `requests.memory` makes it larger, or engine.shared_memory_mb" in ended.failure
    assert f"its last line: {words}" in ended.failure


@case(
    9,
    "An operator that writes more to /dev/shm than it holds",
    source="meta-pytorch/torchx#429",
    outcome="The job fails with the sizes of what lies in memory, and what makes them larger.",
)
def test_a_full_shared_memory_is_named(run: Run) -> None:
    ended = run(
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=40 || exit 4", engine="shared_memory_mb = 32"
    )
    assert "exit code 4" in ended.failure
    assert "it says that it had no room: its /dev/shm holds 32 MB" in ended.failure
    assert "engine.shared_memory_mb" in ended.failure


@case(
    9,
    "Temporary files next to a read-only root take half of the device's memory",
    source="podman-container-tools/podman#17037",
    outcome="/tmp, /var/tmp and /run hold as much as `requests.memory` each, or"
    " `engine.scratch_mb`; the message of an operator that fills one says so.",
)
def test_scratch_in_memory_is_bounded(run: Run) -> None:
    for folder in ("/tmp", "/var/tmp", "/run"):
        fill = f"dd if=/dev/zero of={folder}/x bs=1M count=40 || exit 5"
        ended = run(f"stat -f -c '%b %S' {folder}; {fill}", engine="scratch_mb = 32")
        blocks, size = map(int, ended.log().splitlines()[0].split())
        assert blocks * size == 32 << 20
        assert "each of /tmp, /var/tmp and /run 32 MB, in memory" in ended.failure
        assert "engine.scratch_mb" in ended.failure


@case(
    9,
    "A program that a signal ends",
    source="tensorflow/tensorflow#17411",
    outcome="The job's message names the signal, what it mostly means, and what to do.",
)
def test_a_signal_has_a_sentence(run: Run) -> None:
    for signal, words in {
        "ILL": "exit code 132 (SIGILL: its program uses an instruction that this processor",
        "SEGV": "exit code 139 (SIGSEGV: its program crashed",
        "ABRT": "exit code 134 (SIGABRT: its program ended itself",
        "KILL": "exit code 137 (SIGKILL: it was killed by somebody, or by the kernel",
    }.items():
        # `$$` is one `$` in a definition.
        assert words in run(f"sh -c 'kill -{signal} $$$$'; exit $?").failure


@case(
    9,
    "An image that declares a VOLUME where its model weights lie",
    source="podman-container-tools/podman#3434",
    outcome="The weights are not copied into memory: what the program writes there lies on the disk"
    " and goes with the container. A VOLUME without files is a tmpfs as large as"
    " `requests.memory`.",
)
def test_the_files_of_a_volume_are_not_copied_into_memory(run: Run, archives: TestImages) -> None:
    run("true")
    name = "localhost/ce-test/weights"
    archive = archives.archive(
        f"{name}:1",
        user="1000:1000",
        volumes=["/weights", "/cache"],
        files={"/weights/model.bin": bytes(8 << 20)},
        owners={"/weights": 1000},
    )
    ended = run("true", image=IMAGE)
    ended.site.say("create", "image", "-f", archive)
    script = (
        "stat -c %s /weights/model.bin; echo x > /weights/new && echo x > /cache/new && cat"
        " /weights/new /cache/new; grep -cE ' /weights tmpfs ' /proc/mounts;"
        " stat -f -c '%b %S' /cache"
    )
    ended = run(script, image=name, requests="{memory: 128}")
    assert ended.status == "HEALTHY", f"{ended.found} {ended.log()}"
    *lines, size = ended.log().splitlines()
    assert lines == [str(8 << 20), "x", "x", "0"]
    blocks, block = map(int, size.split())
    assert blocks * block == 128 << 20
    left = subprocess.run(
        ["podman", "volume", "ls", "-q"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert left.stdout == ""


@case(
    9,
    "An image that was built with files left in /tmp, which would be copied into memory",
    source="podman-container-tools/podman#3434",
    outcome="They are copied as long as they fit; else the job fails and says so, with what makes"
    " more room.",
)
def test_an_image_whose_scratch_does_not_fit(run: Run, archives: TestImages) -> None:
    name = "localhost/ce-test/leftovers"
    archive = archives.archive(f"{name}:1", files={"/tmp/cache.bin": bytes(6 << 20)})
    site = run("true").site
    site.say("create", "image", "-f", archive)
    fits = run("stat -c %s /tmp/cache.bin", image=name, requests="{memory: 32}")
    assert fits.log() == f"{6 << 20}\n"
    ended = run("true", image=name, requests="{memory: 4}")
    assert "more files in /tmp, /var/tmp or /run than the 4 MB" in ended.failure
    assert "`requests.memory`" in ended.failure
