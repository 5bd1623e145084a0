"""Podman with a storage of its own, which tests may damage."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from claraedge.runner.podman import PodmanRunner
from claraedge.runner.service.service import PodmanService
from tests.field.images.store import Store
from tests.integration.conftest import why_podman_cannot_work


@pytest.fixture(autouse=True)
def _podman_where_marked(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("podman"):
        reason = why_podman_cannot_work()
        if reason is not None:
            pytest.skip(f"no rootless Podman: {reason}")


@pytest.fixture(scope="session")
def _storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("storage")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\nrootless_storage_path = "{folder}/root"\n'
    )
    yield folder
    # Podman has mounted a folder of it over itself.
    script = 'umount -l "$1/root/overlay"; rm -rf "$1"'
    subprocess.run(["podman", "unshare", "sh", "-c", script, "sh", folder], check=False, cwd="/")


@pytest.fixture
def store(_storage: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A storage apart from the user's; whatever starts Podman from here on uses it."""
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(_storage / "storage.conf"))
    return Store(_storage / "root")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """For sockets: a private folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="fi-", dir=os.environ.get("XDG_RUNTIME_DIR")))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def runner(store: Store, short_folder: Path) -> AsyncIterator[PodmanRunner]:
    """The product's runner on that storage."""
    assert store.root.parent.exists()
    async with (
        PodmanService(short_folder) as service,
        PodmanRunner(service, short_folder) as runner,
    ):
        yield runner
