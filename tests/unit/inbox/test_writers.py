"""A file that somebody can still write is known for it, and asking disturbs nobody."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from claraedge.formats.filenames import DEFAULT
from claraedge.fs.mounts import Mount
from claraedge.inbox.inspection import writers
from claraedge.inbox.inspection.survey import survey
from claraedge.inbox.inspection.writers import has_writer
from tests.rig.costs import cost
from tests.rig.inbox import drop


@pytest.fixture(params=["disk", "tmpfs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="claraedge-", dir="/dev/shm") as folder:
        yield Path(folder)


def ask(path: Path) -> bool | None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return has_writer(os.fsencode(path.name), folder)
    finally:
        os.close(folder)


def written(root: Path) -> bool:
    return survey(root, os.geteuid(), DEFAULT, {}).reading.written


@contextmanager
def other_process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Runs code that prints a line once it has begun and ends when its input does."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


_OPENS = """
import mmap, os, sys
kind, path = sys.argv[1:]
descriptor = os.open(path, {"read": os.O_RDONLY, "append": os.O_WRONLY | os.O_APPEND}.get(kind, os.O_RDWR))
if kind == "mapped":
    mapping = mmap.mmap(descriptor, 0)
    os.close(descriptor)
print("begun", flush=True)
sys.stdin.read()
"""  # noqa: E501


# --- answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["append", "both", "mapped"])
def test_a_writer_in_another_process_is_seen_until_it_ends(place: Path, kind: str) -> None:
    path = drop(place / "a.dcm")
    os.link(path, place / "second name")
    assert ask(path) is False
    with other_process(_OPENS, kind, path):
        assert ask(path) is True
        assert ask(place / "second name") is True
    assert ask(path) is False
    assert ask(place / "second name") is False


def test_a_reader_is_no_writer(place: Path) -> None:
    path = drop(place / "a.dcm")
    with other_process(_OPENS, "read", path):
        assert ask(path) is False


def test_a_writer_in_this_process_is_seen(place: Path) -> None:
    path = drop(place / "a.dcm")
    with path.open("ab"):
        assert ask(path) is True
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        file.close()
        assert ask(path) is True
    assert ask(path) is False


def test_what_is_no_file_says_nothing_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    drop(tmp_path / "file")
    (tmp_path / "link").symlink_to("file")
    with (tmp_path / "file").open("ab"):
        assert [ask(tmp_path / n) for n in ("pipe", "folder", "link", "file")] == [None] * 3 + [
            True
        ]
    with pytest.raises(FileNotFoundError):
        ask(tmp_path / "none")


def test_a_file_of_another_user_says_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        assert ask(Path("/etc/passwd")) is None
        return
    path = drop(tmp_path / "a.dcm")
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    folder = os.open(tmp_path, os.O_RDONLY)
    assert has_writer(b"a.dcm", folder) is False
    os.seteuid(65534)  # drops CAP_LEASE
    try:
        assert has_writer(b"a.dcm", folder) is None
    finally:
        os.seteuid(0)
        os.close(folder)


def test_where_others_write_past_this_kernel_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop(tmp_path / "a.dcm")
    share = Mount(id=1, point=b"/", fstype="nfs4", source="box:/")
    for mount in (share, None):
        monkeypatch.setattr(writers, "mount_of_open", lambda _, mount=mount: mount)
        assert ask(path) is None
        with path.open("ab"):
            assert ask(path) is None


def test_a_file_that_one_program_has_for_itself_is_written(tmp_path: Path) -> None:
    path = drop(tmp_path / "a.dcm")
    descriptor = os.open(path, os.O_RDWR)
    fcntl.fcntl(descriptor, 10, signal.SIGURG)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    assert ask(path) is True
    os.close(descriptor)
    assert ask(path) is False


# --- trees ------------------------------------------------------------------------------------


def test_a_writer_of_any_file_of_a_tree_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "study"
    for name in ("a/1.dcm", "a/2.dcm", "b/c/3.dcm", "z.dcm"):
        drop(root / name)
    (root / "a/link").symlink_to(root / "z.dcm")
    assert not written(root)
    with (root / "z.dcm").open("ab"):
        assert written(root)
        assert written(root / "z.dcm")
        assert not written(root / "b")
        assert not survey(root, os.geteuid(), DEFAULT).reading.written, "nobody asked"
    with other_process(_OPENS, "append", root / "b/c/3.dcm"):
        assert written(root)
        assert not written(root / "z.dcm")
    assert not written(root)
    with pytest.raises(FileNotFoundError):
        written(root / "none")


# --- disturbs nobody --------------------------------------------------------------------------

_STORM = """
import json, os, sys, threading, time
path, kind = sys.argv[1:]
flags = os.O_WRONLY | (os.O_TRUNC if kind == "truncate" else 0)
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("begun", flush=True)
waits, errors = [], []
while not ended.is_set():
    began = time.monotonic()
    try:
        descriptor = os.open(path, flags)
        waits.append(time.monotonic() - began)
        os.write(descriptor, b"x")
        os.close(descriptor)
    except OSError as error:
        errors.append(str(error))
    time.sleep(0)
waits.sort()
print(json.dumps({"opens": len(waits), "errors": errors, "median": waits[len(waits) // 2],
                  "slow": sum(w > 0.05 for w in waits), "worst": waits[-1]}))
"""


@pytest.mark.parametrize("kind", ["append", "truncate"])
@pytest.mark.parametrize("busy", [False, True])
def test_a_storm_of_opens_and_questions_hurts_neither(place: Path, kind: str, busy: bool) -> None:
    path = drop(place / "a.dcm")
    stop = threading.Event()
    spinner = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)])
    answers = {True: 0, False: 0, None: 0}
    # As they are in a daemon: nobody handles these, and neither may arrive.
    arrived: list[int] = []
    before = signal.signal(signal.SIGIO, lambda number, _: arrived.append(number))
    if busy:
        spinner.start()
    try:
        with other_process(_STORM, path, kind) as process:
            end, latest = time.monotonic() + 1, time.monotonic() + 20
            # A file that is emptied is open for the shortest time: with two busy cores, few of the
            # first hundred questions fall into it.
            while time.monotonic() < (end if answers[True] and answers[False] else latest):
                answers[ask(path)] += 1
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            report = json.loads(process.stdout.readline())
        assert process.returncode == 0
    finally:
        stop.set()
        if busy:
            spinner.join()
        signal.signal(signal.SIGIO, before)
    print(answers, report)
    assert arrived == []
    assert report["errors"] == []
    assert answers[None] == 0
    assert answers[True] > 0
    assert answers[False] > 0
    assert report["opens"] > 100
    assert report["median"] < 0.005
    # Both share two cores with whatever else runs: one in a hundred may be put off by that.
    assert report["slow"] <= report["opens"] // 100 + 1, report
    assert ask(path) is False


_SURVIVES = """
import fcntl, os, sys, time
from pathlib import Path
from claraedge.inbox.inspection import writers
path = Path(sys.argv[1])
folder = os.open(path.parent, os.O_RDONLY)
real, times = fcntl.fcntl, []
def slow(descriptor, command, argument):
    if command == fcntl.F_SETLEASE and argument == fcntl.F_UNLCK:
        print("begun", flush=True)
        sys.stdin.read()
    return real(descriptor, command, argument)
writers.fcntl.fcntl = slow
print(writers.has_writer(os.fsencode(path.name), folder), flush=True)
"""


def test_a_lease_that_is_broken_before_it_is_returned_kills_nobody(place: Path) -> None:
    """What the storm meets by luck: a writer comes between the question and its end."""
    path = drop(place / "a.dcm")
    environment = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    opened = threading.Event()

    def write() -> None:
        with path.open("ab"):
            opened.set()

    try:
        with other_process(_SURVIVES, path) as process:
            with pytest.raises(BlockingIOError):  # the lease is there
                os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            writer = threading.Thread(target=write)
            writer.start()
            assert not opened.wait(0.2)
            assert process.poll() is None
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            assert opened.wait(10)
            assert process.stdout.readline() == "False\n"
            writer.join()
        assert process.returncode == 0
    finally:
        if environment is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = environment


def test_a_lease_that_the_kernel_took_back_means_a_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = drop(tmp_path / "a.dcm"), fcntl.fcntl

    def late(descriptor: int, command: int, argument: int) -> int:
        if command == fcntl.F_SETLEASE and argument == fcntl.F_UNLCK:
            real(descriptor, command, argument)  # as after fs.lease-break-time
        return real(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", late)
    assert ask(path) is True


def test_asking_is_cheap_and_leaves_nothing_open(tmp_path: Path) -> None:
    for number in range(1000):
        drop(tmp_path / "study" / f"{number}.dcm")
    before = len(list(Path("/proc/self/fd").iterdir()))
    found, spent = cost(lambda: written(tmp_path / "study"))
    assert not found
    assert spent < 300 * 1000
    assert len(list(Path("/proc/self/fd").iterdir())) == before
