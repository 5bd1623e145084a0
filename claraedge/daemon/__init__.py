"""The daemon: the composition root, which builds all parts and starts and stops them in order.

`process` runs the daemon as a process and handles signals, `serving` runs it in one task, and
`parts` lists the parts and their dependencies.
"""

from __future__ import annotations

from claraedge.daemon.process import main
from claraedge.daemon.serving import serve

__all__ = ["main", "serve"]
