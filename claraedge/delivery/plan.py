"""Which outputs of a job are delivered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from claraedge.errors import InvalidRequestError
from claraedge.pipelines.application import may_be_application
from claraedge.pipelines.model import Operator, Pipeline
from claraedge.pipelines.spelling import Speller


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Delivered:
    """One output that is delivered."""

    operator: str
    output: str | None
    """None: the operator's one unnamed output."""

    @property
    def folder(self) -> str:
        """Its folder inside the result folder, and below `operators/` in the payload."""
        return self.operator if self.output is None else f"{self.operator}/{self.output}"


def plan(pipeline: Pipeline, named: Iterable[str] = ()) -> Sequence[Delivered]:
    """The outputs to deliver, in the order of the definition.

    Every output that no other operator reads, those that only operators without outputs read, and
    what `named` lists (`operator` or `operator/output`, without regard to case). Raises
    InvalidRequestError with a message for each name that the pipeline does not have.
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
    kept = {
        (reader_input.source.casefold(), _folded(reader_input.name))
        for operator in pipeline.operators
        if operator.outputs
        for reader_input in operator.inputs
        if reader_input.source is not None
    }
    chosen = []
    for operator in pipeline.operators:
        for output in operator.outputs:
            key = (operator.name.casefold(), _folded(output.name))
            if key not in kept or key in wanted:
                chosen.append(Delivered(operator=operator.name, output=output.name))
    return chosen


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
        return set()  # its image may still tell of one, whose name is not known
    if not operator.outputs:
        raise InvalidRequestError(
            f"`deliver` names {text!r}, but the operator `{operator.name}` has no outputs;"
            " leave it out"
        )
    if not slash:
        return {(operator.name.casefold(), _folded(o.name)) for o in operator.outputs}
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
