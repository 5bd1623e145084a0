"""Pages of pipelines and of files that are sent, of a whole daemon with the in-memory runner."""

from __future__ import annotations

import asyncio
import html
import re
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from claraedge.web.console.pages import pipelines as pipelines_page
from claraedge.wire.nvidia.clara.platform import jobs_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import HEADER
from tests.unit.web.conftest import Answer, Client, Daemon, daemon_in
from tests.unit.web.console.test_console_pages import FORM, HOSTILE, page

ASKING = """\
api-version: 0.4.0
name: asking
orchestrator: Argo
parameters:
  SITE:
  NOTE: none & <b>
operators:
- name: one
  container: {image: copy, tag: "1", command: ["${{ SITE }}", "${{ NOTE }}"]}
  input: [{path: /in}]
  output: [{path: /out}]
"""


async def send(http: Client, path: str, **fields: str) -> Answer:
    return await http.ask("POST", path, urlencode(fields).encode(), Content_Type=FORM)


async def key_of(http: Client, pipeline: str) -> str:
    found = re.search(r'name="key" value="([\w.]+)"', await page(http, run_of(pipeline)))
    assert found is not None
    return found[1]


def run_of(pipeline: str) -> str:
    return f"/ui/pipelines/{pipeline}/run"


async def jobs_of(daemon: Daemon) -> list[jobs_pb2.JobsListResponse.JobDetails]:
    states = [1, 2, 3]
    request = jobs_pb2.JobsListRequest(
        header=HEADER,
        filter=jobs_pb2.JobsListRequest.JobFilter(has_state=states),  # type: ignore[arg-type]
    )
    return [one.job_details async for one in daemon.jobs.List(request) if one.job_details.job_name]


# --- pipelines --------------------------------------------------------------------------------


async def test_pipelines_are_listed_with_a_way_to_run_them(daemon: Daemon, http: Client) -> None:
    assert "There are no pipelines yet." in await page(http, "/ui/pipelines")
    pipeline = await daemon.register(ASKING)
    text = await page(http, "/ui/pipelines")
    assert f'href="/ui/pipelines/{pipeline}"' in text
    assert f'href="{run_of(pipeline)}"' in text
    assert f'href="{run_of(pipeline)}"' in await page(http, "/ui/upload")


async def test_a_pipeline_shows_its_graph_and_notes_at_their_lines(
    daemon: Daemon, http: Client
) -> None:
    pipeline = await daemon.register(ASKING)
    text = await page(http, f"/ui/pipelines/{pipeline}")
    assert '<svg class="graph"' in text
    assert text.count("<li") >= len(ASKING.splitlines())
    marked = re.findall(r'id="line-1-(\d+)" class="marked"', text)
    assert marked == ["3", "9"], "the orchestrator, and the parameter without a value"
    assert "<code>Argo</code> has no effect" in html.unescape(text)
    assert "NOTE: none &amp; &lt;b&gt;" in text
    assert f'href="{run_of(pipeline)}"' in text


async def test_a_file_that_became_wrong_is_named(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        path = daemon.config.pipelines_dir / "asking.yaml"
        path.write_text(ASKING)

        async def known() -> str | None:
            found = re.search(r'href="/ui/pipelines/(\w{32})"', await page(http, "/ui/pipelines"))
            return found and found[1]

        pipeline = await eventually(known, "the file is registered")
        path.write_text(ASKING.replace("operators", "operator"))

        async def wrong() -> bool:
            return "asking.yaml:" in await page(http, f"/ui/pipelines/{pipeline}")

        await eventually(wrong, "the problem is shown")
        assert "the earlier version" in await page(http, f"/ui/pipelines/{pipeline}")
        assert "asking.yaml:" in await page(http, "/ui/pipelines")


async def test_a_long_definition_and_hostile_text_stay_a_small_page(
    daemon: Daemon, http: Client
) -> None:
    comment = f"# {HOSTILE}\n" * 20_000
    pipeline = await daemon.register(chain("one") + comment)
    text = await page(http, f"/ui/pipelines/{pipeline}")
    assert "<script>alert" not in text
    assert "more lines are left out" in text
    assert len(text.encode()) < 200_000
    names = [f"op{n}" for n in range(150)]
    pipeline = await daemon.register(chain(*names))
    text = await page(http, f"/ui/pipelines/{pipeline}")
    assert "50 more operators are in the definition alone." in text
    assert len(text.encode()) < 200_000


async def test_only_so_many_pipelines_are_listed(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines_page, "MOST", 2)
    for _ in range(3):
        await daemon.register(chain("one"))
    text = await page(http, "/ui/pipelines")
    assert "Only the first 2 pipelines are shown." in text
    assert len(set(re.findall(r"/ui/pipelines/\w{32}/run", text))) == 2


@pytest.mark.parametrize("end", ["", "/run"])
async def test_a_pipeline_that_is_none_has_no_page(daemon: Daemon, http: Client, end: str) -> None:
    assert (await http.ask("GET", f"/ui/pipelines/{'0' * 32}{end}")).status == 404
    assert (await http.ask("GET", f"/ui/pipelines/x{end}")).status == 400


# --- running one ------------------------------------------------------------------------------


async def test_a_form_asks_for_the_parameters_and_ends_on_the_page_of_its_job(
    daemon: Daemon, http: Client
) -> None:
    pipeline = await daemon.register(ASKING)
    text = await page(http, run_of(pipeline))
    assert re.search(r'name="parameter.SITE" value="" required', text)
    assert 'name="parameter.NOTE" value="none &amp; &lt;b&gt;"' in text
    answer = await send(
        http, run_of(pipeline), key=await key_of(http, pipeline), name="j ü", priority="higher",
        **{"parameter.SITE": "berlin", "parameter.NOTE": ""},
    )  # fmt: skip
    assert answer.status == 303
    target = answer.headers["location"]
    assert re.fullmatch(r"/ui/jobs/\w{32}\?said=run.started", target)
    assert "The job is queued." in await page(http, target)
    (job,) = await jobs_of(daemon)
    assert (job.job_name, job.priority) == ("j ü", jobs_pb2.JOB_PRIORITY_HIGHER)
    assert (await daemon.end(job.job_id.value)).status == jobs_pb2.JOB_STATUS_HEALTHY


async def test_a_form_that_is_sent_often_makes_one_job(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("one"))
    key = await key_of(http, pipeline)

    async def click() -> Answer:
        return await send(http, run_of(pipeline), key=key, name="job", priority="normal")

    answers = await asyncio.gather(*(click() for _ in range(5)))
    assert {one.status for one in answers} == {303}
    assert len({one.headers["location"] for one in answers}) == 1
    assert (await click()).headers["location"] == answers[0].headers["location"]
    assert len(await jobs_of(daemon)) == 1
    other = await send(http, run_of(pipeline), key=await key_of(http, pipeline), name="job")
    assert other.headers["location"] != answers[0].headers["location"]
    assert len(await jobs_of(daemon)) == 2


async def test_a_form_from_before_a_restart_makes_no_second_job(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        pipeline = await daemon.register(chain("one"))
        key = await key_of(http, pipeline)
        await send(http, run_of(pipeline), key=key, name="job")
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        answer = await send(http, run_of(pipeline), key=key, name="typed <name>")
        text = answer.body.decode()
        assert "The device was started again" in text
        assert "typed &lt;name&gt;" in text
        assert (await send(http, run_of(pipeline), key=key, name="j", step="create")).status == 409
        assert len(await jobs_of(daemon)) == 1
        fresh = re.search(r'name="key" value="([\w.]+)"', text)
        assert fresh is not None
        assert (await send(http, run_of(pipeline), key=fresh[1], name="job")).status == 303


async def test_a_mistake_is_said_on_the_form_and_the_same_job_is_started_later(
    daemon: Daemon, http: Client
) -> None:
    pipeline = await daemon.register(ASKING)
    key = await key_of(http, pipeline)
    answer = await send(http, run_of(pipeline), key=key, name="kept", priority="lower")
    text = answer.body.decode()
    assert (answer.status, 'class="problem"' in text) == (200, True)
    assert "SITE" in text
    assert f'name="key" value="{key}"' in text
    assert "The job is on the device already" in text
    assert re.search(r'value="kept" readonly', text)
    answer = await send(http, run_of(pipeline), key=key, name="kept", **{"parameter.SITE": "x"})
    assert answer.status == 303
    assert len(await jobs_of(daemon)) == 1
    other = await send(http, run_of(pipeline), key=key, name="kept", **{"parameter.SITE": "y"})
    assert "started before with other variables" in other.body.decode()
    assert f'value="{key}"' not in other.body.decode(), "the next one is another job"


async def test_a_name_that_no_job_may_have_is_said_on_the_form(
    daemon: Daemon, http: Client
) -> None:
    pipeline = await daemon.register(chain("one"))
    key = await key_of(http, pipeline)
    for step in ("", "create"):
        answer = await send(http, run_of(pipeline), key=key, name="a\nb", step=step)
        assert answer.status == (400 if step else 200)
        assert "name" in answer.body.decode()
    assert await jobs_of(daemon) == []
    assert (await send(http, run_of(pipeline), key=key, name="fine")).status == 303


async def test_files_are_sent_before_the_start(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("one"))
    key = await key_of(http, pipeline)
    made = await send(http, run_of(pipeline), key=key, name="job", step="create")
    assert made.headers["content-type"] == "application/json"
    again = await send(http, run_of(pipeline), key=key, name="job", step="create")
    assert again.json == made.json, "the answer was lost"
    target = f"/v1/payloads/{made.json['payload']}/files/study/{quote('ü')}"
    assert (await http.ask("PUT", target, b"content")).status == 201
    answer = await send(http, run_of(pipeline), key=key, name="job")
    assert answer.headers["location"] == f"/ui/jobs/{made.json['job']}?said=run.started"
    await daemon.end(made.json["job"])
    root = daemon.config.state_dir / "payloads" / made.json["payload"]
    assert (root / "input" / "study" / "ü").read_bytes() == b"content"


# --- sending ----------------------------------------------------------------------------------


async def test_folders_say_what_becomes_of_files_and_why_one_is_closed(
    daemon: Daemon, http: Client
) -> None:
    assert "The inbox has no folder for a pipeline." in await page(http, "/ui/upload")
    await daemon.register(ASKING)
    inbox = daemon.config.inbox_dir
    for name in ("asking", "nothing", f"{HOSTILE}".replace("/", "")):
        (inbox / name).mkdir()
    text = await page(http, "/ui/upload")
    assert "<script>alert" not in text
    fields = re.findall(
        r'<input type="radio"[^>]*value="([^"]*)"[^>]*?( disabled| checked|)>', text
    )
    states = dict(fields)
    assert states["nothing"] == " disabled"
    assert "Each file and each folder becomes a job." in text
    assert "no such pipeline: nothing" in text
    inbox.joinpath("asking").chmod(0o500)
    assert "may not write there" in await page(http, "/ui/upload")
    inbox.joinpath("asking").chmod(0o700)


async def test_the_page_of_uploads_has_its_own_script_alone(daemon: Daemon, http: Client) -> None:
    await daemon.register(ASKING)
    (daemon.config.inbox_dir / "asking").mkdir()
    text = await page(http, "/ui/upload", Accept_Language="de")
    assert "Dateien senden" in text
    scripts = re.findall(r"<script[^>]*>", text)
    assert scripts
    assert all(re.search(r' src="/ui/assets/[\w.]+\?\w+" defer>', one) for one in scripts)
    assert not re.search(r"\son\w+=|\sstyle=", text)


async def test_many_folders_and_pipelines_stay_a_small_page(daemon: Daemon, http: Client) -> None:
    for number in range(120):
        (daemon.config.inbox_dir / f"{'f' * 240}{number:03}").mkdir()
    await daemon.register(chain("one"))
    text = await page(http, "/ui/upload")
    assert "Only the first 100 folders are shown." in text
    assert len(text.encode()) < 200_000
