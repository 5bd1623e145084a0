"""Memory and GPUs of deployments: who gets what, in which order, and what jobs see of it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.supervised.allocations import Allocated, Allocations, Claim

G0, G1 = "nvidia.com/gpu=0", "nvidia.com/gpu=1"


async def asked(
    allocations: Allocations, owner: str, claim: Claim
) -> asyncio.Task[tuple[str, ...]]:
    task = asyncio.create_task(allocations.acquire(owner, claim))
    await asyncio.sleep(0)
    return task


async def test_the_first_in_the_queue_gets_what_is_free() -> None:
    changes: list[None] = []
    allocations = Allocations(lambda: changes.append(None))
    task = await asked(allocations, "a", Claim(memory=100, gpus=1))
    assert len(changes) == 1
    assert allocations.waits
    assert allocations.wants_gpu
    allocations.grant(500, [G1], memory=1000, gpus=[G0, G1])
    assert await task == (G1,)
    assert allocations.allocated() == Allocated(memory=100, gpus=frozenset({G1}))
    assert await allocations.acquire("a", Claim(memory=100, gpus=1)) == (G1,)
    allocations.release("a")
    assert allocations.allocated() == Allocated()


async def test_nobody_overtakes_the_first_in_the_queue() -> None:
    allocations = Allocations(lambda: None)
    large = await asked(allocations, "large", Claim(memory=900))
    small = await asked(allocations, "small", Claim(memory=10))
    assert allocations.grant(500, [], memory=1000, gpus=[]) == Claim(memory=900)
    assert not large.done()
    assert allocations.waits_for("large") == "900 MB of memory; 500 are free"
    assert "another deployment goes before it" in str(allocations.waits_for("small"))
    assert allocations.allocated() == Allocated(awaited_memory=900)
    allocations.grant(905, [], memory=1000, gpus=[])
    assert await large == ()
    await asyncio.sleep(0)
    assert not small.done()
    assert allocations.waits_for("small") == "10 MB of memory; 5 are free"
    allocations.grant(None, [], memory=None, gpus=[])
    assert await small == ()


async def test_one_that_waits_for_a_gpu_keeps_new_jobs_from_one() -> None:
    allocations = Allocations(lambda: None)
    task = await asked(allocations, "a", Claim(memory=1, gpus=1))
    allocations.grant(None, [], memory=None, gpus=[G0, G1])
    assert allocations.allocated().awaited_gpus == frozenset({G0})
    assert allocations.waits_for("a") == "1 GPUs; 0 are free"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert allocations.allocated() == Allocated()
    assert not allocations.waits


async def test_one_that_was_there_before_the_start_has_what_it_had() -> None:
    allocations = Allocations(lambda: None)
    allocations.adopt("a", Claim(memory=7, gpus=1), (G0,))
    assert allocations.allocated() == Allocated(memory=7, gpus=frozenset({G0}))
    assert await allocations.acquire("a", Claim(memory=7, gpus=1)) == (G0,)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), max_size=6),
    st.integers(0, 100),
    st.sets(st.sampled_from("abc")),
)
def test_no_more_is_given_than_is_free(
    claims: list[tuple[int, int]], memory: int, gpus: set[str]
) -> None:
    async def run() -> None:
        allocations = Allocations(lambda: None)
        tasks = [
            await asked(allocations, str(n), Claim(memory=m, gpus=g))
            for n, (m, g) in enumerate(claims)
        ]
        allocations.grant(memory, sorted(gpus), memory=memory, gpus=["a", "b", "c"])
        await asyncio.sleep(0)
        done = [task.result() for task in tasks if task.done()]
        given = [gpu for result in done for gpu in result]
        assert len(given) == len(set(given))
        assert set(given) <= gpus
        assert allocations.allocated().memory <= memory
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


async def test_what_no_job_keeps_from_it_delays_nobody_else() -> None:
    allocations = Allocations(lambda: None)
    allocations.adopt("first", Claim(memory=10, gpus=1), (G0,))
    second = await asked(allocations, "second", Claim(memory=7000, gpus=1))
    third = await asked(allocations, "third", Claim(memory=20))
    assert allocations.grant(7990, [], memory=8000, gpus=[G0]) is None
    assert await third == ()
    assert allocations.waits_for("second") == "1 GPUs; 0 are free next to other deployments"
    assert allocations.allocated() == Allocated(memory=30, gpus=frozenset({G0}))
    allocations.release("first")
    allocations.grant(7980, [G0], memory=8000, gpus=[G0])
    assert await second == (G0,)
