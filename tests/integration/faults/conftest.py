"""One daemon from source on real Podman for all tests of a module, whatever they kill."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import TestImages, why_podman_cannot_work
from tests.integration.daemon.conftest import IMAGE, program
from tests.integration.faults.faulty import GRACE, REMOVED, FaultySite
from tests.rig.stub_registry import StubRegistry
from tests.rig.waiting import until


@pytest.fixture(scope="module")
def registry(archives: TestImages) -> Iterator[StubRegistry]:
    with StubRegistry() as registry:
        registry.add(archives.archive("localhost/ce-test/pulled:1"), "team/clara/app", "1")
        yield registry


@pytest.fixture(scope="module")
def a_site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    runtime_folder: Path,
    registry: StubRegistry,
    archives: TestImages,
) -> Iterator[FaultySite]:
    """`SETTINGS` of a module is added to its configuration."""
    reason = why_podman_cannot_work()
    if reason is not None:
        pytest.skip(f"no rootless Podman: {reason}")
    folder = tmp_path_factory.mktemp("site")
    runtime = Path(tempfile.mkdtemp(prefix="f-", dir=runtime_folder), "run")
    site = FaultySite(program=program(), folder=folder, runtime=runtime)
    site.temporary.mkdir()
    site.configure(
        f"[engine]\ngrace_seconds = {GRACE}\n"
        "[images]\n"
        f'registries = ["{registry.host}/team"]\n'
        'pull = "missing"\n'
        f'insecure_registries = ["{registry.host}"]\n' + getattr(request.module, "SETTINGS", "")
    )
    try:
        site.start()
        archives.load(site, f"{IMAGE}:1")
        yield site
    finally:
        site.stop()
        subprocess.run(["podman", "rmi", "-f", REMOVED], capture_output=True, cwd="/")


@pytest.fixture
def site(a_site: FaultySite) -> Iterator[FaultySite]:
    """The daemon, which serves; after the test nothing may be left of what it ran."""
    if a_site.process is None or a_site.process.poll() is not None:
        a_site.start()
    yield a_site
    if a_site.process is not None and a_site.process.poll() is None:
        until(
            "nothing is left", lambda: not a_site.leftovers(), seconds=20, details=a_site.leftovers
        )
