"""A site as an administrator sets it up: studies and sidecars become jobs with parameters."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

TRIGGERS = """\
[inbox]
settle_seconds = 0.5
rescan_seconds = 2.0

[[inbox.trigger]]
folder = "ct"
pipeline = "study"
grouping = "dicom-study"
quiet_seconds = 2.0
match = "(?P<uid>.*)"
priority = "higher"
duplicates = "link"

[inbox.trigger.parameters]
SITE = "room {{1}}"
UID = "{study}"

[inbox.trigger.metadata]
study = "{study}"

[[inbox.trigger]]
folder = "camera"
pipeline = "study"
grouping = "marker"
marker = "*.ready"
originals_keep_days = 0.0
parameters = { SITE = "{stem}", UID = "none" }
"""

DEFINITION = f"""\
api-version: 0.4.0
name: study
parameters:
  SITE:
  UID:
operators:
- name: count
  container:
    image: {IMAGE}
    tag: '1'
    command: [sh, -c, 'echo "${{{{ SITE }}}} ${{{{ UID }}}}" >/out/said; cd /in; find . -type f | sort >/out/found']
  input: [{{path: /in}}]
  output: [{{path: /out}}]
"""  # noqa: E501


@pytest.fixture
def scanner(idle_site: Site, archives: TestImages) -> Site:
    idle_site.configure(TRIGGERS)
    idle_site.start()
    archives.load(idle_site, f"{IMAGE}:1")
    definition = idle_site.folder / "study.yaml"
    definition.write_text(DEFINITION)
    idle_site.say("create", "pipeline", "-p", definition)
    return idle_site


def items(site: Site, *states: str) -> list[Any]:
    return [i for i in site.ask("list", "inbox")["items"] if i["state"] in states]


def results(item: Any) -> tuple[str, list[str]]:
    folder = Path(item["result_path"], "count")
    return (folder / "said").read_text().strip(), (folder / "found").read_text().split()


def a_study(folder: Path, uid: str, count: int) -> list[Path]:
    slices = []
    for number in range(count):
        image = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        image.StudyInstanceUID = uid
        image.SeriesInstanceUID = f"{uid}.{number % 2}"
        image.SOPInstanceUID = f"{uid}.9.{number}"
        slices.append(folder / f"{uid}-{number}.dcm")
        image.save_as(slices[-1])
    return slices


def test_studies_of_a_scanner_become_jobs_with_its_parameters(
    scanner: Site, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    files = [*a_study(source, "1.2.3", 6), *a_study(source, "1.2.4", 4)]
    random.Random(3).shuffle(files)
    target = scanner.folder / "state/inbox/ct"
    for number, file in enumerate(files):
        below = target / f"disk{number % 3}"
        below.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, below / f"{file.name}.part")
        (below / f"{file.name}.part").rename(below / file.name)
    (target / "notes.txt").write_text("not an image")
    until("all has ended", lambda: len(items(scanner, "DELIVERED", "FAILED")) == 3, seconds=90)
    failed = items(scanner, "FAILED")
    assert [item["name"] for item in failed] == ["notes.txt"]
    assert "DICOM" in failed[0]["reason"]
    done = {item["name"]: item for item in items(scanner, "DELIVERED")}
    assert {name: len(item["members"]) for name, item in done.items()} == {"1.2.3": 6, "1.2.4": 4}
    for uid, item in done.items():
        said, found = results(item)
        assert said == f"room {{1}} {uid}"
        assert sorted(p.rpartition("/")[2] for p in found) == sorted(
            file.name for file in files if file.name.startswith(uid)
        )
        job = scanner.ask("describe", "job", "-j", item["job_id"])
        assert (job["priority"], job["metadata"]["study"]) == ("HIGHER", uid)
        result = json.loads(Path(item["result_path"], "result.json").read_text())
        assert {len(file["sha256"]) for file in result["inputs"]} == {64}
        assert len(result["inputs"]) == len(item["members"])
    # The same study again, under other names: its results are linked.
    for number, file in enumerate(f for f in files if f.name.startswith("1.2.4")):
        shutil.copy(file, target / f"again{number}")
    until("it is linked", lambda: len(items(scanner, "DELIVERED")) == 3, seconds=60)
    (again,) = [i for i in items(scanner, "DELIVERED") if i["duplicate_of"]]
    assert Path(again["result_path"]).resolve() == Path(done["1.2.4"]["result_path"]).resolve()
    assert again["job_id"] == done["1.2.4"]["job_id"]


def test_a_marker_ends_a_group_and_nothing_is_kept_where_that_is_said(scanner: Site) -> None:
    target = scanner.folder / "state/inbox/camera"
    for name in ("a.raw", "a.json", "b.raw"):
        (target / name).write_text(name)
    until("they are whole", lambda: len(items(scanner, "SETTLING")) == 3)
    (target / "a.ready").touch()
    until("the first is done", lambda: items(scanner, "DELIVERED"), seconds=60)
    (item,) = items(scanner, "DELIVERED")
    assert (item["name"], item["members"][-1]) == ("a", "a.ready")
    assert sorted(item["members"]) == ["a.json", "a.raw", "a.ready"]
    assert results(item) == ("a none", ["./a.json", "./a.raw"])
    assert [i["name"] for i in items(scanner, "SETTLING")] == ["b.raw"]
    originals = scanner.folder / "state/originals/study"
    until(
        "its original is removed",
        lambda: not [p for p in originals.rglob("*") if p.is_file()],
        seconds=60,
    )
    assert (target / "b.raw").exists()
