"""Static routes to programs in real containers, through the HTTP front without published ports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from claraedge.api.transport.standard import HEALTH
from claraedge.config import DeploymentsSettings, HttpSettings
from claraedge.deployments.model import ComponentRequest, DeploymentPhase
from claraedge.errors import RouteNotReadyError
from claraedge.ids import new_id
from claraedge.packages.ids import new_kind_id
from claraedge.packages.model import Endpoint, Package
from claraedge.routes.routes import StaticRoutes
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import LABEL_DEPLOYMENTS, Image
from claraedge.web.server import HttpServer
from tests.rig.deployments import DeploymentRig, component, deployment_rig, executable, package
from tests.rig.waiting import eventually
from tests.unit.web.conftest import Client

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

#: A web server of the shell: one answer for each connection.
ANSWER = (
    "printf 'HTTP/1.1 200 OK\\r\\nContent-Length: %s\\r\\n\\r\\n%s' ${#WORD} $WORD >/tmp/answer;"
    " while true; do busybox nc -l -p 8080 -e busybox sh -c 'read x; cat /tmp/answer'; done"
)


async def _metrics(_: bool) -> tuple[str, bytes]:
    return "text/plain", b""


@asynccontextmanager
async def front_of(rig: DeploymentRig, folder: Path) -> AsyncIterator[Client]:
    socket = folder / "http.sock"
    server = HttpServer(
        socket,
        HttpSettings(),
        [HEALTH],
        folder / "none.sock",
        metrics=_metrics,
        dial=rig.deployments.dial,
        idle=10,
    )
    async with server:
        yield Client(socket)


def app(image: str, word: str) -> Package:
    return package(
        component(
            executable(image=image, command=(f"WORD={word}", ANSWER)),
            endpoints=(
                Endpoint(name="WEB", port=80, target_port=8080, protocol="HTTP", exposed=True),
            ),
        ),
        name=word,
    )


async def test_a_route_leads_to_the_container_of_one_deployment_and_then_of_the_next(
    tmp_path: Path, busybox: Image, runner: PodmanRunner
) -> None:
    instance, words = new_id(), ("first", "second")
    packages = [app(busybox.names[0], word) for word in words]
    opened = partial(
        deployment_rig,
        tmp_path,
        runner,
        instance=instance,
        settings=DeploymentsSettings(up_seconds=0.5),
        grace=1.0,
        packages=packages,
    )
    settings = (ComponentRequest(component="main", routes={"WEB": "viewer"}),)
    async with opened() as rig, front_of(rig, tmp_path) as http:
        await StaticRoutes(rig.database, rig.site.clock, new_kind_id).create("viewer")
        for pack in packages:
            await rig.deploy(pack.name, pack, components=settings)
            await rig.until_phase(pack.name, DeploymentPhase.SUCCEEDED)

            async def answers(word: str = pack.name) -> bool:
                answer = await http.ask("GET", "/routes/viewer/")
                return (answer.status, answer.body) == (200, word.encode())

            await eventually(answers, f"the route leads to {pack.name}")
            if pack.name == words[0]:
                await rig.deployments.undeploy(pack.name)
                await rig.until_phase(pack.name, DeploymentPhase.STOPPED)
                assert (await http.ask("GET", "/routes/viewer/")).status == 503
    async with opened() as rig, front_of(rig, tmp_path) as http:  # another daemon, same containers
        await eventually(partial(answers), "the route leads there after a restart")
        await rig.deployments.undeploy("second")
        await rig.until_phase("second", DeploymentPhase.STOPPED)
        with pytest.raises(RouteNotReadyError):
            async with rig.deployments.dial("viewer"):
                pass
    assert await runner.containers({LABEL_DEPLOYMENTS: instance}) == []
