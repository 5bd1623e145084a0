"""Serves native and routed networks."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import Iterable
from functools import partial

from claraedge.web.http.failures import excerpt, invalid
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rapyuta.backend import Backend
from claraedge.web.rapyuta.refusals import CLOUD_NETWORKS, refusal
from claraedge.web.rapyuta.requests import json_of, network_id, query_fields
from claraedge.web.rapyuta.values import networks as objects
from claraedge.web.rapyuta.values.bodies import NetworkBody, NetworkParameters
from claraedge.web.rapyuta.values.words import POLICIES
from claraedge.wire.claraedge.v1 import deployments_pb2, packages_pb2
from claraedge.wire.claraedge.v1 import networks_pb2 as wire

_KINDS = {
    "/nativenetwork": wire.NETWORK_KIND_NATIVE,
    "/routednetwork": wire.NETWORK_KIND_ROUTED,
}


class NetworkRoutes:
    """Creates, lists, shows and deletes networks of this device."""

    def __init__(self, backend: Backend, places: Semaphore) -> None:
        self._backend = backend
        self._places = places

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        for root, kind in _KINDS.items():
            yield Route("POST", root, partial(self._create, kind))
            yield Route("GET", root, partial(self._list, kind))
            yield Route("GET", f"{root}/{{id}}", self._get)
            yield Route("DELETE", f"{root}/{{id}}", self._delete)

    async def _create(
        self, kind: wire.NetworkKind.ValueType, request: Request, reply: Reply
    ) -> None:
        query_fields(request)
        body = await json_of(request, self._places, NetworkBody)
        call = self._backend.for_request(request, reply)
        device = await call.device()
        message = create_request(body, kind, device)
        made = await call.networks("Create", message, wire.PrivateNetwork)
        await call.answer(objects.network(made, device))

    async def _list(self, kind: wire.NetworkKind.ValueType, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        message = wire.ListNetworksRequest(kind=kind)
        found = await call.networks("List", message, wire.ListNetworksResponse)
        device = await call.device()
        await call.answer([objects.network(each, device) for each in found.networks])

    async def _get(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        message = wire.GetNetworkRequest(network=network_id(request.parameters["id"]))
        found = await call.networks("Get", message, wire.PrivateNetwork)
        await call.answer(objects.network(found, await call.device()))

    async def _delete(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        message = wire.DeleteNetworkRequest(network=network_id(request.parameters["id"]))
        await call.networks("Delete", message, wire.PrivateNetwork)
        await call.answer({"success": True})


def create_request(
    body: NetworkBody, kind: wire.NetworkKind.ValueType, device: deployments_pb2.Device
) -> wire.CreateNetworkRequest:
    """Returns the request that creates a network as `body` says. Raises HttpError (400, 501)."""
    if body.runtime != "device":
        raise refusal(CLOUD_NETWORKS)
    given = body.parameters or NetworkParameters()
    if given.device_id != device.id:
        raise invalid(
            f"parameters.device_id is {excerpt(given.device_id)!r}, which is not this device; send"
            f" {device.id!r}, which get_all_devices returns"
        )
    if given.limits is not None:
        raise invalid(
            "parameters.limits is for networks in a cloud; leave it out for one of a device"
        )
    words = {word: policy for policy, word in POLICIES.items()}
    word = given.restart_policy
    if word is not None and word not in words:
        raise invalid(
            f"parameters.restart_policy is {excerpt(word)!r}; send one of {', '.join(words)}"
        )
    return wire.CreateNetworkRequest(
        name=body.name,
        kind=kind,
        ros_distro=body.ros_distro,
        interface=given.network_interface,
        restart_policy=packages_pb2.RESTART_POLICY_UNKNOWN if word is None else words[word],
    )
