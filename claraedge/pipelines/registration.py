"""Operators that register results with an agent, which the platform runs itself. Pure.

Source: Clara 0.7.4 and 0.8.1, Results Service; published pipelines, whose operators of the image
`register-results` run `python register.py --agent AGENT --data '["DESTINATION"]'`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from claraedge.pipelines import contract
from claraedge.pipelines.model import Operator, Pipeline

IMAGE = "register-results"

_LONGEST = 500
_OPTION = re.compile(r"(?s)--(agent|data)(?:=(.*))?")
_INSIDE = re.compile(r"(?:^|\s)--(?:agent|data)(?=[\s=]|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The agent and the data that a command registers."""

    agent: str | None
    """The agent as written; None: the command names none."""
    data: object
    """A list or a mapping where the text is one in JSON, otherwise the text; None: no data."""


def is_registration(operator: Operator) -> bool:
    """Whether the operator's image is `register-results`, of any registry."""
    path = operator.container.image.partition("@")[0]
    return path.rpartition("/")[2].partition(":")[0] == IMAGE


def registration(
    operator: Operator, variables: Mapping[str, str] | None = None
) -> Registration | None:
    """Returns what the operator registers; None where it is an ordinary operator.

    `variables` are those of its container: `$(NAME)` in the command is expanded by them. Options
    may come in any order and as `--name=value`; the last of several counts, as in Python's
    argparse. No content of a command is an error.
    """
    if not is_registration(operator):
        return None
    values: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in _words(contract.command(operator, variables or {})):
        option = _OPTION.fullmatch(word)
        if option is not None:
            current = values[option[1]] = [] if option[2] is None else [option[2]]
        elif word.startswith("--"):
            current = None
        elif current is not None:
            current.append(word)
    agent, data = values.get("agent"), values.get("data")
    return Registration(
        agent=None if agent is None else " ".join(agent),
        data=None if data is None else _data(" ".join(data)),
    )


def summary(operator: Operator, registered: Registration) -> str:
    """Returns a description of the registration, in one line for people."""
    agent = "no agent" if registered.agent is None else f"agent {_shown(registered.agent)}"
    data = "" if registered.data is None else f", data {_shown(registered.data)}"
    text = f"results registered for {agent}{data}; its inputs are delivered with the job's results"
    values = [_shown(i.name) for i in operator.inputs if i.in_memory]
    if values:
        text += f" (but not {', '.join(values)}: values in shared memory are not delivered)"
    return text


def registrations(
    pipeline: Pipeline, *, job_id: str, job_name: str
) -> Sequence[tuple[Operator, Registration]]:
    """Returns what the operators of a job register, in the order of the definition."""
    found = []
    for operator in pipeline.operators:
        if is_registration(operator):
            variables = contract.environment(operator, job_id=job_id, job_name=job_name)
            registered = registration(operator, variables)
            assert registered is not None, "`is_registration` has checked its image"
            found.append((operator, registered))
    return found


def _words(command: Sequence[str]) -> Iterator[str]:
    """Yields the command's words; an entry with a whole command line, as for `sh -c`, is split."""
    for part in command:
        option = _OPTION.fullmatch(part)
        if _INSIDE.search(part if option is None else option[2] or "") is None:
            yield part
            continue
        try:
            yield from shlex.split(part)
        except ValueError:  # an open quote
            yield from part.split()


def _shown(value: object) -> str:
    """Returns the value as JSON on one line, shortened for a message."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _data(text: str) -> object:
    try:
        value: object = msgspec.json.Decoder().decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text
    return value if isinstance(value, list | dict) else text
