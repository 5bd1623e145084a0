"""A recorded process id that means something else by now: the ids of a machine come round."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.runner import processes

CONTAINER = "5" * 64
ROOT = Path(__file__).parents[3]


@pytest.fixture
def thread() -> Iterator[int]:
    """The id of a thread of this process."""
    ready, end = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        end.wait()

    started = threading.Thread(target=wait)
    started.start()
    ready.wait()
    assert started.native_id is not None
    yield started.native_id
    end.set()
    started.join()


@pytest.mark.parametrize("supervisor", [False, True])
def test_an_id_that_is_a_thread_by_now_is_not_the_process(thread: int, supervisor: bool) -> None:
    """Finding 18: the removal, the engine and the daemon ended."""
    assert thread != os.getpid()
    with processes.watched(thread, CONTAINER, supervisor=supervisor) as process:
        assert process is None
    assert not processes.alive(thread, CONTAINER, supervisor=supervisor)


@pytest.mark.parametrize("supervisor", [False, True])
def test_an_id_that_is_another_process_by_now_is_not_the_process(supervisor: bool) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        assert not processes.alive(other.pid, CONTAINER, supervisor=supervisor)
        with processes.watched(other.pid, CONTAINER, supervisor=supervisor) as process:
            assert process is None
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("pid", [-1, 0, 2**31 - 1])
def test_an_id_that_is_none_is_not_the_process(pid: int) -> None:
    assert not processes.alive(pid, CONTAINER)


#: In a namespace of its own, whose next process id may be chosen, as if all others were spent.
ROUND = """
import subprocess, sys, threading, time
from pathlib import Path
from claraedge.runner import processes
container = "5" * 64
def spent(pid):
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
with subprocess.Popen(["true"]) as first:
    pass
recorded = first.pid
spent(recorded)
end = threading.Event()
thread = threading.Thread(target=end.wait, daemon=True)
thread.start()
assert thread.native_id == recorded, (thread.native_id, recorded)
for supervisor in (False, True):
    assert not processes.alive(recorded, container, supervisor=supervisor)
end.set()
thread.join()
for _ in range(200):  # the id of a thread is free a moment after its join
    spent(recorded)
    other = subprocess.Popen(["sleep", "60"])
    if other.pid == recorded:
        break
    other.kill()
    other.wait()
    time.sleep(0.01)
try:
    assert other.pid == recorded, (other.pid, recorded)
    for supervisor in (False, True):
        with processes.watched(recorded, container, supervisor=supervisor) as process:
            assert process is None
    assert other.poll() is None
finally:
    other.kill()
    other.wait()
"""


def test_ids_that_have_come_round_are_other_threads_and_processes() -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    allowed = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no process ids of its own here: {allowed.stderr.strip()}")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", ROUND],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
