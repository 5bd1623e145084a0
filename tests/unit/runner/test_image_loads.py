"""A load of an image is answered after Podman's storage has been synced to the disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from claraedge import spawn
from claraedge.errors import RunnerUnavailableError
from claraedge.runner.images.image_store import ImageStore
from claraedge.runner.images.images import inspect_path
from claraedge.runner.service.http import Response

NAME = "localhost/app:1"
IMAGE = {"Id": "ab" * 32, "RepoTags": [NAME]}


class Podman:
    """Podman's service and its machine, with a log of what was done."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.sync = (0, "")
        """What `sync` ends with: its exit code and its output."""
        self.done: list[str] = []

    async def image_folder(self) -> Path:
        return self.store

    async def request(self, method: str, path: str, **_: object) -> Response:
        self.done.append(f"{method} {path}")
        answer = {"Names": [NAME]} if method == "POST" else IMAGE
        return Response(status=200, headers={}, body=json.dumps(answer).encode())

    async def run(self, command: Sequence[str], *, timeout: float) -> tuple[int, str]:
        assert timeout > 0
        self.done.append(" ".join(command))
        return self.sync


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Podman:
    podman = Podman(tmp_path)
    monkeypatch.setattr(spawn, "run", podman.run)
    return podman


async def load(podman: Podman, folder: Path) -> None:
    archive = folder / "app.tar"
    archive.write_bytes(b"an image")
    store = ImageStore(podman, podman, folder)  # type: ignore[arg-type]
    (image,) = await store.load(archive)
    podman.done.append(f"answered with {image.names[0]}")


async def test_the_answer_comes_after_the_sync(podman: Podman, tmp_path: Path) -> None:
    await load(podman, tmp_path)
    assert podman.done == [
        "POST /images/load",
        f"sync --file-system {tmp_path}",
        f"GET {inspect_path(NAME)}",
        f"answered with {NAME}",
    ]


async def test_a_disk_that_confirms_nothing_is_an_error(podman: Podman, tmp_path: Path) -> None:
    podman.sync = (1, "sync: error syncing: Input/output error")
    with pytest.raises(RunnerUnavailableError, match="does not confirm what was written"):
        await load(podman, tmp_path)
