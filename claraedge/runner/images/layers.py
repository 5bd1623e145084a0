"""Podman's records of images and layers, and a check of the files against them. Blocks.

Podman 4.3 has no check of its own (`podman system check` came with 5.0), and its storage syncs no
file of a layer: after a power cut, recently written files are empty, contain zeros, or are missing,
and nothing reports it (containers/podman#5986, #8005, containers/storage#1064). For each layer it
keeps `tar-split`: the layer's tar with a name and a size in place of each file's content.

Source of the formats: containers/storage (layers.json, images.json), vbatts/tar-split.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from claraedge.decoding import decode_json

_BLOCK = 512
#: Offset of the entry type in a tar header.
_KIND = 156
_FILES, _FOLDER, _LINKS = "07\0", "5", "12"
_WHITEOUT = ".wh."
_READ = 1 << 20
_SHORT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as Podman recorded it."""

    id: str
    diff: Path
    """The folder with its files."""
    notes: Path
    """Its tar-split file, which is missing for a layer that was not created from a tar."""
    digest: str
    """`sha256:...` of its tar; empty where that is not recorded."""


@dataclass(frozen=True, slots=True)
class TarSplitEntry:
    """A piece of a layer's tar: raw bytes, or the name and size (bytes) of the file
    that follows.
    """

    raw: bytes = b""
    name: str = ""
    size: int = 0
    kind: str = ""


class DamageError(Exception):
    """A layer differs from what was stored; the message says how."""

    def __init__(self, layer: str, what: str) -> None:
        super().__init__(f"its layer {layer[:_SHORT]} is damaged: {what}")
        self.layer = layer


class _NotedImage(msgspec.Struct):
    id: str
    names: list[str] | None = None
    layer: str = ""


class _NotedLayer(msgspec.Struct):
    id: str
    parent: str = ""
    digest: str = msgspec.field(name="diff-digest", default="")


class _NotedEntry(msgspec.Struct):
    type: int
    name: str = ""
    name_raw: str = ""
    size: int = 0
    payload: str | None = None


class Storage:
    """A snapshot of Podman's records in its image folder. Supports only native and fuse overlay."""

    def __init__(self, root: Path) -> None:
        """Raises OSError or msgspec.MsgspecError where the records cannot be read."""
        self._root = root
        images, layers = root / "overlay-images/images.json", root / "overlay-layers/layers.json"
        self._images = decode_json(images.read_bytes(), list[_NotedImage])
        noted = decode_json(layers.read_bytes(), list[_NotedLayer])
        self._layers = {layer.id: layer for layer in noted}

    def ids(self) -> Sequence[str]:
        """Returns the ids of all images."""
        return [image.id for image in self._images]

    def names(self, image: str) -> Sequence[str]:
        """Returns the names of an image."""
        return [name for found in self._images if found.id == image for name in found.names or ()]

    def identify(self, reference: str) -> str | None:
        """Returns the id of the image that has this full name or id; None where none has."""
        wanted = reference.removeprefix("sha256:")
        for image in self._images:
            if image.id == wanted or reference in (image.names or ()):
                return image.id
        return None

    def layers(self, image: str) -> Sequence[Layer]:
        """Returns the layers of an image, the lowest last; none where the image is not stored here.

        Raises DamageError where a layer is not recorded.
        """
        found = next((noted for noted in self._images if noted.id == image), None)
        chain, name = [], "" if found is None else found.layer
        while name:
            noted = self._layers.get(name)
            if noted is None:
                raise DamageError(name, "Podman's list of layers has lost it")
            chain.append(
                Layer(
                    id=name,
                    diff=self._root / "overlay" / name / "diff",
                    notes=self._root / "overlay-layers" / f"{name}.tar-split.gz",
                    digest=noted.digest,
                )
            )
            name = noted.parent
        return chain

    def users(self, layer: str) -> Sequence[str]:
        """Returns the ids of the images that use a layer."""
        return [image.id for image in self._images if self._uses(image.layer, layer)]

    def _uses(self, top: str, layer: str) -> bool:
        while top and top != layer:
            noted = self._layers.get(top)
            top = "" if noted is None else noted.parent
        return bool(top)


def is_noted(layer: Layer) -> bool:
    """Whether the content of the layer's folder is recorded; with composefs the files are
    elsewhere.
    """
    return layer.notes.exists() and not (layer.diff.parent / "composefs-data").exists()


def compare_sizes(layer: Layer, *, check: Callable[[], None] = lambda: None) -> int:
    """Compares the size of each file of a layer without reading it. Raises DamageError.

    Returns a number that changes only when the files change. `check` is called often, and may
    raise. Files that this user may not see are skipped.
    """
    if not layer.diff.is_dir():
        raise DamageError(layer.id, "its folder is gone")
    if not is_noted(layer):
        return 0
    wanted: dict[str, TarSplitEntry] = {}
    for entry in entries(layer):
        if entry.name and not Path(entry.name).name.startswith(_WHITEOUT):
            wanted[entry.name] = entry
    state = 0
    wrong: list[str] = []
    for number, (name, entry) in enumerate(wanted.items()):
        if number % 1000 == 0:
            check()
        try:
            found = os.lstat(layer.diff / name)
        except PermissionError:
            continue
        except (FileNotFoundError, NotADirectoryError):
            if entry.kind in _FILES + _FOLDER + _LINKS:  # a rootless user cannot create devices
                wrong.append(f"{name} is missing")
            continue
        except OSError as error:
            wrong.append(f"{name} cannot be read ({error.strerror})")
            continue
        state = hash((state, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
        if entry.kind in _FILES and entry.size and found.st_size != entry.size:
            wrong.append(f"{name} has {found.st_size} of {entry.size} bytes")
    if wrong:
        more = f", and {len(wrong) - 1} more such" if len(wrong) > 1 else ""
        raise DamageError(layer.id, wrong[0] + more)
    return state


def paths(layer: Layer) -> bytes:
    """Returns the non-empty files of a layer in the order of its tar, each followed by
    a NUL byte.
    """
    return b"".join(
        os.fsencode(layer.diff / entry.name) + b"\0" for entry in entries(layer) if entry.size
    )


def compare_contents(
    layer: Layer, contents: int, *, check: Callable[[], None] = lambda: None
) -> None:
    """Raises DamageError where a layer's tar is not the one that was stored.

    `contents`: a descriptor from which the contents of the files of `paths` are read, one after the
    other. `check` is called often, and may raise.
    """
    found = hashlib.sha256()
    for entry in entries(layer):
        found.update(entry.raw)
        left = entry.size
        while left:
            check()
            part = os.read(contents, min(left, _READ))
            if not part:
                raise DamageError(layer.id, f"{entry.name} cannot be read as a whole")
            found.update(part)
            left -= len(part)
    if f"sha256:{found.hexdigest()}" != layer.digest:
        raise DamageError(layer.id, "its files do not have the content that they had")


def entries(layer: Layer) -> Iterator[TarSplitEntry]:
    """Yields the pieces of a layer's tar in their order. Raises DamageError where the tar-split
    file itself is damaged.
    """
    kind = ""
    try:
        if not layer.notes.stat().st_size:
            raise EOFError  # gzip would accept an empty file as complete
        with gzip.open(layer.notes) as file:
            for line in file:
                noted = decode_json(line, _NotedEntry)
                payload = base64.b64decode(noted.payload or "")
                if noted.type != 1:
                    kind = chr(payload[_KIND - _BLOCK]) if len(payload) >= _BLOCK else ""
                    yield TarSplitEntry(raw=payload)
                    continue
                raw = base64.b64decode(noted.name_raw)
                name = os.fsdecode(raw) if raw else noted.name
                size = noted.size if noted.payload else 0
                yield TarSplitEntry(name=name.strip("/"), size=size, kind=kind)
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError, binascii.Error) as error:
        raise DamageError(layer.id, "Podman's own notes about it cannot be read") from error
