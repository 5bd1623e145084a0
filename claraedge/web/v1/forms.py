"""Forms of a list of answers: a JSON list, lines, server-sent events, text, and plain bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.descriptor import FieldDescriptor

from claraedge.errors import InvalidRequestError
from claraedge.web.http.failures import HttpError, excerpt, refused
from claraedge.web.rpc.codecs import json_text, off_loop
from claraedge.web.v1.readable import printed
from claraedge.web.v1.rules import Rule

JSON = "application/json"


def elements(rule: Rule, answer: bytes) -> Sequence[bytes]:
    """Returns the elements of a list that an answer contains, as readable JSON."""
    value = printed(rule.method.response.FromString(answer))
    if rule.response is None:
        return [json_text(value)]
    content = value.get(rule.response.json_name)
    if rule.response.is_repeated:
        return [json_text(one) for one in content or []]
    return [] if content is None else [json_text(content)]


class ListForm:
    """A list of elements, of a stream of answers."""

    content_type = JSON
    streams_errors = False
    sign_of_life = b""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._begun = False

    async def part(self, answer: bytes) -> bytes:
        found = await off_loop(len(answer), elements, self._rule, answer)
        return b"".join(map(self.frame, found))

    def frame(self, element: bytes) -> bytes:
        """Returns one element as part of the body."""
        separator = b",\n" if self._begun else b"[\n"
        self._begun = True
        return separator + element

    def end(self, failure: HttpError | None) -> bytes:
        if failure is not None:
            return b""  # the list stays open: no parser mistakes it for the whole
        return b"\n]\n" if self._begun else b"[]\n"


class LineForm(ListForm):
    """A line of JSON for each element; a failure is the last line."""

    content_type = "application/x-ndjson"

    def frame(self, element: bytes) -> bytes:
        return element + b"\n"

    def end(self, failure: HttpError | None) -> bytes:
        return b"" if failure is None else b'{"error":' + failure.text + b"}\n"


class EventForm(ListForm):
    """Server-sent events (html.spec.whatwg.org), one for each element.

    The event `end` follows the last one, since EventSource would open the stream again.
    """

    content_type = "text/event-stream"
    sign_of_life = b":\n\n"

    def frame(self, element: bytes) -> bytes:
        return b"data: " + element + b"\n\n"

    def end(self, failure: HttpError | None) -> bytes:
        if failure is None:
            return b"event: end\ndata: {}\n\n"
        return b"event: failure\ndata: " + failure.text + b"\n\n"


class TextForm(ListForm):
    """Strings one after the other."""

    content_type = "text/plain; charset=utf-8"

    def frame(self, element: bytes) -> bytes:
        text: str = json.loads(element)
        return text.encode("utf-8", "replace")

    def end(self, failure: HttpError | None) -> bytes:
        return b""


class RawForm(ListForm):
    """The bytes of a field, as they are."""

    content_type = "application/octet-stream"

    async def part(self, answer: bytes) -> bytes:
        assert self._rule.response is not None, "the rule names a field of bytes"
        data: bytes = getattr(
            self._rule.method.response.FromString(answer), self._rule.response.name
        )
        return data

    def end(self, failure: HttpError | None) -> bytes:
        return b""


def form_for(rule: Rule, accept: str | None) -> ListForm:
    """Returns the form that a client accepts best. Raises HttpError if it accepts none."""
    if rule.is_raw:
        return RawForm(rule)
    forms: list[type[ListForm]] = [ListForm, LineForm, EventForm]
    if rule.response is not None and rule.response.type == FieldDescriptor.TYPE_STRING:
        forms.append(TextForm)
    return accepted(accept, forms)(rule)


def accepted(accept: str | None, forms: Sequence[type[ListForm]]) -> type[ListForm]:
    """Returns the form that an Accept header prefers; the first one of equal forms.

    Raises HttpError if it accepts none.
    """
    types = [form.content_type.partition(";")[0] for form in forms]
    ranges: dict[str, float] = {}
    for name, quality in _ranges(accept or "*/*"):
        ranges.setdefault(name, quality)
    best = max(types, key=lambda kind: _quality(ranges, kind))
    if not _quality(ranges, best):
        raise refused(
            InvalidRequestError(
                f"the request accepts {excerpt(accept or '')} only; this path has"
                f" {', '.join(types)}"
            ),
            406,
        )
    return forms[types.index(best)]


def _quality(ranges: Mapping[str, float], kind: str) -> float:
    """Returns how well a type is accepted, 0 to 1; the most specific range counts."""
    names = (kind, f"{kind.partition('/')[0]}/*", "*/*")
    return next((ranges[name] for name in names if name in ranges), 0.0)


def _ranges(accept: str) -> Iterable[tuple[str, float]]:
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        yield name, quality
