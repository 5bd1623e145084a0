"""Completes an operator from the manifest in its image, which says how the image is run. Pure.

Sources: MONAI Application Package (MONAI Deploy, guidelines) and its runner of App SDK 0.5;
Holoscan Application Package (Holoscan SDK 2.7, cli/hap) and its runner.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from claraedge.errors import PipelineLoadError
from claraedge.pipelines.model import (
    ContainerDefinition,
    Input,
    IoEntry,
    Operator,
    Output,
    Requests,
)
from claraedge.pipelines.registration import is_registration

_INPUT_VARIABLES = ("HOLOSCAN_INPUT_PATH", "MONAI_INPUTPATH")
_OUTPUT_VARIABLES = ("HOLOSCAN_OUTPUT_PATH", "MONAI_OUTPUTPATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The values of the manifests in an image, with the defaults of their specifications."""

    command: tuple[str, ...]
    """Program and arguments, run unchanged; the image's ENTRYPOINT is not used."""
    working_dir: str | None = None
    """An absolute path; None: not given in the manifest, so the image's own is used."""
    input: str
    """An absolute folder in the container."""
    output: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables with literal values."""
    platform: Mapping[str, str] = field(default_factory=dict)
    """Variables that the platform which runs such a package has to set; `$(NAME)` in them is
    expanded.
    """
    cpu: int | None = None
    memory: int | None = None
    """Megabytes (2**20 bytes)."""
    gpu: int | None = None
    shared_memory: int
    """Megabytes (2**20 bytes) of /dev/shm."""


def may_be_application(operator: Operator) -> bool:
    """Whether the image's manifest decides how it is run: the definition has no command."""
    container = operator.container
    return not (container.command or container.entrypoint or is_registration(operator))


def applied(operator: Operator, application: Application) -> Operator:
    """Returns the operator with gaps in its definition filled from the application.

    Without `input` it reads the job's payload, unless `order` puts it after others; without
    `output` it gets one without a name. The path variables contain the first folder that is really
    mounted. Raises PipelineLoadError where folders are inside one another.
    """
    if not may_be_application(operator):
        return operator
    inputs = operator.inputs
    if not inputs and not operator.order:
        inputs = (Input(path=application.input),)
    outputs = operator.outputs or (Output(path=application.output),)
    _check_folders((*inputs, *outputs))
    paths = {
        **dict.fromkeys(_INPUT_VARIABLES, _folder(inputs, application.input)),
        **dict.fromkeys(_OUTPUT_VARIABLES, _folder(outputs, application.output)),
    }
    # `$` is doubled, because variables are expanded when the container is created.
    literal = {k: v.replace("$", "$$") for k, v in {**application.environment, **paths}.items()}
    given = {**application.platform, **literal}
    written = operator.requests
    return msgspec.structs.replace(
        operator,
        container=_container(operator.container, application),
        inputs=inputs,
        outputs=outputs,
        # Variables of the definition come last: they win, and may refer to those before them.
        variables={
            **{k: v for k, v in given.items() if k not in operator.variables},
            **operator.variables,
        },
        requests=Requests(
            cpu=application.cpu if written.cpu is None else written.cpu,
            memory=application.memory if written.memory is None else written.memory,
            gpu=application.gpu if written.gpu is None else written.gpu,
        ),
    )


def _container(container: ContainerDefinition, application: Application) -> ContainerDefinition:
    return msgspec.structs.replace(
        container,
        entrypoint=application.command,
        working_dir=application.working_dir,
        shared_memory=application.shared_memory,
        # These packages expect a writable root: MONAI's SDK keeps its working files there.
        writable_root=True,
    )


def _folder(entries: Sequence[IoEntry], otherwise: str) -> str:
    return next((entry.path for entry in entries if not entry.in_memory), otherwise)


def _check_folders(entries: Sequence[IoEntry]) -> None:
    """Raises PipelineLoadError for nested mounts, which would hide files, or show outputs as
    inputs.
    """
    folders = sorted(f"{entry.path.rstrip('/')}/" for entry in entries if not entry.in_memory)
    for above, below in itertools.pairwise(folders):
        if below.startswith(above):
            raise PipelineLoadError(
                f"its manifest and the definition put folders inside each other, {above[:-1]} and"
                f" {below[:-1]}; write `input` and `output` with a `path` each"
            )
