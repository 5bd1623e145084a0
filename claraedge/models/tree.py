"""Where the files of models are stored.

    models/<id>/<generation>/<name>/...   one uploaded version; the row of the model names it
    models/staging/<hex>/...              unfinished uploads; emptied at start

A version appears by one rename and is never modified afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Container, Sequence
from pathlib import Path

from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.fs.walking import holds_files
from claraedge.models.model import Model
from claraedge.store.unknown import Unknown


class ModelTree:
    """Paths below the state folder, and the blocking work on them (call it in a thread)."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._unknown = Unknown(state)
        self.models = state / "models"
        self.staging = self.models / "staging"

    def version(self, model: str, generation: int) -> Path:
        """Returns the folder that contains only the model's own folder."""
        return self.models / model / str(generation)

    def folder(self, model: Model) -> Path:
        """Returns the model's own folder, which an inference server reads."""
        return self.version(model.id, model.generation) / model.name

    def path(self, version: Path) -> str:
        """Returns the path under which a version is recorded as disposable."""
        return str(version.relative_to(self._state))

    def prepare(
        self, known: Collection[Path], disposable: Container[str] = frozenset()
    ) -> Sequence[Path]:
        """Prepares the start: creates the folders, empties that of uploads, and checks every
        version that is not `known`.

        Returns those to remove: what is `disposable` (paths relative to the state folder), and
        folders without a file. All others are moved to the folder for unknown data.
        """
        files.make_folders(self.models)
        remove(self.staging)
        keep = set(known)
        to_remove: list[Path] = []
        for model in list(self.models.iterdir()):
            for version in list(model.iterdir()) if model.is_dir() else [model]:
                if version in keep:
                    continue
                if self.path(version) in disposable or not holds_files(version):
                    to_remove.append(version)
                else:
                    self._unknown.put(version)
            with contextlib.suppress(OSError):  # not empty
                model.rmdir()
        files.make_folders(self.staging)
        return to_remove

    def place(self, staged: Path, model: str, generation: int) -> None:
        """Moves an unpacked, durable version to its final folder."""
        target = self.version(model, generation)
        files.make_folders(target.parent)
        remove(target)  # a version that never got a row
        staged.rename(target)
        files.sync_folder(target.parent)

    def remove(self, version: Path) -> None:
        """Removes a version, and the model's folder with the last one."""
        remove(version)
        with contextlib.suppress(OSError):  # another version exists
            version.parent.rmdir()
