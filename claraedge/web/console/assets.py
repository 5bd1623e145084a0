"""The static files of the console.

Their addresses contain a digest of their content, so that a browser keeps each of them for ever,
and asks for another one after an upgrade.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from claraedge.web.http.compression import accepts
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route

ROOT = "/ui/assets"
_KINDS = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    """A static file."""

    kind: str
    content: bytes
    packed: bytes
    """Compressed by gzip."""
    digest: str


@cache
def _assets() -> dict[str, _Asset]:
    return {file.name: _asset(file.name, file.read_bytes()) for file in _folder().iterdir()}


def address_of(name: str) -> str:
    """Returns the path of a static file. Raises KeyError if there is none of that name."""
    return f"{ROOT}/{name}?{_assets()[name].digest}"


def routes() -> Iterable[Route]:
    """Yields the routes of all static files, which everybody may read."""
    for name in _folder().iterdir():
        yield Route("GET", f"{ROOT}/{name.name}", _send, open=True)


async def _send(request: Request, reply: Reply) -> None:
    asset = _assets()[request.path.rpartition("/")[2]]
    headers = {"Vary": "Accept-Encoding", "Cache-Control": "no-cache"}
    if request.raw_query == asset.digest:
        headers["Cache-Control"] = "public, max-age=31536000, immutable"
    body = asset.content
    if accepts(request.headers.get("accept-encoding"), "gzip"):
        headers["Content-Encoding"] = "gzip"
        body = asset.packed
    await reply.whole(body, asset.kind, headers=headers)


def _folder() -> Traversable:
    return files(__package__).joinpath("assets")


def _asset(name: str, content: bytes) -> _Asset:
    return _Asset(
        kind=_KINDS[name.rpartition(".")[2]],
        content=content,
        packed=gzip.compress(content, 9, mtime=0),
        digest=hashlib.sha256(content).hexdigest()[:16],
    )
