"""Result folders have plain names, whatever was dropped."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.spool.slug import folder_name, result_folder, slug, whole_id

JOB = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CT_small.dcm", "CT_small.dcm"),
        ("two words.dcm", "two-words.dcm"),
        ("../../etc/passwd", "etc-passwd"),
        ("-rf", "rf"),
        ("...", "item"),
        ("", "item"),
        ("é.dcm", "e.dcm"),
        ("日本.dcm", "dcm"),
        ("日本", "item"),
        ("a\nb\x00c", "a-b-c"),
        ("a'; rm -rf / #", "a-rm-rf"),
        ("x" * 300, "x" * 100),
        ("x" * 99 + ".dcm", "x" * 99),
    ],
)
def test_a_name_becomes_plain(name: str, expected: str) -> None:
    assert slug(name) == expected


@given(st.text())
def test_every_slug_is_a_safe_name(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_])?", slug(name))


def test_the_id_makes_a_folder_ones_own() -> None:
    assert folder_name("a.dcm", JOB) == "a.dcm-01234567"
    assert result_folder("ct", "a.dcm", JOB) == "ct/a.dcm-01234567"
    assert whole_id("ct/a.dcm-01234567", JOB) == f"ct/a.dcm-{JOB}"
