"""Lists of jobs and of the drop folder, the search, and retries, of a whole daemon."""

from __future__ import annotations

import os
import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import pytest

from claraedge.config import InboxSettings, TriggerSettings
from claraedge.web.console.pages import inbox as module
from claraedge.wire.claraedge.v1 import appliance_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.web.conftest import Answer, Client, Daemon, daemon_in
from tests.unit.web.console.test_console_pages import HOSTILE, job_of, page, send

LARGEST = 200_000


def rows(text: str, section: str = "list") -> list[str]:
    """The names in the first column of a section's table."""
    found = re.search(rf'<section id="{section}".*?</section>', text, re.DOTALL)
    assert found is not None, text
    names = re.findall(r'<th scope="row".*?<bdi class="name">(.*?)</bdi>', found[0], re.DOTALL)
    return [unescape(name) for name in names]


def counts(text: str) -> dict[str, int]:
    found = re.findall(r'>([^<>]+) <span class="count">(\d+)</span>', text)
    return {label: int(number) for label, number in found}


def link(text: str, rel: str) -> str:
    found = re.search(rf'rel="{rel}" href="([^"]*)"', text)
    return unescape(found[1]) if found else ""


def drop(daemon: Daemon, folder: str, name: bytes, content: bytes = b"content") -> None:
    target = daemon.config.inbox_dir / folder
    target.mkdir(parents=True, exist_ok=True)
    (target / os.fsdecode(name)).write_bytes(content)


async def items(daemon: Daemon, state: int = 0) -> list[appliance_pb2.Item]:
    request = appliance_pb2.ListItemsRequest(state=state)  # type: ignore[arg-type]
    return [item async for reply in daemon.inbox.List(request) for item in reply.items]


async def until(daemon: Daemon, state: int, number: int) -> list[appliance_pb2.Item]:
    async def found() -> list[appliance_pb2.Item]:
        some = await items(daemon, state)
        return some if len(some) == number else []

    name = appliance_pb2.ItemState.Name(state)  # type: ignore[arg-type]
    return await eventually(found, f"there are {number} items in {name}")


async def follow(http: Client, answer: Answer) -> str:
    assert answer.status == 303, answer.body
    return await page(http, answer.headers["location"])


# --- jobs ---------------------------------------------------------------------------------------


async def test_jobs_are_listed_page_by_page_the_newest_first(daemon: Daemon, http: Client) -> None:
    assert "There is nothing like this." in await page(http, "/ui/jobs")
    pipeline = await daemon.register(chain("copy"))
    await job_of(daemon, "the first")
    for _ in range(54):
        await daemon.create(pipeline)
    first = await page(http, "/ui/jobs")
    assert len(rows(first)) == 50
    assert not link(first, "prev")
    second = await page(http, link(first, "next"))
    assert len(rows(second)) == 5
    assert rows(second)[-1] == "the first"
    assert not link(second, "next")
    await job_of(daemon, "the newest")
    assert rows(await page(http, link(first, "next"))) == rows(second)
    assert rows(await page(http, link(second, "prev"))) == rows(first)
    assert rows(await page(http, "/ui/jobs"))[0] == "the newest"


async def test_the_overview_has_the_newest_jobs(daemon: Daemon, http: Client) -> None:
    for number in range(12):
        await job_of(daemon, f"job {number}")
    assert rows(await page(http, "/"), "work") == [f"job {number}" for number in range(11, 3, -1)]


async def test_jobs_are_filtered_and_counted(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("copy"))
    ended = await daemon.run(pipeline, file=b"1")
    cancelled = await job_of(daemon, "not wanted")
    await send(http, f"/ui/jobs/{cancelled}/cancel")
    await job_of(daemon, "waits", metadata={"StudyInstanceUID": "1.2.840.5"})
    text = await page(http, "/ui/jobs")
    assert counts(text) == {
        "All": 3, "Waiting": 1, "Running": 0, "Done": 1, "Failed": 0, "Cancelled": 1,
    }  # fmt: skip
    assert f'href="/ui/jobs/{ended.job_id.value}"' in text
    assert f'href="/ui/pipelines/{pipeline}"' in text
    for state, names in {
        "all": ["waits", "not wanted", "job"],
        "waiting": ["waits"],
        "running": [],
        "completed": ["job"],
        "failed": [],
        "cancelled": ["not wanted"],
    }.items():
        text = await page(http, f"/ui/jobs?state={state}")
        assert rows(text) == names, state
        (current,) = re.findall(r'state=(\w+)[^>]* aria-current="page"', text)
        assert current == state
    assert rows(await page(http, "/ui/jobs?q=840.5")) == ["waits"]
    found = await page(http, "/ui/jobs?q=wanted&state=all")
    assert rows(found) == ["not wanted"]
    assert 'href="/ui/jobs?state=running&amp;q=wanted"' in found
    assert counts(found) == {}  # they would be those of all jobs
    german = await page(http, "/ui/jobs", Accept_Language="de")
    assert "Abgebrochen" in german
    assert "Ältere" not in german


@pytest.mark.parametrize(
    "path",
    [
        "/ui/jobs?state=nothing", "/ui/jobs?page=nothing", f"/ui/jobs?q={'x' * 501}",
        "/ui/inbox?state=%3Cscript%3E", "/ui/inbox?page=%00", "/ui/inbox?waiting=x",
        f"/ui/find?q={'x' * 501}", "/ui/find?q=x&page=x", "/ui/inbox/nothing",
    ],
)  # fmt: skip
async def test_what_cannot_be_is_said_on_a_page(daemon: Daemon, http: Client, path: str) -> None:
    answer = await http.ask("GET", path)
    assert answer.status == 400
    assert "This did not work" in answer.body.decode()
    assert b"<script>" not in answer.body


# --- search -------------------------------------------------------------------------------------


async def test_one_search_finds_jobs_and_files(daemon: Daemon, http: Client) -> None:
    await job_of(daemon, "Thorax 7", metadata={"uid": "1.2.3"})
    drop(daemon, "none", b"thorax.dcm")
    (item,) = await until(daemon, appliance_pb2.ITEM_STATE_PARKED, 1)
    text = await page(http, "/ui/find?q=THORAX")
    assert sorted(rows(text)) == ["Thorax 7", "thorax.dcm"]
    assert f'href="/ui/inbox/{item.id}"' in text
    assert 'value="THORAX"' in text
    assert rows(await page(http, "/ui/find?q=1.2.3")) == ["Thorax 7"]
    assert "Nothing was found." in await page(http, "/ui/find?q=thorax+nothing")
    for path in ("/ui/find", "/ui/find?q=", "/ui/find?q=+%09"):
        assert "Each word has to match." in await page(http, path)
    text = await page(http, f"/ui/find?{urlencode({'q': HOSTILE})}")
    assert "<script>alert" not in text


async def test_the_beginning_of_an_id_leads_to_its_page(daemon: Daemon, http: Client) -> None:
    job = await job_of(daemon)
    for text in (job, job[:12], job.upper(), f"{job[:8]}-{job[8:12]}-{job[12:16]}", f" {job} "):
        answer = await http.ask("GET", f"/ui/find?{urlencode({'q': text})}")
        assert (answer.status, answer.headers.get("location")) == (303, f"/ui/jobs/{job}"), text
    # Few characters, and what is in a name as well, show a list.
    assert rows(await page(http, f"/ui/find?q={job[:3]}")) == ["job"]
    await job_of(daemon, f"again {job[:12]}")
    assert len(rows(await page(http, f"/ui/find?q={job[:12]}"))) == 2
    assert (await http.ask("GET", f"/ui/find?q={job}")).headers["location"] == f"/ui/jobs/{job}"


# --- inbox --------------------------------------------------------------------------------------


async def test_a_file_that_waits_is_shown_with_what_to_do_and_retried(
    daemon: Daemon, http: Client
) -> None:
    text = await page(http, "/ui/inbox")
    assert "No file waits for you." in text
    drop(daemon, "chain", b"scan.dcm")
    (item,) = await until(daemon, appliance_pb2.ITEM_STATE_PARKED, 1)
    text = await page(http, "/ui/inbox")
    assert rows(text, "waiting") == rows(text) == ["scan.dcm"]
    assert "1 file waits for you or failed" in text
    assert "<code" in text
    assert "claraedge create pipeline" in text
    assert counts(text) == {
        "All": 1, "In work": 0, "Done": 0, "Waiting for you": 1, "Failed": 0, "Not taken": 0,
    }  # fmt: skip
    text = await page(http, f"/ui/inbox/{item.id}")
    assert "scan.dcm" in text
    assert "claraedge create pipeline" in text
    assert 'data-copy="remedy"' in text
    assert "data-polled" in text
    assert str(daemon.config.inbox_dir / "chain") in text
    await daemon.register(chain("copy"))
    again = await send(http, "/ui/inbox/retry", f"only={item.id}")
    assert "1 file is tried again." in await follow(http, again)
    (done,) = await until(daemon, appliance_pb2.ITEM_STATE_DELIVERED, 1)
    text = await page(http, f"/ui/inbox/{done.id}")
    assert f'href="/ui/jobs/{done.job_id}"' in text
    assert "Ready; see the job" in text
    assert done.digest in text
    assert "data-polled" not in text
    assert 'action="/ui/inbox/retry"' not in text
    text = await page(http, "/ui/inbox?state=delivered")
    assert rows(text) == ["scan.dcm"]
    assert "waiting" not in re.findall(r'<section id="(\w+)"', text)


async def failed(daemon: Daemon, number: int) -> list[appliance_pb2.Item]:
    """Items that can never become jobs: links."""
    await daemon.register(chain("copy"))
    folder = daemon.config.inbox_dir / "chain"
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(number):
        (folder / f"link-{place}").symlink_to("/etc/hostname")
    return await until(daemon, appliance_pb2.ITEM_STATE_FAILED, number)


async def test_many_are_retried_at_once_and_each_refusal_is_said(
    daemon: Daemon, http: Client
) -> None:
    some = await failed(daemon, 4)
    assert len(rows(await page(http, "/ui/inbox"), "waiting")) == 4
    assert "4 files need your attention" in await page(http, "/")
    answer = await send(http, "/ui/inbox/retry", "")
    assert "No file was chosen." in await follow(http, answer)
    chosen = urlencode([("item", some[0].id), ("item", some[1].id), ("item", some[0].id)])
    assert "2 files are tried again." in await follow(
        http, await send(http, "/ui/inbox/retry", chosen)
    )
    assert "2 files need your attention" in await page(http, "/")
    # One that a first click has retried, none, one whose original is gone, and one more.
    shutil.rmtree(some[3].result_path)
    fields = [("item", id_) for id_ in (some[0].id, "<b>", some[3].id, some[2].id)]
    answer = await send(http, "/ui/inbox/retry", urlencode(fields))
    assert answer.status == 200
    text = answer.body.decode()
    assert "2 files are tried again." in text
    assert "2 files cannot be tried again" in text
    assert "is not in" in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text

    async def left() -> bool:
        text = await page(http, "/ui/inbox")
        ours = [item.id for item in some[:3]]
        return not any(f'value="{id_}"' in text for id_ in ours)

    await eventually(left, "what was put back is no longer offered")


MARKED = '<span class="name" lang="en" dir="auto">(.*?)</span>'


async def test_a_german_page_marks_what_the_daemon_says_in_english(
    daemon: Daemon, http: Client
) -> None:
    (item,) = await failed(daemon, 1)
    for path in ("/ui/inbox", f"/ui/inbox/{item.id}"):
        text = await page(http, path, Accept_Language="de")
        assert item.reason in re.findall(MARKED, unescape(text))
    answer = await http.ask("GET", "/ui/inbox/x", Accept_Language="de")
    assert b'<p class="problem"><span class="name" lang="en"' in answer.body


async def test_all_that_is_shown_is_retried(daemon: Daemon, http: Client) -> None:
    some = await failed(daemon, 3)
    text = await page(http, "/ui/inbox")
    assert "Try all 3 above again" in text
    shown = re.findall(r'name="shown" value="(\w+)"', text)
    assert set(shown) == {item.id for item in some}
    fields = [("item", some[0].id), *(("shown", id_) for id_ in shown), ("all", "1")]
    answer = await send(http, "/ui/inbox/retry", urlencode(fields))
    assert answer.headers["location"] == "/ui/inbox?said=retried&count=3"
    one = await send(
        http, "/ui/inbox/retry", urlencode([("only", some[0].id), ("item", some[1].id)])
    )
    assert one.headers["location"] == "/ui/inbox?said=retried&count=1"


async def test_what_needs_too_long_is_left_and_said(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = await failed(daemon, 3)
    monkeypatch.setattr(module, "_RETRIES", -1.0)
    answer = await send(http, "/ui/inbox/retry", urlencode([("item", item.id) for item in some]))
    text = answer.body.decode()
    assert "3 files were not tried" in text
    assert len(await items(daemon, appliance_pb2.ITEM_STATE_FAILED)) == 3


def are_there(some: list[appliance_pb2.Item]) -> list[bool]:
    return [Path(item.result_path).is_dir() for item in some]


async def test_chosen_failures_are_removed_once_that_is_confirmed(
    daemon: Daemon, http: Client
) -> None:
    some = await failed(daemon, 3)
    drop(daemon, "none", b"scan.dcm")
    (parked,) = await until(daemon, appliance_pb2.ITEM_STATE_PARKED, 1)
    assert 'formaction="/ui/inbox/remove"' in await page(http, "/ui/inbox")
    answer = await send(http, "/ui/inbox/remove", "")
    assert "No file was chosen." in await follow(http, answer)
    chosen = [("item", one.id) for one in (some[0], some[1], parked, some[0])]
    answer = await send(http, "/ui/inbox/remove", urlencode(chosen))
    text = answer.body.decode()
    assert answer.status == 200
    assert "These 2 failed files and their reports are removed" in text
    assert "1 file stays, since it did not fail" in text
    assert all(name in text for name in ("link-0", "link-1", "scan.dcm"))
    asked = re.findall(r'name="item" value="(\w+)"', text)
    assert sorted(asked) == sorted(one.id for one in some[:2])
    assert len(await items(daemon, appliance_pb2.ITEM_STATE_FAILED)) == 3
    assert are_there(some) == [True, True, True]  # nothing was removed yet
    sure = urlencode([*(("item", id_) for id_ in asked), ("sure", "1")])
    for _ in range(2):  # also the second of two clicks
        answer = await send(http, "/ui/inbox/remove", sure)
        assert "2 files were removed for good." in await follow(http, answer)
    assert are_there(some) == [False, False, True]
    assert sorted(rows(await page(http, "/ui/inbox"), "waiting")) == ["link-2", "scan.dcm"]


async def test_each_refusal_of_a_removal_is_said(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (item,) = await failed(daemon, 1)
    drop(daemon, "none", b"scan.dcm")
    (parked,) = await until(daemon, appliance_pb2.ITEM_STATE_PARKED, 1)
    fields = [("item", item.id), ("item", parked.id), ("item", "<b>"), ("sure", "1")]
    text = (await send(http, "/ui/inbox/remove", urlencode(fields))).body.decode()
    assert "1 file was removed for good." in text
    assert "2 files are not removed" in text
    assert "is parked, not failed" in text
    assert "<b>" not in text
    monkeypatch.setattr(module, "_RETRIES", -1.0)
    answer = await send(http, "/ui/inbox/remove", urlencode(fields))
    assert "3 files were not tried" in answer.body.decode()


async def test_the_page_of_a_failed_file_removes_it(daemon: Daemon, http: Client) -> None:
    (item,) = await failed(daemon, 1)
    path = f"/ui/inbox/{item.id}"
    assert f'<form method="post" action="{path}/remove">' in await page(http, path)
    assert (await http.ask("GET", f"{path}/remove")).status == 405
    assert "Endgültig entfernen" in await page(http, path, Accept_Language="de")
    answer = await send(http, f"{path}/remove")
    text = await follow(http, answer)
    assert "1 file was removed for good." in text
    assert "No file waits for you." in text
    assert f"{path}/remove" not in await page(http, path)
    drop(daemon, "none", b"scan.dcm")
    (parked,) = await until(daemon, appliance_pb2.ITEM_STATE_PARKED, 1)
    path = f"/ui/inbox/{parked.id}"
    assert f"{path}/remove" not in await page(http, path)
    answer = await send(http, f"{path}/remove")
    assert (answer.status, "is parked, not failed" in answer.body.decode()) == (409, True)


async def test_an_item_that_is_gone_has_no_page(daemon: Daemon, http: Client) -> None:
    answer = await http.ask("GET", f"/ui/inbox/{'0' * 32}")
    assert answer.status == 404


async def test_a_group_shows_some_of_its_members(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MEMBERS", 14)
    trigger = TriggerSettings(folder="group", pipeline="chain", grouping="quiet", quiet_seconds=0.2)
    settings = InboxSettings(settle_seconds=0.05, rescan_seconds=0.2, trigger=(trigger,))
    async with daemon_in(folder, inbox=settings) as daemon:
        http = Client(daemon.config.http_socket)
        await daemon.register(chain("copy"))
        for name in (b"one.dcm", b"two.dcm", b"three.dcm"):
            drop(daemon, "group", name)
        (item,) = await until(daemon, appliance_pb2.ITEM_STATE_DELIVERED, 1)
        text = await page(http, f"/ui/inbox/{item.id}")
    assert "3 files and folders" in text
    members = re.search(r'<ul class="members">.*?</ul>', text, re.DOTALL)
    assert members is not None
    assert members[0].count("<bdi") in (1, 2)
    assert re.search(r"and [12] more", members[0])


async def test_pages_of_hostile_names_are_small_and_only_text(daemon: Daemon, http: Client) -> None:
    names = [
        (f"{number:02}" + "<img src=x onerror=alert(1)>\u202e\"'&" * 6)[:200].encode()
        for number in range(30)
    ]
    for name in [*names, b"\xff" * 255, b"<" * 255, b"&" * 255]:
        drop(daemon, "<nothing>&", name)
    await until(daemon, appliance_pb2.ITEM_STATE_PARKED, 33)
    pipeline = await daemon.register(chain("copy"))
    for _ in range(50):
        await daemon.create(pipeline)
    for number in range(50):
        await job_of(daemon, f"{number:02}{'<' * 253}")
    for path in ("/ui/inbox", "/ui/inbox?state=all", "/ui/jobs", "/ui/find?q=%3C"):
        text = await page(http, path)
        assert len(text.encode()) < LARGEST, path
        assert "<img" not in text
        assert len(rows(text)) in (33, 50), path
        assert not re.search(r"<script(?! src=)|<\w[^>]* on\w+=|style=", text)
    first = await page(http, "/ui/inbox")
    assert len(rows(first, "waiting")) == 25
    second = await page(http, link(first, "next"))
    assert len(rows(second, "waiting")) == 8
    assert not set(rows(first, "waiting")) & set(rows(second, "waiting"))


async def test_a_list_is_live(daemon: Daemon, http: Client) -> None:
    for path, subjects in {
        "/ui/jobs": {"list": 'data-live="job"'},
        "/ui/inbox": dict.fromkeys(("waiting", "list"), 'data-live="item" data-polled'),
        "/ui/find?q=x": {"list": 'data-live="job item"'},
    }.items():
        text = await page(http, path)
        assert dict(re.findall(r'<section id="(\w+)" (data-live[^>]*)>', text)) == subjects
