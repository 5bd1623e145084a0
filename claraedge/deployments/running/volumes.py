"""Folders of the device that executables mount."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from claraedge.deployments.model import VolumeMount
from claraedge.errors import DeploymentFailedError
from claraedge.fs import files, trusted

#: Executables run as any user: a new folder is writable by all who reach it.
_OPEN = 0o777
_REACHED = 0o755


class DeploymentVolumes:
    """The folder of volumes, and the folders of the administrator's list."""

    def __init__(self, root: Path, host_folders: Iterable[Path]) -> None:
        self.root = root
        self._host_folders = tuple(host_folders)

    def folders(self, mounts: Iterable[VolumeMount]) -> Mapping[str, Path]:
        """Returns, per path in the container, the folder to mount; creates those of volumes.

        Blocks. Raises DeploymentFailedError for a folder that may not be mounted, and OSError.
        """
        return {mount.mount_path: self._folder(mount) for mount in mounts}

    def _folder(self, mount: VolumeMount) -> Path:
        if mount.sub_path.startswith("/"):
            return self._of_host(Path(mount.sub_path), mount)
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

    def _of_host(self, path: Path, mount: VolumeMount) -> Path:
        real = path.resolve()
        if not any(real.is_relative_to(folder.resolve()) for folder in self._host_folders):
            raise DeploymentFailedError(
                f"{path}, to be mounted at {mount.mount_path}, leads to {real}, which is in no"
                " folder of `[deployments] host_folders`; list it there, or give another sub_path"
            )
        if not real.is_dir():
            raise DeploymentFailedError(
                f"{path}, to be mounted at {mount.mount_path}, is no folder; create it"
                f" (`mkdir -p {path}`)"
            )
        return real
