"""Names decide what a trigger accepts, and which texts its jobs get."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.config.inbox import TriggerSettings
from claraedge.config.placeholders import filled, unknown
from claraedge.formats.filenames import DEFAULT
from claraedge.inbox.triggers.naming import Named, NameDoesNotFitError, named
from claraedge.inbox.triggers.selection import Selected, select
from claraedge.metadata import MAX_VALUE_CHARACTERS


def rule(**more: Any) -> TriggerSettings:
    return TriggerSettings(folder="in", pipeline="p", **more)


def wanted(trigger: TriggerSettings, name: bytes) -> bool:
    return isinstance(select(trigger, name, DEFAULT), Selected)


@pytest.mark.parametrize(
    ("include", "ignore", "name", "taken"),
    [
        ((), (), b"anything", True),
        (("*.dcm",), (), b"a.dcm", True),
        (("*.dcm",), (), b"a.DCM", True),
        (("*.DCM",), ("*.TXT",), b"a.dcm", True),
        ((), ("*.txt",), b"A.TXT", False),
        (("*.dcm",), (), b"sub/deep/a.dcm", True),
        (("sub/*.dcm",), (), b"sub/deep/a.dcm", True),
        (("sub/*.dcm",), (), b"a.dcm", False),
        ((), ("*.txt",), b"a.txt", False),
        ((), ("*.txt",), b"txt", True),
        (("a*",), ("*.txt",), b"a.txt", False),
        ((), ("keep/*",), b"keep/a/b", False),
        ((), ("keep",), b"keep/a/b", True),
        (("?.dcm",), (), b"\xff.dcm", True),
        (("[ab].dcm",), (), b"c.dcm", False),
        (("*",), (), b"a\nb", True),
    ],
)
def test_patterns_choose_entries(
    include: tuple[str, ...], ignore: tuple[str, ...], name: bytes, taken: bool
) -> None:
    assert wanted(rule(include=include, ignore=ignore), name) is taken


@pytest.mark.parametrize(
    ("include", "name", "counts"),
    [
        ("*.dcm", b"IM1.dcm.part", True),
        ("*.dcm", b"sub/.IM1.DCM.4FgT2x", True),
        ("*.dcm", b"~syncthing~IM1.dcm.tmp", True),
        ("*.dcm", b"IM1.dcm.aria2", True),
        ("in/*.dcm", b"in/IM1.dcm.part", True),
        ("in/*.dcm", b"IM1.dcm.part", False),
        ("*.dcm", b"report.pdf.part", False),
        ("*.dcm", b"IM1.dcm.txt", False),
    ],
)
def test_an_unfinished_file_counts_whose_later_name_may_be_included(
    include: str, name: bytes, counts: bool
) -> None:
    found = select(rule(include=(include,)), name, DEFAULT)
    assert isinstance(found, Selected) is counts
    assert not counts or found.unfinished  # type: ignore[union-attr]


def test_a_marker_need_not_be_included() -> None:
    trigger = rule(grouping="marker", marker="*.ready", include=("*.dcm",), ignore=("x*",))
    assert wanted(trigger, b"a.dcm")
    assert wanted(trigger, b"a.ready")
    assert not wanted(trigger, b"a.txt")
    assert not wanted(trigger, b"x.ready")


def test_a_name_has_its_texts() -> None:
    texts = {k: "{" + k + "}" for k in ("name", "stem", "suffix", "folder", "path")}
    assert named(rule(parameters=texts), b"p1/s2/a.b.dcm", {}).parameters == {
        "name": "a.b.dcm",
        "stem": "a.b",
        "suffix": ".dcm",
        "folder": "p1/s2",
        "path": "p1/s2/a.b.dcm",
    }
    assert named(rule(parameters=texts), b"alone", {}).parameters == {
        "name": "alone",
        "stem": "alone",
        "suffix": "",
        "folder": "",
        "path": "alone",
    }


def test_groups_of_the_pattern_are_texts_for_parameters_and_metadata() -> None:
    trigger = rule(
        match=r"(?P<patient>P\d+)/(?P<kind>ct|mr)?(?P<rest>.*)",
        parameters={"patient": "{patient}", "both": "{{{patient}-{kind}}}"},
        metadata={"Rest": "of {name}: {rest}"},
    )
    assert named(trigger, b"P12/ct.dcm", {}) == Named(
        parameters={"patient": "P12", "both": "{P12-ct}"}, metadata={"Rest": "of ct.dcm: .dcm"}
    )
    assert named(trigger, b"P12/us.dcm", {}).parameters["both"] == "{P12-}"


@pytest.mark.parametrize("name", [b"p12/a", b"P12", b"xP12/a", b"P12/a\nb", b"P12/\xff\n"])
def test_a_name_that_does_not_fit_as_a_whole_says_so(name: bytes) -> None:
    trigger = rule(match=r"(?P<patient>P\d+)/.*", metadata={"Patient": "{patient}"})
    with pytest.raises(NameDoesNotFitError, match=r"does not fit `match` of its trigger"):
        named(trigger, name, {})


@pytest.mark.timeout(20)
@pytest.mark.parametrize("match", ["(?P<n>(a+)+)b", "(?P<n>.*.*.*.*.*.*)="])
def test_every_name_is_matched_fast(match: str) -> None:
    trigger = rule(match=match, metadata={"N": "{n}"})
    for length in range(2000, 4000):
        with pytest.raises(NameDoesNotFitError, match=r"does not fit `match` of its trigger"):
            named(trigger, b"a" * length, {})
    fits = b"aab" if match.endswith("b") else b"aa="
    assert named(trigger, fits, {}).metadata == {"N": "aa"}


def test_uids_are_texts_of_studies() -> None:
    trigger = rule(grouping="dicom-series", metadata={"Of": "{study}/{series}"})
    uids = {"study": "1.2", "series": "1.2.3"}
    assert named(trigger, b"1.2.3", uids).metadata == {"Of": "1.2/1.2.3"}


def test_a_text_of_the_name_is_not_read_as_a_placeholder() -> None:
    assert named(rule(parameters={"n": "{name}"}), b"{path}{{x}}", {}).parameters == {
        "n": "{path}{{x}}"
    }


def test_metadata_is_cut_to_what_a_job_may_have() -> None:
    trigger = rule(metadata={"Name": "{name}" * 100})
    assert len(named(trigger, b"x" * 255, {}).metadata["Name"]) == MAX_VALUE_CHARACTERS


def test_a_name_that_is_not_utf8_is_escaped() -> None:
    assert named(rule(metadata={"n": "{name}"}), b"a\xff", {}).metadata == {"n": "a\\xff"}


# --- placeholders -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", []),
        ("plain", []),
        ("{a}{b}", []),
        ("{c}", ["c"]),
        ("{}", [""]),
        ("{ a }", [" a "]),
        ("{{c}}", []),
        ("{{{a}}}", []),
        ("{{{c}}}", ["c"]),
        ("{a", ["{"]),
        ("a}", ["}"]),
        ("{a{b}", ["{"]),
        ("{a:>3}", ["a:>3"]),
        ("{a.b}{a[0]}", ["a.b", "a[0]"]),
    ],
)
def test_what_is_no_placeholder_is_found(text: str, wrong: list[str]) -> None:
    assert unknown(text, ("a", "b")) == wrong


@given(st.text(alphabet="{}ab"))
def test_a_text_without_mistakes_can_be_filled(text: str) -> None:
    if not unknown(text, ("a", "b")):
        whole = filled(text, {"a": "", "b": ""})
        assert set(whole) <= set("{}ab")


@given(st.text())
def test_doubled_braces_are_the_text_itself(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert unknown(doubled, ()) == []
    assert filled(doubled, {}) == text
