"""Creates and removes service containers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from claraedge.blocking import in_thread
from claraedge.errors import ClaraedgeError, ContainerError, NetworkError
from claraedge.fs import files
from claraedge.ids import NewId
from claraedge.runner.foreign import clear
from claraedge.runner.log_lines import tail
from claraedge.runner.protocol import (
    LABEL_GPUS,
    LABEL_MEMORY,
    LABEL_RECIPE,
    LABEL_SERVICE,
    LABEL_SERVICE_NAME,
    LABEL_SERVICES,
    Container,
    Runner,
)
from claraedge.runner.service import causes
from claraedge.services.recipes import Recipe

_log = logging.getLogger(__name__)

#: Bytes of a companion's log after which a new file begins.
_LOG_SIZE = 8 * 1024 * 1024
_SHORT = 12


class Workshop:
    """Creates containers from recipes, and removes them with their artifacts."""

    def __init__(
        self,
        runner: Runner,
        new_id: NewId,
        *,
        folder: Path,
        instance: str,
        grace: float,
        why_unusable: Callable[[str, str], Awaitable[str]],
        on_left: Callable[[], None],
    ) -> None:
        """`grace`: seconds between TERM and KILL; `why_unusable`: see `Images.why_unusable`.

        `on_left` is called when a container without a keeper may remain.
        """
        self.runner = runner
        self.instance = instance
        self.logs = folder / "logs"
        self.volumes = folder / "volumes"
        """Has one folder per key, with what that service shares with operators."""
        self.grace = grace
        # A partial container has only its name to show which instance it belongs to.
        self._prefix = f"claraedge-service-{instance[:12]}-"
        self.on_left = on_left
        self._why_unusable = why_unusable
        self._new_id = new_id

    def log_path(self, key: str) -> Path:
        """Returns the path of the log of a companion."""
        return self.logs / f"{key}.log"

    def new_name(self, key: str) -> str:
        """Returns a name for a new container."""
        return f"{self._prefix}{key}-{self._new_id()[:8]}"

    async def make(
        self, key: str, title: str, recipe: Recipe, *, name: str, networks: Mapping[str, str]
    ) -> str:
        """Creates a container without starting it; returns its id.

        Raises OSError for its folders, ContainerError and the other errors of `Runner.create`.
        """
        await in_thread(_make_folders, self.logs, recipe.folders)
        spec = replace(
            recipe.spec,
            name=name,
            labels={
                LABEL_SERVICES: self.instance,
                LABEL_SERVICE: key,
                LABEL_SERVICE_NAME: title,
                LABEL_RECIPE: recipe.digest,
                LABEL_GPUS: ",".join(recipe.spec.devices),
                LABEL_MEMORY: str(recipe.memory),
            },
            log_path=self.log_path(key),
            log_size=_LOG_SIZE,
            networks=dict(networks),
        )
        try:
            return await self.runner.create(spec)
        except NetworkError:
            raise
        except ContainerError as error:
            raise ContainerError(f"{error}{await self.of_image(recipe)}") from error

    async def present(self) -> list[Container]:
        """Returns all existing service containers."""
        return list(await self.runner.containers({LABEL_SERVICES: self.instance}))

    async def half_made(self) -> list[str]:
        """Returns the names of service containers whose creation has begun and is not complete."""
        return list(await self.runner.half_made(self._prefix))

    async def end(self, title: str, container: str) -> bool:
        """Stops and removes a container; returns False if it may remain."""
        try:
            await self.runner.stop(container, self.grace)
        except ClaraedgeError as error:
            extra = {"service": title, "reason": str(error)}
            _log.warning("service did not stop", extra=extra)
        return await self.remove(title, container)

    async def remove(self, title: str, container: str) -> bool:
        """Removes a container; returns False if that failed."""
        try:
            await self.runner.remove(container)
        except ClaraedgeError as error:
            extra = {"service": title, "reason": str(error)}
            _log.warning("container of a service left behind", extra=extra)
            return False
        return True

    async def empty(self, key: str) -> None:
        """Removes what a service shared with operators, whichever user wrote it.

        Raises RunnerUnavailableError.
        """
        try:
            await clear(self.runner, self.volumes / key)
        except (OSError, ContainerError) as error:
            extra = {"service": key, "reason": str(error)}
            _log.warning("shared folder left behind", extra=extra)

    async def shared(self) -> set[str]:
        """Returns the keys that have shared folders."""
        return await in_thread(_names, self.volumes)

    async def of_image(self, recipe: Recipe | None) -> str:
        """Returns the defect of its image that may have caused a failure; "": none is known."""
        image = "" if recipe is None else recipe.spec.image
        found = await self._why_unusable(image[:_SHORT], image) if image else ""
        return f"; {found}" if found else ""

    async def last_words(self, key: str) -> str:
        """Returns the last line of its log, with the likely cause, and the path of the log."""
        log = self.log_path(key)
        lines = await in_thread(tail, log, 1)
        said = f"; its last line: {lines[0].strip()[:500]}" if lines else ""
        cause = causes.of_last_line(lines[0]) if lines else None
        return f"{said}{f': {cause}' if cause else ''} (its log: {log})"


def _make_folders(logs: Path, shared: tuple[Path, ...]) -> None:
    files.make_folders(logs)
    for folder in shared:
        files.make_folders(folder)
        folder.chmod(0o777)  # below folders that only we can enter


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
