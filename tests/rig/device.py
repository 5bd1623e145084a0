"""A device with the in-memory runner, and programs for its containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from claraedge import config
from claraedge.ids import new_id
from claraedge.jobs.engine.timeouts import Timeouts
from claraedge.pipelines.requests import Profile
from claraedge.runner.memory import MemoryRunner, host_path, write_log
from claraedge.runner.protocol import ContainerSpec, Phase
from tests.rig.waiting import eventually


@dataclass
class Device:
    """What outlives a daemon: the state folder, the containers of the runner, the GPUs."""

    state: Path
    runner: MemoryRunner = field(default_factory=MemoryRunner)
    gpus: tuple[str, ...] = ()
    cores: int = 2
    max_operators: int = 4
    memory: int | None = None
    gpu_faults: dict[str, str] = field(default_factory=dict)
    """Reasons why GPUs cannot be used, by CDI name."""
    gpu_memory: int | None = None
    unified: bool = False
    timeouts: Timeouts = Timeouts(default=600, maximum=1800)  # noqa: RUF009 it is frozen
    boot: str = "boot-1"
    instance: str = field(default_factory=new_id)
    shared_memory: Path = Path("/dev/shm")
    profile: Profile = Profile.CLARA_0_8
    services: config.ServicesSettings = config.ServicesSettings()  # noqa: RUF009 it is frozen
    inference: config.InferenceSettings = config.InferenceSettings()  # noqa: RUF009 it is frozen

    async def faults(self) -> Mapping[str, str]:
        return self.gpu_faults

    async def tried_again(self, devices: Sequence[str]) -> str | None:
        return next((self.gpu_faults[d] for d in devices if d in self.gpu_faults), None)


async def emptied(runner: MemoryRunner) -> None:
    """Waits until no container is left: they are removed after the waits for their end return."""

    async def empty() -> bool:
        return not await runner.containers({})

    await eventually(empty, "no container is left")


async def all_stopped(runner: MemoryRunner) -> None:
    """Waits until no container runs."""

    async def stopped() -> bool:
        return all(c.phase is not Phase.RUNNING for c in await runner.containers({}))

    await eventually(stopped, "no container runs")


async def copy(spec: ContainerSpec) -> int:
    """A container program that copies all its inputs to each of its outputs, and logs a line."""
    sources = [mount for mount in spec.mounts if mount.read_only]
    for target in (mount for mount in spec.mounts if not mount.read_only):
        for source in sources:
            for path in source.source.rglob("*"):
                if path.is_file():
                    host_path(spec, target.target).joinpath(path.name).write_bytes(
                        path.read_bytes()
                    )
    write_log(spec, "copied")
    return 0


async def fail(spec: ContainerSpec) -> int:
    """A container program that fails with exit code 3."""
    write_log(spec, "first line\nno such slice")
    return 3
