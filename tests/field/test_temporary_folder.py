"""A folder for temporary files that Podman cannot use: images are as whole as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.places import copying, place

pytestmark = pytest.mark.podman


@case(
    10,
    "TMPDIR names a folder that is not there",
    source="containers/podman#25810",
    outcome="Podman is given a folder that it can write to, and the journal says so; no image "
    "counts as damaged.",
)
def test_podman_works_without_its_temporary_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with place(tmp_path / "site", {"TMPDIR": str(gone)}) as here:
        definition = tmp_path / "copy.yaml"
        definition.write_text(copying("copy"))
        here.say("create", "pipeline", "-p", definition)
        here.drop("copy", b"a.dcm").write_bytes(b"a")
        assert [item["state"] for item in here.ended()] == ["DELIVERED"]
        assert f"Podman cannot write temporary files to {gone}; it uses /var/tmp" in here.log
        assert "is damaged" not in here.say("status")
