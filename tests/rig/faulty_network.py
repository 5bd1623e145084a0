"""A network between a client and a server of TCP, whose connections a test can break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.rig.certificates import free_port


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    used: bool = False
    """Something was sent on it."""
    deaf: bool = False
    loses: bool = False
    """Its next answer is lost."""

    def cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


@dataclass
class FaultyNetwork:
    """Leads from `port` to the port of a server on 127.0.0.1."""

    port: int
    sent: list[bytes] = field(default_factory=list)
    """What clients sent, as it came."""
    _connections: set[_Connection] = field(default_factory=set)
    _losing: list[bytes] = field(default_factory=list)
    _refusing: list[bytes] = field(default_factory=list)

    def go_deaf(self) -> None:
        """Loses what comes on the connections of now, and says nothing of it."""
        for connection in self._connections:
            connection.deaf = True

    def cut(self) -> None:
        for connection in list(self._connections):
            connection.cut()

    def lose_answer(self, request: bytes) -> None:
        """Cuts the connection of a request with these bytes once the server answers it, until a
        client sees that.
        """
        self._losing.append(request)

    def refuse(self, request: bytes) -> None:
        """Cuts the connection of a request with these bytes, which the server never gets, until a
        client sees that.
        """
        self._refusing.append(request)

    @property
    def has_lost(self) -> bool:
        """Whether each answer that was to be lost is."""
        return not self._losing and not any(one.loses for one in self._connections)

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def count(self, request: bytes) -> int:
        return b"".join(self.sent).count(request)

    async def _up(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while data := await reader.read(65536):
            if connection.deaf:
                continue
            if self._hit(self._refusing, data, connection):
                return
            self.sent.append(data)
            if self._hit(self._losing, data, connection):
                connection.loses = True
            connection.used = True
            connection.server.write(data)
            await connection.server.drain()

    def _hit(self, requests: list[bytes], data: bytes, connection: _Connection) -> bool:
        """Whether one of the requests begins in `data`.

        It ends with the first one on a new connection: browsers send a request again by themselves
        that fails on a connection which they used before.
        """
        found = [one for one in requests if one in data]
        if not connection.used:
            for one in found:
                requests.remove(one)
        return bool(found)

    async def _down(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while data := await reader.read(65536):
            if connection.loses:
                return
            if not connection.deaf:
                connection.client.write(data)
                await connection.client.drain()

    async def _serve(
        self, to: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, server)
        self._connections.add(connection)
        pumps = {
            asyncio.create_task(self._up(reader, connection)),
            asyncio.create_task(self._down(answers, connection)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if connection.deaf:  # the other side does not hear of this end
                await asyncio.wait(pumps)
        finally:
            self._connections.discard(connection)
            connection.cut()
            for pump in pumps:
                pump.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await pump


@asynccontextmanager
async def faulty_network(to: int) -> AsyncIterator[FaultyNetwork]:
    network = FaultyNetwork(free_port())
    server = await asyncio.start_server(
        lambda reader, writer: network._serve(to, reader, writer), "127.0.0.1", network.port
    )
    try:
        yield network
    finally:
        server.close()
        network.cut()
