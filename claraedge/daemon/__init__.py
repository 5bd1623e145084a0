"""The daemon: the composition root. It builds the parts, starts and stops them in order.

`process` runs it as a process, `serving` for as long as a task lasts; `parts` says what it is made
of.
"""

from __future__ import annotations

from claraedge.daemon.process import main
from claraedge.daemon.serving import serve

__all__ = ["main", "serve"]
