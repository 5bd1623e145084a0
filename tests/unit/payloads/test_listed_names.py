"""No file of an output is hidden by another whose escaped name is the same."""

from __future__ import annotations

import os

from claraedge.payloads.tree import listed_names


def test_names_that_would_be_the_same_are_made_distinct() -> None:
    raw = [os.fsdecode(name) for name in (b"bad\xff", b"bad\\xff", b"plain", b"bad\\xff~")]
    listed = listed_names(raw)
    assert listed[raw[1]] == "bad\\xff"
    assert listed[raw[2]] == "plain"
    assert listed[raw[3]] == "bad\\xff~"
    assert listed[raw[0]] == "bad\\xff~~"
    assert len(set(listed.values())) == len(raw)
