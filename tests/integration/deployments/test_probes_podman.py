"""Liveness probes of programs in real containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claraedge.config import DeploymentsSettings
from claraedge.deployments.model import (
    ComponentRequest,
    DeploymentPhase,
    DeploymentStatus,
    VolumeMount,
)
from claraedge.ids import new_id
from claraedge.packages.model import LivenessProbe, RestartPolicy
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import Image
from tests.rig.deployments import component, deployment_rig, executable, package
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

#: Ends with exit code 0 when it is asked to, as a well-behaved program does.
TRAP = "trap 'exit 0' TERM; "
SERVE = (
    TRAP + "busybox mkdir -p /tmp/www; echo well >/tmp/www/well;"
    " busybox httpd -p ADDRESS8080 -h /tmp/www;"
    " echo began; while true; do busybox sleep 0.1; done"
)
#: The address of the component on its network.
OWN = "$(busybox ip -4 -o addr show eth0 | busybox sed 's,.* inet ,,;s,/.*,,'):"
#: Kind of a probe -> the path that it asks for.
PROBED = {"http": "/well", "tcp": ""}
SETTINGS = DeploymentsSettings(up_seconds=0.5)


def probed(path: str, **more: int) -> LivenessProbe:
    return LivenessProbe(port=8080, path=path, **{"period": 1, "failures": 2, **more})


def _of_probes() -> list[str]:
    """Returns the command lines of the processes of probes that run now."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                ours = (folder / "environ").stat().st_uid == os.getuid()
            except OSError:
                continue
            if ours and "/dev/tcp/" in line and "8080" in line:
                found.append(line)
    return found


async def test_a_server_that_hangs_is_started_again_though_its_program_runs(
    tmp_path: Path, busybox: Image, runner: PodmanRunner
) -> None:
    """It is stopped by a signal: the kernel still accepts connections for it."""
    stop = "busybox sleep 2; busybox killall -STOP busybox"
    hang = f"if [ ! -e /data/hung ]; then >/data/hung; {stop}; fi; "
    command = SERVE.replace("ADDRESS", "").replace("while", f"{hang}while")
    pack = package(
        component(
            executable(
                image=busybox.names[0],
                command=(command,),
                probe=probed("/well", timeout=1, failures=4),
            ),
            restart=RestartPolicy.ON_FAILURE,
        )
    )
    async with deployment_rig(
        tmp_path, runner, instance=new_id(), grace=2.0, packages=[pack], settings=SETTINGS
    ) as rig:
        volumes = tmp_path / "volumes"
        mount = VolumeMount(executable="run", mount_path="/data", sub_path="kept")
        await rig.deploy(
            "one", pack, components=(ComponentRequest(component="main", mounts=(mount,)),)
        )
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        view = await rig.until(
            "one", lambda v: next(iter(v.deployment.executables.values())).restarts
        )
        (record,) = view.deployment.executables.values()
        assert "failed 4 times: GET /well at port 8080 got no answer within 1 s" in record.reason
        assert "its last line: began" in record.reason
        assert (volumes / "kept" / "hung").exists()
        view = await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        await eventually(lambda: not _of_probes(), "no process of a probe is left")


@pytest.mark.parametrize("address", ["", "127.0.0.1:", OWN])
async def test_a_program_is_reached_at_whichever_of_its_addresses_it_listens(
    address: str, tmp_path: Path, busybox: Image, runner: PodmanRunner
) -> None:
    command = SERVE.replace("ADDRESS", address)
    # enough failures for the start of a program on a busy machine, fewer than up_seconds
    probes = {name: probed(path, delay=0, failures=6) for name, path in PROBED.items()}
    packs = {
        name: package(
            component(executable(image=busybox.names[0], command=(command,), probe=probe)),
            name=name,
        )
        for name, probe in probes.items()
    }
    async with deployment_rig(
        tmp_path,
        runner,
        instance=new_id(),
        grace=1.0,
        packages=list(packs.values()),
        settings=DeploymentsSettings(up_seconds=8),
    ) as rig:
        for name, pack in packs.items():
            await rig.deploy(name, pack)
        for name in packs:
            view = await rig.until_phase(name, DeploymentPhase.SUCCEEDED)
            (record,) = view.deployment.executables.values()
            assert record.restarts == 0, record.reason
            await rig.deployments.undeploy(name)
        for name in packs:
            await rig.until_phase(name, DeploymentPhase.STOPPED)
