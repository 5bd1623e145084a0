"""Serves deployments: provisioning, lists, states, updates, bindings, and their end."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import Iterable, Mapping, Sequence

from claraedge.web.http.failures import excerpt, invalid
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rapyuta.backend import Backend
from claraedge.web.rapyuta.provision import check_supported, create_request, update_request
from claraedge.web.rapyuta.requests import (
    deployment_id,
    json_of,
    one_of,
    package_id,
    query_fields,
)
from claraedge.web.rapyuta.values import deployments as objects
from claraedge.web.rapyuta.values.bodies import BindingBody, ProvisionBody, UpdateBody
from claraedge.web.rapyuta.values.words import PHASES, Phase
from claraedge.wire.claraedge.v1 import deployments_pb2 as wire

_INSTANCES = "/v2/service_instances/{id}"
#: What the SDK sends as the id of a deployment that it creates.
_NEW = "instanceId"
_PACKAGE, _PHASE, _DEVICE = "package_uid", "phase", "device_uid"
_PHASES: Mapping[str, Phase] = {word: phase for phase, word in PHASES.items()}


class DeploymentRoutes:
    """Creates, lists, shows, updates and ends deployments."""

    def __init__(self, backend: Backend, places: Semaphore) -> None:
        self._backend = backend
        self._places = places

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield Route("PUT", _INSTANCES, self._provision)
        yield Route("PATCH", _INSTANCES, self._update)
        yield Route("DELETE", _INSTANCES, self._deprovision)
        yield Route("PUT", f"{_INSTANCES}/service_bindings/{{bind}}", self._bind)
        yield Route("GET", "/serviceinstance/{id}", self._status)
        yield Route("GET", "/deployment/list", self._list)

    async def _provision(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        if request.parameters["id"] != _NEW:
            raise invalid(
                f"{excerpt(request.path)} creates no deployment, since this device chooses the ids;"
                f" send PUT /v2/service_instances/{_NEW}, or PATCH for an update"
            )
        body = await json_of(request, self._places, ProvisionBody)
        check_supported(body)
        call = self._backend.for_request(request, reply)
        package = await call.package(package_id(body.service_id))
        message = create_request(body, package, await call.device())
        made = await call.deployments("Create", message, wire.Deployment)
        await call.answer(objects.accepted(made))

    async def _update(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        id_ = deployment_id(request.parameters["id"])
        body = await json_of(request, self._places, UpdateBody)
        call = self._backend.for_request(request, reply)
        changed = await call.deployments("Update", update_request(body, id_), wire.Deployment)
        await call.answer(objects.accepted(changed))

    async def _deprovision(self, request: Request, reply: Reply) -> None:
        query_fields(request, "plan_id", "service_id", "accepts_incomplete")
        id_ = deployment_id(request.parameters["id"])
        call = self._backend.for_request(request, reply)
        message = wire.DeleteDeploymentRequest(deployment=id_)
        ended = await call.deployments("Delete", message, wire.Deployment)
        await call.answer(objects.accepted(ended))

    async def _bind(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        id_ = deployment_id(request.parameters["id"])
        await json_of(request, self._places, BindingBody)
        call = self._backend.for_request(request, reply)
        deployment = await call.deployment(id_)
        package = await call.package(deployment.package_id)
        await call.answer(objects.binding(deployment, package))

    async def _status(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        deployment = await call.deployment(deployment_id(request.parameters["id"]))
        package = await call.package(deployment.package_id)
        device = await call.device()
        await call.answer(objects.whole(deployment, package, device))

    async def _list(self, request: Request, reply: Reply) -> None:
        fields = query_fields(request, _PACKAGE, _PHASE, _DEVICE)
        message = wire.ListDeploymentsRequest(phases=_phases(fields.get(_PHASE, [])))
        if _PACKAGE in fields:
            message.package = package_id(one_of(fields[_PACKAGE], _PACKAGE))
        call = self._backend.for_request(request, reply)
        device = await call.device()
        if _DEVICE in fields and one_of(fields[_DEVICE], _DEVICE) != device.id:
            await call.answer([])
            return
        deployments = await call.listed(message)
        await call.answer([objects.entry(one, device) for one in deployments])


def _phases(words: Sequence[str]) -> Sequence[Phase]:
    for word in words:
        if word not in _PHASES:
            raise invalid(
                f"{excerpt(word)!r} is no phase of a deployment; send one of {', '.join(_PHASES)}"
            )
    return [_PHASES[word] for word in words]
