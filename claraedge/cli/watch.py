"""The live view of a job: a table that is redrawn, or without a terminal a line per change."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from claraedge.cli.options import Options
from claraedge.cli.output import clean
from claraedge.errors import UnavailableError

if TYPE_CHECKING:
    from claraedge.client import Connection
    from claraedge.client.values import JobDetails, JobOperator

#: Seconds between updates of the times in the table, also if nothing changes.
_TICK = 1.0
#: Seconds between attempts to connect.
_RETRY = 0.2
#: Seconds after which a wait is shown in its own line.
_LASTING = 0.9

#: Seconds: if the daemon is restarted within this time, the job continues, and so does the view.
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change since the last status. `operator` is None if it concerns the job itself."""

    time: datetime
    operator: str | None
    text: str


def watch(options: Options, connection: Connection, job_id: str) -> JobDetails:
    """Shows the job until it has stopped; returns its last status.

    Raises UnavailableError if the daemon is gone for longer than `_PATIENCE`.
    """
    view = _Table() if sys.stdout.isatty() and not options.json else _Lines(options, job_id)
    last: JobDetails | None = None
    for now in _statuses(connection, job_id):
        view.show(last, now)
        last = now
    assert last is not None
    return last


def _statuses(connection: Connection, job_id: str) -> Iterator[JobDetails]:
    """Yields the status of the job after each change, and once a second, until it has stopped."""
    from claraedge.client import events, jobs

    seen = time.monotonic()
    reported = False
    job: JobDetails | None = None
    while True:
        try:
            for changed in events.job_changes(connection, job_id, tick=_TICK):
                if changed or job is None:
                    job = jobs.described(connection, job_id)
                elif any(operator.status == "PENDING" for operator in job.operators):
                    # The reasons for waits may change without an event of the job.
                    job = msgspec.structs.replace(job, waits=jobs.waits(connection, job_id))
                seen, reported = time.monotonic(), False
                yield job
                if job.ended:
                    return
        except UnavailableError as error:
            if not reported:
                click.echo(f"claraedge: waiting for the daemon: {error}", err=True)
                reported = True
            if time.monotonic() - seen > _PATIENCE:
                raise
        time.sleep(_RETRY)


def changes(before: JobDetails | None, after: JobDetails, now: datetime) -> list[Change]:
    """Returns the changes between two statuses, in order of time as far as it is known."""
    found: list[Change] = []
    known = {o.name: o.status for o in before.operators} if before else {}
    for operator in after.operators:
        before_status = known.get(operator.name, "PENDING")
        if operator.status in (before_status, "PENDING"):
            continue
        if operator.started and before_status == "PENDING":  # also if it has ended since
            found.append(Change(time=operator.started, operator=operator.name, text="RUNNING"))
        if operator.status != "RUNNING":
            moment = operator.stopped or now
            found.append(Change(time=moment, operator=operator.name, text=operator.status))
    found.sort(key=lambda change: change.time)
    shown = before.messages if before else ()
    found += [
        Change(time=now, operator=None, text=message) for message in after.messages[len(shown) :]
    ]
    state = f"{after.state} {after.status}"
    if before is None or state != f"{before.state} {before.status}":
        at = {"RUNNING": after.started, "STOPPED": after.stopped}.get(after.state)
        change = Change(time=at or now, operator=None, text=state)
        if after.ended:
            found.append(change)
        else:
            found.insert(0, change)
    return found


class Waits:
    """Remembers which waits of a job were shown."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, datetime]] = {}
        """By operator: what it waits for (its text up to the first `;`), and since when."""
        self._shown: dict[str, str] = {}

    def news(self, job: JobDetails, now: datetime) -> list[Change]:
        """Returns new waits to show: those that last, each once, except waits for operators."""
        found: list[Change] = []
        present = {w.operator: w for w in job.waits if not w.upstream}
        for operator, wait in present.items():
            what = wait.text.partition(";")[0]
            known, since = self._since.get(operator, ("", now))
            if what != known:
                since = now
            self._since[operator] = (what, since)
            lasts = (now - since).total_seconds() >= _LASTING
            if lasts and self._shown.get(operator) != what:
                self._shown[operator] = what
                text = f"waits: {wait.text}"
                found.append(Change(time=now, operator=operator or None, text=text))
        for operator in self._since.keys() - present.keys():
            del self._since[operator]
            self._shown.pop(operator, None)
        return found


class _Lines:
    """Prints one line, or one JSON object, per change."""

    def __init__(self, options: Options, job_id: str) -> None:
        self._options = options
        self._job_id = job_id
        self._waits = Waits()

    def show(self, before: JobDetails | None, after: JobDetails) -> None:
        now = datetime.now(UTC)
        for change in (*changes(before, after, now), *self._waits.news(after, now)):
            if self._options.json:
                self._options.print_json(
                    {
                        "time": change.time,
                        "job_id": self._job_id,
                        "operator": change.operator,
                        "change": change.text,
                    }
                )
            else:
                stamp = change.time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
                click.echo(f"{stamp} {clean(change.operator or 'job')} {clean(change.text)}")
        sys.stdout.flush()


class _Table:
    """Draws a table that replaces the previous one on the terminal."""

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def show(self, before: JobDetails | None, after: JobDetails) -> None:  # noqa: ARG002
        rows = draw(after, datetime.now(UTC), *shutil.get_terminal_size())
        if rows == self._drawn:
            return
        up = f"\x1b[{len(self._drawn)}A\x1b[J" if self._drawn else ""
        click.echo(up + "\n".join(rows))
        self._drawn = rows


def draw(job: JobDetails, now: datetime, columns: int, rows: int) -> list[str]:
    """Returns at most `rows` - 1 lines of the table, each narrower than `columns`."""
    width = max([len(clean(o.name)) for o in job.operators] + [3])
    found = [
        f"{clean(job.name)}  {job.id[:12]}  {job.state} {job.status}"
        f"  {_elapsed(job.started or job.created, job.stopped, now)}"
    ]
    waits = {w.operator: w.text for w in job.waits}
    if "" in waits:
        found.append(f"  waits: {clean(waits[''])}")
    found += [
        f"  {clean(o.name).ljust(width)}  {o.status.ljust(9)}  {_detail(o, waits, now)}"
        for o in job.operators
    ]
    found += [f"  {clean(message)}" for message in job.messages[-3:]]
    if len(found) >= rows > 3:
        left = len(found) - (rows - 2)
        found = [*found[: rows - 2], f"  and {left} more lines"]
    return [line.rstrip()[: columns - 1] for line in found]


def _detail(operator: JobOperator, waits: Mapping[str, str], now: datetime) -> str:
    """Returns the text after the status of an operator: what it waits for, or its run time."""
    if operator.name in waits:
        return f"waits: {clean(waits[operator.name])}"
    return _elapsed(operator.started, operator.stopped, now) if operator.started else ""


def _elapsed(start: datetime | None, end: datetime | None, now: datetime) -> str:
    if start is None:
        return ""
    seconds = max(0, int(((end or now) - start).total_seconds()))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min {seconds % 60:02} s"
