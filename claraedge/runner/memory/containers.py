"""One container without a machine: a task in place of its process, and the end it comes to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from claraedge.clock import SystemClock
from claraedge.runner.memory.programs import Program, write_log
from claraedge.runner.protocol import (
    LABEL_OPERATOR,
    LABEL_SERVICE_NAME,
    Container,
    ContainerSpec,
    Exit,
    ExitCause,
    Phase,
)

_TERMINATED = 143
#: The exit code of what was killed.
KILLED = 137


@dataclass(slots=True)
class MemoryContainer:
    """A container in any phase."""

    id: str
    spec: ContainerSpec
    phase: Phase = Phase.CREATED
    exit: Exit | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ended_at: float | None = None
    task: asyncio.Task[None] | None = None
    networks: dict[str, str] = field(default_factory=dict)

    @property
    def operator(self) -> str:
        """Whose it is."""
        return owner(self.spec)

    def begin(self, program: Program, gate: asyncio.Event | None) -> None:
        """Starts its process, which waits for the gate before it works."""
        self.phase = Phase.RUNNING
        self.task = asyncio.create_task(self._work(program, gate), name=self.spec.name)

    def end(self, exit_: Exit) -> None:
        """Its process has ended so; the first end counts."""
        if self.exit is None:
            self.exit = exit_
            self.phase = Phase.STOPPED
            self.ended_at = SystemClock().now()
            self.ended.set()

    def kill(self, exit_: Exit) -> None:
        """Ends it at once."""
        self.end(exit_)
        if self.task is not None:
            self.task.cancel()

    def told(self) -> Container:
        """As a list of containers shows it."""
        stopped = self.phase is Phase.STOPPED
        return Container(
            id=self.id,
            name=self.spec.name,
            labels=dict(self.spec.labels),
            phase=self.phase,
            exit_code=self.exit.code if self.exit and stopped else None,
            ended=self.ended_at if stopped else None,
            networks=tuple(self.networks),
        )

    async def _work(self, program: Program, gate: asyncio.Event | None) -> None:
        try:
            if gate is not None:
                await gate.wait()
            self.end(Exit(cause=ExitCause.EXITED, code=await program(self.spec)))
        except asyncio.CancelledError:
            self.end(Exit(cause=ExitCause.EXITED, code=_TERMINATED))
        except Exception as error:  # noqa: BLE001 a crash of the program is an exit of the operator
            write_log(self.spec, f"{type(error).__name__}: {error}", stream="stderr")
            self.end(Exit(cause=ExitCause.EXITED, code=1))


def owner(spec: ContainerSpec) -> str:
    """The operator's name, or of what runs beside jobs the service's."""
    return spec.labels.get(LABEL_OPERATOR) or spec.labels.get(LABEL_SERVICE_NAME, "")
