"""Figures that may be unknown, in messages that cannot say so."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message


def fill(message: Message, figures: Mapping[str, float | None], place: str) -> list[str]:
    """Sets the figures that are known and leaves the others out.

    One that is left out reads as 0. So the texts that come back belong into the header's messages:
    `PLACE.FIELD: unknown`, one a figure.
    """
    for field, value in figures.items():
        if value is not None:
            setattr(message, field, value)
    return [f"{place}.{field}: unknown" for field, value in figures.items() if value is None]
