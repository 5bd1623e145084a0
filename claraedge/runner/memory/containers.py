"""One in-memory container: a task in place of its process, and its exit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from claraedge.clock import SystemClock
from claraedge.runner.memory.programs import Program, write_log
from claraedge.runner.protocol import (
    LABEL_EXECUTABLE_NAME,
    LABEL_JOINS,
    LABEL_NETWORK_NAME,
    LABEL_OPERATOR,
    LABEL_SERVICE_NAME,
    Container,
    ContainerSpec,
    Exit,
    ExitCause,
    Phase,
)

_TERMINATED = 143
#: The exit code of a container that was killed.
KILLED = 137


@dataclass(slots=True)
class MemoryContainer:
    """An in-memory container in any phase."""

    id: str
    spec: ContainerSpec
    phase: Phase = Phase.CREATED
    exit: Exit | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ended_at: float | None = None
    """Unix seconds."""
    task: asyncio.Task[None] | None = None
    networks: dict[str, str] = field(default_factory=dict)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it holds no network namespace for others any more."""

    @property
    def holds(self) -> bool:
        """Whether it is initialised and not started: see `Runner.holds`."""
        return self.phase is Phase.CREATED and not self.released.is_set()

    def release(self) -> None:
        """Ends the process that waits to be started."""
        self.released.set()

    @property
    def operator(self) -> str:
        """The name of the operator, service or executable that it belongs to."""
        return owner(self.spec)

    def begin(self, program: Program, gate: asyncio.Event | None) -> None:
        """Starts its task, which waits for `gate` before it runs the program."""
        self.phase = Phase.RUNNING
        self.release()
        self.task = asyncio.create_task(self._work(program, gate), name=self.spec.name)

    def end(self, exit_: Exit) -> None:
        """Records how its process ended; only the first end counts."""
        if self.exit is None:
            self.exit = exit_
            self.phase = Phase.STOPPED
            self.ended_at = SystemClock().now()
            self.ended.set()

    def kill(self, exit_: Exit) -> None:
        """Ends it immediately."""
        self.release()
        self.end(exit_)
        if self.task is not None:
            self.task.cancel()

    def listed(self) -> Container:
        """Returns it in the form in which a list of containers shows it."""
        stopped = self.phase is Phase.STOPPED
        joins = {LABEL_JOINS: self.spec.joins} if self.spec.joins else {}
        return Container(
            id=self.id,
            name=self.spec.name,
            labels={**self.spec.labels, **joins},
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
    """Returns the operator's name; for a container that is kept running, the name of the service
    or the executable, or of the network whose ROS master it is.
    """
    names = (LABEL_OPERATOR, LABEL_SERVICE_NAME, LABEL_EXECUTABLE_NAME, LABEL_NETWORK_NAME)
    return next((spec.labels[name] for name in names if spec.labels.get(name)), "")
