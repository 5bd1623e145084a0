"""Records flows on a disk, and runs lives after power cuts at many points of them."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.powercut import backups, calls, drops, migrations  # noqa: F401 they register their flows
from tests.powercut.audit import Audit, Fault
from tests.powercut.block_disk import BlockDisk
from tests.powercut.flow import FLOWS, Scene
from tests.powercut.promises import Promises
from tests.powercut.site import Site, StuckError
from tests.powercut.volatile_disk import Copy, VolatileDisk
from tests.rig.later_schema import longer_schema

#: The share of lives during whose start the power is cut a second time.
_AGAIN = 0.15
#: Maximum copies of a flow. A copy costs little until it is used.
_MOST_COPIES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A flow that was performed without a power cut, with copies of its disk."""

    flow: str
    seed: int
    promises: Promises
    operations: int
    copies: Sequence[Copy]

    def drop(self, copies: Sequence[Copy]) -> None:
        """Ends the processes that keep copies."""
        for copy in copies:
            with suppress(OSError):
                copy.drop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The run of a daemon, from its start after a power cut until it was idle."""

    flow: str
    models: Sequence[str]
    """The model of each power cut; a second one came during the start after the first."""
    seed: int
    operation: int
    what: str
    faults: Sequence[Fault]
    journal: str

    def __str__(self) -> str:
        found = "; ".join(f"{kind}: {what}" for kind, what in self.faults)
        again = f" (seed {self.seed})"
        return f"{self.flow}, {'+'.join(self.models)}, cut after {self.what}{again}: {found}"


@contextmanager
def site(kind: str = "powercut", *, user: str | None = None, lacks: str = "none") -> Iterator[Site]:
    """Creates a site for a campaign. `kind` is its file system; all except powercut need root.

    While it is open, this process has the schema of its daemons, to read their backups.
    """
    folder = Path(tempfile.mkdtemp(prefix="cut-", dir="/var/tmp"))
    folder.chmod(0o755)
    disk = VolatileDisk(folder) if kind == "powercut" else BlockDisk(folder, kind)
    made = Site(folder, disk, user=user, lacks=lacks)
    with longer_schema():
        try:
            yield made
        finally:
            made.close()


def record(place: Site, flow: str, seed: int, stride: int) -> Recording:
    """Performs a flow, and copies the disk after every `stride`-th operation.

    The seed decides the first of these operations. Raises AssertionError if the flow has faults
    without any power cut.
    """
    scene = Scene(site=place, random=Random(f"{seed} {flow}"))
    place.create()
    try:
        FLOWS[flow].before(scene)
        begin = place.disk.operations
        place.disk.copy_after(begin + scene.random.randint(1, stride), stride, _MOST_COPIES)
        FLOWS[flow].perform(scene)
        place.kill()
        end = place.disk.operations
        faults = list(Audit(place, scene.promises, time.monotonic()).faults())
        assert not faults, f"{flow} without a power cut: {faults}"
    finally:
        place.unmount()
        copies = place.disk.copies()
    return Recording(
        flow=flow, seed=seed, promises=scene.promises, operations=end - begin, copies=copies
    )


def chosen(recording: Recording, count: int) -> list[Copy]:
    """Returns up to `count` copies, spread over the whole flow; the others are dropped."""
    all_of_them = recording.copies
    step = max(1.0, len(all_of_them) / count)
    kept = [all_of_them[int(number * step)] for number in range(min(count, len(all_of_them)))]
    recording.drop([copy for copy in all_of_them if copy not in kept])
    return kept


def live(place: Site, recording: Recording, copy: Copy, model: str) -> list[Life]:
    """Runs the life after a power cut, and sometimes a second one, cut during its start."""
    random = Random(f"{recording.seed} {recording.flow} {copy.operation} {model}")
    lives, second = [], None
    place.disk.cut(copy, model, recording.seed * 1000 + copy.operation)
    try:
        if random.random() < _AGAIN:
            place.disk.copy_after(place.disk.operations + random.randint(1, 400))
        lives.append(_life(place, recording, copy, [model]))
        second = next(iter(place.disk.copies()), None)
    finally:
        place.unmount()
        recording.drop(place.disk.copies())  # copies made while unmounting
    if second is not None:
        other = random.choice(["strict", "closed", "journal", "random"])
        place.disk.cut(second, other, recording.seed)
        try:
            lives.append(_life(place, recording, copy, [model, other]))
        finally:
            place.unmount()
            recording.drop([second])
    return lives


def _life(place: Site, recording: Recording, copy: Copy, models: Sequence[str]) -> Life:
    faults = []
    promises, moment = recording.promises, copy.moment
    try:
        for item in promises.broken_off(moment):
            for path in item.paths:
                path.unlink(missing_ok=True)
        place.start(f"boot-{copy.operation}-{'-'.join(models)}")
        _recover(place, recording)
    except (StuckError, OSError) as error:
        faults.append(Fault("stuck", str(error)))
    except Exception:  # noqa: BLE001 a bug of the campaign itself: report in which life
        faults.append(Fault("stuck", traceback.format_exc()[-800:]))
    journal = place.journal()
    place.kill()
    try:
        faults += Audit(place, promises, moment).faults()
    except Exception:  # noqa: BLE001 the state cannot be read
        faults.append(Fault("corrupt", traceback.format_exc()[-800:]))
    bugs = [line for line in journal.splitlines() if " ERROR " in line or "Traceback" in line]
    faults += [Fault("log", line[:300]) for line in bugs[:1]]
    return Life(
        flow=recording.flow,
        models=models,
        seed=recording.seed,
        operation=copy.operation,
        what=copy.what,
        faults=faults,
        journal=journal,
    )


def _recover(place: Site, recording: Recording) -> None:
    if recording.flow == "retry":  # a user repeats a retry that was interrupted
        place.until(
            lambda: not [one for one in place.unfinished() if ".claraedge-retry" not in one],
            "nothing but a retry is left",
        )
        drops.retry_failed(Scene(site=place, random=Random(0)))
    place.rest()
