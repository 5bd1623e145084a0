"""A pipeline as the engine uses it: checked, resolved, immutable, with a JSON snapshot."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec


class DefinitionPart(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Base class of all parts: immutable, created by keyword, and strict when decoded."""


class ContainerDefinition(DefinitionPart, frozen=True, kw_only=True):
    """The `container:` of an operator or a service."""

    image: str
    tag: str = "latest"
    command: tuple[str, ...] = ()
    """Docker's CMD."""
    entrypoint: tuple[str, ...] = ()
    """Replaces the image's ENTRYPOINT and CMD. No definition sets this and the following fields:
    they come from the manifest of an application (`application.applied`).
    """
    working_dir: str | None = None
    """An absolute path; None: the image's own."""
    shared_memory: int | None = None
    """Megabytes (2**20 bytes) of /dev/shm; None: by the rules in `tmpfs`."""
    writable_root: bool = False

    @property
    def reference(self) -> str:
        """`image:tag`, or the image itself where it contains a digest."""
        return self.image if "@" in self.image else f"{self.image}:{self.tag}"


class IoEntry(DefinitionPart, frozen=True, kw_only=True):
    """An entry of `input:` or `output:`: a folder of files, or a value in shared memory."""

    path: str
    """An absolute path in the container: of a folder, or of the file of a value in shared memory,
    which the language (`fastio`) decides and not the definition.
    """
    name: str | None = None
    type: str | None = None
    """The definition's `type` in its short form: `stream`, `array`, `string`, `u8`...; None: not
    written, so a folder of files.
    """
    element_type: str | None = None
    """For a stream: the label that both ends have. For an array: a primitive in its short form."""
    shape: tuple[int, ...] | None = None
    """For an array: its lengths, -1 where a length is known only at run time."""

    @property
    def in_memory(self) -> bool:
        """Whether this is a value in shared memory, and therefore a file and not a folder."""
        return self.type not in (None, "stream")


class Input(IoEntry, frozen=True, kw_only=True):
    """What an operator reads: the job's payload, or an output of another operator.

    With a source, its name is that of the output, in the output's spelling; None: the only output
    of that operator, which has no name, or, where it has several, its whole folder with one
    sub-folder for each output. Without a source the name is a label.
    """

    source: str | None = None
    """`from`: the operator that writes it, in that operator's own spelling; None: the payload."""


class Output(IoEntry, frozen=True, kw_only=True):
    """What an operator writes: a folder of files, or a value in shared memory."""


class Requests(DefinitionPart, frozen=True, kw_only=True):
    """Resources that an operator requests. None: not written in the definition."""

    cpu: int | None = None
    """Logical cores, reserved only where this is written."""
    memory: int | None = None
    """Megabytes (2**20 bytes)."""
    gpu: int | None = None
    """Number of whole devices; None: no device."""
    gpu_memory: int | None = None
    """Megabytes (2**20 bytes) of one device that others share."""


class HttpConnection(DefinitionPart, frozen=True, kw_only=True):
    """An entry of `connections.http` of a service: how operators reach it."""

    name: str
    """The operator's variable that contains `host:port`."""
    port: int | None = None
    """The port that the service listens on; None: not given in the definition."""


class VolumeConnection(DefinitionPart, frozen=True, kw_only=True):
    """An entry of `connections.volume` (or `file`): a folder that a service shares with the
    operator.
    """

    name: str
    """The operator's variable that contains the path."""
    path: str
    """An absolute path in the service's container."""


class Service(DefinitionPart, frozen=True, kw_only=True):
    """A container that runs alongside the operators that name it, and is shared by jobs; or a
    deployment, which runs whether or not jobs use it.
    """

    name: str
    container: ContainerDefinition | None = None
    """None: it is a deployment."""
    deployment: str = ""
    """Name or id of a deployment of this device that is used in place of a container."""
    component: str = ""
    """The component of that deployment; empty: the only one."""
    description: str = ""
    variables: Mapping[str, str] = {}
    requests: Requests = Requests()
    http: tuple[HttpConnection, ...] = ()
    volumes: tuple[VolumeConnection, ...] = ()
    owner: str = ""
    """The id of the only pipeline whose jobs share it; empty: all that name it share it."""

    @property
    def own_container(self) -> ContainerDefinition:
        """The container of a service that is no deployment."""
        assert self.container is not None, "it is a deployment"
        return self.container

    @property
    def identity(self) -> tuple[str, tuple[str, ...]]:
        """What identifies a service with a container: two with equal values are the same (Clara
        0.7.4: image, tag and command).
        """
        return (self.own_container.reference, self.own_container.command)


class Retry(DefinitionPart, frozen=True, kw_only=True):
    """How an operator that fails is run again."""

    attempts: int
    """Number of attempts, including the first one."""
    backoff: int = 1
    """Seconds before the second attempt; doubled for each further one."""
    exceptions: tuple[int, ...] = ()
    """Exit codes after which it is not run again."""


class Operator(DefinitionPart, frozen=True, kw_only=True):
    """An operator: one container of the pipeline."""

    name: str
    container: ContainerDefinition
    description: str = ""
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    variables: Mapping[str, str] = {}
    requests: Requests = Requests()
    timeout: int | None = None
    """Seconds that one attempt may last."""
    retry: Retry | None = None
    outside: bool = False
    """Whether it reaches what this machine reaches; otherwise only its services."""
    order: tuple[str, ...] = ()
    """Operators that run first although none of their outputs is read, in their own spelling."""
    models: tuple[str, ...] = ()
    """Names of models that an inference server has to have loaded."""
    services: tuple[Service, ...] = ()

    @property
    def sources(self) -> frozenset[str]:
        """Names of the operators whose outputs this one reads."""
        return frozenset(i.source for i in self.inputs if i.source is not None)

    @property
    def upstream(self) -> frozenset[str]:
        """Names of the operators that this one waits for."""
        return self.sources.union(self.order)


class Pipeline(DefinitionPart, frozen=True, kw_only=True):
    """A definition, resolved once. A job keeps the pipeline that it was started with."""

    api_version: str
    name: str
    description: str = ""
    orchestrator: str | None = None
    """`Clara` or `Argo`, as written. One engine runs both."""
    timeout: int | None = None
    """Seconds that the operators of a job may run; None: the site's default."""
    pull_secrets: tuple[str, ...] = ()
    """Names of configured credentials that pulls of the images may use."""
    operators: tuple[Operator, ...]
    """At least one, in the order of the definition; names are unique without regard to case."""

    def operator(self, name: str) -> Operator | None:
        """Returns the operator of this name, compared without case; None where there is none."""
        folded = name.casefold()
        return next((o for o in self.operators if o.name.casefold() == folded), None)

    def with_operator(self, operator: Operator) -> Pipeline:
        """Returns the same pipeline with this operator in place of the one with its name."""
        return self.with_operators({operator.name: operator})

    def with_operators(self, operators: Mapping[str, Operator]) -> Pipeline:
        """Returns the same pipeline with these operators, by name, in place of its own."""
        changed = tuple(operators.get(o.name, o) for o in self.operators)
        return msgspec.structs.replace(self, operators=changed)

    def owned(self, pipeline: str) -> Pipeline:
        """Returns the pipeline as the registered one with this id, which owns its services with
        volumes.

        What services and operators leave in shared folders is not for other pipelines, so such a
        service is not shared with them.
        """
        operators = tuple(
            msgspec.structs.replace(
                operator,
                services=tuple(
                    msgspec.structs.replace(service, owner=pipeline) if service.volumes else service
                    for service in operator.services
                ),
            )
            for operator in self.operators
        )
        return msgspec.structs.replace(self, operators=operators)

    def sorter(self) -> graphlib.TopologicalSorter[str]:
        """Returns a new sorter over operator names; the graph has no cycle (checked
        when loaded).
        """
        return graphlib.TopologicalSorter({o.name: o.upstream for o in self.operators})

    def downstream(self) -> Mapping[str, tuple[str, ...]]:
        """Returns operator name -> the operators that wait for it, in the order of the
        definition.
        """
        waiting: dict[str, list[str]] = {o.name: [] for o in self.operators}
        for operator in self.operators:
            for source in operator.upstream:
                waiting[source].append(operator.name)
        return {name: tuple(names) for name, names in waiting.items()}

    def roots(self) -> tuple[str, ...]:
        """Returns the operators that wait for no other."""
        return tuple(o.name for o in self.operators if not o.upstream)


class DefinitionFile(DefinitionPart, frozen=True, kw_only=True):
    """One file of a definition as a client sent it; the path is only a name."""

    path: str
    content: str


#: Created with the module: two threads must not be the first to decode a type at the same time.
#: The longest snapshot that is kept, in characters: that of some 2,000 operators.
_KEPT = 1 << 20
_DECODER = msgspec.json.Decoder(Pipeline)


def encode(pipeline: Pipeline) -> str:
    """Returns the snapshot as JSON text."""
    return msgspec.json.encode(pipeline).decode()


def decode(snapshot: str) -> Pipeline:
    """Returns the pipeline of a snapshot that `encode` wrote."""
    return (_kept if len(snapshot) <= _KEPT else _DECODER.decode)(snapshot)


@lru_cache(maxsize=2)
def _kept(snapshot: str) -> Pipeline:
    """Decodes a snapshot; keeps it, since calls about the same job follow one another."""
    return _DECODER.decode(snapshot)


def merge_parts(parts: Iterable[DefinitionFile]) -> tuple[DefinitionFile, ...]:
    """Joins parts of the same file, in order; names that differ only by case are one file.

    Source: Clara 0.8.1, Pipelines Create ("all parts with the same file name are concatenated").
    """
    merged: dict[str, tuple[str, list[str]]] = {}
    for part in parts:
        merged.setdefault(part.path.casefold(), (part.path, []))[1].append(part.content)
    return tuple(
        DefinitionFile(path=path, content="".join(texts)) for path, texts in merged.values()
    )
