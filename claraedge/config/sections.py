"""What sections of the configuration are made of."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Days = Annotated[float, msgspec.Meta(ge=0, le=36500)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Megabytes = Annotated[int, msgspec.Meta(ge=1, le=16 * 1024 * 1024)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""
