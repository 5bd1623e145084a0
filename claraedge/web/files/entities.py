"""What the headers of a request and an answer say of a file: its type, its name, its ETag, a range.

Sources: RFC 9110 (conditions and ranges), RFC 6266 and 8187 (Content-Disposition).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import quote

from claraedge.errors import FileChangedError, FileRangeError
from claraedge.web.http.failures import refused
from claraedge.web.http.headers import Headers
from claraedge.wire.claraedge.v1 import files_pb2

#: Content types by the end of a name. Not from the system, which may have any: what a browser runs
#: must not depend on it.
_TYPES = {
    "bmp": "image/bmp",
    "csv": "text/csv; charset=utf-8",
    "dcm": "application/dicom",
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "log": "text/plain; charset=utf-8",
    "md": "text/plain; charset=utf-8",
    "mp4": "video/mp4",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "txt": "text/plain; charset=utf-8",
    "webm": "video/webm",
    "webp": "image/webp",
    "xml": "application/xml",
    "yaml": "text/plain; charset=utf-8",
    "yml": "text/plain; charset=utf-8",
    "zip": "application/zip",
}
_ANY = "application/octet-stream"
#: What a browser may show in place of saving it. In the sandbox nothing of it runs, and it cannot
#: read anything of this device. PDF viewers do not work in a sandbox.
_SHOWN = frozenset(
    {"bmp", "gif", "htm", "html", "jpeg", "jpg", "json", "log", "md", "mp4", "png", "svg", "txt"}
    | {"webm", "webp", "xml", "yaml", "yml"}
)
#: Files are content of others: operators wrote them, or anybody who may drop files.
_HOSTILE = {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
#: Characters of RFC 8187 that need no encoding, besides letters and digits.
_PLAIN = "!#$&+-.^_`|~"
#: Characters that make a name seem to be another one, or end a header.
_TRICKS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_NOT_ASCII = re.compile(r"[^ !#$&'()+,\-.0-9=@A-Z\[\]^_`a-z{}~]")
_TAG = re.compile(r'\s*(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)')
_RANGE = re.compile(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.IGNORECASE)


def disposition(name: str, *, shown: bool) -> str:
    """Returns Content-Disposition for the last part of a name. `shown`: a browser may show it."""
    name = _TRICKS.sub("_", name.rpartition("/")[2]).strip() or "file"
    plain = _NOT_ASCII.sub("_", name)
    kind = "inline" if shown else "attachment"
    extended = f"; filename*=UTF-8''{quote(name, safe=_PLAIN)}" if plain != name else ""
    return f'{kind}; filename="{plain}"{extended}'


def headers_of(file: files_pb2.FileInfo, *, save: bool) -> dict[str, str]:
    """Returns the headers of a file. `save`: a browser saves it, whatever it is."""
    ending = _ending(file.name)
    found = {
        **_HOSTILE,
        "Content-Type": _TYPES.get(ending, _ANY),
        "Content-Disposition": disposition(file.name, shown=ending in _SHOWN and not save),
        "Cache-Control": "private, no-cache",
        "ETag": f'"{file.etag}"',
        "Accept-Ranges": "bytes",
    }
    if file.HasField("modified"):
        found["Last-Modified"] = formatdate(file.modified.seconds, usegmt=True)
    return found


def zip_headers(name: str) -> dict[str, str]:
    """Returns the headers of a folder as zip."""
    return {
        **_HOSTILE,
        "Content-Type": "application/zip",
        "Content-Disposition": disposition(f"{name}.zip", shown=False),
    }


def _ending(name: str) -> str:
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return ending.lower() if dot else ""


# --- conditions --------------------------------------------------------------------------------


def tags(value: str) -> list[str] | None:
    """Returns the ETags of a condition, without quotes; `*` for any; None where it has no form.

    Weak ones count like strong ones.
    """
    if value.strip() == "*":
        return ["*"]
    found, at = [], 0
    while at < len(value):
        matched = _TAG.match(value, at)
        if matched is None:
            return None
        found.append(matched[1][1:-1])
        at = matched.end()
    return found or None


def is_unchanged(headers: Headers, file: files_pb2.FileInfo) -> bool:
    """Returns whether the client has this content already: then 304 is the answer.

    Raises HttpError (412) for a file that does not meet If-Match.
    """
    wanted = headers.get("if-match")
    if wanted is not None:
        strong = [] if "W/" in wanted else tags(wanted) or []
        if "*" not in strong and file.etag not in strong:
            raise refused(
                FileChangedError(
                    f"the file {file.name!r} has the ETag {file.etag}, which If-Match does not"
                    " name; ask for it again"
                ),
            )
    had = tags(headers.get("if-none-match") or "") or []
    return "*" in had or file.etag in had


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file."""

    offset: int
    size: int


def part_of(headers: Headers, file: files_pb2.FileInfo) -> Part | None:
    """Returns the range that a request asks for; None for the whole file.

    The whole file is sent for several ranges, for units and forms that are not known, and where
    If-Range names another content. Raises HttpError (416) for a range after the end.
    """
    matched = _RANGE.fullmatch(headers.get("range") or "")
    same = headers.get("if-range")
    if matched is None or (same is not None and same.strip() != f'"{file.etag}"'):
        return None
    first, last = matched[1][:20], matched[2][:20]
    if not first and not last:
        return None
    if not first:
        size = min(int(last), file.size)
        offset = file.size - size
    else:
        offset = int(first)
        end = int(last) if last else file.size - 1
        if end < offset and last:
            return None
        size = min(end, file.size - 1) - offset + 1
    if size <= 0:
        raise refused(
            FileRangeError(
                f"the file {file.name!r} has {file.size} bytes, and none in the range that the"
                " request asks for; ask for an earlier one"
            ),
            Content_Range=f"bytes */{file.size}",
        )
    return Part(offset, size)
