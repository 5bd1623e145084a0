"""Models that are made of others, and models that change while jobs use them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from service_device import ServiceDevice, using

from claraedge.errors import ModelNotReadyError
from claraedge.models.model import Model
from claraedge.services.inference.composition import Stored, compose, wholes_first
from claraedge.services.services import Services
from tests.rig.waiting import eventually


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
def test_what_cannot_be_composed_is_an_error(
    present: dict[str, Stored], limit: int, text: str
) -> None:
    with pytest.raises(ModelNotReadyError, match=text):
        compose(("a",), present, limit)


def test_whatever_is_made_of_a_model_is_unloaded_before_it() -> None:
    loaded = dict(compose(("a",), PRESENT, 3))
    assert wholes_first({"c"}, loaded) == ["a", "b", "c"]
    assert wholes_first({"b"}, loaded) == ["a", "b"]
    assert wholes_first({"x"}, {**loaded, "x": None}) == ["x"]


async def test_an_ensemble_is_loaded_again_with_a_part_that_was_replaced(
    device: ServiceDevice,
) -> None:
    for name in ("pre", "net"):
        await device.store(name, f"{name}1")
    await device.store("all", "e", of=("pre", "net"))
    async with device.daemon() as services:
        await job(services, "one", "all")
        assert device.server.loaded["all"] == "e+pre1+net1"
        await device.store("net", "net2")
        await job(services, "two", "all")
        assert device.server.loaded == {"pre": "pre1", "net": "net2", "all": "e+pre1+net2"}


async def test_a_model_with_older_files_than_before_is_loaded_all_the_same(
    device: ServiceDevice,
) -> None:
    await device.store("net", "old")
    await device.store("all", "e", of=("net",))
    async with device.daemon() as services:
        await job(services, "one", "all")
        aged(device.models.tree.folder(await device.store("net", "new")))
        await job(services, "two", "all")
        assert device.server.loaded == {"net": "new", "all": "e+new"}


async def test_an_ensemble_and_a_part_that_only_it_needs_make_room(device: ServiceDevice) -> None:
    for name in ("pre", "net", "other"):
        await device.store(name)
    await device.store("all", of=("pre", "net"))
    async with device.daemon(inference={"model_limit": 3}) as services:
        await job(services, "one", "all")
        await job(services, "two", "other")
        assert set(device.server.loaded) == {"pre", "net", "other"}
        await device.store("more", of=("other", "pre"))
        await job(services, "three", "more")
        assert set(device.server.loaded) == {"pre", "other", "more"}
        await device.store("huge", of=("other", "pre", "net"))
        with pytest.raises(ModelNotReadyError, match="more than 3 models at once"):
            await services.acquire("four", using(models=("huge",)))


async def test_models_that_a_python_model_calls_are_loaded_where_it_names_them(
    device: ServiceDevice,
) -> None:
    calls = (
        'backend: "python"\n'
        'parameters { key: "claraedge_models" value: { string_value: "net, other" } }\n'
    )
    await device.store("net", "net1")
    await device.store("other")
    await device.store("logic", config=calls)
    async with device.daemon() as services:
        await job(services, "one", "logic")
        assert device.server.calls == ["load net", "load other", "load logic"]
        await device.store("net", "net2")
        await job(services, "two", "logic")
        assert device.server.loaded["net"] == "net2"
        assert device.server.calls[3:] == [
            "unload logic", "unload net", "load net", "load logic",
        ]  # fmt: skip


async def test_a_running_job_keeps_its_models_and_the_next_waits_for_the_new_ones(
    device: ServiceDevice,
) -> None:
    await device.store("net", "old")
    await device.store("all", "e", of=("net",))
    async with device.daemon() as services:
        await services.acquire("one", using(models=("all",)))
        await device.store("net", "new")
        services.models_changed()
        next_one = asyncio.create_task(services.acquire("two", using(models=("all",))))
        await eventually(
            lambda: services.waits_for("two") == "jobs that use an earlier version of net",
            "the second waits",
        )
        assert device.server.loaded == {"net": "old", "all": "e+old"}
        device.crash()  # the server comes back with what the running job began with
        await eventually(lambda: len(device.runner.started) == 2, "the server runs again")
        await eventually(
            lambda: device.server.loaded == {"net": "old", "all": "e+old"},
            "the old ones are loaded",
        )
        assert not next_one.done()
        await services.release("one")
        await next_one
        assert device.server.loaded == {"net": "new", "all": "e+new"}


async def test_two_models_share_a_part_and_one_of_them_is_in_use(device: ServiceDevice) -> None:
    await device.store("net", "old")
    await device.store("left", "l", of=("net",))
    await device.store("right", "r", of=("net",))
    async with device.daemon() as services:
        await job(services, "zero", "right")
        await services.acquire("one", using(models=("left",)))
        await device.store("net", "new")
        waits = asyncio.create_task(services.acquire("two", using(models=("right",))))
        await eventually(
            lambda: "earlier version of net" in str(services.waits_for("two")), "the second waits"
        )
        await services.release("one")
        await waits
        assert device.server.loaded["right"] == "r+new"


async def test_a_deleted_model_serves_running_jobs_to_their_end_and_no_other(
    device: ServiceDevice,
) -> None:
    model = await device.store("net", "old")
    await device.store("all", "e", of=("net",))
    shown = device.server.models / "net"
    async with device.daemon() as services:
        await services.acquire("one", using(models=("all",)))
        await device.models.delete(model.id)
        services.models_changed()
        with pytest.raises(ModelNotReadyError, match="no model net, of which the model all"):
            await services.acquire("two", using(models=("all",)))
        device.crash()
        await eventually(lambda: len(device.runner.started) == 2, "the server runs again")
        await eventually(
            lambda: device.server.loaded == {"net": "old", "all": "e+old"},
            "the old ones are loaded",
        )
        await services.release("one")
        await eventually(lambda: device.server.loaded == {}, "none is loaded")  # its memory is free
        await eventually(lambda: not shown.exists(), "none is shown")  # and its disk


async def test_what_is_replaced_while_nobody_uses_it_gives_its_memory_and_disk_back(
    device: ServiceDevice,
) -> None:
    first = await device.store("net")
    async with device.daemon() as services:
        await job(services, "one", "net")
        await device.models.delete(first.id)
        services.models_changed()
        await eventually(lambda: device.server.loaded == {}, "none is loaded")
        second = await device.store("net")
        services.models_changed()
        await job(services, "two", "net")
        await services.stop()
        await eventually(lambda: services.count() == 0, "no service is left")
        await device.models.delete(second.id)
        services.models_changed()
        await eventually(lambda: not (device.server.models / "net").exists(), "the model is gone")


async def test_a_next_daemon_keeps_a_running_job_with_the_models_that_it_began_with(
    device: ServiceDevice,
) -> None:
    gone = await device.store("gone", "g")
    await device.store("net", "old")
    both = using(models=("net", "gone"))
    async with device.daemon() as services:
        await services.acquire("one", both)
    await device.store("net", "new")
    await device.models.delete(gone.id)
    async with device.daemon(running=("one",)) as services:
        waits = asyncio.create_task(services.acquire("two", using(models=("net",))))
        await eventually(
            lambda: "earlier version of net" in str(services.waits_for("two")), "the second waits"
        )
        await services.acquire("one", both)  # nobody who waits in line is in its way
        assert device.server.loaded == {"net": "old", "gone": "g"}
        device.crash()
        await eventually(lambda: len(device.runner.started) == 2, "the server runs again")
        await eventually(
            lambda: device.server.loaded == {"net": "old", "gone": "g"}, "the old ones are loaded"
        )
        await services.release("one")
        await waits
        assert device.server.loaded["net"] == "new"


async def test_a_job_that_did_not_come_back_keeps_nobody_waiting(device: ServiceDevice) -> None:
    await device.store("net", "old")
    async with device.daemon() as services:
        await services.acquire("one", using(models=("net",)))
    await device.store("net", "new")
    async with device.daemon() as services:
        await services.acquire("two", using(models=("net",)))
        assert device.server.loaded == {"net": "new"}


async def test_a_model_that_is_replaced_while_a_job_waits_comes_in_its_newest_version(
    device: ServiceDevice,
) -> None:
    await device.store("a")
    await device.store("b", "old")
    async with device.daemon(inference={"model_limit": 1}) as services:
        await services.acquire("one", using(models=("a",)))
        waits = asyncio.create_task(services.acquire("two", using(models=("b",))))
        await eventually(
            lambda: "room" in str(services.waits_for("two")), "the second waits for room"
        )
        await device.store("b", "new")
        await services.release("one")
        await waits
        assert device.server.loaded == {"b": "new"}


async def test_a_model_that_is_replaced_just_before_it_is_loaded_is_never_the_old_one(
    device: ServiceDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    await device.store("m", "old")
    async with device.daemon() as services:
        await job(services, "zero", "m")
        await device.store("m", "middle")
        view = services._served
        real = view.show
        replaced: list[Model] = []

        async def show(wanted: dict[str, Stored]) -> frozenset[str]:
            if not replaced:
                replaced.append(await device.store("m", "new"))
            return await real(wanted)

        monkeypatch.setattr(view, "show", show)
        await job(services, "one", "m")
        assert replaced
        assert device.server.loaded == {"m": "new"}


async def test_a_model_whose_files_are_gone_fails_the_job_with_that_reason(
    device: ServiceDevice,
) -> None:
    model = await device.store("m")
    device.models.tree.remove(device.models.tree.folder(model))
    async with device.daemon() as services:
        with pytest.raises(ModelNotReadyError, match="files of the model m are gone"):
            await services.acquire("one", using(models=("m",)))
        await device.store("m")
        await services.acquire("two", using(models=("m",)))


async def job(services: Services, name: str, *models: str) -> None:
    """One that begins and ends."""
    await services.acquire(name, using(models=models))
    await services.release(name)


def aged(folder: Path) -> None:
    """As a clock that was set back, or a copy that keeps times, leaves it."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (0, 0))
