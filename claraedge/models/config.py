"""Reads `config.pbtxt` as far as the repository needs it: name, kind and parts of a model. Pure.

The file is in protobuf text format; the inference server checks the rest when it loads the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from claraedge import texts
from claraedge.errors import InvalidModelError
from claraedge.models.layout import CONFIG

#: Bytes; real files have a few thousand.
MAX_CONFIG = 1024 * 1024

#: The parameter by which a model names others that it calls: nothing else records what a Python
#: model with business logic scripting calls.
CALLS = "claraedge_models"

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
_LISTED = re.compile(r"[\s,]+")

#: Triton's names of backends that run a file of the version's folder (model_repository.md,
#: backends).
_OF_FILES = frozenset(
    {"onnxruntime", "tensorrt", "pytorch", "tensorflow", "openvino", "python", "dali", "fil"}
    | {"onnxruntime_onnx", "tensorrt_plan", "pytorch_libtorch", "caffe2_netdef"}
    | {"tensorflow_graphdef", "tensorflow_savedmodel"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The values of a model's configuration that are used."""

    name: str | None
    parts: tuple[str, ...] = ()
    """Other models that it uses: steps of an ensemble, and those that it declares to call."""
    of_files: bool = True
    """Whether each version needs a file. False for an ensemble, and for a backend that may need
    none.
    """


@dataclass(slots=True)
class _Message:
    """A protobuf message: its fields in order, each with a text or a message as value."""

    fields: list[tuple[str, bytes | _Message]]

    def texts(self, name: str) -> list[bytes]:
        return [v for field, v in self.fields if field == name and isinstance(v, bytes)]

    def messages(self, name: str) -> list[_Message]:
        return [v for field, v in self.fields if field == name and isinstance(v, _Message)]

    def text(self, name: str) -> bytes:
        return (self.texts(name) or [b""])[-1]


def read_config(content: bytes) -> ModelConfig:
    """Parses a configuration. Raises InvalidModelError where it is no protobuf text, or has two
    names.
    """
    top = _parsed(_decoded(content))
    names = top.texts("name")
    if len(names) > 1:
        raise InvalidModelError(f"{CONFIG} has {len(names)} fields `name`; keep one")
    try:
        name = names[0].decode("utf-8") if names and names[0] else None
    except UnicodeDecodeError as error:
        raise InvalidModelError(
            f"the `name` in {CONFIG} is not UTF-8; save the file as UTF-8"
        ) from error
    kinds = {top.text(field).decode(errors="replace") for field in ("platform", "backend")} - {""}
    return ModelConfig(name=name, parts=_parts(top), of_files=not kinds or bool(kinds & _OF_FILES))


def _parts(top: _Message) -> tuple[str, ...]:
    found = [
        step.text("model_name").decode(errors="replace")
        for ensemble in top.messages("ensemble_scheduling")
        for step in ensemble.messages("step")
    ]
    for parameter in top.messages("parameters"):
        if parameter.text("key") == CALLS.encode():
            for value in parameter.messages("value"):
                found += _LISTED.split(value.text("string_value").decode(errors="replace"))
    return tuple(dict.fromkeys(name for name in found if name))


def _decoded(content: bytes) -> str:
    try:
        text = texts.decode(content)
    except texts.NotTextError as error:
        raise InvalidModelError(f"{CONFIG}, line {error.line}: {error}") from error
    if text.lstrip().startswith("{"):
        raise InvalidModelError(
            f'{CONFIG} is JSON; the inference server reads protobuf text, as `name: "lung"`:'
            " remove the outermost braces, the quotes around names, and commas at ends of lines"
        )
    return text


def _parsed(text: str) -> _Message:
    """Parses the message iteratively: a hostile file may be nested as deeply as it is long."""
    message = _Message([])
    above: list[tuple[_Message, str, bool]] = []
    field = ""  # set while its value is read
    value = False  # the next token is a value: a word is then no field name
    joins = False  # a string is joined to the string before it
    listed = False  # inside `[ ]`, where each value belongs to the field
    for kind, part, line in _tokens(text):
        if kind == "open" and part == "[":
            above.append((message, field, listed))
            listed, value, joins = True, True, False
        elif kind == "open":
            inner = _Message([])
            message.fields.append((field, inner))
            above.append((message, field, listed))
            message, field, listed, value, joins = inner, "", False, False, False
        elif kind == "close":
            if not above:
                raise InvalidModelError(
                    f"{CONFIG}, line {line}: {part!r} closes nothing; remove it"
                )
            message, field, listed = above.pop()
            value, joins = listed, False
        elif kind == "sign":
            value = part == ":" or listed
            joins = False
        elif kind == "string" and field:
            text_of = _unescape(part)
            if joins:
                before = message.fields.pop()[1]
                text_of = (before if isinstance(before, bytes) else b"") + text_of
            message.fields.append((field, text_of))
            value, joins = listed, True
        elif kind == "word" and not value:
            field, joins = part, False
        elif kind == "word":
            message.fields.append((field, part.encode()))
            value, joins = listed, False
    if above:
        raise InvalidModelError(f"{CONFIG} ends inside a bracket that is not closed; close it")
    return message


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """Yields (kind, token, line number). Raises InvalidModelError."""
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise InvalidModelError(
                f"{CONFIG}, line {line}: {text[at : at + 20]!r} is no protobuf text; this must"
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
