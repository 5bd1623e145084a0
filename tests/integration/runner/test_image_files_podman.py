"""Files are read out of images by real Podman, and nothing of it stays."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.errors import ImageNotFoundError, InvalidImageError
from claraedge.ids import new_id
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import LABEL_INSTANCE, MAX_FILE
from tests.rig.operators import busybox_image
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.podman, pytest.mark.timeout(120)]

FILES = {
    "/etc/monai/app.json": b'{"command": "x"}',
    "/etc/largest": b"x" * MAX_FILE,
    "/etc/too-large": b"x" * (MAX_FILE + 1),
    "/data/huge": b"\0" * 20_000_000,
}
LINKS = {
    "/etc/linked/app.json": "../monai/app.json",
    "/etc/absolute.json": "/etc/monai/app.json",
    "/etc/folder": "monai",
    "/etc/out.json": "../../../../../../etc/passwd",
    "/etc/host.json": "/etc/machine-id",
    "/etc/nowhere.json": "nothing",
    "/etc/to-large.json": "too-large",
}


@pytest.fixture
async def image(runner: PodmanRunner, tmp_path: Path) -> str:
    name = "localhost/ce-test/files:1"
    # A VOLUME over the files, no ENTRYPOINT and no CMD: none of it may matter.
    archive = busybox_image(
        tmp_path / "files.tar", name, files=FILES, links=LINKS, volumes=["/etc/monai"]
    )
    (loaded,) = await runner.load_image(archive)
    return loaded.id


async def test_files_are_read_and_links_followed_inside_the_image(
    runner: PodmanRunner, image: str
) -> None:
    wanted = [
        "/etc/monai/app.json", "/etc/linked/app.json", "/etc/absolute.json", "/etc/folder/app.json",
        "/etc/largest", "/etc/out.json", "/etc/host.json", "/etc/nowhere.json", "/etc/monai",
        "/nothing/at/all",
    ]  # fmt: skip
    labels = {LABEL_INSTANCE: new_id()}
    found = await runner.read_files(image, wanted, labels)
    manifest = FILES["/etc/monai/app.json"]
    # A link that climbs over the root stays in the image, where the host's own file is not.
    passwd = b"root:x:0:0:root:/:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n"
    assert found == {
        "/etc/monai/app.json": manifest,
        "/etc/linked/app.json": manifest,
        "/etc/absolute.json": manifest,
        "/etc/folder/app.json": manifest,
        "/etc/largest": FILES["/etc/largest"],
        "/etc/out.json": passwd,
    }
    assert await runner.containers(labels) == []


@pytest.mark.parametrize("path", ["/etc/too-large", "/etc/to-large.json", "/data/huge"])
async def test_a_large_file_is_refused_and_leaves_nothing(
    runner: PodmanRunner, image: str, path: str
) -> None:
    labels = {LABEL_INSTANCE: new_id()}
    with pytest.raises(InvalidImageError, match="at most 1048576 are read"):
        await runner.read_files(image, [path], labels)
    assert await runner.containers(labels) == []


async def test_a_large_folder_is_no_file(runner: PodmanRunner, image: str) -> None:
    assert await runner.read_files(image, ["/data", "/etc"], {}) == {}


async def test_an_image_that_is_gone(runner: PodmanRunner) -> None:
    with pytest.raises(ImageNotFoundError, match="not on this device any more"):
        await runner.read_files("0" * 64, ["/etc/passwd"], {})


async def test_a_caller_that_is_cancelled_leaves_nothing(runner: PodmanRunner, image: str) -> None:
    labels = {LABEL_INSTANCE: new_id()}
    reading = asyncio.create_task(runner.read_files(image, ["/etc/largest"] * 9, labels))

    async def begun() -> bool:
        assert not reading.done(), "nothing was left to cancel"
        return bool(await runner.containers(labels))

    await eventually(begun, "a container is made")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    async def ended() -> bool:
        return not await runner.containers(labels)

    await eventually(ended, "no container is left", 20)
