"""Archives in images.d: each is loaded once, when it is whole; a wrong one is reported once."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from claraedge.errors import RunnerUnavailableError
from claraedge.images.images import Images
from claraedge.images.side_loading import SideLoading
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import Image
from claraedge.store.database import Database
from tests.rig.device import copy
from tests.rig.waiting import eventually


class Runner(MemoryRunner):
    """Loads what begins with `image NAME`, by the archive's bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.trouble: Exception | None = None

    async def load_image(self, archive: Path) -> Sequence[Image]:
        self.loads.append(archive.name)
        if self.trouble is not None:
            raise self.trouble
        word, _, name = text_of(archive).partition(" ")
        if word == "image":
            self.add_archive(archive, name.strip(), copy)
        return await super().load_image(archive)


def text_of(archive: Path) -> str:
    return archive.read_text()


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images.d"
    folder.mkdir()
    return folder


@pytest.fixture
def loading(runner: Runner, database: Database, folder: Path) -> SideLoading:
    return started(runner, database, folder)


def started(
    runner: Runner,
    database: Database,
    folder: Path,
    blocked_by: Callable[[], str | None] = lambda: None,
) -> SideLoading:
    return SideLoading(Images(runner), database, folder, pause=0.01, blocked_by=blocked_by)


async def scan(loading: SideLoading, count: int = 2) -> None:
    for _ in range(count):
        await loading.scan()


async def test_the_folder_is_made_and_an_archive_is_loaded_once_it_stays_the_same(
    runner: Runner, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "images.d"
    loading = started(runner, database, folder)
    await loading.scan()
    archive = folder / "a.tar"
    archive.write_text("image a:1")
    await loading.scan()
    assert runner.loads == []
    archive.write_text("image a:1\n")  # it grew
    await loading.scan()
    assert runner.loads == []
    await scan(loading, 3)
    assert runner.loads == ["a.tar"]
    assert await runner.find_image("a:1") is not None
    assert archive.exists()
    assert loading.warnings() == []


async def test_nothing_is_loaded_while_a_disk_is_low(
    runner: Runner, database: Database, folder: Path
) -> None:
    low = ["disk: the disk of Podman's images has 3 MiB free"]
    loading = started(runner, database, folder, lambda: low[-1] if low else None)
    (folder / "a.tar").write_text("image a:1")
    task = asyncio.create_task(loading.run())
    try:
        await eventually(loading.warnings, "there is a warning")
        assert loading.warnings() == [f"{folder}: a.tar is not loaded yet: {low[0]}"]
        assert runner.loads == []
        low.clear()
        await eventually(lambda: runner.loads and not loading.warnings(), "it is loaded")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert runner.loads == ["a.tar"]


async def test_nothing_is_loaded_again_by_a_new_start_or_another_name(
    loading: SideLoading, runner: Runner, database: Database, folder: Path
) -> None:
    (folder / "a.tar").write_text("image a:1")
    await scan(loading)
    (folder / "a.tar").rename(folder / "b.tar")
    await scan(loading)
    await scan(started(runner, database, folder))
    assert runner.loads == ["a.tar"]


async def test_an_archive_whose_image_is_gone_is_loaded_by_the_next_start(
    loading: SideLoading, runner: Runner, database: Database, folder: Path
) -> None:
    (folder / "a.tar").write_text("image a:1")
    await scan(loading)
    runner.drop_image("a:1")
    await scan(loading)
    assert runner.loads == ["a.tar"]
    await scan(started(runner, database, folder))
    assert runner.loads == ["a.tar", "a.tar"]


async def test_a_new_content_of_the_same_name_and_one_that_comes_back_are_loaded(
    loading: SideLoading, runner: Runner, folder: Path
) -> None:
    archive = folder / "a.tar"
    for text in ("image a:1", "image a:22"):
        archive.write_text(text)
        await scan(loading)
    archive.rename(folder.parent / "elsewhere")
    await scan(loading)
    (folder.parent / "elsewhere").rename(archive)
    await scan(loading)
    assert runner.loads == ["a.tar"] * 3


async def test_the_newest_archive_goes_last(
    loading: SideLoading, runner: Runner, folder: Path
) -> None:
    for age, name in enumerate(("a", "c", "b")):
        (folder / name).write_text(f"image {name}:1")
        os.utime(folder / name, (1000 - age, 1000 - age))
    await scan(loading)
    assert runner.loads == ["b", "c", "a"]


async def test_partial_and_hidden_names_are_nobodys(
    loading: SideLoading, runner: Runner, folder: Path
) -> None:
    for name in (".a.tar", "a.tar.part", "a.tar.tmp", "Thumbs.db"):
        (folder / name).write_text("image a:1")
    await scan(loading, 3)
    assert runner.loads == []
    assert loading.warnings() == []


async def test_a_wrong_archive_is_tried_and_reported_once_until_it_is_replaced(
    loading: SideLoading, runner: Runner, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = folder / "wrong\udcff.tar"
    wrong.write_text("nothing")
    (folder / "z.tar").write_text("image z:1")
    with caplog.at_level(logging.WARNING):
        await scan(loading, 4)
    assert sorted(runner.loads) == ["wrong\udcff.tar", "z.tar"]
    assert len([r for r in caplog.records if r.message == "archive not loaded"]) == 1
    (warning,) = loading.warnings()
    assert warning.startswith(f"{folder}/wrong\\xff.tar is not loaded: ")
    assert "holds no image; replace it, or remove it" in warning
    assert wrong.exists()
    wrong.write_text("image right:1")
    await scan(loading)
    assert loading.warnings() == []
    assert await runner.find_image("right:1") is not None


async def test_what_is_no_file_is_reported_and_never_opened(
    loading: SideLoading, runner: Runner, folder: Path
) -> None:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("nowhere")
    await scan(loading, 3)
    assert runner.loads == []
    texts = sorted(loading.warnings())
    assert [text.split(" is ")[0] for text in texts] == [
        f"{folder}/{name}" for name in ("folder", "link", "pipe")
    ]
    (folder / "link").unlink()
    await loading.scan()
    assert len(loading.warnings()) == 2


async def test_an_outage_is_no_fault_of_the_archive(
    loading: SideLoading, runner: Runner, folder: Path
) -> None:
    (folder / "a.tar").write_text("image a:1")
    runner.trouble = RunnerUnavailableError("Podman is unavailable")
    await loading.scan()
    with pytest.raises(RunnerUnavailableError):
        await loading.scan()
    assert loading.warnings() == []
    runner.trouble = None
    await loading.scan()
    assert await runner.find_image("a:1") is not None
