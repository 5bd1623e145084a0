"""An entry is taken when it is whole, and never before."""

from __future__ import annotations

import pytest

from claraedge.formats.filenames import DEFAULT, is_ignored
from claraedge.inbox.inspection.settling import (
    NO_HINTS,
    Heard,
    Hints,
    Quiet,
    Reading,
    decide,
    hear,
)
from tests.rig.costs import growth

SETTLE = 5.0


def writes(path: bytes) -> tuple[tuple[Heard, bytes], ...]:
    return (Heard.OPENED, path), (Heard.MODIFIED, path)


def heard(*events: Heard | tuple[Heard, bytes]) -> Hints:
    hints = NO_HINTS
    for event in events:
        kind, inside = event if isinstance(event, tuple) else (event, b"")
        hints = hear(hints, kind, inside)
    return hints


def reading(fingerprint: str = "a", **changes: object) -> Reading:
    return Reading(fingerprint=fingerprint, **changes)  # type: ignore[arg-type]


def quiet_since(since: float, fingerprint: str = "a", first_seen: float = 0.0) -> Quiet:
    return Quiet(first_seen=first_seen, fingerprint=fingerprint, since=since)


def test_what_is_seen_for_the_first_time_has_to_stay_as_it_is() -> None:
    decision = decide(None, reading(), 100.0, SETTLE)
    assert not decision.settled
    assert decision.quiet == Quiet(first_seen=100.0, fingerprint="a", since=100.0)
    assert decision.next_inspection == 105.0


@pytest.mark.parametrize(
    ("before", "seen", "now", "settled", "next_inspection"),
    [
        (quiet_since(100.0), "a", 104.9, False, 105.0),  # not long enough
        (quiet_since(100.0), "a", 105.0, True, 105.0),  # exactly long enough
        (quiet_since(100.0), "b", 200.0, False, 205.0),  # changed: from now on
        (quiet_since(100.0), "a", 4000.0, True, 4000.0),  # after a suspend
    ],
)
def test_two_equal_readings_the_settle_time_apart_settle_it(
    before: Quiet, seen: str, now: float, settled: bool, next_inspection: float
) -> None:
    decision = decide(before, reading(seen), now, SETTLE)
    assert (decision.settled, decision.next_inspection) == (settled, next_inspection)


def test_a_change_keeps_the_time_of_the_first_sight() -> None:
    decision = decide(quiet_since(100.0, first_seen=3.0), reading("b"), 200.0, SETTLE)
    assert decision.quiet == Quiet(first_seen=3.0, fingerprint="b", since=200.0)


@pytest.mark.parametrize(
    ("hints", "writing"),
    [
        (heard(), False),
        (heard(Heard.CREATED), False),  # a hard link or a pipe is made without being opened
        (heard(Heard.CREATED, Heard.OPENED), True),
        (heard(Heard.OPENED), False),  # of an old file: most likely a reader
        (heard(Heard.OPENED, Heard.MODIFIED), True),
        (heard(Heard.OPENED, Heard.CLOSED_UNWRITTEN), False),
        (heard(Heard.OPENED, Heard.CLOSED_UNWRITTEN, Heard.MODIFIED), False),
        (heard(Heard.MODIFIED), False),  # a time that is set by name: no close follows
        (heard(Heard.OPENED, Heard.MODIFIED, Heard.CLOSED, Heard.MODIFIED), False),  # 7-Zip
        (heard(Heard.CREATED, Heard.OPENED, Heard.MODIFIED, Heard.CLOSED), False),
        (heard(Heard.CREATED, Heard.OPENED, Heard.MODIFIED, Heard.CLOSED_UNWRITTEN), True),
        (heard(Heard.CREATED, Heard.OPENED, Heard.CLOSED_UNWRITTEN), False),
        (heard(Heard.OPENED, Heard.MODIFIED, Heard.MOVED_IN), False),
        (heard(*writes(b"a"), (Heard.CLOSED, b"b")), True),
        (heard(*writes(b"a"), *writes(b"b"), (Heard.CLOSED, b"a")), True),
        (heard(*writes(b"d/a"), (Heard.REMOVED, b"d")), False),
        (heard(*writes(b"dd/a"), (Heard.REMOVED, b"d")), True),
        (heard(*writes(b"a"), Heard.MOVED_IN), False),
    ],
)
def test_hints_report_a_writer(hints: Hints, writing: bool) -> None:
    assert hints.writing is writing


def test_an_open_writer_keeps_it_unsettled_however_long_it_is_quiet() -> None:
    hints = heard(Heard.CREATED, Heard.OPENED)
    decision = decide(quiet_since(0.0), reading(), 10_000.0, SETTLE, hints)
    assert not decision.settled
    assert decision.next_inspection == 10_005.0
    assert "open for writing" in decision.reason


def test_a_rename_from_a_temporary_name_spares_the_quiet_time() -> None:
    hints = heard(Heard.MOVED_FROM_TEMPORARY)
    assert decide(None, reading(), 1.0, SETTLE, hints).settled


@pytest.mark.parametrize(
    "hints",
    [
        heard(Heard.MOVED_IN),  # from elsewhere: it may be half a file's copy
        heard(Heard.MOVED_FROM_TEMPORARY, Heard.MODIFIED, Heard.CLOSED),  # written to since
        heard(Heard.MOVED_FROM_TEMPORARY, Heard.MOVED_IN),  # replaced since
    ],
)
def test_other_renames_do_not(hints: Hints) -> None:
    assert not decide(None, reading(), 1.0, SETTLE, hints).settled


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (reading(files=0), "an empty folder"),
        (reading(unfinished="'x.part'"), "'x.part'"),
        (reading(linked=True), "hard link"),
    ],
)
def test_what_is_not_whole_is_waited_for(found: Reading, reason: str) -> None:
    decision = decide(quiet_since(0.0), found, 10.0, SETTLE)
    assert not decision.settled
    assert reason in decision.reason
    assert decision.next_inspection > 10.0


def test_a_hard_link_is_waited_for_a_minute_and_no_longer() -> None:
    assert decide(quiet_since(0.0), reading(linked=True), 59.9, SETTLE).next_inspection == 60.0
    assert decide(quiet_since(0.0), reading(linked=True), 60.0, SETTLE).settled


def test_what_can_never_become_a_job_is_settled_by_quiet_alone() -> None:
    hopeless = reading(fault="a link", files=0, unfinished="'x.tmp'", linked=True)
    assert not decide(quiet_since(0.0), hopeless, 4.0, SETTLE).settled
    assert decide(quiet_since(0.0), hopeless, 5.0, SETTLE).settled


@pytest.mark.parametrize(
    "name",
    [
        "a.part",
        "a.PART",
        "a.filepart",
        "a.tmp",
        "a.crdownload",
        "a\n.part",
    ],
)
def test_names_on_their_way_are_temporary(name: str) -> None:
    assert DEFAULT.unfinished(name.encode())
    assert is_ignored(name.encode())


@pytest.mark.parametrize(
    "name",
    [
        ".a",
        ".~lock.a#",
        "~$a.docx",
        ".DS_Store",
        "Thumbs.db",
        "THUMBS.DB",
        "desktop.ini",
        "@eaDir",
        "lost+found",
    ],
)
def test_names_of_systems_are_no_items(name: str) -> None:
    assert is_ignored(name.encode())


@pytest.mark.parametrize(
    "name", ["a.dcm", "part", "a.part.dcm", "tmp", "-rf", "a b", "a\nb", "result.json", "~a"]
)
def test_all_other_names_are_items(name: str) -> None:
    assert not is_ignored(name.encode())


def test_a_folder_of_many_links_costs_little_for_each() -> None:
    def heard(count: int) -> Hints:
        hints = hear(hear(NO_HINTS, Heard.OPENED, b"0"), Heard.MODIFIED, b"0")
        for number in range(count):  # a link is made without being opened, and never closed
            hints = hear(hints, Heard.CREATED, b"link-%d" % number)
        return hints

    assert growth(heard, 2000) < 40
    hints = heard(20_000)
    assert len(hints.writers) < 200
    assert hints.writing
    assert not hear(hints, Heard.CLOSED, b"0").writing
