"""What tests of bag jobs share: an image that records, packages and jobs, and a way to wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

from claraedge.bags.model import BagJobStatus, BagJobView
from claraedge.packages.bag_jobs import BagJobDefinition, BagUpload, RecordOptions
from claraedge.packages.model import Package, Ros
from claraedge.runner.memory.programs import host_path
from claraedge.runner.protocol import ContainerSpec
from tests.rig.bag_files import bag_bytes
from tests.rig.deployments import DeploymentRig, component, executable, package
from tests.rig.waiting import eventually


class RosImage:
    """An image whose programs run, and whose `record` writes bags as ROS does."""

    def __init__(self) -> None:
        self.records: list[ContainerSpec] = []
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.hangs = False

    async def __call__(self, spec: ContainerSpec) -> int:
        if not spec.mounts:
            await asyncio.Event().wait()
        number = len(self.records)
        self.records.append(spec)
        self.code = asyncio.get_running_loop().create_future()
        folder = host_path(spec, "/bags")
        for left in folder.glob("*.bag.active"):
            left.rename(left.with_suffix(".partial"))
        active = folder / f"r{number}.bag.active"
        active.write_bytes(bag_bytes(whole=False))
        try:
            code = await self.code
        except asyncio.CancelledError:
            if not self.hangs:
                self.close(active)
            raise
        self.close(active)
        return code

    def close(self, active: Path) -> None:
        active.write_bytes(bag_bytes((100, 200, 3)))
        active.rename(active.with_suffix(""))

    @property
    def folder(self) -> Path:
        return host_path(self.records[-1], "/bags")


def app(*jobs: dict[str, object], ros: bool = True) -> Package:
    run = executable(image="ros:1")
    return package(component(run, ros=Ros(enabled=ros), rosbag_jobs=jobs))


def job(
    name: str = "drive", upload: BagUpload = BagUpload.ON_STOP, **record: object
) -> BagJobDefinition:
    options = RecordOptions(**{"all_topics": True, **record})  # type: ignore[arg-type]
    return BagJobDefinition(name=name, record=options, upload=upload)


async def until(rig: DeploymentRig, id_: str, status: BagJobStatus) -> BagJobView:
    """Waits until a job has a status, and returns it."""
    found: list[BagJobView] = []

    async def has() -> bool:
        found[:] = [await rig.bags.job(id_)]
        return found[0].status is status

    await eventually(has, f"the job is {status.value}", details=lambda: found)
    return found[0]
