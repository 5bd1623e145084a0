"""Each page of a database in turn is damaged, in whole or in part: what an open says."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from claraedge.errors import DamagedStateError
from claraedge.store.database import Database, Transaction
from claraedge.store.salvage import salvage
from tests.field.case import case
from tests.field.state_site import StateSite, spoil

PAGE = 4096
SECTOR = 512


def everything(tx: Transaction) -> list[list[tuple[object, ...]]]:
    connection = tx._connection
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
    return [
        [tuple(row) for row in connection.execute(f'SELECT * FROM "{name}"')]
        for (name,) in tables.fetchall()
        if not name.startswith("sqlite_")
    ]


async def rows_of(path: Path) -> list[list[tuple[object, ...]]]:
    async with Database(path) as database:
        return await database.read(everything)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def forms(page: int, old: bytes) -> Iterator[tuple[str, bytes]]:
    yield "zeros", bytes(PAGE)
    yield "noise", noise(page, PAGE)
    yield "ones", b"\xff" * PAGE
    yield "of another file", b"".join(b"%d: some text of a log\n" % page for _ in range(400))[:PAGE]
    for name, part in (("zeros", bytes(SECTOR)), ("noise", noise(page, SECTOR))):
        at = SECTOR * (page % 8)
        yield f"a sector of {name}", old[:at] + part + old[at + SECTOR :]


@case(
    5,
    "each page of the database in turn is zeros, noise or another file's",
    source="home-assistant/core#130427",
    outcome="Every start refuses with one sentence that names the file and the damage, unless the"
    " page is free; nothing of the state is changed.",
)
def test_every_page_that_is_damaged_is_found_at_the_start(sound: StateSite, tmp_path: Path) -> None:
    path = tmp_path / "claraedge.db"
    shutil.copy(sound.database, path)
    whole = asyncio.run(rows_of(path))
    original = sound.database.read_bytes()
    table: Counter[tuple[str, str]] = Counter()
    said: set[str] = set()
    written = 0
    for page in range(1, len(original) // PAGE + 1):
        old = original[(page - 1) * PAGE : page * PAGE]
        for name, content in forms(page, old):
            if content == old:
                continue
            path.write_bytes(original)
            spoil(path, page, content)
            spoiled = path.read_bytes()
            try:
                found = asyncio.run(rows_of(path))
            except DamagedStateError as error:
                said.add(str(error))
                table[name, "refused as damaged"] += 1
                written += path.read_bytes() != spoiled
                continue
            outcome = "opened, all rows there" if found == whole else "opened, rows differ"
            table[name, outcome] += 1
            if "sector" not in name:
                assert found == whole, f"page {page} ({name})"
    for (name, outcome), count in sorted(table.items()):
        print(f"{name:20} {outcome:25} {count}")
    assert all(str(path) in text and "claraedge repair state" in text for text in said)
    assert not any("\n" in text for text in said)
    assert written == 0
    refused = sum(count for (_, outcome), count in table.items() if "refused" in outcome)
    assert refused > 4 * 60
    assert sum(c for (_, outcome), c in table.items() if "differ" in outcome) < refused / 20


def test_what_can_be_read_of_a_database_with_any_damaged_page_is_kept(
    sound: StateSite, tmp_path: Path
) -> None:
    path, new = tmp_path / "claraedge.db", tmp_path / "new.db"
    original = sound.database.read_bytes()
    path.write_bytes(original)
    whole = {table.name: table.rows for table in salvage(path, new)}
    assert whole["jobs"] == 16
    assert whole["inbox_items"] == 5
    lost: Counter[str] = Counter()
    for page in range(2, len(original) // PAGE + 1, 2):
        path.write_bytes(original)
        spoil(path, page, noise(page, PAGE))
        new.unlink()
        tables = {table.name: table for table in salvage(path, new)}
        for name, table in tables.items():
            assert table.rows <= whole[name]
            assert not (table.whole and table.rows < whole[name]), f"page {page}: {name}"
            lost[name] += table.rows < whole[name]
        asyncio.run(rows_of(new))
    print(lost)
    assert lost["jobs"] < 6
