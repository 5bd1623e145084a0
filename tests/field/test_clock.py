"""A device whose clock says 1970 until somebody sets it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.places import copying, place

_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.mark.podman
@pytest.mark.timeout(180)
@case(
    11,
    "A board without a battery for its clock, which starts in 1970",
    source="anduril/jetpack-nixos#500; guysoft/OctoPi#606",
    outcome="Files are taken and delivered, also files that seem to be of the future; nothing is"
    " removed for its age.",
)
def test_a_clock_that_starts_in_1970(tmp_path: Path) -> None:
    if _FAKETIME is None:
        pytest.fail("libfaketime is missing: build/provision --contract installs it")
    variables = {
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME": f"-{int(time.time()) - 86400}",  # the day after the beginning
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
    with place(tmp_path, variables, settings="[outbox]\nkeep_days = 1\n") as here:
        definition = tmp_path / "p.yaml"
        definition.write_text(copying("clock"))
        here.say("create", "pipeline", "-p", definition)
        here.drop("clock", b"a.dcm").write_bytes(b"x")  # with today's time
        (item,) = here.ended()
        assert item["state"] == "DELIVERED"
        results = Path(item["result_path"])
        assert (results / "copy" / "a.dcm").read_bytes() == b"x"
        document = json.loads((results / "result.json").read_text())
        assert document["delivered"].startswith("1970-01-0")
        assert "1970-01-0" in here.say("list", "inbox")
