"""The composition of models: which parts a model has, and whether they changed. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping

import msgspec

from claraedge.errors import ModelNotReadyError


class Stored(msgspec.Struct, frozen=True):
    """One upload of a model, as the repository stores it."""

    model: str
    """Id of the model."""
    generation: int
    parts: tuple[str, ...] = ()
    """Names of the models that it is composed of."""


class Version(msgspec.Struct, frozen=True):
    """One upload of a model, with all of its parts."""

    stored: Stored
    digest: str
    """Changes as soon as the model, or any of its parts, is replaced."""


def compose(names: Iterable[str], present: Mapping[str, Stored], limit: int) -> dict[str, Version]:
    """Returns these models and all of their parts, each after its own parts.

    Raises ModelNotReadyError if one is missing or is a part of itself, or if they exceed `limit`.
    """
    found: dict[str, Version] = {}
    for name in names:
        _add(name, (), found, present, limit)
    return found


def _add(
    name: str,
    above: tuple[str, ...],
    found: dict[str, Version],
    present: Mapping[str, Stored],
    limit: int,
) -> None:
    if name in found:
        return
    if name in above:
        raise ModelNotReadyError(
            f"the model {name} is made of itself ({' of '.join((*above, name))}); change"
            " `model_name` in its config.pbtxt and upload it again"
        )
    if name not in present:
        raise ModelNotReadyError(_missing(name, above))
    if len(found) + len(above) >= limit:
        raise ModelNotReadyError(
            f"the job needs more than {limit} models at once, with those that models are made of,"
            " and the inference server can hold no more; raise inference.model_limit, or split the"
            " pipeline"
        )
    stored = present[name]
    for part in stored.parts:
        _add(part, (*above, name), found, present, limit)
    content = [stored.model, stored.generation, [found[part].digest for part in stored.parts]]
    digest = hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]
    found[name] = Version(stored=stored, digest=digest)


def _missing(name: str, above: tuple[str, ...]) -> str:
    of = f", of which the model {above[-1]} is made" if above else ""
    return (
        f"the repository has no model {name}{of}; `claraedge list models` shows those there are,"
        " `claraedge create model` adds one"
    )


def wholes_first(names: Collection[str], loaded: Mapping[str, Version | None]) -> list[str]:
    """Returns these and all loaded models that contain them, each before its own parts.

    This is the order to unload: Triton removes an ensemble with the first of its parts.
    """
    rest = set(names)
    while more := {n for n in loaded if n not in rest and rest & set(_parts(loaded[n]))}:
        rest |= more
    ordered: list[str] = []
    while rest:
        below = {part for name in rest for part in _parts(loaded.get(name))}
        free = sorted(rest - below) or sorted(rest)
        ordered += free
        rest -= set(free)
    return ordered


def _parts(version: Version | None) -> tuple[str, ...]:
    return version.stored.parts if version is not None else ()
