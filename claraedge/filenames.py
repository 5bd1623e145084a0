"""Names in folders that people and programs put files into: which of them stand for nothing yet."""

from __future__ import annotations

import re

#: Names that programs use for a file that is not whole yet.
_TEMPORARY = re.compile(
    rb"\.~|~\$|.*(\.part|\.partial|\.filepart|\.tmp|\.temp|\.crdownload|\.download|\.upload)$",
    re.IGNORECASE | re.DOTALL,
)
#: What desktops and network storage leave beside the files of a user.
_JUNK = frozenset(
    {b"thumbs.db", b"ehthumbs.db", b"desktop.ini", b"@eadir", b"__macosx", b"lost+found", b"icon\r"}
)


def is_temporary(name: bytes) -> bool:
    """The name of a file on its way: it counts when it is renamed."""
    return _TEMPORARY.match(name) is not None


def is_ignored(name: bytes) -> bool:
    """Nothing of the user's, whatever it is: a temporary, a hidden or a system's own name."""
    return name.startswith(b".") or name.lower() in _JUNK or is_temporary(name)


def shown(name: bytes) -> str:
    """The name as text; what is no UTF-8 is escaped."""
    return name.decode("utf-8", "backslashreplace")
