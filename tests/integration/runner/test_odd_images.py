"""Whatever an image's archive says is the trouble of that image: of no other, and no outage."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    InvalidImageError,
    RefusedImageError,
)
from claraedge.images.images import Images
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import ContainerSpec, Image
from tests.campaign import CAMPAIGN
from tests.rig.operators import busybox_image, oci_image

pytestmark = pytest.mark.podman

NAME = "localhost/ce-odd/image:1"
ANNOTATIONS = {"run.oci.handler": "wasm", "org.opencontainers.image.title": "odd"}


@pytest.fixture
async def images(runner: PodmanRunner) -> AsyncIterator[Images]:
    yield Images(runner)
    for image in await runner.list_images():
        if any("ce-odd" in name for name in image.names):
            await runner.remove_image(image.id, force=True)


def of(**config: object) -> Mapping[str, object]:
    return {"config": {"Env": ["PATH=/bin"], **config}}


#: What fields of an image say -> its error, if it has one.
ODD: Sequence[tuple[Mapping[str, object], type[ClaraedgeError] | None]] = [
    ({"created": "0000-01-01T00:00:00Z"}, None),
    (of(ExposedPorts={"9" * 5000: {}, "99999/tcp": {}, "x/y/z": {}}), None),
    ({"created": "timed out, no space left on device"}, InvalidImageError),
    (of(Volumes={"": {}, "relative": {}, "/a\n/../b": {}}), ContainerError),
    (of(User="no space left on device"), ContainerError),
    (of(Env=["timed out", "=", "A=\ud83d"]), ContainerError),
]
MORE: Sequence[tuple[Mapping[str, object], type[ClaraedgeError] | None]] = [
    ({"created": "9999-12-31T23:59:59Z"}, None),
    ({"created": 7}, InvalidImageError),
    ({"architecture": "no space left/" * 50, "os": "\x00\x7f"}, None),
    ({"history": [{"created": "0000-01-01T00:00:00Z", "empty_layer": True}] * 500}, None),
    (of(WorkingDir="no space left on device"), ContainerError),
    (of(StopSignal="no space left on device"), ContainerError),
    (of(Labels={"a" * 5000: "b" * 50000}), None),
    (of(Entrypoint=["\x00"], Cmd=["x" * 200_000]), ContainerError),
    (of(Entrypoint="text", Cmd={"a": 1}), InvalidImageError),
]


async def test_an_odd_image_harms_nobody(
    images: Images, busybox: Image, runner: PodmanRunner, tmp_path: Path
) -> None:
    """Finding 10: a year 0, or an EXPOSE of 5,000 digits, was an outage for all jobs."""
    for number, (configuration, expected) in enumerate([*ODD, *(MORE if CAMPAIGN else ())]):
        archive = tmp_path / f"{number}.tar"
        busybox_image(archive, f"localhost/ce-odd/image:{number}", configuration=configuration)
        met: type[ClaraedgeError] | None = None
        try:
            ((image,), _) = await images.load(archive)
            assert (await images.find(image.names[0])).id == image.id
            await _made(runner, image, tmp_path)
        except ClaraedgeError as error:
            met = type(error)
        assert met is expected, configuration
    assert busybox.id in {each.id for each in await images.all()}
    assert (await images.find(busybox.names[0])).id == busybox.id


async def _made(runner: PodmanRunner, image: Image, folder: Path) -> None:
    spec = ContainerSpec(
        name="ce-odd",
        image=image.id,
        command=("/bin/true",),
        labels={"ce-odd": "1"},
        log_path=folder / "log",
    )
    await runner.remove(await runner.create(spec))


async def test_an_image_with_reserved_annotations_is_refused_when_it_is_loaded(
    images: Images, tmp_path: Path
) -> None:
    """Finding 11: annotations of an image reached the runtime."""
    archive = oci_image(tmp_path / "image.tar", NAME, ANNOTATIONS)
    with pytest.raises(RefusedImageError, match=r"annotation run\.oci\.handler.*build it again"):
        await images.load(archive)
    assert not [image for image in await images.all() if NAME in image.names]


async def test_one_that_podman_has_already_is_the_error_of_who_names_it(
    images: Images, runner: PodmanRunner, busybox: Image, tmp_path: Path
) -> None:
    archive = oci_image(tmp_path / "image.tar", NAME, ANNOTATIONS)
    command = ["podman", "load", "--quiet", "--input", str(archive)]
    subprocess.run(command, check=True, capture_output=True, cwd="/")  # noqa: ASYNC221 a test may
    with pytest.raises(RefusedImageError, match=NAME):
        await images.find(NAME)
    (odd,) = (image for image in await images.all() if NAME in image.names)
    assert "run.oci.handler" in images.trouble(odd)
    assert images.trouble(busybox) == ""
    await images.remove(NAME)


async def test_one_with_labels_of_claraedge_is_refused_and_with_others_is_not(
    images: Images, tmp_path: Path
) -> None:
    label = {"io.claraedge.devices": "nvidia.com/gpu=all"}
    archive = busybox_image(tmp_path / "image.tar", NAME, labels=label)
    with pytest.raises(RefusedImageError, match=r"label io\.claraedge\.devices"):
        await images.load(archive)
    fine = oci_image(tmp_path / "fine.tar", NAME, {"org.opencontainers.image.title": "fine"})
    ((image,), _) = await images.load(fine)
    assert NAME in image.names
