"""An image that says itself how it is run, and what an operator of it becomes. Pure.

Sources: MONAI Application Package (MONAI Deploy, guidelines) and its runner of App SDK 0.5;
Holoscan Application Package (Holoscan SDK 2.7, cli/hap) and its runner.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from claraedge.errors import PipelineLoadError
from claraedge.pipelines.model import Container, Entry, Input, Operator, Output, Requests
from claraedge.pipelines.registration import is_registration

_INPUT_VARIABLES = ("HOLOSCAN_INPUT_PATH", "MONAI_INPUTPATH")
_OUTPUT_VARIABLES = ("HOLOSCAN_OUTPUT_PATH", "MONAI_OUTPUTPATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What the manifests of an image say, with the defaults of their specifications."""

    command: tuple[str, ...]
    """Program and arguments, run as they stand: the image's ENTRYPOINT has no part in it."""
    working_dir: str | None = None
    """Absolute; None: not written, so the image's own."""
    input: str
    """Absolute folder in the container."""
    output: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """Literal texts."""
    platform: Mapping[str, str] = field(default_factory=dict)
    """Variables that whoever runs such a package sets; `$(NAME)` in them is expanded."""
    cpu: int | None = None
    memory: int | None = None
    """Megabytes (2**20 bytes)."""
    gpu: int | None = None
    shared_memory: int
    """Megabytes of /dev/shm."""


def may_be_application(operator: Operator) -> bool:
    """Whether the image is to say how it is run: the definition writes no command."""
    container = operator.container
    return not (container.command or container.entrypoint or is_registration(operator))


def applied(operator: Operator, application: Application) -> Operator:
    """The operator with what its definition leaves open filled in from the application.

    Without `input` it reads the job's payload, unless `order` puts it behind others; without
    `output` it has one, without a name. The variables of the paths name the first folder that is
    really mounted. Raises PipelineLoadError where the folders do not go together.
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
    # `$` is doubled, because variables are expanded when the container is made.
    literal = {k: v.replace("$", "$$") for k, v in {**application.environment, **paths}.items()}
    given = {**application.platform, **literal}
    written = operator.requests
    return msgspec.structs.replace(
        operator,
        container=_container(operator.container, application),
        inputs=inputs,
        outputs=outputs,
        # The definition's own stand last: they win, and may refer to those before them.
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


def _container(container: Container, application: Application) -> Container:
    return msgspec.structs.replace(
        container,
        entrypoint=application.command,
        working_dir=application.working_dir,
        shared_memory=application.shared_memory,
        # These packages are made for a root that they can write: MONAI's SDK keeps its work there.
        writable_root=True,
    )


def _folder(entries: Sequence[Entry], otherwise: str) -> str:
    return next((entry.path for entry in entries if not entry.in_memory), otherwise)


def _check_folders(entries: Sequence[Entry]) -> None:
    """Mounts inside one another would hide files, or show outputs as inputs."""
    folders = sorted(f"{entry.path.rstrip('/')}/" for entry in entries if not entry.in_memory)
    for above, below in itertools.pairwise(folders):
        if below.startswith(above):
            raise PipelineLoadError(
                f"its manifest and the definition put folders inside each other, {above[:-1]} and"
                f" {below[:-1]}; write `input` and `output` with a `path` each"
            )
