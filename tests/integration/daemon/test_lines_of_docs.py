"""The shell lines of the README and of the tutorial do what these pages say."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages

pytestmark = [pytest.mark.podman, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[3]
#: The image of the demo; here it is a busybox.
IMAGE = "localhost/claraedge/dcmtk:1"
#: The reader's shell: bash with the values that build/demo prints. A reader waits until the item
#: has its last state, and ends a watch with Ctrl-C.
READER = """
set -euo pipefail
settled() {
    until [ -z "$(ls "$inbox/lines")" ] &&
        ! "$program" list inbox | grep -qE 'SETTLING|CLAIMED|PARKED|SUBMITTED'; do sleep 0.2; done
}
watched() {
    env --default-signal=INT "$program" list inbox --watch >watched.txt &
    until grep -qE 'DELIVERED|FAILED' watched.txt; do sleep 0.2; done
    kill -INT $!
    wait $! || true
    cat watched.txt
}
claraedge() {
    case "$*" in
    "list inbox") settled ;;
    "list inbox --watch") watched; return ;;
    esac
    "$program" "$@"
}
"""


def sections(page: str) -> dict[str, list[str]]:
    """Returns the shell blocks of each section of a page, by its heading without a number."""
    found = {}
    for part in re.split(r"^## ", (ROOT / page).read_text(encoding="utf-8"), flags=re.M)[1:]:
        heading = part.partition("\n")[0].lstrip("0123456789. ")
        found[heading] = re.findall(r"^```sh\n(.*?)^```", part, re.M | re.S)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A person who types what a page says."""

    site: Site
    folder: Path

    def type(self, lines: str, **values: str) -> str:
        """Runs lines, with values in the place of words such as ID; returns what they print."""
        for word, value in values.items():
            lines, count = re.subn(rf"\b{word}\b", value, lines)
            assert count, f"no {word} in: {lines}"
        state = self.site.folder / "state"
        names = f"program='{self.site.program}' inbox='{state}/inbox' outbox='{state}/outbox'\n"
        done = subprocess.run(
            ["bash", "-c", READER + names + lines],
            cwd=self.folder,
            env=self.site.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{lines}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def reader(idle_site: Site, archives: TestImages, tmp_path: Path) -> Reader:
    idle_site.start()
    archives.load(idle_site, IMAGE)
    folder = tmp_path / "reader"
    folder.mkdir()
    return Reader(site=idle_site, folder=folder)


def test_the_first_drop_of_the_readme(reader: Reader) -> None:
    for name in ("LICENSE", "examples"):
        (reader.folder / name).symlink_to(ROOT / name)
    values, lines = sections("README.md")["Drop a file"]
    assert values.splitlines()[-1].startswith("outbox=")  # READER has them
    said = reader.type(lines)
    assert "0 errors" in said
    assert "DELIVERED" in said
    assert "Apache License" in said


def test_the_calls_of_the_readme(reader: Reader) -> None:
    reader.site.say("create", "pipeline", "-p", ROOT / "examples" / "lines.yaml")
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=reader.site.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[0]) in {1, 2}, "the job waits or runs"
    (job,) = reader.site.ask("list", "jobs")["jobs"]
    assert job["name"] == "from-python"


def test_the_tutorial(reader: Reader) -> None:
    steps = sections("docs/tutorial.md")
    write, check = steps["Write a pipeline"]
    reader.type(write)
    assert "0 errors, 0 warnings" in reader.type(check)
    drop, results = steps["Drop a file"]
    assert "DELIVERED" in reader.type(drop)
    assert "2\none\ntwo\n" in reader.type(results)

    fail, logs, correct = steps["Read a failure, and correct it"]
    assert "FAILED" in reader.type(fail)
    (job,) = {
        i["job_id"] for i in reader.site.ask("list", "inbox")["items"] if i["state"] == "FAILED"
    }
    assert "no line has a letter" in reader.type(logs, ID=job[:8])
    assert "DELIVERED" in reader.type(correct).splitlines()[-1]

    create, describe, download = steps["Run a job without the inbox"][0].splitlines()
    made = dict(re.findall(r"(\w+):(\w+)", reader.type(create)))
    assert "HEALTHY" in reader.type(describe, ID=made["JOB_ID"])
    assert "report.txt" in reader.type(download, ID=made["PAYLOAD_ID"])

    delete, remove, stop = steps["Stop"][0].splitlines()
    reader.type(f"{delete}\n{remove}")
    assert stop.startswith("kill ")
