"""Right definitions load, each to exactly the form that stands beside it.

`tests/definitions/right/NAME.yaml` is the definition and `NAME.json` what comes of it: `pipeline`
as the snapshot writes it (defaults left out) and the codes of the warnings with their lines.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claraedge.pipelines.load import Loaded, load
from claraedge.pipelines.model import DefinitionFile, decode, encode

RIGHT = Path(__file__).parents[2] / "definitions" / "right"
NAMES = sorted(path.stem for path in RIGHT.glob("*.yaml"))


def loaded(name: str) -> Loaded:
    text = (RIGHT / f"{name}.yaml").read_text()
    return load([DefinitionFile(path=f"{name}.yaml", content=text)])


def test_there_are_definitions_to_load() -> None:
    assert len(NAMES) >= 15


@pytest.mark.parametrize("name", NAMES)
def test_loads_to_the_form_beside_it(name: str) -> None:
    expected = json.loads((RIGHT / f"{name}.json").read_text())
    found = loaded(name)
    assert found.errors == ()
    assert found.pipeline is not None
    assert json.loads(encode(found.pipeline)) == expected["pipeline"]
    assert [f"{p.code}:{p.line}" for p in found.warnings] == expected.get("warnings", [])


@pytest.mark.parametrize("name", NAMES)
def test_its_snapshot_reads_back_equal(name: str) -> None:
    pipeline = loaded(name).pipeline
    assert pipeline is not None
    assert decode(encode(pipeline)) == pipeline
