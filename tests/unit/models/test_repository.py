"""The repository with a real database and disk: crashes, failures, callers that disappear."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hostile import sound, zipped

from claraedge.blocking import CancelFlag
from claraedge.clock import SystemClock
from claraedge.errors import InvalidMetadataError, StorageFullError
from claraedge.ids import new_id
from claraedge.models import models as module
from claraedge.models import records
from claraedge.models.archive import Unpacked
from claraedge.models.model import Model, ModelType
from claraedge.models.models import Models
from claraedge.models.tree import ModelTree
from claraedge.store import disposable
from claraedge.store.database import Database
from claraedge.store.unknown import Unknown


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "claraedge.db") as opened:
        yield opened


@pytest.fixture
async def models(tmp_path: Path, database: Database) -> Models:
    return await started(tmp_path, database)


async def started(state: Path, database: Database) -> Models:
    """A repository as a daemon that starts has it."""
    models = Models(database, ModelTree(state), SystemClock(), new_id)
    await models.prepare()
    return models


async def store(models: Models, weights: bytes = b"weights", **metadata: str) -> Model:
    async with models.upload() as upload:
        await upload.write(zipped([*sound(), ("m/1/w", weights)]))
        return await upload.commit("m", ModelType.UNKNOWN, metadata)


def on_disk(state: Path) -> set[str]:
    """Model folders, versions, and whatever else lies in the repository's folder."""
    root = state / "models"
    return {p.relative_to(root).as_posix() for p in (*root.glob("*"), *root.glob("*/*"))}


async def test_a_start_removes_what_a_crash_left_and_nothing_else(
    tmp_path: Path, database: Database, models: Models
) -> None:
    model = await store(models)
    root = tmp_path / "models"
    (root / "staging/upload/tree/m/1").mkdir(parents=True)
    (root / "staging/upload/archive.zip").write_bytes(b"PK")
    left = [
        f"models/{model.id}/2",  # renamed; the crash came before the commit
        f"models/{model.id}/0",  # replaced; the crash came after the commit
        f"models/{new_id()}/1",  # deleted, or never committed
    ]
    for version in left:
        (tmp_path / version / "m").mkdir(parents=True)
        (tmp_path / version / "m" / "config.pbtxt").write_bytes(b"x")
    await database.write(lambda tx: disposable.add(tx, left))
    await started(tmp_path, database)
    assert on_disk(tmp_path) == {"staging", model.id, f"{model.id}/1"}
    assert not (tmp_path / "unknown").exists()
    assert await database.read(lambda tx: disposable.of(tx, "models")) == set()


async def test_versions_that_an_older_database_does_not_know_are_kept(
    tmp_path: Path, database: Database, models: Models
) -> None:
    model = await store(models)
    newer = [f"models/{model.id}/2/m/w", f"models/{new_id()}/1/m/w"]
    for path in newer:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"weights")
    await started(tmp_path, database)
    assert on_disk(tmp_path) == {"staging", model.id, f"{model.id}/1"}
    assert all((tmp_path / "unknown" / path).read_bytes() == b"weights" for path in newer)
    (warning,) = Unknown(tmp_path).warnings()
    assert "2 of models" in warning


async def test_a_model_that_is_replaced_and_deleted_leaves_no_record(
    tmp_path: Path, database: Database, models: Models
) -> None:
    await store(models)
    model = await store(models, b"new")
    await models.delete(model.id)
    assert on_disk(tmp_path) == {"staging"}
    assert await database.read(lambda tx: disposable.of(tx, "models")) == set()


async def test_what_a_deletion_left_to_a_crash_goes_at_the_next_start(
    tmp_path: Path, database: Database, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await store(models)

    async def crash(_: Path) -> None:
        """The end comes before the files are removed."""

    monkeypatch.setattr(models, "_remove", crash)
    await models.delete(model.id)
    assert on_disk(tmp_path) == {"staging", model.id, f"{model.id}/1"}
    await started(tmp_path, database)
    assert on_disk(tmp_path) == {"staging"}
    assert not (tmp_path / "unknown").exists()


async def test_what_a_crash_left_in_the_way_of_the_next_version_is_replaced(
    tmp_path: Path, models: Models
) -> None:
    model = await store(models)
    (tmp_path / "models" / model.id / "2/m/stale").mkdir(parents=True)
    again = await store(models, b"new")
    assert again.generation == 2
    assert (models.tree.folder(again) / "1/w").read_bytes() == b"new"
    assert not (models.tree.folder(again) / "stale").exists()


async def test_a_model_without_files_is_reported_at_the_start_and_can_be_deleted(
    tmp_path: Path, database: Database, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    model = await store(models)
    await asyncio.to_thread(models.tree.remove, models.tree.version(model.id, 1))
    again = await started(tmp_path, database)
    assert [r.levelname for r in caplog.records if "gone" in r.message] == ["ERROR"]
    await again.delete(model.id)
    assert await again.list() == []


async def test_a_commit_that_fails_leaves_the_old_version_alone(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await store(models, b"old", a="1")

    def full(*_: object) -> Model:
        raise StorageFullError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(records, "put", full)
        with pytest.raises(StorageFullError):
            await store(models, b"new")
    assert on_disk(tmp_path) == {"staging", model.id, f"{model.id}/1"}
    async with models.reading(model.id) as (found, folder):
        assert (found, (folder / "1/w").read_bytes()) == (model, b"old")


async def test_wrong_metadata_are_reported_before_anything_is_unpacked(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "unpack", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(InvalidMetadataError):
        await store(models, key="v" * 257)
    assert on_disk(tmp_path) == {"staging"}


async def test_a_caller_that_disappears_while_it_is_unpacked_leaves_nothing(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacking = threading.Event()
    real = module.unpack

    def slow(flag: CancelFlag, source: Path, target: Path, wanted: str, *more: Any) -> Unpacked:
        unpacking.set()
        while not flag._event.wait(0.01):
            pass
        return real(flag, source, target, wanted, *more)

    monkeypatch.setattr(module, "unpack", slow)
    storing = asyncio.create_task(store(models))
    assert await asyncio.to_thread(unpacking.wait, 10)
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    assert on_disk(tmp_path) == {"staging"}
    assert await models.list() == []


async def test_a_caller_that_disappears_after_the_rename_leaves_a_whole_model(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = asyncio.Event()
    loop = asyncio.get_running_loop()
    real = models.tree.place

    def place(staged: Path, model: str, generation: int) -> None:
        real(staged, model, generation)
        loop.call_soon_threadsafe(placed.set)

    monkeypatch.setattr(models.tree, "place", place)
    storing = asyncio.create_task(store(models))
    await asyncio.wait_for(placed.wait(), 10)
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    (model,) = await models.list()
    assert (models.tree.folder(model) / "1/w").read_bytes() == b"weights"
    assert on_disk(tmp_path) == {"staging", model.id, f"{model.id}/1"}


async def test_every_reader_of_an_old_version_keeps_it(models: Models) -> None:
    model = await store(models, b"old")
    async with models.reading(model.id) as (_, first):
        async with models.reading(model.id) as (_, second):
            await store(models, b"new")
            assert first == second
        assert (first / "1/w").read_bytes() == b"old"
        async with models.reading(model.id) as (_, newest):
            assert (newest / "1/w").read_bytes() == b"new"
    assert not first.exists()
    assert newest.exists()


async def test_a_version_never_changes_its_files_in_place(models: Models) -> None:
    model = await store(models, b"old")
    async with models.reading(model.id) as (_, folder):
        before = (folder / "1/w").stat().st_ino
        for _ in range(3):
            await store(models, b"new")
        assert (folder / "1/w").stat().st_ino == before
    assert (await models.list())[0].generation == 4


async def test_a_model_of_a_deleted_name_is_a_new_one(models: Models) -> None:
    model = await store(models, a="1")
    await models.delete(model.id)
    again = await store(models)
    assert again.id != model.id
    assert dict(again.metadata) == {}


async def test_the_status_names_models_whose_files_are_gone_until_they_are_uploaded_again(
    tmp_path: Path, database: Database, models: Models
) -> None:
    model = await store(models)
    assert models.warnings() == []
    (tmp_path / "models" / model.id).rename(tmp_path / "elsewhere")
    again = await started(tmp_path, database)
    (warning,) = again.warnings()
    assert f"the files of the model m ({model.id}) are gone" in warning
    await store(again)
    assert again.warnings() == []
