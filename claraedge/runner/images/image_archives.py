"""Explains why Podman cannot load a file as images, by what the file contains. Blocks.

Podman answers with the errors of each of its four readers (Podman 4.3, `images/load`), while the
person who copied the file needs one answer.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from pathlib import Path

from claraedge.blocking import CancelFlag
from claraedge.formats import filetypes

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
#: Entries of an archive that are read; further ones add no information.
_ENTRIES = 20_000
_SAVE = "write one with `docker save IMAGE -o image.tar`, or with `podman save`"
_AGAIN = "copy it again, and compare the sizes (or `sha256sum FILE` on both machines)"

#: Pattern of Podman's error for one format -> what is wrong with the archive, and what to do.
_SAID = (
    # containers/podman#2542; linuxserver/docker-kavita#2
    (r"insufficient UIDs or GIDs.*\(requested (?P<ids>\d+:\d+) for (?P<of>[^)]*)\)",
     "its file {of} belongs to the user and group {ids}, numbers that this account cannot give to"
     " containers (/etc/subuid and /etc/subgid); build the image with `--chown=0:0` at the `COPY`"
     " or `ADD` that brings the file"),
    (r"no image found in (?:image index|manifest list) for architecture (?P<of>[^,\s]+)",
     "none of its images is for this machine ({of}); save one that is:"
     " `docker pull --platform linux/{of} IMAGE`, then `docker save`"),
    (r"more than one image in oci, choose an image",
     "it holds several images without saying which is meant; save each as an archive of its own"),
    (r"invalid tag \"(?P<of>[^\"]*)\".*(?:must be lowercase|invalid reference)",
     "the name `{of}` in it is none that Podman accepts (names of images are in lower case); tag"
     " the image again, `docker tag ID name:tag`, and save it under that name"),
    (r"layer tarfiles are missing|(?:open|loading tar component) .*(?:no such file|does not exist)",
     "a part of the image is missing in it; save the image again, and copy it as it is"),
    (r"digest did not match|does not match the digest|mismatch",
     "a part of it does not have the content that it should have: it was changed on the way; "
     + _AGAIN),
    (r"unsupported image-specific operation on artifact|unsupported .*config",
     "what it holds is no image of a container, but a signature, a chart or another artifact; "
     + _SAVE),
    (r"external blob|foreign",
     "a layer of it is only named by an address, as in images of Windows; operators run images of"
     " Linux whose layers are all in the archive"),
    (r"(?:decoding|unmarshal|invalid character|rootfs is not set|parsing)",
     "its description of the image cannot be read; " + _SAVE),
)  # fmt: skip


def unpacked(flag: CancelFlag, archive: Path, scratch: Path) -> Path | None:
    """Writes the archive without gzip to `scratch` and returns that; None where it is not gzip.

    Podman 4.3 reads xz, bzip2 and zstd, but not gzip. Raises OSError, and ValueError with the
    reason where it cannot be unpacked.
    """
    with archive.open("rb") as file:
        if file.read(2) != _GZIP:
            return None
    try:
        with gzip.open(archive) as source, scratch.open("xb") as target:
            while part := source.read(1 << 20):
                flag.check()
                target.write(part)
    except EOFError as error:
        raise ValueError(f"it ends in the middle: it was copied in part; {_AGAIN}") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"it is damaged ({error}); {_AGAIN}") from error
    return scratch


def why(archive: Path, said: str) -> str:
    """Returns why Podman could not load the archive, and what to do. `said` is Podman's reason."""
    with archive.open("rb") as file:
        head = file.read(512)
    form = _no_tar(head)
    if form is not None:
        return form
    names, broken = _names(archive)
    if broken:
        return f"it ends in the middle: it was copied in part; {_AGAIN}"
    if not names & {"manifest.json", "index.json"}:
        return _other_tar(names)
    reader = "docker-archive" if "manifest.json" in names else "oci-archive"
    line = next((text for text in said.splitlines() if f"* {reader}:" in text), said)
    for pattern, words in _SAID:
        found = re.search(pattern, line, re.I)
        if found is not None:
            return words.format(**found.groupdict())
    return f"Podman says: {_short(line)}; {_SAVE}"


def _no_tar(head: bytes) -> str | None:
    """Returns what is wrong with a file by its first bytes; None where it may be a tar."""
    start = head.lstrip()[:64].lower()
    if not head.strip(b"\0"):
        return f"it holds nothing but zeros: it was copied in part; {_AGAIN}"
    if head.startswith(_ZIP):
        return "it is a zip archive; unpack it, and give the .tar that lies in it"
    if filetypes.is_page(head):
        return "it is a web page in place of the file; download it again in a browser"
    if start.startswith((b"{", b"[")):
        return (
            "it is a text in JSON, such as a registry's manifest, which names the parts of an image"
            f" and holds none; {_SAVE}"
        )
    return None


def _names(archive: Path) -> tuple[set[str], bool]:
    """Returns the names in a tar, without `./`, and whether it is truncated or no tar at all."""
    names: set[str] = set()
    try:
        with tarfile.open(archive) as tar:
            for entry in tar:
                names.add(entry.name.removeprefix("./"))
                if len(names) > _ENTRIES:
                    break
            end = tar.offset
    except tarfile.ReadError as error:
        return names, bool(names) or "unexpected end" in str(error)
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, RecursionError):
        return names, True
    return names, end > archive.stat().st_size and tarfile.is_tarfile(archive)


def _other_tar(names: set[str]) -> str:
    if not names:
        return f"it is no archive of an image; {_SAVE}"
    inner = next((n for n in names if n.endswith(("/manifest.json", "/index.json"))), None)
    if inner is not None:
        folder = inner.rpartition("/")[0]
        return (
            f"the image lies in the folder `{folder}` of it; unpack it, and pack what is in that"
            f" folder: `tar -cf image.tar -C {folder} .`"
        )
    tops = {name.split("/", 1)[0] for name in names}
    if len(tops & {"bin", "etc", "usr", "var", "lib"}) > 1:
        return (
            "it is the file tree of a container, as `docker export` writes it, and no image;"
            f" {_SAVE}"
        )
    return f"it is a tar without an image (no manifest.json or index.json in it); {_SAVE}"


def _short(line: str) -> str:
    """Returns Podman's message without the names of its temporary files."""
    text = re.sub(
        r"(?:oci:|docker-archive:)?/\S*/(?:libpod-images-load|oci|storage)\S*\d+:?", "", line
    )
    return " ".join(text.removeprefix(" * ").split())
