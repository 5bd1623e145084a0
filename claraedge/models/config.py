"""`config.pbtxt`, as far as the repository reads it: the model's name. Pure.

The file is protobuf in text form; the inference server checks the rest when it loads the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from claraedge import texts
from claraedge.errors import InvalidModelError

#: Bytes; the real ones have a few thousand.
MAX_CONFIG = 1024 * 1024

_TOKEN = re.compile(
    r"""(?P<skip>[\s\ufeff]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<word>[\w.+-]+)
      | (?P<open>[{<\[])
      | (?P<close>[}>\]])
      | (?P<sign>[:;,/])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_SHORT = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def model_name(content: bytes) -> str | None:
    """The `name` at the top level of a model's configuration, None where there is none.

    Raises InvalidModelError where the text is no protobuf text, or has two names.
    """
    try:
        text = texts.decode(content)
    except texts.NotTextError as error:
        raise InvalidModelError(f"config.pbtxt, line {error.line}: {error}") from error
    names: list[bytes] = []
    depth = 0
    field = ""  # of the top level, while its value is read
    value = False  # what comes is a value: a word there names no field
    for kind, part, line in _tokens(text):
        if kind == "open":
            depth += 1
            value = False
        elif kind == "close":
            depth -= 1
            if depth < 0:
                raise InvalidModelError(f"config.pbtxt, line {line}: {part!r} closes nothing")
            field = ""
        elif depth == 0 and part == ":":
            value = True
        elif depth == 0 and kind == "string" and field == "name":
            names[-1] += _unescape(part)  # strings that stand side by side are one
            value = False
        elif depth == 0 and kind == "word" and not value:
            field = part
            if part == "name":
                names.append(b"")
        elif depth == 0:
            value = False
    if depth:
        raise InvalidModelError("config.pbtxt ends inside a bracket that is not closed")
    if len(names) > 1:
        raise InvalidModelError(f"config.pbtxt has {len(names)} fields `name`; keep one")
    try:
        return names[0].decode("utf-8") if names and names[0] else None
    except UnicodeDecodeError as error:
        raise InvalidModelError("the `name` in config.pbtxt is not UTF-8") from error


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """(kind, token, line number)."""
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise InvalidModelError(
                f"config.pbtxt, line {line}: {text[at : at + 20]!r} is no protobuf text; this must"
                " be the model configuration of the inference server in text form"
            )
        if found.lastgroup != "skip":
            yield str(found.lastgroup), found.group(), line
        line += found.group().count("\n")
        at = found.end()


def _unescape(token: str) -> bytes:
    def value(found: re.Match[bytes]) -> bytes:
        hexadecimal, octal, other = found.groups()
        if hexadecimal:
            return bytes([int(hexadecimal, 16)])
        if octal:
            return bytes([int(octal, 8) & 0xFF])
        return _SHORT.get(other, other)

    return _ESCAPE.sub(value, token[1:-1].encode())
