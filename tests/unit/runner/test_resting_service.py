"""Podman's service is ended while nobody calls it, and no call fails for that: by an imitation."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from claraedge.runner.podman import PodmanRunner
from claraedge.runner.service.http import BrokenOffError
from claraedge.runner.service.service import PodmanService
from tests.rig.waiting import eventually

#: Answers each request; what precedes the start of its service, or its end, is up to the test.
PODMAN = """\
#!{python}
import os, signal, socketserver, subprocess, sys, time
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(
            b"HTTP/1.1 200 OK\\r\\nLibpod-API-Version: 4.3.1\\r\\n"
            b"Content-Length: 2\\r\\nConnection: close\\r\\n\\r\\nOK"
        )
socket = [word for word in sys.argv if word.startswith("unix://")]
if socket:
    {first}
    socketserver.UnixStreamServer(socket[0].removeprefix("unix://"), Answer).serve_forever()
"""

Podman = Callable[[str], Path]


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Podman:
    """Makes a program `podman` that does something first; returns a folder for its service."""
    programs, runtime = tmp_path / "bin", tmp_path / "run"
    programs.mkdir()
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("PATH", str(programs), prepend=":")

    def make(first: str) -> Path:
        program = programs / "podman"
        program.write_text(PODMAN.format(python=sys.executable, first=first))
        program.chmod(0o755)
        return runtime

    return make


async def rests(service: PodmanService) -> None:
    await eventually(lambda: service.resting and service.process_id is None, "the service rests")


async def test_calls_that_wake_it_wait_for_its_start_however_slow(podman: Podman) -> None:
    async with PodmanService(podman("time.sleep(1)"), idle=1.5, patience=0.2) as service:
        await rests(service)
        answers = await asyncio.gather(*(service.request("GET", "/_ping") for _ in range(3)))
        assert all(answer.ok for answer in answers)
        assert not service.resting


async def test_what_one_call_has_woken_is_there_for_the_next(podman: Podman) -> None:
    async with PodmanService(podman("pass"), idle=1.5) as service:
        await rests(service)
        with pytest.raises(TimeoutError):  # whoever called does not wait for the start
            await asyncio.wait_for(service.socket(), 0.001)
        await eventually(lambda: service.process_id, "it is started all the same")
        assert (await service.request("GET", "/_ping")).ok


async def test_a_call_that_comes_while_it_ends_waits_for_the_next_start(podman: Podman) -> None:
    slow = "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), os._exit(0)))"
    async with PodmanService(podman(slow), idle=0.5, patience=0.2) as service:
        await eventually(lambda: service.resting, "it is being ended")
        assert service.process_id is not None
        assert (await service.request("GET", "/_ping")).ok


async def test_whoever_asks_for_its_version_keeps_it_no_longer(podman: Podman) -> None:
    runtime = podman("pass")
    async with PodmanService(runtime, idle=1.0) as service:
        runner = PodmanRunner(service, runtime)

        async def rests_though_asked() -> bool:
            assert await runner.version() == "Podman 4.3.1"
            return service.resting

        await eventually(rests_though_asked, "it rests")


async def test_whoever_holds_its_output_costs_nothing(podman: Podman) -> None:
    holder = "subprocess.Popen(['sleep', '12'], start_new_session=True)"
    async with PodmanService(podman(holder), idle=0.5, patience=2) as service:
        await eventually(lambda: service.resting, "it is being ended")
        await eventually(lambda: service.process_id is None, "it has ended")
        assert service.resting
        began = time.process_time()
        await asyncio.sleep(1)
        assert time.process_time() - began < 0.5
        assert (await service.request("GET", "/_ping")).ok


#: Breaks off what reaches it until a fourth call of /info, as a service that dies may.
BREAKS_OFF = """
    whole, asked = Answer.handle, []
    def handle(self):
        if b"/info" in self.rfile.peek() and asked.append(1) is None and len(asked) < 4:
            return
        whole(self)
    Answer.handle = handle
"""


async def test_a_repeatable_call_that_breaks_off_several_times_is_made_again(
    podman: Podman,
) -> None:
    async with PodmanService(podman(BREAKS_OFF)) as service:
        with pytest.raises(BrokenOffError, match="/info"):
            await service.request("GET", "/info")
        assert (await service.request("GET", "/info", repeatable=True)).ok


async def test_a_call_that_breaks_off_without_end_fails_in_time(podman: Podman) -> None:
    always = BREAKS_OFF.replace("< 4", "< 10_000")
    async with PodmanService(podman(always), patience=0.2) as service:
        with pytest.raises(BrokenOffError, match="/info"):
            await service.request("GET", "/info", repeatable=True)
