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

    @property
    def reference(self) -> str:
        """`image:tag`, or the image itself where it carries a digest."""
        return self.image if "@" in self.image else f"{self.image}:{self.tag}"


class Input(Value, frozen=True, kw_only=True):
    """One folder that an operator reads: the job's payload, or an output of another operator."""

    path: str
    """Absolute in the container."""
    source: str | None = None
    """`from`: the operator that writes it, in that operator's own spelling; None is the payload."""
    name: str | None = None
    """The output's name, in the spelling of the output. None with a source: its only output, which
    has no name, or, where it has several, its whole folder with one sub-folder an output. Without
    a source the name is a label."""


class Output(Value, frozen=True, kw_only=True):
    """One folder that an operator writes."""

    path: str
    name: str | None = None


class Requests(Value, frozen=True, kw_only=True):
    """What an operator asks of the device. None: not written in the definition."""

    cpu: int | None = None
    """Logical cores, reserved only when written."""
    memory: int | None = None
    """Megabytes (2**20 bytes)."""
    gpu: int = 0
    """Whole devices."""


class Operator(Value, frozen=True, kw_only=True):
    """One container of the pipeline."""

    name: str
    container: Container
    description: str = ""
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    variables: Mapping[str, str] = {}
    requests: Requests = Requests()

    @property
    def upstream(self) -> frozenset[str]:
        """Names of the operators whose outputs this one reads."""
        return frozenset(i.source for i in self.inputs if i.source is not None)


class Pipeline(Value, frozen=True, kw_only=True):
    """A definition, resolved once. A job keeps the one that it was started with."""

    api_version: str
    name: str
    description: str = ""
    operators: tuple[Operator, ...]
    """In the order of the definition; at least one; names unique without regard to case."""

    def operator(self, name: str) -> Operator | None:
        """The operator of this name, compared without case."""
        folded = name.casefold()
        return next((o for o in self.operators if o.name.casefold() == folded), None)

    def sorter(self) -> graphlib.TopologicalSorter[str]:
        """A fresh sorter over operator names; the graph has no cycle (checked when loaded)."""
        return graphlib.TopologicalSorter({o.name: o.upstream for o in self.operators})

    def downstream(self) -> Mapping[str, tuple[str, ...]]:
        """Operator name -> the operators that read from it, in the order of the definition."""
        readers: dict[str, list[str]] = {o.name: [] for o in self.operators}
        for operator in self.operators:
            for source in operator.upstream:
                readers[source].append(operator.name)
        return {name: tuple(names) for name, names in readers.items()}

    def roots(self) -> tuple[str, ...]:
        """Operators that wait for no other."""
        return tuple(o.name for o in self.operators if not o.upstream)


class DefinitionFile(Value, frozen=True, kw_only=True):
    """One file of a definition as a client sent it; the path is only a name."""

    path: str
    content: str


def encode(pipeline: Pipeline) -> str:
    """The snapshot as JSON text."""
    return msgspec.json.encode(pipeline).decode()


def decode(snapshot: str) -> Pipeline:
    """The pipeline of a snapshot that `encode` wrote."""
    return msgspec.json.decode(snapshot, type=Pipeline)


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
