"""No move is made before all are permitted; else the reason says what has to be given to us."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from claraedge.config.inbox import TriggerSettings
from claraedge.formats.filenames import DEFAULT
from claraedge.inbox.inspection import inspector
from claraedge.inbox.inspection.inspector import EntryInspector, Inspection
from claraedge.inbox.inspection.permissions import Blocked, Free, judge
from claraedge.inbox.inspection.settling import Reading
from claraedge.inbox.inspection.survey import Survey
from claraedge.inbox.triggers.triggers import Trigger

OWN = Survey(
    reading=Reading(fingerprint="f"),
    content="c",
    size=1,
    is_folder=False,
    foreign=False,
    top_foreign=False,
)
FOREIGN = replace(OWN, foreign=True, top_foreign=True)
FAULT = Reading(fingerprint="f", fault="'x' is a symbolic link")


@pytest.mark.parametrize(
    ("found", "folder_open", "adopt"),
    [
        (OWN, True, None),
        (FOREIGN, True, None),  # readable: a copy becomes ours
        (OWN, False, "folder"),
        (replace(FOREIGN, blocked=b"", blocked_foreign=True), True, "entry"),
        (
            replace(FOREIGN, is_folder=True, blocked=b"a/b", blocked_foreign=True),
            True,
            "entry",
        ),
        (replace(OWN, blocked=b""), True, "entry"),
        (replace(OWN, reading=FAULT), True, None),  # it is moved as it is, to fail
        (replace(OWN, reading=FAULT, blocked=b"a"), True, None),
        (replace(OWN, reading=FAULT), False, "folder"),
        (
            replace(FOREIGN, reading=FAULT, is_folder=True, blocked=b"", blocked_foreign=True),
            True,
            "entry",
        ),
    ],
)
def test_the_verdict(found: Survey, folder_open: bool, adopt: str | None) -> None:
    verdict = judge(found, "appl", folder_open=folder_open)
    if adopt is None:
        assert verdict == Free()
    else:
        assert isinstance(verdict, Blocked)
        assert verdict.adopt == adopt
        assert verdict.reason


def test_a_medium_that_is_mounted_read_only_is_reported_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scan.dcm").write_bytes(b"scan")
    monkeypatch.setattr(inspector, "folder_is_open", lambda *_: False)  # as access(2) says of it
    trigger = Trigger(folder=tmp_path, rule=TriggerSettings(folder="in", pipeline="ct"), settle=1.0)
    for flags, wanted in (
        (os.ST_RDONLY, "sudo mount -o remount,rw "),
        (0, "sudo claraedge adopt ID"),
    ):
        found = SimpleNamespace(f_flag=flags)
        monkeypatch.setattr(os, "statvfs", lambda _, found=found: found)
        result = EntryInspector(DEFAULT).inspect(trigger, b"scan.dcm", None)
        assert isinstance(result, Inspection)
        assert isinstance(result.verdict, Blocked)
        assert result.verdict.remedy_of("ID").startswith(wanted)
