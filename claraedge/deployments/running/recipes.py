"""Recipes of the containers of a deployment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.deployments.model import DeployedComponent, DeployedExecutable, Deployment
from claraedge.deployments.running.environment import entry
from claraedge.runner.protocol import LABEL_DEPLOYMENT, BindMount, ContainerSpec
from claraedge.supervised.recipe import UNNAMED, Recipe

_MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the device gives to an executable."""

    image: str
    """Id of the image."""
    environment: Mapping[str, str]
    gpus: tuple[str, ...]
    """CDI names."""
    memory: int
    """Megabytes that are reserved for it."""
    folders: Mapping[str, Path]
    """Path in the container -> the folder of this machine."""


def key_of(deployment: str, part: str) -> str:
    """Returns the key of a container: of an executable, or of a component for its holder."""
    return f"{deployment}.{part}"


def of_executable(deployment: Deployment, executable: DeployedExecutable, given: Given) -> Recipe:
    """Returns the recipe of an executable."""
    entrypoint, command = entry(executable)
    limit = executable.memory * _MEGABYTE or None
    return Recipe(
        key=key_of(deployment.id, executable.id),
        name=f"executable {executable.name} of the deployment {deployment.name}",
        spec=ContainerSpec(
            name="",
            image=given.image,
            entrypoint=entrypoint,
            command=command,
            environment=given.environment,
            mounts=tuple(
                BindMount(source=source, target=target, read_only=False)
                for target, source in given.folders.items()
            ),
            log_path=UNNAMED,
            memory=limit,
            shared_memory=limit,
            cpu=executable.cpu or None,
            devices=given.gpus,
            # Programs of others, which may write anywhere; what they write outside of their volumes
            # is removed with the container.
            writable_root=True,
        ),
        memory=given.memory,
        labels={LABEL_DEPLOYMENT: deployment.id},
    )


def of_holder(deployment: Deployment, component: DeployedComponent, image: str) -> Recipe:
    """Returns the recipe of the container with a component's network namespace.

    It is created from the first executable's image and is never started.
    """
    entrypoint, command = entry(component.executables[0])
    return Recipe(
        key=key_of(deployment.id, component.id),
        name=f"network of {component.name} of the deployment {deployment.name}",
        spec=ContainerSpec(
            name="", image=image, entrypoint=entrypoint, command=command, log_path=UNNAMED
        ),
        memory=0,
        labels={LABEL_DEPLOYMENT: deployment.id},
    )


def divided(
    executables: Sequence[DeployedExecutable], gpus: Sequence[str]
) -> Mapping[str, tuple[str, ...]]:
    """Returns, per id of an executable, its GPUs out of those of the deployment, in order."""
    found: dict[str, tuple[str, ...]] = {}
    rest = tuple(gpus)
    for executable in executables:
        found[executable.id], rest = rest[: executable.gpus], rest[executable.gpus :]
    return found
