"""One request and its answer on a connection to a program. HTTP is that of h11."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import h11

#: Bytes that are read at once, and of the headers of an answer.
_READ = 64 * 1024
_HEAD = 64 * 1024


class AnswerError(Exception):
    """The answer of a program is not valid HTTP, or was cut off; says how."""


class ProgramExchange:
    """Sends one request, and reads its answer, at the same time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)

    async def send(self, event: Any) -> None:
        """Sends a part of the request: an event of h11. Raises OSError if nobody reads it."""
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def head(self) -> h11.Response:
        """Returns status and headers of the answer. Raises AnswerError."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return event

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yields the body of the answer as it arrives. Raises AnswerError if it is cut off."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def _event(self) -> Any:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_READ))
        except h11.RemoteProtocolError as error:
            raise AnswerError(str(error)) from error
        except OSError as error:
            raise AnswerError(f"the connection broke: {error}") from error
        if isinstance(event, h11.ConnectionClosed):
            raise AnswerError("the connection was closed before the answer")
        return event
