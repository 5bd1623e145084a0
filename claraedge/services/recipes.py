"""Recipes: specifications of service containers, from a definition or from settings. Pure."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from claraedge.config import InferenceSettings
from claraedge.errors import ServiceError
from claraedge.pipelines.contract import expand, service_environment
from claraedge.pipelines.model import Service
from claraedge.pipelines.tmpfs import TmpfsRule
from claraedge.runner.protocol import BindMount, ContainerSpec, Image
from claraedge.services.model import COMMON, INFERENCE, gpus_of
from claraedge.supervised.recipe import UNNAMED, Recipe

_MEGABYTE = 1024 * 1024
#: Path of the models in the inference server.
_MODELS = "/models"


def shared_folder(volumes: Path, key: str, path: str) -> Path:
    """Returns the folder of this machine for a path of a service, which operators share."""
    return volumes / key / quote(path, safe="")


def of_service(
    key: str,
    service: Service,
    image: Image,
    *,
    memory: int,
    tmpfs: TmpfsRule,
    common: Path,
    volumes: Path,
    gpus: tuple[str, ...],
) -> Recipe:
    """Returns the recipe of a service.

    `memory`: megabytes reserved for it; `gpus`: the GPUs of the device. Raises ServiceError if the
    device has too few GPUs, or a connection has no port.
    """
    wanted = gpus_of(service)
    if wanted > len(gpus):
        raise ServiceError(
            f"the service {service.name} asks for {wanted} GPUs, and the device has {len(gpus)}"
        )
    for connection in service.http:
        if connection.port is None and not image.ports:
            raise ServiceError(
                f"the connection {connection.name} of the service {service.name} has no `port:`,"
                f" and the image {service.own_container.reference} exposes none; write the port"
                " that the service listens on"
            )
    paths = {volume.path for volume in service.volumes}
    folders = {path: shared_folder(volumes, key, path) for path in sorted(paths)}
    variables = service_environment(
        service, data_path=COMMON, connections={v.name: v.path for v in service.volumes}
    )
    container = service.own_container
    limit = service.requests.memory or None
    room = tmpfs.of(container, limit)
    return Recipe(
        key=key,
        name=f"service {service.name}",
        spec=ContainerSpec(
            name="",
            image=image.id,
            entrypoint=container.entrypoint,
            command=tuple(expand(part, variables) for part in container.command),
            working_dir=container.working_dir,
            environment=variables,
            mounts=(
                BindMount(source=common, target=COMMON, read_only=True),
                *(BindMount(source=f, target=p, read_only=False) for p, f in folders.items()),
            ),
            log_path=UNNAMED,
            memory=_bytes(limit),
            shared_memory=_bytes(room.shared_memory),
            scratch=_bytes(room.scratch),
            devices=gpus[:wanted],
            writable_root=container.writable_root,
        ),
        ports=ports(service, image),
        memory=memory,
        first_port=image.ports[0] if image.ports else None,
        folders=tuple(folders.values()),
    )


def ports(service: Service, image: Image) -> tuple[int, ...]:
    """Returns the ports at which operators reach a service, without duplicates."""
    first = image.ports[0] if image.ports else None
    named = (connection.port or first for connection in service.http)
    return tuple(sorted({port for port in named if port is not None}))


def of_inference(
    settings: InferenceSettings, image: Image, *, memory: int, models: Path, gpus: tuple[str, ...]
) -> Recipe:
    """Returns the recipe of the inference server; `memory`: megabytes reserved for it."""
    return Recipe(
        key=INFERENCE,
        name="inference server",
        spec=ContainerSpec(
            name="",
            image=image.id,
            command=settings.command,
            mounts=(BindMount(source=models, target=_MODELS, read_only=True),),
            log_path=UNNAMED,
            memory=_bytes(settings.memory),
            shared_memory=settings.shared_memory * _MEGABYTE,
            devices=gpus[: settings.gpus],
            # A third-party program that may write anywhere; what it writes is removed with its
            # container.
            writable_root=True,
        ),
        memory=memory,
    )


def _bytes(megabytes: int | None) -> int | None:
    return megabytes * _MEGABYTE if megabytes else None
