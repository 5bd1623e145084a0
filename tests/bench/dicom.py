"""Compares jobs from dropped DICOM slices with Orthanc storing the same files, in one run.

Slices of about 40 KiB, 250 to a study (100 with less than 10,000), are given to both sides study by
study:

- each is copied into a drop folder of the daemon, a process of its own, and renamed; all studies
  become jobs. The time ends when the last job exists, less the quiet time after which a study is
  complete, since it is a setting; so what the daemon does before the last study is complete is not
  counted. That is 1 s, and 4 s with 10,000 slices: a daemon that is behind on a busy machine may
  make two jobs of a study, which the last figure shows. The operators are coroutines, there is no
  Podman;
- each is sent to the REST API of an `Orthanc`, the program of Debian's package `orthanc`, by as
  many connections side by side as it was fastest with before. The time ends with its last answer.

Both work on one disk. The daemon has synced each slice and its folders, and committed its job to a
database with `synchronous = FULL`: a power cut loses nothing. Orthanc syncs each slice as well
(`SyncStorageArea`), but not the folder with its name, and its index not at each commit
(`synchronous = NORMAL`): a power cut may lose what it has answered last.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from claraedge.wire.nvidia.clara.platform import pipelines_pb2
from claraedge.wire.nvidia.clara.platform.pipelines_pb2_grpc import PipelinesStub
from tests.bench.case import Case, Figure, NotInstalled, Pair, Pairs, at_most
from tests.bench.run import main
from tests.field.whole_studies import study
from tests.rig.waiting import until
from tests.robustness.site import MIB, Site, site

#: Pixels of a slice's side: 2 bytes for each pixel.
SIDE = 140
SENDERS = (1, 2, 4, 8)
DEADLINE = 120.0
SLICES = "SELECT COUNT(*) FROM payload_files WHERE name LIKE 'input/%'"
JOBS = "SELECT COUNT(*) FROM jobs"
SETTINGS = """\
[inbox]
settle_seconds = 0.5
[[inbox.trigger]]
folder = "ct"
pipeline = "study"
grouping = "dicom-study"
quiet_seconds = {}
"""
DEFINITION = """\
api-version: 0.4.0
name: study
operators:
- name: one
  container: {image: hello, tag: '1'}
  input: [{path: /in}]
  output: [{path: /out}]
"""


def write_slices(folder: Path, slices: int, turn: int) -> Sequence[Path]:
    """Writes new slices; returns their files, study by study."""
    each = min(slices, 250 if slices >= 10_000 else 100)
    files = []
    for number in range(slices // each):
        (folder / f"{number}").mkdir(parents=True)
        for name, content in study(number, each, size=SIDE, seed=turn).files.items():
            files.append(folder / f"{number}" / name)
            files[-1].write_bytes(content)
    os.sync()  # neither side waits for these
    return files


class Orthanc:
    """A server that stores instances."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._senders = 1

    def choose_senders(self, files: Sequence[Path]) -> None:
        """Tries a number of connections for each equal part of the files."""
        part = len(files) // len(SENDERS)
        seconds = {}
        for number, senders in enumerate(SENDERS):
            self._senders = senders
            seconds[senders] = self.store(files[number * part : (number + 1) * part])
        self._senders = min(seconds, key=lambda one: seconds[one])

    def store(self, files: Sequence[Path]) -> float:
        """Returns the seconds until all are stored."""
        waiting: SimpleQueue[Path | None] = SimpleQueue()
        for file in (*files, *[None] * self._senders):
            waiting.put(file)

        def send() -> None:
            with closing(HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
                while (file := waiting.get()) is not None:
                    connection.request("POST", "/instances", file.read_bytes())
                    answer = connection.getresponse()
                    body = answer.read()
                    assert answer.status == 200, body
                    assert json.loads(body)["Status"] == "Success", body

        with ThreadPoolExecutor(self._senders) as pool:
            begin = time.perf_counter()
            for sender in [pool.submit(send) for _ in range(self._senders)]:
                sender.result()
            return time.perf_counter() - begin

    def serves(self) -> bool:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=10)) as connection:
            try:
                connection.request("GET", "/system")
                return connection.getresponse().status == 200
            except ConnectionError:
                return False


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """Runs a server on a folder of its own. Raises `NotInstalled`."""
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise NotInstalled("Orthanc, of Debian's package orthanc")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stored = str(folder / "stored")
    settings = {
        "StorageDirectory": stored,
        "IndexDirectory": stored,
        "SyncStorageArea": True,
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "Plugins": [],
    }
    configuration, log = folder / "orthanc.json", folder / "orthanc.log"
    configuration.write_text(json.dumps(settings))
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [program, configuration], cwd=folder, stdout=output, stderr=output
        ) as process,
    ):
        try:
            server = Orthanc(port)
            until("Orthanc serves", server.serves, details=log.read_text)
            yield server
        finally:
            process.terminate()


class Drops:
    """A daemon that makes a job of each study."""

    def __init__(self, daemon: Site, quiet: float) -> None:
        self._daemon = daemon
        self._quiet = quiet
        self._folder = daemon.state / "inbox" / "ct"

    def take_in(self, files: Sequence[Path]) -> tuple[float, Pair, Pair]:
        """Drops files; returns seconds, MiB at the end and after a tenth, and jobs and studies."""
        slices, jobs = self._count(SLICES), self._count(JOBS)
        begin = time.perf_counter()
        for number, file in enumerate(files):
            if number == len(files) // 10:
                early = self._daemon.memory()
            part = self._folder / f".{file.name}.part"
            shutil.copyfile(file, part)
            part.rename(self._folder / file.name)
        wanted = slices + len(files)
        until("all slices are in jobs", lambda: self._count(SLICES) == wanted, DEADLINE)
        spent = time.perf_counter() - begin - self._quiet
        memory = Pair(self._daemon.memory() / MIB, early / MIB)
        studies = len({file.parent for file in files})
        return spent, memory, Pair(self._count(JOBS) - jobs, studies)

    def _count(self, statement: str) -> int:
        with closing(sqlite3.connect(self._daemon.state / "claraedge.db", timeout=60)) as database:
            ((found,),) = database.execute(statement)
        return int(found)


@contextmanager
def drops(quiet: float) -> Iterator[Drops]:
    with site(SETTINGS.format(quiet)) as daemon, daemon.channel() as channel:
        part = pipelines_pb2.PipelineDefinitionFile(path="study.yaml", content=DEFINITION)
        request = pipelines_pb2.PipelinesCreateRequest(definition=part)
        answer = PipelinesStub(channel).Create(iter([request]))
        assert answer.header.code == 0, answer
        yield Drops(daemon, quiet)


def pairs(slices: int) -> Pairs:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ce-")))
        theirs = stack.enter_context(orthanc(folder))
        ours = stack.enter_context(drops(max(1.0, slices / 2500)))
        theirs.choose_senders(write_slices(folder / "tried", 800, 0))
        for turn in count(1):
            files = write_slices(folder / f"{turn}", slices, turn)
            stored = theirs.store(files)
            spent, memory, jobs = ours.take_in(files)
            shutil.rmtree(folder / f"{turn}")
            yield [Pair(spent, stored), memory, jobs]


CASES = (
    Case(
        name="dicom",
        figures=(
            Figure("slices to jobs of studies", "Orthanc stores them", "s", at_most(1)),
            Figure("resident memory at the end", "after a tenth of them", "MiB", at_most(1.2)),
            Figure("jobs", "studies", "", at_most(1)),
        ),
        pairs=pairs,
        full=10_000,
        quick=1000,
        rounds=3,
        quick_rounds=1,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
