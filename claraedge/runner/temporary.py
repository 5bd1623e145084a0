"""Where Podman's service writes temporary files: a folder that it can write to.

Without one, Podman 4.3 reads no image and answers with words that sound like a damaged one
(containers/podman#25810: a TMPDIR that is not there). Podman sees the mounts of the time when this
user first ran it, so what is there for us may lack for it: it has to be asked.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from claraedge import spawn

_log = logging.getLogger(__name__)

#: Podman's default, and what takes its place.
_FOLDERS = ("/var/tmp", "/tmp")  # noqa: S108 made and written by Podman, not by us
_TIMEOUT = 20.0


async def environment() -> Mapping[str, str]:
    """What its environment needs beyond ours: another TMPDIR where Podman cannot write to its own.

    Raises TimeoutError.
    """
    if not os.environ.get("TMPDIR") and os.access(_FOLDERS[0], os.W_OK | os.X_OK):
        return {}
    folders = (*filter(None, [os.environ.get("TMPDIR")]), *_FOLDERS)
    search = 'for f; do [ -d "$f" ] && [ -w "$f" ] && printf %s "$f" && exit; done; exit 1'
    command = ["podman", "unshare", "sh", "-c", search, "sh", *folders]
    code, found = await spawn.run(command, timeout=_TIMEOUT)
    if code != 0 or found not in folders:
        _log.warning(
            "Podman can write temporary files to none of %s, and reads no image without; let one"
            " be writable for this user, or name another one in TMPDIR",
            ", ".join(folders),
        )
    elif found != folders[0]:
        _log.warning("Podman cannot write temporary files to %s; it uses %s", folders[0], found)
        return {"TMPDIR": found}
    return {}
