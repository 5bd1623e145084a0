"""Files that lie in pipelines.d are pipelines of a real daemon, through restarts and mistakes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from claraedge.registry.file_records import id_of
from tests.freeze.frozen_site import Site
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

READER = """\
name: reader
container: {image: localhost/ce-test/busybox, command: ['true']}
input: [{path: /in}]
output: [{path: /out}]
"""
CT = "api-version: 0.4.0\nname: ct\noperators:\n- import: {path: parts/reader.yaml}\n"


def pipelines(site: Site) -> list[tuple[str, str, str]]:
    found = site.ask("list", "pipelines")["pipelines"]
    return [(p["name"], p["id"], p["source"]) for p in found]


def logged(site: Site, event: str) -> list[dict[str, object]]:
    lines = (site.folder / "daemon.log").read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [entry for entry in entries if entry["event"] == event]


def warnings(site: Site) -> list[str]:
    """Warnings about the folder; a test machine may give rise to others."""
    return [text for text in site.ask("status")["warnings"] if "pipelines.d" in text]


def test_files_are_pipelines_for_as_long_as_they_lie_there(idle_site: Site) -> None:
    site = idle_site
    folder = site.folder / "state" / "pipelines.d"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "reader.yaml").write_text(READER)
    partial = folder / "ct.yaml.part"
    partial.write_text(CT)
    site.start()
    assert site.ask("status")["pipelines_dir"] == str(folder)
    assert pipelines(site) == []
    path = partial.rename(folder / "ct.yaml")
    registered = ("ct", id_of("ct.yaml"), str(path))
    until("the file is a pipeline", lambda: pipelines(site) == [registered])
    shown = site.say("describe", "pipeline", "-p", "ct")
    assert f"SOURCE: {path}\n" in shown
    assert "OPERATOR reader" in shown
    job = site.ask("create", "job", "-p", "ct", "-n", "before")["job_id"]

    other = site.folder / "other.yaml"
    other.write_text(CT.replace("parts", "state/pipelines.d/parts"))
    for refused in (
        site.call("update", "pipeline", "-p", "ct", other),
        site.call("delete", "pipeline", "ct"),
    ):
        assert refused.returncode == 1
        assert "comes from the file ct.yaml" in refused.stderr

    (folder / "parts" / "reader.yaml").write_text(READER.replace("image:", "imaeg:"))
    until("the mistake is reported", lambda: warnings(site) != [])
    assert warnings(site)[0].startswith(f"{folder}/parts/reader.yaml:2:")
    assert pipelines(site) == [registered]
    path.chmod(0)
    (folder / "parts" / "reader.yaml").write_text(READER)
    if os.geteuid() != 0:
        remedy = f"its owner has to give {path} mode 0644"
        until("the closed file is reported", lambda: remedy in "".join(warnings(site)))
        assert f"claraedge: warning: {path}:1:1: " in site.call("list", "pipelines").stderr
        assert pipelines(site) == [registered]
    path.chmod(0o644)
    until("nothing is left to report", lambda: warnings(site) == [])

    for _ in range(2):
        site.stop()
        site.start()
        assert pipelines(site) == [registered]
    assert len(logged(site, "pipeline of a file registered")) == 1

    moved = folder.rename(folder.with_name("moved"))
    until("the missing folder is reported", lambda: warnings(site) != [])
    assert pipelines(site) == [registered]
    moved.rename(folder)
    until("the folder is back", lambda: warnings(site) == [])

    path.unlink()
    until("it is disabled", lambda: pipelines(site) == [])
    gone = site.call("create", "job", "-p", registered[1], "-n", "after")
    assert gone.returncode != 0
    assert "its file ct.yaml is gone from the folder of pipelines; put it back" in gone.stderr
    assert site.ask("describe", "job", "-j", job)["pipeline_id"] == registered[1]
    path.write_text(CT)
    until("it is back", lambda: pipelines(site) == [registered])
    assert Path(pipelines(site)[0][2]).read_text() == CT
