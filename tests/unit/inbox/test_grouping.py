"""Which entries become one job, and until when more is waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from claraedge.config.inbox import TriggerSettings
from claraedge.inbox.triggers.grouping import Group, Grouped, Unit, group, stem_of
from tests.rig.costs import growth

NOW = 100.0


def rule(grouping: str, **more: Any) -> TriggerSettings:
    return TriggerSettings(folder="in", pipeline="p", grouping=grouping, **more)  # type: ignore[arg-type]


def unit(name: str, *, changed: float = 0.0, ready: bool = True, **more: Any) -> Unit:
    return Unit(name=name.encode(), shown=name, changed=changed, ready=ready, **more)


def found(
    trigger: TriggerSettings, units: Sequence[Unit], now: float = NOW
) -> dict[str, list[str]]:
    """Label -> members; [] for one entry alone."""
    return {
        one.label.decode(): [name.decode() for name in one.members]
        for one in group(trigger, units, now).groups
    }


@pytest.mark.parametrize("grouping", ["entry", "file", "folder"])
def test_each_ready_entry_is_an_item_of_its_own(grouping: str) -> None:
    units = [unit("a"), unit("b", ready=False), unit("c", faulty=True), unit("d", changed=NOW)]
    wanted = [Group(label=name, members=()) for name in (b"a", b"c", b"d")]
    assert group(rule(grouping), units, NOW) == Grouped(groups=wanted, next_grouping=None)


def test_nothing_makes_nothing() -> None:
    for grouping in ("entry", "quiet", "dicom-study", "dicom-series"):
        assert group(rule(grouping), [], NOW) == Grouped(groups=[], next_grouping=None)
    assert group(rule("marker", marker="READY"), [], NOW) == Grouped(groups=[], next_grouping=None)


# --- quiet ------------------------------------------------------------------------------------

QUIET = rule("quiet", quiet_seconds=10)


@pytest.mark.parametrize(
    ("units", "wanted", "again"),
    [
        # all that is there, in the order first seen
        ([unit("b", changed=80), unit("a", changed=90)], {"b": ["b", "a"]}, None),
        ([unit("b", changed=80), unit("a", changed=90.5)], {}, 100.5),
        ([unit("a", changed=80), unit("b", ready=False)], {}, None),
        # an empty folder is no part of it
        ([unit("a"), unit("b", ready=False, lacking="empty", unrelated=True)], {"a": ["a"]}, None),
        # without a group, what can never become a job goes alone, once none may come any more
        ([unit("f", faulty=True, lacking="a link")], {"f": []}, None),
        ([unit("f", faulty=True, lacking="a link", changed=99)], {}, 109.0),
        ([unit("f", faulty=True, lacking="a link", ready=False)], {}, None),
        # what was there long before is no part of it
        (
            [unit("f", faulty=True, lacking="a link"), unit("a", first_seen=50)],
            {"f": [], "a": ["a"]},
            None,
        ),
    ],
)
def test_quiet_groups_all_once_nothing_changed_for_long_enough(
    units: list[Unit], wanted: dict[str, list[str]], again: float | None
) -> None:
    assert found(QUIET, units) == wanted
    assert group(QUIET, units, NOW).next_grouping == again


def test_quiet_is_thirty_seconds_unless_it_is_set() -> None:
    units = [unit("a", changed=NOW - 29)]
    assert group(rule("quiet"), units, NOW) == Grouped(groups=[], next_grouping=NOW + 1)
    assert found(rule("quiet"), units, NOW + 1) == {"a": ["a"]}


# --- markers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "name", "stem"),
    [
        ("READY", b"READY", b""),
        ("READY", b"ready", b""),
        ("*.ready", b"A.READY", b"A"),
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
        (READY, [unit("a"), unit("b", ready=False, lacking="empty", unrelated=True), unit("READY")],
         {"a": ["a", "READY"]}),
        (READY, [unit("f", faulty=True, lacking="a link"), unit("READY")], {}),
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
    trigger: TriggerSettings, units: list[Unit], wanted: dict[str, list[str]]
) -> None:
    assert found(trigger, units) == wanted
    assert all(one.marker for one in group(trigger, units, NOW).groups if one.members)
    assert group(trigger, units, NOW).next_grouping is None


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
        unit("no.dcm", faulty=True, unrelated=True, lacking="no DICOM", changed=99),
        unit("theirs", key="9", ready=False, lacking="not ours"),
    ]
    result = group(STUDY, units, NOW)
    assert result.groups == [
        Group(label=b"1", members=(b"a", b"sub/b"), key="1"),
        Group(label=b"no.dcm", members=()),
    ]
    assert result.next_grouping == 105.0


def test_a_study_of_which_one_file_changes_waits_as_a_whole() -> None:
    units = [unit("a", key="1"), unit("b", key="1", ready=False, changed=99)]
    assert group(STUDY, units, NOW) == Grouped(groups=[], next_grouping=109)


# --- what lacks -------------------------------------------------------------------------------

LINK = {"faulty": True, "lacking": "is a link"}
HALF = {"ready": False, "lacking": "is unfinished"}
OTHERS = {"ready": False, "lacking": "is not ours"}


def wishes(wish: str) -> list[TriggerSettings]:
    """A trigger of each kind that makes one group of `a`, `b` and what lacks."""
    return [
        rule("quiet", quiet_seconds=10, incomplete=wish),
        rule("marker", marker="READY", incomplete=wish),
        rule("dicom-study", quiet_seconds=10, incomplete=wish),
    ]


def crowd(trigger: TriggerSettings, **lacks: Any) -> list[Unit]:
    key = {"key": "1"} if trigger.grouping == "dicom-study" else {}
    end = [unit("READY")] if trigger.grouping == "marker" else []
    return [unit("a", **key), unit("b", **key), unit("c", **lacks), *end]


@pytest.mark.parametrize("trigger", [*wishes("wait"), STUDY, READY, QUIET])
@pytest.mark.parametrize("lacks", [LINK, HALF, OTHERS], ids=["link", "half", "others"])
def test_a_group_of_which_a_part_lacks_waits_and_says_for_what(
    trigger: TriggerSettings, lacks: dict[str, Any]
) -> None:
    result = group(trigger, crowd(trigger, **lacks), NOW)
    text = f"its group waits: 2 of 3 files: 'c': {lacks['lacking']}"
    assert result == Grouped(
        groups=[], next_grouping=None, waits=dict.fromkeys((b"a", b"b", b"c"), text)
    )


@pytest.mark.parametrize("trigger", wishes("run"))
@pytest.mark.parametrize("lacks", [LINK, HALF, OTHERS], ids=["link", "half", "others"])
def test_a_group_may_run_without_a_part_and_say_so(
    trigger: TriggerSettings, lacks: dict[str, Any]
) -> None:
    whole, *alone = group(trigger, crowd(trigger, **lacks), NOW).groups
    assert whole.members[:2] == (b"a", b"b")
    assert b"c" not in whole.members
    assert whole.incomplete == f"2 of 3 files: 'c': {lacks['lacking']}"
    assert [one.label for one in alone] == ([b"c"] if lacks is LINK else [])


@pytest.mark.parametrize("trigger", wishes("fail"))
@pytest.mark.parametrize("lacks", [LINK, HALF, OTHERS], ids=["link", "half", "others"])
def test_a_group_of_which_a_part_lacks_may_fail_as_a_whole(
    trigger: TriggerSettings, lacks: dict[str, Any]
) -> None:
    (failed,) = group(trigger, crowd(trigger, **lacks), NOW).groups
    wanted = {b"a", b"b"} | ({b"c"} if lacks is LINK else set())
    assert set(failed.members) - {b"READY"} == wanted
    assert failed.fault == f"its group is incomplete: 2 of 3 files: 'c': {lacks['lacking']}"


@pytest.mark.parametrize("wish", ["wait", "run", "fail"])
def test_what_may_be_a_part_is_not_decided_before_the_group_is_quiet(wish: str) -> None:
    trigger = rule("dicom-study", quiet_seconds=10, incomplete=wish)
    units = [unit("s/a", key="1", changed=95), unit("s/b", changed=80, **LINK)]
    assert group(trigger, units, NOW) == Grouped(groups=[], next_grouping=105.0)


def test_an_unfinished_file_that_still_grows_keeps_the_others_waiting() -> None:
    trigger = rule("dicom-study", quiet_seconds=10, incomplete="run")
    units = [unit("a", key="1"), unit("b.part", key="1", changed=99, **HALF)]
    assert group(trigger, units, NOW) == Grouped(groups=[], next_grouping=109.0)


@pytest.mark.parametrize(
    ("name", "more", "waits"),
    [
        ("s1/x", {}, True),  # nobody knows: it came with the study into its folder
        ("s1/deep/x", {}, True),
        ("s2/x", {}, False),
        ("x", {}, False),
        ("s1/x", {"first_seen": 211}, False),  # later than the quiet time
        ("s1/x", {"first_seen": 189}, False),
        ("s1/x", {"first_seen": 209}, True),
        ("x", {"key": "1"}, True),  # it says that it is of the study
        ("x", {"key": "1", "first_seen": 0}, True),
        ("s1/x", {"key": "2"}, False),
        ("s1/x", {"unrelated": True}, False),  # certainly no part of a study
    ],
)
def test_a_part_of_a_study_is_known_by_its_uid_or_else_by_place_and_time(
    name: str, more: dict[str, Any], waits: bool
) -> None:
    units = [
        unit("s1/a", key="1", first_seen=200),
        unit(name, **{"first_seen": 200, **HALF, **more}),
    ]
    result = group(STUDY, units, NOW)
    assert bool(result.waits) is waits
    assert len(result.groups) == (0 if waits else 1)


def test_what_may_be_a_part_of_two_groups_is_lacking_in_both() -> None:
    units = [unit("a", key="1"), unit("b", key="2", changed=95), unit("c", **LINK)]
    trigger = rule("dicom-study", quiet_seconds=10, incomplete="run")
    first = group(trigger, units, NOW)
    assert [one.label for one in first.groups] == [b"1"]  # `c` stays for the other
    assert first.groups[0].incomplete == "1 of 2 files: 'c': is a link"
    second = group(trigger, units[1:], 105.0)
    assert [(one.label, one.incomplete) for one in second.groups] == [
        (b"2", "1 of 2 files: 'c': is a link"),
        (b"c", ""),
    ]


def test_of_many_that_lack_three_are_named() -> None:
    units = [unit("a", key="1"), *(unit(f"{i}.part", **HALF) for i in range(5))]
    text = group(STUDY, units, NOW).waits[b"a"]
    assert text.startswith("its group waits: 1 of 6 files: '0.part': is unfinished; ")
    assert text.endswith("'2.part': is unfinished; and 2 more")


def test_a_hidden_name_of_an_unfinished_file_belongs_to_the_marker_that_it_names() -> None:
    units = [unit("a.dcm"), unit(".in.a.raw.", **HALF), unit("a.ready"), unit("b"), unit("b.ready")]
    result = group(STARRED, units, NOW)
    assert [one.label for one in result.groups] == [b"b"]
    assert result.waits[b"a.dcm"].startswith("its group waits: 1 of 2 files: '.in.a.raw.'")


def test_many_that_lack_cost_little_more_than_few() -> None:
    def waits(count: int, trigger: TriggerSettings) -> None:
        units = [unit(f"{i}.dcm") for i in range(10 * count)]
        units += [unit(f"{i}", faulty=True, lacking="a link") for i in range(count)]
        (text,) = set(group(trigger, units, NOW).waits.values())
        assert text.startswith("its group waits: ")

    for trigger in (QUIET, rule("marker", marker="0.dcm")):
        assert growth(lambda count, by=trigger: waits(count, by), 200) < 40  # type: ignore[misc]


def test_many_markers_cost_little_more_than_few() -> None:
    def groups(count: int) -> Sequence[Group]:
        units = [unit(f"scan{i}.{end}") for i in range(count) for end in ("dcm", "ready")]
        return group(rule("marker", marker="*.ready"), units, NOW).groups

    assert growth(groups, 1000) < 40
    many = groups(20_000)
    assert [one.members for one in many[:2]] == [
        (b"scan0.dcm", b"scan0.ready"),
        (b"scan1.dcm", b"scan1.ready"),
    ]
    assert len(many) == 20_000


# --- listings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "units", "since"),
    [
        (QUIET, [unit("a", changed=80), unit("b", changed=85)], 95),
        (STUDY, [unit("a", changed=80, key="1.2")], 90),
        (STUDY, [unit("a", changed=80, faulty=True, lacking="odd", unrelated=True)], 80),
        (rule("marker", marker="*.ok"), [unit("a", changed=90), unit("a.ok", changed=80)], 80),
    ],
)
def test_the_end_of_a_group_is_confirmed_by_a_listing(
    trigger: TriggerSettings, units: Sequence[Unit], since: float
) -> None:
    before = group(trigger, units, NOW, listed=since - 0.1)
    assert before == Grouped(groups=[], next_grouping=None, unconfirmed=True)
    after = group(trigger, units, NOW, listed=since)
    assert len(after.groups) == 1
    assert not after.unconfirmed
