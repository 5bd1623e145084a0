"""Metadata of pipelines, jobs, models and reusable payloads: Clara's rules, and their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from claraedge import memory
from claraedge.errors import InvalidMetadataError
from claraedge.store.database import Transaction

#: Source: Clara 0.8.1; values are counted in characters because the original adapter cuts them so.
MAX_KEY_BYTES = 128
MAX_VALUE_CHARACTERS = 256
#: Clara says 4 MB. The whole set is part of answers, which original clients take up to 4 MiB, so it
#: has to leave room for the framing of each entry and for what else an answer says.
MAX_TOTAL_BYTES = 3_500_000
ENTRY_BYTES = 16


def check(entries: Mapping[str, str]) -> dict[str, str]:
    """The entries, if they keep the rules; else InvalidMetadataError with every breach."""
    breaches = []
    folded: dict[str, str] = {}
    total = 0
    for key, value in entries.items():
        total += len(key.encode()) + len(value.encode()) + ENTRY_BYTES
        if not key:
            breaches.append("a metadata key is empty")
        if len(key.encode()) > MAX_KEY_BYTES:
            breaches.append(
                f"the metadata key {key[:40]!r}... is longer than {MAX_KEY_BYTES} bytes"
            )
        if len(value) > MAX_VALUE_CHARACTERS:
            breaches.append(
                f"the value of the metadata key {key[:40]!r} is longer than"
                f" {MAX_VALUE_CHARACTERS} characters"
            )
        other = folded.setdefault(key.casefold(), key)
        if other != key:
            breaches.append(
                f"the metadata keys {other!r} and {key!r} are the same: case does not count"
            )
    if total > MAX_TOTAL_BYTES:
        breaches.append(
            f"the metadata are larger than {MAX_TOTAL_BYTES} bytes together"
            f" (each entry counts {ENTRY_BYTES} more); remove some first"
        )
    if breaches:
        raise InvalidMetadataError(*breaches)
    return dict(entries)


def add(tx: Transaction, owner: str, entries: Mapping[str, str]) -> None:
    """Stores checked entries of a new owner."""
    for key, value in entries.items():
        tx.run("add_metadata", owner=owner, key_folded=key.casefold(), key=key, value=value)


def merge(tx: Transaction, owner: str, entries: Mapping[str, str]) -> dict[str, str]:
    """Adds entries to those of an owner; returns the complete set.

    A key that is there (case does not count) with the same value changes nothing, so that a client
    that lost an answer can ask again. With another value, or where the whole set would break a
    limit: InvalidMetadataError, and nothing is changed. Source: Clara 0.8.1, AddMetadata.
    """
    checked = check(entries)
    present = read(tx, owner)
    folded = {key.casefold(): key for key in present}
    new = {key: value for key, value in checked.items() if key.casefold() not in folded}
    taken = [
        f"the metadata key {folded[key.casefold()]!r} is there with another value;"
        " remove it first to give it a new one"
        for key, value in checked.items()
        if key not in new and present[folded[key.casefold()]] != value
    ]
    if taken:
        raise InvalidMetadataError(*taken)
    check({**present, **new})
    add(tx, owner, new)
    return read(tx, owner)


def remove(tx: Transaction, owner: str, keys: Iterable[str]) -> dict[str, str]:
    """Removes keys, whatever their case; returns what is left. An absent key is no error."""
    for key in keys:
        tx.run("drop_metadata", owner=owner, key_folded=key.casefold())
    return read(tx, owner)


def forget(tx: Transaction, owner: str) -> None:
    """Removes all entries of an owner that is no more."""
    tx.run("forget_metadata", owner=owner)


def read(tx: Transaction, owner: str) -> dict[str, str]:
    """All entries of an owner, in the spelling that they came in."""
    return {row["key"]: row["value"] for row in tx.rows("metadata", owner=owner)}


def size(entries: Mapping[str, str]) -> int:
    """Bytes of memory that entries take."""
    return sum(memory.of_text(key, value) for key, value in entries.items())
