"""The time in which only the program behind a route has something to do."""

from __future__ import annotations

import asyncio

import pytest

from claraedge.web.proxy.turn import ProgramTurn


async def test_the_time_runs_only_while_the_program_has_to_do_something() -> None:
    turn = ProgramTurn(60)
    async with turn.limit as limit:
        assert limit.when() is None  # the client sends
        with turn.of_reader():
            first = limit.when()
            assert first is not None
            with turn.of_client():  # the answer has begun, and the client reads it
                assert limit.when() is None
            again = limit.when()
            assert again is not None
            assert again >= first
        assert limit.when() is None
        turn.sent()
        assert limit.when() is not None
        turn.answered()
        assert limit.when() is None


async def test_a_program_that_answers_early_has_no_limit_after_the_request() -> None:
    turn = ProgramTurn(60)
    async with turn.limit as limit:
        turn.answered()
        with turn.of_reader():
            assert limit.when() is not None
        turn.sent()
        assert limit.when() is None


async def test_what_waits_ends_after_the_time_and_notes_that_come_later_do_no_harm() -> None:
    turn = ProgramTurn(0.01)

    async def wait() -> None:
        async with turn.limit:
            turn.sent()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()
    assert turn.limit.expired()
    turn.answered()
