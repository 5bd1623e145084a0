"""Images with what only whoever runs containers may say: refused, each alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from claraedge.config import ImagesSettings
from claraedge.errors import ImageNotFoundError, RefusedImageError
from claraedge.images.images import Images
from claraedge.jobs.model import JobStatus
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import Image
from tests.rig.device import Device, copy
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain

RESERVED = ("annotation run.oci.handler",)
ARCHIVE = Path("app.tar")


class Loading(MemoryRunner):
    """Gives a reserved image for each archive and each pull."""

    async def load_image(self, archive: Path) -> Sequence[Image]:
        return [self.add_image("loaded:1", copy, reserved=RESERVED), self.add_image("two:1", copy)]

    async def pull_image(self, name: str, **_: object) -> Image:  # type: ignore[override]
        return self.add_image(name, copy, reserved=RESERVED)


async def test_an_archive_with_one_is_refused_and_the_image_removed() -> None:
    runner = Loading()
    images = Images(runner)
    with pytest.raises(RefusedImageError, match=r"loaded:1.*annotation run\.oci\.handler"):
        await images.load(ARCHIVE)
    assert [image.names for image in await images.all()] == [("two:1",)]


async def test_a_pulled_one_is_refused_and_removed() -> None:
    images = Images(Loading(), ImagesSettings(pull="missing"))
    with pytest.raises(RefusedImageError, match=r"example\.com/app:1"):
        await images.ensure("example.com/app:1", ())
    with pytest.raises(ImageNotFoundError):
        await images.find("example.com/app:1")


async def test_the_job_that_names_one_fails_and_others_run(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.runner.add_image("hostile:1", copy, reserved=RESERVED)
    device.runner.add_image("here:1", copy)
    async with engine_rig(device) as rig:
        hostile = await rig.register(chain("one", image="hostile"))
        ended = await rig.end((await rig.job(hostile, {"x": b"1"})).id)
        assert ended.status is JobStatus.FAULTED
        assert "the image hostile:1 is refused" in ended.messages[0]
        fine = await rig.register(chain("one", image="here"))
        assert (await rig.end((await rig.job(fine, {"x": b"1"})).id)).status is JobStatus.HEALTHY
        assert rig.engine.warnings() == []
