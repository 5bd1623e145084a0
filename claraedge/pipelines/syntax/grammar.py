"""Declares the objects of the definition language: their properties, meaning and bounds. Pure.

This is the only place where a property is declared. The reader gets its names and bounds from
here, and `schema` generates the JSON schema for editors. The docstrings of the classes are texts of
that schema. Source: Clara 0.7.4 and 0.8.1, Pipelines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

API_VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0")
TYPED_FROM = "0.5.0"
"""From this version on, inputs and outputs have a type, and outputs a name."""

FIRST_PORT = 1024
"""The lowest port of a service with a container."""

NAME = r"[A-Za-z0-9_-]{1,255}"
VARIABLE = r"[A-Za-z_.-][A-Za-z0-9_.-]{0,254}"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
PLACEHOLDER = r"\$\{\{[^{}]*\}\}"

Name: TypeAlias = Annotated[str, Meta(pattern=f"^(?:{NAME}|.*{PLACEHOLDER}.*)$")]
Filled: TypeAlias = Annotated[
    str, Meta(pattern=PLACEHOLDER, description="A value that holds a placeholder `${{ NAME }}`.")
]
Scalar: TypeAlias = str | int | float | bool | None
ApiVersion: TypeAlias = Annotated[
    Literal["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0"],
    Meta(description="Version of the definition language. 0.4.0 is the usual one."),
]
Path: TypeAlias = Annotated[
    str,
    Meta(pattern=f"^/|{PLACEHOLDER}", description="A folder of the container, absolute."),
]
Variables: TypeAlias = Annotated[
    dict[Annotated[str, Meta(pattern=f"^{VARIABLE}$")], Scalar],
    Meta(description="Environment of the container. `$(NAME)` is replaced when it runs."),
]
Command: TypeAlias = Annotated[
    list[Scalar],
    Meta(
        description="Arguments of the image's entry point; the whole command where it has none."
        " `$(NAME)` is replaced by a variable when it runs."
    ),
]


class Object(msgspec.Struct, rename="kebab"):
    """An object of the language. A property that is not declared has no effect."""


class ImportObject(Object):
    """Imports an operator or a service from another file of the definition."""

    path: Annotated[str, Meta(description="The file, relative to the one that imports it.")]
    args: (
        Annotated[
            dict[str, Scalar],
            Meta(description="Values for the file's `parameters`. A service has none."),
        ]
        | UnsetType
    ) = UNSET


class ContainerObject(Object):
    """The image that is run, and its command."""

    image: Annotated[
        str,
        Meta(
            description="Name of the image: `clara/dicom-reader` for one of the configured"
            " registries, a full name, or one that is pinned as `NAME@sha256:...`."
        ),
    ]
    tag: (
        Annotated[Scalar, Meta(description="Tag of the image; `latest` where it is not written.")]
        | UnsetType
    ) = UNSET
    command: Command | UnsetType = UNSET
    variables: Variables | UnsetType = UNSET


class RequestsObject(Object):
    """What is asked of the device. 0 asks for nothing."""

    cpu: (
        Annotated[int, Meta(ge=0, le=1024, description="Logical cores that are reserved.")]
        | Filled
        | UnsetType
    ) = UNSET
    memory: (
        Annotated[int, Meta(ge=0, le=1 << 24, description="Megabytes (2**20 bytes).")]
        | Filled
        | UnsetType
    ) = UNSET
    gpu: (
        Annotated[int, Meta(ge=0, le=64, description="Whole GPUs, for this operator alone.")]
        | Filled
        | UnsetType
    ) = UNSET
    gpu_memory: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=1 << 20,
                description="Megabytes of one GPU, which others share (claraedge's own).",
            ),
        ]
        | Filled
        | UnsetType
    ) = UNSET


class TypedEntry(Object):
    """Properties that inputs and outputs share."""

    path: Path | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    type: (
        Annotated[
            str,
            Meta(
                description="From api-version 0.5.0 on: `stream` is a folder of files; `array`,"
                " `string` and primitives, as `u8` or `float32`, are values in shared memory."
            ),
        ]
        | UnsetType
    ) = UNSET
    element_type: (
        Annotated[
            str,
            Meta(description="Of a stream, any label; of an array, a primitive as `float32`."),
        ]
        | UnsetType
    ) = UNSET
    shape: (
        Annotated[
            list[Annotated[int, Meta(ge=-1)] | Filled],
            Meta(
                min_length=1,
                max_length=16,
                description="Of an array: its lengths; -1 where only the run decides.",
            ),
        ]
        | UnsetType
    ) = UNSET


class InputEntry(TypedEntry):
    """What an operator reads: the job's payload, or with `from` another operator's output."""

    from_: Annotated[str, Meta(description="The operator whose output is read.")] | UnsetType = (
        field(name="from", default=UNSET)
    )


class OutputEntry(TypedEntry):
    """What an operator writes."""


class ModelEntry(Object):
    """A model that an inference server holds ready while the job runs."""

    name: Annotated[str, Meta(description="Name of a model in the model repository.")]


class OrderEntry(Object):
    """An operator that comes first although nothing of it is read."""

    from_: Annotated[str, Meta(description="The operator that comes first.")] = field(name="from")


class HttpConnectionEntry(Object):
    """A port of a service."""

    name: Annotated[
        str, Meta(description="The operator's variable that holds `host:port` of the service.")
    ]
    port: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=65535,
                description="The port that the service listens on: from 1024 on, of a deployment"
                " any.",
            ),
        ]
        | Filled
        | UnsetType
    ) = UNSET


class VolumeConnectionEntry(Object):
    """A folder that a service shares with the operators that use it."""

    name: Annotated[str, Meta(description="The operator's variable that holds the path.")]
    path: Path


class ConnectionsObject(Object):
    """How operators reach a service."""

    http: list[HttpConnectionEntry] | UnsetType = UNSET
    volume: list[VolumeConnectionEntry] | UnsetType = UNSET
    file: list[VolumeConnectionEntry] | UnsetType = UNSET
    """Another word for `volume`."""


class Described(Object):
    """What documents and entries have in common."""

    name: Name | UnsetType = UNSET
    description: Annotated[str, Meta(description="For people; it has no effect.")] | UnsetType = (
        UNSET
    )


class RetryObject(Object):
    """How an operator that fails is run again (claraedge's own)."""

    attempts: (
        Annotated[int, Meta(ge=1, le=20, description="In all, the first one included.")] | Filled
    )
    backoff: (
        Annotated[
            int,
            Meta(
                ge=0, le=3600, description="Seconds before the second attempt; doubled each time."
            ),
        ]
        | Filled
        | UnsetType
    ) = UNSET
    except_: (
        Annotated[
            list[Annotated[int, Meta(ge=1, le=255)] | Filled],
            Meta(description="Exit codes after which it is not run again."),
        ]
        | UnsetType
    ) = field(name="except", default=UNSET)


class ServiceObject(Described):
    """A container that runs while the operators run; deprecated in Clara since 0.7.1. Or a
    deployment that runs already (claraedge's own).
    """

    container: ContainerObject | UnsetType = UNSET
    deployment: (
        Annotated[
            str,
            Meta(
                description="Name of a deployment of this device, which is used in place of a"
                " container (claraedge's own)."
            ),
        ]
        | UnsetType
    ) = UNSET
    component: (
        Annotated[str, Meta(description="Its component, where the deployment has several.")]
        | UnsetType
    ) = UNSET
    requests: RequestsObject | UnsetType = UNSET
    variables: Variables | UnsetType = UNSET
    connections: ConnectionsObject | UnsetType = UNSET


class ServiceEntry(ServiceObject):
    """An entry of `services`: written out, or imported with what it replaces."""

    import_: ImportObject | UnsetType = field(name="import", default=UNSET)


class OperatorObject(Described):
    """A container that is run once its inputs are complete."""

    container: ContainerObject | UnsetType = UNSET
    input: list[InputEntry] | UnsetType = UNSET
    output: list[OutputEntry] | UnsetType = UNSET
    requests: RequestsObject | UnsetType = UNSET
    variables: Variables | UnsetType = UNSET
    timeout: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=7 * 86400,
                description="Seconds that one attempt may last (claraedge's own).",
            ),
        ]
        | Filled
        | UnsetType
    ) = UNSET
    retry: RetryObject | UnsetType = UNSET
    network: (
        Annotated[
            Literal["none", "outside"],
            Meta(
                description="`outside`: it reaches whatever this machine reaches; else only its"
                " services (claraedge's own)."
            ),
        ]
        | UnsetType
    ) = UNSET
    order: (
        Annotated[
            list[Name | OrderEntry],
            Meta(description="Operators that come first although nothing of theirs is read."),
        ]
        | UnsetType
    ) = UNSET
    models: list[ModelEntry] | UnsetType = UNSET
    services: list[ServiceEntry] | UnsetType = UNSET


class OperatorEntry(OperatorObject):
    """An entry of `operators`: written out, or imported with what it replaces."""

    import_: ImportObject | UnsetType = field(name="import", default=UNSET)


Parameters: TypeAlias = Annotated[
    dict[Annotated[str, Meta(pattern=f"^{NAME}$")], Scalar],
    Meta(description="Names that `${{ NAME }}` stands for, with their defaults."),
]


class OperatorDocument(OperatorEntry):
    """A file that holds one operator, to be imported."""

    api_version: ApiVersion | UnsetType = UNSET
    parameters: Parameters | UnsetType = UNSET


class ServiceDocument(ServiceObject):
    """A file that holds one service, to be imported. It has no parameters."""

    api_version: ApiVersion | UnsetType = UNSET


class PipelineDocument(Object, kw_only=True):
    """A pipeline: operators, and what ties them together."""

    api_version: ApiVersion
    name: Name
    description: Annotated[str, Meta(description="For people; it has no effect.")] | UnsetType = (
        UNSET
    )
    parameters: Parameters | UnsetType = UNSET
    orchestrator: (
        Annotated[
            Literal["Clara", "Argo"], Meta(description="One engine runs both; it has no effect.")
        ]
        | UnsetType
    ) = UNSET
    timeout: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=7 * 86400,
                description="Seconds that the operators of a job may run, up to the site's maximum"
                " (claraedge's own).",
            ),
        ]
        | Filled
        | UnsetType
    ) = UNSET
    pull_secrets: (
        Annotated[
            list[str], Meta(description="Configured credentials that pulling the images may use.")
        ]
        | UnsetType
    ) = UNSET
    operators: Annotated[list[OperatorEntry], Meta(min_length=1)]


@cache
def properties(kind: type[Object]) -> Sequence[str]:
    """Returns the names of an object's properties, as definitions write them."""
    return tuple(f.encode_name for f in msgspec.structs.fields(kind))


@cache
def bounds(kind: type[Object], name: str) -> tuple[int, int]:
    """Returns the smallest and the largest allowed value of a whole-number property."""
    (found,) = (f for f in msgspec.structs.fields(kind) if f.encode_name == name)
    number = next(_integers(msgspec.inspect.type_info(found.type)))
    assert number.ge is not None, "the smallest is declared"
    assert number.le is not None, "the largest is declared"
    return number.ge, number.le


def _integers(info: msgspec.inspect.Type) -> Iterator[msgspec.inspect.IntType]:
    match info:
        case msgspec.inspect.UnionType():
            for each in info.types:
                yield from _integers(each)
        case msgspec.inspect.Metadata():
            yield from _integers(info.type)
        case msgspec.inspect.IntType():
            yield info
