"""Makes a report in HTML harmless before a browser gets it. Pure.

Its policy and the sandbox of its frame forbid scripts, forms and requests. A browser connects all
the same to the host of a frame or link that it then does not load, after it has resolved the name
of that host, which may contain data. So the elements that lead elsewhere get names that mean
nothing.
"""

from __future__ import annotations

import codecs
import re

#: What a browser may do with a report.
REPORT_HEADERS = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:;"
        " media-src data:; frame-ancestors 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-DNS-Prefetch-Control": "off",
}
#: Elements that make a browser connect although its policy forbids what they ask for.
_LEADING = re.compile(
    rb"<(a|area|link|embed|fencedframe|frame|frameset|iframe|object|portal)(?=[\s/>])",
    re.IGNORECASE,
)
#: Bytes at the end of a part in which the beginning of such an element may be.
_LONGEST = len(b"<fencedframe>")
_MARK = 2
_MARKS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class ReportFilter:
    """Changes the parts of a report, one after the other."""

    def __init__(self) -> None:
        self._rest = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False

    def part(self, data: bytes, *, last: bool = False) -> bytes:
        """Returns the next bytes for the browser, as UTF-8. `last`: no more follow."""
        if not self._begun:
            data = self._rest + data
            if len(data) < _MARK and not last:
                self._rest = data
                return b""
            self._begun, self._rest = True, b""
            data = self._begin(data)
        if self._decoder is not None:
            data = self._decoder.decode(data, last).encode("utf-8", "replace")
        data = self._rest + data
        end = len(data) if last else self._end(data)
        self._rest = data[end:]
        return _LEADING.sub(_harmless, data[:end])

    def _begin(self, data: bytes) -> bytes:
        # A mark at the beginning counts more than the encoding that the answer names.
        for mark, encoding in _MARKS:
            if data.startswith(mark):
                self._decoder = codecs.getincrementaldecoder(encoding)("replace")
                return data[len(mark) :]
        return data

    @staticmethod
    def _end(data: bytes) -> int:
        """Returns where an element may begin whose name is not complete yet."""
        at = data.rfind(b"<", max(0, len(data) - _LONGEST))
        return len(data) if at < 0 else at


def _harmless(found: re.Match[bytes]) -> bytes:
    # Like a link, `meta` has no end, and may stand in the head.
    return b"<meta" if found[1].lower() == b"link" else b"<x-" + found[1]
