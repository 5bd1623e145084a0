"""scp and sftp put a study into the drop folder of another machine: sshd on loopback."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.servers import Server
from tests.field.site import Drop, some_bytes, some_files, write
from tests.field.tools import interrupt, run, start

BIG = 600_000
#: Kilobits a second.
SLOW = ("-l", "1200")


def batch(server: Server, drop: Drop, *lines: str) -> Path:
    path = drop.source / "batch"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("protocol", ["-s", "-O"], ids=["sftp", "rcp"])
@case(
    7,
    "scp -rp copies a study folder slowly",
    source="the-paperless-project/paperless#665; gorakhargosh/watchdog#266",
    outcome="One job with every file, by either protocol: none is taken while sshd has it open.",
    tools=["scp", "sshd"],
)
def test_scp_of_a_folder(drop: Drop, server: Server, protocol: str) -> None:
    files = some_files(f"scp{protocol}", size=150_000)
    write(drop.source / "study", files)
    settings = (protocol, "-rp", "-F", server.folder / "ssh.conf")
    run("scp", *settings, *SLOW, drop.source / "study", f"drop:{drop.folder}")
    drop.makes(files)


@case(
    7,
    "WinSCP uploads as `NAME.filepart` and renames",
    source="jonaswinkler/paperless-ng#462; jonaswinkler/paperless-ng#1509",
    outcome="One job with the whole file, at once after the renaming.",
    tools=["sftp", "sshd", "WinSCP"],
)
def test_filepart(drop: Drop, server: Server) -> None:
    files = {"a.dcm": some_bytes(BIG, "winscp")}
    write(drop.source, files)
    lines = batch(
        server,
        drop,
        f"put {drop.source}/a.dcm {drop.folder}/a.dcm.filepart",
        f"rename {drop.folder}/a.dcm.filepart {drop.folder}/a.dcm",
    )
    run("sftp", "-F", server.folder / "ssh.conf", *SLOW, "-b", lines, "drop")
    drop.makes(files)


@case(
    1,
    "An upload by sftp is interrupted and resumed (put -a)",
    source="sftp(1), reput",
    outcome="One job with the whole file, where it is resumed within the settle time.",
    tools=["sftp", "sshd"],
)
def test_resumed(patient: Drop, server: Server) -> None:
    files = {"a.dcm": some_bytes(BIG, "resumed")}
    write(patient.source, files)
    put = batch(server, patient, f"put {patient.source}/a.dcm {patient.folder}/a.dcm")
    settings = ("-F", server.folder / "ssh.conf")
    first = start("sftp", *settings, *SLOW, "-b", put, "drop")
    target = patient.folder / "a.dcm"
    patient.until("half is there", lambda: target.exists() and target.stat().st_size > BIG // 3)
    interrupt(first, signal.SIGKILL)
    again = batch(server, patient, f"put -a {patient.source}/a.dcm {patient.folder}/a.dcm")
    run("sftp", *settings, *SLOW, "-b", again, "drop")
    patient.makes(files)


@case(
    7,
    "curl uploads by SFTP into a folder that it makes",
    source="curl(1), --ftp-create-dirs",
    outcome="One job with the whole file.",
    tools=["curl", "sshd"],
)
def test_curl(drop: Drop, server: Server) -> None:
    files = {"a.dcm": some_bytes(BIG, "curl")}
    write(drop.source, files)
    url = f"sftp://127.0.0.1:{server.port}{drop.folder}/study/a.dcm"
    key = ("--key", f"{server.key}", "--pubkey", f"{server.key}.pub", "--insecure")
    user = os.environ["USER"]
    slow = ("--limit-rate", "150k")
    file = ("-T", drop.source / "a.dcm", url)
    run("curl", "-sS", *slow, *key, "-u", f"{user}:", "--ftp-create-dirs", *file)
    drop.makes(files)


@case(
    7,
    "rsync over ssh copies a study folder slowly",
    source="motioneye-project/motioneye#2091",
    outcome="One job with every file.",
    tools=["rsync", "sshd"],
)
def test_rsync_over_ssh(drop: Drop, server: Server) -> None:
    files = some_files("rsync", size=150_000)
    write(drop.source / "study", files)
    ssh = ("-e", f"ssh -F {server.folder}/ssh.conf")
    run("rsync", "-a", "--bwlimit=150", *ssh, drop.source / "study", f"drop:{drop.folder}")
    drop.makes(files)
