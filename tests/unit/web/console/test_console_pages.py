"""The first pages of the console, of a whole daemon with the in-memory runner."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest

from claraedge.errors import StorageFullError, TooManyCallsError
from claraedge.jobs.jobs import Jobs
from claraedge.runner.protocol import ContainerSpec
from claraedge.web.console import visit as module
from claraedge.web.console.pages import overview
from claraedge.web.console.rendering import POLICY
from claraedge.web.http.failures import HttpError, invalid, refused
from claraedge.wire.nvidia.clara.platform import jobs_pb2
from tests.rig.pipelines import chain
from tests.unit.web.conftest import Answer, Client, Daemon

HOSTILE = "<script>alert(1)</script>\"'&"
FORM = "application/x-www-form-urlencoded"


async def page(http: Client, path: str, **headers: str) -> str:
    answer = await http.ask("GET", path, **headers)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    return answer.body.decode()


async def send(http: Client, path: str, body: str = "", **headers: str) -> Answer:
    return await http.ask("POST", path, body.encode(), Content_Type=FORM, **headers)


async def job_of(daemon: Daemon, name: str = "job", **more: Any) -> str:
    pipeline = await daemon.register(chain("one", "two"))
    request = jobs_pb2.JobsCreateRequest(name=name, **more)
    request.pipeline_id.value = pipeline
    made = await daemon.jobs.Create(request)
    assert made.header.code == 0, made
    return str(made.job_id.value)


async def test_an_empty_device_says_that_all_is_well_and_what_to_do(
    daemon: Daemon, http: Client
) -> None:
    text = await page(http, "/")
    assert "All is well." in text
    assert str(daemon.config.inbox_dir) in text
    assert '<html lang="en">' in text


async def test_pages_are_in_the_language_of_the_viewer(daemon: Daemon, http: Client) -> None:
    assert "Alles in Ordnung." in await page(http, "/", Accept_Language="de-DE")
    answer = await send(http, "/ui/language", "language=de&back=%2Fui%2Fjobs%2Fx")
    assert (answer.status, answer.headers["location"]) == (303, "/ui/jobs/x")
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert "Alles in Ordnung." in await page(http, "/", Cookie=cookie)
    assert (await send(http, "/ui/language", "language=xx")).status == 400
    for back in ("%2F%2Fevil.example", "https%3A%2F%2Fevil.example", "%2Fapi",
                 "%2Fui%2F%C3%9F", "%2Fui%2Fx%0D%0ASet-Cookie%3A%20a%3Db"):  # fmt: skip
        answer = await send(http, "/ui/language", f"language=en&back={back}")
        assert answer.headers["location"] == "/"


async def test_another_language_keeps_the_page(daemon: Daemon, http: Client) -> None:
    await job_of(daemon, "Größe")
    text = await page(http, "/ui/jobs?q=Gr%C3%B6%C3%9Fe&state=waiting&said=started")
    (back,) = re.findall(r'name="back" value="([^"]*)"', text)
    answer = await send(http, "/ui/language", urlencode({"language": "de", "back": unescape(back)}))
    assert answer.headers["location"] == "/ui/jobs?q=Gr%C3%B6%C3%9Fe&state=waiting"


@pytest.mark.parametrize(
    ("text", "command", "again"),
    [
        ("set aside: x; read it (`journalctl`), then: `claraedge retry job 'a b'`",
         "claraedge retry job 'a b'", ("job", "a b")),
        ("set aside: x`; read it (`journalctl`), then: `claraedge retry job a`",
         "claraedge retry job a", ("job", "a")),
        ("nothing starts at boot; `sudo loginctl enable-linger me`",
         "sudo loginctl enable-linger me", None),
        ("`sudo rm -rf /` in the inbox folder /in will not become a job", "", None),
        ("`[deployments] network` does not apply to the networks n", "", None),
        ("the folder /in/`sudo rm -rf $HOME`", "", None),
        ("remove images (`claraedge list images`, `claraedge delete images NAME`)", "", None),
    ],
)  # fmt: skip
def test_only_what_is_a_command_of_a_warning_is_offered(
    text: str, command: str, again: tuple[str, str] | None
) -> None:
    found = overview._warning(text)
    assert (found.text, found.command) == (text, command)
    assert again == (found.again and (found.again.kind, found.again.name))


async def test_a_job_has_a_page_with_its_graph_and_operators(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("one", "two"))
    job = (await daemon.run(pipeline, x=b"1")).job_id.value
    text = await page(http, f"/ui/jobs/{job}")
    assert "Done" in text
    assert '<svg class="graph"' in text
    assert text.count('class="node well"') == 2
    assert re.search(r"<bdi class=\"name\">one</bdi>", text)
    assert f'href="/ui/jobs/{job}"' in await page(http, "/")
    assert "Cancel this job" not in text


async def test_a_job_that_waits_says_why_and_is_cancelled(daemon: Daemon, http: Client) -> None:
    job = await job_of(daemon)
    text = await page(http, f"/ui/jobs/{job}")
    assert "What it waits for" in text
    answer = await send(http, f"/ui/jobs/{job}/cancel", "reason=no+need")
    assert (answer.status, answer.headers["location"]) == (303, f"/ui/jobs/{job}?said=cancelled")
    text = await page(http, answer.headers["location"])
    assert "The job is being cancelled." in text
    assert "Cancelled" in text
    assert (await send(http, f"/ui/jobs/{job}/cancel")).status in (303, 409, 412)


async def test_a_job_that_cannot_be_cancelled_keeps_the_reason_that_was_entered(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StorageFullError("the disk is full; make room, and try again")

    job = await job_of(daemon)
    monkeypatch.setattr(Jobs, "cancel", full)
    answer = await send(http, f"/ui/jobs/{job}/cancel", "reason=a+%22long%22+one")
    text = answer.body.decode()
    said = '<p class="problem" role="alert"><span class="name" lang="en" dir="auto">the disk'
    assert said in text
    assert 'value="a &#34;long&#34; one"' in text
    assert f'data-here="/ui/jobs/{job}"' in text
    assert '<section id="actions">' in text, "a change of the job does not replace it"
    assert (await send(http, f"/ui/jobs/{'0' * 32}/cancel", "reason=x")).status == 404


async def test_of_many_operators_those_that_run_are_shown_and_some_waits(
    daemon: Daemon, http: Client
) -> None:
    async def wait(_: ContainerSpec) -> int:
        await asyncio.Event().wait()
        return 0

    daemon.runner.add_image("wait:1", wait)
    names = [f"step-{number:03}" for number in range(300)]
    pipeline = await daemon.register(chain(*names, image="wait"))
    job = (await daemon.create(pipeline)).job_id.value
    await daemon.start(job)
    await daemon.until_runs(names[0])
    text = await page(http, f"/ui/jobs/{job}")
    assert 'class="state run"' in text.partition('id="operators"')[2]
    assert len(text.encode()) < 200_000
    assert text.count(f'href="/ui/jobs/{job}/logs/step-') == 200
    assert "100 more operators have ended or wait." in text
    waits = text.partition('class="waits"')[2].partition("</ul>")[0]
    assert waits.count("<li>") == 20
    assert "step-001" in waits
    assert "279 more operators wait for others." in text
    assert f'<a href="/ui/pipelines/{pipeline}"><bdi class="name">chain</bdi></a>' in text


async def test_calls_at_once_end_with_the_first_failure() -> None:
    visit = object.__new__(module.Visit)
    ended = []

    async def answer(value: str) -> str:
        return value

    async def for_ever() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        return ""

    async def refuse() -> str:
        await asyncio.sleep(0)
        raise invalid("no")

    assert await visit.at_once(answer("a"), answer("b")) == ("a", "b")
    with pytest.raises(HttpError):
        await visit.at_once(for_ever(), refuse())
    await asyncio.sleep(0)
    assert ended == ["cancelled"]


async def test_the_page_of_a_job_is_about_no_other_job_that_names_it(
    daemon: Daemon, http: Client
) -> None:
    pipeline = await daemon.register(chain("one", "two"))
    job = (await daemon.run(pipeline, x=b"1")).job_id.value
    await job_of(daemon, f"again {job}", metadata={"of": job})
    text = await page(http, f"/ui/jobs/{job}")
    verdict = text.partition('class="verdict"')[2].partition("</p>")[0]
    assert "Done" in verdict
    assert "Start this job" not in text


async def test_a_job_that_has_ended_is_not_called_cancelled(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("one", "two"))
    job = (await daemon.run(pipeline, x=b"1")).job_id.value
    answer = await send(http, f"/ui/jobs/{job}/cancel")
    assert (answer.status, answer.headers["location"]) == (303, f"/ui/jobs/{job}?said=ended_before")
    assert "nothing was cancelled" in await page(http, answer.headers["location"])


async def test_a_job_of_many_operators_has_a_small_page(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain(*(f"operator-{number}" for number in range(1000))))
    request = jobs_pb2.JobsCreateRequest(name="job")
    request.pipeline_id.value = pipeline
    job = (await daemon.jobs.Create(request)).job_id.value
    text = await page(http, f"/ui/jobs/{job}")
    assert len(text.encode()) < 200_000
    assert "800 more operators" in text


async def test_hostile_names_are_text(daemon: Daemon, http: Client) -> None:
    job = await job_of(daemon, HOSTILE, metadata={"note": f"{HOSTILE}\u202e"})
    for path in ("/", f"/ui/jobs/{job}"):
        text = await page(http, path)
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


async def test_pages_are_shown_while_others_keep_all_watches_open(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> str:
        raise refused(TooManyCallsError("512 watches are open"))

    monkeypatch.setattr(module.Daemon, "position", refuse)
    assert 'data-position=""' in await page(http, "/")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/ui/jobs/nothing", 400), (f"/ui/jobs/{'0' * 32}", 404), ("/ui/nothing", 404)],
)
async def test_a_failure_is_a_page(daemon: Daemon, http: Client, path: str, status: int) -> None:
    answer = await http.ask("GET", path, Accept_Language="de")
    assert answer.status == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert "Das hat nicht funktioniert" in answer.body.decode()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"language=\xff", FORM, 400),
        (b"language=%ff", FORM, 400),
        (b"no pair", FORM, 400),
        (b"x=1&" * 5000 + b"x=1", FORM, 400),
        (b"x=" + b"1" * (module.FORM_BYTES + 1), FORM, 413),
    ],
)
async def test_a_form_that_is_none_is_refused(
    daemon: Daemon, http: Client, body: bytes, kind: str, status: int
) -> None:
    answer = await http.ask("POST", "/ui/language", body, Content_Type=kind)
    assert answer.status == status


async def test_a_page_of_another_site_sends_no_form(daemon: Daemon, http: Client) -> None:
    job = await job_of(daemon)
    answer = await send(http, f"/ui/jobs/{job}/cancel", Origin="http://evil.example")
    assert answer.status == 403
    assert "Cancelled" not in await page(http, f"/ui/jobs/{job}")


async def test_a_message_in_the_address_is_one_of_ours(daemon: Daemon, http: Client) -> None:
    assert 'class="said"' in await page(http, "/?said=again")
    for query in ("said=nothing", "said=", "said=again.x", "said=%7B0%7D&key=1"):
        assert 'class="said"' not in await page(http, f"/?{query}")


async def test_the_page_knows_where_changes_begin(daemon: Daemon, http: Client) -> None:
    found = re.search(r'data-position="(\w+-\d+)"', await page(http, "/"))
    assert found is not None
    query = f"allJobs=true&after={found[1]}"
    job = await job_of(daemon)
    async with http.connected() as connection:
        await connection.ask("GET", f"/v1/events?{query}", b"", Accept="text/event-stream")
        await connection.event()
        first = (await connection.event()).data.decode()
    assert "event: reset" not in first
    assert job in first


async def test_static_files_are_kept_for_ever_by_their_digest(daemon: Daemon, http: Client) -> None:
    text = await page(http, "/")
    found = set(re.findall(r'"(/ui/assets/[^"]+)"', text))
    assert len(found) >= 4
    for path in found:
        answer = await http.ask("GET", path)
        assert answer.status == 200
        assert "immutable" in answer.headers["cache-control"]
        other = await http.ask("GET", path.partition("?")[0], Accept_Encoding="gzip")
        assert other.headers["cache-control"] == "no-cache"
        assert other.headers["content-encoding"] == "gzip"
        assert len(other.body) < len(answer.body)
    assert not re.search(r"<script(?! src=)|\bon\w+=|style=|https?://(?!www\.w3\.org)", text)
