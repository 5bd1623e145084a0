"""Models and sets of models, as values; and the rule for a model's name. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from claraedge.errors import InvalidModelError
from claraedge.memory import of_text

MAX_NAME_BYTES = 255

#: Bytes of memory for a model, in addition to its metadata.
_MODEL = 1000


class ModelType(enum.IntEnum):
    """The framework that a model is for; the numbers are those of the wire."""

    UNKNOWN = 0
    TENSOR_FLOW = 1
    TENSOR_RT = 2
    PY_TORCH = 3


class SetKind(enum.StrEnum):
    """The kind of a set of models."""

    CATALOG = "catalog"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model of the repository."""

    id: str
    name: str
    """The name of its folder, and in the inference server; unique."""
    type: ModelType
    generation: int
    """Number of the upload; it also names the folder with the files of that upload."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def memory(self) -> int:
        """Returns the approximate memory that it uses, in bytes."""
        return _MODEL + sum(of_text(key, value) for key, value in self.metadata.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """A catalog or an instance."""

    id: str
    models: tuple[Model, ...]
    """Its models, in the order of the last update."""

    def memory(self) -> int:
        """Returns the approximate memory that it uses, in bytes."""
        return sum(model.memory() for model in self.models)


def check_name(name: str) -> str:
    """Returns the name if it can be that of a folder. Raises InvalidModelError otherwise."""
    shown = repr(name if len(name) <= 80 else name[:77] + "...")
    if not name or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise InvalidModelError(
            f"the model name {shown} is not of 1 to {MAX_NAME_BYTES} bytes; choose another"
        )
    if name.startswith(".") or not name.isprintable() or any(sign in name for sign in "/\\"):
        raise InvalidModelError(
            f"the model name {shown} begins with a dot, or holds a slash or what is not printable;"
            " choose another"
        )
    return name
