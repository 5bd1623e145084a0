"""Creates the folders of results and failures, and moves originals to their folder. Blocking.

Every step may be repeated: it recognises what an earlier attempt did.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge import failpoints
from claraedge.blocking import CancelFlag
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery import reports
from claraedge.delivery.plan import Delivered, plan
from claraedge.delivery.publish import Published, publish, write_json
from claraedge.delivery.records import DeliveryRecord
from claraedge.delivery.roots import Root, Roots
from claraedge.fs import files
from claraedge.fs.hashing import digest
from claraedge.fs.landing import located
from claraedge.fs.room import need_room
from claraedge.fs.trees import Building, move
from claraedge.fs.trusted import opened
from claraedge.fs.walking import size
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.model import Job
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.tree import PayloadTree, printable
from claraedge.pipelines.model import decode
from claraedge.spool.shown import opened_shown
from claraedge.spool.spool import Spool

_log = logging.getLogger(__name__)

LOG_LINES = 200
_LONGEST_NAME = 255
_INPUT = "input/"


class FullError(OSError):
    """The disk of a folder has no room for a delivery."""

    def __init__(self, root: Root, needed: int, error: OSError) -> None:
        super().__init__(error.errno, error.strerror, str(root.path))
        self.needed = needed
        """Bytes that the delivery needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A due delivery, with its job and the files of its payload."""

    record: DeliveryRecord
    job: Job
    files: Sequence[PayloadFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A completed delivery: its folder, its size in bytes, and the folder of its original."""

    path: Path
    size: int
    original: Path | None


class Parcels:
    """Writes deliveries to their folders."""

    def __init__(
        self, tree: PayloadTree, logs: JobLogs, config: Config, roots: Roots, clock: Clock
    ) -> None:
        self._tree = tree
        self._logs = logs
        self._roots = roots
        self._keep_originals = config.outbox.originals_keep_days
        self._drop_cache = config.outbox.drop_cache
        self._spool = Spool(config.state_dir)
        self._clock = clock

    def put(self, flag: CancelFlag, due: Due) -> Parcel:
        """Writes the result or the failure, and the original; recognises completed steps.

        Raises FullError if the disk has no room for a result, DamagedFileError if a file of the
        payload is damaged, and other OSErrors, such as FileNotFoundError if a root folder is not
        available.
        """
        publishing = self._publish_result if due.record.healthy else self._publish_failure
        made = publishing(flag, due)
        original = self._keep_original(flag, due, made.path)
        size = made.size if due.record.healthy else None  # a failure contains its original
        return Parcel(
            path=made.path, size=_size(made.path) if size is None else size, original=original
        )

    def _publish_result(self, flag: CancelFlag, due: Due) -> Published:
        chosen = _chosen(due)
        needed = sum(self._disk_size(due, file) for _, file, _ in chosen)
        largest = max((file.size for _, file, _ in chosen), default=0)

        def build(building: Building) -> None:
            device = self._tree.payloads.stat().st_dev
            need_room(building.root, needed, source=device, largest=largest)
            delivered = self._copy_outputs(flag, due, chosen, building)
            failpoints.reach("deliver: copied")
            inputs = [self._input(file, due, flag) for file in _inputs(due)]
            document = reports.result(
                due.job, delivered, inputs, _origin(due.record), self._clock.now()
            )
            write_json(building, "result.json", document)

        root = self._roots.outbox
        try:
            return self._publish(root, "result.json", due, build)
        except OSError as error:
            if not files.is_full(error):
                raise
            raise FullError(root, needed, error) from error

    def _publish_failure(self, flag: CancelFlag, due: Due) -> Published:
        def build(building: Building) -> None:
            flag.check()
            for position, operator in enumerate(due.job.operators):
                if operator.attempt:
                    lines = self._logs.tail(due.job.id, operator.name, operator.attempt, LOG_LINES)
                    text = "".join(lines).encode("utf-8", "backslashreplace")
                    building.write(f"logs/{_log_name(operator.name, position)}".encode(), text)
            if due.record.item is not None:
                building.folder(b"original")  # gets the others' group here
            failpoints.reach("deliver: logs")
            inputs = [self._input(file) for file in _inputs(due)]
            document = reports.failure(due.job, inputs, _origin(due.record), self._clock.now())
            write_json(building, "reason.json", document)

        return self._publish(self._roots.failed, "reason.json", due, build)

    def _publish(
        self, root: Root, marker: str, due: Due, build: Callable[[Building], None]
    ) -> Published:
        root.refuse()
        return publish(
            root.path, due.record.folder, due.job.id, marker=marker, key="job_id", build=build
        )

    def _disk_size(self, due: Due, file: PayloadFile) -> int:
        """Returns the bytes of the disk that a copy of a file occupies."""
        try:
            return files.allocated(self._tree.path(due.job.payload, file).lstat())
        except OSError:
            return file.size

    def _copy_outputs(
        self,
        flag: CancelFlag,
        due: Due,
        chosen: Sequence[tuple[Delivered, PayloadFile, bytes]],
        building: Building,
    ) -> list[reports.DeliveredFile]:
        delivered = []
        self._tree.refuse_damaged(
            flag, due.job.payload, [file for _, file, _ in chosen], deep=False
        )
        for output, file, inside in chosen:
            made = building.copy(
                os.fsencode(output.folder) + b"/" + inside,
                self._tree.path(due.job.payload, file),
                mode=file.mode,
                flag=flag,
                drop_cache=self._drop_cache,
            )
            delivered.append(
                reports.DeliveredFile(
                    path=printable(str(made.path)),
                    operator=output.operator,
                    output=output.output,
                    size=made.size,
                    sha256=made.sha256,
                )
            )
        return delivered

    def _input(
        self, file: PayloadFile, due: Due | None = None, flag: CancelFlag | None = None
    ) -> reports.InputFile:
        """Describes an input file; with `due`, computes its digest if it is not known."""
        sha256 = file.sha256
        if sha256 is None and due is not None and not self._tree.why_damaged(due.job.payload, file):
            sha256 = digest(self._tree.path(due.job.payload, file), flag).sha256
        path = file.name.removeprefix(_INPUT)
        return reports.InputFile(path=path, size=file.size, sha256=sha256)

    def _keep_original(self, flag: CancelFlag, due: Due, path: Path) -> Path | None:
        """Moves the original of the item to its folder.

        Returns that folder, or None if the original is in the failure or is not kept.
        """
        record = due.record
        if record.item is None or record.item_name is None:
            return None
        keep = self._keep_originals if record.keep_original is None else record.keep_original
        if record.healthy and keep == 0:
            return None  # it is removed with its spool folder, once all is recorded
        source = self._spool.original(record.item, record.item_name)
        if record.healthy:
            root = self._roots.originals
            root.refuse()
            folder = root.path / path.relative_to(self._roots.outbox.path)
        else:
            root = self._roots.failed
            folder = path / "original"
        target = folder / os.fsdecode(record.item_name)
        if not os.path.lexists(source) and not os.path.lexists(located(folder, record.item_name)):
            _log.warning(
                "the original of item %s is not in the spool any more",
                record.item,
                extra={"job": record.job},
            )
            return None
        inside = os.fsencode(folder.relative_to(root.path))
        with opened_shown(root.path, inside, root.mode) as place:
            failpoints.reach("deliver: before original")
            move(source, place / target.name, flag=flag)
        failpoints.reach("deliver: original moved")
        return folder if record.healthy else None

    def sweep(self, item: str) -> None:
        """Removes the rest of an item from the spool."""
        try:
            self._spool.remove(item)
        except OSError as error:  # copied files of other users: only space is lost
            _log.warning("%s cannot be removed: %s", self._spool.folder(item), error)


def _size(path: Path) -> int:
    """Returns the bytes of a delivered folder; 0 if somebody removed or replaced it meanwhile."""
    try:
        with opened(path) as folder:
            return size(folder)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _chosen(due: Due) -> Sequence[tuple[Delivered, PayloadFile, bytes]]:
    """Returns each file to deliver, with its output and its path within that."""
    assert due.job.snapshot is not None, "a job that ended healthy was started"
    return [
        (output, file, inside)
        for output in plan(decode(due.job.snapshot), due.record.outputs)
        for file in due.files
        if (inside := _inside(file, output)) is not None
    ]


def _inside(file: PayloadFile, output: Delivered) -> bytes | None:
    """Returns the raw path of a file inside an output, or None if it belongs to another one."""
    prefix = f"{output.source}/"
    if not file.name.startswith(prefix):
        return None
    if output.input:
        return file.name.removeprefix(prefix).encode()
    # The name shows bytes that are not UTF-8 as text; the blob has the original bytes.
    depth = file.name.removeprefix(prefix).count("/") + 1
    return b"/".join(file.blob.split(b"/")[-depth:])


def _inputs(due: Due) -> Sequence[PayloadFile]:
    return [file for file in due.files if file.name.startswith(_INPUT)]


def _origin(record: DeliveryRecord) -> reports.Origin | None:
    if record.item is None or record.item_name is None:
        return None
    return reports.Origin(
        item=record.item,
        name=record.item_name,
        folder=record.item_folder,
        first_seen=record.first_seen,
    )


def _log_name(operator: str, position: int) -> str:
    """Returns the file name of a log; an operator's name may be too long to append a suffix."""
    name = f"{operator}.log"
    return name if len(name) <= _LONGEST_NAME else f"{operator[:200]}-{position}.log"
