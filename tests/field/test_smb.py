"""Windows clients put files into the drop folder as a share: smbclient and smbd on loopback."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.servers import Server, smbd
from tests.field.site import SETTLE, Drop, Drops, some_bytes, some_files, write
from tests.field.tools import interrupt, run, start


@pytest.fixture(scope="module")
def server(all_drops: Drops, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = all_drops.site.state / "inbox"
    with smbd(tmp_path_factory.mktemp("smbd"), root) as running:
        yield running


def session(server: Server, drop: Drop, *commands: str) -> tuple[str, ...]:
    """The arguments of a client that works in the test's folder."""
    return (
        "-N", "-s", f"{server.folder}/smb.conf", "-p", str(server.port), "-m", "SMB3",
        "//127.0.0.1/inbox", "-D", drop.folder.name, "-c", "; ".join(commands),
    )  # fmt: skip


@case(
    7,
    "Windows copies a study folder with subfolders to the share",
    source="jonaswinkler/paperless-ng#1447",
    outcome="One job with every file of every folder.",
    tools=["smbclient", "smbd"],
)
def test_a_folder(drop: Drop, server: Server) -> None:
    files = {**some_files("smb", size=300_000), "series 2/IM9.dcm": b"deep"}
    write(drop.source / "study", files)
    sends = ("recurse ON", "prompt OFF", f'lcd "{drop.source}"', "mput study")
    run("smbclient", *session(server, drop, *sends))
    drop.makes(files)


@case(
    1,
    "A scanner writes to the share with pauses",
    source="paperless-ngx/paperless-ngx#879; paperless-ngx/paperless-ngx#14219",
    outcome="One job with the whole file: it waits while the server has it open.",
    tools=["smbclient", "smbd"],
)
def test_a_scanner_that_pauses(drop: Drop, server: Server) -> None:
    pages = [some_bytes(2_000_000, f"page {n}") for n in range(2)]
    pipe = drop.source / "pipe"
    os.mkfifo(pipe)

    def scan() -> None:
        with pipe.open("wb") as paper:
            for page in pages:
                paper.write(page)
                paper.flush()
                time.sleep(1.5 * SETTLE)

    scanner = threading.Thread(target=scan)
    scanner.start()
    run("smbclient", *session(server, drop, f'put "{pipe}" scan.pdf'))
    scanner.join()
    drop.makes({"scan.pdf": b"".join(pages)})


@case(
    7,
    "A file on the share is renamed right after it was written",
    source="jonaswinkler/paperless-ng#1447",
    outcome="One job, by the last name.",
    tools=["smbclient", "smbd"],
)
def test_renamed(drop: Drop, server: Server) -> None:
    files = {"a.dcm": some_bytes(100_000, "renamed")}
    write(drop.source, files)
    run("smbclient", *session(server, drop, f'put "{drop.source}/a.dcm" new', "rename new a.dcm"))
    drop.makes(files)


@case(
    2,
    "Files have the hidden or the system attribute of Windows",
    source="smb.conf(5), store dos attributes; paperless-ngx/paperless-ngx#10998",
    outcome="A hidden image is an input like any other; a desktop.ini is not, whatever its"
    " attributes.",
    tools=["smbclient", "smbd", "Windows Explorer"],
)
def test_hidden_attributes(drop: Drop, server: Server) -> None:
    files = {"IM1.dcm": b"one", "IM2.dcm": b"two"}
    write(drop.source, {**files, "desktop.ini": b"[.ShellClassInfo]\r\n"})
    commands = ["mkdir study", "cd study", f'lcd "{drop.source}"']
    for name, attributes in (("desktop.ini", "+hs"), ("IM1.dcm", "+h"), ("IM2.dcm", "+r")):
        commands += [f"put {name}", f"setmode {name} {attributes}"]
    run("smbclient", *session(server, drop, *commands))
    drop.makes(files)


@case(
    1,
    "A copy to the share is interrupted and started again",
    source="paperless-ngx/paperless-ngx#14219",
    outcome="One job with the whole file, where it is started again within the settle time.",
    tools=["smbclient", "smbd"],
)
def test_interrupted(patient: Drop, server: Server) -> None:
    pipe = patient.source / "pipe"
    os.mkfifo(pipe)
    content = some_bytes(40_000_000, "interrupted")  # smbclient sends 8 MiB at a time
    write(patient.source, {"a.dcm": content})
    first = start("smbclient", *session(server, patient, f'put "{pipe}" a.dcm'))
    with pipe.open("wb") as part:
        part.write(content[:30_000_000])
        part.flush()
        patient.until("half is there", lambda: size(patient.folder / "a.dcm") > 100_000)
        interrupt(first, signal.SIGKILL)
    run("smbclient", *session(server, patient, f'put "{patient.source}/a.dcm" a.dcm'))
    patient.makes({"a.dcm": content})


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@case(
    2,
    "Windows downloads from the internet carry a zone identifier",
    source="smb.conf(5), vfs_streams_depot; microsoft/WSL#7456",
    outcome="One job with the image alone; a file `NAME:Zone.Identifier` is no input.",
    tools=["smbclient", "smbd", "Windows Explorer"],
)
def test_zone_identifier(drop: Drop, server: Server) -> None:
    files = {"IM1.dcm": b"one"}
    write(drop.source / "study", files)
    write(drop.source / "study", {"IM1.dcm:Zone.Identifier": b"[ZoneTransfer]\r\nZoneId=3\r\n"})
    (drop.source / "study").rename(drop.folder / "study")
    drop.makes(files)
