"""What open uploads keep in memory counts for one budget, as much as it really is."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import pytest

from claraedge.errors import StreamMemoryError
from claraedge.memory import Budget
from claraedge.payloads.payloads import Payloads
from tests.rig.waiting import eventually


@pytest.mark.parametrize("name", ["study/series/image-{:08}.dcm", "\N{SNOWMAN}{:08}", "{:0200}"])
async def test_a_name_counts_as_much_memory_as_it_uses(payloads: Payloads, name: str) -> None:
    payload = await payloads.create({})
    budget = Budget()
    async with await payloads.upload(payload.id) as upload:
        with budget.share():
            await upload.write(name.format(0), 0, b"")
            gc.collect()
            tracemalloc.start()
            counted = budget.used
            for number in range(1, 20_000):
                await upload.write(name.format(number), 0, b"")
            real = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            counted = budget.used - counted
    print(f"{counted / 20_000:.0f} bytes a name are counted, {real / 20_000:.0f} are used")
    assert real <= counted <= 2 * real


async def test_the_bytes_of_small_files_count_until_they_are_written(payloads: Payloads) -> None:
    payload = await payloads.create({})
    budget = Budget()
    async with await payloads.upload(payload.id) as upload:
        with budget.share():
            await upload.write("a", 0, b"")
            names = budget.used
            await upload.write("a", 0, b"x" * 50_000)
            assert budget.used == names + 50_000
            for _ in range(8):
                await upload.write("a", 0, b"x" * 50_000)
            await eventually(lambda: budget.used == names, "all of them are written")
            await upload.commit()
    assert budget.used == 0


async def test_an_upload_without_room_is_refused_and_others_continue(payloads: Payloads) -> None:
    payload = await payloads.create({})
    budget = Budget(100_000)
    begun, full = asyncio.Event(), asyncio.Event()

    async def small() -> None:
        async with await payloads.upload(payload.id) as upload:
            with budget.share():
                await upload.write("small", 0, b"begun")
                begun.set()
                await full.wait()
                for _ in range(10):
                    await upload.write("small", 0, b"x" * 50_000)
                await upload.commit()

    async def greedy() -> None:
        await begun.wait()
        async with await payloads.upload(payload.id) as upload:
            with budget.share():
                try:
                    for number in range(100_000):
                        await upload.write(f"name-{number}", 0, b"")
                finally:
                    full.set()
                    await other

    other = asyncio.create_task(small())
    with pytest.raises(StreamMemoryError, match="try again when some have ended"):
        await greedy()
    (file,) = (await payloads.get(payload.id)).files
    assert (file.name, file.size) == ("small", 500_005)
    _, path = await payloads.find(payload.id, "small")
    assert path.read_bytes() == b"begun" + b"x" * 500_000
    assert budget.used == 0
    async with await payloads.upload(payload.id) as upload:
        with budget.share():
            await upload.write("later", 0, b"")
