"""Forms with files, as browsers send them without scripts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h11
import pytest

from claraedge.wire.nvidia.clara.platform import jobs_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.web.conftest import Answer, Client, Daemon
from tests.unit.web.console.test_console_pages import page
from tests.unit.web.console.test_console_run import jobs_of, key_of, run_of

LINE = "----WebKitFormBoundaryA1b2C3d4E5f6G7h8"
KIND = f"multipart/form-data; boundary={LINE}"
#: What browsers send for a field of files in which none was chosen.
NO_FILE = ("", b"")


def quoted(name: str) -> str:
    """A name as browsers write it (WHATWG HTML, multipart/form-data)."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def field(name: str, value: str) -> bytes:
    head = f'--{LINE}\r\nContent-Disposition: form-data; name="{quoted(name)}"\r\n\r\n'
    return f"{head}{value}\r\n".encode()


def file(name: str, content: bytes) -> bytes:
    head = (
        f'--{LINE}\r\nContent-Disposition: form-data; name="file"; filename="{quoted(name)}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + content + b"\r\n"


END = f"--{LINE}--\r\n".encode()


def form(fields: dict[str, str], files: Iterable[tuple[str, bytes]]) -> bytes:
    parts = [field(*one) for one in fields.items()] + [file(*one) for one in files]
    return b"".join(parts) + END


async def send(
    http: Client, path: str, fields: dict[str, str], *files: tuple[str, bytes], **headers: str
) -> Answer:
    return await http.ask("POST", path, form(fields, files), Content_Type=KIND, **headers)


def folder_in(daemon: Daemon, name: str = "ct") -> Path:
    path = daemon.config.inbox_dir / name
    path.mkdir(exist_ok=True)
    return path


def names(path: Path) -> list[str]:
    return sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.is_file())


async def drops_left(daemon: Daemon, http: Client) -> list[Any]:
    return list((await http.ask("GET", "/v1/uploads")).json)


# --- into a folder --------------------------------------------------------------------------------


async def test_files_of_a_form_appear_together_and_the_inbox_says_so(
    daemon: Daemon, http: Client
) -> None:
    ct = folder_in(daemon)
    text = await page(http, "/ui/upload")
    plain = re.findall(r"<noscript>(.*?)</noscript>", text, re.S)
    assert len(plain) == 1
    key = re.search(r'name="key" value="(\w+)"', plain[0])
    assert key is not None
    assert plain[0].rindex('type="file"') > plain[0].rindex('name="together"')
    content = bytes(range(256)) * 1000 + b"\r\n--" + LINE.encode()[:-1] + b"\r\n"
    answer = await send(
        http, "/ui/upload", {"folder": "ct", "key": key[1], "together": ""},
        ('ü "1".dcm', content), ("study/a b", b""), NO_FILE,
    )  # fmt: skip
    assert (answer.status, answer.headers["location"]) == (
        303, "/ui/inbox?said=dropped&count=2",
    )  # fmt: skip
    assert (ct / 'ü "1".dcm').read_bytes() == content
    assert (ct / "study" / "a b").read_bytes() == b""
    assert await drops_left(daemon, http) == []
    assert "2 files are on the device." in await page(http, answer.headers["location"])
    assert "2 Dateien" in await page(http, answer.headers["location"], Accept_Language="de")


async def test_hostile_names_are_refused_on_the_page_and_nothing_appears(
    daemon: Daemon, http: Client
) -> None:
    ct = folder_in(daemon)
    for name in (
        "../a",
        "/etc/passwd",
        "a/../../b",
        "a\x00b",
        "a\x01",
        "x" * 256,
        "a/",
        "..",
        "a\nb",
    ):
        answer = await send(http, "/ui/upload", {"folder": "ct"}, ("good", b"1"), (name, b"x"))
        text = answer.body.decode()
        assert answer.status < 500, name
        assert '<html lang="en">' in text, name
        assert re.search(r'class="problem"[^>]*><span[^>]*>[^<]+<', text), name
        assert names(ct) == [], name
        assert await drops_left(daemon, http) == [], name
    longest = "ü" * 127 + "x"
    answer = await send(http, "/ui/upload", {"folder": "ct"}, (longest, b"x"))
    assert answer.status == 303
    assert names(ct) == [longest]


async def test_a_form_that_is_sent_twice_at_once_drops_its_files_once(
    daemon: Daemon, http: Client
) -> None:
    ct = folder_in(daemon)
    fields = {"folder": "ct", "key": "k1"}
    answers = await asyncio.gather(
        *(send(http, "/ui/upload", fields, ("a", b"1"), ("b", b"2")) for _ in range(2))
    )
    assert [one.headers["location"] for one in answers] == 2 * ["/ui/inbox?said=dropped&count=2"]
    assert names(ct) == ["a", "b"]
    other = await send(http, "/ui/upload", fields, ("a", b"1"), ("c", b"2"))
    assert "was sent before with other files" in other.body.decode()
    assert names(ct) == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (field("folder", "ct") + file("a", b"1") + field("key", "x") + END, "follows a file"),
        (field("folder", "ct") + file("a", b"1"), "damaged or not whole"),
        (b"nothing of a form", "damaged or not whole"),
        (field("folder", "ct") + file("a", b"1") + file("a", b"2") + END, "a"),
        (field("folder", "elsewhere") + file("a", b"1") + END, "elsewhere"),
        (field("x" * 300_000, "") + END, "damaged"),
        (field("x", "y" * 300_000) + END, "bytes"),
    ],
)
async def test_a_form_that_is_wrong_leaves_nothing(
    daemon: Daemon, http: Client, body: bytes, said: str
) -> None:
    ct = folder_in(daemon)
    answer = await http.ask("POST", "/ui/upload", body, Content_Type=KIND)
    assert 200 <= answer.status < 500
    text = answer.body.decode()
    assert '<html lang="en">' in text
    assert 'class="problem"' in text
    assert said in text
    assert names(ct) == []
    assert await drops_left(daemon, http) == []


async def test_a_browser_that_leaves_half_way_leaves_nothing(daemon: Daemon, http: Client) -> None:
    ct = folder_in(daemon)
    body = form({"folder": "ct"}, [("a", b"1"), ("b", bytes(300_000))])
    async with http.connected() as connection:
        await connection.ask("POST", "/ui/upload", Content_Type=KIND)
        await connection.send(h11.Data(data=body[:200_000]))

        async def begun() -> bool:
            return bool((await http.ask("GET", "/v1/uploads")).json)

        await eventually(begun, "the first file has come")

    async def ended() -> bool:
        return not (await http.ask("GET", "/v1/uploads")).json

    await eventually(ended, "the drop was cancelled")
    assert names(ct) == []


# --- to a job -------------------------------------------------------------------------------------


async def test_a_job_is_started_with_the_files_of_its_form(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("copy"))
    fields = {"key": await key_of(http, pipeline), "name": "with files", "priority": "normal"}
    files = [("a.txt", b"1"), ("below/b.txt", bytes(100_000))]
    answers = await asyncio.gather(
        *(send(http, run_of(pipeline), fields, *files) for _ in range(2))
    )
    (job,) = await jobs_of(daemon)
    place = f"/ui/jobs/{job.job_id.value}?said=run.started"
    assert [one.headers.get("location") for one in answers] == [place, place]
    await daemon.end(job.job_id.value)
    listed = (await http.ask("GET", f"/v1/payloads/{job.payload_id.value}/files")).json
    sizes = {one["name"]: int(one["size"]) for one in listed}
    assert sizes["/input/a.txt"] == 1
    assert sizes["/input/below/b.txt"] == 100_000


@pytest.mark.parametrize("wrong", [("../x", b""), ("a.txt", b"2"), ("x" * 256, b"")])
async def test_no_job_runs_with_a_part_of_its_files(
    daemon: Daemon, http: Client, wrong: tuple[str, bytes]
) -> None:
    pipeline = await daemon.register(chain("copy"))
    fields = {"key": await key_of(http, pipeline), "name": "half", "priority": "normal"}
    answer = await send(http, run_of(pipeline), fields, ("a.txt", b"1"), wrong)
    assert answer.status < 500
    assert 'class="problem"' in answer.body.decode()
    (job,) = await jobs_of(daemon)
    assert job.status == jobs_pb2.JOB_STATUS_CANCELED
    again = {"key": await key_of(http, pipeline), "name": "whole", "priority": "normal"}
    assert (await send(http, run_of(pipeline), again, ("a.txt", b"1"))).status == 303


# --- images and models ----------------------------------------------------------------------------


async def test_a_model_is_stored_by_its_form(daemon: Daemon, http: Client) -> None:
    text = await page(http, "/ui/models")
    assert 'name="type"' in text[text.index("<noscript>") :]
    fields = {"key": "k", "name": "lungs", "type": "MODEL_TYPE_TENSOR_RT"}
    assert "No file was chosen" in await page(
        http, (await send(http, "/ui/models", fields, NO_FILE)).headers["location"]
    )
    wrong = await send(http, "/ui/models", fields | {"type": "x"}, ("m.zip", b"1"))
    assert wrong.status == 400
    assert "choose one of the form" in wrong.body.decode()
    two = await send(http, "/ui/models", fields, ("m.zip", b"1"), ("n.zip", b"2"))
    assert two.status == 400
    assert "more than one file" in two.body.decode()
    assert "lungs" not in await page(http, "/ui/models")


async def test_an_archive_that_is_none_is_refused_on_a_page(daemon: Daemon, http: Client) -> None:
    answer = await send(http, "/ui/images", {"key": "k"}, ("image.tar", b"nothing of an image"))
    assert 400 <= answer.status < 500
    assert 'class="problem"' in answer.body.decode()
