"""Pulling with real rootless Podman, from a registry on the loopback."""

# ruff: noqa: ASYNC220, ASYNC240 a test may block its own loop

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.blocking import in_thread
from claraedge.config import CredentialSettings, ImagesSettings
from claraedge.errors import (
    ImageDeniedError,
    ImageNotFoundError,
    ImagePullError,
    RegistryNotAllowedError,
)
from claraedge.images.images import Images
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.service.service import PodmanService
from tests.integration.conftest import TestImages
from tests.rig.operators import busybox_image
from tests.rig.stub_registry import StubRegistry

pytestmark = [pytest.mark.podman, pytest.mark.timeout(120)]


@pytest.fixture
def archive(archives: TestImages) -> Path:
    return archives.archive("localhost/ce-test/pulled:1")


@pytest.fixture
def registry() -> Iterator[StubRegistry]:
    with StubRegistry() as registry:
        yield registry
        for image in _listed(registry.host):
            subprocess.run(["podman", "rmi", "-f", image], capture_output=True, cwd="/")


def _podman(*arguments: str) -> str:
    ended = subprocess.run(
        ["podman", *arguments], capture_output=True, text=True, check=True, timeout=60, cwd="/"
    )
    return ended.stdout


def _listed(host: str) -> list[str]:
    """The ids of the images from a registry."""
    found = json.loads(_podman("images", "--format", "json"))
    return [
        image["Id"]
        for image in found
        if any(name.startswith(f"{host}/") for name in image.get("Names") or ())
    ]


def settings(registry: StubRegistry, **more: object) -> ImagesSettings:
    return ImagesSettings(
        registries=(f"{registry.host}/team",),
        pull="missing",
        insecure_registries=(registry.host,),
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture
def images(runner: PodmanRunner, registry: StubRegistry) -> Images:
    return Images(runner, settings(registry))


@pytest.fixture
def credentials(registry: StubRegistry, tmp_path: Path) -> dict[str, CredentialSettings]:
    made = {}
    for name, password in (("right", "se cret"), ("wrong", "stale")):
        file = tmp_path / name
        file.write_text(f"{password}\n")
        file.chmod(0o600)
        made[name] = CredentialSettings(registry=registry.host, username="u", password_file=file)
    return made


def leftovers(runtime: Path) -> list[Path]:
    """What a pull could leave: its download, and its credentials."""
    return [*(graph_root() / "tmp").glob("claraedge-podman-*"), *runtime.glob("login-*")]


def graph_root() -> Path:
    """The folder in which Podman stores images."""
    return Path(_podman("info", "--format", "{{.Store.GraphRoot}}").strip())


def layers() -> int:
    """How many layers the storage has."""
    return len(json.loads((graph_root() / "overlay-layers/layers.json").read_text()))


async def test_a_bare_name_is_pulled_from_the_configured_registry_once(
    images: Images,
    runner: PodmanRunner,
    registry: StubRegistry,
    archive: Path,
    runtime_folder: Path,
) -> None:
    digest = registry.add(archive, "team/clara/app", "1")
    image = await images.ensure("clara/app:1", ())
    assert image.names == (f"{registry.host}/team/clara/app:1",)
    assert f"{registry.host}/team/clara/app@{digest}" in image.digests
    asked = len(registry.requests)
    assert asked > 0
    assert await images.ensure("clara/app:1", ()) == image
    assert await images.ensure(f"clara/app:other@{digest}", ()) == image
    assert len(registry.requests) == asked, "it was here"
    assert leftovers(runtime_folder) == []


async def test_a_digest_pins_what_is_pulled(
    images: Images, registry: StubRegistry, archive: Path
) -> None:
    pinned = registry.add(archive, "team/app", "1")
    newer = registry.add(archive, "team/app", "1")
    image = await images.ensure(f"app@{pinned}", ())
    assert image.digests == (f"{registry.host}/team/app@{pinned}",)
    assert not any(newer in request for request in registry.requests)
    assert (await images.ensure("app:1", ())).id != image.id
    with pytest.raises(ImageNotFoundError, match="manifest unknown"):
        await images.ensure(f"{registry.host}/team/app@sha256:{'1' * 64}", ())


async def test_credentials_are_taken_refused_and_missed(
    runner: PodmanRunner,
    registry: StubRegistry,
    archive: Path,
    credentials: dict[str, CredentialSettings],
    runtime_folder: Path,
) -> None:
    registry.add(archive, "team/app", "1")
    registry.require("u", "se cret")
    images = Images(runner, settings(registry, credentials=credentials))
    with pytest.raises(ImageDeniedError, match=r"names no pull secret.*unauthorized"):
        await images.ensure("app:1", ())
    with pytest.raises(ImageDeniedError, match=r"refuses .* pull secret wrong.*unauthorized"):
        await images.ensure("app:1", ("wrong",))
    assert (await images.ensure("app:1", ("wrong", "right"))).names
    assert leftovers(runtime_folder) == []


async def test_a_login_of_the_user_is_not_used(
    runner: PodmanRunner,
    registry: StubRegistry,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.add(archive, "team/app", "1")
    registry.require("u", "p")
    file = tmp_path / "auth.json"
    _podman("login", "--tls-verify=false", "--authfile", str(file), "-u", "u", "-p", "p",
            registry.host)  # fmt: skip
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    with pytest.raises(ImageDeniedError):
        await Images(runner, settings(registry)).ensure("app:1", ())


@pytest.mark.parametrize("status", [404, 500])
async def test_a_registrys_answer_is_the_reason(
    images: Images, registry: StubRegistry, status: int
) -> None:
    name = f"{registry.host}/team/denied-unauthorized:1"
    if status == 500:
        registry.status = status
        with pytest.raises(ImagePullError, match=rf"{name} could not .*500 Internal Server Error"):
            await images.ensure(name, ())
    else:
        with pytest.raises(ImageNotFoundError, match=rf"{name}: .*manifest unknown"):
            await images.ensure(name, ())


async def test_a_registry_without_tls_must_be_configured_as_such(
    runner: PodmanRunner, registry: StubRegistry, archive: Path
) -> None:
    registry.add(archive, "app", "1")
    images = Images(runner, ImagesSettings(pull="missing", allow=(registry.host,)))
    with pytest.raises(ImagePullError, match="TLS"):
        await images.ensure(f"{registry.host}/app:1", ())


async def test_a_registry_at_a_private_address_is_not_asked_unless_it_is_listed(
    runner: PodmanRunner, registry: StubRegistry, archive: Path
) -> None:
    registry.add(archive, "app", "1")
    with pytest.raises(RegistryNotAllowedError, match=r"set \[images\] allow"):
        await Images(runner, ImagesSettings(pull="missing")).ensure(f"{registry.host}/app:1", ())
    assert registry.requests == []


@pytest.mark.parametrize("name", ["dir:/etc/app", "docker-archive:/tmp/x.tar", "host.x/-/a b:1"])
async def test_a_reference_is_never_a_file_or_a_flag(runner: PodmanRunner, name: str) -> None:
    with pytest.raises(ImagePullError, match="invalid reference format"):
        await Images(runner, ImagesSettings(pull="missing")).ensure(name, ())


async def test_a_stalled_pull_ends_at_its_limit_and_leaves_nothing(
    runner: PodmanRunner, registry: StubRegistry, archive: Path, runtime_folder: Path
) -> None:
    registry.add(archive, "team/app", "1", size=4 << 20)
    registry.stall()
    before = layers()
    images = Images(runner, settings(registry, pull_seconds=1.0))
    began = time.monotonic()
    with pytest.raises(ImagePullError, match="did not come within 1 s"):
        await images.ensure("app:1", ())
    assert time.monotonic() - began < 3
    assert registry.stalled.is_set()
    assert registry.left.wait(2), "the connection is closed"
    assert leftovers(runtime_folder) == []
    assert (_listed(registry.host), layers()) == ([], before)


async def test_a_cancelled_pull_stops_within_a_second_and_can_be_made_again(
    images: Images,
    runner: PodmanRunner,
    registry: StubRegistry,
    archive: Path,
    runtime_folder: Path,
) -> None:
    registry.add(archive, "team/app", "1", size=4 << 20)
    registry.stall()
    before = layers()
    callers = [asyncio.create_task(images.ensure("app:1", ())) for _ in range(2)]
    assert await in_thread(registry.stalled.wait, 20)
    assert len(leftovers(runtime_folder)) == 2, "one pull for both"
    callers[0].cancel()
    await asyncio.wait([callers[0]])
    assert not await in_thread(registry.left.wait, 0.3), "the other caller still waits"
    began = time.monotonic()
    callers[1].cancel()
    await asyncio.wait(callers)
    assert time.monotonic() - began < 1
    assert registry.left.wait(1)
    assert leftovers(runtime_folder) == []
    assert (_listed(registry.host), layers()) == ([], before)
    registry.release()
    assert (await images.ensure("app:1", ())).names == (f"{registry.host}/team/app:1",)


async def test_a_pull_that_is_ended_while_it_unpacks_can_be_made_again(
    runner: PodmanRunner, registry: StubRegistry, archive: Path, runtime_folder: Path
) -> None:
    registry.add(archive, "team/app", "1", size=48 << 20)
    before = layers()
    for limit in (0.1, 0.15, 0.2, 0.25, 0.3):
        with contextlib.suppress(ImagePullError):  # or it was faster
            await Images(runner, settings(registry, pull_seconds=limit)).ensure("app:1", ())
            break
    image = await Images(runner, settings(registry)).ensure("app:1", ())
    assert leftovers(runtime_folder) == []
    _podman("rmi", image.id)
    assert layers() == before


_PULLER = """
import asyncio, sys
from pathlib import Path
from claraedge.runner.images import pulls
asyncio.run(pulls.pull(sys.argv[1], login=None, insecure=True, limit=100,
                       runtime=Path(sys.argv[2]), store=Path(sys.argv[3])))
"""


async def test_a_pull_ends_with_its_daemon_and_the_next_one_cleans_up(
    images: Images,
    service: PodmanService,
    registry: StubRegistry,
    archive: Path,
    runtime_folder: Path,
    other_folder: Path,
) -> None:
    registry.add(archive, "team/app", "1", size=4 << 20)
    registry.stall()
    puller = subprocess.Popen(
        [sys.executable, "-c", _PULLER, f"{registry.host}/team/app:1", other_folder, graph_root()]
    )
    try:
        assert await in_thread(registry.stalled.wait, 20)
    finally:
        os.kill(puller.pid, signal.SIGKILL)
        puller.wait()
    assert await in_thread(registry.left.wait, 5), "the pull lived on"
    assert len(leftovers(runtime_folder)) == 1, "its download"
    registry.release()
    await images.ensure("app:1", ())
    assert leftovers(runtime_folder) == []
    assert len(list(other_folder.iterdir())) == 1, "its credentials"
    async with PodmanRunner(service, other_folder):
        assert list(other_folder.glob("login-*")) == []


async def test_the_space_is_that_of_podmans_own_disk(runner: PodmanRunner) -> None:
    space = await runner.image_space()
    disk = os.statvfs(graph_root())
    assert space.total == disk.f_blocks * disk.f_frsize
    assert 0 < space.free < space.total


async def test_a_side_loaded_image_of_a_registrys_name_is_found_by_its_bare_name(
    images: Images, runner: PodmanRunner, registry: StubRegistry, tmp_path: Path
) -> None:
    name = f"{registry.host}/team/clara/loaded:2"
    (loaded,) = await runner.load_image(busybox_image(tmp_path / "a.tar", name))
    assert (await images.ensure("clara/loaded:2", ())).id == loaded.id
    assert registry.requests == []
