"""A pipeline as the engine sees it: checked, resolved, immutable, and its own JSON snapshot."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping

import msgspec


class Value(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Base of all parts: frozen, by keyword, and strict when read back."""


class Container(Value, frozen=True, kw_only=True):
    """`container:` of an operator."""

    image: str
    tag: str = "latest"
    command: tuple[str, ...] = ()
    """Docker's CMD."""
    entrypoint: tuple[str, ...] = ()
    """In place of the image's ENTRYPOINT and CMD. This and what follows no definition writes: they
    come from the manifest of an application (`application.applied`)."""
    working_dir: str | None = None
    """Absolute; None: the image's own."""
    shared_memory: int | None = None
    """Megabytes (2**20 bytes) of /dev/shm; None: as `tmpfs` says."""
    writable_root: bool = False

    @property
    def reference(self) -> str:
        """`image:tag`, or the image itself where it carries a digest."""
        return self.image if "@" in self.image else f"{self.image}:{self.tag}"


class Entry(Value, frozen=True, kw_only=True):
    """One entry of `input:` or `output:`: a folder of files, or a value in shared memory."""

    path: str
    """Absolute in the container: a folder, or for a value in shared memory its file, whose place is
    the language's (`fastio`) and not the definition's."""
    name: str | None = None
    type: str | None = None
    """As the definition's `type`, in its short form: `stream`, `array`, `string`, `u8`...; None:
    not written, a folder of files."""
    element_type: str | None = None
    """Of a stream: the label that both ends carry. Of an array: a primitive in its short form."""
    shape: tuple[int, ...] | None = None
    """Of an array: lengths, -1 where it is known at run time only."""

    @property
    def in_memory(self) -> bool:
        """Whether this is a value in shared memory, so a file and not a folder."""
        return self.type not in (None, "stream")


class Input(Entry, frozen=True, kw_only=True):
    """What an operator reads: the job's payload, or an output of another operator.

    Its name is the output's, in the spelling of the output. None with a source: that operator's
    only output, which has no name, or, where it has several, its whole folder with one sub-folder
    an output. Without a source the name is a label.
    """

    source: str | None = None
    """`from`: the operator that writes it, in that operator's own spelling; None is the payload."""


class Output(Entry, frozen=True, kw_only=True):
    """What an operator writes."""


class Requests(Value, frozen=True, kw_only=True):
    """What an operator asks of the device. None: not written in the definition."""

    cpu: int | None = None
    """Logical cores, reserved only when written."""
    memory: int | None = None
    """Megabytes (2**20 bytes)."""
    gpu: int | None = None
    """Whole devices; not written: none."""
    gpu_memory: int | None = None
    """Megabytes of one device, which others share."""


class HttpConnection(Value, frozen=True, kw_only=True):
    """`connections.http` of a service: how operators reach it."""

    name: str
    """The variable that holds `host:port` in the operator."""
    port: int | None = None
    """The one that the service listens on, where the definition says it."""


class VolumeConnection(Value, frozen=True, kw_only=True):
    """`connections.volume` (or `file`) of a service: a folder that it shares with the operator."""

    name: str
    """The variable that holds the path in the operator."""
    path: str
    """Absolute in the service's container."""


class Service(Value, frozen=True, kw_only=True):
    """A container that runs beside the operators that name it, and is shared by jobs."""

    name: str
    container: Container
    description: str = ""
    variables: Mapping[str, str] = {}
    requests: Requests = Requests()
    http: tuple[HttpConnection, ...] = ()
    volumes: tuple[VolumeConnection, ...] = ()
    owner: str = ""
    """The id of the pipeline whose jobs alone share it; empty: all that name it do."""

    @property
    def identity(self) -> tuple[str, tuple[str, ...]]:
        """What makes two services the same one (Clara 0.7.4: image, tag and command)."""
        return (self.container.reference, self.container.command)


class Retry(Value, frozen=True, kw_only=True):
    """How an operator that fails is run again."""

    attempts: int
    """In all, the first one included."""
    backoff: int = 1
    """Seconds before the second attempt; doubled each time."""
    exceptions: tuple[int, ...] = ()
    """Exit codes after which it is not run again."""


class Operator(Value, frozen=True, kw_only=True):
    """One container of the pipeline."""

    name: str
    container: Container
    description: str = ""
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    variables: Mapping[str, str] = {}
    requests: Requests = Requests()
    timeout: int | None = None
    """Seconds of one attempt."""
    retry: Retry | None = None
    outside: bool = False
    """It reaches what this machine reaches; else its services at most."""
    order: tuple[str, ...] = ()
    """Operators that come first although nothing of theirs is read, in their own spelling."""
    models: tuple[str, ...] = ()
    """Names of models that an inference server holds ready."""
    services: tuple[Service, ...] = ()

    @property
    def sources(self) -> frozenset[str]:
        """Names of the operators whose outputs this one reads."""
        return frozenset(i.source for i in self.inputs if i.source is not None)

    @property
    def upstream(self) -> frozenset[str]:
        """Names of the operators that this one waits for."""
        return self.sources.union(self.order)


class Pipeline(Value, frozen=True, kw_only=True):
    """A definition, resolved once. A job keeps the one that it was started with."""

    api_version: str
    name: str
    description: str = ""
    orchestrator: str | None = None
    """`Clara` or `Argo`, as written. One engine runs both."""
    timeout: int | None = None
    """Seconds that the operators of a job may run; None: the site's default."""
    pull_secrets: tuple[str, ...] = ()
    """Names of configured credentials that pulling the images may use."""
    operators: tuple[Operator, ...]
    """In the order of the definition; at least one; names unique without regard to case."""

    def operator(self, name: str) -> Operator | None:
        """The operator of this name, compared without case."""
        folded = name.casefold()
        return next((o for o in self.operators if o.name.casefold() == folded), None)

    def with_operator(self, operator: Operator) -> Pipeline:
        """The same pipeline with this operator in place of the one of its name."""
        operators = tuple(operator if o.name == operator.name else o for o in self.operators)
        return msgspec.structs.replace(self, operators=operators)

    def owned(self, pipeline: str) -> Pipeline:
        """As the registered pipeline of this id: what its services and operators leave in folders
        that they share is not for those of others, so such a service is its own.
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
        """A fresh sorter over operator names; the graph has no cycle (checked when loaded)."""
        return graphlib.TopologicalSorter({o.name: o.upstream for o in self.operators})

    def downstream(self) -> Mapping[str, tuple[str, ...]]:
        """Operator name -> the operators that wait for it, in the order of the definition."""
        waiting: dict[str, list[str]] = {o.name: [] for o in self.operators}
        for operator in self.operators:
            for source in operator.upstream:
                waiting[source].append(operator.name)
        return {name: tuple(names) for name, names in waiting.items()}

    def roots(self) -> tuple[str, ...]:
        """Operators that wait for no other."""
        return tuple(o.name for o in self.operators if not o.upstream)


class DefinitionFile(Value, frozen=True, kw_only=True):
    """One file of a definition as a client sent it; the path is only a name."""

    path: str
    content: str


#: Made with the module: two threads at once must not be the first to decode a type.
_DECODER = msgspec.json.Decoder(Pipeline)


def encode(pipeline: Pipeline) -> str:
    """The snapshot as JSON text."""
    return msgspec.json.encode(pipeline).decode()


def decode(snapshot: str) -> Pipeline:
    """The pipeline of a snapshot that `encode` wrote."""
    return _DECODER.decode(snapshot)


def merge_parts(parts: Iterable[DefinitionFile]) -> tuple[DefinitionFile, ...]:
    """Joins parts of the same file, in order; names that differ by case alone are one file.

    Source: Clara 0.8.1, Pipelines Create ("all parts with the same file name are concatenated").
    """
    merged: dict[str, tuple[str, list[str]]] = {}
    for part in parts:
        merged.setdefault(part.path.casefold(), (part.path, []))[1].append(part.content)
    return tuple(
        DefinitionFile(path=path, content="".join(texts)) for path, texts in merged.values()
    )
