"""The catalogue in a real database: names, ids, and packages in use."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claraedge.clock import SystemClock
from claraedge.errors import (
    InvalidManifestError,
    InvalidRequestError,
    PackageExistsError,
    PackageInUseError,
    PackageNotFoundError,
)
from claraedge.packages.ids import IdKind, is_id, new_kind_id
from claraedge.packages.packages import Packages
from claraedge.store.database import Database, Transaction


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "claraedge.db") as opened:
        yield opened


@pytest.fixture
def packages(database: Database) -> Packages:
    return Packages(database, SystemClock(), new_kind_id)


def manifest(name: str = "web", version: str = "v1", image: str = "a:1") -> str:
    component = {
        "name": "c",
        "requiredRuntime": "device",
        "executables": [{"name": "main", "docker": image}],
    }
    plans = [{"name": "default", "components": [component]}]
    return json.dumps({"name": name, "packageVersion": version, "plans": plans})


async def test_a_package_and_its_ids_stay_the_same_after_a_restart(
    tmp_path: Path, database: Database, packages: Packages
) -> None:
    made = await packages.create(manifest())
    plan = made.plans[0]
    component = plan.components[0]
    kinds: list[tuple[str, IdKind]] = [
        (made.id, "pkg"), (plan.id, "plan"), (component.id, "comp"),
        (component.executables[0].id, "exec"),
    ]  # fmt: skip
    assert all(is_id(text, kind) for text, kind in kinds)
    assert made.created > 0
    async with Database(tmp_path / "other.db") as other:  # not in another database
        with pytest.raises(PackageNotFoundError):
            await Packages(other, SystemClock(), new_kind_id).get(made.id)
    again = Packages(database, SystemClock(), new_kind_id)
    assert await again.get(made.id) == made


async def test_the_same_manifest_again_names_the_first_package(packages: Packages) -> None:
    made = await packages.create(manifest())
    for text in (manifest(), manifest(image="b:1")):
        with pytest.raises(PackageExistsError, match=made.id):
            await packages.create(text)
    await packages.create(manifest(version="v2"))
    assert [p.version for p in await packages.list()] == ["v1", "v2"]


async def test_a_wrong_manifest_creates_nothing(packages: Packages) -> None:
    with pytest.raises(InvalidManifestError):
        await packages.create(manifest(name=""))
    assert await packages.list() == []


async def test_packages_are_found_by_id_prefix_name_and_version(packages: Packages) -> None:
    first = await packages.create(manifest())
    second = await packages.create(manifest(version="v2"))
    third = await packages.create(manifest("a:b", "v3"))
    for text, found in (
        (first.id, first),
        (first.id[:20], first),
        ("web", second),
        ("web:v1", first),
        ("a:b", third),
        ("a:b:v3", third),
    ):
        assert await packages.get(text) == found, text


@pytest.mark.parametrize("text", ["none", "web:v9", "web:", ":v1", "WEB", "pkg-" + "a" * 24, "\0"])
async def test_what_is_not_there_is_not_found(packages: Packages, text: str) -> None:
    await packages.create(manifest())
    for call in (packages.get, packages.delete):
        with pytest.raises(PackageNotFoundError, match="list packages"):
            await call(text)


async def test_a_text_that_means_no_single_package_is_refused(packages: Packages) -> None:
    ids = [(await packages.create(manifest(version=f"v{n}"))).id for n in range(12)]
    with pytest.raises(InvalidRequestError) as refused:
        await packages.get("pkg-")
    assert len(refused.value.messages) == 12
    assert refused.value.messages[-1].strip() == "and more"
    assert all(any(i in line for i in ids) for line in refused.value.messages[1:-1])
    with pytest.raises(InvalidRequestError):
        await packages.get("")


async def test_a_package_named_like_the_id_of_another_does_not_hide_it(packages: Packages) -> None:
    first = await packages.create(manifest())
    hostile = await packages.create(manifest(name=first.id))
    assert await packages.get(first.id) == first
    assert await packages.get(hostile.id) == hostile
    assert await packages.delete(first.id) == first
    assert [p.id for p in await packages.list()] == [hostile.id]


async def test_lists_select_by_name_and_version_without_manifests(packages: Packages) -> None:
    for name, version in (("a", "v1"), ("b", "v1"), ("a", "v2")):
        await packages.create(manifest(name, version))
    assert all(p.manifest == "" and p.plans and p.created for p in await packages.list())
    assert [(p.name, p.version) for p in await packages.list(name="a")] == [
        ("a", "v1"), ("a", "v2"),
    ]  # fmt: skip
    assert [(p.name, p.version) for p in await packages.list(version="v1")] == [
        ("a", "v1"), ("b", "v1"),
    ]  # fmt: skip
    assert await packages.list("b", "v2") == []


async def test_a_package_in_use_is_not_deleted(database: Database) -> None:
    users = {"": "cam dep-x"}

    def in_use(tx: Transaction, package: str) -> str | None:
        assert tx.row("package", id=package) is not None
        return users.get("")

    packages = Packages(database, SystemClock(), new_kind_id, in_use=in_use)
    made = await packages.create(manifest())
    with pytest.raises(PackageInUseError, match="cam dep-x"):
        await packages.delete("web")
    assert await packages.get(made.id) == made
    users.clear()
    assert await packages.delete("web") == made
    with pytest.raises(PackageNotFoundError):
        await packages.delete(made.id)
    assert (await packages.create(manifest())).id != made.id
