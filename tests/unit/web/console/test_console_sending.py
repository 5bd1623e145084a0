"""Forms with files, as browsers send them without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.unit.web.conftest import Answer, Client, Daemon
from tests.unit.web.console.test_console_pages import page

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
        assert re.search(r'class="problem"[^>]*>[^<]+<', text), name
        assert names(ct) == [], name
        assert await drops_left(daemon, http) == [], name
    longest = "ü" * 127 + "x"
    answer = await send(http, "/ui/upload", {"folder": "ct"}, (longest, b"x"))
    assert answer.status == 303
    assert names(ct) == [longest]
