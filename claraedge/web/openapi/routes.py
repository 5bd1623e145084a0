"""Serves `/openapi.json`, and `/api`, the same for people."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from claraedge.blocking import in_thread
from claraedge.web.http.compression import accepts
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.openapi.document import document
from claraedge.web.openapi.page import POLICY, page
from claraedge.web.rpc.methods import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    """A body, compressed by gzip."""

    content: bytes
    etag: str


class OpenApi:
    """Describes the methods. Both pages are made by the first request, and kept compressed."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods
        self._made: tuple[_Packed, _Packed] | None = None

    def routes(self) -> Iterable[Route]:
        yield Route("GET", "/openapi.json", self._document)
        yield Route("GET", "/api", self._page)

    async def _document(self, request: Request, reply: Reply) -> None:
        found, _ = await self._pages()
        await _send(request, reply, found, "application/json", {})

    async def _page(self, request: Request, reply: Reply) -> None:
        _, found = await self._pages()
        policy = {"Content-Security-Policy": POLICY}
        await _send(request, reply, found, "text/html; charset=utf-8", policy)

    async def _pages(self) -> tuple[_Packed, _Packed]:
        if self._made is None:
            self._made = await in_thread(_made, self._methods)
        return self._made


def text_of(whole: Mapping[str, Any]) -> str:
    """Returns a document as text."""
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def _made(methods: Mapping[str, Method]) -> tuple[_Packed, _Packed]:
    whole = document(methods)
    return _packed(text_of(whole).encode()), _packed(page(whole))


def _packed(content: bytes) -> _Packed:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _Packed(content=gzip.compress(content, 9, mtime=0), etag=etag)


async def _send(
    request: Request, reply: Reply, found: _Packed, content_type: str, headers: dict[str, str]
) -> None:
    # `no-cache`: it may be kept, and is compared before each use.
    headers |= {"ETag": found.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    known = (request.headers.get("if-none-match") or "").replace("W/", "")
    if known.strip() == "*" or found.etag in [tag.strip() for tag in known.split(",")]:
        await reply.begin(content_type, status=304, headers=headers)
        await reply.end()
    elif accepts(request.headers.get("accept-encoding"), "gzip"):
        headers["Content-Encoding"] = "gzip"
        await reply.whole(found.content, content_type, headers=headers)
    else:
        await reply.whole(gzip.decompress(found.content), content_type, headers=headers)
