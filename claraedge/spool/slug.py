"""Names of result folders. Pure.

A name of the outside never becomes a path: what is not plain is replaced, and the id makes it one's
own.
"""

from __future__ import annotations

import re
import unicodedata

MAX_SLUG_BYTES = 100
ID_DIGITS = 8

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def slug(name: str) -> str:
    """Letters, digits, `.`, `_` and `-` of a name: 1 to 100 bytes, no dot or dash at its ends."""
    ascii_form = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    # Where nothing of a word is left, a dash stands for it.
    text = ascii_form if ascii_form.strip("._- ") else ""
    plain = re.sub(r"-{2,}", "-", _NOT_PLAIN.sub("-", text)).strip(".-")
    return plain[:MAX_SLUG_BYTES].rstrip(".-") or "item"


def folder_name(name: str, owner: str) -> str:
    """`<slug>-<first 8 digits of the id>`: the folder of a job's results, or a failure."""
    return f"{slug(name)}-{owner[:ID_DIGITS]}"


def result_folder(pipeline: str, name: str, job: str) -> str:
    """`<pipeline>/<slug>-<8 digits>`, relative to the outbox; pipeline names are plain already."""
    return f"{pipeline}/{folder_name(name, job)}"


def whole_id(folder: str, owner: str) -> str:
    """The same folder with all digits of the id, for where the short one is another's."""
    return folder.removesuffix(owner[:ID_DIGITS]) + owner
