"""Decides which outputs of a job are delivered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from claraedge.errors import InvalidRequestError
from claraedge.pipelines.application import may_be_application
from claraedge.pipelines.model import Operator, Pipeline
from claraedge.pipelines.registration import is_registration
from claraedge.pipelines.syntax.spelling import Speller


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Delivered:
    """An output that is delivered."""

    operator: str
    output: str | None
    """None: the single unnamed output of the operator."""
    input: bool = False
    """Whether it is the job's own input, which this operator registers as a result."""

    @property
    def folder(self) -> str:
        """Its folder inside the result folder."""
        return self.operator if self.output is None else f"{self.operator}/{self.output}"

    @property
    def source(self) -> str:
        """Its folder in the payload."""
        return "input" if self.input else f"operators/{self.folder}"


def plan(pipeline: Pipeline, named: Iterable[str] = ()) -> Sequence[Delivered]:
    """Returns what to deliver, in the order of the definition.

    That is every output that no other operator reads; those that only operators without outputs
    read; what `named` lists (`operator` or `operator/output`, case-insensitive); and all that an
    operator registers as results. A registered input of the job is delivered under that operator's
    name. Values in shared memory are not files and are not delivered.

    Raises InvalidRequestError with a message for each name that is no output, or is a value.
    """
    wanted = set()
    problems: list[str] = []
    for text in named:
        try:
            wanted.update(_named(pipeline, text))
        except InvalidRequestError as error:
            problems.extend(error.messages)
    if problems:
        raise InvalidRequestError(*problems)
    kept: set[tuple[str, str | None]] = set()
    for operator in pipeline.operators:
        if is_registration(operator):
            wanted.update(_read(pipeline, operator))
        elif operator.outputs:
            kept.update(_read(pipeline, operator))
    chosen = []
    for operator in pipeline.operators:
        if is_registration(operator) and any(i.source is None for i in operator.inputs):
            chosen.append(Delivered(operator=operator.name, output=None, input=True))
        for output in operator.outputs:
            key = (operator.name.casefold(), _folded(output.name))
            if not output.in_memory and (key not in kept or key in wanted):
                chosen.append(Delivered(operator=operator.name, output=output.name))
    return chosen


def _read(pipeline: Pipeline, reader: Operator) -> Iterator[tuple[str, str | None]]:
    """Yields the outputs that an operator reads; an input without a name reads all of a source."""
    for entry in reader.inputs:
        source = pipeline.operator(entry.source) if entry.source is not None else None
        if source is None:
            continue
        names = [entry.name] if entry.name is not None else [o.name for o in source.outputs]
        for name in names:
            yield source.name.casefold(), _folded(name)


def _named(pipeline: Pipeline, text: str) -> set[tuple[str, str | None]]:
    name, slash, output = text.strip("/").partition("/")
    operator = pipeline.operator(name)
    if operator is None:
        hint = Speller().fix(
            name,
            [o.name for o in pipeline.operators],
            "its operators are " + ", ".join(f"`{o.name}`" for o in pipeline.operators),
        )
        raise InvalidRequestError(
            f"`deliver` names {text!r}, but the pipeline {pipeline.name} has no operator"
            f" `{name}`; {hint}"
        )
    if not operator.outputs and may_be_application(operator):
        return set()  # its image's manifest may still name one
    if not operator.outputs:
        raise InvalidRequestError(
            f"`deliver` names {text!r}, but the operator `{operator.name}` has no outputs;"
            " leave it out"
        )
    in_memory = {_folded(o.name) for o in operator.outputs if o.in_memory}
    asked = {_folded(o.name) for o in operator.outputs} if not slash else {output.casefold()}
    if asked <= in_memory:
        raise InvalidRequestError(
            f"`deliver` names {text!r}, which is a value in shared memory and no file that could be"
            " delivered; leave it out, and let an operator write it to a folder"
        )
    if not slash:
        return {(operator.name.casefold(), name) for name in asked}
    if output.casefold() not in {_folded(o.name) for o in operator.outputs}:
        raise InvalidRequestError(
            f"`deliver` names {text!r}, but the operator `{operator.name}` has no output"
            f" `{output}`; {_outputs(operator, output)}"
        )
    return {(operator.name.casefold(), output.casefold())}


def _outputs(operator: Operator, written: str) -> str:
    names = [o.name for o in operator.outputs if o.name is not None]
    if not names:
        return f"its one output has no name: write `{operator.name}`"
    return Speller().fix(written, names, "its outputs are " + ", ".join(f"`{n}`" for n in names))


def _folded(name: str | None) -> str | None:
    return None if name is None else name.casefold()
