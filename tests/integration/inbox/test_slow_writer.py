"""A big file that is written in pieces is taken once, and whole, by a real daemon."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.campaign import CAMPAIGN
from tests.integration.inbox.inbox_site import InboxSite, inbox_site
from tests.rig.waiting import until

MIB = 1 << 20
SIZE = 5120 * MIB if CAMPAIGN else 66 * MIB
PIECES = 20 if CAMPAIGN else 3
SETTLE = 2.5
#: Longer than half of the settle time.
PAUSE = 1.5
DEADLINE = 900.0 if CAMPAIGN else 60.0

pytestmark = pytest.mark.timeout(DEADLINE + 120)

SETTINGS = f"[inbox]\nsettle_seconds = {SETTLE}\nrescan_seconds = 1\n"

#: Prints the digest of what it wrote, and the seconds of the longest time that the file was closed.
WRITER = """
import hashlib, os, sys, time
path, way, size, pieces, pause = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
block = os.urandom((1 << 20) - 8)
found, longest, closed, count = hashlib.sha256(), 0.0, None, 0
file = open(path, "wb", buffering=0)
for piece in range(int(pieces)):
    if piece:
        time.sleep(pause)
        if way == "closes":
            file = open(path, "ab", buffering=0)
    for _ in range(int(size / pieces) >> 20):
        data = count.to_bytes(8, "big") + block
        view = memoryview(data)
        while view:
            view = view[file.write(view):]
        if closed is not None:
            longest, closed = max(longest, time.monotonic() - closed), None
        found.update(data)
        count += 1
    if way == "closes":
        file.close()
        closed = time.monotonic()
file.close()
print(found.hexdigest(), longest)
"""


def write(path: Path, way: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), way, str(SIZE), str(PIECES), str(PAUSE)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def delivered(site: InboxSite) -> int:
    ((count,),) = site.rows("SELECT COUNT(*) FROM inbox_items WHERE state = 'delivered'")
    return int(count)


def test_a_big_file_in_pieces_is_taken_once_and_whole() -> None:
    with inbox_site(SETTINGS) as site:
        site.start()
        began = time.monotonic()
        writers = {way: write(site.inbox / f"{way}.raw", way) for way in ("closes", "keeps")}
        try:

            def all_written() -> bool:
                for (name,) in site.rows("SELECT name FROM inbox_items"):
                    taken = bytes(name).decode().removesuffix(".raw")
                    assert writers[taken].poll() is not None, f"{taken} was taken early"
                site.lives()
                return all(writer.poll() is not None for writer in writers.values())

            until("all is written", all_written, DEADLINE)
        finally:
            for writer in writers.values():
                writer.kill()
        written = time.monotonic() - began
        wanted = {}
        for way, writer in writers.items():
            digest, longest = str(writer.communicate()[0]).split()
            assert float(longest) < SETTLE, f"too slow a machine: {way} paused {longest} s"
            wanted[f"{way}.raw"] = digest
        site.until("both are delivered", lambda: delivered(site) == 2, DEADLINE)
        seconds = time.monotonic() - began
        site.end(signal.SIGTERM)
        print(
            f"2 files of {SIZE / MIB:.0f} MiB in {PIECES} pieces, {PAUSE} s between them, settle"
            f" time {SETTLE} s: written in {written:.1f} s, delivered {seconds - written:.1f} s"
            f" later, peak {site.peak / MIB:.0f} MiB resident",
            flush=True,
        )
        rows = site.rows(
            "SELECT f.name, f.size, f.sha256 FROM payload_files f JOIN jobs j"
            " ON j.payload = f.payload WHERE f.name LIKE 'input/%' ORDER BY f.name"
        )
        assert rows == [(f"input/{name}", SIZE, digest) for name, digest in sorted(wanted.items())]
        assert site.rows("SELECT COUNT(*) FROM inbox_items") == [(2,)]
        assert site.rows("SELECT COUNT(*) FROM jobs") == [(2,)]
        results = [json.loads(p.read_text()) for p in site.state.glob("outbox/ct/*/result.json")]
        assert {i["path"]: i["sha256"] for r in results for i in r["inputs"]} == wanted
        originals = list(site.state.glob("originals/ct/*/*"))
        assert {path.name: sha256(path) for path in originals} == wanted
        assert list(site.inbox.iterdir()) == []
        assert "Traceback" not in site.log()


def test_a_file_that_is_half_written_at_a_restart_is_not_taken_early() -> None:
    """Its last change may be long ago by then: this daemon waits for `settle_seconds` again."""
    settle = 2.0
    with inbox_site(f"[inbox]\nsettle_seconds = {settle}\n") as site:
        site.start()
        path = site.inbox / "scan.raw"
        path.write_bytes(b"half")
        seen = "SELECT COUNT(*) FROM inbox_seen"
        site.until("it is seen", lambda: site.rows(seen) == [(1,)], settle * 0.9)
        site.end(signal.SIGKILL)
        assert path.exists()
        time.sleep(settle)
        site.start()
        time.sleep(settle * 0.4)
        with path.open("ab") as file:  # fails where the path is taken: that would make a new one
            assert file.tell() == 4, "it was taken early"
            file.write(b" and half")
        site.until("it is delivered", lambda: delivered(site) == 1, DEADLINE)
        assert site.rows("SELECT COUNT(*) FROM jobs") == [(1,)]
        (original,) = site.state.glob("originals/ct/*/scan.raw")
        assert original.read_bytes() == b"half and half"
