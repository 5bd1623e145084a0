"""Models in the inference server: loaded before a job starts, kept while jobs use them."""

from __future__ import annotations

import asyncio

import pytest
from service_device import ServiceDevice, read, using, viewer

from claraedge.errors import ModelNotReadyError, ServiceError
from claraedge.pipelines.contract import environment
from claraedge.runner.memory import host_path
from tests.rig.waiting import eventually


async def test_all_models_of_a_job_are_loaded_before_it_starts_and_kept_for_the_next(
    device: ServiceDevice,
) -> None:
    await device.store("a")
    await device.store("b")
    pipeline = using(models=("a", "b"))
    uses = pipeline.operators[0]
    async with device.daemon() as services:
        lease = await services.acquire("one", pipeline)
        assert device.server.loaded == {"a": "w", "b": "w"}
        assert lease.triton is not None
        variables = environment(uses, job_id="one", job_name="n", triton=lease.triton)
        assert variables["NVIDIA_TRITON_HTTPURI"] == f"{lease.triton}:8000"
        (spec,) = device.runner.created
        assert spec.networks == {str(lease.network): lease.triton}
        assert spec.command[0] == "tritonserver"
        await services.release("one")
        await services.acquire("two", using(models=("b",)))
        assert device.server.calls == ["load a", "load b"]
        assert len(device.runner.created) == 1


async def test_a_model_that_is_missing_or_refused_fails_the_job_with_the_reason(
    device: ServiceDevice,
) -> None:
    await device.store("good")
    await device.store("bad", fail="bad: no version is available")
    async with device.daemon() as services:
        with pytest.raises(ModelNotReadyError, match="no model absent"):
            await services.acquire("one", using(models=("absent",)))
        assert device.runner.created == []
        with pytest.raises(ModelNotReadyError, match="bad: no version is available"):
            await services.acquire("two", using(models=("good", "bad")))
        await services.acquire("three", using(models=("good",)))  # the server is none the worse
        assert device.server.loaded == {"good": "w"}


async def test_the_least_recently_used_model_makes_room(device: ServiceDevice) -> None:
    for name in "abc":
        await device.store(name)
    async with device.daemon(inference={"model_limit": 2}) as services:
        for job, name in (("1", "a"), ("2", "b"), ("3", "a"), ("4", "c")):
            await services.acquire(job, using(models=(name,)))
            await services.release(job)
        assert set(device.server.loaded) == {"a", "c"}
        assert device.server.calls == ["load a", "load b", "unload b", "load c"]
        with pytest.raises(ModelNotReadyError, match="need 3 models"):
            await services.acquire("5", using(models=("a", "b", "c")))


async def test_a_job_waits_in_line_while_running_jobs_use_all_places(
    device: ServiceDevice,
) -> None:
    for name in "abc":
        await device.store(name)
    async with device.daemon(inference={"model_limit": 2}) as services:
        await services.acquire("one", using(models=("a",)))
        await services.acquire("two", using(models=("b",)))
        large = asyncio.create_task(services.acquire("large", using(models=("b", "c"))))
        await eventually(
            lambda: services.waits_for("large") == "room for its models in the inference server",
            "the large one waits for room",
        )
        small = asyncio.create_task(services.acquire("small", using(models=("a",))))
        await services.release("two")
        await asyncio.sleep(0.05)
        assert not large.done()
        assert not small.done()  # it came later
        await services.release("one")
        await large
        assert set(device.server.loaded) == {"b", "c"}
        assert not small.done()
        await services.release("large")
        await small


async def test_who_waits_for_room_may_be_cancelled_and_delays_nobody(
    device: ServiceDevice,
) -> None:
    for name in "ab":
        await device.store(name)
    async with device.daemon(inference={"model_limit": 1}) as services:
        await services.acquire("one", using(models=("a",)))
        waiting = asyncio.create_task(services.acquire("two", using(models=("b",))))
        await eventually(
            lambda: "room" in str(services.waits_for("two")), "the second waits for room"
        )
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert services.waits_for("two") is None
        await services.acquire("three", using(models=("a",)))


async def test_a_replaced_model_is_loaded_again_for_the_next_job(device: ServiceDevice) -> None:
    await device.store("m", "old")
    async with device.daemon() as services:
        await services.acquire("one", using(models=("m",)))
        await services.release("one")
        await device.store("m", "new")
        await services.acquire("two", using(models=("m",)))
        assert device.server.loaded == {"m": "new"}
        assert device.server.calls == ["load m", "unload m", "load m"]


async def test_running_services_see_models_that_change(device: ServiceDevice) -> None:
    await device.store("m", "old")
    async with device.daemon() as services:
        await services.acquire("one", using(viewer()))
        (spec,) = device.runner.created
        shown = host_path(spec, "/clara/common/models")
        assert await read(shown / "m/1/weights") == "old"
        model = await device.store("m", "new")
        services.models_changed()
        await eventually(
            lambda: (shown / "m/1/weights").read_text() == "new", "the new model is shown"
        )
        stored = device.models.tree.folder(model) / "1/weights"
        assert (shown / "m/1/weights").samefile(stored)  # it costs no space
        await device.models.delete(model.id)
        services.models_changed()
        await eventually(lambda: not (shown / "m").exists(), "the model is gone")


async def test_a_server_that_ends_comes_back_with_the_models_of_running_jobs(
    device: ServiceDevice,
) -> None:
    for name in "ab":
        await device.store(name)
    async with device.daemon() as services:
        await services.acquire("one", using(models=("a",)))
        await services.acquire("two", using(models=("b",)))
        await services.release("two")
        device.crash()
        await eventually(lambda: len(device.runner.started) == 2, "the server runs again")
        await eventually(lambda: set(device.server.loaded) == {"a"}, "its model is loaded again")
        assert "exit code 3" in str(services.trouble("one"))
        again = await services.acquire("three", using(models=("a", "b")))
        assert again.triton is not None
        assert set(device.server.loaded) == {"a", "b"}


async def test_a_server_that_breaks_on_a_model_fails_the_job_and_not_the_others(
    device: ServiceDevice,
) -> None:
    await device.store("good")
    await device.store("breaks", crash="x")
    async with device.daemon(inference={"restarts": 9}) as services:
        await services.acquire("one", using(models=("good",)))
        with pytest.raises(ModelNotReadyError, match="broke off"):
            await services.acquire("two", using(models=("breaks",)))
        await eventually(
            lambda: set(device.server.loaded) == {"good"}, "only the good one is loaded"
        )
        assert device.lost == []


async def test_a_server_that_is_never_ready_fails_the_job_after_a_bounded_time(
    device: ServiceDevice,
) -> None:
    await device.store("m")
    device.server.healthy = False
    async with device.daemon(inference={"start_seconds": 0.2}) as services:
        with pytest.raises(ServiceError, match=r"not ready within 0.2 s"):
            await services.acquire("one", using(models=("m",)))
        await eventually(lambda: services.count() == 0, "no service is left")


async def test_a_model_that_loads_too_slowly_fails_the_job(device: ServiceDevice) -> None:
    await device.store("m")
    device.server.load_gate = asyncio.Event()
    async with device.daemon(inference={"load_seconds": 0.2}) as services:
        with pytest.raises(ModelNotReadyError, match=r"model m within 0.2 s"):
            await services.acquire("one", using(models=("m",)))


async def test_a_next_daemon_knows_what_is_loaded(device: ServiceDevice) -> None:
    await device.store("a")
    await device.store("b")
    async with device.daemon() as services:
        first = await services.acquire("one", using(models=("a",)))
    device.server.loaded["strange"] = "by hand"
    async with device.daemon(running=("one",), inference={"model_limit": 2}) as services:
        again = await services.acquire("one", using(models=("a",)))
        assert again.triton == first.triton
        assert device.server.calls == ["load a"]
        await services.acquire("two", using(models=("b",)))
        assert device.server.calls == ["load a", "unload strange", "load b"]


async def test_the_gpu_goes_to_the_server_where_there_is_one(device: ServiceDevice) -> None:
    await device.store("m")
    async with device.daemon(inference={"gpus": 1}) as services:
        await services.acquire("one", using(models=("m",)))
        assert device.runner.created[0].devices == ("nvidia.com/gpu=0",)
        await services.release("one")
        device.gpus = ()
        await services.acquire("two", using(models=("m",)))
        assert device.runner.created[1].devices == ()


async def test_operators_get_the_ports_of_another_server(device: ServiceDevice) -> None:
    await device.store("m")
    device.runner.add_image("site/other:1", device.run_server, listens={9100: device.server.handle})
    settings = {"image": "site/other:1", "http_port": 9100, "grpc_port": 9101}
    pipeline = using(models=("m",))
    async with device.daemon(inference=settings) as services:
        lease = await services.acquire("one", pipeline)
        variables = environment(
            pipeline.operators[0],
            job_id="one",
            job_name="n",
            triton=lease.triton,
            triton_ports=lease.triton_ports,
        )
        assert variables["NVIDIA_TRITON_HTTPURI"] == f"{lease.triton}:9100"
        assert variables["NVIDIA_TRITON_GRPCURI"] == f"{lease.triton}:9101"
