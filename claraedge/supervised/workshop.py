"""Creates and removes containers that are kept running."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from claraedge.blocking import in_thread
from claraedge.errors import ClaraedgeError, ContainerError, NetworkError
from claraedge.fs import files
from claraedge.ids import NewId
from claraedge.runner.foreign import clear
from claraedge.runner.log_lines import tail
from claraedge.runner.protocol import (
    LABEL_GPUS,
    LABEL_JOINS,
    LABEL_MEMORY,
    LABEL_RECIPE,
    Container,
    Phase,
    Runner,
)
from claraedge.runner.service import causes
from claraedge.supervised import start_logs
from claraedge.supervised.recipe import Recipe

_log = logging.getLogger(__name__)

#: Bytes of the logs of a key; a log begins again at its part of them.
_LOG_SIZE = 16 * 1024 * 1024
#: The same where one log is kept.
_ONLY_LOG_SIZE = 8 * 1024 * 1024
_SHORT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerKind:
    """What distinguishes the containers of one user of this room."""

    noun: str
    """For messages and in the names of containers, such as `service`."""
    mark: str
    """The label of all of them; its value is the instance."""
    key: str
    """The label with the key of the recipe."""
    title: str
    """The label with the name for people."""
    error: type[ClaraedgeError]
    """Raised for a container that cannot be made or does not stay up."""
    logs: int = 1
    """How many starts have logs of their own, the last ones; 1: all starts write to one log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A container that an earlier daemon created, as its labels describe it."""

    container: str
    digest: str
    """Digest of the recipe by which it was created."""
    gpus: tuple[str, ...] = ()
    memory: int = 0
    """Megabytes that are reserved for it."""
    joins: str = ""
    """Id of the holder whose network namespace it shares; empty: it has one of its own."""
    phase: Phase = Phase.RUNNING


class Workshop:
    """Creates containers of one kind from recipes, and removes them with their artifacts."""

    def __init__(
        self,
        runner: Runner,
        new_id: NewId,
        *,
        kind: ContainerKind,
        folder: Path,
        instance: str,
        grace: float,
        why_unusable: Callable[[str, str], Awaitable[str]],
        on_left: Callable[[], None],
    ) -> None:
        """`folder` gets the folders `logs` and `volumes`. `grace`: seconds between TERM and KILL;
        `why_unusable`: see `Images.why_unusable`.

        `on_left` is called when a container without a keeper may remain.
        """
        self.runner = runner
        self.kind = kind
        self.instance = instance
        self.logs = folder / "logs"
        self.volumes = folder / "volumes"
        """Has one folder per key, which is removed when the container of that key has ended."""
        self.grace = grace
        # A partial container has only its name to show which instance it belongs to.
        self._prefix = f"claraedge-{kind.noun}-{instance[:12]}-"
        self.on_left = on_left
        self._why_unusable = why_unusable
        self._new_id = new_id

    def log_path(self, key: str) -> Path:
        """Returns the path of the log of the last start of this key. Blocks."""
        if self.kind.logs == 1:
            return self.logs / f"{key}.log"
        return start_logs.last(self.logs, key)

    def new_name(self, key: str) -> str:
        """Returns a name for a new container."""
        return f"{self._prefix}{key}-{self._new_id()[:8]}"

    async def make(
        self,
        recipe: Recipe,
        *,
        name: str,
        networks: Mapping[str, str],
        joins: str = "",
    ) -> str:
        """Creates a container without starting it; returns its id.

        `joins`: see `ContainerSpec.joins`. Raises OSError for its folders, ContainerError and the
        other errors of `Runner.create`.
        """
        await in_thread(_make_folders, self.logs, recipe.folders)
        log, size = self.logs / f"{recipe.key}.log", _ONLY_LOG_SIZE
        if self.kind.logs > 1:
            log = await in_thread(start_logs.begin, self.logs, recipe.key, self.kind.logs)
            size = _LOG_SIZE // self.kind.logs
        spec = replace(
            recipe.spec,
            name=name,
            labels={
                **recipe.labels,
                self.kind.mark: self.instance,
                self.kind.key: recipe.key,
                self.kind.title: recipe.name,
                LABEL_RECIPE: recipe.digest,
                LABEL_GPUS: ",".join(recipe.spec.devices),
                LABEL_MEMORY: str(recipe.memory),
            },
            log_path=log,
            log_size=size,
            networks=dict(networks),
            joins=joins,
        )
        try:
            return await self.runner.create(spec)
        except NetworkError:
            raise
        except ContainerError as error:
            raise ContainerError(f"{error}{await self.of_image(recipe)}") from error

    async def present(self) -> list[Container]:
        """Returns all existing containers of this kind."""
        return list(await self.runner.containers({self.kind.mark: self.instance}))

    async def half_made(self) -> list[str]:
        """Returns the names of such containers whose creation has begun and is not complete."""
        return list(await self.runner.half_made(self._prefix))

    def key_of(self, container: Container) -> str:
        """Returns the key of an existing container; empty where it has none."""
        return container.labels.get(self.kind.key, "")

    def title_of(self, container: Container) -> str:
        """Returns the name of an existing container, for people."""
        return container.labels.get(self.kind.title, container.name)

    async def end(self, title: str, container: str) -> bool:
        """Stops and removes a container; returns False if it may remain."""
        try:
            await self.runner.stop(container, self.grace)
        except ClaraedgeError as error:
            extra = {self.kind.noun: title, "reason": str(error)}
            _log.warning("%s did not stop", self.kind.noun, extra=extra)
        return await self.remove(title, container)

    async def remove(self, title: str, container: str) -> bool:
        """Removes a container; returns False if that failed."""
        try:
            await self.runner.remove(container)
        except ClaraedgeError as error:
            extra = {self.kind.noun: title, "reason": str(error)}
            _log.warning("container of a %s left behind", self.kind.noun, extra=extra)
            return False
        return True

    async def remove_all(self, label: str, value: str) -> None:
        """Stops and removes the containers with a label, and partial ones with its value in their
        names.

        Raises RunnerUnavailableError or another error if some may be left.
        """
        found = await self.runner.containers({label: value})
        running = [each.id for each in found if each.phase is Phase.RUNNING]
        await asyncio.gather(*(self.runner.stop(each, self.grace) for each in running))
        for container in found:
            await self.runner.remove(container.id)
        for name in await self.half_made():
            if value in name:
                await self.runner.remove(name)

    async def empty(self, key: str) -> None:
        """Removes the folder of a key below `volumes`, whichever user wrote to it.

        Raises RunnerUnavailableError.
        """
        try:
            await clear(self.runner, self.volumes / key)
        except (OSError, ContainerError) as error:
            extra = {self.kind.noun: key, "reason": str(error)}
            _log.warning("shared folder left behind", extra=extra)

    async def shared(self) -> set[str]:
        """Returns the keys that have folders below `volumes`."""
        return await in_thread(_names, self.volumes)

    async def of_image(self, recipe: Recipe | None) -> str:
        """Returns the defect of its image that may have caused a failure; "": none is known."""
        image = "" if recipe is None else recipe.spec.image
        found = await self._why_unusable(image[:_SHORT], image) if image else ""
        return f"; {found}" if found else ""

    async def last_words(self, key: str) -> str:
        """Returns the last line of its log, with the likely cause, and the path of the log."""
        log = await in_thread(self.log_path, key)
        lines = await in_thread(tail, log, 1)
        said = f"; its last line: {lines[0].strip()[:500]}" if lines else ""
        cause = causes.of_last_line(lines[0]) if lines else None
        return f"{said}{f': {cause}' if cause else ''} (its log: {log})"


def read_found(container: Container, *, memory: int = 0) -> Found:
    """Returns what the labels of an existing container say of it.

    `memory`: megabytes for the container of an older daemon, which has no label with them.
    """
    labels = container.labels
    kept = labels.get(LABEL_MEMORY, "")
    return Found(
        container=container.id,
        digest=labels.get(LABEL_RECIPE, ""),
        gpus=tuple(gpu for gpu in labels.get(LABEL_GPUS, "").split(",") if gpu),
        memory=int(kept) if kept.isdecimal() else memory,
        joins=labels.get(LABEL_JOINS, ""),
        phase=container.phase,
    )


def _make_folders(logs: Path, shared: tuple[Path, ...]) -> None:
    files.make_folders(logs)
    for folder in shared:
        files.make_folders(folder)
        folder.chmod(0o777)  # below folders that only we can enter


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
