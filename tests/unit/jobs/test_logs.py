"""Logs of operators: from the pieces that conmon writes to lines of text."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.jobs.logs.log_holes import BLOCK, punch
from claraedge.jobs.logs.logs import JobLogs
from claraedge.runner.log_lines import MAX_LINE, decode

TIME = b"2026-01-01T00:00:00.000000000+01:00"


def record(text: bytes, kind: bytes = b"F", stream: bytes = b"stdout") -> bytes:
    return b" ".join([TIME, stream, kind, text]) + b"\n"


def lines(*records: bytes) -> list[str]:
    return list(decode([b"".join(records)]))


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ([], []),
        ([record(b"one"), record(b"two")], ["one\n", "two\n"]),
        ([record(b"")], ["\n"]),
        ([record(b"  a  b ")], ["  a  b \n"]),
        ([record(b"a", b"P"), record(b"b", b"P"), record(b"c")], ["abc\n"]),
        ([record(b"a", b"P"), record(b"")], ["a\n"]),
        # The streams are joined each by itself.
        (
            [record(b"a", b"P"), record(b"E", b"F", b"stderr"), record(b"b")],
            ["E\n", "ab\n"],
        ),
        # A line that nothing ends, as a killed operator leaves it.
        ([record(b"one"), record(b"half", b"P")], ["one\n", "half\n"]),
        # A record that is being written at this moment is returned by the next reading.
        ([record(b"one"), TIME + b" stdout F tw"], ["one\n"]),
        # A character that a piece cuts.
        ([record(b"\xe2\x98", b"P"), record(b"\x83")], ["\N{SNOWMAN}\n"]),
        ([record(b"\xff\xfe ok")], ["\ufffd\ufffd ok\n"]),
        ([record(b"\xe2\x98")], ["\ufffd\n"]),
        # What is no record is left out.
        ([b"\n", b"noise\n", record(b"one"), b"a b\n"], ["one\n"]),
        ([record(b"progress 1%\rprogress 2%")], ["progress 1%\rprogress 2%\n"]),
    ],
)
def test_records_become_lines(records: list[bytes], text: list[str]) -> None:
    assert lines(*records) == text


@given(st.lists(st.sampled_from([1, 2, 3, 7, 50]), max_size=40), st.integers(1, 9))
def test_it_does_not_matter_where_the_file_is_cut(sizes: list[int], step: int) -> None:
    content = b"".join(
        record(
            "ü☃".encode() * size, b"P" if size % 2 else b"F", b"stderr" if size > 6 else b"stdout"
        )
        for size in sizes
    )
    pieces = [content[at : at + step] for at in range(0, len(content), step)]
    assert list(decode(pieces)) == list(decode([content]))


@pytest.mark.parametrize("character", ["x", "ü", "\N{SNOWMAN}", "\U0001f4a9"])
def test_a_line_that_is_too_long_is_cut_between_characters(character: str) -> None:
    text = "a" + character * 100_000
    data = text.encode()
    pieces = [data[at : at + 8192] for at in range(0, len(data), 8192)]
    found = lines(*[record(p, b"P") for p in pieces[:-1]], record(pieces[-1]))
    assert "".join(line[:-1] for line in found) == text
    assert all(line.endswith("\n") for line in found)
    assert max(len(line.encode()) for line in found) <= MAX_LINE + 1
    assert min(len(line.encode()) for line in found[:-1]) > MAX_LINE - 4


def test_a_line_of_just_the_length_is_one_line() -> None:
    assert lines(record(b"x" * MAX_LINE)) == ["x" * MAX_LINE + "\n"]
    assert lines(record(b"x" * MAX_LINE, b"P"), record(b"")) == ["x" * MAX_LINE + "\n"]


def test_bytes_that_are_no_text_at_all_come_to_an_end() -> None:
    found = lines(record(b"\x80" * (3 * MAX_LINE)))
    assert sum(len(line) - 1 for line in found) == 3 * MAX_LINE


@pytest.mark.parametrize("attempt", [0, 1])
def test_an_attempt_that_wrote_nothing_has_no_lines(logs: JobLogs, attempt: int) -> None:
    if attempt:
        logs.prepare("j", "op", attempt)
    assert list(logs.lines("j", "op", attempt)) == []
    assert logs.tail("j", "op", attempt, 5) == []


def test_each_attempt_has_its_own_log(logs: JobLogs) -> None:
    for attempt in (1, 2):
        logs.prepare("j", "op", attempt).write_bytes(record(b"attempt %d" % attempt))
    assert list(logs.lines("j", "op", 2)) == ["attempt 2\n"]
    assert logs.path("j", "op", 1).parent.stat().st_mode & 0o777 == 0o700


def test_the_tail_is_the_last_lines(logs: JobLogs) -> None:
    path = logs.prepare("j", "op", 1)
    path.write_bytes(b"".join(record(b"line %d" % n) for n in range(10)))
    assert logs.tail("j", "op", 1, 2) == ["line 8\n", "line 9\n"]
    assert len(logs.tail("j", "op", 1, 100)) == 10


def test_the_tail_of_a_large_log_begins_with_a_whole_line(logs: JobLogs) -> None:
    path = logs.prepare("j", "op", 1)
    path.write_bytes(b"".join(record(b"line %06d" % n) for n in range(60_000)))
    found = logs.tail("j", "op", 1, 100_000)
    assert 1000 < len(found) < 60_000
    assert found[-1] == "line 059999\n"
    numbers = [int(line.split()[1]) for line in found]
    assert numbers == list(range(numbers[0], 60_000))


def test_a_log_that_grows_is_read_as_it_was(logs: JobLogs) -> None:
    path = logs.prepare("j", "op", 1)
    path.write_bytes(record(b"one") + record(b"two"))
    found = logs.lines("j", "op", 1)
    first = next(found)
    with path.open("ab") as file:
        file.write(record(b"three"))
    assert [first, *found] == ["one\n", "two\n"]


def hole(path: Path, start: int, end: int) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        punch(descriptor, start, end)
    finally:
        os.close(descriptor)


def numbered(first: int, count: int, kind: bytes = b"F") -> bytes:
    return b"".join(record(b"line %06d" % n, kind) for n in range(first, first + count))


def shown_gap(line: str) -> int:
    found = re.fullmatch(
        r"\[claraedge: ([\d,]+) bytes of this log were left out here;"
        r" it passed engine\.operator_log_mb\]\n",
        line,
    )
    assert found is not None, line
    return int(found[1].replace(",", ""))


def test_a_gap_is_one_line_and_every_byte_is_shown_or_counted(logs: JobLogs) -> None:
    path = logs.prepare("j", "op", 1)
    content = numbered(0, 18_000)
    path.write_bytes(content)
    hole(path, 2 * BLOCK, 9 * BLOCK)
    found = list(logs.lines("j", "op", 1))
    size = len(record(b"line 000000"))
    before, after = 2 * BLOCK // size, -(-9 * BLOCK // size)
    assert found[:before] == [f"line {n:06}\n" for n in range(before)]
    assert shown_gap(found[before]) == (after - before) * size
    assert found[before + 1 :] == [f"line {n:06}\n" for n in range(after, 18_000)]
    assert logs.tail("j", "op", 1, 30_000) == found[-30_000:]


def test_zeros_that_an_operator_prints_are_no_gap(logs: JobLogs) -> None:
    path = logs.prepare("j", "op", 1)
    zeros = record(b"\0" * 8000, b"P") * 100
    path.write_bytes(record(b"first") + zeros + record(b"") + record(b"last"))
    found = list(logs.lines("j", "op", 1))
    assert (found[0], found[-1]) == ("first\n", "last\n")
    assert "".join(line[:-1] for line in found[1:-1]) == "\0" * 800_000


def test_a_gap_within_a_long_line_shows_both_ends_of_it(logs: JobLogs) -> None:
    path = logs.prepare("j", "op", 1)
    stderr = record(b"err", b"P", b"stderr")
    path.write_bytes(
        record(b"first") + stderr + record(b"\xffab" * 2700, b"P") * 60 + record(b"last")
    )
    hole(path, BLOCK, 3 * BLOCK)
    found = list(logs.lines("j", "op", 1))
    gaps = [at for at, line in enumerate(found) if line.startswith("[claraedge")]
    assert len(gaps) == 1
    assert found[0] == "first\n"
    assert "err\n" in found[: gaps[0]], "the piece before the gap is not joined with one after it"
    middle = [line[:-1] for line in found[1:] if not line.startswith(("[", "err"))]
    assert set("".join(middle)) == set("\ufffdablst")
    assert found[-1].endswith("blast\n")
    assert max(len(line.encode("utf-8", "replace")) for line in found) <= 3 * MAX_LINE


@pytest.mark.parametrize("end", [3, 4])
def test_a_gap_that_reaches_the_end_is_reported(logs: JobLogs, end: int) -> None:
    path = logs.prepare("j", "op", 1)
    path.write_bytes(record(b"first") + record(b"x" * 8000) * (4 * BLOCK // 8000))
    os.truncate(path, 4 * BLOCK)
    hole(path, BLOCK, end * BLOCK)
    if end == 3:  # and what comes after it is one record that is not whole yet
        with path.open("r+b") as file:
            file.seek(3 * BLOCK)
            file.write(b"x" * BLOCK)
    found = list(logs.lines("j", "op", 1))
    kept = found[:-1]
    assert shown_gap(found[-1]) == 4 * BLOCK - len(record(b"first")) - (len(kept) - 1) * len(
        record(b"x" * 8000)
    )


def test_a_log_that_is_cut_while_it_is_read_shows_no_zeros(logs: JobLogs) -> None:
    path = logs.prepare("j", "op", 1)
    path.write_bytes(numbered(0, 100_000))  # more than is read at once
    found = logs.lines("j", "op", 1)
    first = next(found)
    hole(path, 8 * BLOCK, 80 * BLOCK)  # what was read is past its beginning
    rest = list(found)
    gaps = [line for line in rest if line.startswith("[claraedge")]
    assert len(gaps) == 1
    assert first == "line 000000\n"
    assert all(re.fullmatch(r"line \d{6}\n", line) for line in rest if line not in gaps)
    assert rest[-1] == "line 099999\n"


def test_the_tail_of_a_log_with_a_gap_in_its_last_megabyte(logs: JobLogs) -> None:
    path = logs.prepare("j", "op", 1)
    path.write_bytes(numbered(0, 60_000))
    size = path.stat().st_size
    hole(path, 10 * BLOCK, (size - BLOCK) // BLOCK * BLOCK)
    found = logs.tail("j", "op", 1, 100_000)
    assert found[-1] == "line 059999\n"
    assert found == [f"line {n:06}\n" for n in range(60_000 - len(found), 60_000)]
    assert logs.tail("j", "op", 1, 3) == found[-3:]


def test_reading_a_large_log_needs_little_memory(logs: JobLogs) -> None:
    path = logs.prepare("j", "op", 1)
    with path.open("wb") as file:
        for _ in range(40):
            file.write(record(b"x" * 8000, b"P") * 130)
    tracemalloc.start()
    try:
        assert sum(len(line) - 1 for line in logs.lines("j", "op", 1)) == 40 * 130 * 8000
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@given(st.data())
def test_lines_with_a_gap_are_lines_of_the_whole(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 9000), min_size=10, max_size=60))
    content = b"".join(record(b"%d:" % n + b"x" * size) for n, size in enumerate(sizes))
    blocks = len(content) // BLOCK
    start = data.draw(st.integers(0, blocks))
    end = data.draw(st.integers(start, blocks))
    with tempfile.TemporaryDirectory() as folder:
        logs = JobLogs(Path(folder))
        path = logs.prepare("j", "op", 1)
        path.write_bytes(content)
        whole = list(logs.lines("j", "op", 1))
        if end > start:
            hole(path, start * BLOCK, end * BLOCK)
        found = list(logs.lines("j", "op", 1))
    gaps = [at for at, line in enumerate(found) if line.startswith("[")]
    assert len(gaps) == (end > start)
    if gaps:
        (at,) = gaps
        after = found[at + 1 :]
        assert found[:at] == whole[:at]
        assert after == whole[len(whole) - len(after) :]
        prefix = len(record(b"")) - 1
        kept = sum(len(line) + prefix for line in found[:at] + after)
        assert shown_gap(found[at]) == len(content) - kept


def test_logs_that_were_removed_are_reported(logs: JobLogs) -> None:
    logs.prepare("j", "op", 1).write_bytes(record(b"one"))
    logs.prepare("other", "op", 1)
    shutil.rmtree(logs.folder("j"))
    (line,) = logs.lines("j", "op", 1)
    assert "were removed" in line
    assert "claraedge-engine, is kept" in line
    assert logs.tail("j", "op", 1, 5) == [line]
    assert list(logs.lines("j", "never-ran", 0)) == []
    assert list(logs.lines("other", "op", 1)) == [], "it wrote nothing yet"
