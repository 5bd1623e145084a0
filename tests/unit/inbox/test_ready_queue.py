"""Which items may be claimed, and what it costs to find out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from claraedge.clock import SystemClock
from claraedge.config.inbox import TriggerSettings
from claraedge.inbox.candidates.entry import TriggerFolder, Waiting
from claraedge.inbox.candidates.ready_queue import ReadyQueue
from claraedge.inbox.inspection.settling import Quiet, Reading
from claraedge.inbox.inspection.survey import Survey
from claraedge.inbox.triggers.triggers import Trigger


def settled(trigger: Trigger, name: bytes, number: int) -> Waiting:
    survey = Survey(
        reading=Reading(fingerprint="f"),
        content="c",
        size=1,
        is_folder=False,
        foreign=False,
        top_foreign=False,
    )
    return Waiting(
        id=str(number),
        trigger=trigger,
        name=name,
        order=(True, float(number), name),
        first_seen=0.0,
        added=0.0,
        heard=0.0,
        due=0.0,
        quiet=Quiet(first_seen=0.0, fingerprint="f", since=0.0),
        survey=survey,
        ready=True,
    )


def unexpected(_: Iterable[Waiting], reason: str) -> None:
    raise AssertionError(reason)


def not_asked(_: Path) -> None:
    raise AssertionError("the folder was listed a moment ago")


def test_groups_of_a_big_folder_are_made_some_at_a_time_and_leave_time_for_others() -> None:
    rule = TriggerSettings(folder="in", pipeline="ct", grouping="marker", marker="*.ready")
    trigger = Trigger(folder=Path("/in"), rule=rule, settle=1.0)
    folder = TriggerFolder(trigger, listed=SystemClock().elapsed())
    for number in range(20_000):
        name = b"scan%d.%s" % (number // 2, b"ready" if number % 2 else b"dcm")
        folder.entries[name] = settled(trigger, name, number)
    queue = ReadyQueue(SystemClock(), {trigger.folder: folder}, unexpected, not_asked)
    folder.regroup()
    began = time.monotonic()
    found = queue.ready(64)
    cost = time.monotonic() - began
    assert [item.group.label for item in found] == [b"scan%d" % n for n in range(64)]
    folder.regroup()  # an entry was inspected
    assert not queue.any()
    again = queue.next_group()
    assert again is not None
    assert again - SystemClock().elapsed() > cost  # at most a part of the time goes to this


def test_a_small_folder_is_grouped_as_soon_as_something_changes() -> None:
    rule = TriggerSettings(folder="in", pipeline="ct", grouping="quiet", quiet_seconds=1.0)
    trigger = Trigger(folder=Path("/in"), rule=rule, settle=1.0)
    folder = TriggerFolder(trigger, listed=SystemClock().elapsed())
    folder.entries[b"a"] = settled(trigger, b"a", 1)
    queue = ReadyQueue(SystemClock(), {trigger.folder: folder}, unexpected, not_asked)
    folder.regroup()
    assert queue.any()
    assert [item.group.members for item in queue.ready(64)] == [(b"a",)]


def test_a_group_waits_for_what_its_listing_showed_and_for_nothing_later() -> None:
    rule = TriggerSettings(folder="in", pipeline="ct", grouping="quiet", quiet_seconds=1.0)
    trigger = Trigger(folder=Path("/in"), rule=rule, settle=1.0)
    now = SystemClock().elapsed()
    folder = TriggerFolder(trigger, listed=now)
    folder.entries[b"a"] = settled(trigger, b"a", 1)
    queue = ReadyQueue(SystemClock(), {trigger.folder: folder}, unexpected, not_asked)
    new = folder.entries[b"b"] = settled(trigger, b"b", 2)
    new.survey, new.quiet, new.ready = None, None, False  # not inspected yet
    for added, members in ((now, []), (now + 0.1, [(b"a",)])):
        new.added = added
        folder.regroup()
        assert [item.group.members for item in queue.ready(64)] == members
