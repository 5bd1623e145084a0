"""Authorities and certificates, made by openssl."""

from __future__ import annotations

import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path

    @property
    def server(self) -> bytes:
        """The certificate as a client of it sees it."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())


class Authority:
    """An authority whose files are in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._made = 0
        self._own = self._request("authority", "-addext", "basicConstraints=critical,CA:TRUE")

    @property
    def certificate(self) -> Path:
        return self._own.certificate

    def issue(self, name: str = "device") -> Pair:
        """Returns a new certificate, for localhost and 127.0.0.1."""
        self._made += 1
        return self._request(
            f"{name}-{self._made}",
            *("-CA", self._own.certificate, "-CAkey", self._own.key),
            *("-addext", "subjectAltName=DNS:localhost,DNS:device.example,IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )

    def trusted(self, client: Pair | None = None) -> ssl.SSLContext:
        """Returns what a client needs that trusts this authority."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        return context

    def _request(self, name: str, *more: object) -> Pair:
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-noenc", "-days", 2, "-subj", f"/CN={name}"),
            *("-keyout", pair.key, "-out", pair.certificate, *more),
        )
        return pair


def with_password(key: Path, target: Path) -> None:
    """Writes a key that needs a password."""
    _openssl("pkey", "-in", key, "-out", target, "-aes256", "-passout", "pass:secret")


def install(pair: Pair, target: Pair) -> None:
    """Replaces the files of `target`, one after the other, as programs that renew them do."""
    for source, path in ((pair.certificate, target.certificate), (pair.key, target.key)):
        new = path.with_suffix(".new")
        new.write_bytes(source.read_bytes())
        new.chmod(0o600)
        new.replace(path)


def free_port() -> int:
    """Returns a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
