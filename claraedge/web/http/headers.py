"""Headers of a request."""

from __future__ import annotations

from collections.abc import Sequence

from claraedge.web.http.body import Scope
from claraedge.web.http.failures import invalid


class Headers:
    """The headers of a request, by lower-case names."""

    def __init__(self, scope: Scope) -> None:
        self._lines: list[tuple[bytes, bytes]] = scope["headers"]

    def get(self, name: str) -> str | None:
        """Returns the value of a header; None: it was not sent.

        Raises HttpError if it was sent twice: programs in between may read another one than we.
        """
        values = [value for key, value in self._lines if key == name.encode()]
        if len(values) > 1:
            raise invalid(f"the header {name} was sent {len(values)} times; send it once")
        return values[0].decode("latin-1").strip() if values else None

    def all(self, name: str) -> str | None:
        """Returns the values of a header that is a list, joined by commas; None: none was sent."""
        values = [value.decode("latin-1") for key, value in self._lines if key == name.encode()]
        return ", ".join(values) if values else None

    @property
    def lines(self) -> Sequence[tuple[bytes, bytes]]:
        """All headers as they were sent, with names in lower case."""
        return self._lines

    @property
    def content_type(self) -> str:
        """The type of the body in lower case, without parameters; empty if it was not sent."""
        return (self.get("content-type") or "").partition(";")[0].strip().lower()
