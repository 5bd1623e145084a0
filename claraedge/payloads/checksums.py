"""Checksums that clients send with bytes."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from claraedge.errors import InvalidRequestError, UploadChecksumError

#: Algorithms, with the lengths of their digests in bytes.
ALGORITHMS = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """The checksum of some bytes, as a client computed it.

    Raises InvalidRequestError for an unknown algorithm, and for a digest of another length.
    """

    algorithm: str
    digest: bytes

    def __post_init__(self) -> None:
        if ALGORITHMS.get(self.algorithm) != len(self.digest):
            raise InvalidRequestError(
                f"a checksum by {self.algorithm[:20]!r} with {len(self.digest)} bytes is not known;"
                f" use one of {', '.join(ALGORITHMS)}, with all bytes of its digest"
            )


class Comparison:
    """Computes the checksum of bytes as they arrive, and compares it at their end."""

    def __init__(self, checksum: Checksum | None) -> None:
        """`checksum`: None where the client sent none; then nothing is compared."""
        self._checksum = checksum
        self._hash = None if checksum is None else hashlib.new(checksum.algorithm)
        self._size = 0

    def update(self, data: bytes) -> None:
        """Adds the next bytes."""
        if self._hash is not None:
            self._hash.update(data)
            self._size += len(data)

    def refuse_other(self) -> None:
        """Raises UploadChecksumError where the bytes do not have the checksum."""
        if self._checksum is None or self._hash is None:
            return
        if not hmac.compare_digest(self._hash.digest(), self._checksum.digest):
            raise UploadChecksumError(
                f"the {self._size} bytes that arrived do not have the {self._checksum.algorithm}"
                " checksum that was sent with them, and were dropped; send them again"
            )
