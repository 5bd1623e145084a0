"""The one way to read JSON into typed values, from any thread.

msgspec looks into a Struct when it first decodes one, and another thread that decodes the same type
meanwhile finds it half done: that ends the process with a segmentation fault (msgspec 0.22). So the
first look at each type is made by one thread at a time.
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
    """The value of this type in a JSON text. Raises msgspec.MsgspecError where it is none."""
    decoder = _decoders.get(kind)
    if decoder is None:
        with _making:
            decoder = _decoders[kind] = _decoders.get(kind) or msgspec.json.Decoder(kind)
    try:
        return decoder.decode(content)
    except msgspec.MsgspecError:
        raise
    except (ValueError, RecursionError) as error:  # no UTF-8, too long a number, too deep
        raise msgspec.DecodeError(str(error)) from error
