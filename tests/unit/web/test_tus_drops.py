"""Drops over HTTP: uploads by tus into a drop, which appear when it is finished."""

from __future__ import annotations

from pathlib import Path

from tests.unit.web.conftest import Client, Daemon, daemon_in
from tests.unit.web.test_tus import BYTES, NOBODY, VERSION, Tus, metadata


async def started(daemon: Daemon, http: Client) -> str:
    """Returns the path of a new drop into the folder `ct`."""
    (daemon.config.inbox_dir / "ct").mkdir(exist_ok=True)
    answer = await http.post("/v1/drops", {"folder": "ct"})
    assert answer.status == 200, answer
    return f"/v1/drops/{answer.json['id']}"


async def test_files_in_parts_appear_when_the_drop_is_finished(
    daemon: Daemon, http: Client
) -> None:
    drop = await started(daemon, http)
    (trigger,) = (await http.ask("GET", "/v1/triggers")).json
    assert (trigger["folder"], trigger["grouping"]) == ("ct", "entry")
    assert "no such pipeline" in trigger["problem"]
    tus = Tus(http, drop)
    upload = await tus.start(11, "study/a")
    assert upload.startswith(f"{drop}/uploads/")
    first = await tus.patch(upload, 0, b"hello ")
    assert (first.status, first.headers["upload-offset"]) == (204, "6")
    assert await tus.offset(upload) == 6
    last = await tus.patch(upload, 6, b"world")
    assert (last.status, "content-location" in last.headers) == (204, False)
    assert await tus.offset(upload) == 11, "a client that lost the answer sees the end"
    whole = await http.ask(
        "POST", f"{drop}/uploads", b"x", **VERSION, Content_Type=BYTES, Upload_Length="1",
        Upload_Metadata=metadata(relativePath="study/b", filename="b"),
    )  # fmt: skip
    assert (whole.status, whole.headers["upload-offset"]) == (201, "1")
    ct = daemon.config.inbox_dir / "ct"
    assert list(ct.iterdir()) == []
    done = await http.post(f"{drop}:finish")
    assert (done.status, done.json["finished"], done.json["files"]) == (200, True, "2")
    assert (ct / "study" / "a").read_bytes() == b"hello world"
    assert (ct / "study" / "b").read_bytes() == b"x"
    assert (await http.post(f"{drop}:finish")).json == done.json


async def test_failures_say_what_to_do_and_are_no_fault_of_the_server(
    daemon: Daemon, http: Client
) -> None:
    drop = await started(daemon, http)
    tus = Tus(http, drop)
    (daemon.config.inbox_dir / "ct" / "there").touch()
    for name, status, error in (
        ("there", 409, "name-taken"),
        ("a.part", 400, "file-not-taken"),
        ("../a", 400, "invalid-file-name"),
        ("/a", 400, "invalid-file-name"),
        ("a\x01", 400, "invalid-file-name"),
        ("é" * 128, 400, "invalid-file-name"),
    ):
        answer = await tus.create(1, name)
        assert (answer.status, answer.headers["claraedge-error"]) == (status, error), name
        assert ";" in answer.json["message"], "what to do"
    empty = await http.post(f"{drop}:finish")
    assert (empty.status, empty.headers["claraedge-error"]) == (409, "drop-state")
    none = await http.post("/v1/drops", {"folder": "none"})
    assert (none.status, none.headers["claraedge-error"]) == (404, "trigger-not-found")
    for path in (f"/v1/drops/{NOBODY}", "/v1/drops/x"):
        assert (await http.ask("GET", path)).status in (400, 404)
    upload = await tus.start(2)
    other = await started(daemon, http)
    elsewhere = upload.replace(drop, other)
    assert (await http.ask("HEAD", elsewhere, **VERSION)).status == 404
    assert (await http.ask("DELETE", upload, **VERSION)).status == 204
    assert (await http.ask("DELETE", drop)).status == 200
    assert (await tus.create(1)).status == 404


async def test_an_upload_continues_after_a_restart(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        drop = await started(daemon, http)
        upload = await Tus(http, drop).start(4)
        await Tus(http, drop).patch(upload, 0, b"01")
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        tus = Tus(http, drop)
        assert await tus.offset(upload) == 2
        assert (await tus.patch(upload, 2, b"23")).status == 204
        assert (await http.post(f"{drop}:finish")).json["size"] == "4"
        assert (daemon.config.inbox_dir / "ct" / "a").read_bytes() == b"0123"
