"""Which file of a payload a name means: by tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.errors import (
    AmbiguousFileNameError,
    FileNotFoundInPayloadError,
    InvalidFileNameError,
)
from claraedge.payloads.model import stored_mode
from claraedge.payloads.names import MAX_PARTS, check_depth, folders, match, normalise


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("x", "x"),
        ("/x", "x"),
        ("./x", "x"),
        (".//x", "x"),
        ("//x", "x"),
        ("/./a/./b//c", "a/b/c"),
        ("a b/ü.dcm", "a b/ü.dcm"),
        ("...", "..."),
        ("a/..b", "a/..b"),
        (".hidden", ".hidden"),
        ("a\\b", "a\\b"),
        ("A/b", "A/b"),
        ("x" * 255, "x" * 255),
        ("\n", "\n"),
        (" ", " "),
    ],
)
def test_the_stored_form(sent: str, stored: str) -> None:
    assert normalise(sent) == stored


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ("", "empty"),
        (".", "empty"),
        ("/", "names a folder"),
        ("a/", "names a folder"),
        ("a/.", "names a folder"),
        ("..", "'..'"),
        ("../x", "'..'"),
        ("a/../b", "'..'"),
        ("a/..", "'..'"),
        ("/../../etc/passwd", "'..'"),
        ("a\0b", "NUL"),
        ("x" * 256, "longer than 255 bytes"),
        ("ü" * 128, "longer than 255 bytes"),
        ("a/" * 1600 + "x", "longer than 3072 bytes"),
    ],
)
def test_names_that_are_refused_say_why(sent: str, says: str) -> None:
    with pytest.raises(InvalidFileNameError) as caught:
        normalise(sent)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.text(alphabet="ab./\\\0 ", max_size=12))
def test_what_is_taken_stays_inside_and_is_its_own_form(name: str) -> None:
    try:
        stored = normalise(name)
    except InvalidFileNameError:
        return
    assert normalise(stored) == stored
    assert not stored.startswith("/")
    assert not {"", ".", ".."} & set(stored.split("/"))


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        (["a"], "a", "a"),
        (["A"], "a", "A"),
        (["a", "A"], "A", "A"),
        (["a", "A"], "a", "a"),
        (["STRASSE"], "straße", "STRASSE"),
        (["x/A", "y/a"], "X/a", "x/A"),
    ],
)
def test_the_match_without_case_or_else_the_exact_one(
    names: list[str], wanted: str, found: str
) -> None:
    assert match(names, wanted) == found
    assert match(reversed(names), wanted) == found


def test_several_matches_without_an_exact_one_are_named() -> None:
    with pytest.raises(AmbiguousFileNameError, match=r"'A\.dcm', 'a\.DCM'; *give|exact case"):
        match(["a.DCM", "A.dcm"], "a.dcm")


def test_no_match_points_to_the_list() -> None:
    with pytest.raises(FileNotFoundInPayloadError, match="Details"):
        match(["b"], "a")


def test_the_folders_above_a_name() -> None:
    assert folders("a/b/c") == ["a", "a/b"]
    assert folders("a") == []


@pytest.mark.parametrize(
    ("sent", "kept"), [(0, 0o644), (0o7777, 0o777), (0o200, 0o600), (0o444, 0o444)]
)
def test_modes(sent: int, kept: int) -> None:
    assert stored_mode(sent) == kept


def test_a_name_is_stored_no_deeper_than_a_tree_can_be_walked() -> None:
    deepest = "/".join("d" * MAX_PARTS)
    assert check_depth(deepest) == deepest
    with pytest.raises(InvalidFileNameError, match="128 parts"):
        check_depth(f"{deepest}/f")
