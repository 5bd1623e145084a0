"""Logs of operators: from the pieces that conmon writes to lines of text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.jobs.logs import JobLogs
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
        # A record that is being written at this moment waits for the next look.
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


@pytest.fixture
def logs(tmp_path: Path) -> JobLogs:
    return JobLogs(tmp_path)


def test_an_attempt_without_a_log_has_no_lines(logs: JobLogs) -> None:
    assert list(logs.lines("j", "op", 1)) == []
    assert logs.tail("j", "op", 1, 5) == []


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
