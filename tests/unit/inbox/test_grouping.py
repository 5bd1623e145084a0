"""Which entries become one job, and until when more is waited for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from claraedge.config.inbox import Trigger
from claraedge.inbox.grouping import Group, Grouped, Unit, group, stem_of

NOW = 100.0


def rule(grouping: str, **more: Any) -> Trigger:
    return Trigger(folder="in", pipeline="p", grouping=grouping, **more)  # type: ignore[arg-type]


def unit(name: str, *, changed: float = 0.0, ready: bool = True, **more: Any) -> Unit:
    return Unit(name=name.encode(), changed=changed, ready=ready, **more)


def found(trigger: Trigger, units: Sequence[Unit], now: float = NOW) -> dict[str, list[str]]:
    """Label -> members; [] for one entry alone."""
    return {
        one.label.decode(): [name.decode() for name in one.members]
        for one in group(trigger, units, now).groups
    }


@pytest.mark.parametrize("grouping", ["entry", "file", "folder"])
def test_each_ready_entry_is_an_item_of_its_own(grouping: str) -> None:
    units = [unit("a"), unit("b", ready=False), unit("c", faulty=True), unit("d", changed=NOW)]
    wanted = [Group(label=name, members=()) for name in (b"a", b"c", b"d")]
    assert group(rule(grouping), units, NOW) == Grouped(groups=wanted, look_again=None)


def test_nothing_makes_nothing() -> None:
    for grouping in ("entry", "quiet", "dicom-study", "dicom-series"):
        assert group(rule(grouping), [], NOW) == Grouped(groups=[], look_again=None)
    assert group(rule("marker", marker="READY"), [], NOW) == Grouped(groups=[], look_again=None)


# --- quiet ------------------------------------------------------------------------------------

QUIET = rule("quiet", quiet_seconds=10)


@pytest.mark.parametrize(
    ("units", "wanted", "again"),
    [
        # all that is there, in the order first seen
        ([unit("b", changed=80), unit("a", changed=90)], {"b": ["b", "a"]}, None),
        ([unit("b", changed=80), unit("a", changed=90.5)], {}, 100.5),
        ([unit("a", changed=80), unit("b", ready=False)], {}, None),
        # what is not ours to take is not waited for, nor taken
        ([unit("a"), unit("b", ready=False, held=True)], {"a": ["a"]}, None),
        ([unit("b", ready=False, held=True)], {}, None),
        # what can never become a job goes alone, also while the others are waited for
        ([unit("a"), unit("f", faulty=True)], {"f": [], "a": ["a"]}, None),
        ([unit("a", changed=95), unit("f", faulty=True, changed=99)], {"f": []}, 105.0),
        ([unit("a"), unit("f", faulty=True, ready=False)], {"a": ["a"]}, None),
    ],
)
def test_quiet_takes_all_once_nothing_changed_for_long_enough(
    units: list[Unit], wanted: dict[str, list[str]], again: float | None
) -> None:
    assert found(QUIET, units) == wanted
    assert group(QUIET, units, NOW).look_again == again


def test_quiet_is_thirty_seconds_unless_it_is_set() -> None:
    units = [unit("a", changed=NOW - 29)]
    assert group(rule("quiet"), units, NOW) == Grouped(groups=[], look_again=NOW + 1)
    assert found(rule("quiet"), units, NOW + 1) == {"a": ["a"]}


# --- markers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "name", "stem"),
    [
        ("READY", b"READY", b""),
        ("READY", b"ready", None),
        ("READY", b"READY.txt", None),
        ("*.ready", b"a.ready", b"a"),
        ("*.ready", b"a.b.ready", b"a.b"),
        ("*.ready", b".ready", None),
        ("*.ready", b"ready", None),
        ("done-*", b"done-7", b"7"),
        ("done-*", b"done-", None),
        ("ab*ba", b"aba", None),
        ("ab*ba", b"abXba", b"X"),
        ("*.ready", b"\xff.ready", b"\xff"),
        ("*.fertig-ä", "é.fertig-ä".encode(), "é".encode()),
    ],
)
def test_the_star_of_a_marker_stands_for_a_stem(
    marker: str, name: bytes, stem: bytes | None
) -> None:
    assert stem_of(marker, name) == stem


READY = rule("marker", marker="READY")
STARRED = rule("marker", marker="*.ready")


@pytest.mark.parametrize(
    ("trigger", "units", "wanted"),
    [
        (READY, [unit("b"), unit("a"), unit("READY")], {"b": ["b", "a", "READY"]}),
        (READY, [unit("READY"), unit("a")], {"a": ["a", "READY"]}),
        (READY, [unit("READY")], {}),
        (READY, [unit("a"), unit("b")], {}),
        (READY, [unit("a"), unit("READY", ready=False)], {}),
        (READY, [unit("a"), unit("b", ready=False), unit("READY")], {}),
        (READY, [unit("a"), unit("b", ready=False, held=True), unit("READY")],
         {"a": ["a", "READY"]}),
        (READY, [unit("f", faulty=True), unit("READY")], {"f": []}),
        (READY, [unit("a"), unit("f", faulty=True), unit("READY")], {"f": [], "a": ["a", "READY"]}),
        (
            STARRED,
            [unit("a"), unit("a.dcm"), unit("ab.dcm"), unit("b.dcm"), unit("a.ready")],
            {"a": ["a", "a.dcm", "a.ready"]},
        ),
        (
            STARRED,
            [unit("a.ready"), unit("b.dcm"), unit("b.ready"), unit("a.dcm")],
            {"a": ["a.dcm", "a.ready"], "b": ["b.dcm", "b.ready"]},
        ),
        # an entry belongs to one group: that of the marker which came first
        (
            STARRED,
            [unit("a.b.dcm"), unit("a.b.ready"), unit("a.ready"), unit("a.dcm")],
            {"a.b": ["a.b.dcm", "a.b.ready"], "a": ["a.dcm", "a.ready"]},
        ),
        (STARRED, [unit("a.dcm", ready=False), unit("a.ready"), unit("b"), unit("b.ready")],
         {"b": ["b", "b.ready"]}),
        (STARRED, [unit("c.dcm"), unit("a.ready")], {}),
    ],
)  # fmt: skip
def test_a_marker_ends_its_group(
    trigger: Trigger, units: list[Unit], wanted: dict[str, list[str]]
) -> None:
    assert found(trigger, units) == wanted
    assert all(one.marker for one in group(trigger, units, NOW).groups if one.members)
    assert group(trigger, units, NOW).look_again is None


# --- studies ----------------------------------------------------------------------------------

STUDY = rule("dicom-study", quiet_seconds=10)


def test_studies_are_taken_each_when_it_is_quiet() -> None:
    units = [
        unit("s2/a", key="2", changed=95),
        unit("a", key="1", changed=80),
        unit("sub/b", key="1", changed=90),
        unit("c", key="3", changed=80),
        unit("d", key="3", ready=False),
        unit("e", key="4", changed=97),
        unit("unknown", ready=False),
        unit("no.dcm", faulty=True, changed=99),
        unit("theirs", key="1", ready=False, held=True),
    ]
    result = group(STUDY, units, NOW)
    assert result.groups == [
        Group(label=b"no.dcm", members=()),
        Group(label=b"1", members=(b"a", b"sub/b"), key="1"),
    ]
    assert result.look_again == 105.0


def test_a_study_of_which_one_file_changes_waits_as_a_whole() -> None:
    units = [unit("a", key="1"), unit("b", key="1", ready=False, changed=99)]
    assert group(STUDY, units, NOW) == Grouped(groups=[], look_again=None)


def test_many_markers_cost_little_more_than_few() -> None:
    units = [unit(f"scan{i}.{end}") for i in range(20_000) for end in ("dcm", "ready")]
    began = time.monotonic()
    groups = group(rule("marker", marker="*.ready"), units, NOW).groups
    assert time.monotonic() - began < 10  # each against each: minutes
    assert [one.members for one in groups[:2]] == [
        (b"scan0.dcm", b"scan0.ready"),
        (b"scan1.dcm", b"scan1.ready"),
    ]
    assert len(groups) == 20_000
