"""Real rootless Podman, for whoever marks a test `podman` or asks for one of these fixtures.

The suite runs as an unprivileged user. Where Podman cannot work, such tests are skipped with the
reason; tests/conftest.py makes that a failure where CLARAEDGE_REQUIRE_PODMAN=1 says so, as in CI.
"""

from __future__ import annotations

import functools
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import Image
from claraedge.runner.service.service import PodmanService
from tests.freeze.frozen_site import Site
from tests.rig.operators import BUSYBOX, busybox_image


@functools.cache
def why_podman_cannot_work() -> str | None:
    """The reason, with what to do; None where rootless Podman works here."""
    if os.getuid() == 0:
        return "started as root: run the tests as an unprivileged user (build/test does)"
    if shutil.which("podman") is None:
        return "podman is not installed (build/test installs it)"
    if not BUSYBOX.is_file():
        return "/bin/busybox is missing: apt-get install busybox-static"
    if not os.environ.get("XDG_RUNTIME_DIR"):
        return "XDG_RUNTIME_DIR is not set"
    probe = subprocess.run(
        ["podman", "unshare", "true"], capture_output=True, text=True, timeout=60, cwd="/"
    )
    return None if probe.returncode == 0 else f"`podman unshare true` says: {probe.stderr.strip()}"


@pytest.fixture(autouse=True)
def _podman_where_marked(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("podman") or request.node.get_closest_marker("triton"):
        reason = why_podman_cannot_work()
        if reason is not None:
            pytest.skip(f"no rootless Podman: {reason}")
    elif "runtime_folder" in request.fixturenames:
        pytest.fail("it uses Podman: mark it `podman`, or it may be skipped unseen", pytrace=False)


@pytest.fixture(scope="session")
def runtime_folder() -> Iterator[Path]:
    """A short private folder on the user's tmpfs, as the daemon has one."""
    folder = Path(tempfile.mkdtemp(prefix="ce-", dir=os.environ.get("XDG_RUNTIME_DIR")))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def closed_again() -> Iterator[None]:
    """For containers in a user namespace without this user: Podman 4.3 lets everybody search the
    folders above its own for them, and whoever runs the tests had them closed.
    """
    places = [Path.home() / ".local/share/containers/storage/overlay"]
    places += [Path(os.environ.get("XDG_RUNTIME_DIR", "/")) / "libpod/tmp"]
    above = {folder for place in places for folder in place.parents if folder.is_dir()}
    modes = {f: f.stat().st_mode for f in above if f.stat().st_uid == os.getuid()}
    yield
    for folder, mode in modes.items():
        folder.chmod(stat.S_IMODE(mode))


@pytest.fixture
def other_folder(runtime_folder: Path) -> Path:
    """A second runtime folder, for another daemon."""
    return Path(tempfile.mkdtemp(prefix="o-", dir=runtime_folder))


@pytest.fixture
async def service(runtime_folder: Path) -> AsyncIterator[PodmanService]:
    """A private Podman service of this test's own loop."""
    async with PodmanService(runtime_folder) as service:
        yield service


@pytest.fixture
async def runner(service: PodmanService, runtime_folder: Path) -> AsyncIterator[PodmanRunner]:
    async with PodmanRunner(service, runtime_folder) as runner:
        yield runner


@dataclass(frozen=True, slots=True, kw_only=True)
class TestImages:
    """The archives that tests load."""

    __test__ = False
    folder: Path
    loaded: set[str] = field(default_factory=set)
    """What a daemon of this run has loaded."""

    def archive(self, name: str, **options: object) -> Path:
        path = self.folder / f"{name.replace('/', '_').replace(':', '_')}.tar"
        return path if path.exists() else busybox_image(path, name, **options)  # type: ignore[arg-type]

    def load(self, site: Site, *names: str, **options: object) -> None:
        """Has a daemon load images, unless this run did so and they are still there."""
        for name in names:
            if name in self.loaded and _exists(site, name):
                continue
            site.say("create", "image", "-f", self.archive(name, **options))
            self.loaded.add(name)


def _exists(site: Site, image: str) -> bool:
    words = ["podman", "image", "exists", image]
    return subprocess.run(words, env=site.environment, cwd="/", check=False).returncode == 0


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> TestImages:
    return TestImages(folder=tmp_path_factory.mktemp("images"))


@pytest.fixture
async def busybox(runner: PodmanRunner, archives: TestImages) -> Image:
    """An image that runs as root of the container: its files belong to the user of the tests."""
    return await _loaded(runner, archives.archive("localhost/ce-test/busybox:1"))


@pytest.fixture
async def unprivileged(runner: PodmanRunner, archives: TestImages) -> Image:
    """An image with USER 1000:1000: its files belong to a subordinate user."""
    name = "localhost/ce-test/unprivileged:1"
    return await _loaded(runner, archives.archive(name, user="1000:1000"))


async def _loaded(runner: PodmanRunner, archive: Path) -> Image:
    (image,) = await runner.load_image(archive)
    return image
