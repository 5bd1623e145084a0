"""A container gets the GPU that it was made with, or is not made at all; by real Podman."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from claraedge.errors import ContainerError
from claraedge.gpu import cdi
from claraedge.ids import new_id
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import ContainerSpec, Image
from claraedge.runner.service.service import PodmanService
from tests.integration.stand_in_gpu import KIND, NODE, NONE, why_there_is_none

pytestmark = pytest.mark.podman

MARK = {"io.claraedge.instance": f"tests-{os.getpid()}"}
MakeSpec = Callable[..., ContainerSpec]


def _nobody(_device: str) -> Mapping[str, str] | None:
    """Stands for specs in a folder that only Podman reads."""
    return None


@pytest.fixture(params=[cdi.nodes, _nobody], ids=["by its spec", "by Podman's word"])
async def gpu_runner(
    request: pytest.FixtureRequest, service: PodmanService, runtime_folder: Path
) -> AsyncIterator[PodmanRunner]:
    reason = why_there_is_none()
    if reason is not None:
        pytest.skip(reason)
    async with PodmanRunner(
        service, runtime_folder, visible_devices="one", nodes=request.param
    ) as runner:
        yield runner
        for container in await runner.containers(MARK):
            await runner.remove(container.id)


@pytest.fixture
def spec(busybox: Image, tmp_path: Path) -> MakeSpec:
    def make(
        *devices: str, script: str = "true", environment: Mapping[str, str] | None = None
    ) -> ContainerSpec:
        return ContainerSpec(
            name=f"ce-test-{new_id()}",
            image=busybox.id,
            command=("/bin/sh", "-c", script),
            environment=environment or {},
            labels=MARK,
            log_path=tmp_path / "log",
            devices=devices,
        )

    return make


async def lines(runner: PodmanRunner, spec: ContainerSpec) -> list[str]:
    """What it writes."""
    container = await runner.create(spec)
    await runner.start(container)
    await runner.wait(container)
    return [line.split(" ", 3)[3] for line in spec.log_path.read_text().splitlines()]


async def test_a_device_that_is_there_is_used(gpu_runner: PodmanRunner, spec: MakeSpec) -> None:
    script = f"stat -c %F {NODE}; echo x > {NODE} && echo written; echo $CLARAEDGE_TEST_GPU"
    shown = await lines(gpu_runner, spec(f"{KIND}=0", script=script))
    assert shown == ["character special file", "written", "0"]


async def test_a_device_whose_spec_gives_no_node_is_refused(
    gpu_runner: PodmanRunner, spec: MakeSpec
) -> None:
    with pytest.raises(ContainerError) as refusal:
        await gpu_runner.create(spec(NONE[0]))
    text = str(refusal.value)
    assert "would run without the device empty of the CDI kind claraedge.test/none" in text
    assert "gives it no device node" in text
    assert "nvidia-ctk cdi generate" in text
    assert await gpu_runner.containers(MARK) == []


async def test_a_device_that_arrives_as_another_one_is_refused(
    gpu_runner: PodmanRunner, spec: MakeSpec
) -> None:
    """runc bind-mounts the path of the container from this machine, whatever the spec says."""
    with pytest.raises(ContainerError, match=f"{NODE} in it is the device 1:3, not 1:7 as "):
        await gpu_runner.create(spec(NONE[1]))
    assert await gpu_runner.containers(MARK) == []


@pytest.mark.parametrize("gpu_runner", [cdi.nodes], indirect=True)
async def test_one_device_of_two_is_not_enough(gpu_runner: PodmanRunner, spec: MakeSpec) -> None:
    with pytest.raises(ContainerError, match="without the device empty"):
        await gpu_runner.create(spec(f"{KIND}=0", NONE[0]))
    assert await gpu_runner.containers(MARK) == []


@pytest.mark.parametrize("devices", [(), (f"{KIND}=0",)], ids=["no GPU", "a GPU"])
async def test_a_definition_does_not_say_which_devices_are_visible(
    gpu_runner: PodmanRunner,
    spec: MakeSpec,
    devices: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    asks = {"NVIDIA_VISIBLE_DEVICES": "all"}
    shown = await lines(
        gpu_runner, spec(*devices, script="echo $NVIDIA_VISIBLE_DEVICES", environment=asks)
    )
    assert shown == ["one" if devices else "void"]
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_what_a_cdi_spec_says_is_visible_wins_and_is_logged_once(
    gpu_runner: PodmanRunner, spec: MakeSpec, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        made = spec(NONE[2], script="echo $NVIDIA_VISIBLE_DEVICES")
        assert await lines(gpu_runner, made) == ["void"]
        made.log_path.unlink()
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == [
        "the CDI spec sets NVIDIA_VISIBLE_DEVICES=void itself, which wins over"
        " engine.visible_devices (one)"
    ]


@pytest.mark.gpu
async def test_every_gpu_of_this_machine_arrives_in_a_container(
    service: PodmanService, runtime_folder: Path, spec: MakeSpec
) -> None:
    gpus = cdi.devices("nvidia.com/gpu")
    if not gpus:
        pytest.skip("no CDI spec of kind nvidia.com/gpu on this machine")
    async with PodmanRunner(service, runtime_folder, nodes=cdi.nodes) as runner:
        for gpu in gpus:
            nodes = cdi.nodes(gpu)
            assert nodes
            script = "".join(f"ls -d {node}; " for node in nodes)
            made = spec(gpu, script=f"{script}echo $NVIDIA_VISIBLE_DEVICES")
            try:
                assert await lines(runner, made) == [*nodes, "void"]
            finally:
                made.log_path.unlink(missing_ok=True)
                for container in await runner.containers(MARK):
                    await runner.remove(container.id)
