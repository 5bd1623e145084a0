"""Places for the VOLUMEs of an image: folders that its programs write to.

With a read-only root, such a folder needs a writable place. Podman's own ways are costly: on a
tmpfs it copies what the image has there into memory, possibly gigabytes of model weights; with
volumes it copies that to the disk for each container and leaves the copy behind (measured with 4.3:
`v=true` removes no volume that was created over the API). So a folder that is empty or missing in
the image becomes a tmpfs of known size. Where one has files, the root of the container is made
writable: a file is copied on the disk when it is changed, and removed with the container.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence

from claraedge.blocking import to_its_end
from claraedge.errors import RunnerUnavailableError
from claraedge.runner.containers.archives import StandIns
from claraedge.runner.containers.specgen import NO_VOLUMES, Volumes
from claraedge.runner.images.images import inspect_path, read_volumes
from claraedge.runner.protocol import (
    LABEL_DEPLOYMENTS,
    LABEL_INSTANCE,
    LABEL_SERVICES,
    ContainerSpec,
)
from claraedge.runner.service.service import PodmanService

_TIMEOUT = 20.0  # seconds
#: Bytes of a tar that are enough for the first entries of a folder.
_FIRST = 64 * 1024


class ImageVolumes:
    """Finds out what images have at their VOLUMEs; each image is inspected once."""

    def __init__(self, service: PodmanService, stand_ins: StandIns) -> None:
        self._service = service
        self._stand_ins = stand_ins
        self._known: dict[str, Volumes] = {}

    async def of(self, spec: ContainerSpec) -> Volumes:
        """Returns the volumes for a container; NO_VOLUMES where its image is not present, which
        the container's creation reports. Raises RunnerUnavailableError, DamagedImageError, and what
        creating a container raises.
        """
        if spec.writable_root:
            return NO_VOLUMES
        found = self._known.get(spec.image)
        if found is None:
            paths = await self._paths(spec.image)
            if paths is None:
                return NO_VOLUMES
            labels = spec.labels
            marks = (LABEL_INSTANCE, LABEL_SERVICES, LABEL_DEPLOYMENTS)
            instances = [labels[mark] for mark in marks if labels.get(mark)]
            mark = {LABEL_INSTANCE: instances[0]} if instances else {}
            found = (
                await to_its_end(self._inspect(spec.image, paths, mark)) if paths else NO_VOLUMES
            )
            self._known[spec.image] = found
        return found

    async def _paths(self, image: str) -> Sequence[str] | None:
        response = await self._service.request(
            "GET", inspect_path(image), timeout=_TIMEOUT, repeatable=True
        )
        if not response.ok:
            return None
        return read_volumes(response, image)

    async def _inspect(self, image: str, paths: Sequence[str], mark: Mapping[str, str]) -> Volumes:
        """Inspects the paths in a container that is never started. Run it to its end, so that the
        container is removed.
        """
        async with self._stand_ins.of(image, mark) as container:
            filled = [path for path in paths if await self._is_filled(container, path)]
        empty = tuple(path for path in paths if path not in filled)
        return Volumes(empty=empty, filled=tuple(filled))

    async def _is_filled(self, container: str, path: str) -> bool:
        response = await self._stand_ins.archive(container, path, most=_FIRST)
        if response.status == 404 and response.cause == "no such container":
            raise RunnerUnavailableError(
                f"the container that inspects {path} was removed meanwhile; try again"
            )
        if not response.ok:  # the image has nothing there
            return False
        try:
            with tarfile.open(fileobj=io.BytesIO(response.body)) as archive:
                first = archive.next()
                return first is not None and (not first.isdir() or archive.next() is not None)
        except (tarfile.TarError, ValueError, RecursionError):  # truncated or malformed
            return True
