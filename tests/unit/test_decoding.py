"""Typed JSON is read by any number of threads, also the first time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from claraedge.decoding import decode_json

_ROOT = Path(__file__).resolve().parents[2]
#: New types all the time, each met by four threads at once.
_RACE = """
import sys
import threading
import msgspec
from claraedge.decoding import decode_json
sys.setswitchinterval(1e-6)
TEXT = b'{"a": [{"a": "x", "b": 1}], "b": {"k": {"a": "x", "b": 1}}, "c": 1, "d": ["x"]}'
for _ in range(200):
    class Inner(msgspec.Struct):
        a: str
        b: int
    class Outer(msgspec.Struct):
        a: list[Inner]
        b: dict[str, Inner]
        c: int | str
        d: tuple[str, ...]
    gate, found = threading.Barrier(4), []
    def read():
        gate.wait()
        found.append(decode_json(TEXT, Outer))
    threads = [threading.Thread(target=read) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 4
"""


def test_threads_that_meet_a_type_first_at_once_all_read_it() -> None:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run([sys.executable, "-c", _RACE], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def test_what_is_not_of_the_type_is_refused() -> None:
    assert decode_json(b"[1, 2]", list[int]) == [1, 2]
    with pytest.raises(msgspec.ValidationError):
        decode_json(b'["1"]', list[int])
    with pytest.raises(msgspec.DecodeError):
        decode_json(b"[1", list[int])


@pytest.mark.parametrize("content", [b'"\xe9"', b"[" * 100_000 + b"]" * 100_000, b"9" * 5000])
def test_what_cannot_be_read_at_all_is_refused_as_well(content: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_json(content, dict[str, object])
