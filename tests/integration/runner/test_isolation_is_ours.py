"""What isolates a container is said by the daemon: by no image, and by no containers.conf."""

# ruff: noqa: ASYNC240 a test may block its own loop

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import LABEL_INSTANCE, LABELS, ContainerSpec, Image, Phase
from claraedge.runner.service.service import PodmanService
from tests.integration.conftest import TestImages

pytestmark = pytest.mark.podman

MARK = {LABEL_INSTANCE: f"tests-isolation-{os.getpid()}"}
NAMESPACES = ("pid", "ipc", "uts", "cgroup", "net", "mnt")
SHOW = "umask; ls -d /from-*; env; ls -l /proc/self/ns"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """A containers.conf that says of containers whatever it can."""

    home: Path
    ran: Path
    """Is there once a hook of its folder has run."""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hostile:
    """This user's own settings of Podman, and a drop-in next to them."""
    before = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "containers")
    home = tmp_path / "config"
    if before.is_dir():
        shutil.copytree(before, home / "containers")
    found = Hostile(home=home, ran=tmp_path / "ran")
    hook = {
        "version": "1.0.0",
        "hook": {"path": "/bin/touch", "args": ["touch", str(found.ran)]},
        "when": {"always": True},
        "stages": ["createRuntime"],
    }
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "hook.json").write_text(json.dumps(hook))
    (home / "containers/containers.conf.d").mkdir(parents=True, exist_ok=True)
    (home / "containers/containers.conf.d/99-hostile.conf").write_text(
        "[containers]\n"
        'pidns = "host"\nutsns = "host"\ncgroupns = "host"\n'
        'env = ["FROM_CONFIGURATION=1"]\n'
        'annotations = ["run.oci.hooks.stdout=/tmp/x", "org.systemd.property.CPUQuota=1"]\n'
        f'umask = "0077"\ntz = "Asia/Tokyo"\nvolumes = ["{tmp_path}:/from-volumes"]\n'
        "[engine]\n"
        f'hooks_dir = ["{hooks}"]\nenv = ["FROM_ENGINE=1"]\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    return found


@pytest.fixture
async def wary(hostile: Hostile, other_folder: Path) -> AsyncIterator[PodmanRunner]:
    """A runner of a private service that was started with the hostile configuration there."""
    async with (
        PodmanService(other_folder) as service,
        PodmanRunner(service, other_folder) as runner,
    ):
        yield runner
        for container in await runner.containers(MARK):
            await runner.remove(container.id)


def inspected(container: str) -> Mapping[str, dict[str, object]]:
    answer = subprocess.run(
        ["podman", "inspect", container], capture_output=True, check=True, timeout=60, cwd="/"
    )
    found: Mapping[str, dict[str, object]] = json.loads(answer.stdout)[0]
    return found


def spec(image: Image, folder: Path) -> ContainerSpec:
    return ContainerSpec(
        name=f"ce-isolation-{os.getpid()}",
        image=image.id,
        command=("/bin/sh", "-c", SHOW),
        labels=MARK,
        log_path=folder / "log",
    )


async def test_a_hostile_containers_conf_says_nothing_of_containers(
    busybox: Image,
    wary: PodmanRunner,
    hostile: Hostile,
    tmp_path: Path,
) -> None:
    """Finding 11: with `pidns = "host"` and `env`, containers had both."""
    made = spec(busybox, tmp_path)
    container = await wary.create(made)
    shown = inspected(container)
    await wary.start(container)
    assert (await wary.wait(container)).code is not None
    lines = [line.split(" ", 3)[3] for line in made.log_path.read_text().splitlines()]
    assert "0022" in lines
    inside = dict(line.rpartition(" -> ")[2].split(":", 1) for line in lines if " -> " in line)
    outside = {each: str(Path(f"/proc/self/ns/{each}").readlink()) for each in NAMESPACES}
    assert not {each for each, link in outside.items() if f"{each}:{inside[each]}" == link}
    assert not any("FROM_CONFIGURATION" in line or line.startswith("/from-") for line in lines)
    assert not hostile.ran.exists()
    assert shown["Config"].get("Timezone", "") in ("", "local")
    annotations = json.dumps(shown["Config"].get("Annotations"))
    assert "run.oci.hooks" not in annotations
    assert "CPUQuota" not in annotations


async def test_what_is_left_out_is_logged_once_and_the_runtime_stays_chosen(
    hostile: Hostile, other_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = hostile.home / "containers/containers.conf.d/10-chosen.conf"
    chosen.write_text('[Engine]\nevents_logger = "none"\n')
    with caplog.at_level(logging.WARNING):
        async with PodmanService(other_folder) as service:
            info = json.loads((await service.request("GET", "/info")).body)
    assert info["host"]["eventLogger"] == "none"
    (warning,) = (r.getMessage() for r in caplog.records if "containers.conf are not" in r.message)
    assert f"containers.pidns in {hostile.home}/containers/containers.conf.d/99-h" in warning
    assert "engine.hooks_dir" in warning


async def test_what_a_shared_service_may_give_is_logged(
    service: PodmanService, hostile: Hostile, other_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with PodmanService(other_folder, shared=await service.socket()) as sharing:
            assert not sharing.private
    (warning,) = (r.getMessage() for r in caplog.records if "may give operators" in r.message)
    assert "containers.env" in warning
    assert "containers.volumes" in warning


async def test_labels_of_an_image_are_not_those_of_its_container(
    runner: PodmanRunner, archives: TestImages, tmp_path: Path
) -> None:
    """Finding 11: recovery believed `io.claraedge.devices` of an image."""
    archive = archives.archive(
        "localhost/ce-test/labelled:1",
        labels={**dict.fromkeys(LABELS, "of the image"), "io.containers.autoupdate": "registry"},
    )
    (image,) = await runner.load_image(archive)
    try:
        container = await runner.create(spec(image, tmp_path))
        (found,) = await runner.containers(MARK)
        assert found.phase is Phase.CREATED
        own = {name: value for name, value in found.labels.items() if name in LABELS}
        assert own.items() <= {**MARK, **own}.items()
        assert "of the image" not in found.labels.values()
        assert "io.containers.autoupdate" not in found.labels
        await runner.remove(container)
    finally:
        await runner.remove_image(image.id, force=True)
