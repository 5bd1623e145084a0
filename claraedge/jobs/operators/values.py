"""Values in shared memory: their files on the host, and the reservation of memory for them.

    <folder>/claraedge-<instance>/<job>/<operator>/<attempt>/<name>

A value is a file on a tmpfs, which its writer and its readers map. The values of an attempt are
copied to the disk before it counts as completed, so that a restart of the machine loses no job:
they are restored for their readers. All values of a job are removed at its end.

Before its first operator runs, a job reserves memory for all values of known size, and keeps it
until its end (`scheduling/budget.py`).
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from claraedge.blocking import CancelFlag
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.fs.walking import allocated
from claraedge.ids import new_id
from claraedge.jobs.scheduling.budget import ValueSpace
from claraedge.pipelines import fastio
from claraedge.pipelines.model import Operator, Output
from claraedge.runner.protocol import Space

_MOUNTS = Path("/proc/self/mountinfo")
_SETTING = "engine.shared_memory_dir"


class UnusableValueError(Exception):
    """An operator's values cannot be provided, or it did not leave them; the message says why."""


def written(operator: Operator) -> list[Output]:
    """Returns the outputs of the operator that are values in shared memory."""
    return [output for output in operator.outputs if output.in_memory]


class SharedMemory:
    """The tmpfs, and this daemon's values on it. All methods block: call them in a thread."""

    def __init__(self, folder: Path, instance: str) -> None:
        self.folder = folder
        self.root = folder / f"claraedge-{instance}"
        self._lock = threading.Lock()

    def job(self, job: str) -> Path:
        """Returns the folder with a job's values."""
        return self.root / job

    def attempt(self, job: str, operator: str, attempt: int) -> Path:
        """Returns the folder with the values of one attempt."""
        return self.root / job / operator / str(attempt)

    def space(self) -> Space:
        """Returns the space of the tmpfs, in bytes."""
        status = os.statvfs(self.folder)
        return Space(
            free=status.f_bavail * status.f_frsize, total=status.f_blocks * status.f_frsize
        )

    # --- room ----------------------------------------------------------------------------------

    def measure(self, reserved: Mapping[str, int]) -> ValueSpace | None:
        """Returns the present state of the tmpfs; `reserved`: job -> bytes for its values.

        None: it cannot be read, and `check` says why.
        """
        try:
            before = self.space()
            promised = {j: max(0, r - allocated(self.job(j))) for j, r in reserved.items()}
            after = self.space()
        except OSError:
            return None
        # Values may grow meanwhile: then their memory is neither free nor promised.
        free = min(before.free, after.free)
        return ValueSpace(total=after.total, free=free, promised=promised)

    def check(self, job: str, size: int) -> None:
        """Raises UnusableValueError if a job cannot place values of `size` bytes."""
        self._check_folder()
        try:
            free = self.space().free + allocated(self.job(job))
        except OSError as error:
            raise UnusableValueError(
                f"{self.root} cannot be read ({error.strerror}); remove it, or set {_SETTING}"
            ) from error
        if size > free:
            raise UnusableValueError(self._too_large(size))

    def tidy(self) -> None:
        """Removes the folder of this daemon's values if no job has values in it."""
        with self._lock, contextlib.suppress(OSError):  # or it never existed
            self.root.rmdir()

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
        """Creates the folder of an attempt, with a file for each value that it writes.

        Any user may write the files; those of an earlier try of this attempt, which did not run,
        are replaced. If the size of a value is known, its memory is allocated, so
        that the writer never finds the tmpfs full. Raises UnusableValueError.
        """
        outputs = written(operator)
        if not outputs:
            return
        folder = self.attempt(job, operator.name, attempt)
        with self._lock, self._roomy(f"{len(outputs)} values that it writes"):
            self._make_folder(folder)
            for output in outputs:
                assert output.name is not None, "the language names every value"
                value = folder / output.name
                value.unlink(missing_ok=True)
                descriptor = os.open(
                    value, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
                )
                try:
                    os.fchmod(descriptor, 0o666)
                    _allocate(descriptor, fastio.size(output) or 0)
                finally:
                    os.close(descriptor)

    def restore(self, job: str, operator: str, attempt: int, name: str, copy: Path) -> Path:
        """Returns the file of a written value; restores it from its copy if it does not exist.

        Raises UnusableValueError.
        """
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
        """Checks the values of an attempt, and makes them durable as files of `copies`.

        All files must belong to this user. Raises UnusableValueError for a value that no reader can
        use.
        """
        folder = self.attempt(job, operator.name, attempt)
        outputs = written(operator)
        for output in outputs:
            _check(folder, output, self.folder)
        for entry in os.scandir(folder):
            if entry.name not in {output.name for output in outputs}:
                remove(Path(entry.path))  # no operator can read it
        remove(copies)
        copies.mkdir(mode=0o700)
        for output in outputs:
            name = str(output.name)
            files.copy_file(folder / name, copies / name, mode=0o600, flag=flag)
        files.sync_folder(copies)
        files.sync_folder(copies.parent)

    def jobs(self) -> list[str]:
        """Returns the jobs that have files here."""
        try:
            return [entry.name for entry in os.scandir(self.root)]
        except OSError:  # none, or another user's: `check` says so
            return []

    def _make_folder(self, folder: Path) -> None:
        """Creates the folder of an attempt: open to any container user, below private parents."""
        for parent in (self.root, folder.parent.parent, folder.parent):
            with contextlib.suppress(FileExistsError):
                parent.mkdir(mode=0o700)
        found = self.root.lstat()  # on a tmpfs of all users, another user may have made it
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
    except OSError as error:  # a link, folder or socket
        raise UnusableValueError(_irregular(output)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnusableValueError(_irregular(output))
        wanted = fastio.size(output)
        if wanted is not None and found.st_size != wanted:
            raise UnusableValueError(
                f"left {found.st_size} bytes in its value `{name}` ({output.path}), whose type"
                f" needs {wanted}"
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
    """Returns the type of the file system of a device number, as the kernel names it."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split(" ")[2] == number:
            return source.split(" ")[0]
    return None


def _megabytes(size: int) -> int:
    return -(-size >> 20)
