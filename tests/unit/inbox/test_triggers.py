"""A path belongs to the entry of the innermost trigger above it."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.config.inbox import Grouping, TriggerSettings
from claraedge.inbox.triggers.triggers import Trigger, Triggers, folder_of

ROOT = Path("/in")


def made(folder: str, pipeline: str, grouping: Grouping = "entry") -> Trigger:
    rule = TriggerSettings(folder=folder, pipeline=pipeline, grouping=grouping)
    return Trigger(folder=Path(folder), rule=rule, settle=5)


LAYOUT = Triggers(
    ROOT,
    [
        made("/in", ""),
        made("/in/ct", "ct"),
        made("/in/ct/urgent", "fast"),
        made("/in/a/b", "ab"),
        made("/else/where", "x"),
        made("/in/deep", "deep", "file"),
        made("/in/deep/er/one", "er"),
    ],
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/in/ct/one", ("ct", b"one", b"")),
        (b"/in/ct/folder/deep/file", ("ct", b"folder", b"deep/file")),
        (b"/in/ct/urgent/one", ("fast", b"one", b"")),
        (b"/in/ct/urgently", ("ct", b"urgently", b"")),
        (b"/in/a/b/one\xff", ("ab", b"one\xff", b"")),
        (b"/else/where/one", ("x", b"one", b"")),
        (b"/in/one", ("", b"one", b"")),
        (b"/in/deep/one", ("deep", b"one", b"")),
        (b"/in/deep/er/two/three", ("deep", b"er/two/three", b"")),
        (b"/in/deep/er/one/two/three", ("er", b"two", b"three")),
        (b"/in/ct", None),  # a trigger's folder
        (b"/in/ct/urgent", None),
        (b"/in/a", None),  # leads to one
        (b"/in", None),
        (b"/else/other", None),
        (b"/other", None),
        (b"/", None),
    ],
)
def test_a_path_has_its_place(path: bytes, found: tuple[str, bytes, bytes] | None) -> None:
    place = LAYOUT.place(path)
    assert (place and (place.trigger.rule.pipeline, place.name, place.inside)) == found


@pytest.mark.parametrize(
    ("written", "folder"),
    [("ct", "/in/ct"), ("./ct/", "/in/ct"), ("a/b", "/in/a/b"), ("/else", "/else")],
)
def test_a_configured_folder_is_relative_to_the_inbox_or_absolute(
    written: str, folder: str
) -> None:
    assert folder_of(ROOT, written) == Path(folder)
