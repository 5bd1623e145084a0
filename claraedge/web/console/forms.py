"""Forms with files, as browsers send them without scripts: `multipart/form-data`.

The files are read as they come, and nothing of them is kept. So all fields have to come before the
first file, as they do where the fields of files are the last ones of the form.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from claraedge.web.http.body import Body
from claraedge.web.http.failures import HttpError, excerpt, invalid, too_large
from claraedge.web.http.request import Request

MULTIPART = "multipart/form-data"
#: Bytes and number of all fields.
FORM_BYTES, FORM_FIELDS = 256 * 1024, 2000
#: Bytes of a header of a part; it has the path of a file.
_HEADER = 16 * 1024
#: Forms that are remembered.
_MOST = 256
#: A part begins, has bytes, and ends (None).
_Event: TypeAlias = MultipartSegment | bytes | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The page that follows a form, with a message, as `Visit.go` shows it."""

    path: str
    said: str
    fields: Mapping[str, object] = field(default_factory=dict)


class SentFile:
    """A file of a form, whose bytes are read once."""

    def __init__(self, name: str, events: AsyncGenerator[_Event, None]) -> None:
        self.name = name
        """Its name, or its path below a folder that was chosen, as the browser sent it."""
        self.size = 0
        """Bytes that were read."""
        self._events = events
        self._ended = False

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yields the bytes that were not read yet. Raises HttpError, ClientGoneError."""
        while not self._ended:
            event = await anext(self._events)
            if isinstance(event, bytes):
                self.size += len(event)
                yield event
            else:
                self._ended = True


class SentForm:
    """A form whose files follow its fields."""

    def __init__(self, request: Request) -> None:
        """Raises HttpError if the request has no boundary between the parts of the form."""
        self.fields: dict[str, list[str]] = {}
        self.seen: list[tuple[str, int]] = []
        """Names and sizes of the files that were read."""
        self._body = request.body
        self._events = _events(self._body, _boundary(request))
        self._next: SentFile | None = None

    @property
    def has_files(self) -> bool:
        """Whether a file has come, or follows."""
        return self._next is not None or bool(self.seen)

    async def read_fields(self) -> None:
        """Reads the fields, up to the first file. Raises HttpError, ClientGoneError."""
        size = count = 0
        async for event in self._events:
            assert isinstance(event, MultipartSegment), "the parser ends each part"
            if event.filename is not None:
                self._next = await self._named(event)
                return
            count += 1
            value = bytearray()
            async for part in SentFile("", self._events).parts():
                size += len(part)
                if size > FORM_BYTES:
                    raise too_large(FORM_BYTES)
                value += part
            if count > FORM_FIELDS:
                raise invalid(f"the form has more than {FORM_FIELDS} fields; send fewer")
            self.fields.setdefault(event.name, []).append(_text(event.name, bytes(value)))

    async def files(self) -> AsyncGenerator[SentFile, None]:
        """Yields the files one by one; ends once the whole form has come.

        Raises HttpError, ClientGoneError.
        """
        while (file := self._next) is not None:
            yield file
            async with contextlib.aclosing(file.parts()) as rest:
                async for _ in rest:
                    pass
            self.seen.append((file.name, file.size))
            event = await anext(self._events, None)
            self._next = None if event is None else await self._named(event)

    async def only_file(self) -> AsyncGenerator[bytes, None]:
        """Yields the bytes of the only file; ends once the whole form has come.

        Raises HttpError, ClientGoneError.
        """
        async for file in self.files():
            if self.seen:
                raise invalid("the form has more than one file, and one is accepted here; send one")
            async for part in file.parts():
                yield part

    async def skip(self) -> None:
        """Reads the rest of the body, as far as it comes. Raises ClientGoneError.

        A browser shows an answer only once it has sent all.
        """
        with contextlib.suppress(HttpError):
            async for _ in self._body.parts():
                pass

    async def _named(self, event: _Event) -> SentFile | None:
        """Returns the first file from a part on; fields of files may be empty."""
        while event is not None:
            assert isinstance(event, MultipartSegment), "the parser ends each part"
            if event.filename is None:
                raise invalid(
                    f"the field {excerpt(event.name)!r} of the form follows a file; send all fields"
                    " before the files"
                )
            file = SentFile(event.filename, self._events)
            if file.name:
                return file
            async for _ in file.parts():
                raise invalid("a file of the form has no name; give it one, and send it again")
            event = await anext(self._events, None)
        return None


@dataclass(slots=True)
class FormTurn:
    """A form that may be sent several times, by a double click."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Whoever has it reads the form; the others wait."""
    outcome: Outcome | None = None
    """None as long as it has led to nothing."""
    fields: Mapping[str, list[str]] = field(default_factory=dict)
    files: list[tuple[str, int]] = field(default_factory=list)

    async def repeated(self, form: SentForm) -> Outcome:
        """Returns what the same form has led to before. Raises HttpError if it is another one."""
        async for _ in form.files():
            pass
        if (self.fields, self.files) != (form.fields, form.seen):
            raise invalid(
                "this form was sent before with other files or values, which were accepted; open"
                " its page again to send more",
                409,
            )
        assert self.outcome is not None, "it was sent before"
        return self.outcome


class FormTurns:
    """The forms that were sent last, by their keys."""

    def __init__(self) -> None:
        self._turns: dict[tuple[str, str], FormTurn] = {}

    def of(self, path: str, key: str) -> FormTurn:
        """Returns the form of a page with a key; without a key each one is another form."""
        if not key:
            return FormTurn()
        turn = self._turns.setdefault((path, key), FormTurn())
        if len(self._turns) > _MOST:
            del self._turns[next(iter(self._turns))]
        return turn


async def _events(body: Body, boundary: str) -> AsyncGenerator[_Event, None]:
    """Yields the parts of a form as they come, up to its end. Raises HttpError, ClientGoneError."""
    try:
        parser = PushMultipartParser(boundary, max_header_size=_HEADER)
        async with contextlib.aclosing(body.parts()) as parts:
            async for part in parts:
                if part and not parser.closed:
                    for event in parser.parse(part):
                        yield bytes(event) if isinstance(event, bytearray) else event
        parser.close()
    except MultipartError as error:
        raise invalid(
            f"the form is damaged or not whole ({error}); nothing of it was used: send it again"
        ) from None


def _boundary(request: Request) -> str:
    boundary = parse_options_header(request.headers.get("content-type") or "")[1].get("boundary")
    if not boundary:
        raise invalid(f"the Content-Type of {excerpt(request.path)} has no boundary; add it")
    return str(boundary)


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise invalid(f"the field {excerpt(name)!r} of the form is not UTF-8") from None
