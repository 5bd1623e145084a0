"""Where the files of payloads are stored.

    payloads/<id>/blobs/<hex>                     files from clients and the inbox
    payloads/<id>/input/...                       the same under their names, created for the job
    payloads/<id>/operators/<operator>/<attempt>/ what one attempt of an operator wrote
    payloads/<id>/operators/<operator>/<attempt>.values/
                                                  its values in shared memory, until the job's end
    uploads/<hex>/...                             unfinished uploads; emptied at start
    resumable/<id>/...                            unfinished uploads that their client may continue
    removed/<id>-<hex>/...                        deleted payloads that are being removed

Rows name blobs, so that all files of an upload become visible, or replace others, in one commit.
The view by names consists of hard links, and is created again whenever it is missing.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Collection, Container, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from claraedge.blocking import CancelFlag
from claraedge.errors import DamagedFileError
from claraedge.fs import files
from claraedge.fs.hashing import digest
from claraedge.fs.removal import remove
from claraedge.fs.walking import Place, holds_files
from claraedge.ids import new_id
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.names import MAX_NAME_BYTES, MAX_PARTS
from claraedge.store.unknown import Unknown

_log = logging.getLogger(__name__)

#: Limit for the files and folders that one attempt of an operator may write.
MAX_ENTRIES = 500_000


class UnusableOutputError(Exception):
    """The outputs of an operator cannot be kept; the message says why, and what to do."""


class ForeignOutputError(Exception):
    """Something in the outputs of an operator belongs to another user; the runner's `reclaim`
    changes the owner.
    """


class PayloadTree:
    """Paths below the state folder, and the blocking work on them (call it in a thread)."""

    def __init__(self, state: Path) -> None:
        self.payloads = state / "payloads"
        self.uploads = state / "uploads"
        self.resumable = state / "resumable"
        self.removed = state / "removed"
        self._spool = state / "spool"
        self._unknown = Unknown(state)

    def names(self) -> list[str]:
        """Returns the names of the folders of all payloads; empty before the first `prepare`."""
        try:
            with os.scandir(self.payloads) as entries:
                return [entry.name for entry in entries]
        except FileNotFoundError:
            return []

    def prepare(
        self,
        known: Container[str],
        *,
        disposable: Container[str] = frozenset(),
        claimed: Mapping[str, bool] = MappingProxyType({}),
    ) -> None:
        """Creates the folders; removes what a crash left of uploads, and payloads without a row.

        Such payloads are removed only where it is certain that nobody needs them: empty folders,
        what is `disposable` (paths relative to the state folder), and the inputs of items that
        became no job. `claimed`: these items, and whether the spool must still have their files.
        All others are moved to the folder for unknown data.
        """
        files.make_folders(self.payloads)
        files.make_folders(self.removed)
        files.make_folders(self.resumable)
        remove(self.uploads)
        files.make_folders(self.uploads)
        for name in self.names():
            if name in known:
                continue
            folder = self.payloads / name
            if (
                _path(folder.name) in disposable
                or (folder.name in claimed and self._is_of_item(folder, claimed[folder.name]))
                or not holds_files(folder)
            ):
                _log.info("payload without a row found", extra={"payload": folder.name})
                self.move_to_removed(folder.name)
            else:
                self._unknown.put(folder)

    def _is_of_item(self, folder: Path, claimed: bool) -> bool:
        """Whether it contains only its item's inputs, and, if claimed, the spool has
        these as well.
        """
        inputs_alone = {entry.name for entry in folder.iterdir()} <= {"blobs"}
        return inputs_alone and (not claimed or (self._spool / folder.name).exists())

    def folder(self, payload: str) -> Path:
        """Returns the folder of a payload."""
        return self.payloads / payload

    def input(self, payload: str) -> Path:
        """Returns the folder with the inputs under their names."""
        return self.folder(payload) / "input"

    def attempt(self, payload: str, operator: str, attempt: int) -> Path:
        """Returns the folder that one attempt of an operator writes to."""
        return self.operator(payload, operator) / str(attempt)

    def operator(self, payload: str, operator: str) -> Path:
        """Returns the folder for all that the attempts of an operator wrote."""
        return self.folder(payload) / "operators" / operator

    def values(self, payload: str, operator: str, attempt: int) -> Path:
        """Returns the folder with durable copies of an attempt's values in shared memory, which are
        neither listed nor delivered.
        """
        return self.folder(payload) / "operators" / operator / f"{attempt}.values"

    def path(self, payload: str, file: PayloadFile) -> Path:
        """Returns the path of a file's content."""
        return self.folder(payload) / os.fsdecode(file.blob)

    def why_damaged(
        self, payload: str, file: PayloadFile, *, flag: CancelFlag | None = None
    ) -> str | None:
        """Returns what is wrong with the content of a file; None where nothing is.

        Compares the size, and with `flag` also the digest, where it is known.
        """
        path = self.path(payload, file)
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                return f"{path} is no file"
            if found.st_size != file.size:
                return f"{path} has {found.st_size} of its {file.size} bytes"
            if flag is not None and file.sha256 is not None:
                sha256 = digest(path, flag).sha256
                if sha256 not in (None, file.sha256):
                    return f"{path} holds other bytes than it did"
        except FileNotFoundError:
            return f"{path} is gone"
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ENODATA, errno.EUCLEAN, errno.EBADMSG):
                raise
            return f"{path} cannot be read ({error.strerror})"
        return None

    def make(self, payload: str) -> None:
        """Creates the folder of a new payload and syncs it."""
        files.make_folders(self.folder(payload) / "blobs")

    def remove(self, payload: str) -> None:
        """Removes the folder of a payload that no row names, even while a thread still writes to
        it.
        """
        try:
            remove(self.move_to_removed(payload))
        except OSError as error:  # it only costs space for a while: its removal is tried again
            _log.warning("payload left behind", extra={"payload": payload, "reason": str(error)})

    def adopt(
        self, payload: str, source: Path, *, mode: int, keep: bool, name: str | None = None
    ) -> bytes:
        """Adds a durable file of this file system as a blob: by a link, or by moving the file
        itself.

        The file becomes readable for all users of a container. `keep`: links, so that the source
        stays. `name`: the name of the blob; None: a new one. Returns the blob; the folder of blobs
        still has to be synced (`sync_blobs`).
        """
        blob = b"blobs/" + (name or new_id()).encode()
        target = self.folder(payload) / os.fsdecode(blob)
        shown = files.readable(mode)
        if stat.S_IMODE(source.lstat().st_mode) != shown:
            source.chmod(shown)
            files.sync_file(source)  # the name must not be durable without the mode
        if keep:
            files.link_or_copy(source, target)
        else:
            source.rename(target)
        return blob

    def move_to_removed(self, payload: str) -> Path:
        """Moves the folder of a payload that no row names any more to `removed`, atomically.

        Returns its new place; a folder that does not exist is no error.
        """
        target = self.removed / f"{payload}-{new_id()}"
        with contextlib.suppress(FileNotFoundError):
            self.folder(payload).rename(target)
        return target

    def sync_blobs(self, payload: str) -> None:
        """Syncs the folder of blobs, so that new names in it are durable."""
        files.sync_folder(self.folder(payload) / "blobs")

    def discard(self, payload: str, blobs: Iterable[bytes]) -> None:
        """Removes blobs that no row names."""
        for blob in blobs:
            (self.folder(payload) / os.fsdecode(blob)).unlink(missing_ok=True)

    def sweep(
        self, payload: str, named: Iterable[bytes], disposable: Collection[str] | None = None
    ) -> None:
        """Removes the blobs of a payload that no row names, which a crash left.

        Those that are not `disposable` are moved to the folder for unknown data; None: all are
        disposable.
        """
        keep = set(named)
        folder = self.folder(payload) / "blobs"
        if folder.is_dir():
            for entry in folder.iterdir():
                if b"blobs/" + os.fsencode(entry.name) in keep:
                    continue
                if disposable is None or _is_disposable(payload, entry.name, disposable):
                    entry.unlink()
                else:
                    self._unknown.put(entry)

    def damage(self, payload: str, known: Iterable[PayloadFile]) -> list[str]:
        """Returns what is wrong with the files of a payload, by their sizes."""
        found = (self.why_damaged(payload, file) for file in known)
        return [why for why in found if why is not None]

    def refuse_damaged(
        self, flag: CancelFlag, payload: str, known: Iterable[PayloadFile], *, deep: bool
    ) -> None:
        """Raises DamagedFileError where a file differs from what was stored; `deep` also compares
        digests.
        """
        for file in known:
            flag.check()
            why = self.why_damaged(payload, file, flag=flag if deep else None)
            if why is not None:
                raise DamagedFileError(
                    f"the file {file.name!r} of the payload {payload} is damaged: {why}. A power"
                    " cut or a failing disk does that, see `dmesg`; send the file again, for a new"
                    " job"
                )

    def materialise(self, flag: CancelFlag, payload: str, inputs: Iterable[PayloadFile]) -> None:
        """Creates `input/` with every file under its name. Does nothing where it exists."""
        view = self.input(payload)
        if view.exists():
            return
        building = view.with_name("input.new")
        remove(building)
        files.new_folders(building)
        for file in inputs:
            flag.check()
            target = building / file.name.removeprefix("input/")
            files.new_folders(target.parent)
            files.link_or_copy(self.path(payload, file), target, flag=flag)
        # Before the rename: what exists after a power cut is complete, and open to the other users
        # that containers run as.
        files.finish_tree(building, 0o755)
        building.rename(view)
        files.sync_folder(view.parent)

    def collect(
        self, payload: str, folder: Path, prefix: str, *, reclaimed: bool = False
    ) -> tuple[list[PayloadFile], int]:
        """Lists what an attempt wrote, and makes it readable for all and durable.

        Returns the regular files as `prefix/...`, and the number of other entries (links, devices),
        which are never followed, listed or delivered. Raises ForeignOutputError where something in
        it belongs to another user, unless it was `reclaimed`; UnusableOutputError for a tree that
        is too deep, has too long paths, or is too large.
        """
        output = _Output(prefix, reclaimed=reclaimed)
        files.finish_tree(folder, 0o755, output.meet)
        written = sorted(output.files)
        listed = listed_names([os.fsdecode(path) for path, _, _ in written])
        blobs = os.fsencode(folder.relative_to(self.folder(payload)))
        found = [
            PayloadFile(
                name=f"{prefix}/{listed[os.fsdecode(path)]}",
                size=size,
                mode=mode,
                blob=blobs + b"/" + path,
            )
            for path, size, mode in written
        ]
        return found, output.others


class _Output:
    """What one walk meets in the outputs of an operator."""

    def __init__(self, prefix: str, *, reclaimed: bool) -> None:
        self.files: list[tuple[bytes, int, int]] = []
        """Paths relative to the folder of the outputs, sizes in bytes, and modes."""
        self.others = 0
        """The number of entries that are neither files nor folders."""
        self._prefix = prefix
        self._reclaimed = reclaimed
        self._count = 0
        self._parts: list[bytes] = []

    def meet(self, place: Place) -> None:
        """Notes an entry. Raises UnusableOutputError and ForeignOutputError as `collect` does."""
        if not self._reclaimed and files.is_foreign(place.status):
            raise ForeignOutputError
        if self._count > MAX_ENTRIES:
            raise UnusableOutputError(
                f"left more than {MAX_ENTRIES} files and folders in its outputs; write fewer,"
                " or pack them into archives"
            )
        self._count += 1
        self._parts[max(place.depth - 1, 0) :] = [place.name] if place.depth else []
        path = b"/".join(self._parts)
        _refuse_path(f"{self._prefix}/{printable(os.fsdecode(path))}")
        if place.is_file:
            mode = files.readable(place.status.st_mode)
            self.files.append((path, place.status.st_size, mode))
        elif not place.is_folder:
            self.others += 1


def disposable_blob(payload: str, blob: bytes) -> str:
    """Returns the path under which a blob, or all blobs with that prefix, are recorded as
    disposable.
    """
    return _path(payload, os.fsdecode(blob))


def _path(*parts: str) -> str:
    return "/".join(("payloads", *parts))


def _is_disposable(payload: str, name: str, disposable: Collection[str]) -> bool:
    """Whether a blob, or all blobs of its upload, are disposable."""
    names = (name, name.partition("-")[0])
    return any(_path(payload, "blobs", one) in disposable for one in names)


def _refuse_path(path: str) -> None:
    """Raises UnusableOutputError for a path that exceeds the limits of names in a payload."""
    if path.count("/") >= MAX_PARTS:
        raise UnusableOutputError(
            f"left more than {MAX_PARTS - 1} folders in each other in its outputs:"
            f" {path[:80]!r}...; write fewer levels"
        )
    if len(path.encode()) > MAX_NAME_BYTES:
        raise UnusableOutputError(
            f"left a path of more than {MAX_NAME_BYTES} bytes in its outputs: {path[:80]!r}...;"
            " use shorter names or fewer levels"
        )


def printable(name: str) -> str:
    """Returns a file name as UTF-8 text: other bytes become a backslash, x and two hex digits."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def listed_names(names: Iterable[str]) -> dict[str, str]:
    """Returns a unique listed name for each file name.

    Names in UTF-8 stay unchanged; an escaped name that would be a duplicate gets one or more `~`.
    """
    plain = {name: name for name in names if printable(name) == name}
    listed, taken = dict(plain), set(plain)
    for name in names:
        if name not in plain:
            text = printable(name)
            while text in taken:
                text += "~"
            taken.add(text)
            listed[name] = text
    return listed
