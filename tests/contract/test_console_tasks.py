"""Ten tasks of people at the console, with the frozen program and real Podman.

Each mode is a language, a scheme of colours, a width, and a way to act: two people use a hand, two
the keyboard alone. `CLARAEDGE_SCREENSHOTS=FOLDER` keeps what they saw.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.campaign import SCREENSHOTS
from tests.contract.dicom_pictures import made
from tests.contract.flows import GREET
from tests.contract.original import ROOT
from tests.contract.test_http_clients import HttpSite, http_site
from tests.contract.test_result_viewers import python
from tests.freeze.frozen_site import FORMS
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE

pytestmark = [pytest.mark.podman, pytest.mark.frozen, pytest.mark.timeout(900)]

CLIENTS = Path(__file__).parent / "clients"
TEXTS = ROOT / "claraedge" / "web" / "console" / "texts"
PEOPLE = {
    "en-light-1440": ("anna", False),
    "de-dark-375": ("bert", False),
    "de-light-1440": ("clara", True),
    "en-dark-375": ("dora", True),
}
"""The people by their modes, and whether they have the keyboard alone."""
PLAIN = "eva"
"""Has a browser without JavaScript."""
NAMES = (*(who for who, _ in PEOPLE.values()), PLAIN)
MIB = 1 << 20

PIPELINE = """\
api-version: 0.4.0
name: {name}
operators:
"""
OPERATOR = """\
- name: {name}
  container: {{image: {image}, tag: "1", command: [sh, -c, "{command}"]}}
"""
INPUT = "  input: [{path: /in}]\n  output: [{path: /out}]\n"
#: Runs until the file GO appears in the input of the job.
LUNGS = (
    PIPELINE.format(name="lungs")
    + OPERATOR.format(name="reader", image=IMAGE, command="echo reads; echo series >/out/series")
    + INPUT
    + OPERATOR.format(
        name="segmentation",
        image=IMAGE,
        command="until test -e /in/GO; do echo waits; sleep 0.2; done; cp /series/series /out",
    )
    + "  input: [{path: /in}, {path: /series, from: reader}]\n  output: [{path: /out}]\n"
)
CHECK = PIPELINE.format(name="lung-check") + OPERATOR.format(
    name="segment", image=IMAGE, command="echo reads the study; echo no lung found >&2; exit 7"
)


def training() -> str:
    """A pipeline of which only one job has room in the memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 6 // 10 // MIB
    operator = OPERATOR.format(name="train", image=IMAGE, command="echo began; sleep 600")
    return PIPELINE.format(name="training") + operator + f"  requests: {{memory: {memory}}}\n"


def tools(who: str) -> str:
    """An image that the device lacks until the person loads it."""
    return f"localhost/tools/{who}"


def copies(name: str, image: str = IMAGE) -> str:
    operator = OPERATOR.format(name="copy", image=image, command="cp -r /in/. /out")
    return PIPELINE.format(name=name) + operator + INPUT


class Device:
    """What somebody at the device does for the person at the browser."""

    def __init__(self, site: HttpSite, folder: Path) -> None:
        self._site, self._folder = site, folder

    def do(self, wanted: dict[str, str]) -> str:
        """Does it, and returns what is said about it."""
        return str(getattr(self, f"_{wanted.pop('do')}")(**wanted))

    def register(self, text: str) -> str:
        path = self._folder / "pipeline.yaml"
        path.write_text(text)
        return self._site.say("create", "pipeline", "-p", path)

    def _drop(self, folder: str, name: str) -> str:
        target = self._site.state / "inbox" / folder / name
        part = target.with_name(f".{name}.part")
        part.write_text(f"{name}\n")
        part.rename(target)
        return name

    def _register(self, name: str) -> str:
        return self.register(copies(name))

    def _release(self, job: str) -> str:
        payload = self._site.answer(f"/v1/jobs/{job}")["payloadId"]
        (self._site.state / "payloads" / payload / "input" / "GO").touch()
        return job


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, runtime_folder: Path, archives: TestImages
) -> Iterator[HttpSite]:
    triggers = [
        f'[[inbox.trigger]]\nfolder = "{folder}-{who}"\npipeline = "{pipeline}"\n{more}'
        for who in NAMES
        for folder, pipeline, more in (
            ("reports", f"reports-{who}", ""),
            ("scans", f"scans-{who}", ""),
            ("ct", "ct", 'grouping = "dicom-study"\nquiet_seconds = 1.0\n'),
        )
    ]
    folder = tmp_path_factory.mktemp("site")
    settings = f"[inbox]\nsettle_seconds = 0.5\n{''.join(triggers)}"
    with http_site(FORMS["file"], folder, runtime_folder, settings) as site:
        archives.load(site, f"{IMAGE}:1")
        at = Device(site, folder)
        for text in (LUNGS, CHECK, GREET, training(), copies("ct")):
            at.register(text)
        for who in NAMES:
            at.register(copies(f"scans-{who}", tools(who)))
            site.call("delete", "images", f"{tools(who)}:1")  # of an earlier run
        yield site


def study(folder: Path, uid: str) -> Path:
    """Writes three slices of a body: a disc with two dark lungs in it."""
    folder.mkdir()
    size = 128
    for number in range(3):
        levels = []
        for y in range(size):
            for x in range(size):
                body = ((x - 64) / 56) ** 2 + ((y - 64) / 44) ** 2 < 1
                wide, high = (abs(x - 64) - 26) / 18, (y - 62) / (30 - 4 * number)
                air = max(1 - wide**2 - high**2, 0)
                levels.append(1024 + (40 - int(840 * air) if body else -1000))
        pixels = b"".join(level.to_bytes(2, "little") for level in levels)
        content = made(
            pixels, Rows=size, Columns=size, BitsAllocated=16, RescaleSlope=1,
            RescaleIntercept=-1024, WindowCenter=-300, WindowWidth=1400, StudyInstanceUID=uid,
            SeriesInstanceUID=f"{uid}.1", SOPInstanceUID=f"{uid}.1.{number}",
            InstanceNumber=number + 1, StudyDescription="Chest",
        )  # fmt: skip
        (folder / f"IM{number}.dcm").write_bytes(content)
    return folder


def watched(client: str, site: HttpSite, plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Runs a client; what somebody at the device has to do meanwhile is done."""
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    at = Device(site, folder)
    with (
        (folder / "errors.txt").open("w+") as errors,
        subprocess.Popen(
            [python(), CLIENTS / client, path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        ) as browser,
    ):  # fmt: skip
        assert browser.stdin is not None
        assert browser.stdout is not None
        try:
            for line in browser.stdout:
                wanted = json.loads(line)
                if "found" in wanted:
                    assert browser.wait(60) == 0
                    found: dict[str, Any] = wanted["found"]
                    return found
                print(json.dumps(at.do(wanted)), file=browser.stdin, flush=True)
            errors.seek(0)
            raise AssertionError(errors.read())
        finally:
            if browser.poll() is None:
                browser.kill()


def plan_of(site: HttpSite, archives: TestImages, folder: Path, who: str) -> dict[str, Any]:
    uid = f"1.2.826.0.1.{uuid.uuid4().int % 10**20}"
    name = folder / "name.txt"
    name.write_text("anna\n")
    return {
        "address": site.url, "token": site.token, "who": who, "uid": uid,
        "pictures": SCREENSHOTS or str(folder), "study": str(study(folder / "study", uid)),
        "name": str(name), "archive": str(archives.archive(f"{tools(who)}:1")),
    }  # fmt: skip


@pytest.mark.parametrize("mode", PEOPLE)
def test_people_do_their_tasks(
    site: HttpSite, archives: TestImages, tmp_path: Path, mode: str
) -> None:
    language, scheme, width = mode.split("-")
    who, keys = PEOPLE[mode]
    plan = plan_of(site, archives, tmp_path, who)
    plan |= {"mode": mode, "language": language, "scheme": scheme, "width": int(width)}
    found = watched(
        "console_tasks.py",
        site,
        plan | {"keys": keys, "texts": str(TEXTS / f"{language}.toml")},
        tmp_path,
    )
    # Errors, and what the policy of the pages refused.
    assert not found["said"], "\n".join(found["said"])
    assert found["elsewhere"] == []
    assert found["parked_file"]["stayed"]
    assert "claraedge create pipeline" in found["parked_file"]["remedy"]
    assert found["job_at_work"]["stayed"]
    assert "no lung found" in found["failed_operator"]["log"]
    picture = found["slice_of_ct"]
    assert picture["greys"] > 20
    assert float(picture["after"]) != float(picture["before"])
    assert f"{tools(who)}:1" in found["three_again"]["reasons"]
    assert found["three_again"]["left"] == [1, 0]
    assert "Grüß Gott ANNA" in found["parameter"]["text"]
    waits = found["waiting_job"]
    assert "memory" in waits["why"]
    for job in waits["jobs"]:
        assert site.answer(f"/v1/jobs/{job}")["status"] == "JOB_STATUS_CANCELED"
    assert site.answer(f"/v1/jobs/{found['job_at_work']['job']}")["status"] == "JOB_STATUS_HEALTHY"


def test_a_browser_without_javascript_does_all_but_live_views(
    site: HttpSite, archives: TestImages, tmp_path: Path
) -> None:
    model = tmp_path / "model.zip"
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr(
            "config.pbtxt", f'name: "lungs-{PLAIN}"\nplatform: "tensorflow_graphdef"\n'
        )
        archive.writestr("1/model.graphdef", bytes(1000))
    plan = plan_of(site, archives, tmp_path, PLAIN)
    plan |= {"mode": "plain", "keys": False, "texts": str(TEXTS / "en.toml"), "model": str(model)}
    found = watched("console_plain.py", site, plan, tmp_path)
    assert found["nothing"] == "No file was chosen."
    assert "Grüß Gott ANNA" in found["result"]
    assert "no lung found" in found["log"]
    assert found["german"] == "Übersicht"
    for job in found["cancelled"]:
        assert site.answer(f"/v1/jobs/{job}")["status"] == "JOB_STATUS_CANCELED"
