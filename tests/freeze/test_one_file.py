"""The one-file form is a process and a folder: they end together, and work continues after."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.freeze.frozen_site import Site
from tests.rig.operators import busybox_image
from tests.rig.waiting import until

pytestmark = [pytest.mark.frozen, pytest.mark.podman, pytest.mark.timeout(300)]

PIPELINE = """\
api-version: 0.4.0
name: two-steps
operators:
  - name: first
    container:
      image: localhost/claraedge-test/frozen
      tag: "1"
      command: [/bin/sh, -c, "echo first ran; cp /input/go /output/go"]
    input:
      - path: /input
    output:
      - path: /output
  - name: second
    container:
      image: localhost/claraedge-test/frozen
      tag: "1"
      command: [/bin/sh, -c, "echo second ran; sleep 4; echo done >/output/done"]
    input:
      - from: first
        path: /first
    output:
      - path: /output
"""


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def unpacked(site: Site) -> list[Path]:
    """Folders of programs; Podman's service has one of its own."""
    return [p for p in site.temporary.iterdir() if not p.name.startswith("claraedge-podman-")]


def test_the_folder_goes_with_the_process(one_file: Path, site: Callable[[Path], Site]) -> None:
    here = site(one_file)
    process = here.start()
    (own,) = unpacked(here)
    assert own.name.startswith("claraedge-")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert list(here.temporary.iterdir()) == []


def test_the_next_start_removes_what_a_killed_one_left(
    one_file: Path, site: Callable[[Path], Site]
) -> None:
    here = site(one_file)
    process = here.start()
    (left,) = unpacked(here)
    kill(process.pid)
    process.wait(60)
    assert left.is_dir(), "nobody was there to remove it"
    here.start()
    remaining = set(unpacked(here))
    assert left not in remaining
    assert len(remaining) == 1, "the running daemon's own"


def test_a_command_next_to_a_daemon_leaves_its_files_alone(
    one_file: Path, site: Callable[[Path], Site]
) -> None:
    here = site(one_file)
    here.start()
    (own,) = unpacked(here)
    second = Site(program=one_file, folder=here.folder, runtime=here.runtime)
    refused = second.call(
        "serve", f"--state-dir={here.folder / 'state'}", f"--runtime-dir={here.runtime}"
    )
    assert refused.returncode != 0
    assert "runs" in refused.stderr or "lock" in refused.stderr or "use" in refused.stderr
    assert unpacked(here) == [own]
    assert here.serves()


def test_a_killed_daemon_adopts_what_still_runs(
    one_file: Path, site: Callable[[Path], Site], tmp_path: Path
) -> None:
    here = site(one_file)
    process = here.start()
    here.say(
        "create", "image", "-f",
        busybox_image(tmp_path / "image.tar", "localhost/claraedge-test/frozen:1"),
    )  # fmt: skip
    definition = tmp_path / "pipeline.yaml"
    definition.write_text(PIPELINE)
    pipeline = here.say("create", "pipeline", "-p", definition).strip()
    (tmp_path / "go").write_text("go\n")
    made = here.say("create", "job", "-n", "j", "-p", pipeline, "-f", tmp_path / "go", "--start")
    job = made.splitlines()[0].removeprefix("JOB_ID:")
    until(
        "the second operator runs",
        lambda: here.ask("describe", "job", "-j", job)["operators"][1]["status"] == "RUNNING",
    )
    kill(process.pid)
    process.wait(60)
    here.start()
    watched = here.say("describe", "job", "-j", job, "--watch")
    assert watched.splitlines()[-1].endswith("STOPPED HEALTHY")
    assert here.say("logs", "-j", job, "-o", "first") == "first ran\n"
    assert here.say("logs", "-j", job, "-o", "second") == "second ran\n"
    here.say("download", f"{job}:/operators/second/done", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_text() == "done\n"
