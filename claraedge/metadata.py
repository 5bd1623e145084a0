"""Metadata of pipelines, jobs, models and reusable payloads: Clara's rules and the table rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from claraedge import memory
from claraedge.errors import InvalidMetadataError
from claraedge.store.database import Transaction

#: Source: Clara 0.8.1. Values are counted in characters because the original adapter truncates
#: them by characters.
MAX_KEY_BYTES = 128
MAX_VALUE_CHARACTERS = 256
#: Clara's limit is 4 MB. The whole set is part of answers, of which original clients accept at most
#: 4 MiB, so it must leave room for the framing of each entry and for the other fields of an answer.
MAX_TOTAL_BYTES = 3_500_000
ENTRY_BYTES = 16


def check(entries: Mapping[str, str]) -> dict[str, str]:
    """Returns the entries if they follow the rules.

    Raises InvalidMetadataError that lists every violation.
    """
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
    """Stores entries, which must be checked already, for a new owner."""
    for key, value in entries.items():
        tx.run("add_metadata", owner=owner, key_folded=key.casefold(), key=key, value=value)


def merge(tx: Transaction, owner: str, entries: Mapping[str, str]) -> dict[str, str]:
    """Adds entries to those of an owner; returns the complete set.

    A key that exists (ignoring case) with the same value changes nothing, so that a client that
    lost an answer can repeat the call. Raises InvalidMetadataError, and changes nothing, if a key
    exists with another value or the whole set would exceed a limit. Source: Clara 0.8.1,
    AddMetadata.
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
    """Removes keys, ignoring case; returns the remaining entries. An absent key is no error."""
    for key in keys:
        tx.run("drop_metadata", owner=owner, key_folded=key.casefold())
    return read(tx, owner)


def forget(tx: Transaction, owner: str) -> None:
    """Removes all entries of an owner that was removed."""
    tx.run("forget_metadata", owner=owner)


def read(tx: Transaction, owner: str) -> dict[str, str]:
    """Returns all entries of an owner, with the keys spelled as the client sent them."""
    return {row["key"]: row["value"] for row in tx.rows("metadata", owner=owner)}


def size(entries: Mapping[str, str]) -> int:
    """Returns the bytes of memory that entries use."""
    return sum(memory.of_text(key, value) for key, value in entries.items())
