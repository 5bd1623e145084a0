"""The only way to decode JSON into typed values, from any thread.

msgspec analyses a Struct type when it first decodes one. If another thread decodes the same type at
that moment, it sees a half-finished analysis, and the process ends with a segmentation fault
(msgspec 0.22). Therefore a lock serialises the construction of the decoder of each type.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")

_decoders: dict[object, msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()


@overload
def decode_json(content: bytes | str, kind: type[T]) -> T: ...


@overload
def decode_json(content: bytes | str, kind: Any) -> Any: ...


def decode_json(content: bytes | str, kind: Any) -> Any:
    """Decodes JSON into a value of type `kind`. Raises msgspec.MsgspecError if it is not one."""
    decoder = _decoders.get(kind)
    if decoder is None:
        with _making:
            decoder = _decoders[kind] = _decoders.get(kind) or msgspec.json.Decoder(kind)
    try:
        return decoder.decode(content)
    except msgspec.MsgspecError:
        raise
    except (ValueError, RecursionError) as error:  # not UTF-8, number too long, nested too deeply
        raise msgspec.DecodeError(str(error)) from error
