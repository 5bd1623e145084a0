"""Folders of the device that executables mount."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from claraedge.blocking import Threads, in_thread
from claraedge.deployments.model import VolumeMount
from claraedge.errors import DeploymentFailedError, StorageFullError
from claraedge.fs import files, trusted

#: Executables run as any user: a new folder is writable by all who reach it.
_OPEN = 0o777
_REACHED = 0o755
#: Seconds within which a folder of this machine has to answer.
_ANSWER = 10.0


class DeploymentVolumes:
    """The folder of volumes, and the folders of the administrator's list."""

    def __init__(self, root: Path, host_folders: Iterable[Path]) -> None:
        self.root = root
        # A folder whose server is dead blocks its own thread alone.
        self._host_folders = {folder: Threads(1, "host folder") for folder in host_folders}

    async def folders(self, mounts: Iterable[VolumeMount]) -> Mapping[str, Path]:
        """Returns, per path in the container, the folder to mount; creates those of volumes.

        Raises DeploymentFailedError for a folder that may not be mounted or that does not answer,
        and StorageFullError.
        """
        return {mount.mount_path: await self._found(mount) for mount in mounts}

    async def _found(self, mount: VolumeMount) -> Path:
        try:
            if mount.sub_path.startswith("/"):
                return await self._of_host(Path(mount.sub_path), mount)
            return await in_thread(self._folder, mount)
        except OSError as error:
            text = f"{error.filename or self.root}: {error.strerror}"
            if files.is_full(error):
                raise StorageFullError(f"{text}; free some space there") from error
            raise DeploymentFailedError(f"{text}; it cannot be mounted") from error

    async def _of_host(self, path: Path, mount: VolumeMount) -> Path:
        listed = [folder for folder in self._host_folders if path.is_relative_to(folder)]
        if not listed:
            raise self._unlisted(path, mount, "is")
        folder = max(listed, key=lambda each: len(each.parts))
        threads = self._host_folders[folder]
        try:
            async with asyncio.timeout(_ANSWER):
                return await threads.run(self._real, folder, path, mount)
        except TimeoutError as error:
            raise DeploymentFailedError(
                f"{path}, to be mounted at {mount.mount_path}, did not answer within {_ANSWER:g} s;"
                f" check the disk or the share that it is on (`stat {path}`)"
            ) from error

    def _folder(self, mount: VolumeMount) -> Path:
        files.make_folders(self.root, 0o750)
        if not mount.sub_path:
            return self.root
        path = os.fsencode(mount.sub_path)
        try:
            try:
                descriptor = trusted.open_folder(self.root, path)
            except FileNotFoundError:
                descriptor = trusted.open_folder(self.root, path, make=_REACHED)
                os.fchmod(descriptor, _OPEN)
        except (trusted.ForeignLinkError, NotADirectoryError) as error:
            raise DeploymentFailedError(
                f"{self.root / mount.sub_path}, to be mounted at {mount.mount_path}, leads over a"
                f" link or a file ({error}); remove that, or give another sub_path"
            ) from error
        os.close(descriptor)
        return self.root / mount.sub_path

    def _real(self, folder: Path, path: Path, mount: VolumeMount) -> Path:
        real = path.resolve()
        others = (other.resolve() for other in self._host_folders if other != folder)
        if not any(real.is_relative_to(each) for each in chain([folder.resolve()], others)):
            raise self._unlisted(path, mount, f"leads to {real}, which is")
        if not real.is_dir():
            raise DeploymentFailedError(
                f"{path}, to be mounted at {mount.mount_path}, is no folder; create it"
                f" (`mkdir -p {path}`)"
            )
        return real

    def _unlisted(self, path: Path, mount: VolumeMount, leads: str) -> DeploymentFailedError:
        return DeploymentFailedError(
            f"{path}, to be mounted at {mount.mount_path}, {leads} in no folder of `[deployments]"
            " host_folders`; list it there, or give another sub_path"
        )
