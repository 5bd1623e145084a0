"""What runs beside a job, as values, and which of it a pipeline needs. Pure.

Source: Clara 0.7.4, service and connections; 0.7.2, models of an operator.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from claraedge.errors import ModelNotReadyError, NetworkError, ServiceError
from claraedge.pipelines.contract import TRITON_GRPC_PORT, TRITON_HTTP_PORT
from claraedge.pipelines.model import Operator, Pipeline, Service
from claraedge.runner.protocol import Mount

#: Of the inference server, where other things have the digest of a service.
INFERENCE = "inference"

#: Where the folder lies in a service that all services share (Clara's default).
COMMON = "/clara/common"
#: Where shared folders of services lie in an operator; the name of the connection follows.
_VOLUMES = "/clara/volumes"
#: Addresses of services are told from the end of a network's range, those of operators are given
#: out from its beginning. The last few are left to whoever wants one.
_LAST = 5
_MOST = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What has to run before a pipeline's first operator."""

    services: Mapping[str, Service]
    """Key -> the first definition of it in the pipeline."""
    models: tuple[str, ...]
    """In the order in which the pipeline names them, each once."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all that has to run, in a fixed order."""
        return tuple(sorted((*self.services, *([INFERENCE] if self.models else []))))


def key(service: Service) -> str:
    """What makes two services one: image, tag and command (Clara), what a container that runs
    cannot be given any more (folders and GPUs), and, with folders, the pipeline. Neither name nor
    variables belong to it.
    """
    folders = sorted({volume.path for volume in service.volumes})
    content = msgspec.json.encode([*service.identity, folders, gpus_of(service), service.owner])
    return hashlib.sha256(content).hexdigest()[:16]


def gpus_of(service: Service) -> int:
    """The GPUs that its container has: whole ones, or one of which it wants a part. It shares them
    with the operators that use it.
    """
    return service.requests.gpu or (1 if service.requests.gpu_memory else 0)


def uses_services(pipeline: Pipeline) -> bool:
    """Whether anything has to run beside a job of it."""
    return any(o.services or o.models for o in pipeline.operators)


def needs(pipeline: Pipeline, model_limit: int) -> Needs:
    """Raises ModelNotReadyError where it names more models than the server may hold at once, and
    ServiceError where it names more services than a network has room for.
    """
    services: dict[str, Service] = {}
    models: dict[str, None] = {}
    for operator in pipeline.operators:
        for service in operator.services:
            services.setdefault(key(service), service)
        models.update(dict.fromkeys(operator.models))
    if len(models) > model_limit:
        raise ModelNotReadyError(
            f"the pipeline's operators need {len(models)} models at once, and the inference server"
            f" may hold {model_limit}; split the pipeline, or raise inference.model_limit"
        )
    if len(services) >= _MOST:
        raise ServiceError(
            f"the pipeline's operators need {len(services)} services; at most {_MOST - 1} can share"
            " a network; split the pipeline"
        )
    return Needs(services=services, models=tuple(models))


def addresses(subnet: str | None, keys: Sequence[str]) -> dict[str, str]:
    """Where each of these stands on a network: the same whenever it is asked."""
    try:
        last = ipaddress.IPv4Network(subnet or "").broadcast_address - _LAST
    except ValueError as error:
        raise NetworkError(f"Podman made a network without IPv4 addresses ({subnet})") from error
    return {each: str(last - position) for position, each in enumerate(sorted(keys))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A service as the operators of one job see it."""

    host: str
    port: int | None
    """The one that its image names first; for connections that name none."""
    folders: Mapping[str, Path]
    """Path in the service -> the folder of this machine that lies there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What runs beside a job, and how its operators reach it; as long as the job holds it."""

    job: str
    network: str | None = None
    """The job's private network; None: the job needs none."""
    triton: str | None = None
    """Host of the inference server, with all models of the job loaded."""
    triton_ports: tuple[int, int] = (TRITON_HTTP_PORT, TRITON_GRPC_PORT)
    """HTTP, gRPC."""
    notes: tuple[str, ...] = ()
    """What the job's messages should say."""
    peers: Mapping[str, Peer] = field(default_factory=dict)

    def networks(self, operator: Operator) -> dict[str, str]:
        """`ContainerSpec.networks` of the operator: one that uses nothing stays alone."""
        uses = bool(operator.services or operator.models)
        return {self.network: ""} if self.network is not None and uses else {}

    def connections(self, operator: Operator) -> dict[str, str]:
        """Name of each connection of the operator -> `host:port`, or a path in its container."""
        found = {}
        for service in operator.services:
            peer = self.peers[key(service)]
            for http in service.http:
                found[http.name] = f"{peer.host}:{http.port or peer.port}"
            for volume in service.volumes:
                found[volume.name] = f"{_VOLUMES}/{volume.name}"
        return found

    def mounts(self, operator: Operator) -> tuple[Mount, ...]:
        """The folders that the operator shares with its services."""
        return tuple(
            Mount(
                source=self.peers[key(service)].folders[volume.path],
                target=f"{_VOLUMES}/{volume.name}",
                read_only=False,
            )
            for service in operator.services
            for volume in service.volumes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """Which GPUs the containers beside jobs have now."""

    gpus: frozenset[str] = frozenset()
    """CDI names."""
    used: frozenset[str] = frozenset()
    """Those of them that a container has which jobs use."""
    jobs: frozenset[str] = frozenset()
    """Those that use such a container; none: it yields (`Services.yield_gpu`)."""


def room_for(
    wanted: Sequence[str], loaded: Sequence[str], in_use: frozenset[str], limit: int
) -> tuple[str, ...] | None:
    """The models to unload before these are loaded; None: others have to be given back first.

    `loaded`: the least recently used first. `in_use`: by other jobs.
    """
    excess = len({*loaded, *wanted}) - limit
    if excess <= 0:
        return ()
    idle = [name for name in loaded if name not in in_use and name not in wanted]
    return tuple(idle[:excess]) if len(idle) >= excess else None
