"""Ids as clients write them, and as they are kept."""

from __future__ import annotations

import uuid

import pytest

from claraedge.errors import InvalidJobIdError, InvalidRequestError
from claraedge.ids import new_id, parse_id


def test_a_new_id_is_a_random_uuid_without_dashes() -> None:
    made = {new_id() for _ in range(100)}
    assert len(made) == 100
    assert all(uuid.UUID(i).hex == i and uuid.UUID(i).version == 4 for i in made)


@pytest.mark.parametrize(
    "text",
    [
        "0123456789abcdef0123456789abcdef",
        "0123456789ABCDEF0123456789ABCDEF",
        "01234567-89ab-cdef-0123-456789abcdef",
        "  01234567-89AB-CDEF-0123-456789ABCDEF\n",
    ],
)
def test_every_way_of_writing_is_the_same_id(text: str) -> None:
    assert parse_id(text) == "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spleen",
        "0" * 31,
        "0" * 33,
        "g" * 32,
        "0123-4567-89abcdef0123456789abcdef",
        "{01234567-89ab-cdef-0123-456789abcdef}",
        "\uff10" * 32,
        "0" * 32 + "\n0",
    ],
)
def test_what_is_no_id_raises_the_given_error(text: str) -> None:
    with pytest.raises(InvalidJobIdError, match="32 hex digits"):
        parse_id(text, InvalidJobIdError)


def test_a_very_long_text_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_id("x" * 10_000)
    assert len(str(caught.value)) < 200
