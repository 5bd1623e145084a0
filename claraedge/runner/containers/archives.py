"""Reads files of an image, by Podman's archive call on a container that is never started."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from claraedge.blocking import to_its_end
from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    ImageNotFoundError,
    InvalidImageError,
    RunnerUnavailableError,
)
from claraedge.runner.containers.removal import Removal
from claraedge.runner.protocol import LABELS, MAX_FILE
from claraedge.runner.reserved import explicit
from claraedge.runner.service.answers import ContainerCreateResponse, check_storage, decode
from claraedge.runner.service.http import Response
from claraedge.runner.service.service import PodmanService
from claraedge.runner.user_namespaces import SHARED

_log = logging.getLogger(__name__)

#: Size in bytes of a tar with one file of MAX_FILE bytes and its headers.
MAX_ARCHIVE = MAX_FILE + 64 * 1024
_TIMEOUT = 20.0  # seconds


class StandIns:
    """Creates containers that are never started, to read the image behind each."""

    def __init__(self, service: PodmanService, removal: Removal) -> None:
        self._service = service
        self._removal = removal

    @asynccontextmanager
    async def of(self, image: str, labels: Mapping[str, str]) -> AsyncIterator[str]:
        """Creates such a container, yields its id, and removes it at the end. Use it within
        `to_its_end`.

        Raises ImageNotFoundError, StorageFullError, ContainerError.
        """
        response = await self._service.request(
            "POST", "/containers/create", body=_request(image, labels)
        )
        if not response.ok:
            raise _unreadable(response, image)
        container = decode(response, ContainerCreateResponse).id
        try:
            yield container
        finally:
            try:
                await self._removal.remove(container)
            except ClaraedgeError as error:
                _log.warning("container left behind until the next start: %s", error)

    async def archive(self, container: str, path: str, *, most: int) -> Response:
        """Returns Podman's answer with the first `most` bytes of a tar of what is at `path`."""
        return await self._service.request(
            "GET",
            f"/containers/{container}/archive",
            query={"path": path},
            most=most,
            timeout=_TIMEOUT,
            repeatable=True,
        )


class ImageFiles:
    """Reads files out of images."""

    def __init__(self, stand_ins: StandIns) -> None:
        self._stand_ins = stand_ins

    async def read(
        self, image: str, paths: Sequence[str], labels: Mapping[str, str]
    ) -> Mapping[str, bytes]:
        """Implements Runner.read_files."""
        # The container must be removed also when the caller is cancelled.
        return await to_its_end(self._read(image, paths, labels))

    async def _read(
        self, image: str, paths: Sequence[str], labels: Mapping[str, str]
    ) -> Mapping[str, bytes]:
        found = {}
        async with self._stand_ins.of(image, labels) as container:
            for path in paths:
                response = await self._stand_ins.archive(container, path, most=MAX_ARCHIVE)
                content = file_of(response, image, path)
                if content is not None:
                    found[path] = content
        return found


def _request(image: str, labels: Mapping[str, str]) -> dict[str, object]:
    """Returns the body of `POST /containers/create` for a container that only
    represents its image.
    """
    return {
        "image": image,
        "labels": explicit(labels, LABELS),
        "entrypoint": ["/never-run"],  # an image may have none, and Podman requires one
        "netns": {"nsmode": "none"},
        **SHARED,  # nothing is run, and another namespace costs a copy of the image
        "image_volume_mode": "ignore",
        "log_configuration": {"driver": "none"},
    }


def _unreadable(response: Response, image: str) -> ClaraedgeError:
    """Returns the error for an image that no container could be created from."""
    check_storage(response)
    if response.cause == "image not known":
        return ImageNotFoundError(f"image {image} is not on this device any more; load it again")
    return ContainerError(
        f"Podman makes no container of the image {image[:12]}: {response.reason}; where that is"
        " what the image says of itself, build it again without"
    )


def file_of(response: Response, image: str, path: str) -> bytes | None:
    """Extracts the single file from the answer of an archive call; None where no file is at that
    path.

    Podman has already followed links, and never out of the container. Raises
    RunnerUnavailableError, ContainerError, InvalidImageError.
    """
    if response.status == 404 and response.cause == "no such container":
        raise RunnerUnavailableError(
            f"the container that reads image {image} was removed in the meantime; try again"
        )
    if response.status == 404:
        return None
    if not response.ok:
        raise ContainerError(f"{path} of image {image} cannot be read: {response.reason}")
    try:
        with tarfile.open(fileobj=io.BytesIO(response.body)) as archive:
            return _first(archive, image, path)
    except (tarfile.TarError, ValueError, RecursionError) as error:
        raise InvalidImageError(f"{path} of image {image} cannot be read: {error}") from error


def _first(archive: tarfile.TarFile, image: str, path: str) -> bytes | None:
    entry = archive.next()
    if entry is None or not entry.isreg():
        return None
    if entry.size > MAX_FILE:
        raise InvalidImageError(
            f"{path} of image {image} has {entry.size} bytes; at most {MAX_FILE} are read"
        )
    file = archive.extractfile(entry)
    assert file is not None, "a regular file"
    return file.read()
