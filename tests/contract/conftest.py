"""One daemon on real Podman for a module's tests, and the clients that were not made here."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.original import PYTHON, Original
from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages, why_podman_cannot_work
from tests.integration.conftest import archives as archives
from tests.integration.conftest import runtime_folder as runtime_folder
from tests.integration.daemon.conftest import IMAGE, program
from tests.unit.gpu.stub_driver import CARD, Driver


@pytest.fixture(scope="session")
def contract_venv() -> Path:
    """The environment of the original client; where it must be there, a skip is a failure."""
    if not (PYTHON.parents[1] / ".key").exists():
        pytest.skip("the original client is not installed: run build/lib/contract install")
    return PYTHON.parents[1]


@dataclass(kw_only=True)
class GpuSite(Site):
    """A site on a machine with one card, or what the driver says of it."""

    driver: Driver
    port: int

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {
            "LD_LIBRARY_PATH": str(self.driver.libraries),
            "NVML_STUB": str(self.driver.folder),
        }

    @property
    def targets(self) -> dict[str, str]:
        return {
            "unix": f"unix:{self.runtime}/claraedge.sock",
            "tcp": f"127.0.0.1:{self.port}",
        }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    runtime_folder: Path,
    archives: TestImages,
) -> Iterator[GpuSite]:
    """A daemon that serves on its socket and on a port of the loopback, with the tests' image.

    `SETTINGS` of a module is added to its configuration.
    """
    reason = why_podman_cannot_work()
    if reason is not None:
        pytest.skip(f"no rootless Podman: {reason}")
    folder = tmp_path_factory.mktemp("site")
    (folder / "driver").mkdir()
    driver = Driver(folder / "driver")
    driver.build()
    driver.answers(CARD)
    # A socket's path is at most 107 bytes: not below pytest's own folders.
    runtime = Path(tempfile.mkdtemp(prefix="c-", dir=runtime_folder), "run")
    site = GpuSite(
        program=program(), folder=folder, runtime=runtime, driver=driver, port=free_port()
    )
    site.temporary.mkdir()
    site.configure(
        f'[api]\nlisten = ["127.0.0.1:{site.port}"]\n'
        "[engine]\ngrace_seconds = 1\n[gpu]\ninterval_seconds = 0.2\n"
        + getattr(request.module, "SETTINGS", "")
    )
    try:
        site.start()
        archives.load(site, f"{IMAGE}:1")
        yield site
    finally:
        site.stop()
        shutil.rmtree(runtime.parent, ignore_errors=True)


@pytest.fixture(scope="module", params=["unix", "tcp"])
def client(
    request: pytest.FixtureRequest, contract_venv: Path, site: GpuSite
) -> Iterator[Original]:
    """The original client, over the Unix socket and over TCP."""
    original = Original(site.targets[request.param], site.folder / "client.log")
    yield original
    original.close()
