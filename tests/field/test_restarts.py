"""The daemon is killed and started again while programs of others write into the drop folder."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.client.connection import Connection
from tests.field.case import case
from tests.field.servers import proftpd, smbd, storescp
from tests.field.site import Drop, Drops, drops, some_bytes, some_files, write
from tests.field.test_ftp import logged_in
from tests.field.tools import run, start
from tests.field.whole_studies import identity, study


@pytest.fixture
def served() -> Iterator[Drops]:
    with drops() as all_drops:
        yield all_drops


def restart(served: Drops, *folders: Drop) -> None:
    """As after a power cut: what was heard of the writers is forgotten."""
    served.site.end(signal.SIGKILL)
    served.site.start()
    served.connection = Connection(served.connection.target)
    for drop in folders:
        drop.connection = served.connection


@case(
    1,
    "The device restarts while rsync, an FTP scanner, Windows and a modality send",
    source="home-assistant/core#115342; paperless-ngx/paperless-ngx#1279; fo-dicom/fo-dicom#1464",
    outcome="Each is one job with all its files: what a program has open, or under a temporary"
    " name, is waited for, also where it was begun before the start.",
    tools=["rsync", "proftpd", "smbclient", "smbd", "DCMTK"],
)
def test_a_restart_in_the_middle(served: Drops, tmp_path: Path) -> None:
    rsynced, scanned, windows = (served.next("entry") for _ in range(3))
    modality = served.next("study")
    inbox = rsynced.folder.parent
    places = {name: tmp_path / name for name in ("ftp", "smb")}
    for place in places.values():
        place.mkdir()

    files = some_files("restart", count=2, size=400_000)
    write(rsynced.source / "study", files)
    sender = start("rsync", "-a", "--bwlimit=100", rsynced.source / "study", rsynced.folder)

    one = study(1, 4)
    for number, (name, content) in enumerate(one.files.items()):
        write(modality.source / f"{number // 2}", {name: content})
    pages = [some_bytes(50_000, f"page {n}") for n in range(2)]

    with (
        proftpd(places["ftp"], inbox, hidden=False) as ftp,
        smbd(places["smb"], inbox) as smb,
        storescp(modality.folder, tmp_path / "storescp.log") as port,
        logged_in(ftp, scanned) as client,
    ):
        run("dcmsend", "+sd", "127.0.0.1", str(port), modality.source / "0")
        client.voidcmd("TYPE I")
        data = client.transfercmd("STOR scan.dcm")
        data.sendall(pages[0])
        write(windows.source, more := {"a.dcm": some_bytes(100_000, "windows")})
        command = f'lcd "{windows.source}"; put a.dcm'
        run(
            "smbclient", "-N", "-s", smb.folder / "smb.conf", "-p", str(smb.port), "-m", "SMB3",
            "//127.0.0.1/inbox", "-D", windows.folder.name, "-c", command,
        )  # fmt: skip
        rsynced.until("rsync has begun", lambda: any(rsynced.folder.rglob(".IM*")))
        scanned.until("a page is there", lambda: (scanned.folder / "scan.dcm").exists())

        restart(served, rsynced, scanned, windows, modality)

        run("dcmsend", "+sd", "127.0.0.1", str(port), modality.source / "1")
        scanned.pause()
        data.sendall(pages[1])
        data.close()
        client.voidresp()
        assert sender.wait(60) == 0
        rsynced.makes(files)
        scanned.makes({"scan.dcm": b"".join(pages)})
        windows.makes(more)
        modality.until("it is a job", modality.jobs)
        (job,) = modality.contents()
        assert sorted(map(identity, job)) == sorted(map(identity, one.files.values()))
