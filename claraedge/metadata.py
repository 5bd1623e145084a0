"""Metadata of pipelines, jobs, models and reusable payloads: Clara's rules, and their rows."""

from __future__ import annotations

from collections.abc import Mapping

from claraedge.errors import InvalidMetadataError
from claraedge.store.database import Transaction

#: Source: Clara 0.8.1; values are counted in characters because the original adapter cuts them so.
MAX_KEY_BYTES = 128
MAX_VALUE_CHARACTERS = 256
MAX_TOTAL_BYTES = 4 * 1024 * 1024


def check(entries: Mapping[str, str]) -> dict[str, str]:
    """The entries, if they keep the rules; else InvalidMetadataError with every breach."""
    breaches = []
    folded: dict[str, str] = {}
    total = 0
    for key, value in entries.items():
        total += len(key.encode()) + len(value.encode())
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
        breaches.append(f"the metadata are larger than {MAX_TOTAL_BYTES} bytes together")
    if breaches:
        raise InvalidMetadataError(*breaches)
    return dict(entries)


def add(tx: Transaction, owner: str, entries: Mapping[str, str]) -> None:
    """Stores checked entries of a new owner."""
    for key, value in entries.items():
        tx.run("add_metadata", owner=owner, key_folded=key.casefold(), key=key, value=value)


def read(tx: Transaction, owner: str) -> dict[str, str]:
    """All entries of an owner, in the spelling that they came in."""
    return {row["key"]: row["value"] for row in tx.rows("metadata", owner=owner)}
