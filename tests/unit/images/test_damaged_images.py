"""When images are compared with what was stored, and what becomes of those that are damaged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.config import ImagesSettings
from claraedge.errors import (
    DamagedImageError,
    ImageInUseError,
    ImageNotFoundError,
    StorageFullError,
)
from claraedge.images import names
from claraedge.images.checks import Checks
from claraedge.images.images import Images
from claraedge.images.platforms import foreign
from claraedge.images.power_cuts import PowerCuts
from claraedge.images.side_loading import SideLoading
from claraedge.runner.memory.runner import MemoryRunner
from claraedge.runner.protocol import ContainerSpec, Image
from claraedge.store.database import Database
from tests.rig.waiting import eventually
from tests.unit.images.test_pulling import nothing

ARCHIVE = Path("app.tar")


async def booted(runner: MemoryRunner, database: Database, boot: str) -> tuple[Images, PowerCuts]:
    """A daemon's images after its start in that boot of the machine."""
    power_cuts = PowerCuts(database, boot)
    checks = Checks(runner, is_suspect=power_cuts.is_suspect, on_whole=power_cuts.note_whole)
    images = Images(runner, checks=checks)
    await power_cuts.prepare()
    return images, power_cuts


# --- when --------------------------------------------------------------------------------------


async def test_an_image_is_checked_once_before_its_first_use(runner: MemoryRunner) -> None:
    image = runner.add_image("app:1", nothing)
    images = Images(runner)
    for _ in range(3):
        await images.find("app:1")
    assert runner.checks == [(image.id, False)]


async def test_damage_is_reported_at_each_use_until_it_is_gone(runner: MemoryRunner) -> None:
    runner.add_image("app:1", nothing)
    runner.damage_image("app:1")
    images = Images(runner)
    for _ in range(2):
        with pytest.raises(DamagedImageError, match=r"app:1 is damaged .* bin/a is missing; load"):
            await images.find("app:1")
    assert len(images.warnings()) == 1
    runner.drop_image("app:1")
    image = runner.add_image("app:1", nothing)
    assert await images.find("app:1") == image


async def test_contents_are_compared_once_after_a_power_cut(
    runner: MemoryRunner, database: Database
) -> None:
    image = runner.add_image("app:1", nothing)
    await booted(runner, database, "first boot")  # its daemon never ends in an orderly way
    for _ in range(2):  # the second is a start of the daemon alone
        images, power_cuts = await booted(runner, database, "second boot")
        await images.find("app:1")
        await power_cuts._keep()
    assert runner.checks == [(image.id, True), (image.id, False)]


async def test_contents_are_not_compared_after_an_orderly_end(
    runner: MemoryRunner, database: Database
) -> None:
    image = runner.add_image("app:1", nothing)
    images, power_cuts = await booted(runner, database, "first boot")
    working = asyncio.create_task(power_cuts.run(images.checks.check_all))
    await asyncio.sleep(0)  # it has begun
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    runner.checks.clear()
    images, _ = await booted(runner, database, "second boot")
    await images.find("app:1")
    assert runner.checks == [(image.id, False)]


async def test_a_full_disk_ends_neither_the_start_nor_the_checks_of_images(
    runner: MemoryRunner, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = runner.add_image("app:1", nothing)
    tries: list[object] = []

    async def full(work: object) -> None:
        tries.append(work)
        raise StorageFullError("the disk is full")

    await booted(runner, database, "first boot")
    with monkeypatch.context() as patch:
        patch.setattr(database, "write", full)
        images, power_cuts = await booted(runner, database, "second boot")
        checking = asyncio.create_task(power_cuts.run(images.checks.check_all))
        await eventually(lambda: len(tries) >= 2 and runner.checks, "the images are checked")
        await images.find("app:1")
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking
    assert runner.checks == [(image.id, True)]


async def test_a_failed_container_has_its_image_compared_whole(runner: MemoryRunner) -> None:
    image = runner.add_image("app:1", nothing)
    runner.damage_image("app:1", contents=True)
    images = Images(runner)
    await images.find("app:1")
    assert "app:1 is damaged" in await images.why_damaged("app:1", image.id)
    with pytest.raises(DamagedImageError):
        await images.find("app:1")


# --- what becomes of it ------------------------------------------------------------------------


async def test_the_content_of_a_loaded_image_is_compared_before_the_answer(
    runner: MemoryRunner,
) -> None:
    runner.add_archive(ARCHIVE, "app:1", nothing)
    (image,), warnings = await Images(runner).load(ARCHIVE)
    assert runner.checks == [(image.id, True)]
    assert not warnings


async def test_a_load_replaces_what_is_damaged(runner: MemoryRunner) -> None:
    runner.add_archive(ARCHIVE, "app:1", nothing)
    images = Images(runner)
    runner.damage_image("app:1", contents=True)
    (image,), warnings = await images.load(ARCHIVE)
    assert "app:1 was damaged on this device and was removed" in warnings[0]
    assert await images.find("app:1") == image


async def test_a_damaged_image_is_pulled_again_where_images_are_pulled(
    runner: MemoryRunner,
) -> None:
    runner.add_image("registry.example/app:1", nothing)
    runner.damage_image("registry.example/app:1")
    runner.add_remote_image("registry.example/app:1", nothing)
    images = Images(runner, ImagesSettings(pull="missing"))
    await images.ensure("registry.example/app:1", ())
    assert len(runner.pulls) == 1


async def test_an_archive_of_a_damaged_image_is_loaded_again(
    runner: MemoryRunner, database: Database, tmp_path: Path
) -> None:
    archive = tmp_path / "app.tar"
    archive.write_bytes(b"app")
    runner.add_archive(archive, "app:1", nothing)
    images = Images(runner)
    loading = SideLoading(images, database, tmp_path, pause=0.01, blocked_by=lambda: None)
    for _ in range(2):
        await loading.scan()
    runner.damage_image("app:1")
    assert await images.why_damaged("app:1", (await images.find("app:1")).id)
    assert images.warnings()
    await loading.scan()
    assert not images.warnings()
    assert await images.find("app:1")


async def test_an_image_in_use_is_removed_only_where_it_is_damaged(
    runner: MemoryRunner, tmp_path: Path
) -> None:
    image = runner.add_image("app:1", nothing)
    images = Images(runner)
    await runner.create(ContainerSpec(name="a", image=image.id, log_path=tmp_path / "log"))
    with pytest.raises(ImageInUseError):
        await images.remove("app:1")
    runner.damage_image("app:1")
    await images.checks.check_all()
    await images.remove("app:1")
    with pytest.raises(ImageNotFoundError):
        await images.find("app:1")
    assert not images.warnings()


# --- words -------------------------------------------------------------------------------------


def test_a_name_without_any_image_says_how_to_load_one() -> None:
    said = names.missing("app:1", [])
    assert said.startswith("the image app:1 is not on this device; load it with `claraedge create")


def test_the_newest_images_of_a_name_are_shown() -> None:
    images = [
        Image(id=f"{n:064x}", names=(f"localhost/app:{n}",), digests=(), size=1, created=float(n))
        for n in range(5)
    ]
    said = names.missing("app:9", images)
    assert "but `localhost/app:4`, `localhost/app:3`, `localhost/app:2` is" in said


@pytest.mark.parametrize(
    ("image", "here", "is_foreign"),
    [
        ("linux/arm64", "linux/amd64", True),
        ("windows/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/amd64", False),
        ("", "linux/amd64", False),
        ("linux", "linux/amd64", False),
    ],
)
def test_an_image_for_another_machine(image: str, here: str, is_foreign: bool) -> None:
    assert bool(foreign(image, here)) == is_foreign
