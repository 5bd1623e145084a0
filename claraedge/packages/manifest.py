"""Parses the text of a manifest: JSON or YAML, within limits of size and depth. Pure."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

from claraedge.errors import InvalidManifestError
from claraedge.packages.checks import Json, Mistakes
from claraedge.pipelines.syntax.nodes import ListNode, Node, ScalarNode
from claraedge.pipelines.syntax.problems import Problem, Report, shown
from claraedge.pipelines.syntax.reader import MAX_BYTES, MAX_DEPTH, MAX_NODES, read

#: What a manifest needs where the reader's own advice is about pipelines, by code of the problem.
_ADVICE = {
    "several-documents": "keep one package in a file; remove this `---` and what follows",
    "empty-document": "begin with `name: NAME`, `packageVersion: v1.0.0` and `plans:`",
    "file-too-large": "put data into the image",
    "too-deep": "a manifest needs fewer than twenty; close the brackets",
    "too-many-values": "leave out what the package does not need",
}
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class _NotJsonError(Exception):
    """The text is not JSON; the argument says why."""


def parse(text: str) -> Json:
    """Returns the value of a manifest's text. Never raises anything but InvalidManifestError."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise InvalidManifestError(
            f"the manifest is larger than {MAX_BYTES >> 20} MiB; put data into the image"
        )
    text = text.removeprefix("\ufeff")
    if not text.lstrip().startswith(("{", "[")):
        return _yaml(text)
    try:
        return _json(text)
    except _NotJsonError as why:
        try:
            return _yaml(text)  # JSON is not all that may begin with a bracket
        except InvalidManifestError:
            raise InvalidManifestError(f"the manifest is not JSON: {why}") from None


def canonical(value: Json) -> str:
    """Returns the JSON of a value that `parse` returned: the same value has the same text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


class _Object(dict[str, Any]):
    """An object of JSON, which knows the keys that stand twice in it."""

    twice: Sequence[str] = ()


def _json(text: str) -> Json:
    def pairs(found: list[tuple[str, Any]]) -> _Object:
        result = _Object(found)
        if len(result) < len(found):
            result.twice = [key for key, count in Counter(k for k, _ in found).items() if count > 1]
        return result

    try:
        value = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_constant=_no_number,
            parse_float=_float,
            parse_int=_int,
        )
    except json.JSONDecodeError as error:
        raise _NotJsonError(
            f"line {error.lineno}, column {error.colno}: {error.msg}; correct it there"
        ) from None
    except RecursionError:
        _refuse("too deep: close the brackets")
    except ValueError as error:
        _refuse(f"{error}; write a number of usual size")
    mistakes = Mistakes()
    _inspect(value, mistakes)
    mistakes.refuse()
    return value


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"`{word}` is not a number of JSON")


def _int(text: str) -> int:
    if len(text) > 18:
        raise ValueError(f"the number {shown(text, 20)} is too large")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {shown(text, 20)} is too large")
    return number


def _refuse(what: str) -> NoReturn:
    raise InvalidManifestError(f"the manifest cannot be read: {what}")


def _inspect(root: Json, mistakes: Mistakes) -> None:
    """Finds keys that stand twice, texts that are not Unicode, and too much depth or size."""
    waiting: list[tuple[Json, str, int]] = [(root, "", 1)]
    count = 0
    while waiting:
        value, path, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH:
            _refuse(f"more than {MAX_DEPTH} lists and objects stand inside each other")
        if count > MAX_NODES:
            _refuse(f"it holds more than {MAX_NODES} values; leave out what is not needed")
        match value:
            case str():
                _inspect_text(value, path, mistakes)
            case list():
                waiting += [(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(value)]
            case _Object():
                for key in value.twice:
                    mistakes.add(path, f"the key {shown(key)} stands twice; keep one of them")
                for key, inner in value.items():
                    _inspect_text(key, path, mistakes)
                    waiting.append((inner, f"{path}.{key[:64]}".lstrip("."), depth + 1))


def _inspect_text(text: str, path: str, mistakes: Mistakes) -> None:
    if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
        mistakes.add(path, "an escape there stands for half a character; write the character")


def _yaml(text: str) -> Json:
    report = Report()
    node = read(text, "manifest", report)
    problems = report.problems()
    if problems or node is None:
        raise InvalidManifestError(*(_message_of(problem) for problem in problems))
    return _value(node)


def _message_of(problem: Problem) -> str:
    message = problem.message.replace("the definition language", "a manifest")
    advice = _ADVICE.get(problem.code, problem.fix)
    return f"line {problem.line}, column {problem.column}: {message}; {advice}"


def _value(node: Node) -> Json:
    """Returns the value of a node, by the core schema of YAML 1.2.

    A number that would be written differently, such as `007`, stays a text.
    """
    if isinstance(node, ListNode):
        return [_value(each) for each in node.items]
    if not isinstance(node, ScalarNode):
        return {key.text: _value(value) for key, value in node.entries}
    text = node.text
    if node.null:
        return None
    if not node.plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number if not text.lstrip("+-").isdigit() else text
    return text
