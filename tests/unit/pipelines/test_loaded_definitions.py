"""Definitions that stay loaded are those that are loaded each time."""

from __future__ import annotations

import pytest

from claraedge.pipelines import model
from claraedge.pipelines.checks import load as module
from claraedge.pipelines.model import DefinitionFile, decode, encode
from tests.rig.pipelines import chain


def test_files_are_loaded_as_ever_whether_they_stay_loaded_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [DefinitionFile(path="p.yaml", content=chain("one", "two"))]
    wrong = [DefinitionFile(path="p.yaml", content=chain("one", "one"))]
    for kept in (1 << 18, -1):
        monkeypatch.setattr(module, "_KEPT", kept)
        for definition in (files, wrong, []):
            first, again = module.load_files(definition), module.load_files(definition)
            assert first == again == module.load(definition)
            assert (first is again) == (kept > 0)


def test_a_snapshot_is_decoded_as_ever_whether_it_stays_decoded_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = module.load([DefinitionFile(path="p.yaml", content=chain("one", "two"))]).pipeline
    assert pipeline is not None
    for kept in (1 << 20, -1):
        monkeypatch.setattr(model, "_KEPT", kept)
        first, again = decode(encode(pipeline)), decode(encode(pipeline))
        assert first == again == pipeline
        assert (first is again) == (kept > 0)
