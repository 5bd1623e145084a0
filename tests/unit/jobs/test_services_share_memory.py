"""Services, the inference server and operators share one budget of memory, and one of cores."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path

import pytest

from claraedge import config
from claraedge.jobs.model import Job, JobStatus
from claraedge.jobs.scheduling import queue
from claraedge.models.model import ModelType
from claraedge.runner.protocol import LABEL_SERVICE_NAME, LABEL_SERVICES, ContainerSpec
from tests.rig.device import Device, copy
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.models_server import PORT, ModelsServer
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually


async def serve(_spec: ContainerSpec) -> int:
    await asyncio.Event().wait()
    return 0


async def accept(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path, memory=8000)
    device.runner.add_image("copy:1", copy)
    for name in ("viewer", "other"):
        device.runner.add_image(f"{name}:1", serve, listens={8080: accept})
    return device


def with_service(
    name: str, operator: str = "asks", *, service: str = "", memory: int = 1000, second: int = 0
) -> str:
    """A definition of an operator that uses a service, and perhaps of one after it."""
    text = chain(operator, extra=[f"requests: {{memory: {memory}}}"]).splitlines()
    text += [
        "  services:",
        f"  - name: {name}",
        f"    container: {{image: {name}, tag: '1'}}",
        "    connections: {http: [{name: URI, port: 8080}]}",
        *([f"    requests: {{{service}}}"] if service else []),
    ]
    if second:
        extra = [f"requests: {{memory: {second}}}"]
        after = chain("x", "after", extra=extra).replace("from: x", f"from: {operator}")
        text += after.splitlines()[-7:]
    return "\n".join(text) + "\n"


def plain(operator: str, memory: int) -> str:
    return chain(operator, extra=[f"requests: {{memory: {memory}}}"])


async def start(rig: EngineRig, text: str) -> Job:
    return await rig.job(await rig.register(text), {"x": b"1"})


async def until_waits(rig: EngineRig, job: Job, text: str) -> None:
    async def waits() -> bool:
        return text in [wait.text for wait in await rig.jobs.waits(job.id)]

    await eventually(waits, f"it waits for {text}")


async def services(device: Device) -> list[str]:
    found = await device.runner.containers({LABEL_SERVICES: device.instance})
    return sorted(container.labels[LABEL_SERVICE_NAME] for container in found)


async def healthy(rig: EngineRig, *jobs: Job) -> None:
    for job in jobs:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY, ended.messages


async def test_an_operator_waits_for_the_services_of_other_jobs_and_describe_says_so(
    device: Device,
) -> None:
    device.runner.block("asks")
    async with engine_rig(device) as rig:
        first = await start(rig, with_service("viewer", service="memory: 3000"))
        await rig.until_runs("asks")
        small = await start(rig, plain("small", 4000))
        await healthy(rig, small)
        large = await start(rig, plain("large", 5000))
        text = "5000 MB of memory; 4000 of 8000 are free, services hold 3000"
        await until_waits(rig, large, text)
        assert await services(device) == ["service viewer"]
        device.runner.release("asks")
        await healthy(rig, first, large)
        assert await services(device) == ["service viewer"], "there is memory for both: it stays"


async def test_cores_of_a_service_are_taken_from_operators_while_jobs_use_it(
    device: Device,
) -> None:
    device.cores = 4
    device.runner.block("asks")
    async with engine_rig(device) as rig:
        text = with_service("viewer", service="cpu: 2").replace("{memory", "{cpu: 1, memory", 1)
        first = await start(rig, text)
        await rig.until_runs("asks")
        small = await start(rig, chain("small", extra=["requests: {cpu: 1}"]))
        await healthy(rig, small)
        large = await start(rig, chain("large", extra=["requests: {cpu: 3}"]))
        await until_waits(rig, large, "3 cores; 1 of 4 are free, services hold 2")
        device.runner.release("asks")
        await healthy(rig, first, large)
        assert await services(device) == ["service viewer"], "idle, it holds none"


async def test_an_idle_service_ends_for_an_operator_that_needs_its_memory(device: Device) -> None:
    async with engine_rig(device) as rig:
        await healthy(rig, await start(rig, with_service("viewer", service="memory: 3000")))
        await healthy(rig, await start(rig, with_service("other", service="memory: 1000")))
        assert await services(device) == ["service other", "service viewer"]
        await healthy(rig, await start(rig, plain("middling", 5000)))
        assert await services(device) == ["service other"], "the least recently used one went"
        await healthy(rig, await start(rig, plain("large", 8000)))
        assert await services(device) == []


async def test_what_is_needed_again_is_not_ended_for_who_needs_it(device: Device) -> None:
    async with engine_rig(device) as rig:
        await healthy(rig, await start(rig, with_service("viewer", service="memory: 3000")))
        await healthy(rig, await start(rig, with_service("other", service="memory: 3000")))
        text = with_service("viewer", service="memory: 3000", memory=4000)
        await healthy(rig, await start(rig, text))
        assert await services(device) == ["service viewer"]
        started = [spec.labels.get(LABEL_SERVICE_NAME) for spec in device.runner.started]
        assert started.count("service viewer") == 1


async def test_a_service_without_requests_counts_as_an_operator_without(device: Device) -> None:
    device.runner.block("asks")
    async with engine_rig(device) as rig:
        first = await start(rig, with_service("viewer"))
        await rig.until_runs("asks")
        large = await start(rig, plain("large", 7000))
        text = "7000 MB of memory; 5976 of 8000 are free, services hold 1024"
        await until_waits(rig, large, text)
        device.runner.release("asks")
        await healthy(rig, first, large)


async def test_services_of_two_jobs_that_would_wait_for_each_other_do_not_begin_together(
    device: Device,
) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        one = await start(rig, with_service("viewer", "one", service="memory: 3000", second=4000))
        await rig.until_runs("one")
        two = await start(rig, with_service("other", "two", service="memory: 3000", second=4000))
        text = (
            "7000 MB of memory for its services and their largest operator; 5000 of 8000 are not"
            " reserved by services of other jobs"
        )
        await until_waits(rig, two, text)
        assert await services(device) == ["service viewer"]
        device.runner.release("one")
        await healthy(rig, one, two)


async def test_a_job_that_can_never_have_its_services_and_operators_at_once_fails_with_a_text(
    device: Device,
) -> None:
    async with engine_rig(device) as rig:
        text = with_service("viewer", service="memory: 5000", second=4000)
        ended = await rig.end((await start(rig, text)).id)
        assert ended.status is JobStatus.FAULTED
        assert ended.messages == (
            "service viewer (5000 MB) and operator after (4000 MB) have to run at one time, and"
            " this device has 8000 MB of memory; write less in their `requests.memory`, or run the"
            " pipeline on a larger device",
        )
        assert device.runner.started == []


async def test_what_is_not_written_keeps_no_job_from_a_small_device(device: Device) -> None:
    device.memory = 1500
    async with engine_rig(device) as rig:
        text = with_service("viewer", memory=1400, second=1400)
        jobs = [await start(rig, text) for _ in range(2)]
        jobs.append(await start(rig, plain("alone", 1500)))
        await healthy(rig, *jobs)


@pytest.fixture
def server(device: Device) -> ModelsServer:
    """The image of an inference server, of which 6000 megabytes are kept."""
    server = ModelsServer(device.state / "services/inference/models", crash=lambda: None)
    device.runner.add_image("server:1", serve, listens={PORT: server.handle})
    device.inference = config.InferenceSettings(
        image="server:1", memory=6000, gpus=0, model_limit=1
    )
    return server


async def store(rig: EngineRig, name: str) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{name}/config.pbtxt", f'name: "{name}"')
        archive.writestr(f"{name}/1/weights", "w")
    async with rig.models.upload() as upload:
        await upload.write(content.getvalue())
        await upload.commit(name, ModelType.UNKNOWN, {})


def with_model(name: str, operator: str) -> str:
    extra = ["requests: {memory: 500}", f"models: [{{name: {name}}}]"]
    return chain(operator, extra=extra)


async def test_an_idle_inference_server_ends_for_an_operator_that_needs_its_memory(
    device: Device, server: ModelsServer
) -> None:
    device.runner.block("infers")
    async with engine_rig(device) as rig:
        await store(rig, "lung")
        first = await start(rig, with_model("lung", "infers"))
        await rig.until_runs("infers")
        assert server.loaded == {"lung": "w"}
        large = await start(rig, plain("large", 2001))
        text = "2001 MB of memory; 1500 of 8000 are free, services hold 6000"
        await until_waits(rig, large, text)
        device.runner.release("infers")
        await healthy(rig, first, large)
        assert await services(device) == []
        await healthy(rig, await start(rig, with_model("lung", "again")))


async def test_jobs_that_wait_for_room_for_a_model_hide_nobody_behind_them(
    device: Device, server: ModelsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "WINDOW", 2)
    monkeypatch.setattr(queue, "CROWD", 3)
    device.runner.block("infers")
    async with engine_rig(device) as rig:
        await store(rig, "lung")
        await store(rig, "liver")
        first = await start(rig, with_model("lung", "infers"))
        await rig.until_runs("infers")
        liver = await rig.register(with_model("liver", "waits"))
        jobs = [await rig.job(liver, {"x": b"1"}) for _ in range(9)]
        await until_waits(rig, jobs[0], "room for its models in the inference server")
        await healthy(rig, await start(rig, plain("other", 100)))
        begun = [job for job in jobs if "room" in str(rig.engine.waits(job.id))]
        assert len(begun) == 3, "the others are not considered"
        device.runner.release("infers")
        await healthy(rig, first, *jobs)
        assert server.loaded == {"liver": "w"}


async def test_shares_of_a_gpu_come_out_of_the_same_memory_on_a_unified_device(
    device: Device,
) -> None:
    device.unified, device.gpus = True, ("nvidia.com/gpu=0",)
    device.runner.block("asks")
    async with engine_rig(device) as rig:
        first = await start(rig, with_service("viewer", service="memory: 2000"))
        await rig.until_runs("asks")
        extra = ["requests: {memory: 1000, gpu-memory: 4500}"]
        large = await start(rig, chain("large", extra=extra))
        text = "5500 MB of memory; 5000 of 8000 are free, services hold 2000"
        await until_waits(rig, large, text)
        device.runner.release("asks")
        await healthy(rig, first, large)
        whole = await start(
            rig, chain("whole", extra=["requests: {memory: 2500, gpu-memory: 5500}"])
        )
        await healthy(rig, whole)
        assert await services(device) == []


async def test_a_next_daemon_counts_the_services_that_it_finds(device: Device) -> None:
    device.runner.block("asks")
    async with engine_rig(device) as rig:
        first = await start(rig, with_service("viewer", service="memory: 3000"))
        await rig.until_runs("asks")
    async with engine_rig(device) as rig:
        large = await start(rig, plain("large", 6000))
        await until_waits(
            rig, large, "6000 MB of memory; 4000 of 8000 are free, services hold 3000"
        )
        device.runner.release("asks")
        await healthy(rig, first, large)
        assert await services(device) == []


async def test_jobs_that_wait_for_a_gpu_hide_nobody_behind_them(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "WINDOW", 2)
    async with engine_rig(device) as rig:
        gpu = await rig.register(chain("gpu", extra=["requests: {gpu: 1}"]))
        two = await rig.register(chain("two", extra=["requests: {gpu: 2}"]))
        hopeless = [await rig.job(each, {"x": b"1"}) for each in (gpu, two) for _ in range(7)]
        other = await start(rig, plain("other", 100))
        await healthy(rig, other)
        await until_waits(rig, hopeless[0], "no GPU present")
        device.gpus = ("nvidia.com/gpu=0",)
        await rig.tick()
        await healthy(rig, *hopeless[:7])
        await until_waits(rig, hopeless[7], "2 GPUs; this device shows 1")
        late = await rig.job(gpu, {"x": b"1"})
        await healthy(rig, late)
        device.gpus = ("nvidia.com/gpu=0", "nvidia.com/gpu=1")
        await rig.tick()
        await healthy(rig, *hopeless[7:])
