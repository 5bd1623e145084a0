"""Creates zip archives of folders as a stream, file by file. The only code that does so."""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

_STEP = 256 * 1024
#: The fastest compression, since weights hardly shrink. Entries are not stored uncompressed: with
#: the size after its data, a reader of the stream could not find the end of such an entry.
_LEVEL = 1


class _Sink(io.RawIOBase):
    """Buffers what the archive writes. It cannot seek, so that zipfile writes a pure stream."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._buffer += view
        return view.nbytes

    def drain(self) -> bytes:
        """Returns the buffered bytes, and empties the buffer."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data


def pack(
    root: Path,
    top: str,
    progress: Callable[[int], object] = lambda _: None,
    passes: Callable[[Path], bool] = lambda _: False,
) -> Generator[bytes, None, None]:
    """Yields the archive of a folder in pieces of any size, also empty ones.

    All names in it begin with `top`/. Reads at most 256 KiB between two pieces, and passes their
    number of bytes to `progress`. Links to files are followed. Paths for which `passes` is true are
    left out, with their content. Raises OSError, with the path, for a name that is not UTF-8 and
    for what is neither a file nor a folder, and for links to folders.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, folders, names in os.walk(root, onerror=_raise):  # noqa: TID251 the caller's
            below = Path(folder)
            folders[:] = sorted(name for name in folders if not passes(below / name))
            archive.writestr(_info(below, root, top), b"")
            for name in folders:
                if Path(folder, name).is_symlink():
                    raise OSError(errno.EINVAL, "is a link to a folder", str(below / name))
            for name in sorted(name for name in names if not passes(below / name)):
                yield from _file(archive, below / name, root, top, sink, progress)
            yield sink.drain()
    yield sink.drain()


def regroup(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yields the same bytes in pieces of `size` bytes; only the last may be shorter or empty.

    There is always at least one piece.
    """
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while len(buffer) > size:
            yield bytes(buffer[:size])
            del buffer[:size]
    yield bytes(buffer)


def _file(
    archive: zipfile.ZipFile,
    path: Path,
    root: Path,
    top: str,
    sink: _Sink,
    progress: Callable[[int], object],
) -> Iterator[bytes]:
    if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: a FIFO would block
        raise OSError(errno.EINVAL, "is neither a file nor a folder", str(path))
    info = _info(path, root, top)
    info.compress_type = zipfile.ZIP_DEFLATED
    info._compresslevel = _LEVEL  # type: ignore[attr-defined]  # has no public name before 3.13
    with path.open("rb") as source, archive.open(info, "w") as target:
        while data := source.read(_STEP):
            target.write(data)
            progress(len(data))
            yield sink.drain()


def _info(path: Path, root: Path, top: str) -> zipfile.ZipInfo:
    name = "/".join((top, *path.relative_to(root).parts))
    try:
        name.encode()
    except UnicodeEncodeError:
        raise OSError(errno.EILSEQ, "the name is not UTF-8; rename it", str(path)) from None
    return zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)


def _raise(error: OSError) -> None:
    raise error
