"""Permissions of delivered folders: whoever may read the outbox may read what is put into it.

The umask of a service is meant for its own files, but an outbox is for others. So the mode of the
outbox, which its administrator sets, applies to everything below it, whatever the umask is. Group
and default ACL are inherited through the kernel (setgid).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from claraedge.fs import extras, files
from claraedge.fs.trees import folder_mode
from claraedge.fs.trusted import opened


@contextlib.contextmanager
def opened_shown(root: Path, path: bytes, mode: int) -> Iterator[Path]:
    """Yields a path of the folder `path` below `root`; creates it and its parents where missing.

    The path stays valid if others who may write to `root` swap something meanwhile. Existing
    folders keep their mode. Raises NotADirectoryError where one of them is a link.
    """
    with contextlib.ExitStack() as stack:
        at = stack.enter_context(opened(root))
        for part in path.split(b"/") if path else ():
            try:
                at = stack.enter_context(opened(at, part))
            except FileNotFoundError:
                is_ours = True
                try:
                    (at / os.fsdecode(part)).mkdir(0o777)
                except FileExistsError:  # another delivery has made it meanwhile
                    is_ours = False
                above, at = at, stack.enter_context(opened(at, part))
                if is_ours:
                    extras.set_mode(at, folder_mode(at.stat(), mode))
                files.sync_folder(above)
        yield at
