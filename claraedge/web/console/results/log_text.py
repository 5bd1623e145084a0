"""Makes lines of logs that a page can show. Pure."""

from __future__ import annotations

import re

#: Characters of a line that are shown.
LINE = 2000
#: Codes of terminals: colours, the place of the cursor, titles of windows. A code without its end
#: loses its first character only: what follows stays visible.
_CODES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)"
    "|\x1b[PX^_][^\x1b]*\x1b\\\\"
    "|\x1b[ -/]*[0-OQ-WYZ\\\\`-~]"
)
_NOT_SHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def shown_line(line: str) -> str:
    """Returns a line without its end and the codes of terminals.

    Of a line that was written several times, as a bar of progress is, the last state stays. A line
    of more than `LINE` characters ends with `…`.
    """
    text = _CODES.sub("", line[: LINE * 8]).rstrip("\r\n")
    text = text.rpartition("\r")[2]
    text = _NOT_SHOWN.sub("", text)
    return f"{text[:LINE]}…" if len(text) > LINE or len(line) > LINE * 8 else text
