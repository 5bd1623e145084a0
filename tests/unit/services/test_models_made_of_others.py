"""Models that are made of others, and models that change while jobs use them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from beside import Beside, until, using

from claraedge.errors import ModelNotReadyError
from claraedge.models.model import Model
from claraedge.services.inference.composition import Stored, compose, wholes_first
from claraedge.services.services import Services


def stored(model: str, *parts: str, generation: int = 1) -> Stored:
    return Stored(model=model, generation=generation, parts=parts)


PRESENT = {"a": stored("1", "b", "c"), "b": stored("2", "c"), "c": stored("3")}


def test_each_model_comes_after_its_parts_and_once() -> None:
    assert list(compose(("a", "c"), PRESENT, 3)) == ["c", "b", "a"]


def test_a_digest_changes_with_any_part_however_deep() -> None:
    before = compose(("a",), PRESENT, 3)
    after = compose(("a",), {**PRESENT, "c": stored("3", generation=2)}, 3)
    assert {name for name in before if before[name] == after[name]} == set()
    other = compose(("a",), {**PRESENT, "b": stored("2", "c", generation=2)}, 3)
    assert {name for name in before if before[name] == other[name]} == {"c"}


@pytest.mark.parametrize(
    ("present", "limit", "text"),
    [
        ({"a": stored("1", "b")}, 8, "no model b, of which the model a is made"),
        ({}, 8, "no model a; `claraedge list models`"),
        ({"a": stored("1", "b"), "b": stored("2", "a")}, 8, "a of b of a"),
        (PRESENT, 2, "more than 2 models at once"),
    ],
)
def test_what_cannot_be_composed_is_told(present: dict[str, Stored], limit: int, text: str) -> None:
    with pytest.raises(ModelNotReadyError, match=text):
        compose(("a",), present, limit)


def test_whatever_is_made_of_a_model_is_unloaded_before_it() -> None:
    loaded = dict(compose(("a",), PRESENT, 3))
    assert wholes_first({"c"}, loaded) == ["a", "b", "c"]
    assert wholes_first({"b"}, loaded) == ["a", "b"]
    assert wholes_first({"x"}, {**loaded, "x": None}) == ["x"]


async def test_an_ensemble_is_loaded_again_with_a_part_that_was_replaced(beside: Beside) -> None:
    for name in ("pre", "net"):
        await beside.store(name, f"{name}1")
    await beside.store("all", "e", of=("pre", "net"))
    async with beside.daemon() as services:
        await job(services, "one", "all")
        assert beside.server.loaded["all"] == "e+pre1+net1"
        await beside.store("net", "net2")
        await job(services, "two", "all")
        assert beside.server.loaded == {"pre": "pre1", "net": "net2", "all": "e+pre1+net2"}


async def test_a_model_with_older_files_than_before_is_loaded_all_the_same(
    beside: Beside,
) -> None:
    await beside.store("net", "old")
    await beside.store("all", "e", of=("net",))
    async with beside.daemon() as services:
        await job(services, "one", "all")
        aged(beside.models.tree.folder(await beside.store("net", "new")))
        await job(services, "two", "all")
        assert beside.server.loaded == {"net": "new", "all": "e+new"}


async def test_an_ensemble_takes_its_parts_along_when_it_makes_room(beside: Beside) -> None:
    for name in ("pre", "net", "other"):
        await beside.store(name)
    await beside.store("all", of=("pre", "net"))
    async with beside.daemon(inference={"model_limit": 3}) as services:
        await job(services, "one", "all")
        await job(services, "two", "other")
        assert set(beside.server.loaded) == {"pre", "net", "other"}
        await beside.store("more", of=("other", "pre"))
        await job(services, "three", "more")
        assert set(beside.server.loaded) == {"pre", "other", "more"}
        await beside.store("huge", of=("other", "pre", "net"))
        with pytest.raises(ModelNotReadyError, match="more than 3 models at once"):
            await services.acquire("four", using(models=("huge",)))


async def test_models_that_a_python_model_calls_are_loaded_where_it_names_them(
    beside: Beside,
) -> None:
    calls = (
        'backend: "python"\n'
        'parameters { key: "claraedge_models" value: { string_value: "net, other" } }\n'
    )
    await beside.store("net", "net1")
    await beside.store("other")
    await beside.store("logic", config=calls)
    async with beside.daemon() as services:
        await job(services, "one", "logic")
        assert beside.server.calls == ["load net", "load other", "load logic"]
        await beside.store("net", "net2")
        await job(services, "two", "logic")
        assert beside.server.loaded["net"] == "net2"
        assert beside.server.calls[3:] == [
            "unload logic", "unload net", "load net", "load logic",
        ]  # fmt: skip


async def test_a_running_job_keeps_its_models_and_the_next_waits_for_the_new_ones(
    beside: Beside,
) -> None:
    await beside.store("net", "old")
    await beside.store("all", "e", of=("net",))
    async with beside.daemon() as services:
        await services.acquire("one", using(models=("all",)))
        await beside.store("net", "new")
        services.models_changed()
        next_one = asyncio.create_task(services.acquire("two", using(models=("all",))))
        await until(lambda: services.waits_for("two") == "jobs that use an earlier version of net")
        assert beside.server.loaded == {"net": "old", "all": "e+old"}
        beside.crash()  # the server comes back with what the running job began with
        await until(lambda: len(beside.runner.started) == 2)
        await until(lambda: beside.server.loaded == {"net": "old", "all": "e+old"})
        assert not next_one.done()
        await services.release("one")
        await next_one
        assert beside.server.loaded == {"net": "new", "all": "e+new"}


async def test_two_models_share_a_part_and_one_of_them_is_in_use(beside: Beside) -> None:
    await beside.store("net", "old")
    await beside.store("left", "l", of=("net",))
    await beside.store("right", "r", of=("net",))
    async with beside.daemon() as services:
        await job(services, "zero", "right")
        await services.acquire("one", using(models=("left",)))
        await beside.store("net", "new")
        waits = asyncio.create_task(services.acquire("two", using(models=("right",))))
        await until(lambda: "earlier version of net" in str(services.waits_for("two")))
        await services.release("one")
        await waits
        assert beside.server.loaded["right"] == "r+new"


async def test_a_deleted_model_serves_running_jobs_to_their_end_and_no_other(
    beside: Beside,
) -> None:
    model = await beside.store("net", "old")
    await beside.store("all", "e", of=("net",))
    shown = beside.server.models / "net"
    async with beside.daemon() as services:
        await services.acquire("one", using(models=("all",)))
        await beside.models.delete(model.id)
        services.models_changed()
        with pytest.raises(ModelNotReadyError, match="no model net, of which the model all"):
            await services.acquire("two", using(models=("all",)))
        beside.crash()
        await until(lambda: len(beside.runner.started) == 2)
        await until(lambda: beside.server.loaded == {"net": "old", "all": "e+old"})
        await services.release("one")
        await until(lambda: beside.server.loaded == {})  # its memory is free
        await until(lambda: not shown.exists())  # and its disk


async def test_what_is_replaced_while_nobody_uses_it_gives_its_memory_and_disk_back(
    beside: Beside,
) -> None:
    first = await beside.store("net")
    async with beside.daemon() as services:
        await job(services, "one", "net")
        await beside.models.delete(first.id)
        services.models_changed()
        await until(lambda: beside.server.loaded == {})
        second = await beside.store("net")
        services.models_changed()
        await job(services, "two", "net")
        await services.stop()
        await until(lambda: services.count() == 0)
        await beside.models.delete(second.id)
        services.models_changed()
        await until(lambda: not (beside.server.models / "net").exists())


async def test_a_next_daemon_keeps_a_running_job_with_the_models_that_it_began_with(
    beside: Beside,
) -> None:
    gone = await beside.store("gone", "g")
    await beside.store("net", "old")
    both = using(models=("net", "gone"))
    async with beside.daemon() as services:
        await services.acquire("one", both)
    await beside.store("net", "new")
    await beside.models.delete(gone.id)
    async with beside.daemon(running=("one",)) as services:
        waits = asyncio.create_task(services.acquire("two", using(models=("net",))))
        await until(lambda: "earlier version of net" in str(services.waits_for("two")))
        await services.acquire("one", both)  # nobody who waits in line is in its way
        assert beside.server.loaded == {"net": "old", "gone": "g"}
        beside.crash()
        await until(lambda: len(beside.runner.started) == 2)
        await until(lambda: beside.server.loaded == {"net": "old", "gone": "g"})
        await services.release("one")
        await waits
        assert beside.server.loaded["net"] == "new"


async def test_a_job_that_did_not_come_back_keeps_nobody_waiting(beside: Beside) -> None:
    await beside.store("net", "old")
    async with beside.daemon() as services:
        await services.acquire("one", using(models=("net",)))
    await beside.store("net", "new")
    async with beside.daemon() as services:
        await services.acquire("two", using(models=("net",)))
        assert beside.server.loaded == {"net": "new"}


async def test_a_model_that_is_replaced_while_a_job_waits_comes_in_its_newest_version(
    beside: Beside,
) -> None:
    await beside.store("a")
    await beside.store("b", "old")
    async with beside.daemon(inference={"model_limit": 1}) as services:
        await services.acquire("one", using(models=("a",)))
        waits = asyncio.create_task(services.acquire("two", using(models=("b",))))
        await until(lambda: "room" in str(services.waits_for("two")))
        await beside.store("b", "new")
        await services.release("one")
        await waits
        assert beside.server.loaded == {"b": "new"}


async def test_a_model_that_is_replaced_just_before_it_is_loaded_is_never_the_old_one(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    await beside.store("m", "old")
    async with beside.daemon() as services:
        await job(services, "zero", "m")
        await beside.store("m", "middle")
        view = services._served
        real = view.show
        replaced: list[Model] = []

        async def show(wanted: dict[str, Stored]) -> frozenset[str]:
            if not replaced:
                replaced.append(await beside.store("m", "new"))
            return await real(wanted)

        monkeypatch.setattr(view, "show", show)
        await job(services, "one", "m")
        assert replaced
        assert beside.server.loaded == {"m": "new"}


async def test_a_model_whose_files_are_gone_fails_the_job_with_that_reason(
    beside: Beside,
) -> None:
    model = await beside.store("m")
    beside.models.tree.remove(beside.models.tree.folder(model))
    async with beside.daemon() as services:
        with pytest.raises(ModelNotReadyError, match="files of the model m are gone"):
            await services.acquire("one", using(models=("m",)))
        await beside.store("m")
        await services.acquire("two", using(models=("m",)))


async def job(services: Services, name: str, *models: str) -> None:
    """One that begins and ends."""
    await services.acquire(name, using(models=models))
    await services.release(name)


def aged(folder: Path) -> None:
    """As a clock that was set back, or a copy that keeps times, leaves it."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (0, 0))
