"""The day of a department: many studies by programs of every kind at once, into one folder.

Each study is one job with exactly its files, nothing else is taken, and nothing is left
without a word. CLARAEDGE_CAMPAIGN=1 sends 300 studies, else 24.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.campaign import CAMPAIGN
from tests.field.case import case
from tests.field.servers import Server, proftpd, smbd, sshd, storescp
from tests.field.site import Drop, drops, write
from tests.field.tools import interrupt, run, start
from tests.field.whole_studies import Study, identity, study
from tests.rig.waiting import until

STUDIES = 300 if CAMPAIGN else 24
#: No program halts for as long in the middle of a study, on a busy machine either.
QUIET = 10.0 if CAMPAIGN else 6.0
DEADLINE = 1200.0 if CAMPAIGN else 90.0


@dataclass
class Department:
    drop: Drop
    ssh: Server
    ftp: Server
    smb: Server
    receiver: int
    """The port of storescp."""
    chance: random.Random = field(default_factory=lambda: random.Random(20240507))

    def folder_of(self, one: Study) -> str:
        return f"ST{one.uid.rpartition('.')[2]}"

    def source(self, one: Study) -> Path:
        """The study's folder at the sender."""
        return write(self.drop.source / self.folder_of(one), one.files)


def by_rsync(here: Department, one: Study) -> None:
    run("rsync", "-a", "--bwlimit=2000", here.source(one), here.drop.folder)


def by_smb(here: Department, one: Study) -> None:
    folder = here.source(one)
    commands = f'recurse ON; prompt OFF; lcd "{folder.parent}"; mput {folder.name}'
    run(
        "smbclient", "-N", "-s", here.smb.folder / "smb.conf", "-p", str(here.smb.port),
        "-m", "SMB3", "//127.0.0.1/inbox", "-D", here.drop.folder.name, "-c", commands,
    )  # fmt: skip


def by_scp(here: Department, one: Study) -> None:
    settings = ("-rp", "-l", "16000", "-F", here.ssh.folder / "ssh.conf")
    run("scp", *settings, here.source(one), f"drop:{here.drop.folder}")


def by_ftp(here: Department, one: Study) -> None:
    folder = here.source(one)
    lines = (
        f"set net:timeout 20; open -u drop,drop ftp://127.0.0.1:{here.ftp.port};"
        f" mirror -R {folder} {here.drop.folder.name}/{folder.name}"
    )
    run("lftp", "-c", lines, environment={"HOME": str(folder.parent)})


def by_dicom(here: Department, one: Study) -> None:
    run("dcmsend", "+sd", "127.0.0.1", str(here.receiver), here.source(one))


def by_drag_and_drop(here: Department, one: Study) -> None:
    """From a Mac, or from Windows to a storage that makes thumbnails."""
    target = here.drop.folder / here.folder_of(one)
    mac = here.chance.random() < 0.5
    for name, content in one.files.items():
        if mac:
            write(target, {f"._{name}": b"\0\5\x16\7"})
        write(target, {name: content})
    if mac:
        write(target, {".DS_Store": b"\0\0\0\1Bud1"})
    else:
        thumbnails = {f"@eaDir/{name}/SYNOFILE_THUMB_M.png": b"png" for name in one.files}
        write(target, {"Thumbs.db": b"thumbs", "desktop.ini": b"[x]", **thumbnails})


def interrupted(here: Department, one: Study) -> None:
    """rsync or scp ends in the middle of the study, and is started again at once."""
    folder = here.source(one)
    target = here.drop.folder / folder.name
    ssh = ("-rp", "-F", here.ssh.folder / "ssh.conf")
    way: tuple[str, ...]
    if here.chance.random() < 0.5:
        program, way = "rsync", ("-a", "--partial-dir=.rsync-partial")
        slow, places = ("--bwlimit=200",), (folder, here.drop.folder)
    else:
        program, way = "scp", tuple(map(str, ssh))
        slow, places = ("-l", "1600"), (folder, f"drop:{here.drop.folder}")
    first = start(program, *way, *slow, *places)
    until(
        "two files are there, or it has ended",
        lambda: first.poll() is not None or (target.is_dir() and len([*target.iterdir()]) >= 2),
    )
    if first.poll() is None:
        interrupt(first, signal.SIGTERM)
    run(program, *way, *places)


def renamed(here: Department, one: Study) -> None:
    """Windows Explorer: New folder, some files, the patient's name, the other files."""
    first = here.drop.folder / f"New folder ({here.folder_of(one)})"
    files = list(one.files.items())
    half = len(files) // 2
    write(first, dict(files[:half]))
    last = first.with_name(f"MILLER^{here.folder_of(one)}")
    until("it is renamed", lambda: moved(first, last))
    write(last, dict(files[half:]))


def moved(first: Path, last: Path) -> bool:
    first.rename(last)
    return True


WRITERS: Sequence[Callable[[Department, Study], None]] = (
    by_rsync, by_smb, by_scp, by_ftp, by_dicom, by_drag_and_drop, interrupted, renamed,
)  # fmt: skip


@pytest.fixture
def department(tmp_path: Path) -> Iterator[Department]:
    with ExitStack() as stack:
        served = stack.enter_context(drops(settle=2.0, quiet=QUIET))
        drop = served.next("study")
        inbox = drop.folder.parent
        places = {name: tmp_path / name for name in ("sshd", "proftpd", "smbd")}
        for place in places.values():
            place.mkdir()
        yield Department(
            drop=drop,
            ssh=stack.enter_context(sshd(places["sshd"])),
            ftp=stack.enter_context(proftpd(places["proftpd"], inbox, hidden=True)),
            smb=stack.enter_context(smbd(places["smbd"], inbox)),
            receiver=stack.enter_context(
                storescp(drop.folder, tmp_path / "storescp.log", "--fork", "-fe", ".dcm")
            ),
        )


@pytest.mark.timeout(DEADLINE + 60)
@case(
    1,
    "The day of a department: programs of eight kinds send studies at once into one drop folder",
    source="horosproject/horos#212; fo-dicom/fo-dicom#1464; paperless-ngx/paperless-ngx#1279;"
    " darktable-org/darktable#11225",
    outcome="Each study is one job with exactly its files; nothing else is taken, and nothing is"
    " left without a word.",
    tools=[
        "rsync",
        "smbclient",
        "smbd",
        "scp",
        "sshd",
        "lftp",
        "proftpd",
        "DCMTK",
        "macOS Finder",
        "Windows Explorer",
        "Synology DSM",
    ],
)
def test_a_day(department: Department) -> None:
    drop = department.drop
    chance = random.Random(5)
    work = {
        writer: [
            study(number, chance.randint(2, 12), size=160, seed=seed)
            for number in range(seed, STUDIES, len(WRITERS))
        ]
        for seed, writer in enumerate(WRITERS)
    }
    began = time.monotonic()
    with ThreadPoolExecutor(len(WRITERS)) as people:
        for done in [people.submit(send_all, department, *row) for row in work.items()]:
            done.result()
    sent = time.monotonic() - began
    wanted = [one for row in work.values() for one in row]
    drop.until("every study is a job", lambda: len(drop.jobs()) >= len(wanted), DEADLINE)
    drop.is_explained()
    seconds = time.monotonic() - began
    wrong = compare(drop, wanted)
    files = sum(len(one.files) for one in wanted)
    jobs = len(drop.contents())
    left = sum(path.is_file() for path in drop.folder.rglob("*"))
    print(
        f"\n{len(wanted)} studies, {files} files by {len(WRITERS)} writers in {sent:.0f} s:"
        f" {jobs} jobs, wrong {len(wrong)}, in {seconds:.0f} s;"
        f" {left} files of others left, each with a word"
    )
    assert wrong == {}, f"{wrong}\n{drop.report()}"
    assert [item.name for item in drop.items() if item.state == "FAILED"] == []
    assert jobs == len(wanted)


def send_all(
    here: Department, send: Callable[[Department, Study], None], row: Sequence[Study]
) -> None:
    for one in row:
        send(here, one)


def compare(drop: Drop, wanted: Sequence[Study]) -> Mapping[str, list[int]]:
    """Studies of which there is not exactly one job with exactly their instances: by UID, the count
    of right instances in each job that has one."""
    jobs = [sorted(map(identity, job)) for job in drop.contents()]
    wrong = {}
    for one in wanted:
        own = sorted(map(identity, one.files.values()))
        parts = [job for job in jobs if set(job) & set(own)]
        if parts != [own]:
            wrong[one.uid] = [len(set(job) & set(own)) for job in parts]
    return wrong
