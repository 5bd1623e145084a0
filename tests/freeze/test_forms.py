"""Both frozen forms: every subcommand starts, and one job runs from a file to its result."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from claraedge.cli.main import app
from tests.freeze.frozen_site import Site
from tests.rig.operators import busybox_image

pytestmark = [pytest.mark.frozen, pytest.mark.timeout(300)]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group of the command line, as the words that name it."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize(
    "words", list(commands(app)), ids=lambda words: "-".join(words) or "claraedge"
)
def test_help_of_every_command(program: Path, words: tuple[str, ...]) -> None:
    shown = subprocess.run(
        [program, *words, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(" ".join(["Usage: claraedge", *words]))
    assert shown.stderr == ""


PIPELINE = """\
api-version: 0.4.0
name: frozen-{form}
operators:
  - name: shout
    container:
      image: localhost/claraedge-test/frozen
      tag: "1"
      command: [/bin/sh, -c, "echo one; tr a-z A-Z </input/word.txt >/output/word.txt"]
    input:
      - path: /input
    output:
      - path: /output
  - name: count
    container:
      image: localhost/claraedge-test/frozen
      tag: "1"
      command: [/bin/sh, -c, "wc -c </shout/word.txt >/output/count.txt"]
    input:
      - from: shout
        path: /shout
    output:
      - path: /output
"""


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def asked(site: Site, path: str) -> bytes:
    """Returns the body of a page of its HTTP front."""
    connection = Connection(site.runtime / "http.sock")
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()


@pytest.mark.podman
def test_a_job_from_its_file_to_its_result(
    program: Path, site: Callable[[Path], Site], tmp_path: Path
) -> None:
    here = site(program)
    here.start()
    archive = busybox_image(tmp_path / "image.tar", "localhost/claraedge-test/frozen:1")
    assert "localhost/claraedge-test/frozen:1" in here.say("create", "image", "-f", archive)
    definition = tmp_path / "pipeline.yaml"
    definition.write_text(PIPELINE.format(form=program.parent.name))
    pipeline = here.say("create", "pipeline", "-p", definition).strip()
    (tmp_path / "word.txt").write_text("hello\n")
    made = here.say(
        "create", "job", "-n", "one", "-p", pipeline, "-f", tmp_path / "word.txt", "--start"
    )
    job = made.splitlines()[0].removeprefix("JOB_ID:")
    watched = here.say("describe", "job", "-j", job, "--watch")
    assert watched.splitlines()[-1].endswith("STOPPED HEALTHY")
    here.say("download", f"{job}:/operators/*", tmp_path / "results")
    results = {f.name: f.read_text() for f in (tmp_path / "results").rglob("*.txt")}
    assert results == {"word.txt": "HELLO\n", "count.txt": "6\n"}
    assert here.say("logs", "-j", job, "-o", "shout") == "one\n"
    assert b"claraedge_info{" in asked(here, "/metrics")
    assert asked(here, "/openapi.json").decode() == here.say("openapi")
    here.stop()
    assert here.process is not None
    assert here.process.returncode == 0, (here.folder / "daemon.log").read_text()
    assert list(here.temporary.iterdir()) == []
