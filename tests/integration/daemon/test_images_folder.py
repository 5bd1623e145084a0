"""Archives that lie in images.d become images of real Podman, and jobs run them."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.freeze.frozen_site import Site
from tests.rig.operators import busybox_image
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

NAME = "localhost/ce-test/side-loaded"
OTHER = "localhost/ce-test/side-loaded-later"
PIPELINE = f"""\
api-version: 0.4.0
name: side-loaded
operators:
- name: only
  container: {{image: {NAME}, tag: '1', command: ['true']}}
  input: [{{path: /in}}]
  output: [{{path: /out}}]
"""


def names(site: Site) -> list[str]:
    return [name for image in site.ask("list", "images")["images"] for name in image["names"]]


def logged(site: Site, event: str) -> list[dict[str, object]]:
    lines = (site.folder / "daemon.log").read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [entry for entry in entries if entry["event"] == event]


def forget(*references: str) -> None:
    for name in references:
        subprocess.run(
            ["podman", "rmi", "--force", "--ignore", name], check=True, cwd="/", capture_output=True
        )


def test_archives_are_loaded_at_the_start_and_when_they_appear_each_once(idle_site: Site) -> None:
    site = idle_site
    forget(f"{NAME}:1", f"{OTHER}:1")
    folder = site.folder / "state" / "images.d"
    folder.mkdir(parents=True)
    busybox_image(folder / "first.tar", f"{NAME}:1", files={"/etc/marker": b"side-loaded"})
    try:
        site.start()
        until("the archive is loaded", lambda: f"{NAME}:1" in names(site))
        path = site.folder / "p.yaml"
        path.write_text(PIPELINE)
        pipeline = site.say("create", "pipeline", "-p", path).strip()
        assert site.ask("status")["images_dir"] == str(folder)
        made = site.ask("create", "job", "-p", pipeline, "-n", "side-loaded")
        site.say("start", "job", "-j", made["job_id"])
        assert site.call("describe", "job", "-j", made["job_id"], "--watch").returncode == 0

        partial = busybox_image(
            folder / "later.tar.part", f"{OTHER}:1", files={"/etc/marker": b"later"}
        )
        (folder / "broken.tar").write_bytes((folder / "first.tar").read_bytes()[:100_000])
        until("the broken one is reported", lambda: warnings(site) != [])
        assert f"{OTHER}:1" not in names(site)
        partial.rename(folder / "later.tar")
        until("the renamed one is loaded", lambda: f"{OTHER}:1" in names(site))
        (warning,) = warnings(site)
        assert str(folder / "broken.tar") in warning
        assert "replace it, or remove it" in warning

        site.stop()
        site.start()
        until("the broken one is reported again", lambda: warnings(site) != [])
        assert len(logged(site, "image loaded")) == 2
        assert len(logged(site, "archive not loaded")) == 2
        (folder / "broken.tar").unlink()
        until("nothing is left to report", lambda: warnings(site) == [])
        assert sorted(p.name for p in folder.iterdir()) == ["first.tar", "later.tar"]
    finally:
        site.stop()
        forget(f"{NAME}:1", f"{OTHER}:1")


def warnings(site: Site) -> list[str]:
    """Those about archives; a test machine may give rise to others."""
    return [text for text in site.ask("status")["warnings"] if "images.d" in text]
