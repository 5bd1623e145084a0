"""An in-memory Runner, whose images are Python coroutines: containers without Podman.

Shipped for tests of code that uses the Runner protocol. A program gets the ContainerSpec and works
on the real folders of its mounts:

    runner = MemoryRunner()

    async def copy(spec: ContainerSpec) -> int:
        (host_path(spec, "/output") / "a").write_text("done")
        write_log(spec, "one line")
        return 0

    runner.add_image("app:1", copy)

The containers belong to the runner as real ones belong to a machine: a second engine over the same
runner finds and adopts what the first one started. Faults are requested by the operator's name (the
label LABEL_OPERATOR), so that a test can request them before the job starts.
"""

from __future__ import annotations

from claraedge.runner.memory.programs import Handler, Program, host_path, write_log
from claraedge.runner.memory.runner import MemoryRunner

__all__ = ["Handler", "MemoryRunner", "Program", "host_path", "write_log"]
