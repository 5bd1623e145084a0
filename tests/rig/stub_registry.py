"""A stub image registry on the loopback: the part of Docker's Registry API that a pull needs.

It serves plain HTTP and records its requests. It can require credentials, stall an answer in the
middle of a layer, and return an error status instead of a manifest.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")


class StubRegistry:
    """A registry that serves at `host` while its context is open."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """Method and path of every request for a manifest or a blob, in order."""
        self.stalled = threading.Event()
        """Set once an answer hangs in the middle of a layer."""
        self.left = threading.Event()
        """Set once a client has closed the connection of a stalled answer."""
        self.status: int | None = None
        """If set, the HTTP status returned instead of every manifest."""
        self._stall = False
        self._released = threading.Event()
        self._wanted: str | None = None
        self._manifests: dict[tuple[str, str], bytes] = {}
        self._blobs: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def host(self) -> str:
        """The host and port, in the form of the registry in an image name."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # --- setup by the test --------------------------------------------------------------------

    def add(self, archive: Path, repository: str, tag: str = "latest", size: int = 65536) -> str:
        """Serves the image of a docker-archive; returns its digest.

        A layer of `size` random bytes is added on top, so that the image is new to every storage.
        """
        with tarfile.open(archive) as tar:
            (entry,) = json.loads(_content(tar, "manifest.json"))
            config = json.loads(_content(tar, entry["Config"]))
            layers = [_content(tar, name) for name in entry["Layers"]]
        layers.append(_random_layer(size))
        config["rootfs"]["diff_ids"] = [_digest(layer) for layer in layers]
        config["history"] = [{"created_by": "tests"} for _ in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._blob(json.dumps(config).encode(), _CONFIG),
            "layers": [self._blob(gzip.compress(layer, 1, mtime=0), _LAYER) for layer in layers],
        }
        content = json.dumps(manifest).encode()
        digest = _digest(content)
        self._manifests[repository, tag] = self._manifests[repository, digest] = content
        return digest

    def require(self, username: str, password: str) -> None:
        """Requires these credentials for every request from now on."""
        self._wanted = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    def stall(self) -> None:
        """Makes answers with layers stop half-way from now on, until `release`."""
        self._released.clear()
        self._stall = True

    def release(self) -> None:
        """Lets stalled answers continue, and stalls no further ones."""
        self._stall = False
        self._released.set()

    # --- answers ------------------------------------------------------------------------------

    def _blob(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = _digest(content)
        self._blobs[digest] = content
        return {"mediaType": kind, "size": len(content), "digest": digest}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answers one request."""
        if self._wanted not in (None, handler.headers.get("Authorization")):
            _refuse(handler, 401, "UNAUTHORIZED", "authentication required")
            return
        if handler.path in ("/v2", "/v2/"):
            _answer(handler, "application/json", b"{}")
            return
        self.requests.append(f"{handler.command} {handler.path}")
        match = _PATH.fullmatch(handler.path)
        if match is None:
            _refuse(handler, 404, "UNSUPPORTED", "no such path")
        elif match["kind"] == "manifests":
            self._answer_manifest(handler, match["repository"], match["reference"])
        elif (blob := self._blobs.get(match["reference"])) is None:
            _refuse(handler, 404, "BLOB_UNKNOWN", "blob unknown")
        elif self._stall and not blob.startswith(b"{"):
            self._answer_half(handler, blob)
        else:
            _answer(handler, "application/octet-stream", blob)

    def _answer_manifest(
        self, handler: BaseHTTPRequestHandler, repository: str, reference: str
    ) -> None:
        manifest = self._manifests.get((repository, reference))
        if self.status is not None:
            _refuse(handler, self.status, "UNKNOWN", "the registry has a bad day")
        elif manifest is None:
            _refuse(handler, 404, "MANIFEST_UNKNOWN", "manifest unknown")
        else:
            _answer(handler, _MANIFEST, manifest, {"Docker-Content-Digest": _digest(manifest)})

    def _answer_half(self, handler: BaseHTTPRequestHandler, blob: bytes) -> None:
        _head(handler, 200, "application/octet-stream", len(blob))
        handler.wfile.write(blob[: len(blob) // 2])
        handler.wfile.flush()
        self.stalled.set()
        handler.connection.settimeout(0.05)
        while not self._released.is_set():
            try:
                if not handler.connection.recv(1):
                    self.left.set()
                    return
            except TimeoutError:
                continue
            except OSError:
                self.left.set()
                return
        handler.connection.settimeout(10)
        handler.wfile.write(blob[len(blob) // 2 :])


def _handler(registry: StubRegistry) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):  # a pull that was ended
                registry.answer(self)

        do_HEAD = do_GET  # noqa: N815 the name that the base class calls

        def log_message(self, *_: object) -> None:
            """Prints nothing, because the requests are recorded."""

    return Handler


def _answer(
    handler: BaseHTTPRequestHandler,
    kind: str,
    content: bytes,
    headers: dict[str, str] | None = None,
    status: int = 200,
) -> None:
    _head(handler, status, kind, len(content), headers)
    if handler.command != "HEAD":
        handler.wfile.write(content)


def _head(
    handler: BaseHTTPRequestHandler,
    status: int,
    kind: str,
    length: int,
    headers: dict[str, str] | None = None,
) -> None:
    handler.send_response(status)
    handler.send_header("Docker-Distribution-Api-Version", "registry/2.0")
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(length))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()


def _refuse(handler: BaseHTTPRequestHandler, status: int, code: str, message: str) -> None:
    content = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    challenge = {"WWW-Authenticate": 'Basic realm="stub"'} if status == 401 else None
    _answer(handler, "application/json", content, challenge, status)


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _random_layer(size: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("random")
        entry.size, entry.mode = size, 0o644
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return buffer.getvalue()
