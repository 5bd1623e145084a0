"""The certificate of this device, which is read again when its files change."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claraedge.errors import ConfigurationError

_log = logging.getLogger(__name__)

#: Reads of files that are being replaced, before the certificate is left as it is until the next
#: connection.
_TRIES = 5
_OTHERS = 0o006
_Stamp = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Certificate:
    """A certificate, its key, and the authorities of clients, as they were read together."""

    chain: bytes
    key: bytes
    clients: bytes | None
    """None: clients need no certificate."""
    context: ssl.SSLContext
    """For HTTP/1.1."""


class Certificates:
    """Checks at each connection whether the files have changed. Threads may share it."""

    def __init__(self, chain: Path, key: Path, clients: Path | None) -> None:
        """Raises ConfigurationError if the files cannot be used."""
        self._chain, self._key, self._clients = chain, key, clients
        self._lock = threading.Lock()
        self._stamp, self._current = self._read()
        self._failed: _Stamp | None = None

    @property
    def for_clients(self) -> bool:
        """Whether clients have to show a certificate."""
        return self._clients is not None

    def current(self) -> Certificate:
        """Returns the certificate; the one before if the files cannot be used, which is logged."""
        with self._lock:
            try:
                stamp = self._stamped()
            except OSError:
                stamp = ()
            if stamp not in (self._stamp, self._failed):
                try:
                    self._stamp, self._current = self._read()
                    self._failed = None
                    _log.info("the certificate was read again", extra={"file": str(self._chain)})
                except ConfigurationError as error:
                    self._failed = stamp
                    _log.error(
                        "the new certificate cannot be used, and the old one stays: %s", error
                    )
            return self._current

    def _read(self) -> tuple[_Stamp, Certificate]:
        for _ in range(_TRIES):
            try:
                before = self._stamped()
                made = self._made()
                if self._stamped() == before:
                    return before, made
            except OSError as error:
                path = error.filename or self._chain
                raise ConfigurationError(
                    f"tls: {path} cannot be read ({error.strerror}); correct its path, or let the"
                    " user of the daemon read it"
                ) from error
        raise ConfigurationError(f"tls: {self._chain} or {self._key} is being written; try again")

    def _made(self) -> Certificate:
        if self._key.stat().st_mode & _OTHERS:
            raise ConfigurationError(
                f"tls.key: every user of the machine may read {self._key}; `chmod o= {self._key}`,"
                " and have a new certificate issued if others have the key"
            )
        chain, key = self._chain.read_bytes(), self._key.read_bytes()
        clients = None if self._clients is None else self._clients.read_bytes()
        if b"ENCRYPTED" in key:
            raise ConfigurationError(
                f"tls.key: {self._key} has a password, which nobody can type at the start; remove"
                f" it: `openssl pkey -in {self._key} -out FILE`"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # which costs a server more than a client
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._chain, self._key)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"tls: {self._chain} and {self._key} are no certificate and its key, as PEM"
                f" ({error.reason or error}); set tls.certificate and tls.key to a pair"
            ) from error
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(self._clients)
            except ssl.SSLError as error:
                raise ConfigurationError(
                    f"tls.client_ca: {self._clients} has no certificates as PEM"
                    f" ({error.reason or error}); name the file of the authority"
                ) from error
        return Certificate(chain=chain, key=key, clients=clients, context=context)

    def _stamped(self) -> _Stamp:
        return tuple(
            (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            for found in (path.stat() for path in self._paths())
        )

    def _paths(self) -> Iterator[Path]:
        yield from (self._chain, self._key)
        if self._clients is not None:
            yield self._clients
