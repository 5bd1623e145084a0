"""DICOM files, damaged at random, and read: a process of its own, so that memory counts.

`python -m tests.field.dicom_damage SEED COUNT` prints what came of it as JSON. A file that makes
the reader raise ends it, and is kept as `damaged-SEED-NUMBER.dcm` in the current folder.
"""

from __future__ import annotations

import json
import os
import random
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from claraedge.inbox.inspection.dicom import Identity, identify, name_of
from tests.field.dicom_corpus import samples
from tests.field.dicom_files import SEQUENCE_END, UNDEFINED, bare, item, long, short

#: The part of a file in which damage is to hit: its header.
_HEADER = 6000
_LARGEST = 100_000
#: Files after which memory is measured: caches have their size.
_WARM = 200
_HOSTILE = (
    0,
    1,
    2,
    7,
    0xFF,
    0xFFFE,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    UNDEFINED - 1,
    UNDEFINED,
)

Damage = Callable[[random.Random, bytearray, Sequence[bytes]], None]


def _flip(rng: random.Random, content: bytearray, others: Sequence[bytes]) -> None:
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(min(len(content), _HEADER))
        content[at] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, content: bytearray, others: Sequence[bytes]) -> None:
    del content[rng.randrange(min(len(content), _HEADER)) :]


def _length(rng: random.Random, content: bytearray, others: Sequence[bytes]) -> None:
    """A hostile number anywhere, in either size and order."""
    at = rng.randrange(min(len(content), _HEADER))
    form = rng.choice(["<I", ">I", "<H", ">H"])
    value = rng.choice(_HOSTILE) & (0xFFFFFFFF if form[1] == "I" else 0xFFFF)
    content[at : at + struct.calcsize(form)] = struct.pack(form, value)


def _insert(rng: random.Random, content: bytearray, others: Sequence[bytes]) -> None:
    """Something that is right, where it is not."""
    open_sequence = long(0x00081140, b"SQ", b"", UNDEFINED) + item(b"", UNDEFINED)
    part = rng.choice(
        [
            open_sequence, open_sequence * 50, SEQUENCE_END, bare(0xFFFEE00D, b""), bytes(8),
            short(0x0020000D, b"UI", b"9.9.9\0"), long(0x00091001, b"UN", b"", UNDEFINED),
            bare(0x00091001, b"", rng.choice(_HOSTILE)), rng.randbytes(rng.randint(1, 40)),
        ]
    )  # fmt: skip
    at = rng.randrange(min(len(content), _HEADER))
    content[at:at] = part


def _remove(rng: random.Random, content: bytearray, others: Sequence[bytes]) -> None:
    at = rng.randrange(min(len(content), _HEADER))
    del content[at : at + rng.randint(1, 64)]


def _join(rng: random.Random, content: bytearray, others: Sequence[bytes]) -> None:
    """The rest is another file's."""
    other = rng.choice(others)
    content[rng.randrange(min(len(content), _HEADER)) :] = other[rng.randrange(len(other)) :]


def _repeat(rng: random.Random, content: bytearray, others: Sequence[bytes]) -> None:
    at = rng.randrange(min(len(content), _HEADER))
    part = content[at : at + rng.randint(4, 200)]
    content[at:at] = part * rng.choice([2, 10, 1000])


_DAMAGES: Sequence[Damage] = (_flip, _cut, _length, _length, _insert, _remove, _join, _repeat)


def run(seed: int, count: int) -> dict[str, object]:
    rng = random.Random(seed)
    wholes = [path.read_bytes() for path in samples() if 200 < path.stat().st_size < _LARGEST]
    ends, slowest, warm = Counter[str](), 0.0, 0
    descriptor = os.memfd_create("damaged")
    for number in range(count):
        content = bytearray(rng.choice(wholes))
        for damage in rng.choices(_DAMAGES, k=rng.randint(1, 4)):
            if content:
                damage(rng, content, wholes)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
        began = time.thread_time()
        try:
            found = identify(descriptor)
            if isinstance(found, Identity):
                assert found.study
                assert name_of(found.study)
            else:
                assert found.reason
        except BaseException:
            Path(f"damaged-{seed}-{number}.dcm").write_bytes(content)
            raise
        slowest = max(slowest, time.thread_time() - began)
        ends["of a study" if isinstance(found, Identity) else found.reason.split(":")[0][:24]] += 1
        if number == min(_WARM, count // 2):
            warm = _peak()
    return {"slowest": slowest, "growth_kib": _peak() - warm, "ends": dict(ends)}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
