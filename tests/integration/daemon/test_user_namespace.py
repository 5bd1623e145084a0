"""Operators and services run without the daemon's own user: all works, and it owns its files."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE, PLAIN_USER
from tests.integration.daemon.test_main_path import (
    containers,
    end,
    inbox,
    items,
    operator,
    operator_runs,
    register,
    start_job,
)
from tests.integration.daemon.test_services_and_models import networks, service_containers
from tests.integration.daemon.test_values_and_results import MAKE, READ, typed, typed_pipeline
from tests.rig.waiting import until

pytestmark = [
    pytest.mark.podman,
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("closed_again"),
]

SERVICE = f"""\
  services:
  - name: keeper
    container:
      image: {IMAGE}
      tag: '1'
      command: [sh, -c, 'umask 077; echo kept >/data/kept; chmod 644 /data/kept;
        while true; do busybox nc -l -p 8080 -e cat; done']
    connections:
      http: [{{name: URI, port: 8080}}]
      volume: [{{name: SHARED, path: /data}}]
"""
#: Ours in the container are the daemon's numbers where they are mapped, and nobody's else.
MAPPED = f"if grep -qw {os.getuid()} /proc/self/uid_map; then exit 9; fi"


@pytest.fixture
def site(idle_site: Site, archives: TestImages) -> Site:
    idle_site.configure(
        '[inbox]\nsettle_seconds = 0.5\n[engine]\ngrace_seconds = 3\nuser_namespace = "nomap"\n'
    )
    idle_site.start()
    archives.load(idle_site, f"{IMAGE}:1")
    archives.load(idle_site, f"{PLAIN_USER}:1", user="1000:1000")
    return idle_site


def foreign(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.lstat().st_uid != os.getuid()]


def test_a_dropped_file_passes_users_of_all_kinds_and_is_delivered(site: Site) -> None:
    writes = "umask 077; mkdir /out/d; cat /in/d/f >/out/d/f 2>/dev/null || cat /in/* >/out/d/f"
    register(
        site,
        "kinds",
        operator("first", f"{MAPPED}; {writes}"),
        operator("second", f"{MAPPED}; {writes}; chmod 755 /out/d/f", "first", image=PLAIN_USER),
        operator("third", f"{MAPPED}; {writes}; cat /in/d/f >/out/g; chmod 750 /out/g", "second"),
    )
    (inbox(site, "kinds") / "a").write_text("secret")
    until("it is delivered", lambda: [i["state"] for i in items(site)] == ["DELIVERED"])
    (item,) = items(site)
    delivered = Path(item["result_path"]) / "third"
    assert (delivered / "d/f").read_text() == (delivered / "g").read_text() == "secret"
    assert (delivered / "g").stat().st_mode & 0o777 == 0o754, "what it wrote, and for all to read"
    assert foreign(site.state) == []
    shutil.rmtree(site.state / "payloads")  # all of it is ours


def test_the_next_daemon_adopts_jobs_and_failed_ones_leave_nothing(site: Site) -> None:
    fails = "umask 077; mkdir /out/d; echo x >/out/d/x; sleep 15; exit 3"
    of_runs = register(site, "runs", operator("only", "sleep 15; echo 1 >/out/n"))
    of_broken = register(site, "fails", operator("only", fails))
    runs, broken = start_job(site, of_runs), start_job(site, of_broken)
    operator_runs(site, runs, 0)
    operator_runs(site, broken, 0)
    assert site.process is not None
    site.process.send_signal(signal.SIGKILL)
    site.process.wait()
    site.start()
    assert end(site, runs)["status"] == "HEALTHY"
    assert end(site, broken)["status"] == "FAULTED"
    until("no container is left", lambda: containers(site) == [])
    until("nothing of others is left", lambda: foreign(site.state / "payloads") == [])


@pytest.mark.parametrize("image", [IMAGE, PLAIN_USER])
def test_values_in_shared_memory_pass(site: Site, image: str) -> None:
    word = site.folder / "word"
    word.write_text("x")
    job = start_job(site, typed_pipeline(site, typed(MAKE, READ, image)), word)
    ended = end(site, job)
    assert (ended["status"], ended["messages"]) == ("HEALTHY", [])


def test_a_service_and_an_operator_share_a_folder(site: Site) -> None:
    asks = (
        "for i in 1 2 3 4 5 6 7 8 9 10; do [ -e $SHARED/kept ] && break; sleep 0.2; done;"
        " cat $SHARED/kept >/out/kept; umask 077; mkdir $SHARED/mine; echo x >$SHARED/mine/x"
    )
    job = start_job(site, register(site, "serves", operator("asks", asks) + SERVICE))
    ended = end(site, job)
    assert ended["status"] == "HEALTHY", ended["messages"]
    assert len(service_containers(site)) == 1
    site.say("stop")
    until(
        "no service or network is left",
        lambda: service_containers(site) == [] and networks(site) == [],
    )
    volumes = site.state / "services" / "volumes"
    until("its folders are removed", lambda: list(volumes.iterdir()) == [])


def test_nothing_of_the_state_is_opened_to_others(site: Site) -> None:
    job = start_job(site, register(site, "one", operator("only", "echo 1 >/out/n")))
    assert end(site, job)["status"] == "HEALTHY"
    for folder in ("payloads", "services", "jobs", "models"):
        path = site.state / folder
        assert not path.exists() or path.stat().st_mode & 0o007 == 0, folder
