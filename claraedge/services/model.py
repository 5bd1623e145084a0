"""Services and models that a pipeline needs, and the lease of a job on them, as values. Pure.

Source: Clara 0.7.4, service and connections; 0.7.2, models of an operator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from claraedge.errors import ModelNotReadyError, ServiceError
from claraedge.pipelines.contract import TRITON_GRPC_PORT, TRITON_HTTP_PORT
from claraedge.pipelines.model import Operator, Pipeline, Service
from claraedge.runner.protocol import BindMount

#: Key of the inference server; a service has its digest as key.
INFERENCE = "inference"

#: Path in a service of the folder that all services share (Clara's default).
COMMON = "/clara/common"
#: Path in an operator of the shared folders of services; the connection's name follows.
_VOLUMES = "/clara/volumes"
#: The most services of a network; their addresses are at its end, those of operators at its
#: beginning.
_MOST = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The services and models that must run before a pipeline's first operator."""

    services: Mapping[str, Service]
    """Key -> its first definition in the pipeline; without those that are deployments."""
    deployed: Mapping[str, Service]
    """The same for those that are deployments."""
    models: tuple[str, ...]
    """Names without duplicates, in the order of the pipeline."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all companions that must run, in a fixed order."""
        return tuple(sorted((*self.services, *([INFERENCE] if self.models else []))))


def key(service: Service) -> str:
    """Returns the key of a service; services with equal keys share one container.

    That of a deployment is its name and that of its component. Otherwise it covers image, tag and
    command (as in Clara), what a running container cannot be given any more (folders and GPUs),
    and, if it has folders, the pipeline. Name and variables are not part of it.
    """
    if service.deployment:
        return f"{service.deployment}/{service.component}"
    folders = sorted({volume.path for volume in service.volumes})
    content = msgspec.json.encode([*service.identity, folders, gpus_of(service), service.owner])
    return hashlib.sha256(content).hexdigest()[:16]


def gpus_of(service: Service) -> int:
    """Returns the number of GPUs of its container: whole ones, or one if it requests a share.

    It shares them with the operators that use it.
    """
    return service.requests.gpu or (1 if service.requests.gpu_memory else 0)


def uses_services(pipeline: Pipeline) -> bool:
    """Returns whether a job of the pipeline needs services or models."""
    return any(o.services or o.models for o in pipeline.operators)


def deployments_of(pipeline: Pipeline) -> frozenset[str]:
    """Returns the names or ids of the deployments that jobs of the pipeline use."""
    return frozenset(s.deployment for o in pipeline.operators for s in o.services if s.deployment)


def needs(pipeline: Pipeline, model_limit: int) -> Needs:
    """Returns the needs of a pipeline.

    Raises ModelNotReadyError if it names more than `model_limit` models, and ServiceError if it
    names more services than a network has addresses for.
    """
    services: dict[str, Service] = {}
    deployed: dict[str, Service] = {}
    models: dict[str, None] = {}
    for operator in pipeline.operators:
        for service in operator.services:
            (deployed if service.deployment else services).setdefault(key(service), service)
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
    return Needs(services=services, deployed=deployed, models=tuple(models))


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A service, as the operators of one job reach it."""

    host: str
    network: str
    """The private network on which it has this address."""
    port: int | None
    """The port of connections that name none: the first one that its image exposes, or the only
    endpoint of a deployment.
    """
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Path in the service -> the folder of this machine that is mounted there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The services and models of a job, and how its operators reach them, until it is released."""

    job: str
    network: str | None = None
    """The job's private network with its companions; None: it needs none. It has another one with
    each deployment.
    """
    triton: str | None = None
    """Host of the inference server, which has loaded all models of the job; None: not needed."""
    triton_ports: tuple[int, int] = (TRITON_HTTP_PORT, TRITON_GRPC_PORT)
    """Ports for HTTP and gRPC."""
    notes: tuple[str, ...] = ()
    """Messages to add to the job."""
    peers: Mapping[str, Peer] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether the job needs no service and no model."""
        return self.network is None and not self.peers

    def networks(self, operator: Operator) -> dict[str, str]:
        """Returns `ContainerSpec.networks` of the operator; none if it uses no service."""
        found = {self.peers[key(service)].network: "" for service in operator.services}
        return {**found, self.network: ""} if self.network and operator.models else found

    def connections(self, operator: Operator) -> dict[str, str]:
        """Returns, per connection of the operator, `host:port` or a path in its container."""
        found = {}
        for service in operator.services:
            peer = self.peers[key(service)]
            for http in service.http:
                found[http.name] = f"{peer.host}:{http.port or peer.port}"
            for volume in service.volumes:
                found[volume.name] = f"{_VOLUMES}/{volume.name}"
        return found

    def mounts(self, operator: Operator) -> tuple[BindMount, ...]:
        """Returns the mounts of folders that the operator shares with its services."""
        return tuple(
            BindMount(
                source=self.peers[key(service)].folders[volume.path],
                target=f"{_VOLUMES}/{volume.name}",
                read_only=False,
            )
            for service in operator.services
            for volume in service.volumes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionUsage:
    """What companions occupy at one time, including those that are ending."""

    memory: Mapping[str, int]
    """Key -> megabytes; one that ends and its successor share a key, and are added."""
    gpus: frozenset[str]
    """CDI names of all of their GPUs."""
    used_gpus: frozenset[str]
    """Those of companions that jobs use."""
    gpu_users: frozenset[str]
    """The jobs that use one with a GPU; none: it yields its GPU (`Services.yield_gpu`)."""


def room_for(
    wanted: Sequence[str], loaded: Sequence[str], in_use: frozenset[str], limit: int
) -> tuple[str, ...] | None:
    """Returns the models to unload before these are loaded; None: there is no room yet.

    `loaded`: the least recently used first. `in_use`: by other jobs, which must release some first.
    """
    excess = len({*loaded, *wanted}) - limit
    if excess <= 0:
        return ()
    idle = [name for name in loaded if name not in in_use and name not in wanted]
    return tuple(idle[:excess]) if len(idle) >= excess else None
