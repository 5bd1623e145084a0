from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from claraedge import metadata
from claraedge.errors import InvalidMetadataError
from claraedge.store.database import Database, Transaction

T = TypeVar("T")
OWNER = "a" * 32


async def write(database: Database, work: Callable[[Transaction], T]) -> T:
    return await database.write(work)


async def test_merge_answers_the_complete_set(database: Database) -> None:
    await write(database, lambda tx: metadata.merge(tx, OWNER, {"Source": "CT", "b": "2"}))
    merged = await write(database, lambda tx: metadata.merge(tx, OWNER, {"Instances": "7"}))
    assert merged == {"Source": "CT", "b": "2", "Instances": "7"}


async def test_the_same_entry_again_changes_nothing_whatever_its_case(database: Database) -> None:
    await write(database, lambda tx: metadata.merge(tx, OWNER, {"Source": "CT"}))
    merged = await write(database, lambda tx: metadata.merge(tx, OWNER, {"SOURCE": "CT"}))
    assert merged == {"Source": "CT"}


async def test_another_value_is_refused_and_nothing_of_the_request_is_kept(
    database: Database,
) -> None:
    await write(database, lambda tx: metadata.merge(tx, OWNER, {"Source": "CT"}))
    with pytest.raises(InvalidMetadataError, match="'Source'"):
        await write(database, lambda tx: metadata.merge(tx, OWNER, {"new": "1", "source": "MR"}))
    assert await database.read(lambda tx: metadata.read(tx, OWNER)) == {"Source": "CT"}


async def test_keys_that_differ_by_case_alone_are_refused(database: Database) -> None:
    with pytest.raises(InvalidMetadataError, match="case does not count"):
        await write(database, lambda tx: metadata.merge(tx, OWNER, {"a": "1", "A": "1"}))


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"": "x"}, "empty"),
        ({"é" * 65: "x"}, "128 bytes"),
        ({"k": "v" * 257}, "256 characters"),
    ],
)
async def test_limits_hold_at_a_merge(
    database: Database, entries: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidMetadataError, match=said):
        await write(database, lambda tx: metadata.merge(tx, OWNER, entries))


async def test_values_of_256_characters_are_taken_however_many_bytes(database: Database) -> None:
    entries = {"k" * 128: "ü" * 256}
    assert await write(database, lambda tx: metadata.merge(tx, OWNER, entries)) == entries


async def test_the_limit_of_the_whole_set_counts_what_was_there(database: Database) -> None:
    count = metadata.MAX_TOTAL_BYTES // (5 + 200 + metadata.ENTRY_BYTES)
    half = {f"{n:05}": "v" * 200 for n in range(count // 2)}
    more = {f"{n:05}": "v" * 200 for n in range(count // 2, count)}
    await write(database, lambda tx: metadata.merge(tx, OWNER, half))
    whole = await write(database, lambda tx: metadata.merge(tx, OWNER, more))
    with pytest.raises(InvalidMetadataError, match="together"):
        await write(database, lambda tx: metadata.merge(tx, OWNER, {"one": "v" * 256}))
    assert await database.read(lambda tx: metadata.read(tx, OWNER)) == whole


async def test_remove_ignores_case_and_absent_keys(database: Database) -> None:
    await write(database, lambda tx: metadata.merge(tx, OWNER, {"Source": "CT", "b": "2"}))
    left = await write(database, lambda tx: metadata.remove(tx, OWNER, ["SOURCE", "absent"]))
    assert left == {"b": "2"}


async def test_one_owner_does_not_see_the_other(database: Database) -> None:
    other = "b" * 32
    await write(database, lambda tx: metadata.merge(tx, OWNER, {"a": "1"}))
    await write(database, lambda tx: metadata.merge(tx, other, {"a": "2"}))
    await write(database, lambda tx: metadata.forget(tx, OWNER))
    assert await database.read(lambda tx: metadata.read(tx, OWNER)) == {}
    assert await database.read(lambda tx: metadata.read(tx, other)) == {"a": "2"}
