"""An image that came by file, and the name that a pipeline gives it: found, or what to write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claraedge.errors import ImageNotFoundError
from claraedge.images.images import Images
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import Image
from tests.field.case import case
from tests.field.images.archives import BASE, digest_of, docker_parts, layer, oci_parts, pack

pytestmark = [pytest.mark.podman, pytest.mark.timeout(120)]

_OTHER = "sha256:" + "1" * 64


@pytest.fixture
async def images(runner: PodmanRunner) -> AsyncIterator[Images]:
    """None but those that the test loads."""
    yield Images(runner)
    for image in await runner.list_images():
        await runner.remove_image(image.id, force=True)


async def loaded(images: Images, folder: Path, name: str) -> Image:
    path = pack(folder / "a.tar", docker_parts(name, [layer({**BASE, "etc/name": name.encode()})]))
    ((image,), _) = await images.load(path)
    return image


FOUND = {
    "localhost/app:1": ("localhost/app:1", "app:1"),
    "app:1": ("app:1",),
    "app:latest": ("app", "app:latest", "localhost/app"),
    "docker.io/library/app:1": ("app:1", "library/app:1", "docker.io/library/app:1"),
    "nvcr.io/nvidia/app:1": ("nvcr.io/nvidia/app:1", "nvidia/app:1"),
    "10.0.0.1:5000/app:1": ("10.0.0.1:5000/app:1", "app:1"),
}


@pytest.mark.parametrize("name", FOUND)
async def test_a_name_means_the_image_of_the_archive(
    images: Images, tmp_path: Path, name: str
) -> None:
    image = await loaded(images, tmp_path, name)
    forms = [*FOUND[name], image.id, f"sha256:{image.id}", image.id[:12], *image.digests]
    for reference in forms:
        assert await images.find(reference) == image, reference


@case(
    10,
    "a pipeline names the registry's digest of an image that was brought as an OCI archive",
    source="freedomofpress/dangerzone#1068",
    outcome="It runs: an OCI archive keeps the digest of its manifest, whatever its name.",
)
@pytest.mark.parametrize("name", [None, "localhost/field/other:7"])
async def test_an_oci_archive_keeps_its_digest(
    images: Images, tmp_path: Path, name: str | None
) -> None:
    parts = oci_parts([layer({**BASE, "etc/name": str(name).encode()})], name=name)
    ((image,), _) = await images.load(pack(tmp_path / "a.tar", parts))
    for repository in ("registry.example:5000/app", "app", "registry.example/x/app:1"):
        assert await images.find(f"{repository}@{digest_of(parts)}") == image
    assert await images.find(f"registry.example/app@sha256:{image.id}") == image


@case(
    10,
    "a pipeline names the registry's digest of an image that was brought by docker save",
    source="moby/moby#22011",
    outcome="The message says that the file has lost the digest, and which id to write instead.",
)
async def test_a_lost_digest_is_reported_with_the_id_to_write(
    images: Images, tmp_path: Path
) -> None:
    image = await loaded(images, tmp_path, "registry.example:5000/app:1")
    for reference in (f"registry.example:5000/app@{_OTHER}", f"app:1@{_OTHER}"):
        with pytest.raises(ImageNotFoundError) as met:
            await images.find(reference)
        said = str(met.value)
        assert "comes by file has lost the digest" in said
        assert f"`sha256:{image.id}` (registry.example:5000/app:1)" in said
        assert await images.find(f"sha256:{image.id}") == image


@case(
    10,
    "a pipeline names another tag or registry of an image that is there",
    source="containers/podman#27323",
    outcome="The message has the names that are there.",
)
@pytest.mark.parametrize(
    "reference", ["localhost/app:2", "localhost/app", "app:2", "nvcr.io/app:1", "docker.io/app:1"]
)
async def test_another_tag_is_reported_with_the_names_that_are_here(
    images: Images, tmp_path: Path, reference: str
) -> None:
    await loaded(images, tmp_path, "localhost/app:1")
    with pytest.raises(ImageNotFoundError, match=r"but `localhost/app:1` is: write that"):
        await images.find(reference)


@case(
    10,
    "a pipeline names an image in upper case",
    source="distribution/reference, reference.go",
    outcome="The message has the name in lower case.",
)
async def test_upper_case_is_reported_with_the_name_to_write(
    images: Images, tmp_path: Path
) -> None:
    image = await loaded(images, tmp_path, "localhost/app:V1")
    assert await images.find("localhost/app:V1") == image
    with pytest.raises(ImageNotFoundError, match="write `localhost/app:V1`"):
        await images.find("localhost/App:V1")


@pytest.mark.parametrize(
    "reference", ["no such name", "a@sha256:zz", ":1", "app:tag with", "http://x/y:1", "x:1/", "-x"]
)
async def test_what_is_no_name_is_not_here(images: Images, reference: str) -> None:
    with pytest.raises(ImageNotFoundError, match="is not on this device"):
        await images.find(reference)
