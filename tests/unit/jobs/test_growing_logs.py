"""Logs that are read while they are written, with real holes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.jobs.logs.log_holes import BLOCK, punch
from claraedge.jobs.logs.logs import JobLogs
from claraedge.runner.log_lines import decode

TIME = b"2026-01-01T00:00:00.000000000+01:00"


def record(text: bytes, kind: bytes = b"F", stream: bytes = b"stdout") -> bytes:
    return b" ".join([TIME, stream, kind, text]) + b"\n"


@pytest.fixture
def logs(tmp_path: Path) -> JobLogs:
    return JobLogs(tmp_path)


def append(logs: JobLogs, data: bytes) -> Path:
    path = logs.prepare("j", "o", 1)
    with path.open("ab") as file:
        file.write(data)
    return path


def test_lines_come_once_as_they_are_completed(logs: JobLogs) -> None:
    with logs.grows("j", "o", 1, 0) as log:
        assert log.more() == []  # there is no file yet
        append(logs, record(b"one") + record(b"tw", b"P"))
        assert log.more() == ["one\n"]
        assert log.more() == []
        append(logs, record(b"o") + record(b"three")[:-3])
        assert log.more() == ["two\n"]
        append(logs, record(b"three")[-3:] + record(b"E", b"F", b"stderr"))
        assert log.more() == ["three\n", "E\n"]
        append(logs, record(b"half", b"P"))
        assert (log.more(), log.rest(), log.rest()) == ([], ["half\n"], [])


def test_a_tail_is_followed_by_everything_new(logs: JobLogs) -> None:
    append(logs, b"".join(record(b"%d" % n) for n in range(100)))
    with logs.grows("j", "o", 1, 3) as log:
        assert log.more() == ["97\n", "98\n", "99\n"]
        assert log.more() == []
        append(logs, b"".join(record(b"%d" % n) for n in range(100, 110)))
        assert log.more() == [f"{n}\n" for n in range(100, 110)]


def test_a_tail_of_a_long_log_reads_its_end(logs: JobLogs) -> None:
    append(logs, b"".join(record(b"x" * 1000 + b"%d" % n) for n in range(4000)))
    with logs.grows("j", "o", 1, 5) as log:
        assert [line[1000:] for line in log.more()] == [f"{n}\n" for n in range(3995, 4000)]
    with logs.grows("j", "o", 1, 0) as log:
        found = []
        while lines := log.more():
            assert sum(map(len, lines)) <= 2 << 20
            found += lines
        assert len(found) == 4000


def test_the_part_that_was_left_out_is_named_and_what_follows_is_whole(logs: JobLogs) -> None:
    path = append(logs, b"".join(record(b"x" * 1000 + b"%d" % n) for n in range(1000)))
    with path.open("r+b") as file:
        punch(file.fileno(), BLOCK, 8 * BLOCK)
    with logs.grows("j", "o", 1, 0) as log:
        found = log.more() + log.more() + log.more()
        whole = logs.lines("j", "o", 1)
        assert found == list(whole)
        (gap,) = [n for n, line in enumerate(found) if line.startswith("[claraedge: ")]
        assert found[gap + 1].endswith("\n") and found[-1][1000:] == "999\n"  # noqa: PT018
        append(logs, record(b"new"))
        assert log.more() == ["new\n"]


def test_a_reader_that_is_overtaken_by_a_hole_continues_behind_it(logs: JobLogs) -> None:
    append(logs, record(b"first"))
    with logs.grows("j", "o", 1, 0) as log:
        assert log.more() == ["first\n"]
        path = append(logs, b"".join(record(b"x" * 1000 + b"%d" % n) for n in range(1000)))
        with path.open("r+b") as file:
            punch(file.fileno(), BLOCK, 8 * BLOCK)
        found = log.more() + log.more() + log.more()
    assert found[0][1000:] == "0\n"
    assert found[-1][1000:] == "999\n"
    assert sum(line.startswith("[claraedge: ") for line in found) == 1
    assert not any("\0" in line for line in found)


_RECORDS = st.lists(
    st.builds(
        record,
        st.binary(max_size=30).filter(lambda text: b"\n" not in text),
        st.sampled_from([b"F", b"P"]),
        st.sampled_from([b"stdout", b"stderr"]),
    ),
    max_size=20,
)


@given(_RECORDS, st.lists(st.integers(0, 400), max_size=6))
def test_however_it_is_written_it_is_read_as_the_whole(
    records: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(records)
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        logs = JobLogs(Path(folder))
        with logs.grows("j", "o", 1, 0) as log:
            begin = 0
            for cut in [*sorted(cuts), len(data)]:
                append(logs, data[begin : max(begin, cut)])
                begin = max(begin, cut)
                found += log.more()
            found += log.more() + log.rest()
    assert found == list(decode([data]))
