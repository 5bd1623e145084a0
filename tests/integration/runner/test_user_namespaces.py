"""Whom root of a real container is on this machine, in both settings of `user_namespace`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from claraedge.fs.removal import remove
from claraedge.gpu import cdi
from claraedge.ids import new_id
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import BindMount, ContainerSpec, Exit, ExitCause, Image
from claraedge.runner.service.service import PodmanService
from claraedge.runner.user_namespaces import UserNamespace
from tests.integration.stand_in_gpu import KIND, NODE, why_there_is_none

pytestmark = [pytest.mark.podman, pytest.mark.usefixtures("closed_again")]

MARK = {"io.claraedge.instance": f"tests-{os.getpid()}"}
MakeSpec = Callable[..., ContainerSpec]
BOTH = pytest.mark.parametrize("image_user", ["root", "of its own"])


@pytest.fixture
async def nomap(service: PodmanService, other_folder: Path) -> AsyncIterator[PodmanRunner]:
    async with PodmanRunner(
        service, other_folder, nodes=cdi.nodes, user_namespace=UserNamespace.NOMAP
    ) as runner:
        yield runner
        for container in await runner.containers(MARK):
            await runner.remove(container.id)


@pytest.fixture
def spec(busybox: Image, unprivileged: Image, tmp_path: Path) -> MakeSpec:
    """A shell script in an image that runs as root, or as a user of its own."""
    for name, mode in (("input", 0o755), ("output", 0o777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "input/a").write_text("content\n")
    tmp_path.chmod(0o700)

    def make(script: str, image_user: str = "root", devices: tuple[str, ...] = ()) -> ContainerSpec:
        return ContainerSpec(
            name=(name := f"ce-test-{new_id()}"),
            image=(busybox if image_user == "root" else unprivileged).id,
            command=("/bin/sh", "-c", script),
            mounts=(
                BindMount(source=tmp_path / "input", target="/input", read_only=True),
                BindMount(source=tmp_path / "output", target="/output", read_only=False),
            ),
            labels={**MARK, "io.claraedge.operator": name},
            log_path=tmp_path / f"{name}.log",
            devices=devices,
        )

    return make


async def run(runner: PodmanRunner, spec: ContainerSpec) -> Exit:
    container = await runner.create(spec)
    await runner.start(container)
    async with asyncio.timeout(60):
        end = await runner.wait(container)
    await runner.remove(container)
    return end


@BOTH
async def test_no_user_of_a_container_is_the_daemons(
    nomap: PodmanRunner, spec: MakeSpec, tmp_path: Path, image_user: str
) -> None:
    secret = tmp_path / "input/secret"
    secret.write_text("the daemon's\n")
    secret.chmod(0o600)
    reads = spec("id -u >/output/inside; cat /input/a && ! cat /input/secret", image_user)
    assert (await run(nomap, reads)).code == 0
    written = tmp_path / "output/inside"
    assert written.read_text() == ("0\n" if image_user == "root" else "1000\n")
    assert written.stat().st_uid != os.getuid()


async def test_root_is_the_daemons_user_where_nothing_is_said(
    runner: PodmanRunner, spec: MakeSpec, tmp_path: Path
) -> None:
    assert (await run(runner, spec("id -u >/output/inside"))).code == 0
    assert (tmp_path / "output/inside").stat().st_uid == os.getuid()


@BOTH
async def test_closed_outputs_are_read_and_deleted_after_reclaim(
    nomap: PodmanRunner, spec: MakeSpec, tmp_path: Path, image_user: str
) -> None:
    script = "umask 077; mkdir /output/d; echo result >/output/d/f"
    assert (await run(nomap, spec(script + "; chmod 0 /output/d", image_user))).code == 0
    out = tmp_path / "output"
    with pytest.raises(PermissionError):
        (out / "d/f").read_text()
    await nomap.reclaim(out)
    assert (out / "d/f").read_text() == "result\n"
    remove(out)
    assert not out.exists()


async def test_containers_made_at_once_all_have_it(
    nomap: PodmanRunner, spec: MakeSpec, tmp_path: Path
) -> None:
    """Podman's own word for it fails now and then where two are made at once."""
    specs = [spec(f"id -u >/output/{number}") for number in range(12)]
    ends = await asyncio.gather(*(run(nomap, one) for one in specs))
    assert {end.code for end in ends} == {0}
    written = list((tmp_path / "output").iterdir())
    assert len(written) == 12
    assert os.getuid() not in {path.stat().st_uid for path in written}


@BOTH
async def test_a_runner_of_the_other_setting_adopts_a_container(
    nomap: PodmanRunner, runner: PodmanRunner, spec: MakeSpec, tmp_path: Path, image_user: str
) -> None:
    waits = spec("while [ ! -e /output/go ]; do sleep 0.05; done; exit 6", image_user)
    container = await nomap.create(waits)
    await nomap.start(container)
    end = asyncio.create_task(runner.wait(container))
    (tmp_path / "output/go").touch()
    async with asyncio.timeout(30):
        assert await end == Exit(cause=ExitCause.EXITED, code=6)
    sleeps = await nomap.create(spec("trap '' TERM; sleep 60", image_user))
    await nomap.start(sleeps)
    assert await runner.stop(sleeps, 0.0)
    await runner.remove(sleeps)
    assert sleeps not in {found.id for found in await runner.containers(MARK)}


@BOTH
async def test_a_gpu_that_all_may_open_is_opened(
    nomap: PodmanRunner, spec: MakeSpec, image_user: str
) -> None:
    reason = why_there_is_none()
    if reason is not None:
        pytest.skip(reason)
    uses = spec(f"echo x >{NODE}", image_user, devices=(f"{KIND}=0",))
    assert (await run(nomap, uses)).code == 0
