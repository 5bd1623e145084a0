"""In-memory networks: names with subnets, and connections by socket pairs."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from claraedge.errors import NetworkError
from claraedge.runner.memory.programs import Handler
from claraedge.runner.protocol import Network


class MemoryNetworks:
    """Stores the networks that containers may be on."""

    def __init__(self) -> None:
        self.refusal: str | None = None
        """The reason why `create` fails; None: it succeeds."""
        self._networks: dict[str, Network] = {}
        self._subnets = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._networks

    def create(self, name: str, labels: Mapping[str, str], *, outside: bool) -> Network:
        """Implements Runner.create_network.

        Raises NetworkError if the name is in use, or the test refuses networks.
        """
        if self.refusal is not None or name in self._networks:
            raise NetworkError(self.refusal or f"the network name {name} is in use")
        subnet = f"10.89.{next(self._subnets) % 256}.0/24"
        self._networks[name] = Network(
            name=name, labels=dict(labels), subnet=subnet, outside=outside
        )
        return self._networks[name]

    def remove(self, name: str) -> None:
        """Removes a network; one that does not exist is no error."""
        self._networks.pop(name, None)

    def all(self, labels: Mapping[str, str]) -> Sequence[Network]:
        """Implements Runner.networks."""
        return [n for n in self._networks.values() if labels.items() <= n.labels.items()]

    @asynccontextmanager
    async def connection(
        self, handler: Handler
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Opens a connection whose other end `handler` serves."""
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        task = asyncio.ensure_future(_serve(theirs, handler))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            yield reader, writer
        finally:
            writer.close()
            task.cancel()


async def _serve(side: socket.socket, handler: Handler) -> None:
    reader, writer = await asyncio.open_connection(sock=side)
    try:
        await handler(reader, writer)
    finally:
        writer.close()
