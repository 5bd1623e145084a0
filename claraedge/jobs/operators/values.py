"""Values in shared memory: their files on the host, and who has room for them.

    <folder>/claraedge-<instance>/<job>/<operator>/<attempt>/<name>

A value is a file on a tmpfs, which its writer and its readers map. What an attempt wrote is copied
to the disk before it counts as completed, so that a restart of the machine loses no job: a reader
then finds its values restored. All of a job is removed at its end.

A job is given room for all the values whose sizes are known before its first operator runs, in the
order in which jobs ask, and keeps it to its end. So who has some waits for nobody.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from claraedge.blocking import CancelFlag
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.fs.walking import allocated
from claraedge.ids import new_id
from claraedge.pipelines import fastio
from claraedge.pipelines.model import Operator, Output, Pipeline
from claraedge.runner.protocol import Space

_MOUNTS = Path("/proc/self/mountinfo")
_SETTING = "engine.shared_memory_dir"


class UnusableValueError(Exception):
    """An operator cannot have its values, or did not leave them; the message says why."""


class RoomTakenError(Exception):
    """Other jobs have the room that this one needs; it is tried again after `releases` changes."""

    def __init__(self, text: str, releases: int) -> None:
        super().__init__(text)
        self.releases = releases


def written(operator: Operator) -> list[Output]:
    """The operator's outputs that are values in shared memory."""
    return [output for output in operator.outputs if output.in_memory]


def has_values(pipeline: Pipeline) -> bool:
    return any(written(operator) for operator in pipeline.operators)


def known_size(pipeline: Pipeline) -> int:
    """Bytes of all values of a job whose sizes the definition says."""
    outputs = (output for operator in pipeline.operators for output in written(operator))
    return sum(fastio.size(output) or 0 for output in outputs)


class SharedMemory:
    """The tmpfs and what lies on it for this daemon. All methods block: call them in a thread."""

    def __init__(self, folder: Path, instance: str) -> None:
        self.folder = folder
        self.root = folder / f"claraedge-{instance}"
        self.releases = 0
        """Grows whenever a job that waits for room should ask again."""
        self._lock = threading.Lock()
        self._claims: dict[str, int] = {}
        self._waiting: dict[str, None] = {}

    def job(self, job: str) -> Path:
        return self.root / job

    def attempt(self, job: str, operator: str, attempt: int) -> Path:
        return self.root / job / operator / str(attempt)

    def space(self) -> Space:
        """What the tmpfs has."""
        status = os.statvfs(self.folder)
        return Space(
            free=status.f_bavail * status.f_frsize, total=status.f_blocks * status.f_frsize
        )

    # --- room ----------------------------------------------------------------------------------

    def adopt(self, job: str, size: int) -> None:
        """Takes the claim of a job over that had begun before this start."""
        with self._lock:
            self._claims[job] = size

    def claim(self, job: str, size: int) -> None:
        """Gives a job room for so many bytes of values. One that has room keeps it.

        Raises RoomTakenError, or UnusableValueError where it would wait for ever.
        """
        with self._lock:
            if job in self._claims:
                return
            self._check_folder()
            first = next(iter(self._waiting), job) == job
            if self._is_room(job, size) and (first or size == 0):
                self._claims[job] = size
                if job in self._waiting:
                    del self._waiting[job]
                    self.releases += 1  # the next in turn may ask
                return
            if size > self.space().total or (first and not self._claims):
                raise UnusableValueError(self._too_large(size))
            self._waiting[job] = None
            raise RoomTakenError(
                f"waits for {_megabytes(size)} MB of shared memory, which other jobs hold"
                f" ({self.folder})",
                self.releases,
            )

    def release(self, job: str) -> None:
        """The end of a job: its room is free. Its files are removed by now."""
        with self._lock:
            if job in self._claims or job in self._waiting:
                self._claims.pop(job, None)
                self._waiting.pop(job, None)
                self.releases += 1
            with contextlib.suppress(OSError):  # others' files are in it, or it never was
                self.root.rmdir()

    def _is_room(self, job: str, size: int) -> bool:
        promised = sum(max(0, c - allocated(self.job(j))) for j, c in self._claims.items())
        return size <= self.space().free - promised + allocated(self.job(job))

    def _too_large(self, size: int) -> str:
        space = self.space()
        return (
            f"the values of its job take {_megabytes(size)} MB of shared memory, and"
            f" {space.free >> 20} of {space.total >> 20} MB are free in {self.folder}; make that"
            f" larger (`mount -o remount,size=SIZE {self.folder}`), or set {_SETTING}"
        )

    def _check_folder(self) -> None:
        try:
            device = self.folder.stat().st_dev
        except OSError as error:
            raise UnusableValueError(
                f"{_SETTING}: {self.folder}: {error.strerror}; name a folder on a tmpfs"
            ) from error
        kind = _kind_of(device)
        if kind != "tmpfs":
            raise UnusableValueError(
                f"{_SETTING}: {self.folder} is on {kind or 'an unknown file system'}, not in"
                " memory; name a folder on a tmpfs, such as /dev/shm"
            )
        if not self.folder.is_dir() or not os.access(self.folder, os.W_OK | os.X_OK):
            raise UnusableValueError(
                f"{_SETTING}: {self.folder} cannot be written by user {os.geteuid()}; name another"
                " folder on a tmpfs, or change its mode"
            )

    # --- files ---------------------------------------------------------------------------------

    def make(self, job: str, attempt: int, operator: Operator) -> None:
        """The folder of an attempt with a file for each value that it writes, any user's to write.

        A file has its size and its memory where the size is known, so that no writer meets a full
        tmpfs there. Raises UnusableValueError.
        """
        outputs = written(operator)
        if not outputs:
            return
        folder = self.attempt(job, operator.name, attempt)
        with self._lock, self._roomy(f"{len(outputs)} values that it writes"):
            self._make_folder(folder)
            for output in outputs:
                assert output.name is not None, "the language names every value"
                descriptor = os.open(
                    folder / output.name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
                )
                try:
                    os.fchmod(descriptor, 0o666)
                    _allocate(descriptor, fastio.size(output) or 0)
                finally:
                    os.close(descriptor)

    def restore(self, job: str, operator: str, attempt: int, name: str, copy: Path) -> Path:
        """The file of a value that an operator wrote, made of its copy where it is gone."""
        folder = self.attempt(job, operator, attempt)
        value = folder / name
        with self._lock, self._roomy(f"the value `{name}` of operator {operator}"):
            if value.exists():
                return value
            self._make_folder(folder)
            building = self.job(job) / f".{new_id()}"
            try:
                files.copy_file(copy, building, mode=0o644)
            except FileNotFoundError as error:
                raise UnusableValueError(
                    f"the value `{name}` of operator {operator} is lost: neither it nor its copy"
                    f" {copy} is there"
                ) from error
            building.rename(value)
        return value

    def keep(
        self, flag: CancelFlag, job: str, attempt: int, operator: Operator, copies: Path
    ) -> None:
        """Checks what an attempt left of its values, and makes it durable as files of `copies`.

        All of it belongs to this user. Raises UnusableValueError for what a reader could not use.
        """
        folder = self.attempt(job, operator.name, attempt)
        outputs = written(operator)
        for output in outputs:
            _check(folder, output, self.folder)
        for entry in os.scandir(folder):
            if entry.name not in {output.name for output in outputs}:
                remove(Path(entry.path))  # nobody can read it any more
        remove(copies)
        copies.mkdir(mode=0o700)
        for output in outputs:
            name = str(output.name)
            files.copy_file(folder / name, copies / name, mode=0o600, flag=flag)
        files.sync_folder(copies)
        files.sync_folder(copies.parent)

    def jobs(self) -> list[str]:
        """The jobs that files lie here of."""
        try:
            return [entry.name for entry in os.scandir(self.root)]
        except FileNotFoundError:
            return []

    def _make_folder(self, folder: Path) -> None:
        """The folder of an attempt: open to any user of a container, its parents to us alone."""
        for parent in (self.root, folder.parent.parent, folder.parent):
            with contextlib.suppress(FileExistsError):
                parent.mkdir(mode=0o700)
        found = self.root.lstat()  # on a tmpfs of all users, somebody may have been there first
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise UnusableValueError(f"{self.root} belongs to another user; remove it")
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)

    @contextlib.contextmanager
    def _roomy(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not files.is_full(error):
                raise
            raise UnusableValueError(
                f"there is no room for {what} in {self.folder}: {self.space().free >> 20} MB are"
                f" free; make it larger, or set {_SETTING}"
            ) from error


def _check(folder: Path, output: Output, where: Path) -> None:
    name = str(output.name)
    try:
        descriptor = os.open(
            folder / name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except FileNotFoundError as error:
        raise UnusableValueError(
            f"removed the file of its value `{name}` ({output.path})"
        ) from error
    except OSError as error:  # a link, a folder, a socket
        raise UnusableValueError(_irregular(output)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnusableValueError(_irregular(output))
        wanted = fastio.size(output)
        if wanted is not None and found.st_size != wanted:
            raise UnusableValueError(
                f"left {found.st_size} bytes in its value `{name}` ({output.path}), which takes"
                f" {wanted} by its type"
            )
        os.fchmod(descriptor, 0o644)
        try:
            _allocate(descriptor, found.st_size)  # a reader that maps a hole needs memory for it
        except OSError as error:
            if not files.is_full(error):
                raise
            raise UnusableValueError(
                f"left holes in its value `{name}` ({output.path}) that {where} has no room for"
            ) from error
    finally:
        os.close(descriptor)


def _irregular(output: Output) -> str:
    return f"left something that is no regular file as its value `{output.name}` ({output.path})"


def _allocate(descriptor: int, size: int) -> None:
    if size:
        os.posix_fallocate(descriptor, 0, size)


def _kind_of(device: int) -> str | None:
    """The kind of the file system of a device number, as the kernel names it."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split(" ")[2] == number:
            return source.split(" ")[0]
    return None


def _megabytes(size: int) -> int:
    return -(-size >> 20)
