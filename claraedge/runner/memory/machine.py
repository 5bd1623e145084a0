"""An in-memory machine with containers, as a test arranges it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from claraedge.errors import ClaraedgeError, ContainerError
from claraedge.runner.memory.containers import KILLED, MemoryContainer
from claraedge.runner.memory.images import MemoryImages
from claraedge.runner.memory.networks import MemoryNetworks
from claraedge.runner.memory.programs import Handler, Program
from claraedge.runner.protocol import (
    ContainerSpec,
    Exit,
    ExitCause,
    Image,
    Limit,
    Login,
    Phase,
    Space,
)


class MemoryMachine:
    """What is on the machine, and the methods by which a test arranges it."""

    def __init__(self) -> None:
        self.created: list[ContainerSpec] = []
        """Every container that was created, in order."""
        self.started: list[ContainerSpec] = []
        """Every start, in order: an operator that ran twice is here twice."""
        self.stops: list[tuple[str, float]] = []
        """Every call of `stop`: (operator, grace in seconds)."""
        self.halves: set[str] = set()
        """What `half_made` returns; `remove` removes a name from it."""
        self.outside: set[str] = set()
        """Names of the networks that were created with access to the outside."""
        self.reclaimed: list[Path] = []
        self.files_read: list[tuple[str, Mapping[str, str]]] = []
        """Every call of `read_files`: (image, labels)."""
        self.available = True
        """False: every call raises RunnerUnavailableError; running containers continue."""
        self.enforced = frozenset(Limit)
        """What `limits` returns."""
        self.unusable: dict[str, str] = {}
        """CDI name -> what `try_device` returns."""
        self.tried: list[tuple[str, Mapping[str, str]]] = []
        """Every call of `try_device`: (device, labels)."""
        self.space = Space(free=100 << 30, total=200 << 30)
        """What `image_space` returns."""
        self.pulls: list[tuple[str, str, bool]] = []
        """Every call of `pull_image`: (name, the login's user or an empty text, insecure)."""
        self.checks: list[tuple[str, bool]] = []
        """Every call of `check_image`: (image, contents)."""
        self._images = MemoryImages()
        self.pulling = self._images.pulling
        """The names that are being pulled now."""
        self._containers: dict[str, MemoryContainer] = {}
        self._networks = MemoryNetworks()
        self._blocked: dict[str, asyncio.Event] = {}
        self._create_errors: dict[str, list[Exception]] = {}
        self._start_errors: dict[str, list[Exception]] = {}
        self._kept: set[str] = set()
        self._changed = asyncio.Condition()

    # --- what the test arranges -------------------------------------------------------------

    def add_image(
        self,
        name: str,
        program: Program,
        *,
        user: str = "",
        entrypoint: tuple[str, ...] = (),
        command: tuple[str, ...] = (),
        ports: tuple[int, ...] = (),
        files: Mapping[str, bytes] | None = None,
        listens: Mapping[int, Handler] | None = None,
        reserved: tuple[str, ...] = (),
    ) -> Image:
        """Adds an image to the device. An existing image with that name loses it.

        `listens`: the ports on which its containers accept connections while they run.
        """
        return self._images.add(
            name,
            program,
            user=user,
            entrypoint=entrypoint,
            command=command,
            ports=ports,
            files=files,
            listens=listens,
            reserved=reserved,
        )

    def drop_image(self, reference: str) -> None:
        """Removes an image from the device; containers created from it stay."""
        self._images.remove(reference)

    def damage_image(self, reference: str, *, contents: bool = False) -> None:
        """Marks an image as damaged until it is removed. `contents`: only a check of its contents
        finds it.
        """
        self._images.damage(reference, contents=contents)

    def add_archive(self, archive: Path, name: str, program: Program) -> None:
        """Makes `load_image(archive)` load an image; without this it raises InvalidImageError."""
        self._images.add_archive(archive, name, program)

    def add_remote_image(self, name: str, program: Program, login: Login | None = None) -> None:
        """Adds an image to its registry; with `login`, only that login may pull it."""
        self._images.add_remote(name, program, login)

    def fail_pull(self, name: str, error: ClaraedgeError) -> None:
        """Makes every `pull_image` of this name raise `error`."""
        self._images.fail_pull(name, error)

    def block_pull(self, name: str) -> None:
        """Makes pulls of this name wait until `release_pull`."""
        self._images.block_pull(name)

    def release_pull(self, name: str) -> None:
        """Lets the waiting pulls of this name continue."""
        self._images.release_pull(name)

    def block(self, operator: str) -> None:
        """Makes containers of this operator wait after their start, before they work, until
        `release`.
        """
        self._blocked.setdefault(operator, asyncio.Event())

    def release(self, operator: str) -> None:
        """Lets the waiting containers of this operator work, and all later ones."""
        gate = self._blocked.pop(operator, None)
        if gate is not None:
            gate.set()

    def fail_create(self, operator: str, reason: str = "refused") -> None:
        """Makes the next `create` for this operator raise ContainerError; n calls affect n
        creations.
        """
        self._create_errors.setdefault(operator, []).append(ContainerError(reason))

    def fail_start(self, operator: str, reason: str = "refused") -> None:
        """Makes the next `start` of this operator raise ContainerError; n calls affect n starts."""
        self._start_errors.setdefault(operator, []).append(ContainerError(reason))

    def refuse_removal(self, operator: str) -> None:
        """Makes every later `remove` of this operator's containers raise ContainerError."""
        self._kept.add(operator)

    def refuse_networks(self, reason: str | None) -> None:
        """Makes every `create_network` raise NetworkError with this reason; None ends that."""
        self._networks.refusal = reason

    def vanish(self, operator: str) -> None:
        """Removes the containers of this operator as somebody with `podman rm -f` would."""
        for entry in self._of(operator):
            entry.kill(Exit(cause=ExitCause.VANISHED))
            del self._containers[entry.id]

    def lose_supervisor(self, operator: str) -> None:
        """Ends the running containers of this operator with an unknown exit code.

        As on a machine, they seem to run until somebody waits for them, and are then removed.
        """
        for entry in self._of(operator):
            if entry.phase is Phase.RUNNING:
                entry.kill(Exit(cause=ExitCause.LOST_SUPERVISOR))
                entry.phase = Phase.RUNNING

    def kill(self, operator: str, code: int = KILLED) -> None:
        """Ends the running containers of this operator, service or executable by a signal, and the
        waiting process of one that only holds a network namespace.
        """
        for entry in self._of(operator):
            if entry.phase is Phase.RUNNING or entry.holds:
                entry.kill(Exit(cause=ExitCause.EXITED, code=code))

    def run_out_of_memory(self, operator: str) -> None:
        """Kills the running containers of this operator as the kernel does at a memory limit."""
        for entry in self._of(operator):
            if entry.phase is Phase.RUNNING:
                entry.kill(Exit(cause=ExitCause.EXITED, code=KILLED, out_of_memory=True))

    def cut_power(self) -> None:
        """Simulates a restart of the machine: running containers become INTERRUPTED, the others
        stay.
        """
        for entry in self._containers.values():
            entry.release()
            if entry.phase is Phase.RUNNING:
                entry.kill(Exit(cause=ExitCause.VANISHED))
                entry.phase = Phase.INTERRUPTED

    async def running(self, operator: str) -> ContainerSpec:
        """Waits until a container of this operator runs, and returns its spec; the caller sets a
        deadline.
        """
        async with self._changed:
            await self._changed.wait_for(
                lambda: any(e.phase is Phase.RUNNING for e in self._of(operator))
            )
        return next(e.spec for e in self._of(operator) if e.phase is Phase.RUNNING)

    def _of(self, operator: str) -> list[MemoryContainer]:
        return [e for e in self._containers.values() if e.operator == operator]
