"""Pages of the console that stay open: over a start of the daemon, a sleep, and a sign-out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from claraedge.access import token as tokens
from claraedge.runner.memory import write_log
from claraedge.web.rpc import exchange
from tests.campaign import CAMPAIGN
from tests.contract.test_console import CLIENTS, job_of
from tests.contract.test_result_viewers import python
from tests.rig.certificates import free_port
from tests.rig.faulty_network import faulty_network
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.web.conftest import folder as folder
from tests.unit.web.test_places import model
from tests.unit.web.test_tcp import Site, site_in

pytestmark = pytest.mark.timeout(600)

NOTICE = "#live"
NO_ANSWER = "Das Gerät antwortet nicht"
#: Leaves connections that are open and not used, as pages do that had much to show.
ASK_MUCH = """Promise.all([1, 2, 3].map(
  async () => (await fetch("/health/live", { cache: "no-store" })).text()
))"""
#: Seconds in which a page has to be fresh that becomes visible, on a machine that is not busy.
FRESH = 2.0


class Browser:
    """Chromium, which does what `console_live.py` says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __call__(self, command: str, *arguments: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, *arguments]).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            pytest.fail((await self._process.stderr.read()).decode())
        answer = json.loads(line)
        assert "failure" not in answer, (command, arguments, answer)
        return answer["value"]


@asynccontextmanager
async def browser_of(site: Site, language: str = "de", port: int = 0) -> AsyncIterator[Browser]:
    """A browser that is signed in. `port`: that of a network before the site."""
    process = await asyncio.create_subprocess_exec(
        python(), CLIENTS / "console_live.py", f"http://127.0.0.1:{port or site.http.port}",
        site.token, language, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        browser = Browser(process)
        await browser("sign_in")
        yield browser
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Speaker:
    """An operator that prints a line, waits, and prints another one."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def __call__(self, spec: Any) -> int:
        write_log(spec, "the first line")
        await self.may_end.wait()
        write_log(spec, "the last line")
        return 0

    async def job(self, site: Site) -> str:
        """Starts a job with it; returns the path of its page."""
        daemon = site.daemon
        daemon.runner.add_image("speak:1", self)
        made = await daemon.create(await daemon.register(chain("speaker", image="speak")))
        await daemon.upload(made.payload_id.value, ("x", b"1"))
        await daemon.start(made.job_id.value)
        await daemon.until_runs("speaker")
        return f"/ui/jobs/{made.job_id.value}"


async def test_pages_continue_when_the_daemon_is_started_again(folder: Path) -> None:
    port, speaker = free_port(), Speaker()
    async with site_in(folder, port=port) as site:
        job = await speaker.job(site)
        pipeline = await site.daemon.register(chain("one"))
        context = browser_of(site)
        browser = await context.__aenter__()
        await browser("open", "list", "/ui/jobs")
        await browser("open", "job", job)
        await browser("open", "log", f"{job}/logs/speaker")
        await browser("open", "events", "/ui/events")
        await browser("shows", "job", "#state", "Läuft")
        await browser("shows", "log", "pre", "the first line")
        await job_of(site, pipeline, "before")
        for page in ("list", "events"):
            await browser("shows", page, "main", "before")
    for page in ("list", "job", "log", "events"):
        await browser("shows", page, NOTICE, NO_ANSWER)
    speaker.may_end.set()
    async with site_in(folder, port=port, runner=site.daemon.runner) as site:
        await job_of(site, pipeline, "after")
        for page in ("list", "events"):
            await browser("shows", page, "main", "after")
        await browser("shows", "job", "#state", "Fertig")
        await browser("shows", "log", "pre", "the last line")
        for page in ("list", "job", "log", "events"):
            await browser("empty", page, NOTICE)
        assert "before" in await browser("text", "events", "main"), "it was not loaded again"
        await context.__aexit__(None, None, None)


async def test_a_page_is_fresh_after_a_sleep(folder: Path) -> None:
    """A phone slept, and its connections are gone: quietly, with an end, or with the network."""
    async with site_in(folder) as site, faulty_network(site.http.port) as network:
        pipeline = await site.daemon.register(chain("one"))
        async with browser_of(site, port=network.port) as browser:
            await browser("open", "list", "/ui/jobs")
            await browser("open", "events", "/ui/events")
            for way in ("quiet", "cut", "awake"):
                await browser("evaluate", "list", ASK_MUCH)
                for page in ("list", "events"):
                    await browser("hide", page)
                    await browser("freeze", page)
                assert network.connections >= 2
                await job_of(site, pipeline, f"during-{way}")
                if way == "quiet":
                    network.go_deaf()
                elif way == "cut":
                    network.cut()
                for page in ("list", "events"):
                    await browser("show", page)
                    took = await browser("shows", page, "main", f"during-{way}")
                    print(f"{page}, {way}: fresh after {took:.2f} s")
                    assert not CAMPAIGN or took < FRESH
                await job_of(site, pipeline, f"later-{way}")
                for page in ("list", "events"):
                    await browser("shows", page, "main", f"later-{way}")
                    await browser("empty", page, NOTICE)
            await browser("hide", "list")
            await browser("offline", True)
            await job_of(site, pipeline, "offline")
            await browser("show", "list")
            await browser("shows", "list", NOTICE, NO_ANSWER)
            await browser("offline", False)
            await browser("shows", "list", "main", "offline")
            await browser("empty", "list", NOTICE)


async def test_a_visible_page_notices_a_connection_that_died_without_a_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_LIFE", 0.1)
    async with site_in(folder) as site, faulty_network(site.http.port) as network:
        pipeline = await site.daemon.register(chain("one"))
        async with browser_of(site, port=network.port) as browser:
            await browser("open", "list", "/ui/jobs")
            await browser("clock", "list")
            await job_of(site, pipeline, "before")
            await browser("shows", "list", "main", "before")
            streams = network.count(b"GET /v1/events")
            for _ in range(3):  # a stream on which little happens is kept
                await browser("later", "list", 40)
                last = await browser("evaluate", "list", "stream.last")

                async def lives(last: float = last) -> bool:
                    return bool(await browser("evaluate", "list", "stream.last") > last)

                await eventually(lives, "the stream shows that it lives")
            assert network.count(b"GET /v1/events") == streams
            network.go_deaf()
            await job_of(site, pipeline, "unheard")
            await browser("later", "list", 60)
            await browser("shows", "list", "main", "unheard")
            await browser("empty", "list", NOTICE)


async def test_pages_of_a_browser_that_signed_out_lead_to_the_sign_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_LIFE", 0.1)
    speaker = Speaker()
    async with site_in(folder) as site, browser_of(site) as browser:
        job = await speaker.job(site)
        pages = {"list": "/ui/jobs", "events": "/ui/events", "log": f"{job}/logs/speaker"}
        for name, path in pages.items():
            await browser("open", name, path)
        await browser("shows", "log", "pre", "the first line")
        await browser("open", "job", job)
        await browser("hide", "job")
        await browser("fill", "job", "#reason", "a reason that took long")
        await browser("open", "device", "/ui/device")
        await browser("click", "device", "form[action='/logout'] button")
        await browser("leads_to", "device", "/login")
        for name in pages:  # they are visible, and nothing happens
            assert "out=1" in await browser("leads_to", name, "/login")
            await browser("shows", name, "#out", "Sie sind abgemeldet")
        await browser("show", "job")
        await browser("shows", "job", NOTICE, "Sie sind abgemeldet")
        assert await browser("evaluate", "job", "document.querySelector('#reason').value")
        await browser("sign_in")
        await browser("click", "job", f"{NOTICE} a")
        await browser("leads_to", "job", "/login?out=1")
        # A new token signs all browsers out.
        await browser("open", "again", "/ui/jobs")
        await asyncio.to_thread(tokens.renew, tokens.path_in(site.daemon.config.state_dir))
        await browser("leads_to", "again", "/login?out=1&next=%2Fui%2Fjobs")
        speaker.may_end.set()


# --- answers that are lost ------------------------------------------------------------------------


async def test_a_file_whose_answer_is_lost_may_be_stored(folder: Path, tmp_path: Path) -> None:
    archive, large, wrong = (tmp_path / name for name in ("model.zip", "large.zip", "wrong.zip"))
    await asyncio.to_thread(wrong.write_bytes, b"no archive")
    await asyncio.to_thread(archive.write_bytes, model())
    await asyncio.to_thread(large.write_bytes, bytes(32 << 20))
    async with (
        site_in(folder) as site,
        faulty_network(site.http.port) as network,
        browser_of(site, "de", network.port) as browser,
    ):
        await browser("open", "models", "/ui/models")
        await browser("fill", "models", "#model-name", "m")
        for file, fault, said in (
            (large, network.refuse, "bevor alles gesendet war; es wurde also nicht gespeichert"),
            (archive, network.lose_answer, "Vielleicht ist es gespeichert"),
        ):
            fault(b"POST /v1/models")
            await browser("choose", "models", "#file", str(file))
            await browser("click", "models", "form[data-send] button")
            await browser("shows", "models", "form[data-send] [role=status]", said)
        assert network.has_lost
        await browser("choose", "models", "#file", str(wrong))
        await browser("click", "models", "form[data-send] button")
        await browser("shows", "models", "form[data-send] [role=status][lang=en]", "zip")
        await browser("choose", "models", "#file", str(archive))
        await browser("open", "again", "/ui/models")
        assert await browser("count", "again", "main tbody tr") == 1
        await browser("click", "models", "form[data-send] button")
        await browser("leads_to", "models", "said=model_uploaded")
        assert await browser("count", "models", "main tbody tr") == 1, "it is stored once"


async def test_files_are_sent_once_though_each_answer_is_lost(folder: Path, tmp_path: Path) -> None:
    (path := tmp_path / "scan.bin").write_bytes(bytes(100_000))
    async with site_in(folder) as site, faulty_network(site.http.port) as network:
        pipeline = await site.daemon.register(chain("one"))
        inbox = site.daemon.config.inbox_dir / "chain"
        await asyncio.to_thread(inbox.mkdir, parents=True)
        for request in (
            b"POST /v1/drops HTTP", b"POST /v1/drops/", b"PATCH /v1/drops/", b":finish HTTP",
            b"POST /ui/pipelines/", b"POST /v1/payloads/", b"PATCH /v1/payloads/",
        ):  # fmt: skip
            network.lose_answer(request)
        async with browser_of(site, "en", network.port) as browser:
            for page in (drop := "/ui/upload", run := f"/ui/pipelines/{pipeline}/run"):
                await browser("open", page, page)
                await browser("choose", page, "#files", str(path))
                await browser("click", page, "[data-do=start]")
            await browser("shows", drop, ".outcome", "Done, 1 files")
            await browser("leads_to", run, "/ui/jobs/")
            assert network.has_lost
            await browser("open", "jobs", "/ui/jobs")
            await browser("shows", "jobs", "main", "scan.bin")
            assert await browser("count", "jobs", "main tbody tr") == 2
        token = {"Authorization": f"Bearer {site.token}"}
        left = (await site.http.ask("GET", "/v1/uploads", **token)).json
        assert all(int(one["offset"]) == 0 for one in left), "no bytes are left"
