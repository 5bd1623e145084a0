"""The pages of files and logs of jobs."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from urllib.parse import quote

import pytest

from claraedge.web.console.pages import files as pages
from tests.rig.pipelines import chain
from tests.unit.web.conftest import Answer, Client, Daemon

PNG = b"\x89PNG\r\n\x1a\n" + bytes(30)
NOBODY = "0123456789abcdef0123456789abcdef"
HOSTILE = "<script>alert(1)</script> \u202e&?#%'\".txt"


def hrefs(answer: Answer) -> list[str]:
    return [unescape(one) for one in re.findall(r'(?:href|src)="([^"]*)"', answer.body.decode())]


def text_of(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert len(answer.body) < 200_000
    return unescape(re.sub(r"<[^>]*>", "", answer.body.decode()))


async def job_with(daemon: Daemon, *files: tuple[str, bytes], run: bool = True) -> str:
    """A job of one operator that copies its input."""
    made = await daemon.create(await daemon.register(chain("copy")))
    await daemon.upload(made.payload_id.value, *files)
    if run:
        await daemon.start(made.job_id.value)
        await daemon.end(made.job_id.value)
    return str(made.job_id.value)


async def page(http: Client, path: str, **headers: str) -> Answer:
    return await http.ask("GET", path, **headers)


async def test_results_stand_before_what_the_job_was_given(daemon: Daemon, http: Client) -> None:
    job = await job_with(daemon, ("a.txt", b"hello"), ("b/c.png", PNG))
    answer = await page(http, f"/ui/jobs/{job}/files")
    text = text_of(answer)
    assert text.index("Made by copy") < text.index("Input")
    links = hrefs(answer)
    assert f"/ui/jobs/{job}/files/input/b/c.png" in links
    assert f"/ui/jobs/{job}/files/operators/copy/a.txt" in links
    for link in links:
        if link.startswith("/v1/"):
            found = await page(http, link)
            assert found.status == 200, link
            assert found.headers["content-disposition"].startswith("attachment"), link


async def test_every_link_of_a_hostile_name_leads_to_its_file(daemon: Daemon, http: Client) -> None:
    job = await job_with(daemon, (f"{HOSTILE}/{HOSTILE}", b"content"))
    answer = await page(http, f"/ui/jobs/{job}/files")
    assert b"<script>alert" not in answer.body
    (link,) = [one for one in hrefs(answer) if one.startswith(f"/ui/jobs/{job}/files/input/")]
    shown = await page(http, link)
    assert "content" in text_of(shown)
    assert b"<script>alert" not in shown.body
    (saved,) = [one for one in hrefs(shown) if one.endswith("?download") and "/input/" in one]
    assert (await page(http, saved)).body == b"content"


async def test_a_text_a_table_and_json_are_shown_with_their_original(
    daemon: Daemon, http: Client
) -> None:
    job = await job_with(
        daemon, ("a.txt", b"<b>hi</b>"), ("t.csv", b"name;n\nx;1\n"), ("d.json", b'{"a":[1]}')
    )
    root = f"/ui/jobs/{job}/files/operators/copy"
    text = await page(http, f"{root}/a.txt")
    assert text_of(text).count("<b>hi</b>") == 2
    assert b'<option value="input/a.txt" selected>' in text.body
    alone = await page(http, f"{root}/a.txt?with=")
    assert text_of(alone).count("<b>hi</b>") == 1
    other = await page(http, f"{root}/a.txt?with=input/d.json")
    assert b'<option value="input/d.json" selected>' in other.body
    table = await page(http, f"{root}/t.csv")
    assert table.body.count(b'<th scope="col" dir="auto">name</th>') == 2
    assert '"a": [\n    1\n  ]' in text_of(await page(http, f"{root}/d.json"))


async def test_an_original_that_is_gone_is_left_out(daemon: Daemon, http: Client) -> None:
    job = await job_with(daemon, ("a.txt", b"hi"))
    answer = await page(http, f"/ui/jobs/{job}/files/operators/copy/a.txt?with=input/other")
    assert text_of(answer).count("UTF-8".lower()) == 1


async def test_bytes_that_are_no_text_are_offered_to_download(daemon: Daemon, http: Client) -> None:
    job = await job_with(daemon, ("a.bin", bytes(range(256)) * 100), ("e.csv", b""))
    assert "cannot be shown here" in text_of(await page(http, f"/ui/jobs/{job}/files/input/a.bin"))
    assert "The file is empty." in text_of(await page(http, f"/ui/jobs/{job}/files/input/e.csv"))


async def test_a_large_text_is_shown_up_to_a_bound(daemon: Daemon, http: Client) -> None:
    content = b"<\"&'>" * 300_000
    job = await job_with(daemon, ("a.txt", content), ("a.csv", b"<,<\n" * 200_000), run=False)
    answer = await page(http, f"/ui/jobs/{job}/files/input/a.txt")
    assert "beginning of the file" in text_of(answer)
    assert "The file has more" in text_of(await page(http, f"/ui/jobs/{job}/files/input/a.csv"))


async def test_the_files_before_and_after_one_are_those_of_its_folder(
    daemon: Daemon, http: Client
) -> None:
    names = ["a.txt", "b/1.txt", "b/2.txt", "b/c/3.txt", "b/é.txt", "z.txt"]
    job = await job_with(daemon, *((name, b"x") for name in names), run=False)
    root = f"/ui/jobs/{job}/files/input"

    async def around(name: str) -> list[str]:
        found = await page(http, f"{root}/{quote(name)}")
        return re.findall(r'rel="(?:prev|next)" href="([^"]*)"', found.body.decode())

    assert await around("a.txt") == [f"{root}/z.txt"]
    assert await around("b/2.txt") == [f"{root}/b/1.txt", f"{root}/b/%C3%A9.txt"]
    assert await around("b/c/3.txt") == []
    assert await around("z.txt") == [f"{root}/a.txt"]


async def test_many_files_are_shown_in_pages(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_FILES", 6)
    job = await job_with(daemon, *((f"f{n:02}.txt", b"x") for n in range(14)), run=False)
    seen, path = [], f"/ui/jobs/{job}/files"
    while path:
        links = hrefs(await page(http, path))
        seen += [one[-7:] for one in links if one.startswith(f"/ui/jobs/{job}/files/input/")]
        path = next((one for one in links if "after=" in one), "")
    assert seen == [f"f{n:02}.txt" for n in range(14)]


async def test_a_name_of_a_folder_leads_to_its_files(daemon: Daemon, http: Client) -> None:
    job = await job_with(daemon, ("b/1.txt", b"x"), ("c/2.txt", b"x"), run=False)
    answer = await page(http, f"/ui/jobs/{job}/files/input/b")
    assert answer.status == 303
    listed = await page(http, answer.headers["location"])
    assert f"/ui/jobs/{job}/files/input/b/1.txt" in hrefs(listed)
    assert f"/ui/jobs/{job}/files/input/c/2.txt" not in hrefs(listed)


async def test_what_does_not_exist_is_said_with_404(daemon: Daemon, http: Client) -> None:
    job = await job_with(daemon, ("a.txt", b"x"), run=False)
    for path in (
        f"/ui/jobs/{NOBODY}/files",
        f"/ui/jobs/{job}/files/input/none",
        f"/ui/jobs/{job}/reports/input/none",
        f"/ui/jobs/{NOBODY}/logs/copy",
        f"/ui/jobs/{job}/logs/none",
        f"/ui/jobs/{job}/logs/none/text",
        f"/ui/jobs/{job}/logs/copy?attempt=7",
    ):
        assert (await page(http, path)).status == 404, path
    assert (await page(http, f"/ui/jobs/{job}/logs/copy?from=x")).status == 400


async def test_delivered_results_are_shown_once_the_payload_is_gone(
    daemon: Daemon, http: Client
) -> None:
    job = await job_with(daemon, ("a.txt", b"hello"))
    payload = (await daemon.status(job)).payload_id.value
    assert (await http.ask("DELETE", f"/v1/payloads/{payload}")).status == 200
    answer = await page(http, f"/ui/jobs/{job}/files")
    assert "removed" in text_of(answer)


async def test_a_report_is_sent_without_what_leads_elsewhere(daemon: Daemon, http: Client) -> None:
    content = b"<p>fine</p><IFRAME src=http://x></iframe>" * 20_000
    job = await job_with(daemon, ("r.html", content), run=False)
    shown = await page(http, f"/ui/jobs/{job}/files/input/r.html")
    assert f"/ui/jobs/{job}/reports/input/r.html" in hrefs(shown)
    assert b'<iframe class="report" sandbox src=' in shown.body
    answer = await page(http, f"/ui/jobs/{job}/reports/input/r.html")
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert answer.body == content.replace(b"<IFRAME", b"<x-IFRAME")


# --- logs ---------------------------------------------------------------------------------------


def lines_of(answer: Answer) -> list[str]:
    (text,) = re.findall(r"<pre[^>]*>(.*?)</pre>", answer.body.decode(), re.DOTALL)
    return unescape(re.sub(r"<[^>]*>", "", text)).strip().splitlines()


@pytest.fixture
async def log(daemon: Daemon) -> tuple[str, str]:
    """A job whose operator has printed 2,500 lines, and the path of its log."""
    job = await job_with(daemon, ("a.txt", b"x"))
    path = daemon.config.state_dir / "jobs" / job / "logs" / "copy" / "1.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    printed = "".join(
        f"2026-01-01T00:00:00.0+00:00 stdout F \x1b[31mline {n}\x1b[0m <&>\n"
        for n in range(1, 2501)
    )
    await asyncio.to_thread(path.write_text, printed)
    return job, f"/ui/jobs/{job}/logs/copy"


async def test_the_last_lines_of_a_log_are_shown(http: Client, log: tuple[str, str]) -> None:
    answer = await page(http, log[1])
    lines = lines_of(answer)
    assert lines == [f"line {n} <&>" for n in range(1501, 2501)]
    assert "The last 1000 lines." in text_of(answer)
    assert b"data-log" not in answer.body  # it has ended


async def test_older_lines_are_found_from_page_to_page(http: Client, log: tuple[str, str]) -> None:
    links = hrefs(await page(http, log[1]))
    older = await page(http, next(one for one in links if "older=" in one))
    assert older.status == 303
    answer = await page(http, older.headers["location"])
    assert lines_of(answer) == [f"{n} line {n} <&>" for n in range(501, 1501)]
    links = hrefs(answer)
    assert any(one.endswith("?from=1501") for one in links)
    first = await page(http, next(one for one in links if one.endswith("?from=1")))
    assert lines_of(first)[0] == "1 line 1 <&>"
    past = await page(http, f"{log[1]}?from=9000")
    assert "The log has no line 9000." in text_of(past)


async def test_a_log_is_searched(http: Client, log: tuple[str, str]) -> None:
    answer = await page(http, f"{log[1]}?find=LINE+77")
    assert lines_of(answer) == [f"{n} line {n} <&>" for n in (77, *range(770, 780))]
    assert "11 lines have this text." in text_of(answer)
    assert "0 lines have this text." in text_of(await page(http, f"{log[1]}?find=%3Cnone%3E"))


async def test_a_whole_log_is_downloaded(http: Client, log: tuple[str, str]) -> None:
    answer = await page(http, f"{log[1]}/text")
    assert answer.status == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="copy.log"'
    assert answer.body.decode().splitlines()[2499] == "\x1b[31mline 2500\x1b[0m <&>"


async def test_lines_of_any_length_do_not_make_a_page_large(
    daemon: Daemon, http: Client, log: tuple[str, str]
) -> None:
    path = daemon.config.state_dir / "jobs" / log[0] / "logs" / "copy" / "1.log"
    line = "2026-01-01T00:00:00.0+00:00 stdout F " + "<" * 12_000 + "\n"
    await asyncio.to_thread(path.write_text, line * 3000)
    for query in ("", "?from=1", "?find=%3C"):
        assert text_of(await page(http, log[1] + query))


async def test_the_log_of_a_running_operator_is_followed(daemon: Daemon, http: Client) -> None:
    made = await daemon.create(await daemon.register(chain("copy")))
    job = made.job_id.value
    answer = await page(http, f"/ui/jobs/{job}/logs/copy")
    assert (
        f'data-log="/v1/jobs/{job}/operators/copy/lines?follow=true&amp;tail=1000"'.encode()
        in answer.body
    )
    assert "Nothing has been printed yet." in text_of(answer)


async def test_the_log_of_the_job_itself_is_shown(daemon: Daemon, http: Client) -> None:
    job = await job_with(daemon, ("a.txt", b"x"))
    answer = await page(http, f"/ui/jobs/{job}/logs")
    assert answer.status == 303
    shown = await page(http, answer.headers["location"])
    assert "copy" in "".join(lines_of(shown))
