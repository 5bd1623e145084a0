"""Unpacking: hostile archives leave nothing outside, and take neither disk nor memory."""

from __future__ import annotations

import os
import random
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from hostile import CONFIG, claiming, directory, link, patched, sound, special, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claraedge.blocking import CancelFlag, CancelledWorkError
from claraedge.errors import InvalidModelError, StorageFullError
from claraedge.formats import zips
from claraedge.models import archive
from claraedge.models.archive import unpack


def unpacked(folder: Path, data: bytes, wanted: str = "") -> Path:
    source = folder / "archive.zip"
    source.write_bytes(data)
    return folder / "tree" / unpack(CancelFlag(), source, folder / "tree", wanted).name


def test_a_model_is_unpacked_readable_for_all_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        root = unpacked(tmp_path, zipped(sound(special("m/1/run", stat.S_IFREG | 0o4711, b"x"))))
    finally:
        os.umask(before)
    modes = {
        p.relative_to(root).as_posix(): stat.S_IMODE(p.stat().st_mode) for p in root.rglob("*")
    }
    assert modes == {
        "config.pbtxt": 0o644,
        "1": 0o755,
        "1/model.onnx": 0o644,
        "1/run": 0o755,
    }
    assert stat.S_IMODE(root.stat().st_mode) == stat.S_IMODE(root.parent.stat().st_mode) == 0o755


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_bytes_and_empty_folders_are_kept(tmp_path: Path, method: int) -> None:
    weights = random.Random(0).randbytes(3 * 2**20 + 1)
    root = unpacked(
        tmp_path, zipped([*sound(("m/1/assets/", b"")), ("m/1/w", weights), ("m/1/e", b"")], method)
    )
    assert (root / "1/w").read_bytes() == weights
    assert (root / "1/e").read_bytes() == b""
    assert (root / "1/assets").is_dir()


def test_names_in_utf8_are_taken_with_the_flag_and_without(tmp_path: Path) -> None:
    flagged = zipped(sound(("m/1/Lärm", b"x")))
    plain = bytearray(flagged)
    for at in directory(flagged):
        (local,) = struct.unpack_from("<I", plain, at + 42)
        for place in (at + 8, local + 6):
            struct.pack_into("<H", plain, place, 0)
    for number, data in enumerate((flagged, bytes(plain))):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert (unpacked(folder, data) / "1/Lärm").read_bytes() == b"x"


def test_the_upload_may_name_files_that_lie_at_the_top(tmp_path: Path) -> None:
    entries = [("config.pbtxt", CONFIG), ("1/model.onnx", b"w")]
    assert unpacked(tmp_path, zipped(entries), "m").name == "m"


def test_without_any_other_name_the_configuration_says_it(tmp_path: Path) -> None:
    entries = [("config.pbtxt", CONFIG), ("1/model.onnx", b"w")]
    assert unpacked(tmp_path, zipped(entries)).name == "m"


BAD_NAME = patched(zipped(sound(("m/1/xxxx", b""))), b"m/1/xxxx", b"m/1/\xff\xfexx")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (zipped(sound(("/etc/evil", b""))), "absolute"),
        (zipped(sound(("m/../../evil", b""))), r"'\.\.'"),
        (zipped(sound(link("m/1/link"))), "link or a device"),
        (zipped(sound(link("m/2"), ("m/2/evil", b""))), "link or a device"),
        (zipped(sound(special("m/dev", stat.S_IFBLK | 0o666))), "link or a device"),
        (patched(zipped(sound(("m/1/m2del.onnx", b""))), b"m2del", b"model"), "twice"),
        (patched(zipped(sound(("m/1/a?b", b""))), b"m/1/a?b", b"m/1/a\0b"), "control character"),
        (zipped(sound(("m\\1\\..\\..\\..\\evil", b""))), r"'\.\.'"),
        (zipped(sound(("\\evil", b""))), "absolute"),
        (BAD_NAME, "does not say their encoding"),
        (claiming(BAD_NAME, 2, flags=0x800), "is damaged"),
        (claiming(zipped(sound()), 1, flags=0x1), "encrypted"),
        (zipped(sound(("m/1/x", b"x")), zipfile.ZIP_BZIP2), "bzip2"),
        (zipped(sound(("m/1/x", b"x")), zipfile.ZIP_LZMA), "LZMA"),
        (zipped(sound(("m/1/zeros", bytes(64 * 2**20)))), "more than 100 times"),
        (zipped(sound(*[(f"m/1/{n}", b"") for n in range(10_000)])), "10002 entries"),
        (zipped(sound(*[(f"m/1/{n:0250}", b"") for n in range(9_000)])), "directory is larger"),
        (zipped([("m/1/w", b"w")]), "holds no config.pbtxt"),
        (zipped([("m/config.pbtxt", b"backend: 'x'"), ("m/1/w", b"")]), "does not say which"),
        (zipped([("m/config.pbtxt", b"name: 'n'"), ("m/1/w", b"")]), "'n', the model 'm'"),
        (zipped([("m/config.pbtxt", b"#" * (2**20 + 1)), ("m/1/w", b"")]), "larger than 1048576"),
        (zipped([("config.pbtxt", b"name: '../x'"), ("1/w", b"")]), "a slash"),
        (zipped(sound())[:-40], "whose end is missing"),
        (patched(zipped(sound(), zipfile.ZIP_STORED), b"weights", b"WEIGHTS"), "CRC"),
    ],
)  # fmt: skip
def test_a_hostile_archive_is_refused_before_anything_is_outside(
    tmp_path: Path, data: bytes, text: str
) -> None:
    with pytest.raises(InvalidModelError, match=text):
        unpacked(tmp_path, data)
    assert {p.name for p in tmp_path.iterdir()} <= {"archive.zip", "tree"}


def test_a_size_that_is_not_true_is_noticed_in_both_directions(tmp_path: Path) -> None:
    data = zipped(sound(("m/1/x", b"x" * 1000)))
    for size in (10, 2000):
        folder = tmp_path / str(size)
        folder.mkdir()
        with pytest.raises(InvalidModelError):
            unpacked(folder, claiming(data, 2, size=size))


def test_entries_that_share_their_bytes_count_each_for_itself(tmp_path: Path) -> None:
    """A bomb of overlapping entries: one kernel of zeros, named a thousand times."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = kernel.compress(bytes(2**20)) + kernel.flush()
    crc = zlib.crc32(bytes(2**20))
    name = b"m/1/x0000"
    head = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(packed), 2**20, 9, 0)
    start = zipped(sound())
    body = start[: min(directory(start))] + head + name + packed
    entries = [start[min(directory(start)) : start.find(b"PK\x05\x06")]]
    for number in range(1000):
        entries.append(
            struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, len(packed), 2**20,
                        9, 0, 0, 0, 0, 0, min(directory(start)))
            + f"m/1/x{number:04}".encode()
        )  # fmt: skip
    listing = b"".join(entries)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1002, 1002, len(listing), len(body), 0)
    with pytest.raises(InvalidModelError, match="more than 100 times"):
        unpacked(tmp_path, body + listing + end)


def test_what_cannot_fit_on_the_disk_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def full(path: Path) -> os.statvfs_result:
        found = list(real(path))
        found[4] = 0  # f_bavail
        return os.statvfs_result(found)

    monkeypatch.setattr(archive.os, "statvfs", full)
    with pytest.raises(StorageFullError, match="0 are free"):
        unpacked(tmp_path, zipped(sound()))
    assert not (tmp_path / "tree").exists()


def test_a_caller_that_disappears_ends_the_work(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_bytes(zipped(sound()))
    flag = CancelFlag()
    flag.set()
    with pytest.raises(CancelledWorkError):
        unpack(flag, tmp_path / "archive.zip", tmp_path / "tree", "")


def test_every_file_and_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = set()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    root = unpacked(tmp_path, zipped(sound(("m/1/assets/", b""))))
    assert synced >= {root.parent, root, *root.rglob("*")}


SOUND = zipped(sound(("m/1/more", b"x" * 5000), ("m/1/assets/", b"")))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=12
    ),
    st.integers(0, len(SOUND)),
)
def test_no_damage_raises_anything_but_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    data = bytearray(SOUND)
    for at, value in changes:
        data[at] = value
    try:
        root = unpacked(folder, bytes(data[: cut if cut % 4 == 0 else len(data)]))
    except (InvalidModelError, StorageFullError) as error:
        assert all(error.messages)  # noqa: PT017
    else:
        assert (root / "config.pbtxt").read_bytes() == CONFIG
    assert {p.name for p in folder.iterdir()} <= {"archive.zip", "tree"}


def test_a_large_model_is_packed_and_unpacked_in_little_memory(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from claraedge.formats import zips
from claraedge.blocking import CancelFlag
from claraedge.models.archive import unpack
folder = Path(sys.argv[1])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
with (folder / "a.zip").open("wb") as file:
    for piece in zips.pack(folder / "m", "m"):
        file.write(piece)
unpack(CancelFlag(), folder / "a.zip", folder / "tree", "m")
print(peak() - before)
"""
    (tmp_path / "m/1").mkdir(parents=True)
    (tmp_path / "m/config.pbtxt").write_bytes(CONFIG)
    with (tmp_path / "m/1/w").open("wb") as file:
        for _ in range(128):
            file.write(random.Random(0).randbytes(2**20))
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(archive.__file__).parents[2])},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 24  # MiB, of 128
    assert (tmp_path / "tree/m/1/w").stat().st_size == 128 * 2**20


def test_a_packed_folder_is_a_zip_that_others_can_read_as_a_stream(tmp_path: Path) -> None:
    root = tmp_path / "m"
    (root / "1" / "empty").mkdir(parents=True)
    (root / "config.pbtxt").write_bytes(CONFIG)
    (root / "1/w").write_bytes(b"w" * 100_000)
    (root / "1/linked").symlink_to(root / "1/w")
    os.utime(root / "1/w", (0, 0))  # before any time that a zip can hold
    data = b"".join(zips.pack(root, "m"))
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with zipfile.ZipFile(path) as made:
        assert made.testzip() is None
        assert made.namelist() == [
            "m/", "m/config.pbtxt", "m/1/", "m/1/linked", "m/1/w", "m/1/empty/",
        ]  # fmt: skip
        for info in made.infolist():
            if not info.is_dir():  # the end of a plain entry without a size cannot be seen
                assert info.compress_type == zipfile.ZIP_DEFLATED


def test_names_that_no_archive_can_contain_are_reported(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"")
    with pytest.raises(OSError, match="not UTF-8"):
        list(zips.pack(tmp_path, "m"))


def test_regrouped_pieces_are_the_same_bytes() -> None:
    pieces = [b"", b"abc", b"defgh", b"", b"i"]
    assert list(zips.regroup(pieces, 4)) == [b"abcd", b"efgh", b"i"]
    assert list(zips.regroup([b"abcd"], 4)) == [b"abcd"]
    assert list(zips.regroup([], 4)) == [b""]
