"""Registers, finds and lists pipelines. The language itself is in `claraedge.pipelines`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from claraedge import metadata
from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.decoding import decode_json
from claraedge.errors import (
    InvalidRequestError,
    PipelineDefinitionError,
    PipelineListError,
    PipelineLoadError,
    PipelineNotFoundError,
    PipelineOfFileError,
    PipelineStoreError,
    PipelineUpdateError,
)
from claraedge.ids import NewId
from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.checks.load import Loaded, load, load_files
from claraedge.pipelines.model import DefinitionFile, Pipeline, merge_parts
from claraedge.store.database import Database, Row, Transaction
from claraedge.store.failures import reported_as
from claraedge.store.pages import Listing, pages

_log = logging.getLogger(__name__)

MAX_DEFINITION_BYTES = 16 * 1024 * 1024
#: The path of a file is only a name; this limit exceeds that of any file system.
MAX_PATH_BYTES = 4096
#: Bytes of memory for a listed pipeline, in addition to its metadata.
_LISTED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A registered pipeline."""

    id: str
    name: str
    definition: str
    """The digest of the definition's files."""
    created: float
    """Unix seconds."""
    files: tuple[DefinitionFile, ...] = ()
    metadata: Mapping[str, str]
    source: str | None = None
    """The file of `pipelines.d` that defines it; None: it came through the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The answer to a creation or an update."""

    id: str
    warnings: tuple[str, ...]
    """Parts of the definition that have no effect, and values that the start of a job
    has to give.
    """


class Pipelines:
    """The registry of pipelines.

    A call that uses the database also raises what `Database.read` and `Database.write` raise.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        new_id: NewId,
        device: Callable[[], Device],
        *,
        on_created: Callable[[], None] = lambda: None,
    ) -> None:
        """`device` returns what this machine has; it may block. `on_created` is called after each
        commit of a new or changed pipeline, so that the inbox checks waiting items.
        """
        self._database = database
        self._device = device
        self._clock = clock
        self._new_id = new_id
        self.on_created = on_created

    async def create(
        self, parts: Sequence[DefinitionFile], entries: Mapping[str, str], forced_id: str | None
    ) -> Created:
        """Registers a definition.

        Raises PipelineDefinitionError (nothing readable), PipelineLoadError (one message for each
        problem), InvalidMetadataError, InvalidRequestError (the forced id is taken, possibly by a
        removed pipeline that jobs still refer to), PipelineStoreError.
        """
        checked = metadata.check(entries)
        definition = merge_parts(parts)
        loaded = await self.check(definition)
        pipeline = _pipeline(loaded)
        pipeline_id = forced_id or self._new_id()

        def work(tx: Transaction) -> None:
            if tx.row("pipeline_ever", id=pipeline_id) is not None:
                raise InvalidRequestError(
                    f"the pipeline id {pipeline_id} is taken, or was by one that was removed;"
                    " leave it out, or choose another"
                )
            digest = store_definition(tx, definition)
            tx.run(
                "add_pipeline",
                id=pipeline_id,
                name=pipeline.name,
                name_folded=pipeline.name.casefold(),
                definition=digest,
                created=self._clock.now(),
            )
            metadata.add(tx, pipeline_id, checked)

        with reported_as(PipelineStoreError, "the pipeline could not be stored"):
            await self._database.write(work)
        _log.info(
            "pipeline created", extra={"pipeline": pipeline_id, "pipeline_name": pipeline.name}
        )
        self.on_created()
        return Created(id=pipeline_id, warnings=tuple(map(str, loaded.warnings)))

    async def update(self, pipeline: str, parts: Sequence[DefinitionFile]) -> Created:
        """Replaces a definition; existing jobs keep the one that they were created with.

        Raises what `create` raises for a definition, PipelineNotFoundError, PipelineOfFileError,
        PipelineUpdateError.
        """
        # Report what prevents any change before problems of the definition.
        _refuse_file(await self.get(pipeline), "change")
        definition = merge_parts(parts)
        loaded = await self.check(definition)
        name = _pipeline(loaded).name

        def work(tx: Transaction) -> None:
            registered = get(tx, pipeline)
            _refuse_file(registered, "change")
            before = registered.definition
            digest = store_definition(tx, definition)
            tx.run(
                "update_pipeline",
                id=pipeline,
                name=name,
                name_folded=name.casefold(),
                definition=digest,
            )
            if before != digest:
                tx.run("drop_unused_definition", digest=before)

        with reported_as(PipelineUpdateError, f"the pipeline {pipeline} could not be updated"):
            await self._database.write(work)
        _log.info("pipeline updated", extra={"pipeline": pipeline, "pipeline_name": name})
        self.on_created()
        return Created(id=pipeline, warnings=tuple(map(str, loaded.warnings)))

    async def remove(self, pipeline: str) -> None:
        """Removes a pipeline for new jobs; existing jobs keep it and continue.

        Raises PipelineNotFoundError, PipelineOfFileError.
        """

        def work(tx: Transaction) -> None:
            _refuse_file(get(tx, pipeline), "remove")
            tx.run("remove_pipeline", id=pipeline, now=self._clock.now())
            metadata.forget(tx, pipeline)

        await self._database.write(work)
        _log.info("pipeline removed", extra={"pipeline": pipeline})

    async def add_metadata(self, pipeline: str, entries: Mapping[str, str]) -> dict[str, str]:
        """Adds entries; returns the complete set. See `metadata.merge`.

        Raises PipelineNotFoundError, InvalidMetadataError.
        """

        def work(tx: Transaction) -> dict[str, str]:
            get(tx, pipeline)
            return metadata.merge(tx, pipeline, entries)

        return await self._database.write(work)

    async def remove_metadata(self, pipeline: str, keys: Iterable[str]) -> dict[str, str]:
        """Removes keys; returns the remaining entries. See `metadata.remove`.

        Raises PipelineNotFoundError.
        """

        def work(tx: Transaction) -> dict[str, str]:
            get(tx, pipeline)
            return metadata.remove(tx, pipeline, keys)

        return await self._database.write(work)

    async def get(self, pipeline: str) -> Registered:
        """Returns the pipeline with its files. Raises PipelineNotFoundError."""
        return await self._database.read(lambda tx: get(tx, pipeline))

    async def each(self) -> AsyncGenerator[Registered, None]:
        """Yields all pipelines in the order of their creation, without their files.

        Raises PipelineListError.
        """
        listing = Listing(
            rows=lambda tx, after: tx.each("pipelines", after=after),
            key="sequence",
            first=0,
            read=_registered,
            cost=lambda pipeline: _LISTED + metadata.size(pipeline.metadata),
        )
        with reported_as(PipelineListError, "the pipelines could not be listed"):
            async with aclosing(pages(self._database, listing)) as found:
                async for pipeline in found:
                    yield pipeline

    async def check(self, definition: Sequence[DefinitionFile]) -> Loaded:
        """Loads a definition and checks it for this device. Raises PipelineDefinitionError if
        it is empty or too large, or the path of a file is too long.
        """
        return await in_thread(self._checked, definition)

    def _checked(self, definition: Sequence[DefinitionFile]) -> Loaded:
        return _checked(definition, self._device())


def check_definition(definition: Sequence[DefinitionFile]) -> Pipeline:
    """Returns the pipeline of a definition without a job's variables.

    Raises PipelineDefinitionError, or PipelineLoadError with every problem.
    """
    return _pipeline(_checked(definition))


def _checked(definition: Sequence[DefinitionFile], device: Device | None = None) -> Loaded:
    if not definition or not any(file.content.strip() for file in definition):
        raise PipelineDefinitionError(
            "the pipeline holds no definition: nothing but blanks was found; give it the text of"
            " its YAML file"
        )
    if sum(len(file.content) for file in definition) > MAX_DEFINITION_BYTES:
        raise PipelineDefinitionError(
            f"the definition is larger than {MAX_DEFINITION_BYTES} bytes; make it smaller"
        )
    for file in definition:
        if len(file.path.encode()) > MAX_PATH_BYTES:
            raise PipelineDefinitionError(
                f"the path of a file, {file.path[:40]!r}..., is longer than {MAX_PATH_BYTES} bytes;"
                " use a shorter one"
            )
    return load_files(definition) if device is None else load(definition, device=device)


def resolve(
    definition: Sequence[DefinitionFile], variables: Mapping[str, str], job: str
) -> Pipeline:
    """Returns the pipeline of a job that starts with these variables.

    Raises PipelineLoadError with every problem.
    """
    return _pipeline(load(definition, variables, final=True, job=job))


def _pipeline(loaded: Loaded) -> Pipeline:
    if loaded.pipeline is None:
        raise PipelineLoadError(*(str(p) for p in loaded.problems if p.severity == "error"))
    return loaded.pipeline


def get(tx: Transaction, pipeline: str) -> Registered:
    """Returns the pipeline of an id. Raises PipelineNotFoundError."""
    row = tx.row("pipeline", id=pipeline)
    if row is None:
        if why := why_missing(tx, pipeline):
            raise PipelineNotFoundError(f"the pipeline {pipeline} is disabled: {why}")
        raise PipelineNotFoundError(
            f"there is no pipeline {pipeline}; `claraedge list pipelines` shows those there are"
        )
    return _registered(tx, row, with_files=True)


def find(tx: Transaction, name_or_id: str, *, with_files: bool = True) -> Registered | None:
    """Returns the pipeline of an id, or the newest of a name (without regard to case); None where
    there is none.
    """
    row = tx.row("pipeline", id=name_or_id.lower()) or tx.row(
        "newest_pipeline_of_name", name_folded=name_or_id.casefold()
    )
    return None if row is None else _registered(tx, row, with_files=with_files)


def why_missing(tx: Transaction, name_or_id: str) -> str:
    """Returns why `find` finds no such pipeline, and what to do; empty where there
    never was one.
    """
    row = tx.row(
        "pipeline_without_its_file", id=name_or_id.lower(), name_folded=name_or_id.casefold()
    )
    return (
        ""
        if row is None
        else f"its file {row['source']} is gone from the folder of pipelines; put it back"
    )


def _refuse_file(pipeline: Registered, do: str) -> None:
    if pipeline.source is not None:
        raise PipelineOfFileError(
            f"the pipeline {pipeline.id} comes from the file {pipeline.source} in the folder of"
            f" pipelines; {do} that file instead"
        )


def definition_files(tx: Transaction, digest: str) -> tuple[DefinitionFile, ...]:
    """Returns the files of a stored definition."""
    row = tx.row("definition", digest=digest)
    assert row is not None, "rows refer to definitions"
    return decode_json(row["files"], tuple[DefinitionFile, ...])


def digest_of(definition: Sequence[DefinitionFile]) -> str:
    """Returns the digest under which a definition is stored."""
    return hashlib.sha256(msgspec.json.encode(definition)).hexdigest()


def store_definition(tx: Transaction, definition: Sequence[DefinitionFile]) -> str:
    """Stores a definition, unless it is stored already; returns its digest."""
    digest = digest_of(definition)
    tx.run("add_definition", digest=digest, files=msgspec.json.encode(definition).decode())
    return digest


def _registered(tx: Transaction, row: Row, *, with_files: bool = False) -> Registered:
    return Registered(
        id=row["id"],
        name=row["name"],
        definition=row["definition"],
        created=row["created"],
        files=definition_files(tx, row["definition"]) if with_files else (),
        metadata=metadata.read(tx, row["id"]),
        source=row["source"],
    )
