"""Applications are found by the manifest in their image, read once, and never run without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from claraedge.errors import PipelineLoadError, RunnerUnavailableError
from claraedge.images.applications import Applications
from claraedge.images.images import Images
from claraedge.jobs.model import JobStatus
from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.model import ContainerDefinition, Operator, Pipeline, Requests
from claraedge.runner.memory import MemoryRunner, host_path
from claraedge.runner.protocol import LABEL_INSTANCE, MAX_FILE, ContainerSpec
from tests.rig.device import Device as BenchDevice
from tests.rig.engine import engine_rig

DEVICE = Device(cores=2, memory=8192, gpus=1)


def manifest(command: object = "/app", **needs: object) -> dict[str, bytes]:
    return {
        "/etc/monai/app.json": json.dumps({"command": command}).encode(),
        "/etc/monai/pkg.json": json.dumps({"resources": needs}).encode(),
    }


async def upper(spec: ContainerSpec) -> int:
    """A program that knows its folders by its variables alone, and only runs as an application."""
    if spec.entrypoint != ("/app",):
        return 7
    for file in host_path(spec, spec.environment["MONAI_INPUTPATH"]).iterdir():
        target = host_path(spec, spec.environment["HOLOSCAN_OUTPUT_PATH"]) / file.name
        target.write_bytes(file.read_bytes().upper())
    return 0


def pipeline(*images: str, command: tuple[str, ...] = (), **written: object) -> Pipeline:
    operators = tuple(
        Operator(
            name=f"op{n}",
            container=ContainerDefinition(image=image, command=command),
            **written,  # type: ignore[arg-type]
        )
        for n, image in enumerate(images)
    )
    return Pipeline(api_version="0.4.0", name="p", operators=operators)


@pytest.fixture
def runner() -> MemoryRunner:
    runner = MemoryRunner()
    runner.add_image("app:latest", upper, files=manifest(gpu=1))
    runner.add_image("plain:latest", upper)
    return runner


def applications(runner: MemoryRunner, device: Device = DEVICE) -> Applications:
    return Applications(Images(runner), runner, "me", lambda: device)


async def test_an_application_is_filled_in_and_a_plain_image_is_left(runner: MemoryRunner) -> None:
    filled = await applications(runner).applied(pipeline("app", "plain"))
    app, plain = filled.operators
    assert app.container.entrypoint == ("/app",)
    assert (app.inputs[0].path, app.outputs[0].path) == ("/var/monai/input", "/var/monai/output")
    assert app.requests == Requests(gpu=1)
    assert plain == pipeline("app", "plain").operators[1]


async def test_each_image_is_read_once_with_a_manifest_or_without(runner: MemoryRunner) -> None:
    known = applications(runner)
    for _ in range(3):
        await asyncio.gather(*(known.applied(pipeline("app", "plain", "app")) for _ in range(5)))
    assert len(runner.files_read) == 2
    assert all(labels == {LABEL_INSTANCE: "me"} for _, labels in runner.files_read)


async def test_a_name_that_moves_to_another_image_is_read_again(runner: MemoryRunner) -> None:
    known = applications(runner)
    await known.applied(pipeline("app"))
    runner.add_image("app:latest", upper, files=manifest("/new"))
    (app,) = (await known.applied(pipeline("app"))).operators
    assert app.container.entrypoint == ("/new",)


async def test_with_a_command_no_image_is_inspected(runner: MemoryRunner) -> None:
    written = pipeline("app", command=("true",))
    assert await applications(runner).applied(written) == written
    assert runner.files_read == []


async def test_an_image_that_is_not_here_changes_nothing(runner: MemoryRunner) -> None:
    filled = await applications(runner).applied(pipeline("absent", "app"))
    assert [bool(o.container.entrypoint) for o in filled.operators] == [False, True]


async def test_podman_unavailable_leaves_all_to_the_engine(runner: MemoryRunner) -> None:
    known = applications(runner)
    runner.available = False
    assert await known.applied(pipeline("app")) == pipeline("app")
    runner.available = True
    assert (await known.applied(pipeline("app"))).operators[0].container.entrypoint == ("/app",)


async def test_a_wrong_manifest_is_reported_with_operator_image_and_file(
    runner: MemoryRunner,
) -> None:
    runner.add_image("wrong:2", upper, files={"/etc/holoscan/app.json": b"{}"})
    known = applications(runner)
    for _ in range(2):
        with pytest.raises(
            PipelineLoadError,
            match=r"operator `op0`: the image wrong:2: /etc/holoscan/app.json: `command`",
        ):
            await known.applied(
                Pipeline(
                    api_version="0.4.0",
                    name="p",
                    operators=(
                        Operator(name="op0", container=ContainerDefinition(image="wrong", tag="2")),
                    ),
                )
            )
    assert len(runner.files_read) == 1


async def test_a_manifest_that_is_too_large_is_wrong(runner: MemoryRunner) -> None:
    large = {"/etc/monai/app.json": b" " * (MAX_FILE + 1)}
    runner.add_image("large:latest", upper, files=large)
    with pytest.raises(PipelineLoadError, match=r"/etc/monai/app.json of image"):
        await applications(runner).applied(pipeline("large"))


@pytest.mark.parametrize(
    ("needs", "message"),
    [({"gpu": 2}, "2 GPUs, and this device has 1"), ({"memory": "9Gi"}, "9216 megabytes")],
)
async def test_what_the_device_does_not_have_is_refused(
    runner: MemoryRunner, needs: dict[str, object], message: str
) -> None:
    runner.add_image("big:latest", upper, files=manifest(**needs))
    with pytest.raises(PipelineLoadError, match=message):
        await applications(runner).applied(pipeline("big"))
    less = pipeline("big", requests=Requests(gpu=1, memory=64))
    assert (await applications(runner).applied(less)).operators[0].requests.memory == 64


async def test_a_gpu_that_is_not_seen_yet_is_waited_for(runner: MemoryRunner) -> None:
    early = Device(cores=2, memory=8192, gpus=0)
    filled = await applications(runner, early).applied(pipeline("app"))
    assert filled.operators[0].requests.gpu == 1


async def test_no_more_than_256_images_are_remembered(runner: MemoryRunner) -> None:
    known = applications(runner)
    for n in range(257):
        runner.add_image(f"many{n}:latest", upper)
        await known.applied(pipeline(f"many{n}"))
    await known.applied(pipeline("many256"))
    assert len(runner.files_read) == 257
    await known.applied(pipeline("many0"))
    assert len(runner.files_read) == 258


class SlowRunner(MemoryRunner):
    """Reads when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.reads = asyncio.Event()

    async def read_files(
        self, image: str, paths: Sequence[str], labels: Mapping[str, str]
    ) -> Mapping[str, bytes]:
        self.reads.set()
        await self.go.wait()
        return await super().read_files(image, paths, labels)


async def test_a_caller_that_is_cancelled_ends_no_reading_of_the_others() -> None:
    runner = SlowRunner()
    runner.add_image("app:latest", upper, files=manifest())
    known = applications(runner)
    first = asyncio.create_task(known.applied(pipeline("app")))
    await runner.reads.wait()
    second = asyncio.create_task(known.applied(pipeline("app")))
    await asyncio.sleep(0)
    first.cancel()
    runner.go.set()
    assert (await second).operators[0].container.entrypoint == ("/app",)
    assert len(runner.files_read) == 1


async def test_podman_that_disappears_while_it_reads_is_asked_again() -> None:
    runner = SlowRunner()
    runner.add_image("app:latest", upper, files=manifest())
    known = applications(runner)
    reading = asyncio.create_task(known.of_image(pipeline("app").operators[0], await id_of(runner)))
    await runner.reads.wait()
    runner.available = False
    runner.go.set()
    with pytest.raises(RunnerUnavailableError):
        await reading
    runner.available = True
    assert (await known.applied(pipeline("app"))).operators[0].container.entrypoint == ("/app",)


async def id_of(runner: MemoryRunner) -> str:
    image = await runner.find_image("app:latest")
    assert image is not None
    return image.id


# --- in jobs ------------------------------------------------------------------------------------

APP = "api-version: 0.4.0\nname: app\noperators:\n- name: app\n  container: {image: app}\n"


@pytest.fixture
def device(tmp_path: Path, runner: MemoryRunner) -> BenchDevice:
    return BenchDevice(tmp_path, runner, gpus=("nvidia.com/gpu=0",))


async def test_a_job_runs_an_application_and_its_output_is_listed(device: BenchDevice) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(APP), {"x": b"data"})
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY, ended.messages
        assert await rig.listing(job.payload) == ["input/x", "operators/app/x"]
        graph = await rig.jobs.graph(ended)
        assert graph.operators[0].outputs[0].path == "/var/monai/output"
    (spec,) = device.runner.started
    assert spec.devices == ("nvidia.com/gpu=0",)
    assert spec.writable_root
    assert spec.shared_memory == 1 << 30
    assert spec.environment["MONAI_JOBID"] == job.id


async def test_a_wrong_manifest_refuses_the_start_and_the_job_may_be_started_later(
    device: BenchDevice,
) -> None:
    async with engine_rig(device) as rig:
        device.runner.add_image("app:latest", upper, files={"/etc/monai/app.json": b"{"})
        pipeline_id = await rig.register(APP)
        with pytest.raises(PipelineLoadError, match=r"/etc/monai/app.json: it cannot be read"):
            await rig.job(pipeline_id, {"x": b"data"})
        device.runner.add_image("app:latest", upper, files=manifest())
        (waiting,) = await rig.listed()
        await rig.jobs.start(waiting.id, {})
        assert (await rig.end(waiting.id)).status is JobStatus.HEALTHY


async def test_an_application_that_comes_after_the_start_is_run_as_one(
    device: BenchDevice,
) -> None:
    device.runner.drop_image("app:latest")
    async with engine_rig(device, run=False) as rig:
        job = await rig.job(await rig.register(APP), {"x": b"data"})
    device.runner.add_image("app:latest", upper, files=manifest(gpu=1))
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY, ended.messages
        assert await rig.listing(job.payload) == ["input/x", "operators/app/x"]
        assert (await rig.jobs.graph(ended)).operators[0].requests.gpu == 1
    (spec,) = device.runner.started
    assert spec.devices == ("nvidia.com/gpu=0",), "admitted again, with what it needs"


async def test_a_start_while_podman_is_unavailable_loses_nothing(device: BenchDevice) -> None:
    async with engine_rig(device) as rig:
        device.runner.available = False
        job = await rig.job(await rig.register(APP), {"x": b"data"})
        device.runner.available = True
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        assert await rig.listing(job.payload) == ["input/x", "operators/app/x"]


async def test_a_wrong_manifest_that_comes_late_fails_the_operator(device: BenchDevice) -> None:
    device.runner.drop_image("app:latest")
    async with engine_rig(device, run=False) as rig:
        job = await rig.job(await rig.register(APP), {"x": b"data"})
    device.runner.add_image("app:latest", upper, files={"/etc/monai/app.json": b"{}"})
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
    assert ended.status is JobStatus.FAULTED
    assert any("/etc/monai/app.json: `command` is missing" in text for text in ended.messages)
    assert device.runner.started == []
