"""FTP clients and scanners put files into the drop folder: proftpd on loopback."""

from __future__ import annotations

import ftplib
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.servers import Server, proftpd
from tests.field.site import Drop, Drops, some_bytes, some_files, write
from tests.field.tools import interrupt, run, start

BIG = 600_000
SLOW = ("--limit-rate", "150k")


@pytest.fixture(scope="module")
def direct(all_drops: Drops, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Writes under the final name."""
    root = all_drops.site.state / "inbox"
    with proftpd(tmp_path_factory.mktemp("direct"), root, hidden=False) as running:
        yield running


@pytest.fixture(scope="module")
def hiding(all_drops: Drops, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Writes under `.in.NAME.`, and renames."""
    root = all_drops.site.state / "inbox"
    with proftpd(tmp_path_factory.mktemp("hiding"), root, hidden=True) as running:
        yield running


def url(server: Server, path: Path) -> str:
    folder, name = path.parts[-2:]
    return f"ftp://drop:drop@127.0.0.1:{server.port}/{folder}/{name}"


@pytest.mark.parametrize("way", ["direct", "hiding"])
@case(
    7,
    "An FTP server receives one large file, under its name or a hidden one (HiddenStores)",
    source="proftpd/proftpd#46; proftpd/proftpd#47; paperless-ngx/paperless-ngx#1279",
    outcome="One job with the whole file.",
    tools=["curl", "proftpd"],
)
def test_a_slow_upload(drop: Drop, request: pytest.FixtureRequest, way: str) -> None:
    server: Server = request.getfixturevalue(way)
    files = {"a.dcm": some_bytes(BIG, way)}
    write(drop.source, files)
    run("curl", "-sS", *SLOW, "-T", drop.source / "a.dcm", url(server, drop.folder / "a.dcm"))
    drop.makes(files)


@case(
    2,
    "The line to an FTP server with HiddenStores is cut in the middle of an upload",
    source="proftpd/proftpd#46",
    outcome="No job of a half file: the server removes its hidden file, and nothing is left.",
    tools=["proftpd"],
)
def test_a_cut_upload(drop: Drop, hiding: Server) -> None:
    with logged_in(hiding, drop) as client:
        client.voidcmd("TYPE I")
        data = client.transfercmd("STOR a.dcm")
        data.sendall(some_bytes(BIG, "cut"))
        hidden = drop.folder / ".in.a.dcm."
        drop.until("the upload has begun", lambda: hidden.exists() and hidden.stat().st_size)
        # A reset, as of a router in between: without it, the line's end is the file's end.
        data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        data.close()
        drop.until("the server has noticed", lambda: not hidden.exists())
        with pytest.raises(ftplib.error_temp, match="aborted"):
            client.voidresp()
    drop.makes()
    drop.is_left()


@contextmanager
def logged_in(server: Server, drop: Drop) -> Iterator[ftplib.FTP]:
    with ftplib.FTP() as client:
        client.connect("127.0.0.1", server.port, timeout=20)
        client.login("drop", "drop")
        client.cwd(drop.folder.name)
        yield client


@case(
    1,
    "A scanner opens the file by FTP before its pages are scanned",
    source="paperless-ngx/paperless-ngx#1279; jonaswinkler/paperless-ng#1286",
    outcome="One job with all pages: the file waits, empty or not, while the server has it open.",
    tools=["proftpd"],
)
def test_a_scanner_that_pauses(drop: Drop, direct: Server) -> None:
    pages = [some_bytes(40_000, f"page {n}") for n in range(2)]
    with logged_in(direct, drop) as client:
        client.voidcmd("TYPE I")
        with client.transfercmd("STOR scan.dcm") as data:
            for page in pages:
                drop.until("it is seen", drop.items)
                drop.pause()
                data.sendall(page)
        client.voidresp()
    drop.makes({"scan.dcm": b"".join(pages)})


@pytest.mark.parametrize("temporary", ["yes", "no"])
@case(
    7,
    "lftp mirrors a study folder to the server (mirror -R), with and without temporary names",
    source="lftp(1), xfer:use-temp-file",
    outcome="One job with every file.",
    tools=["lftp", "proftpd"],
)
def test_lftp_mirror(drop: Drop, direct: Server, temporary: str) -> None:
    files = {**some_files(f"lftp {temporary}", size=150_000), "sub/IM9.dcm": b"deep"}
    write(drop.source / "study", files)
    lines = (
        f"set xfer:use-temp-file {temporary}; set net:limit-rate 0:200000; set net:timeout 10;"
        f" set net:max-retries 2; open -u drop,drop ftp://127.0.0.1:{direct.port};"
        f" mirror -R {drop.source}/study {drop.folder.name}/study"
    )
    run("lftp", "-c", lines, environment={"HOME": f"{drop.source}"})
    drop.makes(files)


@pytest.mark.parametrize("way", ["mirror", "pget -n 3"])
@case(
    7,
    "lftp fetches a study from a server into the drop folder, in one stream or several (pget)",
    source="lftp(1), mirror, pget, xfer:use-temp-file",
    outcome="One job with the whole file.",
    tools=["lftp", "proftpd"],
)
def test_lftp_fetches(drop: Drop, tmp_path: Path, way: str) -> None:
    files = {"a.dcm": some_bytes(BIG, way)}
    write(drop.source / "study", files)
    with proftpd(tmp_path, drop.source, hidden=False) as server:
        what = "study study" if way == "mirror" else "study/a.dcm -o a.dcm"
        run(*fetching(server, drop, f"{way} {what}"), environment=home(drop))
    drop.makes(files)


@case(
    1,
    "lftp pget is killed and continued: the file has its name and its full size from the start",
    source="lftp(1), pget -c",
    outcome="The file waits while its `.lftp-pget-status` is there; continued, it is one job.",
    tools=["lftp", "proftpd"],
)
def test_lftp_pget_continued(drop: Drop, tmp_path: Path) -> None:
    files = {"a.dcm": some_bytes(BIG, "pget")}
    write(drop.source, files)
    status = drop.folder / "a.dcm.lftp-pget-status"
    with proftpd(tmp_path, drop.source, hidden=False) as server:
        first = start(*fetching(server, drop, "pget -n 2 a.dcm -o a.dcm"))
        drop.until("it keeps its status", status.exists)
        interrupt(first, signal.SIGKILL)
        drop.waits("a.dcm.lftp-pget-status")
        assert drop.jobs() == []
        run(*fetching(server, drop, "pget -c -n 2 a.dcm -o a.dcm"), environment=home(drop))
    drop.makes(files)


def fetching(server: Server, drop: Drop, command: str) -> tuple[str, ...]:
    lines = (
        "set net:limit-rate 200000:0; set net:timeout 10; set net:max-retries 2;"
        " set pget:min-chunk-size 1000; set pget:save-status 1s;"
        f" lcd {drop.folder}; open -u drop,drop ftp://127.0.0.1:{server.port}; {command}"
    )
    return ("lftp", "-c", lines)


def home(drop: Drop) -> dict[str, str]:
    return {"HOME": str(drop.source)}


@case(
    1,
    "An FTP upload is interrupted and resumed (REST)",
    source="curl(1), --continue-at; proftpd.org, AllowStoreRestart",
    outcome="One job with the whole file, where it is resumed within the settle time.",
    tools=["curl", "proftpd"],
)
def test_resumed(patient: Drop, direct: Server) -> None:
    files = {"a.dcm": some_bytes(BIG, "resumed")}
    write(patient.source, files)
    target = patient.folder / "a.dcm"
    upload = ("-T", patient.source / "a.dcm", url(direct, target))
    first = start("curl", "-sS", *SLOW, *upload)
    patient.until("half is there", lambda: target.exists() and target.stat().st_size > BIG // 3)
    interrupt(first, signal.SIGKILL)
    run("curl", "-sS", *SLOW, "-C", "-", *upload)
    patient.makes(files)
